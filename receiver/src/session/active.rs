//! A session that has the link: control messages, lane replies and frames, until it ends.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quinn::Connection;
use service::credentials::board::BOARD;
use service::lock::Lock;
use service::log_limit::LogLimit;
use service::names::is_id;
use service::shutdown::{Phase, Shutdown};
use service::tls::PeerIdentity;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, Interval};
use transport::clock::unix_millis;
use wire::close::{Close, CloseCode};
use wire::condition::Condition;
use wire::control::{Control, CreditTerms, TopicEnds, Welcome};
use wire::error::{DecodeError, PeerMisbehaved};
use wire::halt::{HaltReason, is_word};
use wire::hello::{
    FEATURE_ACLS, FEATURE_CHANNELS, FEATURE_CONDITION, FEATURE_FOLLOW_SETTINGS, FEATURE_FORGET, FEATURE_GONE_SINCE,
    FEATURE_GROUPS, FEATURE_GROUPS_BACK, FEATURE_RATE, FEATURE_READ_SOURCE, FEATURE_RETURNS, FEATURE_SETTINGS,
    FEATURE_SKIP_REFUSED, FEATURE_SOURCE_ENDS, FEATURES, common_features,
};
use wire::ids::{Epoch, LaneId, Slot};
use wire::lanes::ClassRequest;
use wire::units::Rate;

use super::channels::ExtraChannels;
use super::following::FollowTask;
use super::forgetting::Forgetting;
use super::frames::{self, Intake};
use super::greeting::{Greeted, Host};
use super::joining::Joining;
use super::ledger::Ledger;
use super::metering::FrameChannel;
use super::settings::SettingsCheck;
use crate::groups::task::Groups;
use crate::join::carried_topics::CarriedTopics;
use crate::join::targets::Targets;
use crate::lane::handle::{Command, LaneHandle, Reply};
use crate::lane::{MarkGone, Terms};
use crate::link::ServedLink;
use crate::link::acls::snapshot::Snapshot;
use crate::link::acls::task::Acls;
use crate::link::announced::text_bytes;
use crate::link::arbiter::{SessionId, Verdict};
use crate::link::condition;
use crate::link::following::rule::FollowConfigs;
use crate::target::state::HaltRecord;

/// Messages for the sender, and replies of lanes, that may wait.
const CONTROL_QUEUE: usize = 1024;
/// Messages of the sender that may wait, each of up to 512 KiB. More wait in QUIC's window.
const INCOMING_QUEUE: usize = 16;
/// Silence of a sender after which another sender that stands by replaces it.
const SILENCE: Duration = Duration::from_secs(10);
/// Time for which a sender may leave its control stream unread before the session ends.
const STUCK: Duration = Duration::from_secs(30);

/// A session whose link and lanes are ready.
pub(super) struct ReadySession {
    pub(super) id: SessionId,
    pub(super) connection: Connection,
    pub(super) host: Arc<Host>,
    pub(super) greeted: Greeted,
    pub(super) lanes: Vec<LaneHandle>,
    pub(super) terms: Arc<Terms>,
    pub(super) credit: CreditTerms,
}

