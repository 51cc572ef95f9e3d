//! The sender's life: find the source, dial the receiver, run one session after the other, drain, leave.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use link::backoff::Backoff;
use link::bell::Bell;
use link::catalog::Catalog;
use link::endpoint::{Dialer, EndpointSettings};
use link::kafka::admin::KafkaCatalog;
use link::kafka::consumer::ConsumerMemory;
use link::kafka::{KafkaError, Properties};
use link::mailbox::Mailbox;
use link::shutdown::{Phase, Shutdown};
use link::tls::{Credentials, End, TlsError};
use tokio::sync::{mpsc, watch};
use wire::close::{CloseCode, Disposition};
use wire::ids::LaneId;
use wire::limits::{FRAME_RAW_TARGET, RETRY_AFTER};
use wire::units::Size;
use xxhash_rust::xxh3::xxh3_64;

use crate::config::Config;
use crate::discovery::{self, Topics};
use crate::lane::{Lane, Packing};
use crate::lane_thread::{self, Command, LaneHandle, MAILBOX_CAPACITY};
use crate::progress::Progress;
use crate::session::{HandshakeError, Identity, Offering, Session, SessionEnd, shake_hands};
use crate::source::Source;
use crate::source::kafka::KafkaSource;
use crate::status::{Board, State};

/// The first wait before dialling again, and the longest: resuming is cheap, so is trying.
const REDIAL_MIN: Duration = Duration::from_millis(100);
const REDIAL_MAX: Duration = Duration::from_secs(2);

/// How soon a source that does not answer is asked again.
const SOURCE_RETRY: Duration = Duration::from_secs(1);

/// How long a frame may take on the wire at the stated rate: what waits behind it waits this long.
const FRAME_TIME: Duration = Duration::from_millis(100);

/// The smallest frame worth its overhead.
const FRAME_BYTES_MIN: u64 = 16 << 10;

/// What a sender works with: the product's are made from its configuration, the demo and tests bring
/// their own.
pub struct Parts<S> {
    /// Reads records.
    pub source: S,
    /// Answers questions about topics.
    pub catalog: Arc<dyn Catalog>,
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
        let memory = ConsumerMemory { bytes: config.memory.bytes() / 4, lanes: config.lanes };
        Ok(Self {
            source: KafkaSource::start(properties, &config.link, memory)?,
            catalog: Arc::new(KafkaCatalog::start(properties, &config.link)?),
        })
    }
}

/// Runs a sender until `shutdown`, or until it is halted. `board` shows what it is doing.
pub async fn run<S: Source>(
    config: Config,
    parts: Parts<S>,
    board: Arc<Board>,
    shutdown: Shutdown,
) -> Result<(), Halted> {
    let credentials = Credentials::load(&config.tls, End::Client, link::tls::now())?;
    let settings = EndpointSettings {
        rate: config.wan.rate,
        memory: Size::from_bytes(config.memory.bytes() / 2),
        // The receiver opens no streams towards a sender.
        uni_streams: 0,
    };
    let dialer = Dialer::new(&credentials, settings)?;
    let Some((cluster_id, topics)) = find_source(&config, &parts, &shutdown).await else { return Ok(()) };
    let (topics_in, topics) = watch::channel(topics);
    let watching = tokio::spawn(discovery::watch(Arc::clone(&parts.catalog), config.source.filter.clone(), topics_in));
    let (lanes, mut failed) = start_lanes(&config, &parts.source)?;
    board.begin(&config, lanes.iter().map(|lane| Arc::clone(&lane.progress)).collect());
    let measuring = tokio::spawn(measure(Arc::clone(&parts.catalog), Arc::clone(&board)));
    let life = Life {
        identity: identity(&config, cluster_id),
        packing: packing(&config),
        offering: Offering { catalog: Arc::clone(&parts.catalog), start: config.source.start },
        config,
        dialer,
        lanes,
        topics,
        board,
    };
    let result = tokio::select! {
        result = life.run(&shutdown) => result,
        Some(error) = failed.recv() => Err(error),
    };
    watching.abort();
    measuring.abort();
    for lane in &life.lanes {
        let _ = lane.mailbox.push(Command::Stop);
    }
    result
}

/// Asks until the source answers; `None` if the process is to leave before that. Sessions begin only
/// after the first look at the source: an empty first round of offers would tell the receiver that the
/// filter matches nothing.
async fn find_source<S>(config: &Config, parts: &Parts<S>, shutdown: &Shutdown) -> Option<(String, Topics)> {
    loop {
        let (catalog, filter) = (Arc::clone(&parts.catalog), config.source.filter.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let id = catalog.cluster_id()?;
            Ok::<_, KafkaError>((id, discovery::discover(&*catalog, &filter)?))
        });
        match asked.await {
            Ok(Ok(found)) => return Some(found),
            Ok(Err(error)) => tracing::warn!(%error, "source cluster does not answer; trying again"),
            Err(_) => return None,
        }
        tokio::select! {
            () = tokio::time::sleep(SOURCE_RETRY) => {}
            () = shutdown.reached(Phase::Drain) => return None,
        }
    }
}

