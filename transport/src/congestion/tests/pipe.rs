//! A link alone on its path: full, within the budget, with short queues, and soon again so after a change.

use std::time::Instant;

use super::*;
use crate::congestion::interval::Acked;
use crate::congestion::window_controller::WindowController;

#[test]
fn two_percent_of_loss_cost_no_more_than_what_is_lost() {
    for rtt in [20, 100, 200, 300] {
        for loss in [0.0, 0.1, 1.0, 2.0] {
            let mut world = World::new(budget(300), 4, &format!("delay {} ms, loss {loss} %", rtt / 2));
            world.run_until(4.0);
            let observed = world.run_until(9.0);
            assert_fills(&observed, 300.0 * (1.0 - loss / 100.0), 0.985);
            assert!(observed.ours <= 301e6, "{rtt} ms, {loss} %: {observed:?}");
            assert_eq!(observed.report.limit, Limit::Budget);
        }
    }
}

#[test]
fn loss_bursts_lost_acks_and_jitter_cost_little() {
    for (forward, back, arrives) in [
        ("delay 100 ms, loss 5 %", "loss none", 0.95),
        ("delay 50 ms, loss 2 % in bursts of 10", "loss 5 %", 0.98),
        ("delay 50 ms, jitter 5 ms, loss 2 %", "loss none", 0.98),
        ("delay 10 ms, jitter 5 ms, loss 1 %", "loss none", 0.99),
        ("delay 50 ms, reorder 10 % by 2 ms, loss 2 %", "loss none", 0.98),
    ] {
        let mut world = World::new(budget(300), 4, forward);
        world.set_back(back);
        world.run_until(4.0);
        let observed = world.run_until(9.0);
        assert_fills(&observed, 300.0 * arrives, 0.97);
    }
}

#[test]
fn a_narrow_path_is_filled_with_a_short_queue() {
    for (rtt, limit, loss) in [(100, 100, 0), (100, 20, 0), (200, 20, 2), (40, 40, 1), (300, 300, 0)] {
        let knobs = format!("delay {} ms, rate 300 Mbit/s, limit {limit} ms, loss {loss} %", rtt / 2);
        let mut world = World::new(budget(500), 4, &knobs);
        world.run_until(5.0);
        let observed = world.run_until(12.0);
        assert_fills(&observed, 300.0 * (1.0 - f64::from(loss) / 100.0), 0.96);
        assert!(observed.queue <= Duration::from_millis(15), "{knobs}: {observed:?}");
        assert!(observed.overflow < 0.01, "{knobs}: {observed:?}");
        assert_eq!(observed.report.limit, Limit::Path);
    }
}

#[test]
fn a_path_is_found_without_a_stated_rate() {
    let mut world = World::new(FlowSettings::new(None), 4, "delay 50 ms, rate 300 Mbit/s, limit 100 ms, loss 1 %");
    world.run_until(5.0);
    let observed = world.run_until(10.0);
    assert_fills(&observed, 297.0, 0.95);
    assert!(observed.queue <= Duration::from_millis(15) && observed.overflow < 0.01, "{observed:?}");
}

#[test]
fn acks_that_the_peers_timer_sent_are_not_taken_for_a_queue() {
    let few = ack_packets(None);
    // This number of packets does not cause an ACK, so the peer's timer did. One more does.
    for (packets, expected) in [(few, Mode::Starting), (few + 1, Mode::Steady)] {
        let start = Instant::now();
        let mut controller = WindowController::new(FlowSettings::new(None), None, 1_200.0, start);
        for n in 0..20 {
            let now = start + Duration::from_millis(100 + 10 * n);
            let waited = if n == 0 { 0 } else { 25 };
            let acked = Acked {
                packets: if n == 0 { few + 1 } else { packets },
                bytes: 12_000,
                newest_sent: now - Duration::from_millis(100 + waited),
                read: now,
                flight: 12_000.0 * 0.125,
                idle: false,
            };
            controller.handle_acked(now, &acked, 38_000);
        }
        assert_eq!(controller.findings(start + Duration::from_millis(300)).mode, expected, "{packets} packets");
    }
}

