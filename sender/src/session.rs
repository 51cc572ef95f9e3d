//! The sender's side of a session: one handshake, then messages and frames until it ends.
//!
//! The shell of the roster and the lanes: every decision about partitions is the roster's, every decision
//! about records the lane's.

mod channels;
mod halting;
mod handshake;
mod offering;
mod opening;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use quinn::Connection;
use service::live::Live;
use service::shutdown::{Phase, Shutdown};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use transport::endpoint::ChannelFault;
use wire::close::CloseCode;
use wire::control::{Control, LaneClosedReason, Welcome};
use wire::ids::{Epoch, LaneId};

use crate::config::Config;
use crate::dispatch::bank::CreditBank;
use crate::dispatch::channels::Channels;
use crate::dispatch::classes::Classes;
use crate::dispatch::gate::Gate;
use crate::lane::thread::{Command, LaneHandle, SessionPart};
use crate::partitions::policy::Policies;
use crate::partitions::resume::Halt;
use crate::partitions::roster::{Due, Roster};
use crate::report::status::Board;
use crate::source::Assignment;
use crate::source::discovery::Discovered;

use channels::Keeper;
pub use channels::Ways;
use halting::Halting;
pub use handshake::{HandshakeError, Handshaken, Identity, shake_hands};
pub use offering::Offering;
use opening::Reopen;

/// Messages that may wait in either direction; the other end's flow control does the rest.
const CONTROL_QUEUE: usize = 1024;

/// How often the sender shows that it is alive and asks the receiver's clock.
const CLOCK_INTERVAL: Duration = Duration::from_secs(2);

/// How long a draining session waits for the last acks: half of the 10 s that a drain may take.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionEnd {
    /// We drained and left.
    #[error("drained")]
    Drained,
    /// The receiver closed it.
    #[error("receiver closed the session: {} ({detail})", code.sentence())]
    Closed {
        /// Why.
        code: CloseCode,
        /// For people.
        detail: String,
    },
    /// The topic list is another, or topics are in other classes: the next session begins with that.
    #[error("the topic list or the classes changed")]
    Reconfigured,
    /// The path or the peer is gone.
    #[error("session lost: {0}")]
    Lost(String),
    /// One end does not believe the other: it will be so until somebody changes a certificate or a name.
    #[error("no session: {0}")]
    Barred(String),
}

impl SessionEnd {
    /// Why `connection` ended: the close that the receiver sent says more than the stream it took down.
    fn of(connection: &Connection, otherwise: impl FnOnce() -> String) -> Self {
        match connection.close_reason() {
            Some(quinn::ConnectionError::ApplicationClosed(close)) => Self::Closed {
                code: CloseCode::from(u64::from(close.error_code) as u16),
                detail: String::from_utf8_lossy(&close.reason).into_owned(),
            },
            Some(error) => Self::of_fault(&ChannelFault::of(connection.remote_address(), &error)),
            None => Self::Lost(otherwise()),
        }
    }
}

impl SessionEnd {
    /// Under which name it is counted: the code's, where there was one.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Drained => "DRAINED",
            Self::Reconfigured => "RECONFIGURED",
            Self::Closed { code, .. } => code.name(),
            Self::Lost(_) => "LOST",
            Self::Barred(_) => "BARRED",
        }
    }

    /// What a channel's fault means for its session.
    pub fn of_fault(fault: &ChannelFault) -> Self {
        if fault.may_pass() { Self::Lost(fault.to_string()) } else { Self::Barred(fault.to_string()) }
    }
}

