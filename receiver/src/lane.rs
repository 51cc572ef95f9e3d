//! One lane at the receiver: frames in, transactions out, exactly once.
//!
//! A lane owns its state partition and its transactional producer. It holds no socket, spawns no task and
//! reads no clock; the target cluster is an argument. Driving contract: after [`Lane::open`], hand over
//! frames and offers; while [`Lane::has_work`], call [`Lane::step`], which is one transaction; after a
//! step that fails with [`LaneError::Target`], call [`Lane::recover`] until it succeeds; take replies with
//! [`Lane::poll_reply`] after every call.
//!
//! - `claims`: what the state says of topics before they are made
//! - `classes`: the lanes that classes own, stored before any is opened
//! - `open`: checks before it fences, fences, re-reads, commits the lane record
//! - `transaction`: offers, records and positions of one transaction
//! - `moves`: partitions that change lanes
//! - `suspicion`: which record a refusal is about
//! - `recover`: what the stored positions say about a transaction whose outcome is unknown
//!
//! Invariant: whatever fails, a partition's stored position is the one after the last record that
//! `read_committed` readers see, because both are written in one transaction and nowhere else.

pub mod attention;
mod claims;
mod classes;
mod handover;
pub mod inbox;
pub mod memory;
mod open;
pub mod pace;
mod recover;
mod rejected_record;
pub mod size;
pub mod thread;
pub mod timings;
mod transaction;
mod unauthorized_partition;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wire::control::{Control, LaneClosedReason};
use wire::error::PeerMisbehaved;
use wire::frame::{Frame, FrameCursor, IntactFrame};
use wire::halt::HaltReason;
use wire::ids::{Epoch, LaneId, Position, Slot};

use crate::join::Offered;
use crate::join::carried_topics::Knowledge;
use crate::lane::inbox::{Arrival, Inbox};
use crate::lane::memory::{DecodeMemory, Lease};
use crate::lane::size::TransactionSize;
use crate::target::state::{HaltRecord, JUMPS_KEPT, JumpRecord, LaneRecord, PartitionRecord};
use crate::target::{LaneTarget, TargetError, TargetPartition};
use wire::partition::Partition;

use claims::Claims;
use handover::Moves;
use rejected_record::Suspicion;
use unauthorized_partition::Unwritable;

pub use claims::Claim;
pub use handover::{Errand, Fetch};
pub use open::{OpenError, Terms};
pub use recover::RecoverError;
pub use transaction::Committed;

/// One lane of one link.
pub struct Lane<T> {
    id: LaneId,
    target: T,
    memory: Arc<DecodeMemory>,
    size: TransactionSize,
    open: Option<Open>,
    replies: VecDeque<Control>,
    errands: VecDeque<(LaneId, Errand)>,
    counts: Counts,
}

/// What a lane has seen since its process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records committed.
    pub records: u64,
    /// Bytes of keys, values and headers committed.
    pub bytes: u64,
    /// Transactions committed.
    pub transactions: u64,
    /// Offsets that held no record.
    pub holes: u64,
    /// Times a transaction's outcome was unknown and the lane recovered from its state.
    pub recoveries: u64,
    /// Records that a replay did not append again because they were committed.
    pub replayed: u64,
    /// Frames dropped: duplicates and older epochs.
    pub frames_dropped: u64,
    /// Runs dropped because their slot was closed.
    pub runs_dropped: u64,
    /// Partitions halted.
    pub halts: u64,
    /// Halts lifted and positions moved.
    pub jumps: u64,
    /// Partitions handed over to another lane.
    pub moves: u64,
    /// Records committed with a timestamp of 1 ms in place of 0, which the target's client cannot write.
    pub timestamps_altered: u64,
}