/// Serves a session that has the link, until it ends.
pub(super) async fn serve(session: ReadySession, verdicts: mpsc::Receiver<Verdict>, shutdown: Shutdown) -> Close {
    let ReadySession { id, connection, host, greeted, lanes, terms, credit } = session;
    let link = &greeted.link;
    let count = terms.classes.lanes();
    let welcome = welcome(&host, &greeted, &terms, credit);
    let extra = welcome.features & FEATURE_CHANNELS != 0;
    let forgets = welcome.features & FEATURE_FORGET != 0;
    let listener = extra.then(|| host.joinable.register(welcome.token, &greeted.sender));
    let carried_topics = Arc::new(CarriedTopics::new(count));
    let targets = Targets::new(link, &greeted.settings, Arc::clone(&terms));
    let ledger = Arc::new(Lock::new(Ledger::new(credit, count)));
    let intake = Intake {
        session: id,
        lanes: lanes.clone(),
        ledger: Arc::clone(&ledger),
        clock: host.clock.clone(),
        link: Arc::clone(link),
        rate: greeted.settings.limits.rate,
    };

    let (outgoing, outgoing_out) = mpsc::channel(CONTROL_QUEUE);
    let (incoming_in, incoming) = mpsc::channel(INCOMING_QUEUE);
    let (replies_in, replies) = mpsc::channel(CONTROL_QUEUE);
    let (faults_in, faults) = mpsc::channel(1);
    let channel = FrameChannel { connection: connection.clone(), read: greeted.reader.read_bytes() };
    let mut reading = JoinSet::new();
    reading.spawn(greeted.reader.run(incoming_in));
    let mut receiving = JoinSet::new();
    receiving.spawn(frames::receive(channel, intake.clone(), faults_in.clone()));
    let mut io = SessionIo {
        connection: connection.clone(),
        reading,
        writing: tokio::spawn(greeted.writer.run(outgoing_out)),
        receiving,
        incoming,
        replies,
        faults,
        verdicts,
        extra: ExtraChannels::new(Arc::clone(link), intake, faults_in, listener),
        tick: tokio::time::interval(Duration::from_secs(1)),
        asked: link.source_ends.asked(),
        shutdown,
    };
    let forgetting = forgets.then(|| Forgetting::new(id, &lanes, &carried_topics, &outgoing));
    let mut active = Active {
        id,
        forgetting,
        features: welcome.features,
        rate: greeted.settings.limits.rate,
        settings: SettingsCheck::start(link, &greeted.settings),
        follow: FollowTask::start(link, &greeted.settings, &carried_topics),
        groups: Groups::new(link, host.groups.clone()),
        acls: Acls::new(link, &greeted.settings, host.groups.clone()),
        joining: Joining::start(targets, id, &lanes, Arc::clone(&carried_topics)),
        lanes,
        terms,
        class_requests: greeted.hello.classes,
        carried_topics,
        ledger,
        replies: replies_in,
        outgoing,
        host,
        link: Arc::clone(link),
        opening: HashSet::new(),
        told: Condition::default(),
        heard: Instant::now(),
        lines: LogLimit::default(),
    };
    link.counts.begun.fetch_add(1, Ordering::Relaxed);
    link.source_ends.begin();
    *link.ledger.lock() = Some(Arc::clone(&active.ledger));
    let _shown = BOARD.show_peer(&greeted.settings.name, PeerIdentity::of(&connection));
    let peer = connection.remote_address();
    let sender = &active.terms.sender;
    tracing::info!(link = greeted.settings.name, session = id, sender, %peer, "session began");
    let close = active.run(&mut io, welcome).await;
    active.end(&close).await;
    io.end(&close).await;
    close
}

fn welcome(host: &Host, greeted: &Greeted, terms: &Terms, credit: CreditTerms) -> Welcome {
    // Without it the sender reads settings less often.
    let not_used = if greeted.settings.follow_configs == FollowConfigs::Off { FEATURE_FOLLOW_SETTINGS } else { 0 };
    Welcome {
        version: greeted.version,
        features: common_features(FEATURES & !not_used, greeted.hello.features),
        cluster_id: terms.target_cluster.clone(),
        receiver: host.process,
        token: rand::random(),
        credit,
        classes: terms.classes.classes().to_vec(),
    }
}

struct SessionIo {
    connection: Connection,
    /// Reads control messages into `incoming`.
    reading: JoinSet<Result<(), DecodeError>>,
    /// Writes the session's control messages.
    writing: JoinHandle<()>,
    /// Receives the frames of channel 0.
    receiving: JoinSet<()>,
    incoming: mpsc::Receiver<Control>,
    replies: mpsc::Receiver<Reply>,
    /// The first invalid frame of any channel.
    faults: mpsc::Receiver<Close>,
    verdicts: mpsc::Receiver<Verdict>,
    extra: ExtraChannels,
    tick: Interval,
    asked: watch::Receiver<()>,
    shutdown: Shutdown,
}

