//! Planted bugs: a target with one bug, between the product's lane and the simulated cluster. The product's code is
//! unchanged.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use receiver::custody::{BidName, BidRecord, CustodyRecord, Holder, WriterId};
use receiver::map::PartitionMap;
use receiver::state::{self, LaneState, MovedRecord, PartitionRecord};
use receiver::{
    Delivered, Extent, LaneTarget, Rejection, SharedLane, StateEntry, TargetError, TargetPartition, Unwritable,
};
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
    /// A taker fences the others before its bid, and not after it.
    FenceBeforeBidOnly,
    /// A taker fences only the last holder, and only after its bid.
    OnlyLastFenced,
    /// A lane continues through a new instance of its writer without a reading of its custody.
    GrantKept,
    /// A lane moves to another writer without a bid.
    MovedWithoutBid,
    /// The lanes that share a failed transaction with the one that failed take it for committed.
    OthersCompleted,
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
    /// An offset map is not corrected where the delivery reports differ from the prediction.
    PredictionKept,
    /// After a transaction that failed, the map still has its ranges.
    VoidRangesKept,
    /// A hand-over loses the map.
    MapNotHandedOver,
    /// A lane is given up for a promotion that it does not store.
    PromotionNotStored,
    /// The last lane of a link is left out of its promotion.
    LaneNotPromoted,
    /// The way back begins at the last record that the link brought.
    ReturnsTooLow,
    /// It begins one offset behind it.
    ReturnsTooHigh,
    /// It begins where the log ended when the link was promoted.
    ReturnsFromLogEnd,
    /// A block of the map counts as being one offset further.
    BlockMisplaced,
    /// A sender's frames refer to those of an earlier epoch.
    FrameStateKept,
}

/// Target of a lane, with one bug or none.
pub(crate) struct Bugged {
    pub(crate) inner: SharedLane<SimTarget>,
    clients: SimTarget,
    state: TargetPartition,
    lane: LaneId,
    bug: Option<Bug>,
    holder: Holder,
    /// Custodies of the last reading, the present one last.
    chain: Vec<CustodyRecord>,
    /// A bid was written since the last reading that does not decide.
    has_bid: bool,
    /// Id of the present producer, as the lane knows it.
    writer: Option<WriterId>,
    /// Partition records that were written, by key, and the keys of those of the present transaction.
    records: HashMap<Vec<u8>, PartitionRecord>,
    present: HashSet<Vec<u8>>,
}

impl Bugged {
    /// Wraps the target of the lane that `holder` names.
    pub(crate) fn new(
        inner: SharedLane<SimTarget>,
        clients: SimTarget,
        lane: LaneId,
        bug: Option<Bug>,
        holder: Holder,
    ) -> Self {
        let state = TargetPartition::new(state::topic("sim"), i32::from(lane.0));
        Self {
            inner,
            clients,
            state,
            lane,
            bug,
            holder,
            chain: Vec::new(),
            has_bid: false,
            writer: None,
            records: HashMap::new(),
            present: HashSet::new(),
        }
    }

    fn holder(&self) -> Holder {
        self.holder
    }

    /// Grants the lane the present instance of its writer, or a new one, without a reading.
    pub(crate) fn grant(&mut self) {
        for id in self.inner.ids() {
            if self.inner.fence(&id, Duration::ZERO).is_ok() {
                return;
            }
        }
    }

