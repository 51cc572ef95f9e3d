//! What a sender is doing, on one board that the admin port reads.

mod channels;
mod classes;
mod measured;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use wire::control::Welcome;

use crate::config::Config;
use crate::dispatch::bank::CreditBank;
use crate::dispatch::gate::Gate;
use crate::lane::activity::{ActivityMeter, Spent};
use crate::lane::progress::{Closed, Halted, Progress, Snapshot, Totals};
use crate::partitions::resume::{Asked, Request};
use crate::partitions::roster::SourceTopic;
use crate::partitions::router::Router;
use crate::rate::{RateStatus, Rates};
use crate::report::forecast::Forecast;
use crate::report::lag::{Lag, PartitionStatus, TopicStatus};
use crate::report::latency::{PeerClockStatus, StageStatus};
use crate::report::limit::Limit;
use crate::report::open_transactions::OpenTransaction;
use crate::report::path::PathReport;
use crate::session::SessionEnd;
use crate::source::origins::{Passage, Withheld};

use channels::Place;
pub use channels::{ChannelStatus, Wire};
pub use classes::ClassStatus;
use measured::Measured;

/// The board; written by the sender's tasks, read by anybody.
#[derive(Debug, Default)]
pub struct Board {
    inner: Mutex<Inner>,
    rates: Arc<Rates>,
}

#[derive(Debug, Default)]
struct Inner {
    link: String,
    instance: String,
    state: State,
    receiver: Option<String>,
    target_cluster: Option<String>,
    /// By their places, channel 0 first.
    channels: Vec<Place>,
    redials: u64,
    dead_channels: u64,
    credit: Option<Arc<CreditBank>>,
    /// Of the session, or of the one before.
    gate: Option<Arc<Gate>>,
    router: Option<Router>,
    session_began: Option<Instant>,
    sessions: u64,
    /// Of the sessions before this one.
    wire: Wire,
    closes: BTreeMap<&'static str, u64>,
    trouble: Option<String>,
    discovery_trouble: Option<String>,
    not_carried: Vec<NotCarried>,
    last_end: Option<String>,
    lag: Lag,
    forecast: Forecast,
    lanes: Vec<Arc<Progress>>,
    activities: Vec<Arc<ActivityMeter>>,
    open_transactions: Vec<OpenTransaction>,
    measured: Measured,
    /// The session's ear for operators.
    requests: Option<mpsc::Sender<Asked>>,
}

/// Requests that may wait for the session.
const REQUESTS_MAX: usize = 32;

/// How long an operator waits for the receiver's answer; the admin port waits a little longer.
const ANSWER: Duration = Duration::from_secs(8);

/// Where a sender stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Asking the source cluster.
    #[default]
    Starting,
    /// Dialling the receiver.
    Connecting,
    /// Another sender holds the link.
    Standby {
        /// Its instance.
        behind: String,
    },
    /// It holds the link.
    Active,
}