/// What a session works with.
pub struct Session<'a> {
    /// The lanes of this process.
    pub lanes: &'a [LaneHandle],
    /// The classes that this session began with; where they send topics other ways, it ends.
    pub classes: Classes,
    /// What is configured now.
    pub config: Live<Config>,
    /// Whose frame is next.
    pub gate: Arc<Gate>,
    /// What the source has.
    pub topics: watch::Receiver<Discovered>,
    /// The topic filter that this session began with, and ends with.
    pub filter_hash: u64,
    /// Looks partitions up and writes the offers.
    pub offering: Offering,
    /// How lanes pack, but for the credit, which the receiver states.
    pub packing: crate::lane::Packing,
    /// What is done about halts.
    pub policies: &'a Policies,
    /// Where the session's credit is shown, and where operators ask.
    pub board: Arc<Board>,
    /// Its channels.
    pub ways: Ways,
}

struct Active<'a> {
    session: Session<'a>,
    connection: Connection,
    roster: Roster,
    part: SessionPart,
    dues: mpsc::Sender<Due>,
    reopen: Reopen,
    opened: HashMap<(LaneId, Epoch), Vec<Assignment>>,
    halting: Halting,
    keeper: Keeper,
}

impl Session<'_> {
    /// Runs the session that `shaken` began until it ends.
    pub async fn run(self, shaken: Handshaken, shutdown: Shutdown) -> SessionEnd {
        let connection = self.ways.first.connection.clone();
        let Handshaken { reader, writer, welcome } = shaken;
        let (incoming_in, mut incoming) = mpsc::channel(CONTROL_QUEUE);
        let (outgoing, outgoing_out) = mpsc::channel(CONTROL_QUEUE);
        let (dues, dues_out) = mpsc::channel(self.lanes.len() * 2 + 16);
        let reading = tokio::spawn(async move {
            if let Err(error) = reader.run(incoming_in).await {
                tracing::error!(%error, "receiver sent what is no control message");
            }
        });
        let writing = tokio::spawn(writer.run(outgoing_out));
        let offering = tokio::spawn(self.offering.clone().run(dues_out, self.topics.clone(), outgoing.clone()));
        let mut active = Active::new(self, &welcome, outgoing, dues);
        let end = active.run(&mut incoming, &shutdown).await;
        for lane in active.session.lanes {
            // A full mailbox belongs to a lane that is stuck; the process ends by its own rules then.
            let _ = lane.mailbox.push(Command::Close);
        }
        drop(active);
        offering.abort();
        reading.abort();
        let (code, detail) = match &end {
            SessionEnd::Drained => (CloseCode::Normal, "drained".to_owned()),
            other => (CloseCode::Normal, other.to_string()),
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), writing).await;
        connection.close(u32::from(code.number()).into(), detail.as_bytes());
        end
    }
}

impl<'a> Active<'a> {
    fn new(session: Session<'a>, welcome: &Welcome, control: mpsc::Sender<Control>, dues: mpsc::Sender<Due>) -> Self {
        let bells: Vec<_> = session.lanes.iter().map(|lane| lane.bell.clone()).collect();
        let bank = Arc::new(CreditBank::new(welcome.credit, bells.clone()));
        session.board.set_credit(Arc::clone(&bank));
        let packing = session.packing.agreed(welcome.features).within(bank.request_max(), welcome.credit.reserve);
        let (ways, connection) = (session.ways.clone(), session.ways.first.connection.clone());
        let channels = Channels::new(bells);
        channels.open(0, ways.first.clone());
        let keeper = Keeper::start(ways, channels.clone(), control.clone(), Arc::clone(&session.board), welcome);
        let lanes = session.lanes.len() as u16;
        let router = session.classes.router(session.gate.table().clone());
        bank.set_urgent(|lane| session.gate.is_strict(lane));
        let (gate, latency) = (Arc::clone(&session.gate), session.board.latency());
        latency.begin_session();
        Self {
            session,
            connection,
            roster: Roster::new(router).towards(&welcome.cluster_id),
            part: SessionPart { bank, gate, channels, control, packing, latency },
            dues,
            reopen: Reopen::new(lanes),
            opened: HashMap::new(),
            halting: Halting::default(),
            keeper,
        }
    }