fn start_lanes<S: Source>(config: &Config, source: &S) -> Result<(Vec<LaneHandle>, mpsc::Receiver<Halted>), Halted> {
    let (failed, failures) = mpsc::channel(1);
    let mut lanes = Vec::new();
    for id in (0..config.lanes).map(LaneId) {
        let bell = Bell::default();
        let lane = Lane::new(id, source.open(id, bell.clone())?, packing(config));
        let mailbox = Mailbox::new(MAILBOX_CAPACITY, bell.clone());
        let handle = LaneHandle { id, mailbox, bell, progress: Arc::new(Progress::default()) };
        lanes.push(handle.clone());
        let failed = failed.clone();
        let spawned = thread::Builder::new().name(format!("lane-{id}")).spawn(move || {
            if let Err(error) = lane_thread::run(lane, &handle) {
                let _ = failed.try_send(error.into());
            }
        });
        spawned.map_err(|_| Halted::Broken("the system refuses another thread"))?;
    }
    Ok((lanes, failures))
}

fn identity(config: &Config, cluster_id: String) -> Identity {
    Identity {
        link: config.link.to_string(),
        cluster_id,
        instance: config.instance.to_string(),
        process: rand::random(),
        lanes: config.lanes,
        filter_hash: xxh3_64(config.source.filter.canonical().as_bytes()),
        rate: config.wan.rate.map_or(0, |rate| rate.bytes_per_second()),
    }
}

fn packing(config: &Config) -> Packing {
    let by_rate = config.wan.rate.map_or(u64::MAX, |rate| rate.bytes_in(FRAME_TIME).max(FRAME_BYTES_MIN));
    Packing {
        codec: config.wan.codec,
        frame_bytes: by_rate.min(FRAME_RAW_TARGET as u64),
        linger: config.wan.linger,
        credit_max: config.memory.bytes() / 4,
    }
}

async fn measure(catalog: Arc<dyn Catalog>, board: Arc<Board>) {
    loop {
        let (catalog, lanes) = (Arc::clone(&catalog), board.lanes());
        if let Ok(Ok(lag)) = tokio::task::spawn_blocking(move || discovery::lag(&*catalog, &lanes)).await {
            board.set_lag(lag);
        }
        tokio::time::sleep(discovery::INTERVAL).await;
    }
}

struct Life {
    config: Config,
    identity: Identity,
    packing: Packing,
    offering: Offering,
    dialer: Dialer,
    lanes: Vec<LaneHandle>,
    topics: watch::Receiver<Topics>,
    board: Arc<Board>,
}

/// What to do between two sessions.
enum Next {
    Leave,
    Dial { after: Duration, stand_by: bool },
}

impl Life {
    async fn run(&self, shutdown: &Shutdown) -> Result<(), Halted> {
        let mut backoff = Backoff::try_new(REDIAL_MIN, REDIAL_MAX).map_err(|_| Halted::Broken("back-off"))?;
        let mut stand_by = false;
        loop {
            let end = tokio::select! {
                end = self.session(stand_by, &mut backoff, shutdown) => end,
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

    async fn session(&self, stand_by: bool, backoff: &mut Backoff, shutdown: &Shutdown) -> SessionEnd {
        self.board.set_state(State::Connecting);
        let server_name = self.config.wan.server_name.as_deref();
        let dialled = tokio::select! {
            dialled = self.dialer.dial(&self.config.wan.receiver, server_name) => dialled,
            () = shutdown.reached(Phase::Drain) => return SessionEnd::Drained,
        };
        let dialled = match dialled {
            Ok(dialled) => dialled,
            Err(error) => return SessionEnd::Lost(error.to_string()),
        };
        let connection = dialled.connection.clone();
        let board = Arc::clone(&self.board);
        let on_standby = move |behind: &str| {
            tracing::info!(behind, "standing by");
            board.set_state(State::Standby { behind: behind.to_owned() });
        };
        let shaken = tokio::select! {
            shaken = shake_hands(&connection, &self.identity, stand_by, on_standby) => shaken,
            () = shutdown.reached(Phase::Drain) => return SessionEnd::Drained,
        };
        let end = match shaken {
            Ok(shaken) => {
                tracing::info!(receiver = %connection.remote_address(), "session began");
                backoff.reset();
                self.board.begin_session(&connection, &shaken.welcome);
                let session = Session {
                    lanes: &self.lanes,
                    topics: self.topics.clone(),
                    offering: self.offering.clone(),
                    packing: self.packing,
                };
                session.run(connection, shaken, shutdown.clone()).await
            }
            Err(HandshakeError::Ended(end)) => end,
            Err(error) => SessionEnd::Lost(error.to_string()),
        };
        dialled.endpoint.close(0u32.into(), b"");
        let _ = tokio::time::timeout(Duration::from_secs(1), dialled.endpoint.wait_idle()).await;
        end
    }

    /// One place decides what every end of a session leads to.
    fn next(&self, end: SessionEnd, backoff: &mut Backoff) -> Result<Next, Halted> {
        let soon = |backoff: &mut Backoff| Next::Dial { after: backoff.next_delay(rand::random()), stand_by: false };
        match end {
            SessionEnd::Drained => Ok(Next::Leave),
            SessionEnd::Lost(reason) => {
                tracing::info!(reason, "session lost; dialling again");
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
