//! A lane's own thread: passes commands and frames to the [`Lane`], runs its transactions at the receiver's
//! common pace, and sends its replies to the session.
//!
//! The thread lives as long as the process and serves one session after the other. At a session's end it commits the
//! frames that it has without a gap; the next opening waits for the present transaction at most.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use service::bell::Bell;
use service::lock::Lock;
use service::mailbox::Mailbox;
use tokio::sync::{mpsc, oneshot};
use transport::clock::Clock;
use wire::close::{Close, CloseCode};
use wire::control::{Control, LaneClosedReason};
use wire::error::PeerMisbehaved;
use wire::frame::{FrameHead, IntactFrame};
use wire::ids::{Epoch, LaneId, Slot};
use wire::lanes::{ClassRequest, ClassTable};
use wire::partition::Partition;

use super::attention::NeedsAction;
use super::claims::Claim;
use super::forget::ForgetTopic;
use super::handover::LaneMessage;
use super::open_lane::{Counts, Lane, LaneError};
use super::pace::{CommitPace, Ticket};
use super::recover::RecoverError;
use super::terms::{OpenError, Terms};
use super::timings::Timings;
use crate::join::Offered;
use crate::join::carried_topics::CarriedTopics;
use crate::link::announced::Room;
use crate::link::arbiter::SessionId;
use crate::target::state::HaltRecord;
use crate::target::{LaneTarget, TargetError};

/// A message to a lane's thread. Messages of a session that is not the lane's present one are dropped.
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
    SessionEnded(SessionId),
    /// Commit the frames that are there without a gap, then end the thread.
    Stop,
}

/// A message from a lane's thread to its session.
#[derive(Debug)]
pub enum Reply {
    Message(Control),
    /// The lane's state was read; the session's other lanes may wait for that.
    Opened,
    LaneMessage(LaneId, LaneMessage),
    /// The session must end: the sender broke the protocol, or the stored state does not permit the session.
    Close(Close),
}

/// A lane's thread as the rest of the process uses it.
#[derive(Debug, Clone)]
pub struct LaneHandle {
    pub mailbox: Mailbox<Command>,
    /// Counters of the lane, for `status` and metrics.
    pub view: Arc<Lock<View>>,
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

    /// Notes that the lane waits for the target, until the result is dropped.
    fn ask(&self) -> Asking {
        self.view.lock().asked = Some(Instant::now());
        Asking(Arc::clone(&self.view))
    }
}

/// Wait of a lane for its target.
struct Asking(Arc<Lock<View>>);

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
/// Sleep of a thread that has nothing to do.
const IDLE: Duration = Duration::from_secs(60);
/// Time without a commit after which the lane commits its own record: brokers forget a transactional id
/// after 7 days at the shortest setting in use.
const KEEP_ALIVE: Duration = Duration::from_secs(24 * 60 * 60);
/// First and longest wait between two attempts on a target that fails.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

pub(crate) struct LaneThread<T> {
    pub lane: Lane<T>,
    /// The lane's commands and view.
    pub handle: LaneHandle,
    pub bell: Bell,
    /// The receiver's common pace of transactions.
    pub pace: Arc<CommitPace>,
    /// The lane's place in the pace's queue.
    pub ticket: Ticket,
    /// Times of the lane's frames, by `clock`.
    pub timings: Timings,
    pub clock: Clock,
}

#[derive(Default)]
struct Running {
    session: Option<(SessionId, mpsc::Sender<Reply>)>,
    strict: bool,
    retry: Option<Retry>,
    committed: Option<Instant>,
    trouble: Option<String>,
    quota_delay: Duration,
    needs_action: Arc<NeedsAction>,
    stopping: bool,
}

/// The next attempt on a target that fails.
#[derive(Clone, Copy)]
struct Retry {
    due: Instant,
    wait: Duration,
}

impl Retry {
    fn now() -> Self {
        Self { due: Instant::now(), wait: Duration::ZERO }
    }

