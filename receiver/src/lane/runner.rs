//! A lane at work: takes its commands, keeps its retries, and sends its replies. The thread of its writer drives it.
//!
//! Driving contract: [`LaneRunner::obey`] whenever the mailbox may have commands; then, as [`LaneRunner::next`] says,
//! [`LaneRunner::perform`] on a thread that may block, or a part in the writer's next transaction; [`LaneRunner::publish`]
//! after all of it.

mod promoting;
mod recovering;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;
use transport::clock::Clock;
use wire::control::{Control, LaneClosedReason};
use wire::error::PeerMisbehaved;
use wire::frame::{FrameHead, IntactFrame};
use wire::ids::{Epoch, LaneId};
use wire::lanes::{ClassRequest, ClassTable};

use super::attention::NeedsAction;
use super::draft::{Committed, Company, Draft, Prepared};
use super::handle::{Asking, Command, LaneHandle, PromoteLane, Reply, StoreStatement};
use super::open_lane::{Lane, LaneError};
use super::size::TransactionRoom;
use super::terms::{OpenError, Terms};
use super::timings::Timings;
use crate::join::carried_topics::CarriedTopics;
use crate::link::arbiter::SessionId;
use crate::target::{Target, TargetError};
use crate::writer::link_share::LinkShare;
use crate::writer::shared::{SharedLane, SharedWriter};
use crate::writer::transaction::Member;

/// Time without a commit after which the lane commits its own record: brokers forget a transactional id
/// after 7 days at the shortest setting in use.
const KEEP_ALIVE: Duration = Duration::from_secs(24 * 60 * 60);
/// First and longest wait between two attempts on a target that fails.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Wait before the next attempt to send replies that the session does not take.
const UNSENT_RETRY: Duration = Duration::from_millis(5);
/// Time for which a lane keeps its place apart after its last refused record was found.
const CAREFUL_FOR: Duration = Duration::from_secs(30);
/// Detail of the close that frees the slots of an epoch.
const TOO_MANY_SLOTS: &str = "its partitions were closed and opened again so often that its slots are freed";
/// Detail of the closes that a stop causes.
const LEAVING: &str = "receiver is leaving";

/// Lane with its session, its retries and its replies.
pub(crate) struct LaneRunner<T: Target> {
    lane: Lane<SharedLane<T>>,
    handle: LaneHandle,
    link: Arc<str>,
    share: Arc<LinkShare>,
    /// Times of the lane's frames, by `clock`.
    timings: Timings,
    clock: Clock,
    session: Option<(SessionId, mpsc::Sender<Reply>)>,
    strict: bool,
    /// Calls that may block, in the order of the commands.
    tasks: VecDeque<Task>,
    /// Replies that the session has not taken.
    unsent: VecDeque<Reply>,
    retry: Option<Retry>,
    committed: Option<Instant>,
    trouble: Option<String>,
    quota_delay: Duration,
    needs_action: Arc<NeedsAction>,
    /// The lane may be why transactions of several lanes fail: its next one has no parts of others.
    doubted: bool,
    /// The lane searches for what the target refuses.
    careful: bool,
    /// End of the time in which the lane has transactions of its own.
    careful_until: Option<Instant>,
    /// The lane is to be promoted once it has committed what it has.
    promoting: Option<PromoteLane>,
    stopping: bool,
    /// Something has changed since the lane was published.
    changed: bool,
}

/// Call of the lane that may block.
enum Task {
    Open { session: SessionId, terms: Arc<Terms>, carried_topics: Arc<CarriedTopics> },
    Classes { terms: Arc<Terms>, requests: Vec<ClassRequest>, answer: oneshot::Sender<Result<ClassTable, OpenError>> },
    Recover,
    Promote(PromoteLane),
    StoreStatement(StoreStatement),
}

/// What a lane needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// A call of [`LaneRunner::perform`].
    Perform,
    /// A part in the writer's next transaction.
    Commit,
    /// Nothing before this time has passed, or a command arrives.
    Wait(Duration),
    /// Nothing at all: it has ended.
    End,
}

/// Writer that suits a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The one that most lanes share.
    Bulk,
    /// That of strict classes, whose transactions do not wait for large ones.
    Strict,
    /// That of lanes which look for records that the target refuses, with few records in each transaction.
    Careful,
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

impl<T: Target> LaneRunner<T> {
    pub(crate) fn new(
        lane: Lane<SharedLane<T>>,
        handle: LaneHandle,
        link: &str,
        share: Arc<LinkShare>,
        clock: Clock,
    ) -> Self {
        Self {
            lane,
            handle,
            link: link.into(),
            share,
            timings: Timings::default(),
            clock,
            session: None,
            strict: false,
            tasks: VecDeque::new(),
            unsent: VecDeque::new(),
            retry: None,
            committed: None,
            trouble: None,
            quota_delay: Duration::ZERO,
            needs_action: Arc::default(),
            doubted: false,
            careful: false,
            careful_until: None,
            promoting: None,
            stopping: false,
            changed: true,
        }
    }

