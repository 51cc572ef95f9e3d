//! What becomes of bytes on the wire, step by step and for any steps.

use proptest::prelude::*;

use super::*;

fn taken(topics: &[(&str, u64)], in_flight_bytes: u64) -> Taken {
    let done = topics.iter().map(|(topic, frame_bytes)| {
        let bytes = frame_bytes * 4;
        let done = Done { records: 1, record_bytes: bytes, frame_bytes: *frame_bytes, packed_bytes: bytes };
        (Arc::from(*topic), done)
    });
    Taken { done: done.collect(), in_flight_bytes }
}

fn reading(topics: &[(&str, u64)], in_flight_bytes: u64, wire_bytes: u64) -> Reading {
    Reading { lanes: vec![taken(topics, in_flight_bytes)], wire_bytes, fetched_bytes: None }
}

fn wire(meter: &CostMeter, topic: &str) -> u64 {
    meter.topics().find(|(name, ..)| *name == topic).map_or(0, |(_, counted, _)| counted.wire_bytes)
}

#[test]
fn headers_and_repairs_follow_the_frames() {
    let now = Instant::now();
    let mut meter = CostMeter::default();
    meter.handle(now, reading(&[], 0, 5_000));
    assert_eq!(meter.no_topic_bytes(), 5_000, "a handshake");
    meter.handle(now, reading(&[("a", 300), ("b", 100)], 0, 5_480));
    assert_eq!((wire(&meter, "a"), wire(&meter, "b")), (360, 120), "20 % more than their frames");
}

#[test]
fn frames_in_flight_keep_their_part_of_the_bytes() {
    let now = Instant::now();
    let mut meter = CostMeter::default();
    meter.handle(now, reading(&[], 1_000, 1_100));
    assert_eq!((meter.no_topic_bytes(), meter.total().0.wire_bytes), (0, 0), "in flight");
    // Half of the frames is acked; the others, and another topic's that are only queued, have their share later.
    meter.handle(now, reading(&[("a", 500)], 500, 1_100));
    assert_eq!(wire(&meter, "a"), 550);
    meter.handle(now, reading(&[("b", 500)], 0, 1_150));
    assert_eq!((wire(&meter, "b"), meter.no_topic_bytes()), (600, 0));
    meter.handle(now, reading(&[], 0, 1_190));
    assert_eq!(meter.no_topic_bytes(), 40, "the last acks");
}

#[test]
fn a_link_with_frames_always_in_flight_shares_all_it_sends() {
    let now = Instant::now();
    let mut meter = CostMeter::default();
    // 60 MB are in flight all the time, as on a long path.
    let frames = 10_000_000;
    let sent = 10_500_000;
    for second in 1..=600_u64 {
        let done = if second > 6 { frames } else { 0 };
        meter.handle(now, reading(&[("a", done)], 60_000_000, second * sent));
    }
    let shared = wire(&meter, "a") as f64;
    let expected = 594.0 * sent as f64;
    assert!((shared / expected - 1.0).abs() < 0.01, "{shared} of {expected}");
}

#[test]
fn topics_that_vanish_are_kept_together() {
    let now = Instant::now();
    let mut meter = CostMeter::default();
    meter.handle(now, reading(&[("a", 300), ("b", 100), ("c", 100)], 0, 600));
    meter.fold(|topic| topic == "b");
    assert_eq!(meter.topics().count(), 1);
    assert_eq!((wire(&meter, "b"), meter.gone().0.wire_bytes), (120, 480));
    assert_eq!(meter.total().0.wire_bytes, 600);
    assert_eq!((meter.gone().0.records, meter.total().0.record_bytes), (2, 2_000));
}

