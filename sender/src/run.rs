//! Life of a sender: it finds the source, dials the receiver, runs one session after the other, drains and leaves.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kafka::admin::KafkaCatalog;
use kafka::catalog::Catalog;
use kafka::{KafkaError, LiveProperties};
use service::config::list_of;
use service::credentials::board::BOARD;
use service::live::Live;
use service::lock::Lock;
use service::log_limit::LogLimit;
use service::shutdown::{Phase, Shutdown};
use service::tls::{Credentials, End, PeerIdentity, TlsError};
use tokio::sync::watch;
use tokio::task::JoinSet;
use transport::backoff::Backoff;
use transport::budget::BudgetSockets;
use transport::congestion::Flow;
use transport::endpoint::{ChannelFault, Dialer, Dialled, Sockets, SystemSockets};
use wire::close::{Close, CloseCode, Disposition};
use wire::lanes::ClassTable;
use wire::limits::RETRY_AFTER;

use crate::board::{Board, State};
use crate::config::Config;
use crate::config::derived;
use crate::dispatch::classes::Classes;
use crate::dispatch::dispatcher::Dispatcher;
use crate::lane::Packing;
use crate::lane::pool::LaneThreads;
use crate::rate;
use crate::session::{
    ChannelDialer, Handshaken, Identity, Offering, Probe, REDIAL_MAX, REDIAL_MIN, Session, SessionEnd, shake_hands,
};
use crate::source::Source;
use crate::source::discovery::{self, Discovered, ListError, TopicLister, TopicWatcher};
use crate::source::kafka::KafkaSource;
use crate::source::origins::reading::{KafkaStateLog, StateLog};
use crate::source::promotion::{PromotedState, Promotion};
use crate::stop_reason::StopReason;

/// Wait before dialling again where only an operator can help: a certificate, a name, or a receiver with a bug.
const FAULT_RETRY: Duration = Duration::from_secs(10);
/// Time for a session to end by itself when the source has become another cluster.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Wait before a source that does not answer is asked again.
const SOURCE_RETRY: Duration = Duration::from_secs(1);

/// Parts that a sender works with. The product makes them from its configuration; the demo and tests bring their own.
pub struct Dependencies<S> {
    pub source: S,
    /// Catalog of the source cluster's topics.
    pub catalog: Arc<dyn Catalog>,
    pub sockets: Arc<dyn Sockets>,
    /// Reader of the state topics that other links keep in the source cluster.
    pub states: Arc<dyn StateLog>,
    /// Reader of what a promoted link brought to the source; `None` where no topics go back.
    pub promoted: Option<Arc<dyn PromotedState>>,
}

impl Dependencies<KafkaSource> {
    /// Connects to a real Kafka cluster. A quarter of the memory may be prefetched.
    /// Error: a property that librdkafka does not know or accept.
    pub fn kafka(config: &Config, properties: impl Into<LiveProperties>) -> Result<Self, KafkaError> {
        let properties = properties.into();
        Ok(Self {
            source: KafkaSource::start(&properties, &config.link, derived::prefetch(config))?,
            catalog: Arc::new(KafkaCatalog::start(&properties, &config.link)?),
            sockets: Arc::new(SystemSockets),
            states: Arc::new(KafkaStateLog::new(properties, &config.link)),
            promoted: None,
        })
    }
}