    /// Returns whether the lane must recover before anything else. Only its present writer can end the transaction that
    /// failed.
    pub(crate) fn needs_recovery(&self) -> bool {
        self.lane.needs_recovery()
    }

    pub(crate) fn link(&self) -> &str {
        &self.link
    }

    /// Resources of the lane's link.
    pub(crate) fn share(&self) -> &Arc<LinkShare> {
        &self.share
    }

    pub(crate) fn id(&self) -> LaneId {
        self.lane.id()
    }

    pub(crate) fn handle(&self) -> &LaneHandle {
        &self.handle
    }

    /// Returns whether the lane's class is served before others.
    pub(crate) fn is_strict(&self) -> bool {
        self.strict
    }

    /// Returns whether the lane's next transaction must have no parts of other lanes.
    pub(crate) fn is_alone(&self) -> bool {
        self.doubted || self.careful
    }

    /// Returns the writer that the lane should have now.
    pub(crate) fn place(&mut self) -> Place {
        if self.careful {
            self.careful_until = Some(Instant::now() + CAREFUL_FOR);
        }
        match self.careful_until {
            Some(until) if Instant::now() < until => Place::Careful,
            _ if self.strict => Place::Strict,
            _ => Place::Bulk,
        }
    }

    /// Continues with another writer: the lane reads its custody again, and bids through that one.
    pub(crate) fn move_to(&mut self, writer: &Arc<SharedWriter<T::Writer>>) {
        self.lane.doubt();
        self.lane.target_mut().move_to(writer);
    }

    /// Carries out the commands in the mailbox, up to one that may block.
    pub(crate) fn obey(&mut self) {
        while self.tasks.is_empty() && self.unsent.is_empty() {
            let Some(command) = self.handle.mailbox.pop() else { break };
            self.changed = true;
            self.carry_out(command);
            self.collect();
        }
    }

    fn carry_out(&mut self, command: Command) {
        let present = self.session.as_ref().map(|(session, _)| *session);
        let ours = |session| present == Some(session);
        match command {
            // A request of a session that has ended, or is older, must not take the lane from a newer one.
            Command::Open { session, terms, strict, carried_topics, replies }
                if !replies.is_closed() && present.is_none_or(|present| present <= session) =>
            {
                self.session = Some((session, replies));
                self.strict = strict;
                self.tasks.push_back(Task::Open { session, terms, carried_topics });
            }
            Command::Frame(session, frame, arrived) if ours(session) => self.take_frame(frame, arrived),
            Command::Claim(session, epoch, claim) if ours(session) => {
                if let Some(mut lane) = self.lane.at(epoch) {
                    lane.handle_claim(claim);
                }
            }
            Command::Offer(session, epoch, offered) if ours(session) => {
                let lane = self.lane.at_granted(epoch);
                let taken = lane.and_then(|lane| lane.map_or(Ok(()), |mut lane| lane.handle_offer(*offered)));
                self.check(taken);
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
                self.check(taken);
            }
            Command::TopicsGone(session, epoch, topics, _) if ours(session) => {
                if let Some(mut lane) = self.lane.at(epoch) {
                    lane.handle_topics_gone(&topics);
                }
            }
            Command::Forget(session, request) if ours(session) => self.lane.handle_forget(request),
            Command::MarkGone(session, marks, _) if ours(session) => self.lane.handle_mark_gone(marks),
            Command::LaneMessage(session, message) if ours(session) => self.lane.handle_lane_message(message),
            Command::AllLanesRead => self.lane.handle_all_lanes_read(),
            Command::Classes { terms, requests, answer } if !answer.is_closed() => {
                self.tasks.push_back(Task::Classes { terms, requests, answer });
            }
            Command::Maps { wanted, answer } => self.lane.answer_maps(&wanted, answer),
            Command::SwitchOver(topics) => {
                if let Some(mut lane) = self.lane.opened() {
                    lane.handle_switched_over(&topics);
                }
            }
            Command::SourceEnds(session, reading) if ours(session) => self.lane.handle_source_ends(reading),
            Command::Promote(request) => {
                self.session = None;
                self.promoting = Some(request);
            }
            Command::StoreStatement(request) => self.tasks.push_back(Task::StoreStatement(request)),
            Command::SessionEnded(session) if ours(session) => self.session = None,
            Command::Stop => self.stopping = true,
            // A message of a session that is over.
            _ => {}
        }
    }

