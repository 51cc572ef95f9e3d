//! Private queues: each event arrives once and in order, and none after its partition was unassigned.

use std::collections::BTreeMap;
use std::thread;

use kafka::LiveProperties;
use kafka::admin::KafkaCatalog;
use kafka::catalog::Catalog;
use kafka::consumer::{Fault, LaneEvent};
use wire::ids::Slot;

use crate::cluster::{Cluster, Reader, Seen, offsets, start};

fn values(count: i64) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("value {n}"))
}

#[test]
fn a_lane_reads_its_partitions_in_order_up_to_their_end() {
    let cluster = Cluster::with_topic("t", 2);
    cluster.write("t", 0, values(2_000));
    cluster.write("t", 1, values(5));
    let consumer = cluster.consumer();
    let mut reader = Reader::of(&consumer);
    reader.lane.assign(&[start(7, "t", 0, 0), start(8, "t", 1, 3)]).unwrap();
    let mut ends = BTreeMap::new();
    let mut seen = Vec::new();
    while ends.len() < 2 {
        match reader.next() {
            Seen::End { slot, position } => {
                ends.insert(slot, position);
            }
            event => seen.push(event),
        }
    }
    assert_eq!(ends, [(7, 2_000), (8, 5)].into());
    let (first, second): (Vec<_>, Vec<_>) = seen.into_iter().partition(|event| event.slot() == 7);
    assert_eq!(offsets(&first), (0..2_000).collect::<Vec<_>>());
    assert_eq!(offsets(&second), [3, 4]);
}

#[test]
fn records_that_come_later_ring_the_bell_again() {
    let cluster = Cluster::with_topic("t", 1);
    let consumer = cluster.consumer();
    let mut reader = Reader::of(&consumer);
    reader.lane.assign(&[start(0, "t", 0, 0)]).unwrap();
    assert_eq!(offsets(&reader.until_end(0, 0)), [] as [i64; 0]);
    for round in 1..=5 {
        cluster.write("t", 0, values(3));
        assert_eq!(offsets(&reader.until_end(0, 3 * round)).len(), 3);
    }
}

#[test]
fn partitions_of_all_instances_arrive_in_their_lanes() {
    const COUNT: i32 = 1_600;
    let cluster = Cluster::with_topic("t", COUNT);
    let written = [0, 499, 500, 1_499, 1_500, 1_599];
    for partition in written {
        cluster.write("t", partition, values(3));
    }
    let consumer = cluster.consumer();
    let mut readers = [Reader::of(&consumer), Reader::of(&consumer)];
    for _ in 0..2 {
        let all = (0..COUNT).map(|partition| start(partition as u32, "t", partition, 0));
        let (even, odd): (Vec<_>, Vec<_>) = all.partition(|start| start.partition % 2 == 0);
        for (reader, starts) in readers.iter_mut().zip([even, odd]) {
            reader.lane.assign(&starts).unwrap();
            assert!(reader.lane.assign(&starts[..1]).is_err(), "it is assigned, whichever instance reads it");
        }
        for (reader, parity) in readers.iter_mut().zip([0, 1]) {
            let mut seen: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
            let mut ends = 0;
            while ends < COUNT / 2 {
                match reader.next() {
                    Seen::Record { slot, offset, .. } => seen.entry(slot).or_default().push(offset),
                    Seen::End { .. } => ends += 1,
                    fault => panic!("{fault:?}"),
                }
            }
            let expected = written.iter().filter(|partition| *partition % 2 == parity);
            assert_eq!(seen, expected.map(|&partition| (partition as u32, vec![0, 1, 2])).collect());
            let slots: Vec<_> = (0..COUNT as u32).map(Slot).collect();
            reader.lane.unassign(&slots).unwrap();
        }
    }
}

#[test]
fn a_partition_assigned_again_delivers_everything_again() {
    let cluster = Cluster::with_topic("t", 1);
    cluster.write("t", 0, values(50));
    let consumer = cluster.consumer();
    let mut reader = Reader::of(&consumer);
    // Without a pause: the client is still busy with one request when the next one arrives.
    for slot in 0..40 {
        reader.lane.assign(&[start(slot, "t", 0, 0)]).unwrap();
        if slot % 4 == 3 {
            assert_eq!(offsets(&reader.until_end(slot, 50)), (0..50).collect::<Vec<_>>());
        } else if slot % 4 == 2 {
            assert!(matches!(reader.next(), Seen::Record { offset: 0, .. }));
        }
        reader.lane.unassign(&[Slot(slot)]).unwrap();
    }
}

#[test]
fn nothing_of_a_partition_is_seen_once_it_is_unassigned() {
    let cluster = Cluster::with_topic("t", 2);
    cluster.write("t", 0, values(1_000));
    cluster.write("t", 1, values(1_000));
    let consumer = cluster.consumer();
    let mut reader = Reader::of(&consumer);
    reader.lane.assign(&[start(0, "t", 0, 0), start(1, "t", 1, 0)]).unwrap();
    let first = reader.next();
    let gone = first.slot();
    let kept = 1 - gone;
    assert!(reader.lane.peek().is_some());
    reader.lane.unassign(&[Slot(gone)]).unwrap();
    let rest = reader.until_end(kept, 1_000);
    assert_eq!(offsets(&rest), (0..1_000).collect::<Vec<_>>());
    assert!(rest.iter().all(|event| event.slot() == kept));
}