enum Event {
    Message(Control),
    Reply(Reply),
    /// An extra channel has ended; the message tells the sender.
    ChannelEnded(Control),
    Tick,
    /// The sender is to read the source.
    AskSource,
    /// The session must end.
    End(Close),
}

impl SessionIo {
    async fn next(&mut self) -> Event {
        loop {
            tokio::select! {
                message = self.incoming.recv() => return match message {
                    Some(message) => Event::Message(message),
                    None => Event::End(self.stream_end().await),
                },
                Some(reply) = self.replies.recv() => return Event::Reply(reply),
                message = self.extra.ended() => return Event::ChannelEnded(message),
                Some(fault) = self.faults.recv() => return Event::End(fault),
                Some(verdict) = self.verdicts.recv() => if let Verdict::End { close, .. } = verdict {
                    return Event::End(close);
                },
                Ok(()) = self.asked.changed() => return Event::AskSource,
                _ = self.tick.tick() => return Event::Tick,
                () = self.shutdown.reached(Phase::Drain) => return Event::End(Close::normal("receiver is leaving")),
            }
        }
    }

    async fn stream_end(&mut self) -> Close {
        match self.reading.join_next().await {
            Some(Ok(Err(error))) => error.into(),
            _ => self.faults.try_recv().unwrap_or_else(|_| lost(&self.connection)),
        }
    }

    /// Ends the tasks, after the last control message is written.
    async fn end(mut self, close: &Close) {
        self.extra.end(close);
        self.reading.shutdown().await;
        self.receiving.shutdown().await;
        let _ = tokio::time::timeout(Duration::from_secs(1), self.writing).await;
    }
}

/// The state of a session that has the link.
struct Active {
    id: SessionId,
    lanes: Vec<LaneHandle>,
    terms: Arc<Terms>,
    /// The sender's requests for classes, which tell the strict ones.
    class_requests: Vec<ClassRequest>,
    carried_topics: Arc<CarriedTopics>,
    ledger: Arc<Lock<Ledger>>,
    /// Features that both ends use.
    features: u64,
    /// Rate that the sender may use.
    rate: Option<Rate>,
    settings: SettingsCheck,
    /// Following of the source's settings, if the link does.
    follow: Option<FollowTask>,
    /// Consumer groups whose offsets the sender sends.
    groups: Groups,
    /// Access control lists that the sender sends.
    acls: Acls,
    joining: Joining,
    replies: mpsc::Sender<Reply>,
    outgoing: mpsc::Sender<Control>,
    /// Forgetting of topics, if both ends know of it.
    forgetting: Option<Forgetting>,
    host: Arc<Host>,
    link: Arc<ServedLink>,
    /// Lanes that the sender has asked to open, until they answer.
    opening: HashSet<LaneId>,
    /// Condition that the sender received last.
    told: Condition,
    /// Time of the sender's last message.
    heard: Instant,
    /// Limit on the log lines about halts by the sender.
    lines: LogLimit,
}

impl Active {
    /// Sends the welcome, then handles events until the session ends.
    async fn run(&mut self, io: &mut SessionIo, welcome: Welcome) -> Close {
        let tells = welcome.features & FEATURE_CONDITION != 0;
        let mut result = self.send(Control::Welcome(welcome)).await;
        if let Some(rate) = self.rate.filter(|_| self.features & FEATURE_RATE != 0)
            && result.is_ok()
        {
            result = self.send(Control::RateAssignment { bits_per_second: rate.bits_per_second() }).await;
        }
        loop {
            if let Err(close) = result {
                return close;
            }
            result = match io.next().await {
                Event::Message(Control::ChannelClosed { channel, detail }) => {
                    io.extra.abandon(channel, &detail);
                    Ok(())
                }
                Event::Message(message) => self.handle(message).await,
                Event::Reply(reply) => {
                    if matches!(reply, Reply::Opened) {
                        self.link.refused.lock().take();
                    }
                    self.handle_reply(reply).await
                }
                Event::ChannelEnded(message) => self.send(message).await,
                Event::Tick => self.handle_tick(&io.connection, tells).await,
                Event::AskSource if self.features & FEATURE_READ_SOURCE != 0 => self.send(Control::ReadSource {}).await,
                Event::AskSource => Ok(()),
                Event::End(close) => Err(close),
            };
        }
    }

