//! Session with the receiver: a handshake, then control messages and frames until the session ends.
//!
//! The session connects [`LanePartitions`], which makes every decision about partitions, with the lanes, which make
//! every decision about records.

mod acls;
mod channels;
mod conditions;
pub(crate) mod end;
mod forget_policy;
mod gone;
mod gone_topics;
mod groups;
mod halting;
mod handshake;
mod offering;
mod opening;
mod probe;
mod settings;
mod source_ends;
mod source_watch;
mod watching;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use quinn::Connection;
use service::live::Live;
use service::log_limit::LogLimit;
use service::shutdown::{Phase, Shutdown};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use transport::control::close;
use wire::close::{Close, CloseCode};
use wire::control::{Control, LaneClosedReason, Welcome};
use wire::error::PeerMisbehaved;
use wire::halt::{HaltReason, is_word};
use wire::hello::{FEATURE_FORGET, FEATURE_SKIP_REFUSED};
use wire::ids::{Epoch, LaneId, Position, Slot};
use wire::partition::Partition;
use wire::units::Rate;

use crate::board::{Board, ChannelPlace, State};
use crate::config::Config;
use crate::dispatch::classes::Classes;
use crate::dispatch::dispatcher::Dispatcher;
use crate::lane::Packing;
use crate::lane::thread::{Command, LaneHandle, SessionPart};
use crate::partitions::lane_partitions::{Due, LanePartitions};
use crate::partitions::left_out::LeftOut;
use crate::partitions::outcome::Answer;
use crate::partitions::resume::{Halt, PendingRequest, ResumeAction, SessionRequest};
use crate::source::Assignment;
use crate::source::discovery::Discovered;

use channels::ChannelSupervisor;
pub use channels::{ChannelDialer, REDIAL_MAX, REDIAL_MIN};
use conditions::Conditions;
use end::Inbound;
pub use end::SessionEnd;
use forget_policy::ForgetPolicy;
use gone_topics::GoneTopics;
use halting::Halting;
pub use handshake::{Handshaken, Identity, ask_admission, shake_hands};
pub use offering::Offering;
use opening::Reopen;
pub(crate) use probe::Probe;

/// Control messages for the receiver that may wait; flow control of the other end limits the rest.
const CONTROL_QUEUE: usize = 1024;
/// Messages of the receiver that may wait, each of up to 512 KiB. More wait in QUIC's window.
const INCOMING_QUEUE: usize = 16;
/// Interval at which the sender shows that it is alive and asks for the receiver's clock.
const CLOCK_INTERVAL: Duration = Duration::from_secs(2);
/// Time that a draining session waits for the last acks: half of the 10 s that a drain may take.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

pub struct Session<'a> {
    pub lanes: &'a [LaneHandle],
    /// Classes that this session began with; it ends when topics go to other classes.
    pub classes: Classes,
    pub config: Live<Config>,
    pub dispatcher: Dispatcher,
    pub topics: watch::Receiver<Discovered>,
    /// Hash of the topic filter that this session began with; it ends when the filter changes.
    pub filter_hash: u64,
    /// Writer of the offers, which looks partitions up at the source.
    pub offering: Offering,
    /// Packing of the lanes, before the receiver has stated its credit.
    pub packing: Packing,
    pub board: Arc<Board>,
    pub channels: ChannelDialer,
}

struct Active<'a> {
    session: Session<'a>,
    connection: Connection,
    partitions: LanePartitions,
    part: SessionPart,
    dues: mpsc::Sender<Due>,
    reopen: Reopen,
    opened: HashMap<(LaneId, Epoch), Vec<Assignment>>,
    halting: Halting,
    gone: GoneTopics,
    forget_policy: Option<ForgetPolicy>,
    /// Partitions that the source did not know when they were read, and when; most of them are deleted.
    suspects: HashMap<Partition, Instant>,
    /// True if the receiver knows messages about topics that are gone.
    forgets: bool,
    left_out: LeftOut,
    supervisor: ChannelSupervisor,
    conditions: Conditions,
    /// Limit on the log lines that messages of the receiver cause.
    lines: LogLimit,
}