    fn take_frame(&mut self, frame: IntactFrame, arrived: u64) {
        let FrameHead { epoch, sequence, .. } = frame.header().head;
        if self.lane.epoch() == Some(epoch) {
            self.timings.handle_frame(epoch, sequence, arrived);
        }
        let taken = self.lane.handle_frame(frame);
        self.check(taken);
    }

    /// Returns what the lane needs now.
    pub(crate) fn next(&mut self) -> Next {
        if !self.unsent.is_empty() {
            return Next::Wait(UNSENT_RETRY);
        }
        if !self.tasks.is_empty() {
            return Next::Perform;
        }
        if self.lane.needs_recovery() {
            return self.next_recovery();
        }
        if self.committed.is_some_and(|at| at.elapsed() > KEEP_ALIVE) {
            self.lane.keep_alive();
        }
        if self.lane.has_work() {
            if self.lane.target_mut().is_granted() {
                return Next::Commit;
            }
            // The producer that it was verified with is gone.
            self.lane.doubt();
            return self.next_recovery();
        }
        if self.lane.epoch().is_some() && (self.trouble.is_some() || !self.quota_delay.is_zero()) {
            self.trouble = None;
            self.quota_delay = Duration::ZERO;
            self.changed = true;
        }
        if let Some(request) = self.promoting.take().filter(|request| !request.answer.is_closed()) {
            self.tasks.push_back(Task::Promote(request));
            return Next::Perform;
        }
        if self.stopping {
            self.end();
            return Next::End;
        }
        Next::Wait(Duration::MAX)
    }

    fn next_recovery(&mut self) -> Next {
        if self.stopping {
            // The next opening finds out whether the transaction was committed.
            self.end();
            return Next::End;
        }
        let left = self.retry.map_or(Duration::ZERO, |retry| retry.due.saturating_duration_since(Instant::now()));
        if !left.is_zero() {
            return Next::Wait(left);
        }
        self.tasks.push_back(Task::Recover);
        Next::Perform
    }

    fn end(&mut self) {
        self.lane.close(LaneClosedReason::SessionEnded, LEAVING);
        self.changed = true;
        self.publish();
        self.handle.ended.store(true, Ordering::Release);
    }

    /// Makes the call that may block. The lane has no part in a transaction of its writer's thread meanwhile.
    pub(crate) fn perform(&mut self) {
        let Some(task) = self.tasks.pop_front() else { return };
        self.changed = true;
        self.lane.target_mut().end_part();
        match task {
            Task::Open { session, terms, carried_topics } => {
                let is_present =
                    self.session.as_ref().is_some_and(|(present, replies)| *present == session && !replies.is_closed());
                if is_present {
                    self.open(terms, carried_topics);
                }
            }
            Task::Classes { terms, requests, answer } if !answer.is_closed() => {
                let _asking = self.handle.ask();
                // The session that asked may have ended meanwhile.
                let _ = answer.send(self.lane.append_classes(&terms, &requests));
            }
            Task::Classes { .. } => {}
            Task::Recover => self.recover(),
            Task::Promote(request) => self.promote(request),
            Task::StoreStatement(request) => self.store_statement(request),
        }
        self.careful = self.lane.is_careful();
        self.collect();
    }

    fn open(&mut self, terms: Arc<Terms>, carried_topics: Arc<CarriedTopics>) {
        self.retry = None;
        self.committed = Some(Instant::now());
        self.trouble = None;
        self.doubted = false;
        let lane = self.lane.id();
        let asking = self.handle.ask();
        let opened = self.lane.open(terms, carried_topics);
        drop(asking);
        match opened {
            Ok(epoch) => {
                tracing::debug!(%lane, %epoch, "lane open");
                self.reply(Reply::Opened);
            }
            Err(OpenError::Refused(close)) => self.reply(Reply::Close(close)),
            Err(OpenError::Target(error)) => {
                self.spare_others(&error);
                tracing::warn!(%lane, %error, "could not open lane");
                let detail = error.to_string();
                self.trouble = Some(format!("lane {lane}: {detail}"));
                let reason = LaneClosedReason::TargetFailed;
                self.reply(Reply::Message(Control::LaneClosed { lane, epoch: Epoch(0), reason, detail }));
            }
        }
    }

    /// Has the next attempt go through another writer if the target refuses the lane's own entries: each attempt destroys
    /// the producer.
    fn spare_others(&mut self, error: &TargetError) {
        use TargetError::{Rejected, StateRejected, Unauthorized};
        if matches!(error, StateRejected { .. } | Unauthorized(_) | Rejected(_)) {
            self.careful_until = Some(Instant::now() + CAREFUL_FOR);
        }
    }

    /// Notes that the lane waits for the target, until the result is dropped.
    pub(crate) fn ask(&self) -> Asking {
        self.handle.ask()
    }