    /// Returns the attempt after this one, which waits twice as long.
    fn next(self) -> Self {
        let wait = (self.wait * 2).clamp(RETRY_MIN, RETRY_MAX);
        Self { due: Instant::now() + wait, wait }
    }
}

impl<T: LaneTarget> LaneThread<T> {
    /// Does what waits for the target; the lane's condition tells of a wait that lasts.
    fn asking<R>(&mut self, ask: impl FnOnce(&mut Lane<T>) -> R) -> R {
        let _asking = self.handle.ask();
        ask(&mut self.lane)
    }

    /// Runs the lane until [`Command::Stop`].
    pub(crate) fn run(mut self) {
        let mut running = Running::default();
        loop {
            while let Some(command) = self.handle.mailbox.pop() {
                self.obey(&mut running, command);
            }
            let wait = self.work(&mut running);
            self.flush(&running);
            if !running.needs_action.is_of(&self.lane) {
                let before = std::mem::replace(&mut running.needs_action, Arc::new(NeedsAction::of(&self.lane)));
                running.needs_action.report_orphans(self.lane.id(), &before);
            }
            self.publish(&running);
            match wait {
                Some(wait) if running.stopping && wait >= IDLE => break,
                Some(wait) => {
                    self.bell.wait(wait);
                }
                None => {}
            }
        }
        self.pace.leave(self.ticket);
        self.lane.close(LaneClosedReason::SessionEnded, LEAVING);
        self.flush(&running);
    }

    fn obey(&mut self, running: &mut Running, command: Command) {
        let ours = |session| running.session.as_ref().is_some_and(|(present, _)| *present == session);
        match command {
            // A request of a session that has ended, or is older, must not take the lane from a newer one.
            Command::Open { session, terms, strict, carried_topics, replies }
                if !replies.is_closed() && !running.has_newer(session) =>
            {
                running.session = Some((session, replies));
                running.strict = strict;
                self.open(running, terms, carried_topics);
            }
            Command::Frame(session, frame, arrived) if ours(session) => self.take_frame(running, frame, arrived),
            Command::Claim(session, epoch, claim) if ours(session) => {
                if let Some(mut lane) = self.lane.at(epoch) {
                    lane.handle_claim(claim);
                }
            }
            Command::Offer(session, epoch, offered) if ours(session) => {
                let lane = self.lane.at_granted(epoch);
                let taken = lane.and_then(|lane| lane.map_or(Ok(()), |mut lane| lane.handle_offer(*offered)));
                self.check(running, taken);
                if self.lane.has_too_many_slots() {
                    self.lane.close(LaneClosedReason::TargetFailed, TOO_MANY_SLOTS);
                }
            }
            Command::WaitingOffer(session, epoch, slot, key, halt) if ours(session) => {
                if let Some(mut lane) = self.lane.at(epoch) {
                    lane.handle_waiting_offer(slot, &key, halt);
                }
            }
            Command::LastOffer(session, epoch) if ours(session) => {
                if let Some(mut lane) = self.lane.at(epoch) {
                    lane.handle_last_offer();
                }
            }
            Command::Halted(session, epoch, slot, halt, _) if ours(session) => {
                let lane = self.lane.at_granted(epoch);
                let taken = lane.and_then(|lane| lane.map_or(Ok(()), |mut lane| lane.handle_halted(slot, halt)));
                self.check(running, taken);
            }
            Command::TopicsGone(session, epoch, topics, _) if ours(session) => {
                if let Some(mut lane) = self.lane.at(epoch) {
                    lane.handle_topics_gone(&topics);
                }
            }
            Command::Forget(session, request) if ours(session) => self.lane.handle_forget(request),
            Command::LaneMessage(session, message) if ours(session) => self.lane.handle_lane_message(message),
            Command::AllLanesRead => self.lane.handle_all_lanes_read(),
            Command::Classes { terms, requests, answer } if !answer.is_closed() => {
                self.pace.leave(self.ticket);
                let appended = self.asking(|lane| lane.append_classes(&terms, &requests));
                // The session that asked may have ended meanwhile.
                let _ = answer.send(appended);
            }
            Command::SessionEnded(session) if ours(session) => running.session = None,
            Command::Stop => running.stopping = true,
            // A message of a session that is over.
            _ => {}
        }
    }