#[derive(Debug, Clone, Copy)]
struct SlotAt {
    lane: LaneId,
    epoch: Epoch,
    slot: Slot,
}

impl Session<'_> {
    pub async fn run(self, handshake: Handshaken, shutdown: Shutdown) -> SessionEnd {
        let connection = self.channels.first.connection.clone();
        let Handshaken { reader, writer, welcome } = handshake;
        let (incoming_in, incoming) = mpsc::channel(INCOMING_QUEUE);
        let (outgoing, outgoing_out) = mpsc::channel(CONTROL_QUEUE);
        let (dues, dues_out) = mpsc::channel(self.lanes.len() * 2 + 16);
        let mut reading = tokio::spawn(reader.run(incoming_in));
        let writing = tokio::spawn(writer.run(outgoing_out));
        let mut offering = self.offering.clone();
        if welcome.features & FEATURE_SKIP_REFUSED == 0 {
            offering.policies = Arc::default();
        }
        offering.promotion = offering.promotion.map(|promotion| promotion.in_session(welcome.features));
        let offering = tokio::spawn(offering.run(dues_out, self.topics.clone(), outgoing.clone()));
        let tasks = self.watch_source(&welcome, &outgoing);
        let (faults_in, faults) = mpsc::channel(1);
        let mut active = Active::new(self, &welcome, outgoing, dues, faults_in);
        let mut inbound = Inbound { incoming, reading: &mut reading, faults };
        let end = active.run(&mut inbound, &shutdown).await;
        active.session.board.rates().assign(None, Timestamp::now());
        for lane in active.session.lanes {
            // A full mailbox belongs to a lane that is stuck; the process then ends by its own rules.
            let _ = lane.mailbox.push(Command::Close);
        }
        let last_words = end.last_words();
        if last_words.code != CloseCode::Normal {
            active.send(Control::Close(last_words.clone()));
        }
        drop(active);
        offering.abort();
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        reading.abort();
        let _ = tokio::time::timeout(Duration::from_secs(1), writing).await;
        close(&connection, &last_words);
        end
    }
}

impl<'a> Active<'a> {
    fn new(
        session: Session<'a>,
        welcome: &Welcome,
        control: mpsc::Sender<Control>,
        dues: mpsc::Sender<Due>,
        faults: mpsc::Sender<PeerMisbehaved>,
    ) -> Self {
        let dispatcher = session.dispatcher.clone();
        let lanes = session.lanes.len() as u16;
        let packing = session.packing.agreed(welcome.features).within(dispatcher.request_max(), welcome.credit, lanes);
        if packing.codec != session.packing.codec {
            let wanted = session.packing.codec;
            let used = packing.codec;
            tracing::info!(%wanted, %used, "the receiver is older and does not know `wan.compression`; upgrade it");
        }
        let router = session.classes.router(dispatcher.table().clone());
        let connection = session.channels.first.connection.clone();
        session.board.publish(|published| {
            published.dispatcher = Some(dispatcher.clone());
            published.router = Some(router.clone());
            published.state = State::Active;
            published.receiver = Some(connection.remote_address().to_string());
            published.target_cluster = Some(welcome.cluster_id.clone());
            published.channels = vec![ChannelPlace { connection: Some(connection.clone()), ..ChannelPlace::default() }];
            published.session_began = Some(std::time::Instant::now());
            published.frame_state = packing.state;
            published.deleted_topics.clear();
            published.no_session_since = None;
            published.sessions += 1;
        });
        dispatcher.open(0, session.channels.first.clone());
        let supervisor = ChannelSupervisor::start(
            session.channels.clone(),
            dispatcher.clone(),
            control.clone(),
            Arc::clone(&session.board),
            welcome,
        );
        let latency = session.board.latency();
        latency.begin_session();
        let forgets = welcome.features & FEATURE_FORGET != 0;
        let forget_policy = ForgetPolicy::start(welcome.features, &session.offering.policies);
        let conditions = Conditions::new(&session.board, welcome.features);
        Self {
            session,
            connection,
            partitions: LanePartitions::new(router).towards(&welcome.cluster_id).with_features(welcome.features),
            part: SessionPart { dispatcher, control, packing, latency, faults },
            dues,
            reopen: Reopen::new(lanes),
            opened: HashMap::new(),
            halting: Halting::default(),
            gone: GoneTopics::new(forgets),
            forget_policy,
            suspects: HashMap::new(),
            forgets,
            left_out: LeftOut::default(),
            supervisor,
            conditions,
            lines: LogLimit::default(),
        }
    }