/// Runs a sender until `shutdown`, or until it stops by itself. It publishes on `board` what it does.
pub(crate) async fn run<S: Source>(
    live: Live<Config>,
    dependencies: Dependencies<S>,
    board: Arc<Board>,
    shutdown: Shutdown,
) -> Result<(), StopReason> {
    let config = live.now();
    let sockets = with_budget(&config, &dependencies.sockets, &board);
    // The tasks end when this set is dropped.
    let mut tasks = JoinSet::new();
    tasks.spawn(rate::keep(board.rates(), live.clone()));
    let flow = new_flow(&config, &board);
    let (dialer_in, dialer) = watch::channel(dialer(&config, &sockets, &flow)?);
    board.publish(|published| {
        published.link = config.link.to_string();
        published.instance = config.instance.to_string();
    });
    let mut watcher = topic_watcher(live.clone(), &dependencies);
    let Some(source) = find_source(&watcher, &board, &shutdown).await else { return Ok(()) };
    watcher.cluster = Some(source.cluster_id.as_str().into());
    let identity = Identity::of(&config, source.cluster_id, source.topics.filter_hash);
    board.topics().send_replace(source.topics);
    let topics = board.topics().subscribe();
    let publisher = Arc::clone(&board);
    let report = move |trouble| publisher.publish(|published| published.discovery_trouble = trouble);
    tasks.spawn(discovery::watch(watcher, board.topics().clone(), board.asked().subscribe(), report));
    tasks.spawn(renew(live.clone(), sockets, flow, dialer_in));
    let promoted_link = config.source.promoted_link.as_deref();
    let promotion = promoted_link.zip(dependencies.promoted).map(|(link, state)| Promotion::new(link, state));
    let (mut lanes, mut failed) = LaneThreads::new(&config, dependencies.source, &board.rates());
    lanes.start(derived::lanes(&config))?;
    let mut sender = SenderLoop {
        identity,
        live,
        packing: derived::packing(&config),
        without_state: false,
        offering: Offering {
            catalog: dependencies.catalog,
            start: config.source.start,
            deletions: board.deletions(),
            policies: Arc::new(config.policies.clone()),
            promotion,
        },
        config,
        dialer,
        lanes,
        topics,
        board,
        backoff: Backoff::try_new(REDIAL_MIN, REDIAL_MAX).expect("the constants are in order"),
        lost: None,
        target: None,
    };
    sender.publish_lanes();
    let result = tokio::select! {
        result = sender.run(&shutdown) => result,
        Some(error) = failed.recv() => Err(error),
    };
    sender.lanes.stop();
    result
}

/// Returns sockets whose packets count against the sender's budget, which keeps to the configured rate from now on.
fn with_budget(config: &Config, sockets: &Arc<dyn Sockets>, board: &Board) -> Arc<dyn Sockets> {
    let rates = board.rates();
    rates.configure(&config.wan, Timestamp::now());
    Arc::new(BudgetSockets::new(Arc::clone(sockets), rates.budget().clone()))
}

/// Creates the congestion control that the channels of all sessions share, so that a session begins with what the one
/// before has learned of the path. It follows the current rate.
fn new_flow(config: &Config, board: &Board) -> Flow {
    let flow = Flow::new(derived::flow(config));
    let follower = flow.clone();
    board.rates().follow(move |rate| follower.set_rate(rate));
    board.publish(|published| published.flow = Some(flow.clone()));
    flow
}

fn topic_watcher<S>(config: Live<Config>, dependencies: &Dependencies<S>) -> TopicWatcher {
    TopicWatcher {
        catalog: Arc::clone(&dependencies.catalog),
        config,
        lister: Arc::new(Lock::new(TopicLister::new(Arc::clone(&dependencies.states)))),
        cluster: None,
    }
}

/// Source cluster when it first answered.
struct FoundSource {
    cluster_id: String,
    topics: Discovered,
}

/// Asks until the source answers; returns `None` if the process must leave before that. Sessions begin only after the
/// topics are listed: an empty first round of offers would tell the receiver that the filter matches nothing.
async fn find_source(watcher: &TopicWatcher, board: &Board, shutdown: &Shutdown) -> Option<FoundSource> {
    let set_trouble = |trouble| board.publish(|published| published.source_trouble = trouble);
    loop {
        let watcher = watcher.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let cluster_id = watcher.catalog.cluster_id()?;
            Ok::<_, ListError>(FoundSource { cluster_id, topics: watcher.list()? })
        });
        // A client needs half a minute to find that a cluster is unreachable; leaving does not wait for it.
        let answer = tokio::select! {
            answer = asked => answer,
            () = shutdown.reached(Phase::Drain) => return None,
        };
        match answer {
            Ok(Ok(found)) => {
                set_trouble(None);
                found.topics.report(&Discovered::default());
                let trouble = found.topics.trouble();
                board.publish(|published| published.discovery_trouble = trouble);
                return Some(found);
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "could not list the topics of the source cluster; trying again");
                set_trouble(Some(format!("source cluster: {error}")));
            }
            Err(_) => return None,
        }
        tokio::select! {
            () = tokio::time::sleep(SOURCE_RETRY) => {}
            () = shutdown.reached(Phase::Drain) => return None,
        }
    }
}

