//! What a receiver is doing, on one board that the admin port reads.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use transport::budget::Budget;
use transport::clock::Clock;
use wire::units::Rate;

use crate::config::Config;
use crate::lane::Counts;
use crate::lane::attention::Halted;
use crate::lane::memory::DecodeMemory;
use crate::lane::thread::{LaneHandle, View};
use crate::link::ServedLink;
use crate::link::closes::CloseTally;
use crate::link::registry::ServedLinks;
use crate::target::state::JumpRecord;

/// The board, written by the receiver's tasks and read by anybody, and the process's clock.
#[derive(Default)]
pub struct Board(Mutex<Inner>, Clock);

#[derive(Default)]
struct Inner {
    instance: String,
    budget: Option<Budget>,
    listen: Option<SocketAddr>,
    draining: bool,
    trouble: Option<String>,
    memory: Option<Arc<DecodeMemory>>,
    refusals: Option<Arc<CloseTally>>,
    links: Option<Arc<ServedLinks>>,
}

/// A receiver at one moment; `causeway status --json` prints it and `docs/reference/status.md` describes it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Always `receiver`.
    #[serde(skip_deserializing)]
    pub role: &'static str,
    /// The version that is running.
    pub version: String,
    /// This process's instance name.
    pub instance: String,
    /// Where it listens, UDP; `null` until the target cluster answered.
    pub listen: Option<SocketAddr>,
    /// What it may send per second, in IP bits; `null` is no limit.
    pub rate_bits_per_second: Option<u64>,
    /// IP bytes that left for senders.
    pub sent_bytes: u64,
    /// What is wrong with the process as a whole, in sentences.
    pub trouble: Vec<String>,
    /// Decoded bytes that lanes hold.
    pub decode_memory_used_bytes: u64,
    /// Decoded bytes that all lanes may hold, but for the first frame of each.
    pub decode_memory_bytes: u64,
    /// How many peers were refused before they had a session, by close code.
    pub refusals: BTreeMap<String, u64>,
    /// The links it serves, by name.
    pub links: Vec<LinkStatus>,
}

/// One link at one moment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkStatus {
    /// Its name.
    pub link: String,
    /// The sender instance that holds it.
    pub sender: Option<String>,
    /// Senders that stand by.
    pub standbys: usize,
    /// Sessions since the process started.
    pub sessions: u64,
    /// How many channels the session has that holds it; 0 without one.
    pub channels: usize,
    /// Further channels that ended while their session went on.
    pub channel_ends: u64,
    /// How many lanes it has; 0 until a sender came.
    pub lanes: usize,
    /// How many of them are open.
    pub lanes_open: usize,
    /// Counters over all lanes.
    pub counts: Counts,
    /// Compressed bytes held until they are committed.
    pub held_bytes: u64,
    /// The most of them that the sender may have under way or held here: its credit.
    pub credit_bytes: u64,
    /// Why lanes stand still: what the target says to them, or that another receiver opened them.
    pub trouble: Vec<String>,
    /// Partitions whose halt is stored, at most a hundred of each lane.
    pub halted: Vec<Halted>,
    /// How many there are.
    pub halted_partitions: usize,
    /// Stored positions whose partition the sender does not offer, at most a hundred of each lane.
    pub orphaned: Vec<String>,
    /// How many there are.
    pub orphaned_positions: usize,
    /// Each lane by its number.
    pub by_lane: Vec<LaneStatus>,
    /// How often sessions ended, by close code.
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
    /// Records it has committed.
    pub records: u64,
    /// Compressed bytes it holds.
    pub held_bytes: u64,
    /// What the target says while it fails.
    pub trouble: Option<String>,
}

/// One jump of a stored position, as `GET /jumps` and `causeway jumps` show it.
#[derive(Debug, Clone, Serialize)]
pub struct JumpStatus {
    /// The link.
    pub link: String,
    /// The lane whose state it is in.
    pub lane: usize,
    /// The jump.
    #[serde(flatten)]
    pub jump: JumpRecord,
}

impl Board {
    /// The board of a receiver whose clock is another than the machine's.
    pub fn with_clock(clock: Clock) -> Self {
        Self(Mutex::default(), clock)
    }

    /// The process's clock.
    pub fn clock(&self) -> Clock {
        self.1.clone()
    }

    /// Who this is.
    pub fn introduce(&self, config: &Config, budget: Budget) {
        let mut inner = self.lock();
        inner.instance = config.instance.to_string();
        inner.budget = Some(budget);
    }

    /// The target does not answer.
    pub fn set_trouble(&self, trouble: String) {
        self.lock().trouble = Some(trouble);
    }

    /// The target answered, and the receiver listens.
    pub fn begin(
        &self,
        listen: SocketAddr,
        links: Arc<ServedLinks>,
        memory: Arc<DecodeMemory>,
        refusals: Arc<CloseTally>,
    ) {
        let mut inner = self.lock();
        inner.listen = Some(listen);
        inner.trouble = None;
        inner.links = Some(links);
        inner.memory = Some(memory);
        inner.refusals = Some(refusals);
    }