    async fn run(&mut self, inbound: &mut Inbound<'_>, shutdown: &Shutdown) -> SessionEnd {
        let mut clock = tokio::time::interval(CLOCK_INTERVAL);
        let mut drain_until = None;
        let mut requests = self.session.board.take_requests();
        loop {
            let reopen_at = self.reopen.next_timeout();
            tokio::select! {
                message = inbound.incoming.recv() => {
                    let Some(message) = message else { return inbound.end(&self.connection).await };
                    if let Err(end) = self.handle_all(message, &mut inbound.incoming) {
                        return end;
                    }
                }
                Some(fault) = inbound.faults.recv() => return SessionEnd::misbehaved(fault),
                changed = self.session.topics.changed() => {
                    if changed.is_err() {
                        return SessionEnd::Lost("discovery ended".to_owned());
                    }
                    if let Some(sentence) = self.session.topics.borrow().other_cluster.clone() {
                        return SessionEnd::SourceChanged(Close::new(CloseCode::ClusterChanged, sentence));
                    }
                    if self.is_reconfigured() {
                        return SessionEnd::Reconfigured;
                    }
                    if let Some(end) = self.end_by_origin() {
                        return end;
                    }
                    self.halt_recreated();
                    self.end_gone();
                    self.offer_due();
                }
                config = self.session.config.changed() => {
                    if self.session.classes.routes_differ(&config.classes) {
                        return SessionEnd::Reconfigured;
                    }
                    self.part.dispatcher.set_classes(&config.classes, self.session.board.rates().rate());
                }
                condition = self.conditions.next() => self.send(Control::Condition(condition)),
                Some(request) = requests.recv() => match request {
                    SessionRequest::Resume(request) => self.handle_request(request),
                    SessionRequest::Forget(request) => self.handle_forget(request),
                },
                end = self.supervisor.end() => return SessionEnd::Lost(end),
                () = sleep_until(reopen_at) => self.open_lanes(),
                now = clock.tick() => {
                    self.handle_tick(now);
                    let drained = || self.session.lanes.iter().all(|lane| lane.progress.is_drained());
                    if drain_until.is_some_and(|until| now >= until || drained()) {
                        return SessionEnd::Drained;
                    }
                }
                () = shutdown.reached(Phase::Drain), if drain_until.is_none() => {
                    drain_until = Some(Instant::now() + DRAIN_PATIENCE);
                    clock = tokio::time::interval(Duration::from_millis(50));
                    for lane in self.session.lanes {
                        let _ = lane.mailbox.push(Command::Drain);
                    }
                }
                () = shutdown.reached(Phase::Now) => return SessionEnd::Drained,
            }
        }
    }