    async fn run(&mut self, incoming: &mut mpsc::Receiver<Control>, shutdown: &Shutdown) -> SessionEnd {
        let mut clock = tokio::time::interval(CLOCK_INTERVAL);
        let mut drain_until = None;
        let mut asked = self.session.board.take_requests();
        loop {
            let reopen_at = self.reopen.next_timeout();
            tokio::select! {
                message = incoming.recv() => {
                    let Some(message) = message else { return self.lost() };
                    if let Err(end) = self.handle_all(message, incoming) {
                        return end;
                    }
                }
                changed = self.session.topics.changed() => {
                    if changed.is_err() {
                        return SessionEnd::Lost("discovery ended".to_owned());
                    }
                    if self.is_reconfigured() {
                        return SessionEnd::Reconfigured;
                    }
                    if let Some(end) = self.rerouted() {
                        return end;
                    }
                    self.halt_recreated();
                    self.offer_due();
                }
                config = self.session.config.changed() => {
                    if self.session.classes.routes_otherwise(&config.classes) {
                        return SessionEnd::Reconfigured;
                    }
                    self.session.gate.set(&config.classes, self.session.board.rates().rate());
                    self.part.bank.set_urgent(|lane| self.session.gate.is_strict(lane));
                }
                Some(asked) = asked.recv() => self.handle_asked(asked),
                end = self.keeper.end() => return SessionEnd::Lost(end),
                () = sleep_until(reopen_at) => self.open_lanes(),
                now = clock.tick() => {
                    self.send(self.part.latency.poll_question());
                    self.session.gate.follow(self.session.board.rates().rate());
                    // Offers that found no room are tried again.
                    self.offer_due();
                    if drain_until.is_some_and(|until| now >= until) || self.is_drained(drain_until) {
                        return SessionEnd::Drained;
                    }
                }
                () = shutdown.reached(Phase::Drain), if drain_until.is_none() => {
                    drain_until = Some(Instant::now() + DRAIN_PATIENCE);
                    clock = tokio::time::interval(Duration::from_millis(50));
                    self.drain();
                }
                () = shutdown.reached(Phase::Now) => return SessionEnd::Drained,
            }
        }
    }

    fn is_drained(&self, drain_until: Option<Instant>) -> bool {
        drain_until.is_some() && self.session.lanes.iter().all(|lane| lane.progress.is_drained())
    }

    fn drain(&self) {
        for lane in self.session.lanes {
            let _ = lane.mailbox.push(Command::Drain);
        }
    }

    /// Handles `message` and whatever else has arrived, then starts to read what was opened: many opened
    /// partitions become one assignment.
    fn handle_all(&mut self, message: Control, incoming: &mut mpsc::Receiver<Control>) -> Result<(), SessionEnd> {
        self.handle(message)?;
        while let Ok(message) = incoming.try_recv() {
            self.handle(message)?;
        }
        let opened = std::mem::take(&mut self.opened);
        let any = !opened.is_empty();
        for ((lane, epoch), assignments) in opened {
            self.command(lane, Command::Partitions(epoch, assignments))?;
        }
        if any {
            // Topics may have been made again since these were offered.
            self.halt_recreated();
        }
        Ok(())
    }

