//! A lane and its open state: frames, offers and halts arrive here and wait for the next transaction.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::control::{Control, LaneClosedReason};
use wire::error::PeerMisbehaved;
use wire::frame::{Frame, FrameCursor, IntactFrame, LaneDecoder};
use wire::halt::HaltReason;
use wire::ids::{Epoch, LaneId, Position, Slot};
use wire::partition::Partition;

use super::blocks::Blocks;
use super::claims::{Claim, Claims};
use super::forget::Forgets;
use super::gaps::Gaps;
use super::gone_since::GoneSince;
use super::handover::{Handovers, LaneMessage};
use super::inbox::{Arrival, Inbox};
use super::memory::{DecodeMemory, Lease};
use super::offers::{Offers, Pending};
use super::ownership::Ownership;
use super::size::TransactionRoom;
use super::skipped_records::LoggedSkips;
use super::slots::Slots;
use super::stored::Stored;
use super::unauthorized_partition::UnauthorizedPartitionSearch;
use super::waiting_ends::LaneEnds;
use crate::join::Offered;
use crate::target::custody::{Bidder, Holder};
use crate::target::state::{HaltRecord, JumpRecord, PartitionRecord};
use crate::target::{LaneTarget, TargetError, TargetPartition, Unwritable};

/// Slots of one epoch that others have replaced: about 300 bytes each.
const SLOTS_REPLACED_MAX: usize = 1024;

pub struct Lane<T> {
    pub(super) parts: Parts<T>,
    pub(super) open: Option<Open>,
}

pub(super) struct Parts<T> {
    pub(super) id: LaneId,
    pub(super) target: T,
    pub(super) memory: Arc<DecodeMemory>,
    /// Room for the lane in the present transaction.
    pub(super) room: TransactionRoom,
    pub(super) replies: VecDeque<Control>,
    pub(super) messages: VecDeque<(LaneId, LaneMessage)>,
    pub(super) counts: Counts,
    pub(super) ownership: Ownership,
    /// Time of the next transaction, in ms since the Unix epoch.
    pub(super) now: i64,
    /// Target offsets that have to be read.
    pub(super) gaps: Gaps,
}

/// Counters of a lane since its process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records committed to the target.
    pub records: u64,
    /// Bytes of keys, values and headers committed.
    pub bytes: u64,
    /// Transactions committed to the target.
    pub transactions: u64,
    /// Offsets that held no record.
    pub holes: u64,
    /// Transactions whose outcome was unknown, so that the lane had to recover from its state.
    pub recoveries: u64,
    /// Recoveries through another transactional id, because a transaction of the present one could not be ended.
    pub escapes: u64,
    /// Records that a replay did not append again because they were committed.
    pub replayed: u64,
    /// Frames dropped: duplicates and older epochs.
    pub frames_dropped: u64,
    /// Runs dropped because their slot was closed.
    pub runs_dropped: u64,
    /// Halts of partitions, by either end.
    pub halts: u64,
    /// Halts lifted and positions moved.
    pub jumps: u64,
    /// Records left out by policy because the target refuses them.
    pub skipped: u64,
    /// Partitions handed over to another lane.
    pub moves: u64,
    /// Records committed with a timestamp of 1 ms in place of 0, which the target's client cannot write.
    pub timestamps_altered: u64,
}

service::add_fields!(Counts {
    records,
    bytes,
    transactions,
    holes,
    recoveries,
    escapes,
    replayed,
    frames_dropped,
    runs_dropped,
    halts,
    jumps,
    skipped,
    moves,
    timestamps_altered
});