    /// Handles `message` and all others that have arrived, then reads the opened partitions in one assignment per lane.
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
            // Topics may have been recreated since these were offered.
            self.halt_recreated();
        }
        Ok(())
    }

    fn handle_tick(&mut self, now: Instant) {
        self.send(self.part.latency.poll_question());
        self.part.dispatcher.set_rate(self.session.board.rates().rate());
        self.offer_suspects();
        self.halt_lost_deletions();
        self.forget_due();
        for partition in self.left_out.poll_due(now) {
            self.partitions.offer_left_out(&partition);
        }
        // Offers that found no room are tried again.
        self.offer_due();
    }

    fn handle_lane_open(&mut self, lane: LaneId, epoch: Epoch) -> Result<(), SessionEnd> {
        self.partitions.handle_lane_open(lane, epoch)?;
        self.halting.forget_attempts(|at| self.partitions.lane(at) == lane);
        self.command(lane, Command::Open { epoch, session: self.part.clone() })?;
        self.expect_marks(lane);
        self.offer_due();
        Ok(())
    }

    fn handle(&mut self, message: Control) -> Result<(), SessionEnd> {
        match message {
            Control::LaneOpen { lane, epoch } => self.handle_lane_open(lane, epoch),
            Control::LaneClosed { lane, reason, detail, .. } => self.handle_lane_closed(lane, reason, &detail),
            Control::StoredAt { lane, epoch, slot, at } => {
                if let Some(partition) = self.partitions.partition(lane, epoch, slot) {
                    self.session.offering.deletions.handle_stored_at(partition, at);
                }
                Ok(())
            }
            Control::PartitionOpen { lane, epoch, slot, position, leader_epoch } => {
                if let Some(lost) = self.lost_deletions(lane, epoch, slot, position)? {
                    self.send(lost);
                    return Ok(());
                }
                let is_late = self.partitions.is_late(lane, slot);
                if let Some(partition) = self.partitions.handle_partition_open(lane, epoch, slot)? {
                    // Before an operator who waits for it gets the answer.
                    if let Some(handle) = self.session.lanes.get(usize::from(lane.0)) {
                        handle.progress.handle_lifted(partition);
                    }
                    self.halting.handle_open(partition, position);
                    let topic = Arc::clone(&partition.topic);
                    let partition = partition.partition;
                    let assignment = Assignment { slot, topic, partition, position, leader_epoch, is_late };
                    self.opened.entry((lane, epoch)).or_default().push(assignment);
                }
                Ok(())
            }
            Control::PartitionHalted { lane, epoch, slot, position, reason, detail } => {
                self.handle_halted(SlotAt { lane, epoch, slot }, Halt { reason, position }, &detail)
            }
            Control::Ack { lane, epoch, sequence, timing } => {
                self.reopen.handle_progress(lane);
                self.command(lane, Command::Ack(epoch, sequence, timing))
            }
            Control::Close(close) => Err(SessionEnd::Closed(close)),
            Control::ChannelClosed { channel, detail } => {
                tracing::debug!(channel, detail, "receiver takes no further frames of a channel");
                self.part.dispatcher.handle_closed(channel);
                Ok(())
            }
            Control::Condition(condition) => {
                let condition = Some(condition.shortened());
                self.session.board.publish(|published| published.receiver_condition = condition);
                Ok(())
            }
            Control::RateAssignment { bits_per_second } => {
                self.session.board.rates().assign(Some(Rate::from_bits_per_second(bits_per_second)), Timestamp::now());
                Ok(())
            }
            Control::Clock { asked, answered } => {
                self.part.latency.handle_answer(asked, answered);
                Ok(())
            }
            Control::ReadSource {} => {
                self.session.board.ask_reading();
                Ok(())
            }
            Control::Orphaned { .. } | Control::Forgotten { .. } | Control::GoneSince { .. } => {
                self.handle_about_gone(message);
                Ok(())
            }
            other => Err(PeerMisbehaved::UnexpectedMessage(wire::codec::control_name(&other)).into()),
        }
    }

    /// Returns the halt of a partition that the receiver opened, but that may have missed deletions.
    fn lost_deletions(
        &mut self,
        lane: LaneId,
        epoch: Epoch,
        slot: Slot,
        position: Position,
    ) -> Result<Option<Control>, SessionEnd> {
        let Some(at) = self.partitions.partition(lane, epoch, slot).cloned() else { return Ok(None) };
        let reason = HaltReason::DeletesLost.word();
        let is_accepted = self.partitions.halt(&at).is_some_and(|halt| halt.reason == reason);
        let now = transport::clock::unix_millis();
        let detail = self.session.offering.deletions.handle_open(&at, position, now, is_accepted);
        let Some(detail) = detail else { return Ok(None) };
        self.partitions.handle_partition_open(lane, epoch, slot)?;
        let reason = reason.to_owned();
        Ok(Some(Control::PartitionHalted { lane, epoch, slot, position: Position(-1), reason, detail }))
    }

    /// Halts running partitions that may have missed deletions.
    fn halt_lost_deletions(&mut self) {
        for (at, detail) in self.session.offering.deletions.take_lost() {
            let Some((lane, epoch, slot)) = self.partitions.open_slot(&at) else { continue };
            if let Err(end) = self.command(lane, Command::Fault(epoch, slot, HaltReason::DeletesLost, detail)) {
                tracing::debug!(%end, "a lane could not be notified that deletions may be lost");
            }
        }
    }

    fn handle_lane_closed(&mut self, lane: LaneId, reason: LaneClosedReason, detail: &str) -> Result<(), SessionEnd> {
        self.partitions.handle_lane_closed(lane)?;
        if let Some(left_out) = self.lines.poll(std::time::Instant::now()) {
            match reason {
                LaneClosedReason::SessionEnded => {}
                LaneClosedReason::TargetFailed => {
                    tracing::warn!(%lane, detail, left_out, "lane closed by the receiver; opening it again")
                }
                LaneClosedReason::Superseded => {
                    tracing::error!(%lane, detail, left_out, "lane contested: another receiver opened it")
                }
                LaneClosedReason::Refused => {
                    tracing::error!(%lane, detail, left_out, "receiver refuses to open the lane; see the detail")
                }
            }
        }
        if let Some(handle) = self.session.lanes.get(usize::from(lane.0)) {
            handle.progress.record_closed(reason, detail);
        }
        self.reopen.handle_closed(lane, reason, Instant::now(), rand::random());
        self.command(lane, Command::Close)
    }

    /// Opens the lanes that are due: all at the start, closed ones after their back-off.
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
        // The queue keeps room for one entry of every lane; see its capacity.
        while self.dues.capacity() >= self.session.lanes.len() {
            let due = self.partitions.poll_due(&topics);
            if due.is_empty() {
                return;
            }
            for due in due {
                let _ = self.dues.try_send(due);
            }
        }
    }

    /// Returns the session's end if a carried topic has another origin than was known: it must not go round in
    /// circles, and the receiver must learn of the origin before more is written.
    fn end_by_origin(&mut self) -> Option<SessionEnd> {
        let topics = Arc::clone(&self.session.topics.borrow_and_update().topics);
        let topic = self.partitions.poll_rerouted(&topics)?;
        Some(SessionEnd::Lost(format!("the origin of {} was read at the source; beginning a new session", topic.name)))
    }

    /// The receiver halted a partition, by itself or as this end requested.
    fn handle_halted(&mut self, at: SlotAt, halt: Halt, detail: &str) -> Result<(), SessionEnd> {
        let SlotAt { lane, epoch, slot } = at;
        if !is_word(&halt.reason) {
            return Err(PeerMisbehaved::Invalid("the reason of a halt is no word of `a-z 0-9 -`").into());
        }
        let partition = self.partitions.handle_partition_halted(lane, epoch, slot, halt.clone())?;
        let Some(partition) = partition else { return Ok(()) };
        if let Some(opened) = self.opened.get_mut(&(lane, epoch)) {
            opened.retain(|assignment| assignment.slot != slot);
        }
        if self.partitions.is_left_out(&partition) {
            self.left_out.handle_left_out(&partition, Instant::now());
        }
        self.halting.handle_halted(&partition, &halt.reason, detail);
        if HaltReason::of(&halt.reason) == Some(HaltReason::SourceGone) {
            self.suspects.insert(partition.clone(), Instant::now());
        }
        if self.partitions.halt(&partition).is_none_or(|stored| stored.reason != halt.reason) {
            // The request failed: status still shows the halt that it was to lift.
            let Partition { topic, partition } = &partition;
            if let Some(left_out) = self.lines.poll(std::time::Instant::now()) {
                tracing::warn!(%topic, partition, reason = halt.reason, detail, left_out, "halt not lifted");
            }
        } else if let Some(handle) = self.session.lanes.get(usize::from(lane.0)) {
            handle.progress.record_halt(&partition, slot, halt.position, &halt.reason, detail);
        }
        self.follow_policy(partition, halt);
        self.command(lane, Command::Halted(epoch, slot))
    }

    fn follow_policy(&mut self, at: Partition, halt: Halt) {
        if !self.halting.may_act(&at, &halt) {
            return;
        }
        let reason = HaltReason::of(&halt.reason);
        let Some(why) = reason.and_then(|reason| self.session.offering.policies.skips(&at.topic, reason)) else {
            return;
        };
        let now = transport::clock::unix_millis();
        if let Ok(Some(lift)) = halt.lift(ResumeAction::Skip, now, why) {
            let Partition { topic, partition } = &at;
            if let Some(left_out) = self.lines.poll(std::time::Instant::now()) {
                tracing::warn!(%topic, partition, reason = halt.reason, why, left_out, "skipping what cannot be carried");
            }
            self.partitions.offer_again(&at, Some(lift));
            self.halting.handle_attempt(at, halt);
            self.offer_due();
        }
    }

    /// Stops reading topics that were recreated; records that were read before are still sent.
    fn halt_recreated(&mut self) {
        let topics = Arc::clone(&self.session.topics.borrow().topics);
        for found in self.partitions.poll_recreated(&topics) {
            let fault = Command::Fault(found.epoch, found.slot, HaltReason::TopicRecreated, found.detail);
            if let Err(end) = self.command(found.lane, fault) {
                tracing::debug!(%end, "a lane could not be notified that its topic was recreated");
            }
        }
    }

    fn handle_request(&mut self, pending: PendingRequest) {
        let PendingRequest { request, at, answers } = pending;
        let covered = self.partitions.halted(|partition, halt| request.covers(partition, halt));
        if covered.is_empty() {
            let _ = answers.send(Answer::Nothing(request.covers_nothing()));
            return;
        }
        let _ = answers.send(Answer::Covers(covered.iter().map(|(partition, _)| partition.clone()).collect()));
        tracing::info!(scope = ?request.scope, action = %request.action, partitions = covered.len(), "request to lift halts");
        let topics = Arc::clone(&self.session.topics.borrow().topics);
        let sizes: HashMap<_, _> = topics.iter().map(|topic| (&topic.name, topic.partitions)).collect();
        for (partition, halt) in covered {
            let exists = sizes.get(&partition.topic).is_some_and(|&partitions| partition.partition < partitions);
            let lift = if exists {
                halt.lift(request.action, at, &format!("operator: {}", request.action))
            } else {
                Err("the source has no such partition now".to_owned())
            };
            match lift {
                Err(reason) => {
                    let reason = format!("{partition}: {reason}");
                    let _ = answers.send(Answer::Partition(partition, Err(reason)));
                }
                Ok(lift) => {
                    self.partitions.offer_again(&partition, lift);
                    self.halting.handle_request(partition, answers.clone());
                }
            }
        }
        self.offer_due();
    }

    fn command(&self, lane: LaneId, command: Command) -> Result<(), SessionEnd> {
        let handle = self.session.lanes.get(usize::from(lane.0));
        let handle = handle.ok_or(PeerMisbehaved::UnknownLane(lane))?;
        let pushed = handle.mailbox.push(command);
        pushed.map_err(|_| SessionEnd::Lost(format!("lane {lane} is stuck: its mailbox is full")))
    }

    fn send(&self, message: Control) {
        if self.part.control.try_send(message).is_err() {
            tracing::debug!("control queue is full or closed; the session is about to end");
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