/// A lane that this process believes to own.
struct Open {
    epoch: Epoch,
    terms: Arc<Terms>,
    knowledge: Arc<Knowledge>,
    record: LaneRecord,
    partitions: HashMap<Partition, PartitionRecord>,
    /// The newest jumps, by their numbers.
    jumps: Arc<BTreeMap<u64, JumpRecord>>,
    /// Stored partitions that were not offered in this epoch.
    not_offered: HashSet<Partition>,
    /// Whether every partition of the filter was offered once, to whichever lane.
    all_offered: bool,
    slots: HashMap<Slot, OpenSlot>,
    /// The slot that writes each target partition.
    joined: HashMap<TargetPartition, Slot>,
    offers: VecDeque<Pending>,
    claims: Claims,
    moves: Moves,
    unwritable: Unwritable,
    inbox: Inbox,
    current: Option<Current>,
    /// The next transaction writes the lane's record even if there is nothing else to write.
    keep_alive: bool,
    /// Set when a transaction's outcome is unknown: the positions it would have left behind.
    unknown: Option<HashMap<Partition, Position>>,
}

/// A partition that joined in this epoch.
struct OpenSlot {
    key: Partition,
    target: TargetPartition,
    /// Where its next run on the wire must begin.
    from: Position,
    /// The same, after the last frame that is committed: where a replay begins.
    from_committed: Position,
    /// A closed slot's runs are dropped.
    closed: bool,
    suspicion: Suspicion,
}

/// Work that arrived on the control stream and waits for the lane's next transaction.
enum Pending {
    Offer(Box<Offered>),
    /// The sender halted a slot's partition.
    Halted(Slot, HaltRecord),
    /// An offer that the lane where it would begin refuses.
    Refused(Box<Offered>, HaltRecord),
    /// The last batch of a discovery: the filter's partitions were all offered.
    Last,
}

/// The frame being appended, which may span transactions.
struct Current {
    frame: Frame,
    cursor: FrameCursor,
    /// Slots whose run in this frame is done, with the position after it.
    ends: Vec<(Slot, Position)>,
    lease: Arc<Lease>,
    /// Where the run under way goes; `None` if its slot is closed.
    destination: Option<Destination>,
}

/// Where the records of one slot go, and under which name they are remembered.
struct Destination {
    slot: Slot,
    key: Partition,
    target: TargetPartition,
    /// The target has refused some of them.
    suspected: bool,
}

impl Current {
    fn new(frame: Frame, lease: Lease) -> Self {
        Self { frame, cursor: FrameCursor::default(), ends: Vec::new(), lease: Arc::new(lease), destination: None }
    }
}

/// Why a step ended without a commit.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// The outcome of the transaction is unknown: [`Lane::recover`].
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The sender broke the protocol: the session must end; nothing was appended.
    #[error(transparent)]
    Peer(#[from] PeerMisbehaved),
}

impl<T: LaneTarget> Lane<T> {
    /// A lane that nobody has opened yet.
    pub fn new(id: LaneId, target: T, memory: Arc<DecodeMemory>, size: TransactionSize) -> Self {
        let (replies, errands) = (VecDeque::new(), VecDeque::new());
        Self { id, target, memory, size, open: None, replies, errands, counts: Counts::default() }
    }

    /// A frame has arrived, within credit.
    pub fn handle_frame(&mut self, frame: IntactFrame) -> Result<(), PeerMisbehaved> {
        let epoch = frame.header().head.epoch;
        let Some(open) = self.open.as_mut() else {
            self.counts.frames_dropped += 1;
            return Ok(());
        };
        if epoch > open.epoch {
            return Err(PeerMisbehaved::EpochFromFuture { current: open.epoch, found: epoch });
        }
        if epoch < open.epoch || open.inbox.handle_frame(frame) == Arrival::Duplicate {
            self.counts.frames_dropped += 1;
        }
        Ok(())
    }