/// State of a lane between its opening and its close.
pub(super) struct Open {
    pub(super) stored: Stored,
    /// Stored partitions that were not offered in this epoch.
    pub(super) not_offered: HashSet<Partition>,
    /// Stored partitions whose topics the sender has reported as gone from the source.
    pub(super) gone: HashSet<Partition>,
    pub(super) orphan_changes: u64,
    /// Requests to drop the positions of topics.
    pub(super) forgets: Forgets,
    /// Marks of topics that are gone from the source.
    pub(super) gone_since: GoneSince,
    /// Ends of the source that wait to be stored.
    pub(super) source_ends: LaneEnds,
    /// True if every partition of the filter was offered once, to any lane.
    pub(super) all_offered: bool,
    pub(super) slots: Slots,
    pub(super) offers: Offers,
    pub(super) claims: Claims,
    pub(super) handovers: Handovers,
    pub(super) unauthorized: UnauthorizedPartitionSearch,
    /// Set if the last transaction may have failed because of partitions that cannot be written: those that are known.
    pub(super) unwritable: Option<Vec<Unwritable>>,
    pub(super) inbox: Inbox,
    pub(super) decoder: LaneDecoder,
    /// Memory of what the decoder remembers, once it remembers something.
    pub(super) remembered: Option<Lease>,
    pub(super) current: Option<Current>,
    /// The next transaction writes the lane's record even if there is nothing else to write.
    pub(super) keep_alive: bool,
    /// Set while a transaction's outcome is unknown: the positions that it would have stored.
    pub(super) unknown: Option<HashMap<Partition, Position>>,
    /// Records that this transaction would have left out.
    pub(super) unknown_skips: Vec<LoggedSkips>,
    /// Newest records of each partition that were left out.
    pub(super) skip_log: HashMap<Partition, LoggedSkips>,
    pub(super) blocks: Blocks,
}

/// The frame being appended, which may span transactions.
pub(super) struct Current {
    pub(super) frame: Arc<Frame>,
    pub(super) cursor: FrameCursor,
    /// Slots whose run in this frame is done, with the position after it.
    pub(super) ends: Vec<(Slot, Position)>,
    pub(super) lease: Arc<Lease>,
    /// Destination of the present run; `None` if its slot is closed.
    pub(super) destination: Option<Destination>,
}

pub(super) struct Destination {
    pub(super) slot: Slot,
    pub(super) key: Partition,
    pub(super) target: TargetPartition,
    /// The target has refused records of this partition.
    pub(super) suspected: bool,
}

/// Reasons why a step ended without a commit.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// The outcome of the transaction is unknown: call [`Lane::recover`].
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The sender broke the protocol: the session must end. Nothing was committed.
    #[error(transparent)]
    Peer(#[from] PeerMisbehaved),
}

/// A lane that is open; see [`Lane::at`].
pub struct OpenLane<'a, T> {
    pub(super) parts: &'a mut Parts<T>,
    pub(super) open: &'a mut Open,
}

impl<T: LaneTarget> Lane<T> {
    /// Makes a lane of the process that `holder` names.
    pub fn new(id: LaneId, holder: Holder, target: T, memory: Arc<DecodeMemory>) -> Self {
        let replies = VecDeque::new();
        let messages = VecDeque::new();
        let ownership = Ownership::new(Bidder::new(holder));
        let counts = Counts::default();
        let room = TransactionRoom::default();
        let gaps = Gaps::default();
        Self {
            parts: Parts { id, target, memory, room, replies, messages, counts, ownership, now: 0, gaps },
            open: None,
        }
    }

