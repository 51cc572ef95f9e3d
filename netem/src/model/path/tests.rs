//! Tests of the path: exact times, exact queues, the requested shares, and the same fate for the same packet.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::knobs::parse_knobs;

const MTU: usize = 1500;

fn path(knobs: &str) -> Path<u64> {
    seeded(knobs, 7)
}

fn seeded(knobs: &str, seed: u64) -> Path<u64> {
    Path::new(Conditions::default().with(parse_knobs(knobs).unwrap()), seed, 0)
}

fn set(path: &mut Path<u64>, knobs: &str, now: Duration) {
    parse_knobs(knobs).unwrap().into_iter().for_each(|knob| path.set(knob, now));
}

const fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Returns all packets that arrive from now on. Polls only when the path's timeout says so.
fn drain(path: &mut Path<u64>) -> Vec<(u64, Duration)> {
    let mut arrived = Vec::new();
    while let Some(now) = path.next_timeout() {
        while let Some(delivery) = path.poll(now) {
            assert!(delivery.due <= now);
            arrived.push((delivery.packet, delivery.due));
        }
    }
    arrived
}

#[test]
fn a_packet_arrives_after_exactly_its_delay() {
    let mut path = path("delay 80 ms");
    path.offer(1, MTU, millis(5)).unwrap();
    assert_eq!(path.poll(millis(85) - Duration::from_nanos(1)), None);
    assert_eq!(path.poll(millis(85)).map(|delivery| delivery.due), Some(millis(85)));
    assert!(path.is_empty());
}

#[test]
fn the_bottleneck_sends_packets_one_by_one_at_its_rate() {
    // A packet of 1,500 bytes takes one millisecond at 12 Mbit/s.
    let mut path = path("delay 10 ms, rate 12 Mbit/s, limit 1 MB");
    for number in 0..5 {
        path.offer(number, MTU, Duration::ZERO).unwrap();
    }
    let arrived = drain(&mut path);
    assert_eq!(arrived, (0..5).map(|number| (number, millis(11 + number))).collect::<Vec<_>>());
    assert_eq!(path.counters.backlog_max, 5 * 1500);
}

#[test]
fn the_queue_accepts_packets_up_to_its_exact_limit() {
    for (limit, fits) in [("4500 B", 3), ("4499 B", 2), ("3 ms", 3), ("2999 us", 2), ("1 B", 1)] {
        let mut path = path(&format!("rate 12 Mbit/s, limit {limit}"));
        let taken = (0..10).filter(|&number| path.offer(number, MTU, Duration::ZERO).is_ok()).count();
        assert_eq!(taken, fits, "limit {limit}");
        assert_eq!(path.counters.dropped_for(DropCause::Limit), 10 - fits as u64);
        // After one packet has been sent, exactly one more fits.
        assert!(path.offer(10, MTU, millis(1)).is_ok());
        assert_eq!(path.offer(11, MTU, millis(1)), Err(DropCause::Limit));
    }
}

#[test]
fn a_new_rate_applies_to_packets_in_the_queue() {
    let mut path = path("rate 12 Mbit/s, limit 1 MB");
    for number in 0..4 {
        path.offer(number, MTU, Duration::ZERO).unwrap();
    }
    // The second packet is half sent: its other half takes twice as long.
    set(&mut path, "rate 6 Mbit/s", micros(1500));
    assert_eq!(drain(&mut path), [(0, millis(1)), (1, micros(2500)), (2, micros(4500)), (3, micros(6500))]);
    path.offer(4, MTU, millis(7)).unwrap();
    set(&mut path, "rate none", millis(8));
    assert_eq!(drain(&mut path), [(4, millis(8))]);
}

#[test]
fn a_policer_queues_nothing_and_refills_at_its_rate() {
    let mut path = path("delay 1 ms, rate 12 Mbit/s, policer 3000 B");
    let offers = [0, 0, 0, 1000, 1000, 1999, 2000, 100_000, 100_000, 100_000];
    let taken: Vec<bool> = offers.iter().map(|&at| path.offer(at, MTU, micros(at)).is_ok()).collect();
    assert_eq!(taken, [true, true, false, true, false, false, true, true, true, false]);
    let arrived = drain(&mut path);
    assert!(arrived.iter().all(|&(sent, due)| due == micros(sent) + millis(1)), "{arrived:?}");
}

