//! Every record that was sent, kept until it has arrived and was compared.
//!
//! Records of a partition are numbered in the order they are sent; each arrival is held against the one
//! expected next. What is kept is bounded: the load stops while a partition has [`IN_FLIGHT_BYTES_MAX`] or
//! [`IN_FLIGHT_RECORDS_MAX`] not yet compared.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::record::Record;

/// Less than half of the 5 MiB that an embedded cluster keeps per partition: whatever is not yet compared
/// is still there, in the source and in the target.
const IN_FLIGHT_BYTES_MAX: u64 = 2 << 20;

/// Far below the 100,000 batches that an embedded cluster keeps, were each record a batch of its own.
const IN_FLIGHT_RECORDS_MAX: usize = 20_000;

/// A minute, in µs: nothing of a demo takes longer.
const LATENCY_MAX: u64 = 60_000_000;

/// What was sent to all partitions and what became of it.
pub(crate) struct Journal {
    partitions: Vec<Mutex<Partition>>,
    latency: Mutex<Histogram<u64>>,
}

/// Records, counted. `lost` are those that have not arrived: final only at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    /// Bytes of keys, values and headers sent.
    pub(crate) bytes: u64,
    pub(crate) arrived: u64,
    /// Bytes of those that arrived.
    pub(crate) arrived_bytes: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) reordered: u64,
    pub(crate) changed: u64,
}

impl Counts {
    /// Whether every record arrived once, in order, unchanged.
    pub(crate) fn exact(&self) -> bool {
        self.sent == self.arrived && self.lost + self.doubled + self.reordered + self.changed == 0
    }
}

impl Journal {
    pub(crate) fn new(partitions: usize) -> Self {
        let latency = Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("bounds are valid");
        Self { partitions: (0..partitions).map(|_| Mutex::default()).collect(), latency: Mutex::new(latency) }
    }

    /// The number of the next record of a partition, unless it has enough in flight.
    pub(crate) fn next_number(&self, partition: usize) -> Option<u64> {
        let partition = self.lock(partition);
        (!partition.is_full()).then_some(partition.counts.sent)
    }

    /// Notes a record down just before it is sent.
    pub(crate) fn handle_sent(&self, partition: usize, record: Record) {
        self.lock(partition).handle_sent(record, Instant::now());
    }

    /// Compares a record that arrived.
    pub(crate) fn handle_arrived(&self, partition: usize, record: &Record) {
        let Some(sent_at) = self.lock(partition).handle_arrived(record) else { return };
        let micros = u64::try_from(sent_at.elapsed().as_micros()).unwrap_or(LATENCY_MAX);
        self.latency.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(micros);
    }

    /// All partitions together.
    pub(crate) fn counts(&self) -> Counts {
        (0..self.partitions.len()).map(|partition| self.lock(partition).counts()).fold(Counts::default(), |a, b| {
            Counts {
                sent: a.sent + b.sent,
                bytes: a.bytes + b.bytes,
                arrived: a.arrived + b.arrived,
                arrived_bytes: a.arrived_bytes + b.arrived_bytes,
                lost: a.lost + b.lost,
                doubled: a.doubled + b.doubled,
                reordered: a.reordered + b.reordered,
                changed: a.changed + b.changed,
            }
        })
    }

    /// How long it took from just before a record was sent until it was read from the target.
    pub(crate) fn latency(&self, quantile: f64) -> Duration {
        let latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_micros(latency.value_at_quantile(quantile))
    }

    fn lock(&self, partition: usize) -> MutexGuard<'_, Partition> {
        self.partitions[partition].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One partition's records.
#[derive(Debug, Default)]
struct Partition {
    /// Sent and not yet due: the numbers up to `counts.sent`.
    expected: VecDeque<(Record, Instant)>,
    expected_bytes: u64,
    /// Due before a record that has arrived, and not seen: lost, or reordered if they still come.
    passed_over: BTreeMap<u64, (Record, Instant)>,
    counts: Counts,
}

impl Partition {
    fn is_full(&self) -> bool {
        self.expected_bytes >= IN_FLIGHT_BYTES_MAX
            || self.expected.len() + self.passed_over.len() >= IN_FLIGHT_RECORDS_MAX
    }

    fn handle_sent(&mut self, record: Record, now: Instant) {
        self.counts.sent += 1;
        self.counts.bytes += record.bytes();
        self.expected_bytes += record.bytes();
        self.expected.push_back((record, now));
    }

    /// When the arrived record was sent, if it was the one expected.
    fn handle_arrived(&mut self, arrived: &Record) -> Option<Instant> {
        let due = self.counts.sent - self.expected.len() as u64;
        // One that does not say which it is stands for the one that is due.
        let number = arrived.number().unwrap_or(due);
        if number >= self.counts.sent {
            self.counts.changed += 1;
            return None;
        }
        if number < due {
            let Some((late, _)) = self.passed_over.remove(&number) else {
                self.counts.doubled += 1;
                return None;
            };
            self.counts.reordered += 1;
            self.compare(&late, arrived);
            return None;
        }
        for passed_over in due..number {
            let skipped = self.take_expected()?;
            self.passed_over.insert(passed_over, skipped);
        }
        let (expected, sent_at) = self.take_expected()?;
        self.compare(&expected, arrived);
        Some(sent_at)
    }

    fn compare(&mut self, expected: &Record, arrived: &Record) {
        self.counts.arrived += 1;
        self.counts.arrived_bytes += expected.bytes();
        self.counts.changed += u64::from(expected != arrived);
    }

    fn take_expected(&mut self) -> Option<(Record, Instant)> {
        let (record, sent_at) = self.expected.pop_front()?;
        self.expected_bytes -= record.bytes();
        Some((record, sent_at))
    }

    fn counts(&self) -> Counts {
        Counts { lost: (self.expected.len() + self.passed_over.len()) as u64, ..self.counts }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    /// `count` records, sent.
    fn sent(count: u64) -> (Partition, Vec<Record>) {
        let (mut partition, mut rng) = (Partition::default(), StdRng::seed_from_u64(1));
        let records: Vec<_> = (0..count).map(|number| Record::make("orders", number, &mut rng)).collect();
        for record in &records {
            partition.handle_sent(record.clone(), Instant::now());
        }
        (partition, records)
    }

    /// What is found if the records numbered so arrive in this order, out of five.
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
    fn what_is_not_compared_yet_stays_below_what_an_embedded_cluster_keeps() {
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
}