    /// The receiver takes no new work.
    pub fn drain(&self) {
        self.lock().draining = true;
    }

    /// Whether senders can be served; if not, why.
    pub fn ready(&self) -> Result<(), String> {
        let inner = self.lock();
        match (inner.listen, inner.draining) {
            (None, _) => Err("waiting for the target cluster".to_owned()),
            (_, true) => Err("draining".to_owned()),
            _ => Ok(()),
        }
    }

    /// Everything, at one moment.
    pub fn status(&self) -> Status {
        let inner = self.lock();
        let budget = inner.budget.as_ref();
        Status {
            role: "receiver",
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: inner.instance.clone(),
            listen: inner.listen,
            rate_bits_per_second: budget.and_then(Budget::rate).map(Rate::bits_per_second),
            sent_bytes: budget.map_or(0, |budget| budget.usage().wire_bytes),
            trouble: inner.trouble.iter().cloned().collect(),
            decode_memory_used_bytes: inner.memory.as_ref().map_or(0, |memory| memory.held()),
            decode_memory_bytes: inner.memory.as_ref().map_or(0, |memory| memory.limit()),
            refusals: inner.refusals.as_ref().map(|refusals| refusals.counts()).unwrap_or_default(),
            links: inner.links.iter().flat_map(|links| links.all()).map(|link| LinkStatus::of(&link)).collect(),
        }
    }

    /// The newest jumps of every link, in order of link, lane and number.
    pub fn jumps(&self) -> Vec<JumpStatus> {
        let links = self.lock().links.clone();
        let of_link = |link: Arc<ServedLink>| {
            let (_, _, lanes) = link.overview();
            let name = link.settings().name.clone();
            let of_lane = |lane: (usize, LaneHandle)| {
                let standing = Arc::clone(&lane.1.view.lock().unwrap_or_else(PoisonError::into_inner).standing);
                let name = name.clone();
                let jumps = standing.jumps.values().cloned().collect::<Vec<_>>();
                jumps.into_iter().map(move |jump| JumpStatus { link: name.clone(), lane: lane.0, jump })
            };
            lanes.into_iter().enumerate().flat_map(of_lane).collect::<Vec<_>>()
        };
        links.iter().flat_map(|links| links.all()).flat_map(of_link).collect()
    }

    /// Which sender holds each link, for those who ask the wrong process.
    pub fn holders(&self) -> String {
        let links = self.lock().links.clone();
        let holder = |link: Arc<ServedLink>| {
            let sender = link.overview().0.map_or_else(|| "nobody".to_owned(), |active| active.instance);
            format!("{} is held by {sender}", link.settings().name)
        };
        links.iter().flat_map(|links| links.all()).map(holder).collect::<Vec<_>>().join(", ")
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LinkStatus {
    fn of(link: &ServedLink) -> Self {
        let (active, standbys, lanes) = link.overview();
        let settings = link.settings();
        let views: Vec<View> =
            lanes.iter().map(|lane| lane.view.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect();
        Self {
            link: settings.name.clone(),
            sender: active.map(|active| active.instance),
            standbys,
            sessions: link.sessions(),
            channels: link.channels(),
            channel_ends: link.channel_ends(),
            lanes: views.len(),
            lanes_open: views.iter().filter(|view| view.epoch.is_some()).count(),
            counts: views.iter().fold(Counts::default(), |sum, view| sum + view.counts),
            held_bytes: views.iter().map(|view| view.held_bytes).sum(),
            credit_bytes: settings.credit_bytes,
            trouble: views.iter().filter_map(|view| view.trouble.clone()).collect(),
            halted: views.iter().flat_map(|view| view.standing.halted.iter().cloned()).collect(),
            halted_partitions: views.iter().map(|view| view.standing.halted_count).sum(),
            orphaned: views.iter().flat_map(|view| view.standing.orphaned.iter().cloned()).collect(),
            orphaned_positions: views.iter().map(|view| view.standing.orphaned_count).sum(),
            by_lane: views.into_iter().enumerate().map(|(lane, view)| LaneStatus::of(lane, view)).collect(),
            closes: link.closes.counts(),
        }
    }
}

impl LaneStatus {
    fn of(lane: usize, view: View) -> Self {
        Self {
            lane,
            epoch: view.epoch.map(|epoch| epoch.0),
            records: view.counts.records,
            held_bytes: view.held_bytes,
            trouble: view.trouble,
        }
    }
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            records: self.records + other.records,
            bytes: self.bytes + other.bytes,
            transactions: self.transactions + other.transactions,
            holes: self.holes + other.holes,
            recoveries: self.recoveries + other.recoveries,
            replayed: self.replayed + other.replayed,
            frames_dropped: self.frames_dropped + other.frames_dropped,
            runs_dropped: self.runs_dropped + other.runs_dropped,
            halts: self.halts + other.halts,
            jumps: self.jumps + other.jumps,
            moves: self.moves + other.moves,
            timestamps_altered: self.timestamps_altered + other.timestamps_altered,
        }
    }
}
