//! Meter of what a link costs: shares the bytes of the sockets out among the topics whose frames they carried. Sans-IO.
//!
//! A frame is shared out among its topics where it is made (`lane/topic_meter.rs`); here headers, acks and repairs follow the
//! frames. Bytes on the wire wait in a pool until frames are done: acked, or ended with their epoch. These take their part
//! of the pool, which has the bytes for them and for the frames still in flight. So nothing is counted twice, and no counter
//! ever falls. While no frame is in flight, what is sent belongs to no topic.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::lane::topic_meter::split::{Learned, split};
use crate::lane::topic_meter::{Done, Taken};

/// Time between two marks, from the older one of which the rates are measured.
const MARK_EVERY: Duration = Duration::from_secs(450);
/// Topics with series of their own in the metrics; more would be a burden for who stores them.
const SERIES_MAX: usize = 100;

/// Meter of one sender, since the process started.
#[derive(Debug, Default)]
pub(crate) struct CostMeter {
    topics: HashMap<Arc<str>, Entry>,
    gone: Entry,
    no_topic: Entry,
    /// Bytes on the wire that are not shared out yet.
    pool: u64,
    /// Bytes on the wire, as last read.
    wire_bytes: u64,
    /// Bytes that the source's brokers have sent, as last read.
    fetched_bytes: u64,
    /// True once the bytes of the brokers are known.
    knows_source: bool,
    /// Bytes of the brokers that are not shared out yet.
    fetched_pool: u64,
    /// Bytes of the producers' batches for each byte of a topic's records.
    batches: Learned,
    marks: Marks,
}

/// Bytes at one moment that a meter reads.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Bytes of each lane, taken before the others: what they have done is on the wire.
    pub lanes: Vec<Taken>,
    /// IP bytes on the wire so far.
    pub wire_bytes: u64,
    /// Bytes of record batches that the source's brokers have sent so far; `None` while unknown.
    pub fetched_bytes: Option<u64>,
}

/// Bytes of a topic so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub records: u64,
    pub record_bytes: u64,
    pub wire_bytes: u64,
    /// Bytes of the producers' batches; `None` while unknown.
    pub source_bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    records: u64,
    record_bytes: u64,
    wire_bytes: u64,
    source_bytes: u64,
    /// Bytes on the wire at the last two marks, the older first.
    marks: [u64; 2],
    has_series: bool,
}

/// Times of the marks, and of the last reading.
#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    older: Option<Instant>,
    newer: Option<Instant>,
    last: Option<Instant>,
}

impl CostMeter {
    /// Takes in a reading.
    pub(crate) fn handle(&mut self, now: Instant, reading: Reading) {
        let Reading { lanes, wire_bytes, fetched_bytes } = reading;
        let in_flight = lanes.iter().map(|lane| lane.in_flight_bytes).sum();
        let done: Vec<_> = sum(lanes).into_iter().collect();
        for (topic, bytes) in &done {
            let entry = self.entry(topic);
            entry.records += bytes.records;
            entry.record_bytes += bytes.record_bytes;
        }
        self.pool += wire_bytes.saturating_sub(self.wire_bytes);
        self.wire_bytes = self.wire_bytes.max(wire_bytes);
        self.share_wire(&done, in_flight);
        if let Some(fetched) = fetched_bytes {
            self.knows_source = true;
            self.fetched_pool += fetched.saturating_sub(self.fetched_bytes);
            self.fetched_bytes = self.fetched_bytes.max(fetched);
            self.share_batches(&done);
        }
        self.mark(now);
    }

    /// Shares the pool out to the done frames, less the part of those still in flight.
    fn share_wire(&mut self, done: &[(Arc<str>, Done)], in_flight: u64) {
        let done_bytes: u64 = done.iter().map(|(_, bytes)| bytes.frame_bytes).sum();
        if done_bytes == 0 {
            if in_flight == 0 {
                self.no_topic.wire_bytes += std::mem::take(&mut self.pool);
            }
            return;
        }
        let whole = u128::from(done_bytes) + u128::from(in_flight);
        let due = u64::try_from(u128::from(self.pool) * u128::from(done_bytes) / whole).unwrap_or(self.pool);
        self.pool -= due;
        let weights: Vec<_> = done.iter().map(|(_, bytes)| bytes.frame_bytes as f64).collect();
        for ((topic, _), share) in done.iter().zip(split(due, &weights)) {
            self.entry(topic).wire_bytes += share;
        }
    }