    /// A partition asks to join.
    pub fn handle_offer(&mut self, epoch: Epoch, offered: Offered) -> Result<(), PeerMisbehaved> {
        let Some(open) = self.open.as_mut().filter(|open| open.epoch == epoch) else { return Ok(()) };
        if open.is_used(offered.slot()) {
            return Err(PeerMisbehaved::SlotReused(offered.slot()));
        }
        open.not_offered.remove(&offered.key());
        open.knowledge.handle_offered(offered.key());
        if let Some(halt) = open.taken(&offered) {
            let position = open.position(&offered.key());
            self.halt(offered.slot(), position, halt);
        } else {
            open.offers.push_back(Pending::Offer(Box::new(offered)));
        }
        Ok(())
    }

    /// The sender has offered every partition its filter matches.
    pub fn handle_last_offer(&mut self, epoch: Epoch) {
        if let Some(open) = self.open.as_mut().filter(|open| open.epoch == epoch) {
            open.offers.push_back(Pending::Last);
        }
    }

    /// The sender has halted a partition: nothing more of it will come under this slot. It is answered once
    /// the halt is stored, or at once where it is none to be kept. One of a slot that this end has halted
    /// before is late and was answered: its partition may be open again, under another slot.
    pub fn handle_halted(&mut self, epoch: Epoch, slot: Slot, halt: HaltRecord) {
        let Some(open) = self.open.as_mut().filter(|open| open.epoch == epoch) else { return };
        if let Some(state) = open.slots.get_mut(&slot).filter(|state| !state.closed) {
            state.closed = true;
            open.offers.push_back(Pending::Halted(slot, halt));
        }
    }

    /// Forgets the epoch, with every frame behind a gap or not yet committed, and lets go of the producer.
    pub fn close(&mut self, reason: LaneClosedReason, detail: &str) {
        if let Some(open) = self.open.take() {
            self.target.discard();
            self.replies.push_back(Control::LaneClosed {
                lane: self.id,
                epoch: open.epoch,
                reason,
                detail: detail.to_owned(),
            });
        }
    }

    /// Asks for a transaction even if nothing arrives: a transactional id that is not used for 7 days
    /// expires (`transactional.id.expiration.ms`), and an expired owner would not be fenced any more.
    pub fn keep_alive(&mut self) {
        if let Some(open) = &mut self.open {
            open.keep_alive = true;
        }
    }

    /// Whether a transaction would do something now.
    pub fn has_work(&self) -> bool {
        self.open.as_ref().is_some_and(|open| {
            open.unknown.is_none()
                && (open.keep_alive
                    || open.claims.are_waiting()
                    || open.has_ready_move()
                    || open.current.is_some()
                    || open.inbox.peek().is_some()
                    || open.ready_offer(self.id).is_some())
        })
    }

    /// Whether a transaction's outcome is unknown, so that only [`Lane::recover`] can go on.
    pub fn needs_recovery(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.unknown.is_some())
    }

    /// The next control message for the sender.
    pub fn poll_reply(&mut self) -> Option<Control> {
        self.replies.pop_front()
    }

    /// The lane's number.
    pub fn id(&self) -> LaneId {
        self.id
    }

    /// The epoch, while open.
    pub fn epoch(&self) -> Option<Epoch> {
        self.open.as_ref().map(|open| open.epoch)
    }

    /// What it has seen so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Compressed bytes held.
    pub fn held_bytes(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.inbox.bytes())
    }

    /// The stored positions of the lane, as of its last commit.
    pub fn positions(&self) -> impl Iterator<Item = (&Partition, &PartitionRecord)> {
        self.open.iter().flat_map(|open| &open.partitions)
    }

    /// The newest jumps of the lane, by their numbers.
    pub fn jumps(&self) -> Arc<BTreeMap<u64, JumpRecord>> {
        self.open.as_ref().map(|open| Arc::clone(&open.jumps)).unwrap_or_default()
    }

    /// Stored partitions that the sender does not offer, once it has offered all it has: their topics are gone
    /// from the source or from the filter.
    pub fn orphaned(&self) -> impl Iterator<Item = &Partition> {
        self.open.iter().filter(|open| open.all_offered).flat_map(|open| &open.not_offered)
    }

    /// How many those are.
    pub fn orphaned_count(&self) -> usize {
        self.open.as_ref().filter(|open| open.all_offered).map_or(0, |open| open.not_offered.len())
    }

    /// The target, for tests that look into it.
    pub fn target_mut(&mut self) -> &mut T {
        &mut self.target
    }

    fn halt(&mut self, slot: Slot, position: Position, halt: HaltRecord) {
        let Some(open) = self.open.as_mut() else { return };
        self.counts.halts += 1;
        let (lane, epoch, HaltRecord { reason, detail }) = (self.id, open.epoch, halt);
        self.replies.push_back(Control::PartitionHalted { lane, epoch, slot, position, reason, detail });
    }
}