/// A sender at one moment; `causeway status --json` prints it and `docs/reference/status.md` describes it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Always `sender`.
    #[serde(skip_deserializing)]
    pub role: &'static str,
    /// The version that is running.
    pub version: String,
    /// The link's name.
    pub link: String,
    /// This process's instance name.
    pub instance: String,
    /// Where it stands.
    pub state: State,
    /// What keeps it from being faster, or from having caught up.
    pub limited_by: Limit,
    /// What is wrong, in sentences; empty while nothing is.
    pub trouble: Vec<String>,
    /// The receiver's address, in a session.
    pub receiver: Option<String>,
    /// Kafka's id of the target cluster, in a session.
    pub target_cluster: Option<String>,
    /// How long the session has lasted, in seconds.
    pub session_seconds: Option<f64>,
    /// Sessions since the process started.
    pub sessions: u64,
    /// How the session before ended.
    pub last_end: Option<String>,
    /// The path's round-trip time in seconds, as QUIC measures it.
    pub rtt_seconds: Option<f64>,
    /// The rate, why it holds, and what is used of it.
    pub rate: RateStatus,
    /// What is to be expected; nothing on standby.
    pub forecast: Forecast,
    /// What is known of the path.
    pub path: PathReport,
    /// Bytes of records for each byte on the wire, over the last minute; `None` while nothing was sent.
    pub efficiency_ratio: Option<f64>,
    /// How long records take, stage by stage.
    pub latency: Vec<StageStatus>,
    /// How the receiver's clock differs.
    pub peer_clock: PeerClockStatus,
    /// What crossed the path in all sessions of this process.
    pub wire: Wire,
    /// Channels that stand.
    pub channels: usize,
    /// Channels that the session is to have; 0 without a session.
    pub channels_wanted: usize,
    /// Times a further channel was dialled again.
    pub channel_redials: u64,
    /// Channels that were given up because they made no progress while others did.
    pub dead_channels: u64,
    /// Each channel of the session by its place.
    pub by_channel: Vec<ChannelStatus>,
    /// Credit in use by frames that are not acked, in bytes, in a session.
    pub credit_used_bytes: Option<u64>,
    /// All the credit that the receiver grants, in bytes, in a session.
    pub credit_bytes: Option<u64>,
    /// Source high watermarks less committed positions; holes count. `null` while a partition's position
    /// is not known.
    pub lag_records: Option<u64>,
    /// Counters over all lanes.
    pub totals: Totals,
    /// Bytes of frames sent and not acked.
    pub in_flight_bytes: u64,
    /// How many lanes there are.
    pub lanes: usize,
    /// How many of them are open.
    pub lanes_open: usize,
    /// Why the receiver closed lanes, for those that are not open again.
    pub lanes_closed: Vec<Closed>,
    /// How often the receiver closed a lane, or could not open it, by reason.
    pub lane_closes: BTreeMap<String, u64>,
    /// How many partitions are being read.
    pub partitions: usize,
    /// Transactions at the source that have been open for 10 s or longer, the oldest first, at most a hundred.
    pub source_transactions_open: Vec<OpenTransaction>,
    /// Partitions that an error stopped.
    pub halted: Vec<Halted>,
    /// Topics that match and are left out, because links brought them to the source.
    pub not_carried: Vec<NotCarried>,
    /// Every class that the link has ever had, the default one first; empty before the first session.
    pub classes: Vec<ClassStatus>,
    /// Each lane by its number.
    pub by_lane: Vec<LaneStatus>,
    /// How often sessions and attempts at one ended, by close code; `LOST` and `BARRED` where there
    /// was none.
    pub closes: BTreeMap<String, u64>,
}

/// A topic that matches and is not carried: records would go round in circles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotCarried {
    /// Its name.
    pub topic: String,
    /// Why.
    pub reason: Withheld,
    /// The link that brought it to the source.
    pub by: String,
    /// Kafka's ids of the clusters it has passed, the oldest first.
    pub clusters: Vec<String>,
}

impl NotCarried {
    /// Those among `topics`, on the way to the cluster `target` as far as it is known.
    pub fn of(topics: &[SourceTopic], target: Option<&str>) -> Vec<Self> {
        let not_carried = |topic: &SourceTopic| match (&topic.passage, topic.passage.withheld(target)) {
            (Passage::Brought { link, clusters, .. }, Some(reason)) => {
                Some(Self { topic: topic.name.to_string(), reason, by: link.to_string(), clusters: clusters.to_vec() })
            }
            _ => None,
        };
        topics.iter().filter_map(not_carried).collect()
    }
}

/// One lane at one moment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LaneStatus {
    /// Its number.
    pub lane: usize,
    /// Its epoch, while open.
    pub epoch: Option<u64>,
    /// How many partitions it reads.
    pub partitions: usize,
    /// Records it has sent.
    pub records: u64,
    /// Bytes of its frames sent and not acked.
    pub in_flight_bytes: u64,
}

impl Board {
    /// Who this is.
    pub fn introduce(&self, config: &Config) {
        let mut inner = self.lock();
        inner.link = config.link.to_string();
        inner.instance = config.instance.to_string();
    }

    /// Where the rate is decided.
    pub fn rates(&self) -> Arc<Rates> {
        Arc::clone(&self.rates)
    }

    /// The sender has its lanes.
    pub fn begin(&self, lanes: Vec<Arc<Progress>>, activities: Vec<Arc<ActivityMeter>>) {
        let mut inner = self.lock();
        inner.lanes = lanes;
        inner.activities = activities;
    }

