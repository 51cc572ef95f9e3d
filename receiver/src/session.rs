//! The receiver's side of a session: who is it, may it, then messages and frames until it ends.
//!
//! The shell of the arbiter, the ledger and the lanes: what may send is the arbiter's decision, what may
//! be held the ledger's, what is appended the lanes'.

mod channels;
mod frames;
mod greeting;
pub mod joinable;
mod joining;
pub mod ledger;
pub mod peers;
pub mod server;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::Connection;
use service::shutdown::{Phase, Shutdown};
use tokio::sync::mpsc;
use tokio::time::Instant;
use transport::clock::Clock;
use transport::control::{ControlReader, ControlWriter};
use wire::close::CloseCode;
use wire::control::{Control, CreditTerms, Hello, Welcome};
use wire::error::PeerMisbehaved;
use wire::hello::{FEATURE_CHANNELS, FEATURES, common_features};
use wire::ids::LaneId;
use wire::lanes::{ClassRequest, ClassTable};

use crate::join::carried_topics::Knowledge;
use crate::join::targets::Targets;
use crate::lane::Terms;
use crate::lane::thread::{Command, LaneHandle, Reply};
use crate::link::arbiter::{Candidate, SessionId, Verdict};
use crate::link::state_topic::StateTopicError;
use crate::link::{LinkSettings, ServedLink};
use crate::session::ledger::Ledger;
use crate::target::state::HaltRecord;

use channels::FurtherChannels;
pub use greeting::{Greeted, Greeting, Host, Refusal, greet};
use joining::Joining;

/// Messages that may wait in either direction.
const CONTROL_QUEUE: usize = 1024;

/// How long the sender may be silent while somebody else waits for the link.
const SILENCE: Duration = Duration::from_secs(10);

/// How long a sender may leave its control stream unread before the session ends.
const STUCK: Duration = Duration::from_secs(30);

/// How soon a failing target is asked again while a session waits for it.
const RETRY: Duration = Duration::from_secs(1);

/// Why a session ends, as the sender is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// One of a table.
    pub code: CloseCode,
    /// For people.
    pub detail: String,
}

