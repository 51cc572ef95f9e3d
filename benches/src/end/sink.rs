//! An in-memory target cluster with transactions. It compares every value and keeps only positions.

use std::collections::hash_map::{Entry, HashMap};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;
use kafka::KafkaError;
use receiver::custody::WriterId;
use receiver::{
    Appended, Extent, Offsets, StateAccess, StateEntry, Target, TargetError, TargetPartition, TargetWriter, Unwritable,
};
use service::lock::Lock;
use testkit::MemoryCatalog;
use wire::frame::RecordRef;
use wire::ids::Offset;

use super::sample::{Latency, SinkSample, monotonic, wall_ms};
use super::source::TRICKLE;
use crate::payload::Payload;

/// A target whose writers share one set of counters.
#[derive(Debug, Clone)]
pub(crate) struct Sink(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    payload: Payload,
    catalog: Arc<MemoryCatalog>,
    counts: Lock<Counts>,
    committed: Lock<Committed>,
}

#[derive(Debug)]
struct Counts {
    sample: SinkSample,
    /// Time from the timestamp of a trickle record to its commit, in ms.
    latency: Histogram<u64>,
}

impl Sink {
    pub(crate) fn new(payload: Payload, catalog: Arc<MemoryCatalog>) -> Self {
        let latency = Histogram::new(3).expect("3 significant digits, which the histogram accepts");
        let counts = Lock::new(Counts { sample: SinkSample::default(), latency });
        Self(Arc::new(Shared { payload, catalog, counts, committed: Lock::default() }))
    }

    pub(crate) fn sample(&self) -> SinkSample {
        let counts = self.0.counts.lock();
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|quantile| counts.latency.value_at_quantile(quantile) as f64);
        let latency = (!counts.latency.is_empty()).then(|| Latency {
            records: counts.latency.len(),
            p50_ms: p50,
            p99_ms: p99,
            max_ms: max,
        });
        SinkSample { at: monotonic(), latency, ..counts.sample.clone() }
    }

    /// Discards the latencies measured so far, which were the warm-up's.
    pub(crate) fn reset_latency(&self) {
        self.0.counts.lock().latency.reset();
    }
}

impl Target for Sink {
    type Writer = SinkWriter;
    type States = SinkStates;

    fn writer(&self) -> Result<SinkWriter, KafkaError> {
        Ok(SinkWriter { shared: Arc::clone(&self.0), open: Transaction::default() })
    }

    fn states(&self) -> Result<SinkStates, KafkaError> {
        Ok(SinkStates(Arc::clone(&self.0)))
    }
}

#[derive(Debug)]
pub(crate) struct SinkWriter {
    shared: Arc<Shared>,
    open: Transaction,
}

/// State partitions of the sink.
#[derive(Debug)]
pub(crate) struct SinkStates(Arc<Shared>);

/// What was committed.
#[derive(Debug, Default)]
struct Committed {
    states: HashMap<TargetPartition, BTreeMap<Vec<u8>, Vec<u8>>>,
    /// The next source offset of each partition.
    next: HashMap<TargetPartition, i64>,
}

/// An open transaction: changes that a commit applies.
#[derive(Debug, Default)]
struct Transaction {
    state: Vec<(TargetPartition, StateEntry)>,
    /// State partitions with entries that were not reported.
    fresh_states: BTreeSet<TargetPartition>,
    partitions: HashMap<TargetPartition, Run>,
    bytes: u64,
    records: u64,
    wrong: u64,
    /// Timestamps of the trickle's records, in ms since the Unix epoch.
    stamps: Vec<i64>,
}

#[derive(Debug)]
struct Run {
    next: i64,
    /// Records that were appended and not yet reported.
    fresh: i64,
}

impl SinkWriter {
    /// Returns true if the record has the expected offset and value.
    fn check(&mut self, to: &TargetPartition, record: &RecordRef<'_>) -> bool {
        let offset = record.offset.0;
        let run = match self.open.partitions.entry(to.clone()) {
            Entry::Occupied(run) => run.into_mut(),
            Entry::Vacant(place) => {
                let next = self.shared.committed.lock().next.get(to).copied().unwrap_or(0);
                place.insert(Run { next, fresh: 0 })
            }
        };
        let due = run.next == offset;
        run.next = offset + 1;
        run.fresh += 1;
        due && record.value == Some(self.shared.payload.value(to.partition, offset))
    }
}

impl StateAccess for SinkStates {
    fn read(&mut self, state: &TargetPartition, _: Extent) -> Result<Vec<StateEntry>, TargetError> {
        let committed = self.0.committed.lock();
        let entry = |(key, value): (&Vec<u8>, &Vec<u8>)| StateEntry::new(key.clone(), Some(value.clone()));
        Ok(committed.states.get(state).into_iter().flatten().map(entry).collect())
    }

    fn expel(&mut self, _: &WriterId, _: Duration) -> Result<(), TargetError> {
        Ok(())
    }

    fn unwritable(&mut self, _: &[TargetPartition]) -> Result<Vec<Unwritable>, TargetError> {
        Ok(Vec::new())
    }
}

impl TargetWriter for SinkWriter {
    fn fence(&mut self, _: &WriterId, _: Duration) -> Result<(), TargetError> {
        self.discard();
        Ok(())
    }

    fn begin(&mut self) -> Result<(), TargetError> {
        self.open = Transaction::default();
        Ok(())
    }