    /// Tells the sender this end's problems if they have changed.
    async fn tell_condition(&mut self) -> Result<(), Close> {
        let views: Vec<_> = self.lanes.iter().map(LaneHandle::condition).collect();
        let quota = condition::quota_trouble(&views);
        let weaker = self.link.weaker.problems().into_iter();
        let weaker = weaker
            .chain(self.link.following.trouble())
            .chain(self.link.groups.trouble())
            .chain(self.link.acls.trouble());
        let trouble = self.host.links.target_trouble().into_iter().chain(quota).chain(weaker).collect();
        let condition = condition::told(&views, trouble);
        if condition == self.told {
            return Ok(());
        }
        self.told = condition.clone();
        self.send(Control::Condition(condition)).await
    }

    async fn handle(&mut self, message: Control) -> Result<(), Close> {
        self.heard = Instant::now();
        match message {
            Control::OpenLane { lane } => {
                // One at a time: a lane that opens slowly must not find thousands of requests afterwards.
                if !self.opening.insert(lane) {
                    return Ok(());
                }
                self.carried_topics.handle_requested(lane);
                let command = Command::Open {
                    session: self.id,
                    terms: Arc::clone(&self.terms),
                    strict: self.is_strict(lane),
                    carried_topics: Arc::clone(&self.carried_topics),
                    replies: self.replies.clone(),
                };
                self.command(lane, command)
            }
            Control::Topic { ref clusters, .. } if !clusters.iter().all(|id| is_id(id)) => {
                Err(PeerMisbehaved::Invalid("a cluster id is not 1 to 253 visible ASCII characters").into())
            }
            Control::Topic { .. } | Control::Offer { .. } => self.joining.handle(message),
            Control::TopicsGone { ref topics } if self.forgetting.is_some() => {
                self.link.source_ends.forget(topics);
                self.joining.handle(message)
            }
            Control::Returns { ref topic, ref from, ref partitions, .. } if self.features & FEATURE_RETURNS != 0 => {
                self.groups.handle_returning(topic, from, partitions);
                self.joining.handle(message)
            }
            Control::SkipRefused { .. } if self.features & FEATURE_SKIP_REFUSED != 0 => self.joining.handle(message),
            Control::Forget { topic, asked, reason } => match &mut self.forgetting {
                Some(forgetting) => forgetting.handle_request(topic, asked, reason),
                None => Err(PeerMisbehaved::UnexpectedMessage("Forget").into()),
            },
            Control::MarkGone { topics, gone } if self.features & FEATURE_GONE_SINCE != 0 => {
                self.handle_mark_gone(&topics, gone)
            }
            Control::Settings { topics } => {
                if let Some(follow) = &self.follow {
                    follow.handle_settings(&topics);
                }
                self.settings.handle(topics)
            }
            Control::OwnSettings { topics } if self.follow.is_some() => {
                self.follow.as_ref().map_or(Ok(()), |follow| follow.handle(topics))
            }
            Control::Groups { groups, last } if self.features & FEATURE_GROUPS != 0 => {
                self.groups.handle(groups, last);
                Ok(())
            }
            Control::GroupsBack { groups } if self.features & FEATURE_GROUPS_BACK != 0 => {
                self.groups.handle_back(groups);
                Ok(())
            }
            Control::Acls { acls, topics, groups, last } if self.features & FEATURE_ACLS != 0 => {
                self.acls.handle(Snapshot { rules: acls, topics, groups }, last);
                Ok(())
            }
            Control::SourceEnds { topics, last } if self.features & FEATURE_SOURCE_ENDS != 0 => {
                self.handle_source_ends(topics, last);
                Ok(())
            }
            Control::PartitionHalted { lane, epoch, slot, reason, detail, .. } => {
                self.handle_halted(lane, epoch, slot, HaltRecord { reason, detail })
            }
            Control::Clock { asked, answered: 0 } => {
                self.send(Control::Clock { asked, answered: self.host.clock.now() }).await
            }
            Control::Condition(condition) => {
                self.link.condition.set_sender(Some(condition));
                Ok(())
            }
            Control::LaneClosed { .. } => Ok(()),
            Control::Close(close) => Err(close),
            other => Err(PeerMisbehaved::UnexpectedMessage(wire::codec::control_name(&other)).into()),
        }
    }

