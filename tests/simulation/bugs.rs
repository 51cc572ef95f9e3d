//! Planted bugs: a target with one bug, between the product's lane and the simulated cluster. The product's code is
//! unchanged.

use std::time::Duration;

use bytes::Bytes;
use receiver::custody::{BidName, BidRecord, CustodyRecord, Holder, WriterId};
use receiver::state::{self, LaneState, PartitionRecord};
use receiver::{Delivered, Extent, LaneTarget, Rejection, StateEntry, TargetError, TargetPartition, Unwritable};
use wire::frame::{FIELDS, RecordRef};
use wire::ids::{Epoch, LaneId, Offset, Position};
use wire::origin::decode;
use wire::partition::Partition;
use xxhash_rust::xxh3::Xxh3Default;

use crate::target::SimTarget;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Records are reported as committed, and so acked, before the commit.
    AckBeforeCommit,
    /// Stored positions are one too high.
    PositionTooHigh,
    /// The earlier owner of a lane is not fenced.
    NoFence,
    /// A reading that decides goes to the end that the broker shows, in place of through a record of the lane's own.
    ReadsToTheEnd,
    /// A reading that decides does not wait for open transactions, and takes them for aborted.
    VoidAssumed,
    /// The last bid on a custody wins, in place of the first.
    LastBidWins,
    /// A bid is written under the key of the custody record.
    BidIsCustody,
    /// Bids of other processes are ignored.
    BidsIgnored,
    /// Where an id cannot be initialised, its holder continues through another one without a bid.
    EscapeWithoutBid,
    /// A holder continues through an id that is not the custody's.
    OtherIdKept,
    /// Every process has ids of its own. A taker fences the others before its bid, and not after it.
    FenceBeforeBidOnly,
    /// Every process has ids of its own. A taker fences only the last holder.
    OnlyLastFenced,
    /// Every process has ids of its own. A taker fences every earlier holder after its bid: no bug.
    AllFenced,
    /// Frames of an older epoch count as frames of the current one.
    NoEpochCheck,
    /// Partitions are read before their first position is stored.
    InitialPositionNotStored,
    /// Frames in flight on a dead channel are not sent again.
    CopiesForgotten,
    /// Frames that arrived in part on a dead channel count as received in full.
    PartsStayCharged,
    /// A halt is sent to the sender and not stored.
    HaltNotStored,
    /// A lane takes a partition before the lane that had it has stored the hand-over.
    JoinsBeforeMoved,
    /// A hand-over is sent to the other lane and not stored.
    MoveNotStored,
    /// Every record of a rejected batch counts as named.
    WholeBatchNamed,
    /// Jumps are not stored.
    JumpNotStored,
}

/// Target of a lane, with one bug or none.
pub(crate) struct Bugged {
    inner: SimTarget,
    lane: LaneId,
    bug: Option<Bug>,
    process: u64,
    carries_records: bool,
    commit_owed: bool,
    /// Custodies of the last reading, the present one last.
    chain: Vec<CustodyRecord>,
    /// Id of the present producer, as the lane knows it.
    writer: Option<WriterId>,
}

impl Bugged {
    /// Wraps a target; `process` is the number of the receiver process.
    pub(crate) fn new(inner: SimTarget, lane: LaneId, bug: Option<Bug>, process: u64) -> Self {
        Self { inner, lane, bug, process, carries_records: false, commit_owed: false, chain: Vec::new(), writer: None }
    }

    fn holder(&self) -> Holder {
        Holder(u128::from(self.process))
    }

    fn has_ids_of_its_own(&self) -> bool {
        let of_its_own = [Bug::NoFence, Bug::FenceBeforeBidOnly, Bug::OnlyLastFenced, Bug::AllFenced];
        self.bug.is_some_and(|bug| of_its_own.contains(&bug))
    }

    /// Fences the ids of earlier holders of the lane, where every process has ids of its own.
    fn expel_holders(&mut self, holders: impl IntoIterator<Item = Holder>) -> Result<(), TargetError> {
        let ids = WriterId::of_lane("sim", self.lane);
        let own = self.holder();
        for Holder(holder) in holders.into_iter().filter(|holder| *holder != own) {
            for id in &ids {
                self.inner.expel(&id_of(id, holder), Duration::ZERO)?;
            }
        }
        Ok(())
    }

    /// Fences after a bid, and reads again through a record that was committed after the fence.
    fn expel_after_bid(&mut self) -> Result<Vec<StateEntry>, TargetError> {
        let mut holders: Vec<_> = self.chain.iter().map(|custody| custody.holder).collect();
        if holders.pop() == Some(self.holder()) {
            let skipped = if self.bug == Some(Bug::OnlyLastFenced) { holders.len().saturating_sub(1) } else { 0 };
            self.expel_holders(holders.split_off(skipped))?;
        }
        self.inner.begin()?;
        self.inner.write_state(&state::barrier_key(), None)?;
        let end = self.inner.drain()?.state_end.expect("the barrier has an offset");
        self.inner.commit()?;
        self.inner.read_state(Extent::Through(end))
    }