    fn open(&mut self, running: &mut Running, terms: Arc<Terms>, carried_topics: Arc<CarriedTopics>) {
        // A fence may take long, and the lanes behind this one in the pace's queue must not wait for it.
        self.pace.leave(self.ticket);
        running.retry = None;
        running.committed = Some(Instant::now());
        running.trouble = None;
        let lane = self.lane.id();
        match self.asking(|lane| lane.open(terms, carried_topics)) {
            Ok(epoch) => {
                tracing::debug!(%lane, %epoch, "lane open");
                running.reply(Reply::Opened);
            }
            Err(OpenError::Refused(close)) => running.reply(Reply::Close(close)),
            Err(OpenError::Target(error)) => {
                tracing::warn!(%lane, %error, "could not open lane");
                let detail = error.to_string();
                running.trouble = Some(format!("lane {lane}: {detail}"));
                let reason = LaneClosedReason::TargetFailed;
                running.reply(Reply::Message(Control::LaneClosed { lane, epoch: Epoch(0), reason, detail }));
            }
        }
    }

    fn take_frame(&mut self, running: &Running, frame: IntactFrame, arrived: u64) {
        let FrameHead { epoch, sequence, .. } = frame.header().head;
        if self.lane.epoch() == Some(epoch) {
            self.timings.handle_frame(epoch, sequence, arrived);
        }
        let taken = self.lane.handle_frame(frame);
        self.check(running, taken);
    }

    /// Does the work that is possible now. Returns how long to sleep then, or `None` to come back immediately.
    fn work(&mut self, running: &mut Running) -> Option<Duration> {
        if self.lane.needs_recovery() {
            return self.recover(running);
        }
        if running.committed.is_some_and(|at| at.elapsed() > KEEP_ALIVE) {
            self.lane.keep_alive();
        }
        if !self.lane.has_work() {
            if self.lane.epoch().is_some() {
                running.trouble = None;
            }
            running.quota_delay = Duration::ZERO;
            self.pace.leave(self.ticket);
            return Some(IDLE);
        }
        if let Err(wait) = self.pace.take(self.ticket, running.strict) {
            return Some(wait.max(Duration::from_millis(1)));
        }
        let began = Instant::now();
        let now = self.clock.now();
        self.timings.handle_step(now);
        self.lane.handle_time(i64::try_from(now / 1_000_000).unwrap_or(i64::MAX));
        match self.asking(Lane::step) {
            Ok(committed) => {
                self.lane.handle_duration(committed, began.elapsed());
                running.quota_delay = self.lane.quota_delay();
                running.committed = Some(Instant::now());
                running.retry = None;
                running.trouble = None;
            }
            Err(LaneError::Peer(misbehaved)) => self.check(running, Err(misbehaved)),
            Err(LaneError::Target(error)) => {
                running.note_failure(self.lane.id(), &error);
                // The first recovery is immediate; only a commit resets the wait, which grows from there.
                running.retry = Some(running.retry.map_or_else(Retry::now, Retry::next));
            }
        }
        None
    }

