//! A target in memory, and a lane that writes it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kafka::{KafkaError, KafkaFault, Refusal};
use receiver::custody::{Holder, WriterId};
use receiver::{
    Committed, Company, DecodeMemory, Delivered, Extent, Lane, LaneError, LaneTarget, MapTerms, Prepared, Rejection,
    StateEntry, TargetError, TargetPartition, Terms, TransactionSize, Unwritable,
};
use wire::frame::RecordRef;
use wire::ids::{LaneId, Offset};
use wire::lanes::ClassTable;

/// The lane that is tested.
pub(crate) const LANE: LaneId = LaneId(0);

/// A target that accepts everything and keeps the state, unless it is set to fail. Its clones share the state partition
/// as receivers do, which write it in turn; its entries are in the order of the log.
#[derive(Clone, Default)]
pub(crate) struct Willing {
    stored: Arc<Mutex<Vec<StateEntry>>>,
    written: Vec<StateEntry>,
    fences: Arc<AtomicU32>,
    /// Number of reads that still find the state, before one finds nothing.
    pub(crate) forgets_after: Option<u32>,
    /// The next commit fails, its outcome unknown.
    pub(crate) fails: bool,
    /// Partitions that cannot be written: transactions with records for one of them fail.
    pub(crate) unwritable: Vec<Unwritable>,
    /// Partitions that the present transaction has records for.
    appended: Vec<TargetPartition>,
    /// Number of records that were appended.
    pub(crate) records: usize,
    /// Target topics and values of these records.
    pub(crate) values: Vec<(Arc<str>, Vec<u8>)>,
    /// Those of the present transaction.
    present: Vec<(Arc<str>, Vec<u8>)>,
    /// Source offsets of records that it refuses, each by its name.
    pub(crate) refuses: Vec<i64>,
    /// Refused record of the present transaction.
    refused: Option<Rejection>,
}

impl Willing {
    /// A target that has these entries.
    pub(crate) fn with(entries: Vec<StateEntry>) -> Self {
        let target = Self::default();
        target.stored.lock().unwrap().extend(entries);
        target
    }

    /// Number of fences by this target and its clones.
    pub(crate) fn fences(&self) -> u32 {
        self.fences.load(Ordering::Relaxed)
    }

    fn commit(&mut self) -> Result<(), TargetError> {
        let mut stored = self.stored.lock().unwrap();
        for entry in self.written.drain(..) {
            stored.retain(|earlier| earlier.key != entry.key);
            stored.extend(entry.value.is_some().then_some(entry));
        }
        drop(stored);
        if std::mem::take(&mut self.fails) {
            let reason = "told to".to_owned();
            return Err(KafkaError { doing: "commit".to_owned(), reason, fault: KafkaFault::Unavailable }.into());
        }
        Ok(())
    }
}

/// A transaction of one lane alone.
pub(crate) trait Step {
    fn step(&mut self) -> Result<Committed, LaneError>;
}

impl Step for Lane<Willing> {
    fn step(&mut self) -> Result<Committed, LaneError> {
        let room = TransactionSize::new(Duration::from_secs(30)).room();
        let Prepared { mut draft, result } = self.prepare(room);
        let written = result.and_then(|()| {
            self.await_delivery(&mut draft)?;
            if draft.has_begun() {
                self.target_mut().commit()?;
            }
            Ok(())
        });
        match written {
            Ok(()) => Ok(self.complete(draft)),
            Err(error) => {
                self.fail(draft, &error, Company::Alone);
                Err(error)
            }
        }
    }
}

/// Takes all steps for which there is work.
pub(crate) fn step_all(lane: &mut Lane<Willing>) {
    while lane.has_work() {
        lane.step().unwrap();
    }
}

/// A lane with a target that has these entries. It is not open yet.
pub(crate) fn lane(entries: Vec<StateEntry>) -> Lane<Willing> {
    lane_on(&Willing::with(entries))
}

/// A lane with a clone of this target. It is not open yet.
pub(crate) fn lane_on(target: &Willing) -> Lane<Willing> {
    lane_within(target, DecodeMemory::new(1 << 20))
}

/// A lane with a clone of this target that decodes within this memory. It is not open yet.
pub(crate) fn lane_within(target: &Willing, memory: Arc<DecodeMemory>) -> Lane<Willing> {
    Lane::new(LANE, Holder(rand::random()), target.clone(), memory)
}

/// Terms of a session with these classes.
pub(crate) fn terms(classes: ClassTable) -> Arc<Terms> {
    Arc::new(Terms {
        link: "l".to_owned(),
        classes,
        lane_hash: "h".to_owned(),
        source_cluster: "fra".to_owned(),
        target_cluster: "sin".to_owned(),
        filter_hash: 1,
        sender: "a".to_owned(),
        accepts: None,
        map: MapTerms::new(false),
        state: None,
    })
}

impl LaneTarget for Willing {
    fn read_state(&mut self, _: Extent) -> Result<Vec<StateEntry>, TargetError> {
        match &mut self.forgets_after {
            Some(0) => {
                self.forgets_after = None;
                return Ok(Vec::new());
            }
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(self.stored.lock().unwrap().clone())
    }

    fn ids(&self) -> Vec<WriterId> {
        WriterId::of_writer("willing", "bulk")
    }

    fn fence(&mut self, _: &WriterId, _: Duration) -> Result<(), TargetError> {
        self.fences.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn expel(&mut self, _: &WriterId, _: Duration) -> Result<(), TargetError> {
        self.fences.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn begin(&mut self) -> Result<(), TargetError> {
        Ok(())
    }

    fn produce(&mut self, to: &TargetPartition, record: &RecordRef<'_>, _: &Bytes) -> Result<(), TargetError> {
        if self.refuses.contains(&record.offset.0) {
            let first = record.offset;
            let last = record.offset;
            let reason = "refused".to_owned();
            let partition = to.clone();
            self.refused = Some(Rejection { partition, refusal: Refusal::Record, first, last, named: vec![], reason });
        }
        self.appended.push(to.clone());
        self.present.push((Arc::clone(&to.topic), record.value.unwrap_or_default().to_vec()));
        Ok(())
    }

    fn write_state(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), TargetError> {
        self.written.push(StateEntry::new(key.to_vec(), value.map(<[u8]>::to_vec)));
        Ok(())
    }

    fn write_block(&mut self, _: &[u8], _: &[u8]) -> Result<(), TargetError> {
        Ok(())
    }

    fn drain(&mut self) -> Result<Delivered, TargetError> {
        if let Some(unwritable) = self.unwritable.iter().find(|one| self.appended.contains(&one.partition)) {
            return Err(unwritable.clone().into());
        }
        if let Some(rejection) = self.refused.take() {
            return Err(TargetError::Rejected(rejection.into()));
        }
        self.records += self.appended.drain(..).count();
        self.values.append(&mut self.present);
        Ok(Delivered { state_end: Some(Offset(0)), ..Delivered::default() })
    }

    fn commit_entries(&mut self, entries: Vec<StateEntry>) -> Result<Offset, TargetError> {
        self.written.extend(entries);
        self.commit()?;
        Ok(Offset(0))
    }

    fn unwritable(&mut self, partitions: &[TargetPartition]) -> Result<Vec<Unwritable>, TargetError> {
        let is_asked = |one: &&Unwritable| partitions.contains(&one.partition);
        Ok(self.unwritable.iter().filter(is_asked).cloned().collect())
    }

    fn discard(&mut self) {
        self.written.clear();
        self.appended.clear();
        self.present.clear();
        self.refused = None;
    }
}