#[test]
fn a_packet_above_the_mtu_is_dropped() {
    let mut path = path("mtu 1400 B");
    assert_eq!(path.offer(1, 1401, Duration::ZERO), Err(DropCause::Mtu));
    assert_eq!(path.offer(2, 1400, Duration::ZERO), Ok(()));
}

#[test]
fn a_path_that_is_down_loses_only_what_would_have_passed() {
    let mut path = path("delay 10 ms, rate 12 Mbit/s, limit 1 MB");
    for number in 0..6 {
        path.offer(number, MTU, Duration::ZERO).unwrap();
    }
    // The bottleneck sends one packet per millisecond. The path is not polled until it is up again.
    set(&mut path, "down", micros(2500));
    set(&mut path, "up", micros(4500));
    let arrived: Vec<u64> = drain(&mut path).into_iter().map(|(number, _)| number).collect();
    assert_eq!(arrived, [0, 1, 4, 5]);
    assert_eq!(path.counters.dropped_for(DropCause::Down), 2);
}

#[test]
fn packets_above_the_memory_limit_count_as_overflow() {
    let mut path = path("delay 1 h");
    let fits = HELD_MAX / (1 << 20);
    for number in 0..fits {
        path.offer(number, 1 << 20, Duration::ZERO).unwrap();
    }
    assert_eq!(path.offer(fits, 1, Duration::ZERO), Err(DropCause::Overflow));
}

#[test]
fn loss_lies_within_the_binomial_bound() {
    const PACKETS: u32 = 200_000;
    for (knobs, share, length) in
        [("loss 0.1 %", 0.001, 1.0), ("loss 2 %", 0.02, 1.0), ("loss 2 % in bursts of 10", 0.02, 10.0)]
    {
        let lost = lost(&mut path(knobs), PACKETS);
        let mean = f64::from(PACKETS) * share;
        // Bursts of n packets widen the spread by about sqrt(2n - 1). Five deviations do not happen by chance.
        let spread = (mean * (1.0 - share) * (2.0 * length - 1.0)).sqrt();
        let off = (lost.len() as f64 - mean).abs();
        assert!(off < 5.0 * spread, "{knobs}: {} lost, {mean} expected, {spread} spread", lost.len());
        let bursts = 1 + lost.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
        let mean_length = lost.len() as f64 / bursts as f64;
        assert!((mean_length / length - 1.0).abs() < 0.15, "{knobs}: bursts of {mean_length}");
    }
}

/// Returns the numbers of the packets that are lost.
fn lost(path: &mut Path<u64>, packets: u32) -> Vec<u64> {
    let mut lost = Vec::new();
    for number in 0..u64::from(packets) {
        path.offer(number, MTU, micros(number)).unwrap();
        if path.poll(micros(number)).is_none() {
            lost.push(number);
        }
    }
    lost
}

#[test]
fn the_seed_alone_decides_which_packets_are_lost() {
    let mut quick = path("loss 2 %");
    let expected = lost(&mut quick, 5_000);
    let mut slow =
        path("loss 2 %, delay 3 ms, jitter 1 ms, rate 100 Mbit/s, limit 1 GB, duplicate 1 %, reorder 1 % by 1 ms");
    for number in 0..5_000 {
        slow.offer(number, MTU, micros(number * 37)).unwrap();
    }
    let mut arrived: Vec<u64> = drain(&mut slow).into_iter().map(|(number, _)| number).collect();
    arrived.sort_unstable();
    let missing: Vec<u64> = (0..5_000).filter(|number| arrived.binary_search(number).is_err()).collect();
    assert_eq!(missing, expected);
    assert_ne!(lost(&mut seeded("loss 2 %", 8), 5_000), expected);
}