    /// Closes the lane and ends the session if the sender broke the protocol.
    fn check(&mut self, result: Result<(), PeerMisbehaved>) {
        if let Err(misbehaved) = result {
            self.lane.close(LaneClosedReason::SessionEnded, &misbehaved.to_string());
            self.reply(Reply::Close(misbehaved.into()));
        }
    }

    fn reply(&mut self, reply: Reply) {
        self.collect();
        self.send(reply);
    }

    /// Takes the lane's own replies and messages, in their order.
    fn collect(&mut self) {
        while let Some(mut message) = self.lane.poll_reply() {
            self.timings.handle_reply(&mut message, self.clock.now());
            self.send(Reply::Message(message));
        }
        while let Some((to, message)) = self.lane.poll_lane_message() {
            self.send(Reply::LaneMessage(to, message));
        }
    }

    /// Sends a reply, or keeps it until the session takes replies again. A session that reads none holds up its own lanes.
    fn send(&mut self, reply: Reply) {
        self.unsent.push_back(reply);
        self.send_unsent();
    }

    fn send_unsent(&mut self) {
        let Some((_, replies)) = &self.session else {
            self.unsent.clear();
            return;
        };
        while let Some(reply) = self.unsent.pop_front() {
            match replies.try_send(reply) {
                Ok(()) => {}
                Err(TrySendError::Full(reply)) => {
                    self.unsent.push_front(reply);
                    break;
                }
                // The session has ended.
                Err(TrySendError::Closed(_)) => self.unsent.clear(),
            }
        }
    }

    /// Sends the replies that wait, and shows the lane's condition, if it has changed.
    pub(crate) fn publish(&mut self) {
        self.send_unsent();
        if !std::mem::take(&mut self.changed) {
            return;
        }
        if !self.needs_action.is_of(&self.lane) {
            let before = std::mem::replace(&mut self.needs_action, Arc::new(NeedsAction::of(&self.lane)));
            self.needs_action.report_orphans(self.lane.id(), &before);
        }
        self.handle.gaps.lock().append(self.lane.take_gaps());
        let mut view = self.handle.view.lock();
        view.lane = self.lane.id();
        view.epoch = self.lane.epoch();
        view.counts = self.lane.counts();
        view.held_bytes = self.lane.held_bytes();
        view.trouble.clone_from(&self.trouble);
        view.quota_delay = self.quota_delay;
        view.needs_action = Arc::clone(&self.needs_action);
    }

    /// Logs a failed transaction, and the same failure only once at a level above debug. That of several lanes is logged by
    /// their thread.
    fn note_failure(&mut self, error: &TargetError, company: Company) {
        let lane = self.lane.id();
        let trouble = format!("lane {lane}: {error}");
        match error {
            _ if company == Company::Shared || self.trouble.as_ref() == Some(&trouble) => {
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

impl<T: Target> Member for LaneRunner<T> {
    fn prepare(&mut self, room: TransactionRoom) -> Option<Prepared> {
        self.changed = true;
        let now = self.clock.now();
        self.timings.handle_step(now);
        self.lane.handle_time(i64::try_from(now / 1_000_000).unwrap_or(i64::MAX));
        match self.lane.prepare(room) {
            Prepared { draft, result: Err(LaneError::Peer(misbehaved)) } if !draft.has_begun() => {
                self.check(Err(misbehaved));
                None
            }
            prepared => Some(prepared),
        }
    }

    fn await_delivery(&mut self, draft: &mut Draft) -> Result<(), TargetError> {
        self.lane.await_delivery(draft)
    }

    fn complete(&mut self, draft: Draft) -> Committed {
        let begun = draft.has_begun();
        let committed = self.lane.complete(draft);
        self.careful = self.careful && self.lane.is_careful();
        self.lane.target_mut().end_part();
        if begun {
            self.quota_delay = self.lane.quota_delay();
            self.committed = Some(Instant::now());
            self.retry = None;
            self.trouble = None;
            self.doubted = false;
        }
        self.collect();
        committed
    }

    fn fail(&mut self, draft: Draft, error: &LaneError, company: Company) {
        self.lane.fail(draft, error, company);
        self.careful = self.lane.is_careful();
        match error {
            LaneError::Peer(misbehaved) if company == Company::Alone => self.check(Err(*misbehaved)),
            LaneError::Peer(_) => {}
            LaneError::Target(error) => {
                // A cause that the error does not name, or that stays, may be any lane's.
                let is_unnamed = company == Company::Shared && matches!(error, TargetError::Unauthorized(_));
                self.doubted |= is_unnamed || self.retry.is_some();
                self.note_failure(error, company);
                // The first recovery is immediate; only a commit resets the wait, which grows from there.
                self.retry = Some(self.retry.map_or_else(Retry::now, Retry::next));
            }
        }
        self.collect();
    }
}