    pub fn at(&mut self, epoch: Epoch) -> Option<OpenLane<'_, T>> {
        self.opened().filter(|lane| lane.open.stored.epoch == epoch)
    }

    /// Returns the lane at the epoch of a message; `None` for an older one. The epoch must have been granted.
    pub fn at_granted(&mut self, epoch: Epoch) -> Result<Option<OpenLane<'_, T>>, PeerMisbehaved> {
        if let Some(current) = self.epoch().filter(|&current| epoch > current) {
            return Err(PeerMisbehaved::EpochFromFuture { current, found: epoch });
        }
        Ok(self.at(epoch))
    }

    pub(super) fn opened(&mut self) -> Option<OpenLane<'_, T>> {
        Some(OpenLane { parts: &mut self.parts, open: self.open.as_mut()? })
    }

    /// Takes a frame that has arrived within credit.
    pub fn handle_frame(&mut self, frame: IntactFrame) -> Result<(), PeerMisbehaved> {
        let lane = self.at_granted(frame.header().head.epoch)?;
        let arrival = lane.map(|lane| lane.open.inbox.handle_frame(frame));
        self.parts.counts.frames_dropped += u64::from(arrival != Some(Arrival::Held));
        Ok(())
    }

    /// Forgets the epoch, with every frame that is not committed, and drops the producer.
    pub fn close(&mut self, reason: LaneClosedReason, detail: &str) {
        if let Some(open) = self.open.take() {
            self.parts.target.discard();
            let closed = Control::LaneClosed {
                lane: self.parts.id,
                epoch: open.stored.epoch,
                reason,
                detail: detail.to_owned(),
            };
            self.parts.replies.push_back(closed);
        }
    }

    /// Requests a transaction even if nothing arrives: a transactional id that is not used for 7 days
    /// expires (`transactional.id.expiration.ms`), and an expired owner would not be fenced any more.
    pub fn keep_alive(&mut self) {
        if let Some(open) = &mut self.open {
            open.keep_alive = true;
        }
    }

    /// Returns whether a transaction would do something now.
    pub fn has_work(&self) -> bool {
        self.open.as_ref().is_some_and(|open| {
            open.unknown.is_none()
                && (open.keep_alive
                    || open.claims.are_waiting()
                    || open.forgets.are_waiting()
                    || open.gone_since.are_waiting()
                    || open.source_ends.are_waiting()
                    || open.handovers.has_work(&open.stored)
                    || open.current.is_some()
                    || open.inbox.peek().is_some()
                    || open.offers.ready(&open.stored).is_some())
        })
    }

    /// Returns whether a transaction's outcome is unknown, so that only [`Lane::recover`] can continue.
    pub fn needs_recovery(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.unknown.is_some())
    }

    /// Returns whether the target refused a record or a partition of the lane, and the lane searches for it.
    pub fn is_careful(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.unauthorized.is_active() || open.slots.are_searched())
    }

    /// Returns whether partitions were closed and opened again so often in this epoch that the lane has to be closed,
    /// which frees their slots. Until then the runs of a closed slot are dropped, so that it must be known.
    pub fn has_too_many_slots(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.slots.replaced() > SLOTS_REPLACED_MAX)
    }

    pub fn poll_reply(&mut self) -> Option<Control> {
        self.parts.replies.pop_front()
    }

    /// Removes the next message for another lane. Messages may get lost: see [`Lane::handle_all_lanes_read`].
    pub fn poll_lane_message(&mut self) -> Option<(LaneId, LaneMessage)> {
        self.parts.messages.pop_front()
    }

    pub fn id(&self) -> LaneId {
        self.parts.id
    }

    /// The epoch, while open.
    pub fn epoch(&self) -> Option<Epoch> {
        self.open.as_ref().map(|open| open.stored.epoch)
    }

    /// Counters since the process started.
    pub fn counts(&self) -> Counts {
        self.parts.counts
    }

    /// Longest delay that the target's brokers announced within the last transaction, because of a quota.
    pub fn quota_delay(&self) -> Duration {
        self.parts.target.delay()
    }

    /// Compressed bytes of the frames in the inbox.
    pub fn held_bytes(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.inbox.bytes())
    }

    /// The stored positions of the lane, as of its last commit.
    pub fn positions(&self) -> impl Iterator<Item = (&Partition, &PartitionRecord)> {
        self.open.iter().flat_map(|open| &open.stored.partitions)
    }

    pub fn jumps(&self) -> Arc<BTreeMap<u64, JumpRecord>> {
        self.open.as_ref().map(|open| Arc::clone(&open.stored.jumps)).unwrap_or_default()
    }

    /// Stored partitions that the sender does not offer, once it has offered every partition or has reported that
    /// the topic is gone: their topics left the source or the filter.
    pub fn orphaned(&self) -> impl Iterator<Item = &Partition> {
        self.open.iter().flat_map(Open::orphaned)
    }

    /// Number of times that the orphaned partitions may have changed since the lane was opened.
    pub fn orphan_changes(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.orphan_changes)
    }

    pub fn is_orphaned(&self, key: &Partition) -> bool {
        self.open.as_ref().is_some_and(|open| open.is_orphaned(key))
    }

    /// The lane's target.
    pub fn target_mut(&mut self) -> &mut T {
        &mut self.parts.target
    }
}