    /// Returns whether the bug leaves out the fence of this id.
    fn leaves_out(&self, writer: &WriterId) -> bool {
        let mut others = self.chain.iter().filter(|custody| custody.holder != self.holder());
        match self.bug {
            Some(Bug::NoFence) => true,
            Some(Bug::FenceBeforeBidOnly) => self.has_bid,
            Some(Bug::OnlyLastFenced) => !self.has_bid || others.next_back().is_some_and(|last| last.writer != *writer),
            _ => false,
        }
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
            Some(Bug::VoidRangesKept) => {
                for entry in &mut entries {
                    let found = self.partition_record(&entry.key, entry.value.as_deref());
                    if let Some(((_, found), written)) = found.zip(self.records.get(&entry.key)) {
                        entry.value = Some(state::encode(&PartitionRecord { map: written.map.clone(), ..found }));
                    }
                }
            }
            _ => {}
        }
        entries
    }

    fn partition_record(&self, key: &[u8], value: Option<&[u8]>) -> Option<(Partition, PartitionRecord)> {
        let entry = StateEntry::new(key.to_vec(), value.map(<[u8]>::to_vec));
        LaneState::fold(self.lane, "sim", "source", &[entry]).ok()?.partitions.into_iter().next()
    }

    fn is_jump(&self, key: &[u8], value: Option<&[u8]>) -> bool {
        let entry = StateEntry::new(key.to_vec(), value.map(<[u8]>::to_vec));
        LaneState::fold(self.lane, "sim", "source", &[entry]).is_ok_and(|state| !state.jumps.is_empty())
    }

    /// Returns the entry as the bug has it written, if it is.
    fn written(&mut self, entry: StateEntry) -> Option<StateEntry> {
        self.has_bid |= bid(&entry).is_some();
        match (self.bug, bid(&entry), custody(&entry)) {
            (Some(Bug::BidIsCustody), Some(BidRecord { succeeds, writer, holder }), _) => {
                let custody = CustodyRecord { number: succeeds + 1, writer, holder };
                return Some(StateEntry::new(state::custody_key(), Some(state::encode(&custody))));
            }
            (Some(Bug::OtherIdKept), _, Some(custody)) => {
                let stored = self.chain.last().filter(|stored| stored.number == custody.number);
                return Some(StateEntry::new(entry.key, Some(state::encode(stored.unwrap_or(&custody)))));
            }
            _ => {}
        }
        if self.bug == Some(Bug::PromotionNotStored) && entry.key == state::promoted_key() {
            return None;
        }
        let StateEntry { key, value, .. } = &entry;
        let partition = self.bug.and_then(|_| self.partition_record(key, value.as_deref()));
        if let Some((_, record)) = &partition {
            let is_first = self.present.insert(key.clone());
            if self.bug == Some(Bug::PredictionKept) && !is_first {
                return None;
            }
            self.records.insert(key.clone(), record.clone());
        }
        let changed = |record| StateEntry::new(key.clone(), Some(state::encode(&record)));
        match (self.bug, partition) {
            (Some(Bug::PositionTooHigh), Some((_, record))) if record.delivered > 0 => {
                Some(changed(PartitionRecord { position: Position(record.position.0 + 1), ..record }))
            }
            (Some(Bug::HaltNotStored), Some((_, record))) => Some(changed(PartitionRecord { halt: None, ..record })),
            (Some(Bug::MapNotHandedOver), _) if self.is_moved_record(key, value.as_deref()) => {
                let MovedRecord { to, record } = decode(value.as_deref()?).unwrap();
                let map = PartitionMap::beginning(record.position);
                let moved = MovedRecord { to, record: PartitionRecord { map, ..record } };
                Some(StateEntry::new(key.clone(), Some(state::encode(&moved))))
            }
            (Some(Bug::MoveNotStored), _) if self.is_moved_record(key, value.as_deref()) => None,
            (Some(Bug::JumpNotStored), _) if self.is_jump(key, value.as_deref()) => None,
            (Some(Bug::InitialPositionNotStored), Some((_, record))) if record.delivered == 0 => None,
            _ => Some(entry),
        }
    }

    fn is_moved_record(&self, key: &[u8], value: Option<&[u8]>) -> bool {
        let entry = StateEntry::new(key.to_vec(), value.map(<[u8]>::to_vec));
        LaneState::fold(self.lane, "sim", "source", &[entry]).is_ok_and(|state| !state.moved.is_empty())
    }
}

impl LaneTarget for Bugged {
    fn read_state(&mut self, extent: Extent) -> Result<Vec<StateEntry>, TargetError> {
        let entries = match (self.bug, extent) {
            (Some(Bug::ReadsToTheEnd), _) => self.inner.read_state(Extent::LastStable)?,
            (Some(Bug::VoidAssumed), Extent::Through(_)) => self.clients.read_decided(&self.state)?,
            _ => self.inner.read_state(extent)?,
        };
        self.chain = chain(&entries);
        self.has_bid &= extent != Extent::LastStable;
        Ok(self.distorted(entries))
    }

    fn ids(&self) -> Vec<WriterId> {
        self.inner.ids()
    }

    fn fence(&mut self, writer: &WriterId, within: Duration) -> Result<(), TargetError> {
        let held = self.chain.last().is_some_and(|custody| custody.holder == self.holder());
        let mut result = self.inner.fence(writer, within);
        if self.bug == Some(Bug::EscapeWithoutBid) && held {
            for id in self.inner.ids() {
                result = result.or_else(|_| self.inner.fence(&id, within));
            }
        }
        self.writer = Some(writer.clone());
        result
    }

    fn expel(&mut self, writer: &WriterId, within: Duration) -> Result<(), TargetError> {
        if self.leaves_out(writer) { Ok(()) } else { self.inner.expel(writer, within) }
    }

    fn begin(&mut self) -> Result<(), TargetError> {
        self.present.clear();
        self.inner.begin()
    }

    fn produce(&mut self, to: &TargetPartition, record: &RecordRef<'_>, frame: &Bytes) -> Result<(), TargetError> {
        self.inner.produce(to, record, frame)
    }

    fn write_state(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), TargetError> {
        let entry = StateEntry::new(key.to_vec(), value.map(<[u8]>::to_vec));
        let Some(StateEntry { key, value, .. }) = self.written(entry) else { return Ok(()) };
        self.inner.write_state(&key, value.as_deref())
    }

    fn commit_entries(&mut self, entries: Vec<StateEntry>) -> Result<Offset, TargetError> {
        let entries = entries.into_iter().filter_map(|entry| self.written(entry)).collect();
        self.inner.commit_entries(entries)
    }

    fn write_block(&mut self, key: &[u8], value: &[u8]) -> Result<(), TargetError> {
        self.inner.write_block(key, value)
    }

    fn drain(&mut self) -> Result<Delivered, TargetError> {
        let mut drained = self.inner.drain();
        if let (Some(Bug::BlockMisplaced), Ok(Delivered { blocks, .. })) = (self.bug, &mut drained) {
            let stretches = std::mem::take(blocks).in_order().unwrap_or_default();
            *blocks = stretches.iter().flat_map(|stretch| stretch.first.0 + 1..=stretch.end()).collect();
        }
        if let (Some(Bug::WholeBatchNamed), Err(TargetError::Rejected(rejections))) = (self.bug, &mut drained) {
            let Rejection { first, last, named, .. } = &mut rejections.first;
            *named = (first.0..=last.0).map(Offset).collect();
        }
        drained
    }

    fn unwritable(&mut self, partitions: &[TargetPartition]) -> Result<Vec<Unwritable>, TargetError> {
        self.inner.unwritable(partitions)
    }

    fn discard(&mut self) {
        self.inner.discard();
    }
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