    fn handle_source_ends(&self, topics: Vec<TopicEnds>, last: bool) {
        let room = self.link.settings().limits.announced_bytes / 4;
        if let Some(reading) = self.link.source_ends.handle(topics, last, unix_millis(), room) {
            for lane in &self.lanes {
                // A lane that is full takes the next one.
                let _ = lane.mailbox.push(Command::SourceEnds(self.id, reading.clone()));
            }
        }
    }

    fn handle_mark_gone(&self, topics: &[String], gone: bool) -> Result<(), Close> {
        let bytes = topics.iter().map(|topic| text_bytes(topic)).sum::<usize>();
        let room = self.link.announced.take(size_of::<Command>() + bytes)?;
        let since = gone.then(unix_millis);
        let topics = topics.iter().map(|topic| Arc::from(topic.as_str())).collect();
        self.command(LaneId(0), Command::MarkGone(self.id, MarkGone { topics, since }, room))
    }

    fn handle_halted(&mut self, lane: LaneId, epoch: Epoch, slot: Slot, halt: HaltRecord) -> Result<(), Close> {
        let HaltRecord { reason, detail } = &halt;
        if !is_word(reason) {
            return Err(PeerMisbehaved::Invalid("the reason of a halt is no word of `a-z 0-9 -`").into());
        }
        if HaltReason::of(reason) == Some(HaltReason::SourceGone) {
            // Each partition of a deleted topic; the sender reports the topic.
            tracing::debug!(%lane, %slot, reason, detail, "sender halted a partition");
        } else if let Some(left_out) = self.lines.poll(std::time::Instant::now()) {
            tracing::warn!(%lane, %slot, reason, detail, left_out, "sender halted a partition");
        }
        let room = self.link.announced.take(size_of::<Command>() + reason.len() + detail.len())?;
        self.command(lane, Command::Halted(self.id, epoch, slot, halt, room))
    }

    async fn handle_reply(&mut self, reply: Reply) -> Result<(), Close> {
        match reply {
            // An older sender does not know the message.
            Reply::Message(Control::StoredAt { .. }) if self.features & FEATURE_SETTINGS == 0 => Ok(()),
            Reply::Message(Control::GoneSince { .. }) if self.features & FEATURE_GONE_SINCE == 0 => Ok(()),
            Reply::Message(mut message) => {
                match &mut message {
                    Control::GoneSince { now, .. } => *now = unix_millis(),
                    Control::LaneOpen { lane, epoch } => {
                        self.opening.remove(lane);
                        self.ledger.lock().open_lane(*lane, *epoch);
                    }
                    Control::LaneClosed { lane, .. } => {
                        self.opening.remove(lane);
                        self.ledger.lock().close_lane(*lane);
                    }
                    Control::Ack { lane, sequence, .. } => self.ledger.lock().handle_ack(*lane, *sequence),
                    _ => {}
                }
                self.send(message).await
            }
            Reply::Opened => {
                if self.carried_topics.is_complete() {
                    for lane in &self.lanes {
                        let _ = lane.mailbox.push(Command::AllLanesRead);
                    }
                }
                Ok(())
            }
            // Another session has added classes since this one began.
            Reply::LaneMessage(to, _) if usize::from(to.0) >= self.lanes.len() => {
                let detail = format!("partitions were handed over to lane {to}, which is newer than this session");
                Err(Close::new(CloseCode::Internal, detail))
            }
            Reply::LaneMessage(to, message) => self.command(to, Command::LaneMessage(self.id, message)),
            Reply::Close(close) => Err(close),
        }
    }

