//! Neighbours: the channels of one flow behave like one, and flows that fill queues neither starve ours nor starve.

use super::*;

/// A path on which a queue of one round trip fits.
const SHARED: &str = "delay 20 ms, rate 200 Mbit/s, limit 40 ms";

fn next_to_cubic(settings: FlowSettings, channels: usize) -> Observed {
    let mut world = World::new(settings, channels, SHARED);
    world.add_cubic();
    world.run_until(30.0);
    world.run_until(150.0)
}

#[test]
fn an_adaptive_link_takes_its_share_alongside_cubic() {
    for channels in [1, 4] {
        let observed = next_to_cubic(budget(200), channels);
        let share = observed.ours / 200e6;
        assert!((0.3..=0.7).contains(&share), "{channels} channels: {:.1} %: {observed:?}", share * 100.0);
        assert!(observed.ours + observed.other >= 0.93 * 200e6, "{observed:?}");
    }
}

#[test]
fn a_scavenger_yields_to_cubic_and_takes_all_once_it_is_gone() {
    let settings = FlowSettings { policy: Policy::Scavenger, ..budget(200) };
    let mut world = World::new(settings, 4, SHARED);
    world.add_cubic();
    world.run_until(30.0);
    let observed = world.run_until(90.0);
    assert!(observed.ours <= 0.15 * 200e6, "{observed:?}");
    world.sender(4).busy = false;
    world.run_until(100.0);
    assert_fills(&world.run_until(105.0), 200.0, 0.9);
}

#[test]
fn a_floor_is_kept_next_to_a_cubic_flow() {
    for policy in [Policy::Scavenger, Policy::Adaptive] {
        let settings = FlowSettings { policy, floor: Share::of_one(0.2), ..budget(200) };
        let mut world = World::new(settings, 4, SHARED);
        world.add_cubic();
        let mut at = 10.0;
        while at < 90.0 {
            at += 5.0;
            let observed = world.run_until(at);
            assert!(observed.ours >= 0.19 * 200e6, "{policy:?} until {at}: {observed:?}");
        }
    }
}

#[test]
fn a_reserved_link_keeps_its_rate_next_to_a_cubic_flow() {
    let observed = next_to_cubic(FlowSettings { policy: Policy::Reserved, ..budget(100) }, 4);
    assert_fills(&observed, 100.0, 0.95);
}

#[test]
fn an_adaptive_link_takes_all_once_a_cubic_flow_is_gone() {
    let mut world = World::new(budget(200), 4, SHARED);
    world.add_cubic();
    world.run_until(30.0);
    world.sender(4).busy = false;
    world.run_until(65.0);
    let observed = world.run_until(75.0);
    assert_fills(&observed, 200.0, 0.9);
    assert!(observed.queue <= Duration::from_millis(15), "{observed:?}");
}

#[test]
fn many_channels_are_as_one_flow() {
    let share = |channels| next_to_cubic(FlowSettings { floor: Share::NONE, ..budget(200) }, channels).ours / 200e6;
    let one = share(1);
    let many = share(16);
    assert!(many <= one + 0.25, "one channel has {one:.2} of the path, sixteen {many:.2}");
}

#[test]
fn an_idle_channel_lends_its_part_and_gets_it_back() {
    let mut world = World::new(budget(400), 4, "delay 50 ms, loss 1 %");
    world.run_until(3.0);
    for idle in 1..4 {
        world.sender(idle).busy = false;
    }
    world.run_until(3.5);
    assert_fills(&world.run_until(5.0), 396.0, 0.97);
    world.sender(1).busy = true;
    world.run_until(6.0);
    let observed = world.run_until(8.0);
    assert_fills(&observed, 396.0, 0.97);
    let least = observed.each[0].min(observed.each[1]);
    let most = observed.each[0].max(observed.each[1]);
    assert!(least >= most / 3.0, "{observed:?}");
}

#[test]
fn a_dead_channel_does_not_hold_its_part_of_the_window() {
    let mut world = World::new(budget(400), 4, "delay 50 ms");
    world.run_until(3.0);
    world.cut_off(2);
    world.run_until(6.0);
    let observed = world.run_until(8.0);
    assert_fills(&observed, 400.0, 0.97);
    assert!(observed.each[2] < 1.0, "{observed:?}");
}
