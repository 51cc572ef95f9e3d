//! A lane as the rest of the process sees it: commands go in, replies come out, and its condition can be read.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use service::lock::Lock;
use service::mailbox::Mailbox;
use tokio::sync::{mpsc, oneshot};
use wire::close::Close;
use wire::control::Control;
use wire::frame::IntactFrame;
use wire::ids::{Epoch, LaneId, Slot};
use wire::lanes::{ClassRequest, ClassTable};
use wire::partition::Partition;

use super::attention::NeedsAction;
use super::claims::Claim;
use super::forget::ForgetTopic;
use super::gaps::Gaps;
use super::gone_since::MarkGone;
use super::handover::LaneMessage;
use super::known_map::{KnownMap, WantedMaps};
use super::open_lane::Counts;
use super::switched_topics::SwitchedTopics;
use super::terms::{OpenError, Terms};
use crate::join::Offered;
use crate::join::carried_topics::CarriedTopics;
use crate::link::announced::Room;
use crate::link::arbiter::SessionId;
use crate::link::source_ends::EndsReading;
use crate::target::promoted::PromotedRecord;
use crate::target::state::{HaltRecord, LaneState};

/// A message to a lane. Messages of a session that is not the lane's present one are dropped.
#[derive(Debug)]
pub enum Command {
    /// Take the lane over for a new session; a `strict` lane's class is served before others.
    Open {
        session: SessionId,
        terms: Arc<Terms>,
        strict: bool,
        carried_topics: Arc<CarriedTopics>,
        replies: mpsc::Sender<Reply>,
    },
    /// A frame, checked and within credit, and the time by the process's clock at which its last byte arrived.
    Frame(SessionId, IntactFrame, u64),
    /// Topics are about to be created.
    Claim(SessionId, Epoch, Claim),
    /// A partition asks to join.
    Offer(SessionId, Epoch, Box<Offered>),
    /// A partition asks to join, and its target cannot be used now.
    WaitingOffer(SessionId, Epoch, Slot, Partition, HaltRecord),
    /// All partitions of the filter were offered.
    LastOffer(SessionId, Epoch),
    Halted(SessionId, Epoch, Slot, HaltRecord, Room),
    /// Topics no longer exist at the source.
    TopicsGone(SessionId, Epoch, Arc<HashSet<Arc<str>>>, Room),
    /// The positions of a topic that is not carried have to be dropped.
    Forget(SessionId, ForgetTopic),
    /// Topics are gone from the source, or not any more; sent to lane 0.
    MarkGone(SessionId, MarkGone, Room),
    /// Every lane of the session was read: offers that waited for it can be decided.
    AllLanesRead,
    LaneMessage(SessionId, LaneMessage),
    /// Lanes have to be appended for classes; sent to lane 0 before a session begins.
    Classes {
        terms: Arc<Terms>,
        requests: Vec<ClassRequest>,
        /// Receives every class and its lanes; dropped if the lane ends.
        answer: oneshot::Sender<Result<ClassTable, OpenError>>,
    },
    /// Maps of partitions are wanted.
    Maps {
        wanted: Arc<WantedMaps>,
        /// Receives those that the lane has; dropped if it is not open.
        answer: oneshot::Sender<Vec<KnownMap>>,
    },
    /// Topics are switched over, while the link carries others.
    SwitchOver(Arc<SwitchedTopics>),
    /// Ends of the source are to be stored.
    SourceEnds(SessionId, EndsReading),
    /// Commit the frames that are there without a gap, then carry nothing any more.
    Promote(PromoteLane),
    /// Store the statement of loss; sent to lane 0 of a promoted link.
    StoreStatement(StoreStatement),
    SessionEnded(SessionId),
    /// Commit the frames that are there without a gap, then end.
    Stop,
}

/// Request to promote a lane. It is dropped, so that its sender learns of it, once the answer is not waited for.
#[derive(Debug)]
pub struct PromoteLane {
    /// Record to store, if none is; `None` only for a lane of a link that is promoted.
    pub record: Option<PromotedRecord>,
    /// Receives the final state, once the promotion is stored.
    pub answer: oneshot::Sender<Result<Box<LaneState>, OpenError>>,
    /// The sender's last word of the source's ends, to be stored in lane 0.
    pub(crate) ends: Option<EndsReading>,
}