#[test]
fn batches_are_unknown_until_the_source_counts_them() {
    let now = Instant::now();
    let mut meter = CostMeter::default();
    meter.handle(now, reading(&[("a", 300)], 0, 600));
    assert_eq!(meter.total().0.source_bytes, None);
    // What comes before the first record of it is packed waits for that.
    let fetched = |fetched, topics: &[(&str, u64)]| Reading { fetched_bytes: Some(fetched), ..reading(topics, 0, 600) };
    meter.handle(now, fetched(700, &[]));
    assert_eq!(meter.total().0.source_bytes, Some(0));
    meter.handle(now, fetched(1_000, &[("a", 300)]));
    meter.handle(now, fetched(3_000, &[("b", 300)]));
    let source = |topic: &str| meter.topics().find(|(name, ..)| *name == topic).unwrap().1.source_bytes;
    assert_eq!((source("a"), source("b")), (Some(1_000), Some(2_000)), "read one after the other, each has its own");
}

#[test]
fn a_rate_is_of_the_last_minutes() {
    let start = Instant::now();
    let mut meter = CostMeter::default();
    let at = |second| start + Duration::from_secs(second);
    for second in 0..=3_600_u64 {
        // 1,000 B/s in the first half hour, then nothing.
        meter.handle(at(second), reading(&[("a", 1)], 0, 1_000 * second.min(1_800)));
        if second == 1_800 {
            let (_, rate) = meter.total();
            assert!((rate - 1_000.0).abs() < 1.0, "{rate}");
            assert!((450.0..=900.0).contains(&meter.rate_seconds()), "{}", meter.rate_seconds());
        }
    }
    assert_eq!(meter.total().1, 0.0);
    assert_eq!(CostMeter::default().total().1, 0.0);
}

#[test]
fn the_metrics_have_a_limited_number_of_topics() {
    let now = Instant::now();
    let mut meter = CostMeter::default();
    let names: Vec<_> = (0..SERIES_MAX + 7).map(|n| format!("t{n}")).collect();
    let topics: Vec<_> = names.iter().map(|name| (name.as_str(), 10)).collect();
    meter.handle(now, reading(&topics, 0, 10 * topics.len() as u64));
    let (own, others) = meter.series();
    assert_eq!((own.len(), others.wire_bytes), (SERIES_MAX, 70));
    let first = own[0].0.to_owned();
    meter.fold(|topic| topic != first);
    assert_eq!((meter.series().0.len(), meter.series().1.wire_bytes), (SERIES_MAX - 1, 80), "no counter falls");
}

proptest! {
    /// What a topic has never falls, and all of it together is what the sockets have sent.
    #[test]
    fn all_that_is_sent_belongs_to_somebody(
        steps in prop::collection::vec(([0_u64..2_000, 0_u64..2_000, 0_u64..3], 0_u64..5_000, 0_u64..9_000, 0..9), 1..80)
    ) {
        let now = Instant::now();
        let mut meter = CostMeter::default();
        let mut sent = 0;
        let mut fetched = 0;
        let mut before = HashMap::new();
        for ([a, b, c], in_flight, more, fold) in steps {
            sent += more;
            fetched += more / 2;
            let topics: Vec<_> = [("a", a), ("b", b), ("c", c)].into_iter().filter(|(_, bytes)| *bytes > 0).collect();
            let reading = Reading { fetched_bytes: Some(fetched), ..reading(&topics, in_flight, sent) };
            meter.handle(now, reading);
            if fold == 0 {
                meter.fold(|topic| topic != "c");
            }
            let shared = meter.total().0;
            prop_assert_eq!(shared.wire_bytes + meter.pool, sent);
            prop_assert_eq!(shared.source_bytes.unwrap() + meter.fetched_pool, fetched);
            prop_assert!(meter.no_topic_bytes() <= shared.wire_bytes);
            let now: HashMap<_, _> = meter.topics().map(|(name, counted, _)| (name.to_owned(), counted.wire_bytes)).collect();
            for (name, bytes) in &now {
                prop_assert!(before.get(name).is_none_or(|earlier| earlier <= bytes) || fold == 0);
            }
            before = now;
        }
        // Once nothing is in flight, nothing is left.
        meter.handle(now, reading(&[("a", 1)], 0, sent));
        prop_assert_eq!(meter.pool, 0);
    }
}