#[test]
fn an_ack_dated_too_early_does_not_shorten_the_base() {
    let start = Instant::now();
    let mut controller = WindowController::new(FlowSettings::new(None), None, 1_200.0, start);
    for n in 0..20 {
        let came = start + Duration::from_millis(100 + 10 * n);
        let early = Duration::from_millis(if n == 10 { 4 } else { 0 });
        let newest_sent = came - Duration::from_millis(20);
        let acked = Acked { packets: 12, bytes: 14_400, newest_sent, read: came, flight: 288.0, idle: false };
        controller.handle_acked(came - early, &acked, 38_000);
    }
    let base = controller.findings(start + Duration::from_millis(300)).base_rtt;
    assert_eq!(base, Some(Duration::from_millis(20)));
}

#[test]
fn a_policer_is_recognised_and_its_rate_held() {
    for (rtt, bucket) in [(40, "500 kB"), (100, "200 kB"), (200, "1 MB")] {
        let knobs = format!("delay {} ms, rate 300 Mbit/s, policer {bucket}", rtt / 2);
        let mut world = World::new(budget(500), 4, &knobs);
        world.run_until(8.0);
        let observed = world.run_until(25.0);
        assert_fills(&observed, 300.0, 0.85);
        assert!(observed.overflow < 0.03, "{knobs}: {observed:?}");
        assert_eq!(observed.report.mode, Mode::Policed);
    }
}

#[test]
fn steps_of_the_path_are_followed_within_two_seconds() {
    for rtt in [40, 100, 200] {
        let knobs = format!("delay {} ms, rate 600 Mbit/s, limit 100 ms", rtt / 2);
        let mut world = World::new(budget(600), 4, &knobs);
        world.at(4.0, "rate 200 Mbit/s");
        world.at(9.0, "rate 600 Mbit/s");
        world.run_until(6.0);
        assert_fills(&world.run_until(9.0), 200.0, 0.9);
        world.run_until(11.0);
        assert_fills(&world.run_until(13.0), 600.0, 0.9);
    }
}

#[test]
fn a_lower_budget_holds_soon_and_a_higher_one_within_1_s() {
    let mut world = World::new(budget(400), 4, "delay 50 ms, rate 600 Mbit/s");
    world.run_until(3.0);
    world.set_rate(Some(mbit(100)));
    world.run_until(3.3);
    let observed = world.run_until(5.0);
    assert_fills(&observed, 100.0, 0.98);
    assert!(observed.ours < 102e6, "{observed:?}");
    world.set_rate(Some(mbit(400)));
    world.run_until(6.0);
    assert_fills(&world.run_until(7.0), 400.0, 0.98);
}

#[test]
fn after_an_unreachable_path_the_rate_is_back_within_2_s() {
    for outage in [3.0, 120.0] {
        let mut world = World::new(budget(300), 4, "delay 50 ms, rate 400 Mbit/s, loss 1 %");
        world.at(4.0, "down");
        world.at(4.0 + outage, "up");
        world.run_until(4.0 + outage - 0.5);
        assert_eq!(world.flow.report().mode, Mode::Unreachable);
        world.run_until(4.0 + outage + 1.0);
        assert_fills(&world.run_until(4.0 + outage + 2.0), 297.0, 0.95);
    }
}

#[test]
fn a_longer_route_is_not_taken_for_a_queue() {
    for (from, to) in [(50, 80), (20, 100)] {
        let mut world = World::new(budget(300), 4, &format!("delay {from} ms, rate 600 Mbit/s, loss 1 %"));
        world.at(4.0, &format!("delay {to} ms"));
        world.run_until(9.0);
        assert_fills(&world.run_until(12.0), 297.0, 0.95);
    }
}

#[test]
fn a_thin_and_long_path_is_filled() {
    for channels in [1, 2, 4] {
        let mut world = World::new(budget(5), channels, "delay 300 ms, rate 10 Mbit/s");
        world.run_until(10.0);
        assert_fills(&world.run_until(30.0), 5.0, 0.95);
    }
    let mut world = World::new(budget(10), 2, "delay 300 ms, rate 5 Mbit/s, limit 200 ms");
    world.run_until(15.0);
    let observed = world.run_until(45.0);
    assert_fills(&observed, 5.0, 0.9);
}

#[test]
fn a_budget_of_a_megabit_and_a_short_path_work_too() {
    for knobs in ["delay 0.1 ms", "delay 20 ms"] {
        for rate in [1, 500] {
            let mut world = World::new(budget(rate), 2, knobs);
            world.run_until(3.0);
            assert_fills(&world.run_until(8.0), rate as f64, 0.95);
        }
    }
}
