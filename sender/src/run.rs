//! The sender's life: find the source, dial the receiver, run one session after the other, drain, leave.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use kafka::admin::KafkaCatalog;
use kafka::catalog::Catalog;
use kafka::{KafkaError, Properties};
use service::live::Live;
use service::shutdown::{Phase, Shutdown};
use service::tls::{Credentials, End, TlsError};
use tokio::sync::watch;
use tokio::task::JoinSet;
use transport::backoff::Backoff;
use transport::budget::BudgetSockets;
use transport::congestion::Flow;
use transport::endpoint::{ChannelFault, Dialer, Dialled, Sockets, SystemSockets};
use wire::close::{CloseCode, Disposition};
use wire::lanes::ClassTable;
use wire::limits::RETRY_AFTER;

use crate::config::Config;
use crate::config::derived;
use crate::dispatch::classes::Classes;
use crate::dispatch::gate::Gate;
use crate::lane::Packing;
use crate::lane::pool::LaneThreads;
use crate::rate;
use crate::report::lag_task;
use crate::report::sampler;
use crate::report::status::{Board, State};
use crate::session::{HandshakeError, Identity, Offering, Session, SessionEnd, Ways, shake_hands};
use crate::source::Source;
use crate::source::discovery::{self, Discovered, Looker};
use crate::source::kafka::KafkaSource;
use crate::source::origins::reading::{KafkaStateLog, Origins, OriginsError, StateLog};

/// The first wait before dialling again, and the longest: resuming is cheap, so is trying.
pub const REDIAL_MIN: Duration = Duration::from_millis(100);
pub const REDIAL_MAX: Duration = Duration::from_secs(1);

/// How soon to dial again where only a new certificate or name can help.
const BARRED_RETRY: Duration = Duration::from_secs(10);

/// How soon a source that does not answer is asked again.
const SOURCE_RETRY: Duration = Duration::from_secs(1);

/// What a sender works with: the product's are made from its configuration, the demo and tests bring
/// their own.
pub struct Parts<S> {
    /// Reads records.
    pub source: S,
    /// Answers questions about topics.
    pub catalog: Arc<dyn Catalog>,
    /// Where packets go.
    pub sockets: Arc<dyn Sockets>,
    /// Reads what links write of themselves there.
    pub states: Arc<dyn StateLog>,
}