/// Creates a dialler that shows the configured certificate.
fn dialer(config: &Config, sockets: &Arc<dyn Sockets>, flow: &Flow) -> Result<Dialer, TlsError> {
    let credentials = Credentials::load(&config.process.tls, End::Client, service::tls::now())?;
    let dialer = Dialer::new(&credentials, derived::endpoint(config))?;
    Ok(dialer.over(Arc::clone(sockets)).guided_by(flow.clone()))
}

/// Loads the certificates again with each new configuration; the next dial shows them.
async fn renew(mut config: Live<Config>, sockets: Arc<dyn Sockets>, flow: Flow, dialers: watch::Sender<Dialer>) {
    loop {
        match dialer(&*config.changed().await, &sockets, &flow) {
            Ok(dialer) => drop(dialers.send_replace(dialer)),
            Err(error) => tracing::error!(%error, "new certificates cannot be used; dialling with the old ones"),
        }
    }
}

/// Waits until the configuration assigns topics to other classes than `classes` does.
async fn classes_changed(live: &mut Live<Config>, classes: &Classes) {
    while !classes.routes_differ(&live.changed().await.classes) {}
}

/// Waits until the source has become another cluster, and then for the session to end by itself. Returns the sentence.
async fn source_changed(mut topics: watch::Receiver<Discovered>) -> String {
    let changed = topics.wait_for(|found| found.other_cluster.is_some()).await;
    let Some(sentence) = changed.ok().and_then(|found| found.other_cluster.clone()) else {
        return std::future::pending().await;
    };
    tokio::time::sleep(LAST_WORDS).await;
    sentence
}

struct SenderLoop<S> {
    config: Arc<Config>,
    live: Live<Config>,
    identity: Identity,
    packing: Packing,
    /// True once the receiver could not decode a frame with state: the same records would fail again.
    without_state: bool,
    offering: Offering,
    dialer: watch::Receiver<Dialer>,
    lanes: LaneThreads<S>,
    topics: watch::Receiver<Discovered>,
    board: Arc<Board>,
    backoff: Backoff,
    /// Reason why the session before this one, or the last dial, was lost; `None` once a session is open.
    lost: Option<String>,
    /// Kafka's id of the target cluster, once a session began.
    target: Option<String>,
}

enum NextStep {
    Leave,
    Dial { after: Duration, stand_by: bool },
}

impl<S: Source> SenderLoop<S> {
    async fn run(&mut self, shutdown: &Shutdown) -> Result<(), StopReason> {
        let mut stand_by = false;
        let topics = self.topics.clone();
        loop {
            let end = tokio::select! {
                end = self.dial(stand_by, shutdown) => end?,
                sentence = source_changed(topics.clone()) => return Err(StopReason::SourceChanged(sentence)),
                () = shutdown.reached(Phase::Now) => return Ok(()),
            };
            self.board.end_session(&end);
            let NextStep::Dial { after, stand_by: waits } = self.next_step(end)? else { return Ok(()) };
            stand_by |= waits;
            tokio::select! {
                () = tokio::time::sleep(after) => {}
                sentence = source_changed(topics.clone()) => return Err(StopReason::SourceChanged(sentence)),
                () = shutdown.reached(Phase::Drain) => return Ok(()),
            }
        }
    }

    /// Dials the receiver, and runs a session if it answers.
    async fn dial(&mut self, stand_by: bool, shutdown: &Shutdown) -> Result<SessionEnd, StopReason> {
        self.board.publish(|published| {
            published.state = State::Connecting;
            published.no_session_since.get_or_insert_with(std::time::Instant::now);
        });
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
        let end = self.run_session(&dialled, stand_by, shutdown).await?;
        dialled.endpoint.close(0u32.into(), b"");
        let _ = tokio::time::timeout(Duration::from_secs(1), dialled.endpoint.wait_idle()).await;
        Ok(end)
    }