    /// Returns the entries as the lane sees them, with the bug.
    fn distorted(&self, mut entries: Vec<StateEntry>) -> Vec<StateEntry> {
        match self.bug {
            Some(Bug::LastBidWins) => {
                let mut bids: Vec<_> = entries.extract_if(.., |entry| bid(entry).is_some()).collect();
                bids.reverse();
                bids.sort_by_key(|entry| bid(entry).map(|bid| bid.succeeds));
                entries.extend(bids);
            }
            Some(Bug::BidsIgnored) => {
                entries.retain(|entry| bid(entry).is_none_or(|bid| bid.holder == self.holder()));
            }
            Some(Bug::OtherIdKept) => {
                let held = self.chain.last().filter(|custody| custody.holder == self.holder());
                for entry in &mut entries {
                    let writer = self.writer.clone();
                    match (bid(entry), custody(entry), writer, held) {
                        (Some(bid), _, Some(writer), Some(held)) if bid.succeeds + 1 == held.number => {
                            entry.value = Some(state::encode(&BidRecord { writer, ..bid }));
                        }
                        (_, Some(custody), Some(writer), Some(held)) if custody.number == held.number => {
                            entry.value = Some(state::encode(&CustodyRecord { writer, ..custody }));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        entries
    }

    /// Returns the id that is initialised in place of `writer`.
    fn renamed(&self, writer: &WriterId) -> WriterId {
        if self.has_ids_of_its_own() { id_of(writer, u128::from(self.process)) } else { writer.clone() }
    }

    fn partition_record(&self, key: &[u8], value: Option<&[u8]>) -> Option<(Partition, PartitionRecord)> {
        let entry = StateEntry { key: key.to_vec(), value: value.map(<[u8]>::to_vec) };
        LaneState::fold(self.lane, "sim", "source", &[entry]).ok()?.partitions.into_iter().next()
    }

    fn is_jump(&self, key: &[u8], value: Option<&[u8]>) -> bool {
        let entry = StateEntry { key: key.to_vec(), value: value.map(<[u8]>::to_vec) };
        LaneState::fold(self.lane, "sim", "source", &[entry]).is_ok_and(|state| !state.jumps.is_empty())
    }

    fn is_moved_record(&self, key: &[u8], value: Option<&[u8]>) -> bool {
        let entry = StateEntry { key: key.to_vec(), value: value.map(<[u8]>::to_vec) };
        LaneState::fold(self.lane, "sim", "source", &[entry]).is_ok_and(|state| !state.moved.is_empty())
    }
}

impl LaneTarget for Bugged {
    fn read_state(&mut self, extent: Extent) -> Result<Vec<StateEntry>, TargetError> {
        let mut entries = match (self.bug, extent) {
            (Some(Bug::ReadsToTheEnd), _) => self.inner.read_state(Extent::LastStable)?,
            (Some(Bug::VoidAssumed), Extent::Through(_)) => self.inner.read_decided()?,
            _ => self.inner.read_state(extent)?,
        };
        self.chain = chain(&entries);
        let fences = matches!(self.bug, Some(Bug::OnlyLastFenced | Bug::AllFenced));
        if fences && self.chain.len() > 1 && extent != Extent::LastStable {
            entries = self.expel_after_bid()?;
        }
        Ok(self.distorted(entries))
    }

    fn fence(&mut self, writer: &WriterId, within: Duration) -> Result<(), TargetError> {
        let held = self.chain.last().is_some_and(|custody| custody.holder == self.holder());
        if self.bug == Some(Bug::FenceBeforeBidOnly) && !held {
            let holders: Vec<_> = self.chain.iter().map(|custody| custody.holder).collect();
            self.expel_holders(holders)?;
        }
        let mut result = self.inner.fence(&self.renamed(writer), within);
        if self.bug == Some(Bug::EscapeWithoutBid) && held {
            for id in WriterId::of_lane("sim", self.lane) {
                result = result.or_else(|_| self.inner.fence(&id, within));
            }
        }
        self.writer = Some(writer.clone());
        result
    }

    fn expel(&mut self, writer: &WriterId, within: Duration) -> Result<(), TargetError> {
        self.inner.expel(&self.renamed(writer), within)
    }

    fn begin(&mut self) -> Result<(), TargetError> {
        if std::mem::take(&mut self.commit_owed) {
            self.inner.commit()?;
        }
        self.carries_records = false;
        self.inner.begin()
    }

    fn produce(&mut self, to: &TargetPartition, record: &RecordRef<'_>, frame: &Bytes) -> Result<(), TargetError> {
        self.carries_records = true;
        self.inner.produce(to, record, frame)
    }

    fn write_state(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), TargetError> {
        let entry = StateEntry { key: key.to_vec(), value: value.map(<[u8]>::to_vec) };
        match (self.bug, bid(&entry), custody(&entry)) {
            (Some(Bug::BidIsCustody), Some(BidRecord { succeeds, writer, holder }), _) => {
                let custody = CustodyRecord { number: succeeds + 1, writer, holder };
                return self.inner.write_state(&state::custody_key(), Some(&state::encode(&custody)));
            }
            (Some(Bug::OtherIdKept), _, Some(custody)) => {
                let stored = self.chain.last().filter(|stored| stored.number == custody.number);
                return self.inner.write_state(key, Some(&state::encode(stored.unwrap_or(&custody))));
            }
            _ => {}
        }
        let partition = self.bug.and_then(|_| self.partition_record(key, value));
        match (self.bug, partition) {
            (Some(Bug::PositionTooHigh), Some((_, record))) if record.delivered > 0 => {
                let record = PartitionRecord { position: Position(record.position.0 + 1), ..record };
                self.inner.write_state(key, Some(&state::encode(&record)))
            }
            (Some(Bug::HaltNotStored), Some((_, record))) => {
                let record = PartitionRecord { halt: None, ..record };
                self.inner.write_state(key, Some(&state::encode(&record)))
            }
            (Some(Bug::MoveNotStored), _) if self.is_moved_record(key, value) => Ok(()),
            (Some(Bug::JumpNotStored), _) if self.is_jump(key, value) => Ok(()),
            (Some(Bug::InitialPositionNotStored), Some((_, record))) if record.delivered == 0 => Ok(()),
            _ => self.inner.write_state(key, value),
        }
    }

    fn drain(&mut self) -> Result<Delivered, TargetError> {
        let mut drained = self.inner.drain();
        if let (Some(Bug::WholeBatchNamed), Err(TargetError::Rejected(rejections))) = (self.bug, &mut drained) {
            let Rejection { first, last, named, .. } = &mut rejections.first;
            *named = (first.0..=last.0).map(Offset).collect();
        }
        drained
    }

    fn unwritable(&mut self, partitions: &[TargetPartition]) -> Result<Vec<Unwritable>, TargetError> {
        self.inner.unwritable(partitions)
    }

    fn commit(&mut self) -> Result<(), TargetError> {
        if self.bug == Some(Bug::AckBeforeCommit) && self.carries_records {
            self.commit_owed = true;
            return Ok(());
        }
        self.inner.commit()
    }

    fn discard(&mut self) {
        self.commit_owed = false;
        self.inner.discard();
    }
}

/// Returns an id that only one process uses.
fn id_of(writer: &WriterId, process: u128) -> WriterId {
    WriterId::named(format!("{}.of.{process}", writer.as_str()))
}

fn bid(entry: &StateEntry) -> Option<BidRecord> {
    let kind = state::bid_key(BidName { holder: Holder(0), number: 0 });
    if entry.key.get(..2)? != &kind[..2] {
        return None;
    }
    decode(entry.value.as_deref()?).ok()
}

fn custody(entry: &StateEntry) -> Option<CustodyRecord> {
    if entry.key != state::custody_key() {
        return None;
    }
    decode(entry.value.as_deref()?).ok()
}

/// Returns the stored custody and those of the bids that won since.
fn chain(entries: &[StateEntry]) -> Vec<CustodyRecord> {
    let mut chain: Vec<_> = entries.iter().find_map(custody).into_iter().collect();
    for BidRecord { succeeds, writer, holder } in entries.iter().filter_map(bid) {
        if succeeds == chain.last().map_or(0, |present: &CustodyRecord| present.number) {
            chain.push(CustodyRecord { number: succeeds + 1, writer, holder });
        }
    }
    chain
}

/// Returns the frame with another epoch.
pub(crate) fn relabelled(frame: &Bytes, epoch: Epoch) -> Bytes {
    let mut bytes = frame.to_vec();
    let at = |field: &str| FIELDS.iter().find(|(_, _, name)| *name == field).map(|&(at, len, _)| at..at + len).unwrap();
    bytes[at("epoch")].copy_from_slice(&epoch.0.to_le_bytes());
    let checksum = at("checksum");
    let mut hasher = Xxh3Default::new();
    hasher.update(&bytes[..checksum.start]);
    hasher.update(&bytes[checksum.end..]);
    bytes[checksum].copy_from_slice(&hasher.digest().to_le_bytes());
    bytes.into()
}
