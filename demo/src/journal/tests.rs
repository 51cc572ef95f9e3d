//! Tests that the journal finds and distinguishes every fault of a record.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

/// Sends `count` records.
fn sent(count: u64) -> (Partition, Vec<Record>) {
    let mut partition = Partition::default();
    let mut rng = StdRng::seed_from_u64(1);
    let records: Vec<_> = (0..count).map(|number| Record::make("orders", number, &mut rng)).collect();
    for record in &records {
        partition.handle_sent(record.clone(), Instant::now());
    }
    (partition, records)
}

/// The counts after the records with these numbers, out of five, arrive in this order.
fn found(arriving: &[usize]) -> Counts {
    let (mut partition, records) = sent(5);
    for &number in arriving {
        partition.handle_arrived(&records[number]);
    }
    Counts { bytes: 0, arrived_bytes: 0, ..partition.counts() }
}

const EXACT: Counts =
    Counts { sent: 5, bytes: 0, arrived: 5, arrived_bytes: 0, lost: 0, doubled: 0, reordered: 0, changed: 0 };

#[test]
fn records_that_arrive_as_they_were_sent_are_exact() {
    assert_eq!(found(&[0, 1, 2, 3, 4]), EXACT);
    assert!(EXACT.exact());
}

#[test]
fn a_lost_record_is_found_in_the_middle_and_at_the_end() {
    assert_eq!(found(&[0, 1, 3, 4]), Counts { arrived: 4, lost: 1, ..EXACT });
    assert_eq!(found(&[0, 1, 2, 3]), Counts { arrived: 4, lost: 1, ..EXACT });
    assert!(!found(&[0, 1, 2, 3]).exact());
}

#[test]
fn a_doubled_record_is_found_at_once_and_later() {
    for arriving in [[0, 1, 1, 2, 3, 4], [0, 1, 2, 3, 4, 0]] {
        assert_eq!(found(&arriving), Counts { doubled: 1, ..EXACT });
        assert!(!found(&arriving).exact());
    }
}

#[test]
fn a_reordered_record_is_not_taken_for_a_lost_or_doubled_one() {
    assert_eq!(found(&[0, 2, 1, 3, 4]), Counts { reordered: 1, ..EXACT });
    assert_eq!(found(&[0, 2, 1, 3, 4, 1]), Counts { reordered: 1, doubled: 1, ..EXACT });
    assert!(!found(&[0, 2, 1, 3, 4]).exact());
}

#[test]
fn a_record_changed_anywhere_is_found() {
    let alter: [fn(&mut Record); 6] = [
        |record| record.timestamp += 1,
        |record| record.key = None,
        |record| record.value = Some(Vec::new()),
        |record| record.headers.swap(0, 1),
        |record| record.headers[1].1 = None,
        |record| record.headers.clear(),
    ];
    for alter in alter {
        let (mut partition, mut records) = sent(5);
        alter(&mut records[2]);
        for record in &records {
            partition.handle_arrived(record);
        }
        assert_eq!(Counts { bytes: 0, arrived_bytes: 0, ..partition.counts() }, Counts { changed: 1, ..EXACT });
        assert!(!partition.counts().exact());
    }
}

#[test]
fn a_record_that_nobody_sent_is_found() {
    let (mut partition, records) = sent(5);
    let foreign = Record::make("orders", 5, &mut StdRng::seed_from_u64(2));
    for record in records.iter().chain([&foreign]) {
        partition.handle_arrived(record);
    }
    assert_eq!(Counts { bytes: 0, arrived_bytes: 0, ..partition.counts() }, Counts { changed: 1, ..EXACT });
}

#[test]
fn the_journal_keeps_less_than_an_embedded_cluster() {
    let journal = Journal::new(1);
    let mut rng = StdRng::seed_from_u64(1);
    let mut records = VecDeque::new();
    while let Some(number) = journal.next_number(0) {
        let record = Record::make("positions", number, &mut rng);
        records.push_back(record.clone());
        journal.handle_sent(0, record);
    }
    assert!(journal.counts().bytes < 5 << 20 && journal.counts().sent < 100_000);
    journal.handle_arrived(0, &records[0]);
    assert_eq!(journal.next_number(0), Some(records.len() as u64));
}