/// Why a sender stopped by itself: a human must act.
#[derive(Debug, thiserror::Error)]
pub enum Halted {
    /// The Kafka client cannot work with this configuration.
    #[error("source: {0}")]
    Source(#[from] KafkaError),
    /// The certificates cannot be used.
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    /// The receiver refuses this sender, and would again.
    #[error("the receiver refuses this sender: {detail} ({})", code.name())]
    Refused {
        /// Why.
        code: CloseCode,
        /// The values and the remedy.
        detail: String,
    },
    /// A part of the process failed that must not.
    #[error("{0}")]
    Broken(&'static str),
}

impl Parts<KafkaSource> {
    /// The real thing. A quarter of the memory may be prefetched.
    pub fn kafka(config: &Config, properties: &Properties) -> Result<Self, KafkaError> {
        Ok(Self {
            source: KafkaSource::start(properties, &config.link, derived::prefetch(config))?,
            catalog: Arc::new(KafkaCatalog::start(properties, &config.link)?),
            sockets: Arc::new(SystemSockets),
            states: Arc::new(KafkaStateLog::new(properties, &config.link)),
        })
    }
}

/// Runs a sender until `shutdown`, or until it is halted. `board` shows what it is doing.
pub async fn run<S: Source>(
    config: impl Into<Live<Config>>,
    parts: Parts<S>,
    board: Arc<Board>,
    shutdown: Shutdown,
) -> Result<(), Halted> {
    let live = config.into();
    let config = live.now();
    let sockets = budgeted(&config, &parts.sockets, &board);
    // They end when this is dropped, whatever the way out.
    let mut tasks = JoinSet::new();
    tasks.spawn(rate::keep(board.rates(), live.clone()));
    let flow = guided(&config, &board);
    let (dialer_in, dialer) = watch::channel(dialer(&config, &sockets, &flow)?);
    board.introduce(&config);
    let looker = looker(live.clone(), &parts);
    let Some((cluster_id, topics)) = find_source(&looker, &board, &shutdown).await else { return Ok(()) };
    let identity = identity(&config, cluster_id, topics.filter_hash);
    let (topics_in, topics) = watch::channel(topics);
    tasks.spawn(discovery::watch(looker, topics_in, Arc::clone(&board)));
    tasks.spawn(renew(live.clone(), sockets, flow, dialer_in));
    let (mut lanes, mut failed) = LaneThreads::new(&config, parts.source, &board.rates());
    lanes.start(derived::lanes(&config))?;
    board.begin(lanes.progress(), lanes.activities());
    tasks.spawn(sampler::beat(Arc::clone(&board)));
    tasks.spawn(lag_task::measure(Arc::clone(&parts.catalog), topics.clone(), Arc::clone(&board)));
    let mut life = Life {
        identity,
        live,
        packing: derived::packing(&config),
        offering: Offering { catalog: Arc::clone(&parts.catalog), start: config.source.start },
        config,
        dialer,
        lanes,
        topics,
        board,
        lost: None,
    };
    let result = tokio::select! {
        result = life.run(&shutdown) => result,
        Some(error) = failed.recv() => Err(error),
    };
    life.lanes.stop();
    result
}

/// Sockets whose packets come out of the sender's budget, which keeps the configuration's rate from now on.
fn budgeted(config: &Config, sockets: &Arc<dyn Sockets>, board: &Board) -> Arc<dyn Sockets> {
    let rates = board.rates();
    rates.configure(&config.wan, Timestamp::now());
    Arc::new(BudgetSockets::new(Arc::clone(sockets), rates.budget().clone()))
}

/// What the channels of all sessions share, so that one begins with what the one before found of the path. It keeps to
/// the rate of the moment.
fn guided(config: &Config, board: &Board) -> Flow {
    let flow = Flow::new(derived::flow(config));
    let follows = flow.clone();
    board.rates().follow(move |rate| follows.set_rate(rate));
    board.set_flow(flow.clone());
    flow
}

fn looker<S>(config: Live<Config>, parts: &Parts<S>) -> Looker {
    Looker {
        catalog: Arc::clone(&parts.catalog),
        config,
        origins: Arc::new(Mutex::new(Origins::new(Arc::clone(&parts.states)))),
    }
}

/// Asks until the source answers; `None` if the process is to leave before that. Sessions begin only
/// after the first look at the source: an empty first round of offers would tell the receiver that the
/// filter matches nothing.
async fn find_source(looker: &Looker, board: &Board, shutdown: &Shutdown) -> Option<(String, Discovered)> {
    loop {
        let looker = looker.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let id = looker.catalog.cluster_id()?;
            Ok::<_, OriginsError>((id, looker.look()?))
        });
        // An unreachable cluster takes half a minute to say nothing: nobody waits for it to leave.
        let answer = tokio::select! {
            answer = asked => answer,
            () = shutdown.reached(Phase::Drain) => return None,
        };
        match answer {
            Ok(Ok(found)) => {
                board.set_trouble(None);
                found.1.report_missing(&[]);
                return Some(found);
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "could not look at the source cluster; trying again");
                board.set_trouble(Some(format!("source cluster: {error}")));
            }
            Err(_) => return None,
        }
        tokio::select! {
            () = tokio::time::sleep(SOURCE_RETRY) => {}
            () = shutdown.reached(Phase::Drain) => return None,
        }
    }
}

fn identity(config: &Config, cluster_id: String, filter_hash: u64) -> Identity {
    Identity {
        link: config.link.to_string(),
        cluster_id,
        instance: config.instance.to_string(),
        process: rand::random(),
        lanes: config.lanes,
        filter_hash,
        rate: config.wan.rate.map_or(0, |rate| rate.bytes_per_second()),
        classes: config.classes.wishes(),
    }
}

/// Who we are to those whom we dial.
fn dialer(config: &Config, sockets: &Arc<dyn Sockets>, flow: &Flow) -> Result<Dialer, TlsError> {
    let credentials = Credentials::load(&config.tls, End::Client, service::tls::now())?;
    let dialer = Dialer::new(&credentials, derived::endpoint(config))?;
    Ok(dialer.over(Arc::clone(sockets)).guided_by(flow.clone()))
}

