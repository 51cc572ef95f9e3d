//! A lane's own thread: moves commands and frames into the [`Lane`], runs its transactions at the common
//! pace, and hands its replies to the session. It lives as long as the process and serves one session
//! after the other: at a session's end it commits what it holds without a gap, and a new opening waits for
//! at most the transaction in progress.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use service::bell::Bell;
use service::mailbox::Mailbox;
use tokio::sync::{mpsc, oneshot};
use transport::clock::Clock;
use wire::close::CloseCode;
use wire::control::{Control, LaneClosedReason};
use wire::error::PeerMisbehaved;
use wire::frame::{FrameHead, IntactFrame};
use wire::ids::{Epoch, LaneId, Slot};
use wire::lanes::{ClassRequest, ClassTable};

use crate::join::Offered;
use crate::join::carried_topics::Knowledge;
use crate::lane::attention::Standing;
use crate::lane::pace::{CommitPace, Ticket};
use crate::lane::timings::Timings;
use crate::lane::{Claim, Counts, Errand, Lane, LaneError, OpenError, RecoverError, Terms};
use crate::link::arbiter::SessionId;
use crate::target::state::HaltRecord;
use crate::target::{LaneTarget, TargetError};

/// What a session tells a lane's thread. Messages of a session that is not the lane's present one are
/// dropped.
#[derive(Debug)]
pub enum Command {
    /// Take the lane over for a new session.
    Open {
        /// The session.
        session: SessionId,
        /// What it agreed on.
        terms: Arc<Terms>,
        /// Whether the lane's class goes before others.
        strict: bool,
        /// Shared with the session's other lanes.
        knowledge: Arc<Knowledge>,
        /// Where replies go.
        replies: mpsc::Sender<Reply>,
    },
    /// A frame, checked and within credit, and when its last byte arrived by the process's clock.
    Frame(SessionId, IntactFrame, u64),
    /// Topics are about to be made.
    Claim(SessionId, Epoch, Claim),
    /// A partition asks to join.
    Offer(SessionId, Epoch, Box<Offered>),
    /// All of the filter's partitions were offered.
    LastOffer(SessionId, Epoch),
    /// The sender halted a partition.
    Halted(SessionId, Epoch, Slot, HaltRecord),
    /// Every lane of the session was read: offers that waited for it can be decided.
    Known,
    /// Another lane of the session wants or gives a partition.
    Errand(SessionId, Errand),
    /// Lanes are to be appended for classes. Asked of lane 0, before a session begins.
    Classes {
        /// What the session is to agree on; its classes are the default one.
        terms: Arc<Terms>,
        /// The classes it needs beside that.
        wishes: Vec<ClassRequest>,
        /// Told every class and its lanes; dropped if the lane ends.
        answer: oneshot::Sender<Result<ClassTable, OpenError>>,
    },
    /// The session ended.
    SessionEnded(SessionId),
    /// Commit what is held without a gap, then end the thread.
    Stop,
}

/// What a lane's thread tells its session.
#[derive(Debug)]
pub enum Reply {
    /// For the sender.
    Message(Control),
    /// The lane's state was read; the session's other lanes may be waiting for that.
    Opened,
    /// For another lane of the session.
    Errand(LaneId, Errand),
    /// The sender broke the protocol.
    Misbehaved(PeerMisbehaved),
    /// What is stored forbids this session.
    Refused(CloseCode, String),
}

/// A lane's thread, seen from outside.
#[derive(Debug, Clone)]
pub struct LaneHandle {
    /// Its commands.
    pub mailbox: Mailbox<Command>,
    /// What it has seen, for `status` and metrics.
    pub view: Arc<Mutex<View>>,
}

/// A lane as others may see it.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The epoch, while open.
    pub epoch: Option<Epoch>,
    /// Counters.
    pub counts: Counts,
    /// Compressed bytes held.
    pub held_bytes: u64,
    /// Why records do not flow: what the target says while it fails, or that the lane is another receiver's.
    pub trouble: Option<String>,
    /// What stands in its state until somebody acts.
    pub standing: Arc<Standing>,
}

/// Commands that may wait for a lane: its frames and its offers. Frames of any size worth sending are
/// bounded by credit long before; a sender that sends this many tiny ones ends its session.
pub const MAILBOX_CAPACITY: usize = 64 * 1024;