    async fn handle_tick(&mut self, connection: &Connection, tells: bool) -> Result<(), Close> {
        self.check_silence(connection)?;
        if let Some(report) = self.forgetting.as_mut().and_then(Forgetting::poll_report) {
            self.send(report).await?;
        }
        if tells { self.tell_condition().await } else { Ok(()) }
    }

    fn is_strict(&self, lane: LaneId) -> bool {
        let class = self.terms.classes.class_of(lane);
        class.is_some_and(|class| self.class_requests.iter().any(|asked| asked.strict && asked.name == class.name))
    }

    fn command(&self, lane: LaneId, command: Command) -> Result<(), Close> {
        let Some(handle) = self.lanes.get(usize::from(lane.0)) else {
            return Err(PeerMisbehaved::UnknownLane(lane).into());
        };
        let pushed = handle.mailbox.push(command);
        pushed.map_err(|_| Close::new(CloseCode::Busy, format!("lane {lane} has too many messages waiting")))
    }

    async fn send(&self, message: Control) -> Result<(), Close> {
        self.outgoing.send_timeout(message, STUCK).await.map_err(|error| undelivered(&error))
    }

    /// Ends a silent session if another sender stands by; otherwise it is kept, because resuming costs a round trip.
    fn check_silence(&self, connection: &Connection) -> Result<(), Close> {
        if connection.close_reason().is_some() {
            return Err(lost(connection));
        }
        if self.heard.elapsed() > SILENCE && self.link.has_standby() {
            let detail = format!("silent for {} s while another sender waits", SILENCE.as_secs());
            return Err(Close::new(CloseCode::Replaced, detail));
        }
        Ok(())
    }

    /// Notifies the lanes and the sender of the end; the lanes still commit the frames that they have without a gap.
    async fn end(self, close: &Close) {
        self.link.condition.set_sender(None);
        self.link.ledger.lock().take_if(|ledger| Arc::ptr_eq(ledger, &self.ledger));
        for lane in &self.lanes {
            let _ = lane.mailbox.push(Command::SessionEnded(self.id));
        }
        let _ = self.outgoing.send_timeout(Control::Close(close.clone()), Duration::from_secs(1)).await;
    }
}

/// Returns why a message could not be sent. A sender that shuts down ends its stream first, which is no fault.
fn undelivered(error: &SendTimeoutError<Control>) -> Close {
    match error {
        SendTimeoutError::Closed(_) => Close::normal("the sender ended its control stream"),
        SendTimeoutError::Timeout(_) => {
            let detail = format!("the sender has not read its control stream for {} s", STUCK.as_secs());
            Close::new(CloseCode::Misbehaved, detail)
        }
    }
}

fn lost(connection: &Connection) -> Close {
    let reason = connection.close_reason().map_or_else(|| "control stream ended".to_owned(), |error| error.to_string());
    Close::normal(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_that_shuts_down_is_no_internal_error() {
        let message = Control::Clock { asked: 1, answered: 2 };
        assert_eq!(undelivered(&SendTimeoutError::Closed(message.clone())).code, CloseCode::Normal);
        assert_eq!(undelivered(&SendTimeoutError::Timeout(message)).code, CloseCode::Misbehaved);
    }
}