/// Reads the certificates again with each new configuration; the next dial shows them.
async fn renew(mut config: Live<Config>, sockets: Arc<dyn Sockets>, flow: Flow, dialers: watch::Sender<Dialer>) {
    loop {
        match dialer(&*config.changed().await, &sockets, &flow) {
            Ok(dialer) => drop(dialers.send_replace(dialer)),
            Err(error) => tracing::error!(%error, "new certificates cannot be used; dialling with the old ones"),
        }
    }
}

/// Until topics are to go other ways than by `classes`.
async fn rerouted(live: &mut Live<Config>, classes: &Classes) {
    while !classes.routes_otherwise(&live.changed().await.classes) {}
}

struct Life<S> {
    config: Arc<Config>,
    live: Live<Config>,
    identity: Identity,
    packing: Packing,
    offering: Offering,
    dialer: watch::Receiver<Dialer>,
    lanes: LaneThreads<S>,
    topics: watch::Receiver<Discovered>,
    board: Arc<Board>,
    /// Why the session before this one, or the last dial, was lost; `None` once there is a session.
    lost: Option<String>,
}

/// What to do between two sessions.
enum Next {
    Leave,
    Dial { after: Duration, stand_by: bool },
}

impl<S: Source> Life<S> {
    async fn run(&mut self, shutdown: &Shutdown) -> Result<(), Halted> {
        let mut backoff = Backoff::try_new(REDIAL_MIN, REDIAL_MAX).map_err(|_| Halted::Broken("back-off"))?;
        let mut stand_by = false;
        loop {
            let end = tokio::select! {
                end = self.session(stand_by, &mut backoff, shutdown) => end?,
                () = shutdown.reached(Phase::Now) => return Ok(()),
            };
            self.board.end_session(&end);
            let next = self.next(end, &mut backoff)?;
            let Next::Dial { after, stand_by: waits } = next else { return Ok(()) };
            stand_by |= waits;
            tokio::select! {
                () = tokio::time::sleep(after) => {}
                () = shutdown.reached(Phase::Drain) => return Ok(()),
            }
        }
    }

    async fn session(
        &mut self,
        stand_by: bool,
        backoff: &mut Backoff,
        shutdown: &Shutdown,
    ) -> Result<SessionEnd, Halted> {
        self.board.set_state(State::Connecting);
        let server_name = self.config.wan.server_name.as_deref();
        let dialer = self.dialer.borrow().clone();
        let dialled = tokio::select! {
            dialled = dialer.dial(&self.config.wan.receiver, server_name) => dialled,
            () = shutdown.reached(Phase::Drain) => return Ok(SessionEnd::Drained),
        };
        let dialled = match dialled {
            Ok(dialled) => dialled,
            Err(error) if error.faults.iter().all(ChannelFault::may_pass) => {
                return Ok(SessionEnd::Lost(error.to_string()));
            }
            Err(error) => return Ok(SessionEnd::Barred(error.to_string())),
        };
        let end = self.hold(&dialled, stand_by, backoff, shutdown).await?;
        dialled.endpoint.close(0u32.into(), b"");
        let _ = tokio::time::timeout(Duration::from_secs(1), dialled.endpoint.wait_idle()).await;
        Ok(end)
    }