    async fn run_session(
        &mut self,
        first: &Dialled,
        stand_by: bool,
        shutdown: &Shutdown,
    ) -> Result<SessionEnd, StopReason> {
        let mut live = self.live.clone();
        let classes = live.now_and_later().classes.clone();
        let filter_hash = self.topics.borrow().filter_hash;
        let identity = Identity { filter_hash, classes: classes.requests(), ..self.identity.clone() };
        let probe = match self.probe().await {
            Ok(probe) => probe,
            Err(reason) => return Ok(SessionEnd::Lost(reason)),
        };
        let handshake = tokio::select! {
            handshake = self.shake_hands(first, &identity, stand_by, &mut live, &classes) => handshake,
            () = shutdown.reached(Phase::Drain) => Err(SessionEnd::Drained),
        };
        if let Some(probe) = probe
            && let Err(reason) = probe.finish(handshake.is_ok()).await
        {
            return Ok(SessionEnd::Lost(reason));
        }
        let handshake = match handshake {
            Ok(handshake) => handshake,
            Err(end) => return Ok(end),
        };
        self.check_target(first, &handshake.welcome.cluster_id)?;
        let table = match ClassTable::of(handshake.welcome.classes.clone()) {
            Ok(table) if table.default_class().count == self.config.lanes => table,
            Ok(_) => return Ok(SessionEnd::Lost("receiver states another number of lanes".to_owned())),
            Err(error) => {
                let close = Close::new(CloseCode::Misbehaved, format!("the receiver's welcome: {error}"));
                transport::control::close(&first.connection, &close);
                return Ok(SessionEnd::Misbehaved(close));
            }
        };
        let _shown = BOARD.show_peer(&self.config.link, PeerIdentity::of(&first.connection));
        tracing::info!(receiver = %first.connection.remote_address(), "session began");
        self.backoff.reset();
        self.lost = None;
        // Lanes of classes that are no longer configured are opened too: their partitions are handed over from there.
        self.lanes.start(table.lanes())?;
        self.publish_lanes();
        let lanes = self.lanes.first(table.lanes());
        // The session still sees the configuration that changed since the hello.
        let now = live.now();
        let rate = self.board.rates().rate();
        let bells = lanes.iter().map(|lane| lane.bell.clone()).collect();
        let credit = handshake.welcome.credit;
        let dispatcher = Dispatcher::new(table, &now.classes, rate, self.packing.frame_bytes, credit, bells);
        let state = derived::state_bound(&self.config, lanes.len() as u16).filter(|_| !self.without_state);
        let packing = Packing { state, ..self.packing };
        let session = Session {
            lanes,
            classes,
            config: live,
            dispatcher,
            topics: self.topics.clone(),
            filter_hash,
            offering: self.offering.clone(),
            packing,
            board: Arc::clone(&self.board),
            channels: ChannelDialer {
                dialer: self.dialer.clone(),
                first: first.clone(),
                count: derived::channels(&self.config),
            },
        };
        Ok(session.run(handshake, shutdown.clone()).await)
    }

    /// Creates the probe topic, if the receiver has refused this source for its id.
    async fn probe(&self) -> Result<Option<Probe>, String> {
        if !self.identity.probes {
            return Ok(None);
        }
        let catalog = Arc::clone(&self.offering.catalog);
        Probe::create(catalog, self.identity.link.clone(), self.identity.process).await.map(Some)
    }

    /// Decides about a source that states the id of the target: a probe topic may prove that they are two clusters.
    fn handle_same_cluster(&mut self, detail: &str) -> Result<NextStep, StopReason> {
        let source = &self.config.source;
        if source.allow_same_cluster_id && !self.identity.probes {
            tracing::warn!(
                detail,
                "source and target have one cluster id; proving with a probe topic that they are two"
            );
            self.identity.probes = true;
            return Ok(NextStep::Dial { after: Duration::ZERO, stand_by: false });
        }
        let mut detail = format!("{detail}; the source's are {}", list_of(&source.bootstrap_servers));
        if !source.allow_same_cluster_id {
            detail.push_str("; if these are two clusters that were given one id, set `source.allow_same_cluster_id`");
        }
        Err(StopReason::Refused(Close::new(CloseCode::SameCluster, detail)))
    }

    /// Notes the target cluster, and refuses another one than in the session before: the link would begin again there,
    /// which an operator must decide.
    fn check_target(&mut self, first: &Dialled, is: &str) -> Result<(), StopReason> {
        let was = self.target.get_or_insert_with(|| is.to_owned());
        if was == is {
            return Ok(());
        }
        let detail = format!(
            "the target cluster's id was {was}, is {is}: it was rebuilt, or the receiver leads to another one; to begin there, start the sender again"
        );
        let close = Close::new(CloseCode::ClusterChanged, detail);
        transport::control::close(&first.connection, &close);
        Err(StopReason::TargetChanged(close.detail))
    }