impl<T: LaneTarget> OpenLane<'_, T> {
    /// Takes an offer: a partition asks to join.
    pub fn handle_offer(&mut self, offered: Offered) -> Result<(), PeerMisbehaved> {
        let slot = offered.slot();
        let open = &mut *self.open;
        if open.slots.get(slot).is_some() || open.offers.uses(slot) || open.handovers.defers(slot) {
            return Err(PeerMisbehaved::SlotReused(slot));
        }
        let key = offered.key();
        // Others are never stored; and their names, which the sender chooses, would be kept.
        if offered.is_admitted() || open.stored.partitions.contains_key(&key) {
            open.handle_offered(&key);
        }
        if let Some(halt) = open.taken(&offered) {
            let position = open.stored.position(&key);
            self.halt(slot, position, halt);
        } else {
            open.offers.push(Pending::Offer(Box::new(offered)));
        }
        Ok(())
    }

    /// Takes an offer whose target cannot be used now, and notifies the sender. The offer comes again.
    pub fn handle_waiting_offer(&mut self, slot: Slot, key: &Partition, halt: HaltRecord) {
        self.open.handle_offered(key);
        self.halt(slot, self.open.stored.position(key), halt);
    }

    /// Notes that the sender has offered every partition that its filter matches.
    pub fn handle_last_offer(&mut self) {
        self.open.offers.push(Pending::Last);
    }

    /// Takes a halt by the sender: no further runs of the partition will come under this slot.
    ///
    /// The lane answers once the halt is stored, or immediately where it need not be stored. A halt of a closed
    /// slot is late and was answered before: its partition may have joined again under another slot.
    pub fn handle_halted(&mut self, slot: Slot, halt: HaltRecord) -> Result<(), PeerMisbehaved> {
        let state = self.open.slots.get_mut(slot).ok_or(PeerMisbehaved::UnknownSlot(slot))?;
        if !std::mem::replace(&mut state.closed, true) {
            self.open.offers.push(Pending::Halted(slot, halt));
        }
        Ok(())
    }

    /// Takes a claim: topics are about to be created, and the state must name them first.
    pub fn handle_claim(&mut self, claim: Claim) {
        self.open.claims.push(claim);
    }

    pub(super) fn halt(&mut self, slot: Slot, position: Position, halt: HaltRecord) {
        self.parts.counts.halts += 1;
        let HaltRecord { reason, detail } = halt;
        let lane = self.parts.id;
        let epoch = self.open.stored.epoch;
        self.parts.replies.push_back(Control::PartitionHalted { lane, epoch, slot, position, reason, detail });
    }
}

impl Open {
    /// Marks as orphaned what no lane was offered, once every lane was offered all its partitions.
    pub(super) fn find_orphans(&mut self) {
        self.stored.carried_topics.keep_orphans(&mut self.not_offered);
        self.all_offered = true;
        self.orphan_changes += 1;
    }

    /// Returns why an offer cannot even wait: the partition, or another one with the same target, has joined or
    /// waits already.
    fn taken(&self, offered: &Offered) -> Option<HaltRecord> {
        let key = offered.key();
        let target = offered.target_partition();
        let writer = target.and_then(|target| self.slots.writer(target)).filter(|slot| !slot.closed);
        let deferred = || self.handovers.has_deferred(&key).then(|| key.clone());
        let by = writer.map(|slot| slot.key.clone());
        let by = by.or_else(|| self.offers.conflict(&key, target)).or_else(deferred)?;
        if by == key {
            let detail = format!("{by} is not halted, or an earlier request for it is not decided yet");
            return Some(HaltRecord::new(HaltReason::JumpRefused, detail));
        }
        Some(HaltRecord::new(HaltReason::TargetTaken, format!("its target partition is written by {by}")))
    }
}