const IDLE: Duration = Duration::from_secs(60);
/// A lane that has not committed for this long does so for its own sake: brokers forget a transactional id
/// after 7 days at the least setting in use.
const KEEP_ALIVE: Duration = Duration::from_secs(24 * 60 * 60);
/// How soon a failing target is asked again, and how late at most.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// The thread's own state.
pub struct LaneThread<T> {
    /// The lane.
    pub lane: Lane<T>,
    /// Its commands and view.
    pub handle: LaneHandle,
    /// What wakes it.
    pub bell: Bell,
    /// The receiver-wide pace.
    pub pace: Arc<CommitPace>,
    /// Its place in the pace's queue.
    pub ticket: Ticket,
    /// How long its frames take, by `clock`.
    pub timings: Timings,
    /// The process's clock.
    pub clock: Clock,
}

#[derive(Default)]
struct Running {
    session: Option<(SessionId, mpsc::Sender<Reply>)>,
    strict: bool,
    retry: Option<(Instant, Duration)>,
    committed: Option<Instant>,
    /// Why records do not flow.
    trouble: Option<String>,
    standing: Arc<Standing>,
    stopping: bool,
}

impl<T: LaneTarget> LaneThread<T> {
    /// Runs until [`Command::Stop`].
    pub fn run(mut self) {
        let mut running = Running::default();
        loop {
            while let Some(command) = self.handle.mailbox.pop() {
                self.obey(&mut running, command);
            }
            let wait = self.work(&mut running);
            self.flush(&running);
            if !running.standing.is_of(&self.lane) {
                let before = std::mem::replace(&mut running.standing, Arc::new(Standing::of(&self.lane)));
                running.standing.report_orphans(self.lane.id(), &before);
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
        self.lane.close(LaneClosedReason::SessionEnded, "receiver is leaving");
        self.flush(&running);
    }

    fn obey(&mut self, running: &mut Running, command: Command) {
        let ours = |session| running.session.as_ref().is_some_and(|(id, _)| *id == session);
        let result = match command {
            Command::Open { session, terms, strict, knowledge, replies } => {
                // An older session's late wish must not take the lane from a newer one.
                if running.session.as_ref().is_some_and(|(present, _)| *present > session) {
                    return;
                }
                // Fencing may take long, and whoever is behind in the pace's queue must not wait for it.
                self.pace.leave(self.ticket);
                running.session = Some((session, replies));
                running.strict = strict;
                running.retry = None;
                running.committed = Some(Instant::now());
                self.open(running, terms, knowledge);
                Ok(())
            }
            Command::Frame(session, frame, arrived) if ours(session) => {
                let FrameHead { epoch, sequence, .. } = frame.header().head;
                if self.lane.epoch() == Some(epoch) {
                    self.timings.handle_frame(epoch, sequence, arrived);
                }
                self.lane.handle_frame(frame)
            }
            Command::Claim(session, epoch, claim) if ours(session) => {
                self.lane.handle_claim(epoch, claim);
                Ok(())
            }
            Command::Offer(session, epoch, offered) if ours(session) => self.lane.handle_offer(epoch, *offered),
            Command::LastOffer(session, epoch) if ours(session) => {
                self.lane.handle_last_offer(epoch);
                Ok(())
            }
            Command::Halted(session, epoch, slot, halt) if ours(session) => {
                self.lane.handle_halted(epoch, slot, halt);
                Ok(())
            }
            Command::Errand(session, errand) if ours(session) => {
                self.lane.handle_errand(errand);
                Ok(())
            }
            Command::Known => {
                self.lane.handle_known();
                Ok(())
            }
            Command::Classes { terms, wishes, answer } => {
                self.pace.leave(self.ticket);
                // Who asked may have left.
                let _ = answer.send(self.lane.append_classes(&terms, &wishes));
                Ok(())
            }
            Command::SessionEnded(session) if ours(session) => {
                running.session = None;
                Ok(())
            }
            Command::Stop => {
                running.stopping = true;
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(misbehaved) = result {
            self.misbehaved(running, misbehaved);
        }
    }

    fn open(&mut self, running: &mut Running, terms: Arc<Terms>, knowledge: Arc<Knowledge>) {
        let lane = self.lane.id();
        running.trouble = None;
        match self.lane.open(terms, knowledge) {
            Ok(epoch) => {
                tracing::debug!(%lane, %epoch, "lane open");
                running.trouble = None;
                running.reply(Reply::Opened);
            }
            Err(OpenError::Refused { code, detail }) => running.reply(Reply::Refused(code, detail)),
            Err(OpenError::Target(error)) => {
                tracing::warn!(%lane, %error, "could not open lane");
                let (reason, detail) = (LaneClosedReason::TargetFailed, error.to_string());
                running.trouble = Some(format!("lane {lane}: {detail}"));
                running.reply(Reply::Message(Control::LaneClosed { lane, epoch: Epoch(0), reason, detail }));
            }
        }
    }

    /// Does what can be done now; says how long to sleep then, or `None` to come straight back.
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
            self.pace.leave(self.ticket);
            return Some(IDLE);
        }
        if let Err(wait) = self.pace.take(self.ticket, running.strict) {
            return Some(wait.max(Duration::from_millis(1)));
        }
        let began = Instant::now();
        self.timings.handle_step(self.clock.now());
        match self.lane.step() {
            Ok(committed) => {
                self.lane.handle_duration(committed, began.elapsed());
                running.committed = Some(Instant::now());
                running.retry = None;
                running.trouble = None;
            }
            Err(LaneError::Peer(misbehaved)) => self.misbehaved(running, misbehaved),
            Err(LaneError::Target(error)) => {
                let lane = self.lane.id();
                let trouble = format!("lane {lane}: {error}");
                match error {
                    // Said once: it will be so until somebody changes it.
                    _ if running.trouble.as_ref() == Some(&trouble) => {
                        tracing::debug!(%lane, %error, "transaction failed again");
                    }
                    TargetError::StateRejected { .. } => tracing::error!(%lane, %error, "positions are refused"),
                    _ => {
                        tracing::warn!(%lane, %error, "transaction failed; asking the target what became of it");
                    }
                }
                // At once the first time; only a commit resets what grows from there.
                let wait = running.retry.map_or(Duration::ZERO, |(_, wait)| (wait * 2).clamp(RETRY_MIN, RETRY_MAX));
                running.trouble = Some(trouble);
                running.retry = Some((Instant::now() + wait, wait));
            }
        }
        None
    }

    fn recover(&mut self, running: &mut Running) -> Option<Duration> {
        let (due, wait) = *running.retry.get_or_insert_with(|| (Instant::now(), Duration::ZERO));
        let now = Instant::now();
        if running.stopping {
            // Nobody will see the end of this; the next opening reads what became of it.
            self.lane.close(LaneClosedReason::SessionEnded, "receiver is leaving");
            return None;
        }
        if now < due {
            return Some(due - now);
        }
        let lane = self.lane.id();
        match self.lane.recover() {
            // What is wrong stands until something is committed, or nothing is left to be.
            Ok(()) if wait.is_zero() => tracing::info!(%lane, "lane recovered; replaying what it holds"),
            Ok(()) => tracing::debug!(%lane, "lane recovered again"),
            Err(RecoverError::Target(gone @ TargetError::StateGone(_))) => {
                tracing::error!(%lane, error = %gone, "state topic is gone");
                running.trouble = Some(format!("lane {lane}: {gone}"));
                self.lane.close(LaneClosedReason::Refused, &gone.to_string());
                running.reply(Reply::Refused(CloseCode::StateRefused, gone.to_string()));
            }
            Err(RecoverError::Target(error)) => {
                let next = (wait * 2).clamp(RETRY_MIN, RETRY_MAX);
                tracing::warn!(%lane, %error, retry_in = ?next, "target still fails");
                running.retry = Some((now + next, next));
                running.trouble = Some(format!("lane {lane}: {error}"));
            }
            Err(error @ RecoverError::Superseded { .. }) => {
                tracing::error!(%lane, %error, "lane contested: another receiver opened it");
                running.trouble = Some(format!("lane {lane} is contested: {error}"));
                self.lane.close(LaneClosedReason::Superseded, &error.to_string());
            }
            Err(error @ RecoverError::Diverged { .. }) => {
                tracing::error!(%lane, %error, "stored positions are not ours; opening the lane again");
                running.trouble = Some(format!("lane {lane}: {error}"));
                self.lane.close(LaneClosedReason::TargetFailed, &error.to_string());
            }
        }
        None
    }

    fn misbehaved(&mut self, running: &mut Running, misbehaved: PeerMisbehaved) {
        self.lane.close(LaneClosedReason::SessionEnded, &misbehaved.to_string());
        running.reply(Reply::Misbehaved(misbehaved));
    }

    fn flush(&mut self, running: &Running) {
        while let Some(mut message) = self.lane.poll_reply() {
            self.timings.handle_reply(&mut message, self.clock.now());
            running.reply(Reply::Message(message));
        }
        while let Some((to, errand)) = self.lane.poll_errand() {
            running.reply(Reply::Errand(to, errand));
        }
    }

    fn publish(&self, running: &Running) {
        let mut view = self.handle.view.lock().unwrap_or_else(PoisonError::into_inner);
        view.epoch = self.lane.epoch();
        view.counts = self.lane.counts();
        view.held_bytes = self.lane.held_bytes();
        view.trouble.clone_from(&running.trouble);
        view.standing = Arc::clone(&running.standing);
    }
}

impl Running {
    fn reply(&self, reply: Reply) {
        if let Some((_, replies)) = &self.session {
            // The session bounds how long this can block: it reads replies first, or it has ended.
            let _ = replies.blocking_send(reply);
        }
    }
}