    fn produce(&mut self, to: &TargetPartition, record: &RecordRef<'_>, _frame: &Bytes) -> Result<(), TargetError> {
        let correct = self.check(to, record);
        self.open.wrong += u64::from(!correct);
        self.open.records += 1;
        self.open.bytes += record.value.map_or(0, <[u8]>::len) as u64;
        if &*to.topic == TRICKLE {
            self.open.stamps.push(record.timestamp);
        }
        Ok(())
    }

    fn write_state(&mut self, state: &TargetPartition, key: &[u8], value: Option<&[u8]>) -> Result<(), TargetError> {
        self.open.state.push((state.clone(), StateEntry::new(key.to_vec(), value.map(<[u8]>::to_vec))));
        self.open.fresh_states.insert(state.clone());
        Ok(())
    }

    fn drain(&mut self) -> Result<Vec<Appended>, TargetError> {
        let at_start = |partition| Appended { partition, offsets: Offsets::between(Offset(0), Offset(0)) };
        let mut appended: Vec<_> = std::mem::take(&mut self.open.fresh_states).into_iter().map(at_start).collect();
        for (partition, run) in &mut self.open.partitions {
            let fresh = std::mem::take(&mut run.fresh);
            if fresh > 0 {
                let first = self.shared.catalog.append(partition, fresh).0;
                let last = Offset(first + fresh - 1);
                let offsets = Offsets::between(Offset(first), last);
                appended.push(Appended { partition: partition.clone(), offsets });
            }
        }
        Ok(appended)
    }

    fn commit(&mut self) -> Result<(), TargetError> {
        let Transaction { state, partitions, bytes, records, wrong, stamps, .. } = std::mem::take(&mut self.open);
        // The commit's marker takes an offset of each partition.
        for partition in partitions.keys() {
            self.shared.catalog.append(partition, 1);
        }
        let mut committed = self.shared.committed.lock();
        for (place, StateEntry { key, value, .. }) in state {
            let entries = committed.states.entry(place).or_default();
            match value {
                Some(value) => drop(entries.insert(key, value)),
                None => drop(entries.remove(&key)),
            }
        }
        committed.next.extend(partitions.into_iter().map(|(partition, run)| (partition, run.next)));
        drop(committed);
        let mut counts = self.shared.counts.lock();
        let sample = &mut counts.sample;
        sample.bytes += bytes;
        sample.records += records;
        sample.wrong += wrong;
        if records > 0 {
            sample.committed_at = monotonic();
        }
        let now = wall_ms();
        for stamp in stamps {
            counts.latency.saturating_record(u64::try_from(now - stamp).unwrap_or(0));
        }
        Ok(())
    }

    fn discard(&mut self) {
        self.open = Transaction::default();
    }
}

#[cfg(test)]
mod tests {
    use kafka::catalog::Bounds;
    use wire::frame::Headers;
    use wire::ids::Position;

    use super::*;

    fn writer() -> (Sink, SinkWriter) {
        let catalog = Arc::new(MemoryCatalog::new("target"));
        catalog.add_partition("bulk", Bounds { start: Position(0), end: Position(0) });
        let sink = Sink::new(Payload::new(1, 10), catalog);
        let writer = sink.writer().unwrap();
        (sink, writer)
    }

    fn produce(writer: &mut SinkWriter, offset: i64, value: &[u8]) {
        let to = TargetPartition { topic: "bulk".into(), partition: 0 };
        let record =
            RecordRef { offset: Offset(offset), timestamp: 0, key: None, value: Some(value), headers: Headers::EMPTY };
        writer.produce(&to, &record, &Bytes::new()).unwrap();
    }

    #[test]
    fn only_committed_records_count_and_a_replay_is_accepted() {
        let (sink, mut writer) = writer();
        let mut states = sink.states().unwrap();
        let state = TargetPartition::new("state", 0);
        let payload = Payload::new(1, 10);
        writer.begin().unwrap();
        produce(&mut writer, 0, payload.value(0, 0));
        writer.write_state(&state, b"key", Some(b"lost")).unwrap();
        writer.discard();
        assert!(states.read(&state, Extent::LastStable).unwrap().is_empty());
        writer.begin().unwrap();
        produce(&mut writer, 0, payload.value(0, 0));
        produce(&mut writer, 1, payload.value(0, 1));
        writer.write_state(&state, b"key", Some(b"kept")).unwrap();
        assert!(writer.drain().unwrap().iter().any(|appended| appended.offsets.last() == Offset(1)));
        assert!(writer.drain().unwrap().is_empty());
        writer.commit().unwrap();
        let sample = sink.sample();
        assert_eq!((sample.records, sample.bytes, sample.wrong), (2, 20, 0));
        assert_eq!(states.read(&state, Extent::LastStable).unwrap()[0].value.as_deref(), Some(&b"kept"[..]));
    }

    #[test]
    fn a_gap_a_duplicate_and_a_changed_value_are_wrong() {
        let (sink, mut writer) = writer();
        let payload = Payload::new(1, 10);
        writer.begin().unwrap();
        produce(&mut writer, 0, payload.value(0, 0));
        produce(&mut writer, 0, payload.value(0, 0));
        produce(&mut writer, 2, payload.value(0, 2));
        produce(&mut writer, 3, payload.value(0, 4));
        writer.commit().unwrap();
        assert_eq!(sink.sample().wrong, 3);
    }
}
