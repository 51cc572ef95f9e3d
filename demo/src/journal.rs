//! The journal keeps every record that was sent until it has arrived and was compared.
//!
//! Records of a partition are numbered in the order they are sent; each arrival is compared with the record expected
//! next. The journal is bounded: the load skips a partition that has [`IN_FLIGHT_BYTES_MAX`] or
//! [`IN_FLIGHT_RECORDS_MAX`] not compared yet.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use service::lock::Lock;

use super::record::Record;

/// Limit of bytes in flight: less than half of the 5 MiB that an embedded cluster keeps per partition, so that records
/// not compared yet are still in the source and in the target.
const IN_FLIGHT_BYTES_MAX: u64 = 2 << 20;
/// Limit of records in flight: far below the 100,000 batches that an embedded cluster keeps.
const IN_FLIGHT_RECORDS_MAX: usize = 20_000;
/// One minute, in microseconds: nothing in a demo takes longer.
const LATENCY_MAX: u64 = 60_000_000;

/// The records sent to all partitions, and the latency of those that arrived.
pub(crate) struct Journal {
    partitions: Vec<Lock<Partition>>,
    latency: Lock<Histogram<u64>>,
}

/// Counts of records. `lost` are those that have not arrived yet; the number is final at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    /// Bytes of keys, values and headers that were sent.
    pub(crate) bytes: u64,
    pub(crate) arrived: u64,
    /// Bytes of keys, values and headers that arrived.
    pub(crate) arrived_bytes: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) reordered: u64,
    pub(crate) changed: u64,
}

impl Counts {
    /// True if every record arrived once, in order, unchanged.
    pub(crate) fn exact(&self) -> bool {
        self.sent == self.arrived && self.lost + self.doubled + self.reordered + self.changed == 0
    }
}

impl Journal {
    pub(crate) fn new(partitions: usize) -> Self {
        let latency = Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("bounds are valid");
        Self { partitions: (0..partitions).map(|_| Lock::default()).collect(), latency: Lock::new(latency) }
    }

    /// The number of the next record of a partition, unless it has enough in flight.
    pub(crate) fn next_number(&self, partition: usize) -> Option<u64> {
        let partition = self.partitions[partition].lock();
        (!partition.is_full()).then_some(partition.counts.sent)
    }

    pub(crate) fn handle_sent(&self, partition: usize, record: Record) {
        self.partitions[partition].lock().handle_sent(record, Instant::now());
    }

    pub(crate) fn handle_arrived(&self, partition: usize, record: &Record) {
        let Some(sent_at) = self.partitions[partition].lock().handle_arrived(record) else { return };
        let micros = u64::try_from(sent_at.elapsed().as_micros()).unwrap_or(LATENCY_MAX);
        self.latency.lock().saturating_record(micros);
    }

    pub(crate) fn counts(&self) -> Counts {
        self.partitions.iter().map(|partition| partition.lock().counts()).fold(Counts::default(), |a, b| Counts {
            sent: a.sent + b.sent,
            bytes: a.bytes + b.bytes,
            arrived: a.arrived + b.arrived,
            arrived_bytes: a.arrived_bytes + b.arrived_bytes,
            lost: a.lost + b.lost,
            doubled: a.doubled + b.doubled,
            reordered: a.reordered + b.reordered,
            changed: a.changed + b.changed,
        })
    }

    /// The latency of records, from just before the send until the read from the target.
    pub(crate) fn latency(&self, quantile: f64) -> Duration {
        let latency = self.latency.lock();
        Duration::from_micros(latency.value_at_quantile(quantile))
    }
}

#[derive(Debug, Default)]
struct Partition {
    /// Records sent and not passed yet: the numbers up to `counts.sent`.
    expected: VecDeque<(Record, Instant)>,
    expected_bytes: u64,
    /// Records skipped by a later one: lost, or reordered if they still arrive.
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

    /// Compares a record; returns when it was sent, if it was the one expected.
    fn handle_arrived(&mut self, arrived: &Record) -> Option<Instant> {
        let due = self.counts.sent - self.expected.len() as u64;
        // A record without a number counts as the one that is due.
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
mod tests;