#[test]
fn a_position_outside_the_log_stops_its_partition_and_no_other() {
    let cluster = Cluster::with_topic("t", 2);
    cluster.write("t", 0, values(3));
    cluster.write("t", 1, values(3));
    let consumer = cluster.consumer();
    let mut reader = Reader::of(&consumer);
    reader.lane.assign(&[start(0, "t", 0, 99), start(1, "t", 1, 0)]).unwrap();
    let mut fault = None;
    let mut end = None;
    while fault.is_none() || end.is_none() {
        match reader.next() {
            Seen::Fault { slot: 0, fault: Fault::OutOfRange { wanted, .. } } => fault = Some(wanted),
            Seen::End { slot: 1, position } => end = Some(position),
            Seen::Record { slot: 1, .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((fault, end), (Some(99), Some(3)));
}

#[test]
fn a_missing_topic_is_gone_and_other_partitions_continue() {
    let cluster = Cluster::with_topic("t", 1);
    let consumer = cluster.consumer();
    let mut reader = Reader::of(&consumer);
    reader.lane.assign(&[start(0, "nowhere", 0, 0), start(1, "t", 0, 0)]).unwrap();
    let mut seen = [reader.next(), reader.next()];
    seen.sort_by_key(Seen::slot);
    assert!(matches!(seen[0], Seen::Fault { slot: 0, fault: Fault::Gone(_) }), "{seen:?}");
    assert_eq!(seen[1], Seen::End { slot: 1, position: 0 });
    cluster.write("t", 0, values(3));
    assert_eq!(offsets(&reader.until_end(1, 3)), [0, 1, 2]);
}

#[test]
fn peeking_twice_shows_the_same_event() {
    let cluster = Cluster::with_topic("t", 1);
    cluster.write("t", 0, values(2));
    let consumer = cluster.consumer();
    let mut reader = Reader::of(&consumer);
    reader.lane.assign(&[start(0, "t", 0, 0)]).unwrap();
    assert!(matches!(reader.next(), Seen::Record { offset: 0, .. }));
    assert_eq!(offsets(&[reader.next()]), [1]);
    loop {
        if let Some(LaneEvent::End { position, .. }) = reader.lane.peek() {
            assert_eq!(position.0, 2);
            break;
        }
    }
    assert!(matches!(reader.lane.peek(), Some(LaneEvent::End { .. })));
}

#[test]
fn a_partition_cannot_be_assigned_twice() {
    let cluster = Cluster::with_topic("t", 1);
    let consumer = cluster.consumer();
    let mut reader = Reader::of(&consumer);
    reader.lane.assign(&[start(0, "t", 0, 0)]).unwrap();
    assert!(reader.lane.assign(&[start(1, "t", 0, 0)]).is_err());
    assert!(reader.lane.assign(&[start(2, "t", 0, -1)]).is_err());
}

#[test]
fn lanes_in_their_own_threads_do_not_mix() {
    let cluster = Cluster::with_topic("t", 4);
    for partition in 0..4_i32 {
        cluster.write("t", partition, values(3_000));
    }
    let consumer = cluster.consumer();
    thread::scope(|scope| {
        for partition in 0..4_i32 {
            let mut reader = Reader::of(&consumer);
            scope.spawn(move || {
                let slot = partition.unsigned_abs();
                for round in 0..5 {
                    let slot = slot + 10 * round;
                    reader.lane.assign(&[start(slot, "t", partition, 0)]).unwrap();
                    let seen = reader.until_end(slot, 3_000);
                    assert_eq!(offsets(&seen), (0..3_000).collect::<Vec<_>>());
                    assert!(seen.iter().all(|event| event.slot() == slot));
                    reader.lane.unassign(&[Slot(slot)]).unwrap();
                }
            });
        }
    });
}

#[test]
fn a_lane_may_outlive_its_consumer_handle() {
    let cluster = Cluster::with_topic("t", 1);
    cluster.write("t", 0, values(1_000));
    let consumer = cluster.consumer();
    let mut reader = Reader::of(&consumer);
    drop(consumer);
    reader.lane.assign(&[start(0, "t", 0, 0)]).unwrap();
    assert!(matches!(reader.next(), Seen::Record { offset: 0, .. }));
    // With a batch taken, more queued and the partition assigned.
    drop(reader);
}

#[test]
fn a_lane_continues_in_new_instances_behind_what_was_shown() {
    let [former, present] = [(); 2].map(|()| Cluster::with_topic("t", 2));
    for cluster in [&former, &present] {
        cluster.write("t", 0, values(2_000));
        cluster.write("t", 1, values(5));
    }
    let properties = LiveProperties::from(&former.properties);
    let consumer = Cluster::consumer_of(&properties);
    let catalog = KafkaCatalog::start(&properties, "test").unwrap();
    let mut reader = Reader::of(&consumer);
    reader.lane.assign(&[start(7, "t", 0, 0), start(8, "t", 1, 3)]).unwrap();
    let mut seen: Vec<_> = (0..700).map(|_| reader.next()).collect();
    assert!(reader.lane.peek().is_some(), "one is shown and not taken");
    let known = catalog.cluster_id().unwrap();

    properties.replace(present.properties.clone());
    assert_ne!(catalog.cluster_id().unwrap(), known, "calls go to the other cluster");
    // Only the other cluster has these.
    present.write("t", 0, values(3));
    seen.extend(reader.until_end(7, 2_003));
    // An idle lane is woken.
    properties.replace(former.properties.clone());
    former.write("t", 0, values(3));
    former.write("t", 1, values(1));
    seen.extend(reader.until_end(8, 6));
    let (first, second): (Vec<_>, Vec<_>) = seen.into_iter().partition(|event| event.slot() == 7);
    assert_eq!(offsets(&first), (0..2_003).collect::<Vec<_>>());
    assert_eq!(offsets(&second), [3, 4, 5]);
}