    /// Shares the bytes of the brokers out to the topics that were packed.
    fn share_batches(&mut self, done: &[(Arc<str>, Done)]) {
        let packed = done.iter().filter(|(_, bytes)| bytes.packed_bytes > 0);
        let parts: Vec<_> = packed.map(|(topic, bytes)| (topic, bytes.packed_bytes)).collect();
        // What was read ahead comes before it is packed; then packed records say nothing about batches.
        if parts.is_empty() || self.fetched_pool == 0 {
            return;
        }
        let shares = self.batches.share_out(std::mem::take(&mut self.fetched_pool), &parts);
        for ((topic, _), share) in parts.into_iter().zip(shares) {
            self.entry(topic).source_bytes += share;
        }
    }

    fn entry(&mut self, topic: &Arc<str>) -> &mut Entry {
        let has_room = self.topics.len() < SERIES_MAX
            || self.topics.values().filter(|entry| entry.has_series).count() < SERIES_MAX;
        let new = Entry { has_series: has_room, ..Entry::default() };
        self.topics.entry(Arc::clone(topic)).or_insert(new)
    }

    /// Adds the topics that are no longer carried to the one entry for them.
    pub(crate) fn fold(&mut self, is_carried: impl Fn(&str) -> bool) {
        let Self { topics, gone, .. } = self;
        topics.retain(|topic, entry| {
            let stays = is_carried(topic);
            if !stays {
                gone.add(entry);
            }
            stays
        });
        self.batches.retain(is_carried);
    }

    fn mark(&mut self, now: Instant) {
        let Marks { older, newer, last } = &mut self.marks;
        *last = Some(now);
        older.get_or_insert(now);
        let begun = *newer.get_or_insert(now);
        if now.saturating_duration_since(begun) < MARK_EVERY {
            return;
        }
        *older = Some(begun);
        *newer = Some(now);
        let entries = self.topics.values_mut().chain([&mut self.gone, &mut self.no_topic]);
        entries.for_each(|entry| entry.marks = [entry.marks[1], entry.wire_bytes]);
    }

    /// Time in seconds over which rates are measured.
    pub(crate) fn rate_seconds(&self) -> f64 {
        let Marks { older, last, .. } = self.marks;
        older.zip(last).map_or(0.0, |(from, to)| to.saturating_duration_since(from).as_secs_f64())
    }

    /// Returns what was counted of each carried topic, and its bytes on the wire per second.
    pub(crate) fn topics(&self) -> impl Iterator<Item = (&str, Counted, f64)> {
        self.topics.iter().map(|(topic, entry)| (&**topic, self.counted(entry), self.rate(entry)))
    }

    /// Returns what was counted of topics that are no longer carried.
    pub(crate) fn gone(&self) -> (Counted, f64) {
        (self.counted(&self.gone), self.rate(&self.gone))
    }

    /// Returns what was shared out of all topics, and of none.
    pub(crate) fn total(&self) -> (Counted, f64) {
        let mut sum = self.no_topic;
        self.topics.values().chain([&self.gone]).for_each(|entry| sum.add(entry));
        (self.counted(&sum), self.rate(&sum))
    }

    /// Bytes that were sent while no frame was in flight.
    pub(crate) fn no_topic_bytes(&self) -> u64 {
        self.no_topic.wire_bytes
    }

    /// Returns the bytes of each topic that has a series of its own in the metrics, and those of all others.
    pub(crate) fn series(&self) -> (Vec<(&str, Counted)>, Counted) {
        let mut others = self.gone;
        self.topics.values().filter(|entry| !entry.has_series).for_each(|entry| others.add(entry));
        let own = self.topics.iter().filter(|(_, entry)| entry.has_series);
        (own.map(|(topic, entry)| (&**topic, self.counted(entry))).collect(), self.counted(&others))
    }

    fn counted(&self, entry: &Entry) -> Counted {
        let Entry { records, record_bytes, wire_bytes, source_bytes, .. } = *entry;
        Counted { records, record_bytes, wire_bytes, source_bytes: self.knows_source.then_some(source_bytes) }
    }

    fn rate(&self, entry: &Entry) -> f64 {
        let seconds = self.rate_seconds();
        let bytes = entry.wire_bytes.saturating_sub(entry.marks[0]);
        if seconds > 0.0 { bytes as f64 / seconds } else { 0.0 }
    }
}

impl Entry {
    fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.record_bytes += other.record_bytes;
        self.wire_bytes += other.wire_bytes;
        self.source_bytes += other.source_bytes;
        self.marks.iter_mut().zip(other.marks).for_each(|(mark, more)| *mark += more);
    }
}

/// Sums up what all lanes have done.
fn sum(lanes: Vec<Taken>) -> HashMap<Arc<str>, Done> {
    let mut lanes = lanes.into_iter().map(|lane| lane.done);
    let mut sums = lanes.next().unwrap_or_default();
    for (topic, bytes) in lanes.flatten() {
        let sum = sums.entry(topic).or_default();
        *sum = *sum + bytes;
    }
    sums
}

#[cfg(test)]
mod tests;