/// Request to store the statement of loss of a promoted link.
#[derive(Debug)]
pub struct StoreStatement {
    pub text: String,
    pub answer: oneshot::Sender<Result<(), OpenError>>,
}

/// A message from a lane to its session.
#[derive(Debug)]
pub enum Reply {
    Message(Control),
    /// The lane's state was read; the session's other lanes may wait for that.
    Opened,
    LaneMessage(LaneId, LaneMessage),
    /// The session must end: the sender broke the protocol, or the stored state does not permit the session.
    Close(Close),
}

/// A lane as the rest of the process uses it.
#[derive(Debug, Clone)]
pub struct LaneHandle {
    pub mailbox: Mailbox<Command>,
    /// Counters of the lane, for `status` and metrics.
    pub view: Arc<Lock<View>>,
    /// Target offsets that have to be read.
    pub(crate) gaps: Arc<Lock<Gaps>>,
    /// Set once the lane has committed what it could and has ended, after [`Command::Stop`].
    pub ended: Arc<AtomicBool>,
}

impl LaneHandle {
    /// Returns the lane's condition. A target that has not answered for long is a trouble, too.
    pub fn condition(&self) -> View {
        let mut view = self.view.lock().clone();
        let asked = view.asked.map(|asked| asked.elapsed()).filter(|waited| *waited > ANSWER_WITHIN);
        if let Some(waited) = asked {
            view.trouble = Some(format!("lane {}: the target has not answered for {} s", view.lane, waited.as_secs()));
        }
        view
    }

    /// Makes the handle of a lane that has not begun.
    pub fn new(mailbox: Mailbox<Command>) -> Self {
        Self { mailbox, view: Arc::default(), gaps: Arc::default(), ended: Arc::default() }
    }

    /// Returns whether the lane has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Notes that the lane waits for the target, until the result is dropped.
    pub(crate) fn ask(&self) -> Asking {
        self.view.lock().asked = Some(Instant::now());
        Asking(Arc::clone(&self.view))
    }
}

/// Wait of a lane for its target.
pub(crate) struct Asking(Arc<Lock<View>>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.lock().asked = None;
    }
}

/// A lane's counters and condition, as `status` shows them.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The lane's number.
    pub lane: LaneId,
    /// Time since which the lane waits for its target.
    pub asked: Option<Instant>,
    /// The epoch, while open.
    pub epoch: Option<Epoch>,
    /// Counters since the process started.
    pub counts: Counts,
    /// Compressed bytes in the inbox.
    pub held_bytes: u64,
    /// The reason why records do not flow: the target's error, or that another receiver has the lane.
    pub trouble: Option<String>,
    /// Longest delay that the target's brokers announced within the last transaction, because of a quota.
    pub quota_delay: Duration,
    /// Offered partitions that wait for their target, each with the reason.
    pub waiting: Vec<(Partition, String)>,
    /// Halts, orphaned positions and jumps.
    pub needs_action: Arc<NeedsAction>,
}

/// Commands that may wait for a lane: its frames and its offers. Credit bounds frames of a useful size long before;
/// a sender that sends this many tiny ones ends its session.
pub(crate) const MAILBOX_CAPACITY: usize = 64 * 1024;
/// Wait for the target after which a lane is in trouble.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use service::bell::Bell;

    use super::*;

    #[test]
    fn a_target_that_does_not_answer_is_a_lanes_trouble() {
        let lane = LaneHandle::new(Mailbox::new(1, Bell::default()));
        let asking = lane.ask();
        assert_eq!(lane.condition().trouble, None, "it may still answer");
        let earlier = Instant::now().checked_sub(ANSWER_WITHIN + Duration::from_secs(1));
        lane.view.lock().asked = earlier;
        assert_eq!(lane.condition().trouble.unwrap(), "lane 0: the target has not answered for 16 s");
        drop(asking);
        assert_eq!(lane.condition().trouble, None);
    }
}