    /// How each lane has spent its time until `now`.
    pub fn spent(&self, now: Instant) -> Vec<Spent> {
        let activities = self.lock().activities.clone();
        activities.iter().map(|activity| activity.spent(now)).collect()
    }

    /// The source does not answer, or answers again.
    pub fn set_trouble(&self, trouble: Option<String>) {
        self.lock().trouble = trouble;
    }

    /// The source's topics cannot be looked at, or can again.
    pub fn set_discovery_trouble(&self, trouble: Option<String>) {
        self.lock().discovery_trouble = trouble;
    }

    /// What is left out as of the last look; logged where it has changed.
    pub fn set_withheld(&self, not_carried: Vec<NotCarried>) {
        let mut inner = self.lock();
        if inner.not_carried == not_carried {
            return;
        }
        if let Some(first) = not_carried.first() {
            let (topics, topic, reason, by) = (not_carried.len(), &first.topic, first.reason.word(), &first.by);
            tracing::info!(
                topics,
                first = topic,
                reason,
                by,
                "not carrying topics that links brought here; `source.forward` names those that are to go on"
            );
        }
        inner.not_carried = not_carried;
    }

    /// Kafka's id of the target cluster, once a session began.
    pub fn target_cluster(&self) -> Option<String> {
        self.lock().target_cluster.clone()
    }

    /// The credit of the session that began.
    pub fn set_credit(&self, credit: Arc<CreditBank>) {
        self.lock().credit = Some(credit);
    }

    /// It stands elsewhere now.
    pub fn set_state(&self, state: State) {
        self.lock().state = state;
    }

    /// How far the target was behind when it was last measured.
    pub fn set_lag(&self, lag: Lag) {
        self.lock().lag = lag;
    }

    /// Each topic that is carried.
    ///
    /// # Errors
    /// On standby: another sender moves the positions, and knows them.
    pub fn topics(&self) -> Result<Vec<TopicStatus>, String> {
        let lanes = self.lanes();
        self.holder().map(|inner| inner.lag.topics(&lanes, &inner.router(&lanes)))
    }

    /// Each partition of a topic that is carried.
    ///
    /// # Errors
    /// On standby, and where there is no such topic.
    pub fn partitions(&self, topic: &str) -> Result<Vec<PartitionStatus>, String> {
        let lanes = self.lanes();
        let inner = self.holder()?;
        let partitions = inner.lag.partitions(Some(topic), &lanes, &inner.router(&lanes));
        if partitions.is_empty() {
            let left_out = inner.not_carried.iter().find(|other| other.topic == topic);
            return Err(left_out.map_or_else(
                || format!("this sender carries no topic {topic}: see `source.topics` and `source.exclude`"),
                |other| format!("{topic} is left out: link {} brought it here; see `source.forward`", other.by),
            ));
        }
        Ok(partitions)
    }

    /// What is to be expected, as of the last measurement.
    pub fn set_forecast(&self, forecast: Forecast) {
        self.lock().forecast = forecast;
    }

    /// Counters over all lanes.
    pub fn totals(&self) -> Totals {
        self.lanes().iter().fold(Totals::default(), |sum, lane| sum + lane.totals)
    }

    /// Requests of operators, from now on, for the session that just began.
    pub fn take_requests(&self) -> mpsc::Receiver<Asked> {
        let (requests, asked) = mpsc::channel(REQUESTS_MAX);
        self.lock().requests = Some(requests);
        asked
    }