#[test]
fn jitter_keeps_packets_in_order_and_within_its_bounds() {
    let offsets = jitter_offsets("delay 20 ms, jitter 2 ms");
    assert!(offsets.iter().all(|offset| offset.abs() <= 2.0));
    let mean = offsets.iter().sum::<f64>() / offsets.len() as f64;
    assert!(mean.abs() < 0.3, "a mean offset of {mean} ms");
    assert!(offsets.iter().any(|offset| *offset > 1.5) && offsets.iter().any(|offset| *offset < -1.5));
    // With this jitter a delay shrinks faster than time passes. Packets must keep their order even then.
    jitter_offsets("delay 100 ms, jitter 50 ms");
}

/// Returns each packet's difference from the mean delay, in milliseconds. All packets must arrive in order.
fn jitter_offsets(knobs: &str) -> Vec<f64> {
    let mut path = path(knobs);
    let mean = path.conditions.delay;
    for number in 0..50_000 {
        path.offer(number, MTU, micros(number * 20)).unwrap();
    }
    let arrived = drain(&mut path);
    assert!(arrived.is_sorted_by_key(|&(number, due)| (number, due)), "{knobs}");
    let offset = |&(sent, due): &(u64, Duration)| (due - micros(sent * 20)).as_secs_f64() - mean.as_secs_f64();
    arrived.iter().map(|arrival| offset(arrival) * 1e3).collect()
}

#[test]
fn unordered_jitter_and_reordering_let_packets_overtake() {
    let overtaken = |knobs: &str| {
        let mut path = path(knobs);
        for number in 0..10_000 {
            path.offer(number, MTU, micros(number * 100)).unwrap();
        }
        let arrived = drain(&mut path);
        arrived.windows(2).filter(|pair| pair[1].0 < pair[0].0).count()
    };
    assert_eq!(overtaken("delay 20 ms, jitter 2 ms"), 0);
    assert!(overtaken("delay 20 ms, jitter 2 ms unordered") > 3_000);
    let some = overtaken("delay 20 ms, reorder 1 % by 5 ms");
    assert!((70..=130).contains(&some), "{some} of 10,000 overtaken");
}

#[test]
fn duplicates_and_flipped_bits_match_their_shares() {
    let mut path = path("duplicate 5 %, corrupt 5 %");
    let mut flipped = 0;
    for number in 0..20_000 {
        path.offer(number, MTU, micros(number)).unwrap();
        while let Some(delivery) = path.poll(micros(number)) {
            let mut bytes = [0_u8; 100];
            delivery.damage(&mut bytes);
            flipped += u64::from(bytes.iter().map(|byte| byte.count_ones()).sum::<u32>());
        }
    }
    let counters = &path.counters;
    assert_eq!(counters.delivered, 20_000 + counters.doubled);
    assert!((900..=1100).contains(&counters.doubled), "{} doubled", counters.doubled);
    assert!((900..=1100).contains(&counters.corrupted), "{} corrupted", counters.corrupted);
    assert!(flipped >= counters.corrupted);
}

proptest! {
    /// Checks that every packet is accounted for, for any sequence of packets and changes.
    #[test]
    fn every_packet_is_delivered_or_dropped_for_a_cause(
        seed: u64,
        steps in proptest::collection::vec((0_u64..3_000, 40_usize..2_000, 0_usize..12), 1..300),
    ) {
        const TURNS: [&str; 8] = [
            "rate 3 Mbit/s, limit 9 kB", "rate 100 Mbit/s, policer 9 kB", "rate none", "down", "up",
            "loss 5 %, duplicate 5 %", "delay 3 ms, jitter 5 ms", "mtu 1400 B, reorder 10 % by 1 ms",
        ];
        let mut path = seeded("delay 1 ms, rate 12 Mbit/s, limit 20 kB", seed);
        let mut now = Duration::ZERO;
        for (number, &(wait, length, turn)) in steps.iter().enumerate() {
            now += micros(wait);
            if let Some(knobs) = TURNS.get(turn) {
                set(&mut path, knobs, now);
            }
            let _ = path.offer(number as u64, length, now);
            while let Some(delivery) = path.poll(now) {
                prop_assert!(delivery.due <= now);
            }
        }
        drain(&mut path);
        prop_assert!(path.is_empty());
        let counters = &path.counters;
        prop_assert_eq!(counters.offered + counters.doubled, counters.delivered + counters.dropped_in_all());
    }
}
