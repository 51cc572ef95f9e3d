//! What a sender is doing, on one board that the admin port reads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;
use wire::control::Welcome;

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
    session_began: Option<Instant>,
    sessions: u64,
    last_end: Option<String>,
    lag: Option<Lag>,
    lanes: Vec<Arc<Progress>>,
}

/// Where a sender stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
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

/// A sender at one moment; `causeway status --json` prints it.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Always `sender`.
    pub role: &'static str,
    /// The link's name.
    pub link: String,
    /// This process's instance name.
    pub instance: String,
    /// Where it stands.
    pub state: State,
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
    /// UDP payload bytes sent in this session.
    pub wire_bytes: Option<u64>,
    /// Source high watermarks less committed positions; holes count. `null` until measured.
    pub lag_records: Option<u64>,
    /// Counters over all lanes.
    pub totals: Totals,
    /// Credit in use by frames that are not acked, in bytes.
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
}

impl Board {
    /// The sender has its lanes.
    pub fn begin(&self, config: &Config, lanes: Vec<Arc<Progress>>) {
        let mut inner = self.lock();
        inner.link = config.link.to_string();
        inner.instance = config.instance.to_string();
        inner.lanes = lanes;
    }

    /// It stands elsewhere now.
    pub fn set_state(&self, state: State) {
        self.lock().state = state;
    }

    /// How far the target was behind when it was last measured.
    pub fn set_lag(&self, lag: Lag) {
        self.lock().lag = Some(lag);
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

    /// The session ended.
    pub fn end_session(&self, end: &SessionEnd) {
        let mut inner = self.lock();
        inner.state = State::Connecting;
        inner.receiver = None;
        inner.channel = None;
        inner.session_began = None;
        inner.last_end = Some(end.to_string());
    }

    /// Every lane as it is now.
    pub fn lanes(&self) -> Vec<Snapshot> {
        self.lock().lanes.iter().map(|lane| lane.snapshot()).collect()
    }

    /// Whether records can flow; if not, why.
    pub fn ready(&self) -> Result<(), String> {
        let inner = self.lock();
        match &inner.state {
            State::Active => Ok(()),
            State::Standby { behind } => Err(format!("standing by behind {behind}")),
            State::Connecting => Err(inner.last_end.clone().unwrap_or_else(|| "dialling the receiver".to_owned())),
            State::Starting => Err("waiting for the source cluster".to_owned()),
        }
    }

    /// Everything, at one moment.
    pub fn status(&self) -> Status {
        let lanes = self.lanes();
        let inner = self.lock();
        let channel = inner.channel.as_ref();
        Status {
            role: "sender",
            link: inner.link.clone(),
            instance: inner.instance.clone(),
            state: inner.state.clone(),
            receiver: inner.receiver.clone(),
            target_cluster: inner.target_cluster.clone(),
            session_seconds: inner.session_began.map(|began| began.elapsed().as_secs_f64()),
            sessions: inner.sessions,
            last_end: inner.last_end.clone(),
            rtt_seconds: channel.map(|channel| channel.rtt().as_secs_f64()),
            wire_bytes: channel.map(|channel| channel.stats().udp_tx.bytes),
            lag_records: inner.lag.map(|lag| lag.records),
            totals: lanes.iter().fold(Totals::default(), |sum, lane| sum + lane.totals),
            in_flight_bytes: lanes.iter().map(|lane| lane.in_flight_bytes).sum(),
            lanes: lanes.len(),
            lanes_open: lanes.iter().filter(|lane| lane.epoch.is_some()).count(),
            lanes_closed: lanes.iter().filter_map(|lane| lane.closed.clone()).collect(),
            partitions: lanes.iter().map(|lane| lane.committed.len()).sum(),
            halted: lanes.into_iter().flat_map(|lane| lane.halted).collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