    fn handle(&mut self, message: Control) -> Result<(), SessionEnd> {
        match message {
            Control::LaneOpen { lane, epoch } => {
                self.roster.handle_lane_open(lane, epoch);
                self.halting.forget_tried(|at| self.roster.lane(at) == lane);
                self.command(lane, Command::Open { epoch, session: self.part.clone() })?;
                self.offer_due();
                Ok(())
            }
            Control::LaneClosed { lane, reason, detail, .. } => self.handle_lane_closed(lane, reason, &detail),
            Control::PartitionOpen { lane, epoch, slot, position, leader_epoch } => {
                if let Some(partition) = self.roster.handle_partition_open(lane, epoch, slot) {
                    self.halting.handle_open(partition, position);
                    let topic = Arc::clone(&partition.topic);
                    let partition = partition.partition;
                    let assignment = Assignment { slot, topic, partition, position, leader_epoch };
                    self.opened.entry((lane, epoch)).or_default().push(assignment);
                }
                Ok(())
            }
            Control::PartitionHalted { lane, epoch, slot, position, reason, detail } => {
                self.handle_halted((lane, epoch, slot), Halt { reason, position }, &detail)
            }
            Control::Ack { lane, epoch, sequence, timing } => {
                self.reopen.handle_progress(lane);
                self.command(lane, Command::Ack(epoch, sequence, timing))
            }
            Control::Close { code, detail } => Err(SessionEnd::Closed { code, detail }),
            Control::ChannelClosed { channel, detail } => {
                tracing::debug!(channel, detail, "receiver takes nothing more of a channel");
                self.part.channels.handle_closed(channel);
                Ok(())
            }
            Control::Clock { asked, answered } => {
                self.part.latency.handle_answer(asked, answered);
                Ok(())
            }
            _ => Err(SessionEnd::Lost("receiver sent a message that has no place here".to_owned())),
        }
    }

    fn handle_lane_closed(&mut self, lane: LaneId, reason: LaneClosedReason, detail: &str) -> Result<(), SessionEnd> {
        self.roster.handle_lane_closed(lane);
        match reason {
            LaneClosedReason::SessionEnded => {}
            LaneClosedReason::TargetFailed => {
                tracing::warn!(%lane, detail, "lane closed by the receiver; opening it again")
            }
            LaneClosedReason::Superseded => {
                tracing::error!(%lane, detail, "lane contested: another receiver opened it")
            }
            LaneClosedReason::Refused => tracing::error!(%lane, detail, "lane refused by the receiver"),
        }
        if let Some(handle) = self.session.lanes.get(usize::from(lane.0)) {
            handle.progress.record_closed(reason, detail);
        }
        self.reopen.handle_closed(lane, reason, Instant::now(), rand::random());
        self.command(lane, Command::Close)
    }

    /// Opens the lanes that are due: all of them at the start, closed ones after their back-off.
    fn open_lanes(&mut self) {
        for lane in self.reopen.poll_due(Instant::now()) {
            self.send(Control::OpenLane { lane });
        }
    }

    fn is_reconfigured(&self) -> bool {
        self.session.topics.borrow().filter_hash != self.session.filter_hash
    }

    fn offer_due(&mut self) {
        if self.is_reconfigured() {
            return;
        }
        let topics = Arc::clone(&self.session.topics.borrow().topics);
        // Room for every lane at once is kept in the queue; see its capacity.
        while self.dues.capacity() >= self.session.lanes.len() {
            let due = self.roster.poll_due(&topics);
            if due.is_empty() {
                return;
            }
            for due in due {
                let _ = self.dues.try_send(due);
            }
        }
    }

    /// A topic that is being carried was brought here by a link, or another way than was known: it must not go
    /// round in circles, and the receiver must hear of it before more is written.
    fn rerouted(&mut self) -> Option<SessionEnd> {
        let topics = Arc::clone(&self.session.topics.borrow_and_update().topics);
        let topic = self.roster.poll_rerouted(&topics)?;
        let reason = format!("a link brings {} to the source; beginning anew with what that means", topic.name);
        Some(SessionEnd::Lost(reason))
    }

    fn command(&self, lane: LaneId, command: Command) -> Result<(), SessionEnd> {
        let handle = self.session.lanes.get(usize::from(lane.0));
        let handle =
            handle.ok_or_else(|| SessionEnd::Lost(format!("receiver names lane {lane}, which the link has not")))?;
        let pushed = handle.mailbox.push(command);
        pushed.map_err(|_| SessionEnd::Lost(format!("lane {lane} is stuck: its mailbox is full")))
    }

    fn send(&self, message: Control) {
        if self.part.control.try_send(message).is_err() {
            tracing::debug!("control queue is full or closed; the session is about to end");
        }
    }

    fn lost(&self) -> SessionEnd {
        SessionEnd::of(&self.connection, || "control stream ended".to_owned())
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