    /// From the hello on a channel to the session's end.
    async fn hold(
        &mut self,
        dialled: &Dialled,
        stand_by: bool,
        backoff: &mut Backoff,
        shutdown: &Shutdown,
    ) -> Result<SessionEnd, Halted> {
        let connection = &dialled.connection;
        let (mut topics, mut live) = (self.topics.clone(), self.live.clone());
        let filter_hash = topics.borrow_and_update().filter_hash;
        let classes = live.now_and_later().classes.clone();
        let identity = Identity { filter_hash, classes: classes.wishes(), ..self.identity.clone() };
        let board = Arc::clone(&self.board);
        let on_standby = move |behind: &str| {
            tracing::info!(behind, "standing by");
            board.set_state(State::Standby { behind: behind.to_owned() });
        };
        let shaken = tokio::select! {
            shaken = shake_hands(connection, &identity, stand_by, on_standby) => shaken,
            Ok(_) = topics.wait_for(|found| found.filter_hash != filter_hash) => Err(SessionEnd::Reconfigured.into()),
            () = rerouted(&mut live, &classes) => Err(SessionEnd::Reconfigured.into()),
            () = shutdown.reached(Phase::Drain) => return Ok(SessionEnd::Drained),
        };
        let shaken = match shaken {
            Ok(shaken) => shaken,
            Err(HandshakeError::Ended(end)) => return Ok(end),
            Err(error) => return Ok(SessionEnd::Lost(error.to_string())),
        };
        let table = match ClassTable::of(shaken.welcome.classes.clone()) {
            Ok(table) if table.default_class().count == self.config.lanes => table,
            Ok(_) => return Ok(SessionEnd::Lost("receiver states another number of lanes".to_owned())),
            Err(error) => return Ok(SessionEnd::Lost(format!("receiver's welcome: {error}"))),
        };
        tracing::info!(receiver = %connection.remote_address(), "session began");
        backoff.reset();
        self.lost = None;
        // Lanes of classes that are configured no more are opened too: what they had is fetched from there.
        self.lanes.start(table.lanes())?;
        let lanes = self.lanes.first(table.lanes());
        self.board.begin(self.lanes.progress(), self.lanes.activities());
        // What was changed since the hello is still news to the session.
        let (now, rate) = (live.now(), self.board.rates().rate());
        let router = classes.router(table.clone());
        let bells = lanes.iter().map(|lane| lane.bell.clone()).collect();
        let gate = Arc::new(Gate::new(table, &now.classes, rate, self.packing.frame_bytes, bells));
        self.board.begin_session(connection, &shaken.welcome, Arc::clone(&gate), router);
        let session = Session {
            lanes,
            classes,
            config: live,
            gate,
            topics: self.topics.clone(),
            filter_hash,
            offering: self.offering.clone(),
            packing: self.packing,
            policies: &self.config.policies,
            board: Arc::clone(&self.board),
            ways: Ways { dialer: self.dialer.clone(), first: dialled.clone(), count: derived::channels(&self.config) },
        };
        Ok(session.run(shaken, shutdown.clone()).await)
    }

    /// One place decides what every end of a session leads to.
    fn next(&mut self, end: SessionEnd, backoff: &mut Backoff) -> Result<Next, Halted> {
        let soon = |backoff: &mut Backoff| Next::Dial { after: backoff.next_delay(rand::random()), stand_by: false };
        match end {
            SessionEnd::Drained => Ok(Next::Leave),
            SessionEnd::Reconfigured => {
                tracing::info!("topics or their classes changed; beginning a session with that");
                Ok(Next::Dial { after: Duration::ZERO, stand_by: false })
            }
            SessionEnd::Barred(reason) => {
                tracing::error!(reason, retry_in = ?BARRED_RETRY, "this sender gets no session");
                Ok(Next::Dial { after: BARRED_RETRY, stand_by: false })
            }
            SessionEnd::Lost(reason) => {
                // Each dial of a long outage ends alike: said once.
                if self.lost.as_ref() == Some(&reason) {
                    tracing::debug!(reason, "session lost again; dialling again");
                } else {
                    tracing::info!(reason, "session lost; dialling again");
                }
                self.lost = Some(reason);
                Ok(soon(backoff))
            }
            SessionEnd::Closed { code: CloseCode::Replaced, detail } => {
                tracing::warn!(detail, "replaced by another sender of this link; standing by");
                Ok(Next::Dial { after: backoff.next_delay(rand::random()), stand_by: true })
            }
            SessionEnd::Closed { code, detail } => match code.disposition() {
                Disposition::Halt => Err(Halted::Refused { code, detail }),
                Disposition::Reconnect => {
                    tracing::info!(code = code.name(), detail, "receiver closed the session; dialling again");
                    Ok(soon(backoff))
                }
                Disposition::Retry => {
                    tracing::warn!(code = code.name(), detail, retry_in = ?RETRY_AFTER, "receiver closed the session");
                    let jitter = rand::random::<f64>() / 4.0;
                    Ok(Next::Dial { after: RETRY_AFTER.mul_f64(1.0 + jitter), stand_by: false })
                }
            },
        }
    }
}