impl Ending {
    fn new(code: CloseCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

impl From<PeerMisbehaved> for Ending {
    fn from(error: PeerMisbehaved) -> Self {
        Self::new(error.close_code(), error.to_string())
    }
}

/// A session that has said who it is and may wait for the link.
pub struct Waiting {
    /// Its number.
    pub id: SessionId,
    /// The channel.
    pub connection: Connection,
    /// The link it asks for.
    pub link: Arc<ServedLink>,
    /// What the link was configured with when the sender was found to be allowed; the session works by it.
    pub settings: Arc<LinkSettings>,
    /// The name in its certificate that the link allows.
    pub sender: String,
    /// What it said.
    pub hello: Hello,
    /// The protocol version that both ends speak.
    pub version: u16,
    /// Messages from the sender.
    pub reader: ControlReader,
    /// Messages to the sender.
    pub writer: ControlWriter,
    /// What every session of this process says of itself.
    pub host: Arc<Host>,
}

impl Waiting {
    /// Waits for the link, then serves it until the session ends.
    pub async fn run(mut self, shutdown: Shutdown) {
        let (verdicts_in, mut verdicts) = mpsc::channel(16);
        let candidate = Candidate {
            session: self.id,
            instance: self.hello.instance.clone(),
            process: self.hello.process,
            stand_by: self.hello.stand_by,
            filter_hash: self.hello.filter_hash,
        };
        let (link, id, connection) = (Arc::clone(&self.link), self.id, self.connection.clone());
        let name = self.settings.name.clone();
        link.handle_hello(candidate, &self.settings, verdicts_in);
        let ending = match self.wait(&mut verdicts, &shutdown).await {
            Ok((lanes, classes)) => self.serve(lanes, classes, &mut verdicts, &shutdown).await,
            Err(ending) => self.refuse(ending).await,
        };
        link.handle_end(id);
        link.closes.add(ending.code);
        tracing::info!(link = name, session = id, code = ending.code.name(), detail = ending.detail, "session ended");
        connection.close(u32::from(ending.code.number()).into(), ending.detail.as_bytes());
    }

    /// Until the link is ours and its state topic and lanes are ready.
    async fn wait(
        &mut self,
        verdicts: &mut mpsc::Receiver<Verdict>,
        shutdown: &Shutdown,
    ) -> Result<(Vec<LaneHandle>, ClassTable), Ending> {
        loop {
            let verdict = tokio::select! {
                verdict = verdicts.recv() => verdict,
                error = self.connection.closed() => return Err(Ending::new(CloseCode::Normal, error.to_string())),
                () = shutdown.reached(Phase::Drain) => return Err(leaving()),
            };
            match verdict {
                Some(Verdict::Activate(_)) => return self.prepare(shutdown).await,
                Some(Verdict::StandBy { behind, .. }) => {
                    tracing::info!(link = self.settings.name, sender = self.hello.instance, behind, "sender stands by");
                    let standby = Control::Standby { behind };
                    self.writer
                        .send(&standby)
                        .await
                        .map_err(|error| Ending::new(CloseCode::Normal, error.to_string()))?;
                }
                Some(Verdict::End { code, detail, .. }) => return Err(Ending { code, detail }),
                None => return Err(Ending::new(CloseCode::Internal, "link is gone")),
            }
        }
    }

    async fn prepare(&self, shutdown: &Shutdown) -> Result<(Vec<LaneHandle>, ClassTable), Ending> {
        let terms = Arc::new(self.terms(ClassTable::new(self.hello.lanes)));
        loop {
            let (link, terms, wishes) = (Arc::clone(&self.link), Arc::clone(&terms), self.hello.classes.clone());
            let prepared = tokio::task::spawn_blocking(move || link.prepare(&terms, &wishes)).await;
            match prepared {
                Ok(Ok(prepared)) => return Ok(prepared),
                Ok(Err(StateTopicError::Refused { code, detail })) => return Err(Ending { code, detail }),
                Ok(Err(error)) => {
                    tracing::warn!(link = self.settings.name, %error, "could not prepare the link's state; trying again");
                }
                Err(_) => return Err(Ending::new(CloseCode::Internal, "preparing the link failed")),
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                error = self.connection.closed() => return Err(Ending::new(CloseCode::Normal, error.to_string())),
                () = shutdown.reached(Phase::Drain) => return Err(leaving()),
            }
        }
    }

    /// Tells the sender why, before the channel goes.
    async fn refuse(self, ending: Ending) -> Ending {
        self.writer.close(ending.code, &ending.detail).await;
        ending
    }

    fn terms(&self, classes: ClassTable) -> Terms {
        Terms {
            link: self.settings.name.clone(),
            classes,
            lane_hash: self.hello.lane_hash.clone(),
            source_cluster: self.hello.cluster_id.clone(),
            target_cluster: self.host.cluster_id.clone(),
            filter_hash: self.hello.filter_hash,
            sender: self.hello.instance.clone(),
        }
    }

    fn welcome(&self, terms: &Terms, credit: CreditTerms) -> Welcome {
        Welcome {
            version: self.version,
            features: common_features(FEATURES, self.hello.features),
            cluster_id: self.host.cluster_id.clone(),
            receiver: self.host.process,
            token: rand::random(),
            credit,
            classes: terms.classes.classes().to_vec(),
        }
    }

    async fn serve(
        self,
        lanes: Vec<LaneHandle>,
        classes: ClassTable,
        verdicts: &mut mpsc::Receiver<Verdict>,
        shutdown: &Shutdown,
    ) -> Ending {
        let (count, terms) = (classes.lanes(), Arc::new(self.terms(classes)));
        let credit = self.link.credit(count);
        let welcome = self.welcome(&terms, credit);
        let Self { id, connection, link, settings, sender, hello, reader, writer, host, .. } = self;
        let (incoming_in, mut incoming) = mpsc::channel(CONTROL_QUEUE);
        let (outgoing, outgoing_out) = mpsc::channel(CONTROL_QUEUE);
        let (replies_in, mut replies) = mpsc::channel(CONTROL_QUEUE);
        let door = (welcome.features & FEATURE_CHANNELS != 0).then(|| host.joinable.register(welcome.token, &sender));
        let knowledge = Arc::new(Knowledge::new(count));
        let mut tasks = tokio::task::JoinSet::new();
        let (bad, mut misbehaved) = mpsc::channel(1);
        tasks.spawn(take_in(reader, incoming_in, bad.clone()));
        let writing = tokio::spawn(writer.run(outgoing_out));
        let targets = Targets::new(&link, &settings, Arc::clone(&terms));
        let mut active = Active {
            id,
            joining: Joining::start(targets, id, &lanes, Arc::clone(&knowledge), &mut tasks),
            lanes,
            terms,
            wishes: hello.classes,
            knowledge,
            ledger: Arc::new(Mutex::new(Ledger::new(credit, count))),
            replies: replies_in,
            outgoing,
            clock: host.clock.clone(),
            heard: Instant::now(),
        };
        tasks.spawn(frames::receive(connection.clone(), active.frames(), bad.clone()));
        let mut further = FurtherChannels::new(Arc::clone(&link), id, active.frames(), bad, door);
        link.handle_begin();
        tracing::info!(link = settings.name, session = id, sender = active.terms.sender, peer = %connection.remote_address(), "session began");
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        let mut ending = active.send(Control::Welcome(welcome)).await.err();
        while ending.is_none() {
            let result = tokio::select! {
                message = incoming.recv() => match message {
                    Some(Control::ChannelClosed { channel, detail }) => {
                        further.give_up(channel, &detail);
                        Ok(())
                    }
                    Some(message) => active.handle(message).await,
                    None => Err(misbehaved.try_recv().unwrap_or_else(|_| lost(&connection))),
                },
                Some(reply) = replies.recv() => active.handle_reply(reply).await,
                ended = further.ended() => active.send(ended).await,
                Some(misbehaved) = misbehaved.recv() => Err(misbehaved),
                Some(verdict) = verdicts.recv() => match verdict {
                    Verdict::End { code, detail, .. } => Err(Ending { code, detail }),
                    _ => Ok(()),
                },
                _ = tick.tick() => active.check_silence(&link, &connection),
                () = shutdown.reached(Phase::Drain) => Err(leaving()),
            };
            ending = result.err();
        }
        let ending = ending.unwrap_or_else(leaving);
        active.end(&ending).await;
        further.end(&ending);
        tasks.shutdown().await;
        let _ = tokio::time::timeout(Duration::from_secs(1), writing).await;
        ending
    }
}

/// Takes control messages in until their stream ends. Bytes that are none end the session.
async fn take_in(reader: ControlReader, incoming: mpsc::Sender<Control>, bad: mpsc::Sender<Ending>) {
    // Said before the queue ends, which ends the session.
    let _open = incoming.clone();
    if let Err(error) = reader.run(incoming).await {
        let _ = bad.try_send(PeerMisbehaved::Bytes(error).into());
    }
}

struct Active {
    id: SessionId,
    lanes: Vec<LaneHandle>,
    terms: Arc<Terms>,
    /// Says which classes are strict.
    wishes: Vec<ClassRequest>,
    knowledge: Arc<Knowledge>,
    ledger: Arc<Mutex<Ledger>>,
    joining: Joining,
    replies: mpsc::Sender<Reply>,
    outgoing: mpsc::Sender<Control>,
    clock: Clock,
    heard: Instant,
}

impl Active {
    fn frames(&self) -> frames::Intake {
        let (lanes, ledger, clock) = (self.lanes.clone(), Arc::clone(&self.ledger), self.clock.clone());
        frames::Intake { session: self.id, lanes, ledger, clock }
    }

    async fn handle(&mut self, message: Control) -> Result<(), Ending> {
        self.heard = Instant::now();
        match message {
            Control::OpenLane { lane } => {
                let (terms, knowledge) = (Arc::clone(&self.terms), Arc::clone(&self.knowledge));
                let (replies, strict) = (self.replies.clone(), self.is_strict(lane));
                self.command(lane, Command::Open { session: self.id, terms, strict, knowledge, replies })
            }
            Control::Topic { .. } | Control::Offer { .. } => self.joining.handle(message),
            Control::PartitionHalted { lane, epoch, slot, reason, detail, .. } => {
                tracing::warn!(%lane, %slot, reason, detail, "sender halted a partition");
                self.command(lane, Command::Halted(self.id, epoch, slot, HaltRecord { reason, detail }))
            }
            Control::Clock { asked, answered: 0 } => {
                self.send(Control::Clock { asked, answered: self.clock.now() }).await
            }
            Control::LaneClosed { .. } => Ok(()),
            Control::Close { code, detail } => Err(Ending { code, detail }),
            other => Err(PeerMisbehaved::UnexpectedMessage(wire::codec::control_name(&other)).into()),
        }
    }

    async fn handle_reply(&mut self, reply: Reply) -> Result<(), Ending> {
        match reply {
            Reply::Message(message) => {
                match &message {
                    Control::LaneOpen { lane, epoch } => self.ledger().open_lane(*lane, *epoch),
                    Control::LaneClosed { lane, .. } => self.ledger().close_lane(*lane),
                    Control::Ack { lane, sequence, .. } => self.ledger().handle_ack(*lane, *sequence),
                    _ => {}
                }
                self.send(message).await
            }
            Reply::Opened => {
                if self.knowledge.is_complete() {
                    for lane in &self.lanes {
                        let _ = lane.mailbox.push(Command::Known);
                    }
                }
                Ok(())
            }
            // Classes were added since this session began, by another one.
            Reply::Errand(to, _) if usize::from(to.0) >= self.lanes.len() => {
                let detail = format!("partitions were handed to lane {to}, which is newer than this session");
                Err(Ending::new(CloseCode::Internal, detail))
            }
            Reply::Errand(to, errand) => self.command(to, Command::Errand(self.id, errand)),
            Reply::Misbehaved(error) => Err(error.into()),
            Reply::Refused(code, detail) => Err(Ending { code, detail }),
        }
    }

    fn is_strict(&self, lane: LaneId) -> bool {
        let class = self.terms.classes.class_of(lane);
        class.is_some_and(|class| self.wishes.iter().any(|wish| wish.strict && wish.name == class.name))
    }

    fn command(&self, lane: LaneId, command: Command) -> Result<(), Ending> {
        let Some(handle) = self.lanes.get(usize::from(lane.0)) else {
            return Err(PeerMisbehaved::UnexpectedMessage("a message for a lane that the link has not").into());
        };
        let pushed = handle.mailbox.push(command);
        pushed.map_err(|_| Ending::new(CloseCode::Busy, format!("lane {lane} has too many messages waiting")))
    }

    async fn send(&self, message: Control) -> Result<(), Ending> {
        let sent = self.outgoing.send_timeout(message, STUCK).await;
        sent.map_err(|_| Ending::new(CloseCode::Internal, "sender does not read its control stream"))
    }

    /// A silent session is kept, because resuming costs a round trip, unless somebody waits for the link.
    fn check_silence(&self, link: &ServedLink, connection: &Connection) -> Result<(), Ending> {
        if connection.close_reason().is_some() {
            return Err(lost(connection));
        }
        if self.heard.elapsed() > SILENCE && link.has_standby() {
            let detail = format!("silent for {} s while another sender waits", SILENCE.as_secs());
            return Err(Ending::new(CloseCode::Replaced, detail));
        }
        Ok(())
    }

    /// Tells the lanes and the sender that it is over; what the lanes hold without a gap they still commit.
    async fn end(self, ending: &Ending) {
        for lane in &self.lanes {
            let _ = lane.mailbox.push(Command::SessionEnded(self.id));
        }
        let close = Control::Close { code: ending.code, detail: ending.detail.clone() };
        let _ = self.outgoing.send_timeout(close, Duration::from_secs(1)).await;
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn leaving() -> Ending {
    Ending::new(CloseCode::Normal, "receiver is leaving")
}

fn lost(connection: &Connection) -> Ending {
    let reason = connection.close_reason().map_or_else(|| "control stream ended".to_owned(), |error| error.to_string());
    Ending::new(CloseCode::Normal, reason)
}