    /// Asks the session to let a halted partition go on, and waits for what becomes of it: a sentence.
    ///
    /// # Errors
    /// A sentence that says why not, and what to do.
    pub async fn ask(&self, request: Request) -> Result<String, String> {
        let requests = {
            let inner = self.lock();
            match (&inner.state, inner.requests.clone()) {
                (State::Standby { behind }, _) => {
                    return Err(format!("this sender stands by: ask {behind}, which holds the link"));
                }
                (State::Active, Some(requests)) => requests,
                _ => {
                    return Err("this sender has no session, without which nothing can be stored; try again".to_owned());
                }
            }
        };
        let (answer, heard) = oneshot::channel();
        let at = transport::control::clock() / 1_000_000;
        let asked = Asked { request, at: i64::try_from(at).unwrap_or(i64::MAX), answer };
        requests.try_send(asked).map_err(|_| "too many requests are waiting; try again".to_owned())?;
        match tokio::time::timeout(ANSWER, heard).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err("the session ended before the receiver answered; ask again".to_owned()),
            Err(_) => Err(format!(
                "the receiver has not answered within {} s; `causeway status` will show what became of it",
                ANSWER.as_secs()
            )),
        }
    }

    /// Transactions at the source that have been open for long; each is logged when it is first seen.
    pub fn set_open_transactions(&self, open: Vec<OpenTransaction>) {
        let mut inner = self.lock();
        let known = |one: &OpenTransaction| {
            inner.open_transactions.iter().any(|other| (&other.topic, other.partition) == (&one.topic, one.partition))
        };
        for new in open.iter().filter(|one| !known(one)) {
            tracing::warn!(topic = new.topic, partition = new.partition, "{}", new.sentence());
        }
        inner.open_transactions = open;
    }

    /// A session began.
    pub fn begin_session(&self, channel: &quinn::Connection, welcome: &Welcome, gate: Arc<Gate>, router: Router) {
        let mut inner = self.lock();
        inner.gate = Some(gate);
        inner.router = Some(router);
        inner.state = State::Active;
        inner.receiver = Some(channel.remote_address().to_string());
        inner.target_cluster = Some(welcome.cluster_id.clone());
        inner.channels = vec![Place::of(channel)];
        inner.session_began = Some(Instant::now());
        inner.sessions += 1;
    }

    /// The session is to have so many channels.
    pub fn begin_channels(&self, count: u16) {
        self.lock().channels.resize_with(usize::from(count), Place::default);
    }

    /// A further channel stands in its place.
    pub fn join_channel(&self, place: u16, connection: &quinn::Connection) {
        if let Some(place) = self.lock().channels.get_mut(usize::from(place)) {
            place.connection = Some(connection.clone());
        }
    }

    /// It has ended.
    pub fn end_channel(&self, place: u16) {
        if let Some(place) = self.lock().channels.get_mut(usize::from(place)) {
            place.before = place.wire();
            place.connection = None;
        }
    }

    /// A further channel is dialled again.
    pub fn count_redial(&self) {
        self.lock().redials += 1;
    }

    /// A channel made no progress while others did.
    pub fn count_dead(&self) {
        self.lock().dead_channels += 1;
    }

    /// The session ended, or never began.
    pub fn end_session(&self, end: &SessionEnd) {
        let mut inner = self.lock();
        *inner.closes.entry(end.label()).or_default() += 1;
        inner.wire = inner.wire();
        inner.channels.clear();
        inner.state = State::Connecting;
        inner.receiver = None;
        inner.credit = None;
        inner.requests = None;
        inner.session_began = None;
        inner.last_end = Some(end.to_string());
    }

    /// Every lane as it is now.
    pub fn lanes(&self) -> Vec<Snapshot> {
        self.lock().lanes.iter().map(|lane| lane.snapshot()).collect()
    }

    /// Whether this sender does its part: it holds the link, or stands by behind who does. If not, why.
    pub fn ready(&self) -> Result<(), String> {
        let inner = self.lock();
        match &inner.state {
            State::Active | State::Standby { .. } => Ok(()),
            State::Connecting => Err(inner.last_end.clone().unwrap_or_else(|| "dialling the receiver".to_owned())),
            State::Starting => Err("waiting for the source cluster".to_owned()),
        }
    }

    /// Everything, at one moment.
    pub fn status(&self) -> Status {
        let (lanes, rate) = (self.lanes(), self.rates.status());
        let inner = self.lock();
        let is_standby = matches!(inner.state, State::Standby { .. });
        let channel = inner.first();
        let credit = inner.credit.as_ref().map(|credit| credit.usage());
        let status = Status {
            role: "sender",
            limited_by: Limit::default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            link: inner.link.clone(),
            instance: inner.instance.clone(),
            state: inner.state.clone(),
            trouble: inner.trouble(),
            receiver: inner.receiver.clone(),
            target_cluster: inner.target_cluster.clone(),
            session_seconds: inner.session_began.map(|began| began.elapsed().as_secs_f64()),
            sessions: inner.sessions,
            last_end: inner.last_end.clone(),
            rtt_seconds: channel.map(|channel| channel.rtt().as_secs_f64()),
            rate,
            forecast: if is_standby { Forecast::default() } else { inner.forecast.clone() },
            path: inner.measured.pulse.path.clone(),
            efficiency_ratio: inner.measured.pulse.efficiency,
            latency: inner.measured.latency.stages(),
            peer_clock: inner.measured.latency.peer_clock(),
            wire: inner.wire(),
            channels: inner.channels.iter().filter(|place| place.connection.is_some()).count(),
            channels_wanted: inner.channels.len(),
            channel_redials: inner.redials,
            dead_channels: inner.dead_channels,
            by_channel: inner.channels.iter().enumerate().map(|(number, place)| place.status(number)).collect(),
            credit_used_bytes: credit.map(|(used, _)| used),
            credit_bytes: credit.map(|(_, total)| total),
            // On standby another sender moves the positions.
            lag_records: inner.lag.records.filter(|_| !is_standby),
            totals: lanes.iter().fold(Totals::default(), |sum, lane| sum + lane.totals),
            in_flight_bytes: lanes.iter().map(|lane| lane.in_flight_bytes).sum(),
            lanes: lanes.len(),
            lanes_open: lanes.iter().filter(|lane| lane.epoch.is_some()).count(),
            lanes_closed: lanes.iter().filter_map(|lane| lane.closed.clone()).collect(),
            lane_closes: lane_closes(&lanes),
            partitions: lanes.iter().map(|lane| lane.partitions).sum(),
            source_transactions_open: inner.open_transactions.clone(),
            halted: lanes.iter().flat_map(|lane| lane.halted.iter().cloned()).collect(),
            not_carried: inner.not_carried.clone(),
            classes: inner.gate.as_ref().map(|gate| ClassStatus::all(gate, &lanes)).unwrap_or_default(),
            by_lane: lanes.iter().enumerate().map(|(number, lane)| LaneStatus::of(number, lane)).collect(),
            closes: inner.closes.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect(),
        };
        Status { limited_by: Limit::of(&inner.evidence(&status)), ..status }
    }

    /// What is known, unless another sender knows better.
    fn holder(&self) -> Result<MutexGuard<'_, Inner>, String> {
        let inner = self.lock();
        match &inner.state {
            State::Standby { behind } => Err(format!("this sender stands by: ask {behind}, which holds the link")),
            _ => Ok(inner),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lane_closes(lanes: &[Snapshot]) -> BTreeMap<String, u64> {
    let mut closes = BTreeMap::new();
    for (reason, count) in lanes.iter().flat_map(|lane| &lane.closes) {
        *closes.entry((*reason).to_owned()).or_default() += count;
    }
    closes
}

impl Inner {
    /// Where partitions go, as far as is known.
    fn router(&self, lanes: &[Snapshot]) -> Router {
        let plain = || Router::plain(u16::try_from(lanes.len().max(1)).unwrap_or(u16::MAX));
        self.router.clone().unwrap_or_else(plain)
    }

    /// The channel of the handshake, in a session.
    fn first(&self) -> Option<&quinn::Connection> {
        self.channels.first()?.connection.as_ref()
    }

    /// Of all sessions.
    fn wire(&self) -> Wire {
        self.channels.iter().fold(self.wire, |sum, place| sum.and(place.wire()))
    }

    fn trouble(&self) -> Vec<String> {
        let dark = (self.state == State::Connecting).then_some(self.last_end.as_ref()).flatten();
        self.trouble.iter().chain(&self.discovery_trouble).chain(dark).cloned().collect()
    }
}

impl LaneStatus {
    fn of(lane: usize, snapshot: &Snapshot) -> Self {
        Self {
            lane,
            epoch: snapshot.epoch.map(|epoch| epoch.0),
            partitions: snapshot.partitions,
            records: snapshot.totals.records,
            in_flight_bytes: snapshot.in_flight_bytes,
        }
    }
}

impl std::ops::Add for Totals {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            frames: self.frames + other.frames,
            records: self.records + other.records,
            raw_bytes: self.raw_bytes + other.raw_bytes,
            frame_bytes: self.frame_bytes + other.frame_bytes,
            committed_bytes: self.committed_bytes + other.committed_bytes,
        }
    }
}