    /// Sends the hello and waits for the welcome, or until the topics or classes of the hello are outdated.
    async fn shake_hands(
        &self,
        first: &Dialled,
        identity: &Identity,
        stand_by: bool,
        live: &mut Live<Config>,
        classes: &Classes,
    ) -> Result<Handshaken, SessionEnd> {
        let mut topics = self.topics.clone();
        let mut lines = LogLimit::default();
        let on_standby = |behind: &str| {
            if let Some(left_out) = lines.poll(std::time::Instant::now()) {
                tracing::info!(behind, left_out, "on standby: another sender holds the link");
            }
            self.board.publish(|published| published.state = State::Standby { behind: behind.to_owned() });
        };
        tokio::select! {
            handshake = shake_hands(&first.connection, identity, stand_by, on_standby) => handshake,
            Ok(_) = topics.wait_for(|found| found.filter_hash != identity.filter_hash) => {
                Err(SessionEnd::Reconfigured)
            }
            () = classes_changed(live, classes) => Err(SessionEnd::Reconfigured),
        }
    }

    fn publish_lanes(&self) {
        self.board.publish(|published| {
            published.lanes = self.lanes.progress();
            published.activities = self.lanes.activities();
            published.choices = self.lanes.choices();
        });
    }

    /// Decides what every end of a session leads to.
    fn next_step(&mut self, end: SessionEnd) -> Result<NextStep, StopReason> {
        match end {
            SessionEnd::Drained => Ok(NextStep::Leave),
            SessionEnd::SourceChanged(close) => Err(StopReason::SourceChanged(close.detail)),
            SessionEnd::Reconfigured => {
                tracing::info!("topics or their classes changed; beginning a session with them");
                Ok(NextStep::Dial { after: Duration::ZERO, stand_by: false })
            }
            SessionEnd::Barred(reason) => {
                tracing::error!(reason, retry_in = ?FAULT_RETRY, "cannot establish a session: certificate or name refused");
                Ok(NextStep::Dial { after: FAULT_RETRY, stand_by: false })
            }
            SessionEnd::Misbehaved(Close { code, detail }) => {
                tracing::error!(code = code.name(), detail, retry_in = ?FAULT_RETRY, "receiver broke the protocol; session ended");
                Ok(NextStep::Dial { after: FAULT_RETRY, stand_by: false })
            }
            SessionEnd::Lost(reason) => {
                // Each dial of a long outage ends alike; only the first is logged at info.
                if self.lost.as_ref() == Some(&reason) {
                    tracing::debug!(reason, "session lost again; dialling again");
                } else {
                    tracing::info!(reason, "session lost; dialling again");
                }
                self.lost = Some(reason);
                Ok(self.dial_soon(false))
            }
            SessionEnd::Closed(Close { code: CloseCode::Replaced, detail }) => {
                tracing::warn!(detail, "another sender took over this link; standing by");
                Ok(self.dial_soon(true))
            }
            SessionEnd::Closed(Close { code: CloseCode::StateLost, detail }) => {
                tracing::error!(
                    detail,
                    "receiver cannot decode a frame that refers to earlier ones; no frames refer to others from now on; report this bug with both logs"
                );
                self.without_state = true;
                Ok(self.dial_soon(false))
            }
            SessionEnd::Closed(Close { code: CloseCode::SameCluster, detail }) => self.handle_same_cluster(&detail),
            SessionEnd::Closed(Close { code, detail }) => match code.disposition() {
                Disposition::Halt => Err(StopReason::Refused(Close { code, detail })),
                Disposition::Reconnect => {
                    tracing::info!(code = code.name(), detail, "receiver closed the session; dialling again");
                    Ok(self.dial_soon(false))
                }
                Disposition::Retry => {
                    tracing::warn!(code = code.name(), detail, retry_in = ?RETRY_AFTER, "receiver closed the session");
                    let jitter = rand::random::<f64>() / 4.0;
                    Ok(NextStep::Dial { after: RETRY_AFTER.mul_f64(1.0 + jitter), stand_by: false })
                }
            },
        }
    }

    fn dial_soon(&mut self, stand_by: bool) -> NextStep {
        NextStep::Dial { after: self.backoff.next_delay(rand::random()), stand_by }
    }
}