impl Open {
    /// Every lane was offered all there is: what none was offered is orphaned.
    fn judge_orphans(&mut self) {
        self.knowledge.keep_orphans(&mut self.not_offered);
        self.all_offered = true;
    }

    /// Whether a slot was offered before in this epoch.
    fn is_used(&self, slot: Slot) -> bool {
        let waits = |pending: &Pending| matches!(pending, Pending::Offer(offered) if offered.slot() == slot);
        let away = self.moves.away.values().any(|offered| offered.slot() == slot);
        away || self.slots.contains_key(&slot) || self.offers.iter().any(waits)
    }

    /// Why an offer cannot even wait: the partition, or another one with the same target, has joined or is
    /// about to.
    fn taken(&self, offered: &Offered) -> Option<HaltRecord> {
        let target = offered.target.as_ref().ok().map(|target| &target.partition);
        let writing = target.and_then(|target| self.joined.get(target)).and_then(|slot| self.slots.get(slot));
        let writing = writing.filter(|slot| !slot.closed).map(|slot| slot.key.clone());
        let waiting = self.offers.iter().find_map(|pending| match pending {
            Pending::Offer(other) => {
                let same = target.is_some() && other.target.as_ref().ok().map(|other| &other.partition) == target;
                (same || other.key() == offered.key()).then(|| other.key())
            }
            _ => None,
        });
        let away = self.moves.away.contains_key(&offered.key()).then(|| offered.key());
        let by = writing.or(waiting).or(away)?;
        if by == offered.key() {
            // No other partition is in the way: the offer before this one is what counts.
            let detail = format!("{by} is not halted, or what was asked before is not yet decided");
            return Some(HaltRecord::new(HaltReason::JumpRefused, detail));
        }
        Some(HaltRecord::new(HaltReason::TargetTaken, format!("its target partition is written by {by}")))
    }

    /// The stored position of a partition; −1 if none is stored.
    fn position(&self, key: &Partition) -> Position {
        self.partitions.get(key).map_or(Position(-1), |record| record.position)
    }

    /// A jump is stored.
    fn remember(&mut self, jump: JumpRecord) {
        let jumps = Arc::make_mut(&mut self.jumps);
        jumps.insert(jump.number, jump);
        while jumps.len() as u64 > JUMPS_KEPT {
            jumps.pop_first();
        }
    }

    /// The first of what waits that can be decided now. Offers that need every lane's state hold up neither
    /// the frames nor what came behind them, save the end of a discovery: that they were offered before it
    /// says where they begin.
    fn ready_offer(&self, lane: LaneId) -> Option<usize> {
        if self.knowledge.is_complete() {
            return (!self.offers.is_empty()).then_some(0);
        }
        let is_ready = |(index, pending): (usize, &Pending)| match pending {
            Pending::Halted(..) | Pending::Refused(..) => true,
            Pending::Last => index == 0,
            Pending::Offer(offered) => {
                let key = offered.key();
                let begins = !self.partitions.contains_key(&key) && self.terms.home(&key) == lane;
                !begins || offered.target.is_err()
            }
        };
        self.offers.iter().enumerate().position(is_ready)
    }
}