    fn recover(&mut self, running: &mut Running) -> Option<Duration> {
        if running.stopping {
            // The next opening finds out whether the transaction was committed.
            self.lane.close(LaneClosedReason::SessionEnded, LEAVING);
            return None;
        }
        let retry = *running.retry.get_or_insert_with(Retry::now);
        let now = Instant::now();
        if now < retry.due {
            return Some(retry.due - now);
        }
        let lane = self.lane.id();
        let Err(error) = self.asking(Lane::recover) else {
            // The trouble stays until a commit, or until there is nothing left to commit.
            if retry.wait.is_zero() {
                tracing::info!(%lane, "lane recovered; replaying its frames");
            } else {
                tracing::debug!(%lane, "lane recovered again");
            }
            return None;
        };
        running.trouble = Some(format!("lane {lane}: {error}"));
        match error {
            RecoverError::Target(gone @ TargetError::StateGone(_)) => {
                tracing::error!(%lane, error = %gone, "state topic is gone");
                self.lane.close(LaneClosedReason::Refused, &gone.to_string());
                running.reply(Reply::Close(Close::new(CloseCode::StateRefused, gone.to_string())));
            }
            RecoverError::Target(error) => {
                let next = retry.next();
                tracing::warn!(%lane, %error, retry_in = ?next.wait, "target still fails");
                running.retry = Some(next);
            }
            RecoverError::Superseded { .. } | RecoverError::Taken { .. } => {
                tracing::error!(%lane, %error, "lane contested: another receiver opened it");
                running.trouble = Some(format!("lane {lane} is contested: {error}"));
                self.lane.close(LaneClosedReason::Superseded, &error.to_string());
            }
            RecoverError::Diverged { .. } => {
                tracing::error!(%lane, %error, "stored positions were written by another process; opening the lane again");
                self.lane.close(LaneClosedReason::TargetFailed, &error.to_string());
            }
        }
        None
    }

    /// Closes the lane and ends the session if the sender broke the protocol.
    fn check(&mut self, running: &Running, result: Result<(), PeerMisbehaved>) {
        if let Err(misbehaved) = result {
            self.lane.close(LaneClosedReason::SessionEnded, &misbehaved.to_string());
            running.reply(Reply::Close(misbehaved.into()));
        }
    }

    fn flush(&mut self, running: &Running) {
        while let Some(mut message) = self.lane.poll_reply() {
            self.timings.handle_reply(&mut message, self.clock.now());
            running.reply(Reply::Message(message));
        }
        while let Some((to, message)) = self.lane.poll_lane_message() {
            running.reply(Reply::LaneMessage(to, message));
        }
    }

    fn publish(&self, running: &Running) {
        let mut view = self.handle.view.lock();
        view.lane = self.lane.id();
        view.epoch = self.lane.epoch();
        view.counts = self.lane.counts();
        view.held_bytes = self.lane.held_bytes();
        view.trouble.clone_from(&running.trouble);
        view.quota_delay = running.quota_delay;
        view.needs_action = Arc::clone(&running.needs_action);
    }
}

/// Detail of the close that frees the slots of an epoch.
const TOO_MANY_SLOTS: &str = "its partitions were closed and opened again so often that its slots are freed";
/// Detail of the closes that a stop causes.
const LEAVING: &str = "receiver is leaving";

impl Running {
    fn has_newer(&self, session: SessionId) -> bool {
        self.session.as_ref().is_some_and(|(present, _)| *present > session)
    }

    fn reply(&self, reply: Reply) {
        if let Some((_, replies)) = &self.session {
            // The session bounds how long this can block: it reads replies first, or it has ended.
            let _ = replies.blocking_send(reply);
        }
    }

    /// Logs a failed transaction, and the same failure only once at a level above debug.
    fn note_failure(&mut self, lane: LaneId, error: &TargetError) {
        let trouble = format!("lane {lane}: {error}");
        match error {
            _ if self.trouble.as_ref() == Some(&trouble) => {
                tracing::debug!(%lane, %error, "transaction failed again");
            }
            TargetError::StateRejected { .. } => tracing::error!(%lane, %error, "positions are refused"),
            _ => {
                tracing::warn!(%lane, %error, "transaction failed; reading the state to learn whether it was committed")
            }
        }
        self.trouble = Some(trouble);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_does_not_answer_is_a_lanes_trouble() {
        let lane = LaneHandle { mailbox: Mailbox::new(1, Bell::default()), view: Arc::default() };
        let asking = lane.ask();
        assert_eq!(lane.condition().trouble, None, "it may still answer");
        let earlier = Instant::now().checked_sub(ANSWER_WITHIN + Duration::from_secs(1));
        lane.view.lock().asked = earlier;
        assert_eq!(lane.condition().trouble.unwrap(), "lane 0: the target has not answered for 16 s");
        drop(asking);
        assert_eq!(lane.condition().trouble, None);
    }
}
