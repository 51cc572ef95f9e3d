//! What a sender is doing, on one board that the admin port reads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use wire::control::Welcome;

use crate::bank::CreditBank;
use crate::config::Config;
use crate::discovery::Lag;
use crate::progress::{Closed, Halted, Progress, Snapshot, Totals};
use crate::session::SessionEnd;

/// The board; written by the sender's tasks, read by anybody.
#[derive(Debug, Default)]
pub struct Board(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    link: String,
    instance: String,
    state: State,
    receiver: Option<String>,
    target_cluster: Option<String>,
    channel: Option<quinn::Connection>,
    credit: Option<Arc<CreditBank>>,
    session_began: Option<Instant>,
    sessions: u64,
    /// Of the sessions before this one.
    wire: Wire,
    closes: BTreeMap<&'static str, u64>,
    trouble: Option<String>,
    last_end: Option<String>,
    lag: Option<Lag>,
    lanes: Vec<Arc<Progress>>,
}

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

/// A sender at one moment; `causeway status --json` prints it and `docs/metrics.md` describes it.
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
    /// What crossed the path in all sessions of this process.
    pub wire: Wire,
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
    /// How many partitions are being read.
    pub partitions: usize,
    /// Partitions that an error stopped.
    pub halted: Vec<Halted>,
    /// Each lane by its number.
    pub by_lane: Vec<LaneStatus>,
    /// How often sessions and attempts at one ended, by close code; `LOST` and `BARRED` where there
    /// was none.
    pub closes: BTreeMap<String, u64>,
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

/// UDP payloads of all sessions, as QUIC counts them: headers, acks, retransmissions and handshakes
/// included, IP and UDP headers not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wire {
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Packets sent that QUIC believes lost.
    pub lost_packets: u64,
}

impl Wire {
    fn plus(self, channel: Option<&quinn::Connection>) -> Self {
        let Some(stats) = channel.map(quinn::Connection::stats) else { return self };
        Self {
            sent_bytes: self.sent_bytes + stats.udp_tx.bytes,
            received_bytes: self.received_bytes + stats.udp_rx.bytes,
            sent_packets: self.sent_packets + stats.path.sent_packets,
            lost_packets: self.lost_packets + stats.path.lost_packets,
        }
    }
}

impl Board {
    /// Who this is.
    pub fn introduce(&self, config: &Config) {
        let mut inner = self.lock();
        inner.link = config.link.to_string();
        inner.instance = config.instance.to_string();
    }

    /// The sender has its lanes.
    pub fn begin(&self, lanes: Vec<Arc<Progress>>) {
        self.lock().lanes = lanes;
    }

    /// The source does not answer, or answers again.
    pub fn set_trouble(&self, trouble: Option<String>) {
        self.lock().trouble = trouble;
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
    pub fn set_lag(&self, lag: Option<Lag>) {
        self.lock().lag = lag;
    }

    /// A session began.
    pub fn begin_session(&self, channel: &quinn::Connection, welcome: &Welcome) {
        let mut inner = self.lock();
        inner.state = State::Active;
        inner.receiver = Some(channel.remote_address().to_string());
        inner.target_cluster = Some(welcome.cluster_id.clone());
        inner.channel = Some(channel.clone());
        inner.session_began = Some(Instant::now());
        inner.sessions += 1;
    }

    /// The session ended, or never began.
    pub fn end_session(&self, end: &SessionEnd) {
        let mut inner = self.lock();
        let code = match end {
            SessionEnd::Drained => "DRAINED",
            SessionEnd::Closed { code, .. } => code.name(),
            SessionEnd::Lost(_) => "LOST",
            SessionEnd::Barred(_) => "BARRED",
        };
        *inner.closes.entry(code).or_default() += 1;
        inner.wire = inner.wire.plus(inner.channel.take().as_ref());
        inner.state = State::Connecting;
        inner.receiver = None;
        inner.credit = None;
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
        let lanes = self.lanes();
        let inner = self.lock();
        let channel = inner.channel.as_ref();
        let credit = inner.credit.as_ref().map(|credit| credit.usage());
        Status {
            role: "sender",
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
            wire: inner.wire.plus(channel),
            credit_used_bytes: credit.map(|(used, _)| used),
            credit_bytes: credit.map(|(_, total)| total),
            // On standby another sender moves the positions.
            lag_records: inner.lag.filter(|_| !matches!(inner.state, State::Standby { .. })).map(|lag| lag.records),
            totals: lanes.iter().fold(Totals::default(), |sum, lane| sum + lane.totals),
            in_flight_bytes: lanes.iter().map(|lane| lane.in_flight_bytes).sum(),
            lanes: lanes.len(),
            lanes_open: lanes.iter().filter(|lane| lane.epoch.is_some()).count(),
            lanes_closed: lanes.iter().filter_map(|lane| lane.closed.clone()).collect(),
            partitions: lanes.iter().map(|lane| lane.partitions).sum(),
            halted: lanes.iter().flat_map(|lane| lane.halted.iter().cloned()).collect(),
            by_lane: lanes.iter().enumerate().map(|(number, lane)| LaneStatus::of(number, lane)).collect(),
            closes: inner.closes.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn trouble(&self) -> Vec<String> {
        let dark = (self.state == State::Connecting).then_some(self.last_end.as_ref()).flatten();
        self.trouble.iter().chain(dark).cloned().collect()
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
        }
    }
}
