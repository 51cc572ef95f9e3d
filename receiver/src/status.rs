//! What a receiver is doing, on one board that the admin port reads.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::config::Config;
use crate::lane::Counts;
use crate::lane_thread::View;
use crate::served_link::ServedLink;

/// The board; written by the receiver's tasks, read by anybody.
#[derive(Default)]
pub struct Board(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    instance: String,
    listen: Option<SocketAddr>,
    draining: bool,
    links: Vec<Arc<ServedLink>>,
}

/// A receiver at one moment; `causeway status --json` prints it.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Always `receiver`.
    pub role: &'static str,
    /// This process's instance name.
    pub instance: String,
    /// Where it listens, UDP.
    pub listen: Option<SocketAddr>,
    /// The links it serves, by name.
    pub links: Vec<LinkStatus>,
}

/// One link at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct LinkStatus {
    /// Its name.
    pub link: String,
    /// The sender instance that holds it.
    pub sender: Option<String>,
    /// Senders that stand by.
    pub standbys: usize,
    /// How many lanes it has; 0 until a sender came.
    pub lanes: usize,
    /// How many of them are open.
    pub lanes_open: usize,
    /// Counters over all lanes.
    pub counts: Counts,
    /// Compressed bytes held until they are committed.
    pub held_bytes: u64,
    /// Why lanes stand still: what the target says to them, or that another receiver opened them.
    pub trouble: Vec<String>,
}

impl Board {
    /// The receiver listens.
    pub fn begin(&self, config: &Config, listen: SocketAddr, mut links: Vec<Arc<ServedLink>>) {
        links.sort_by(|a, b| a.settings.name.cmp(&b.settings.name));
        let mut inner = self.lock();
        inner.instance = config.instance.to_string();
        inner.listen = Some(listen);
        inner.links = links;
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
        Status {
            role: "receiver",
            instance: inner.instance.clone(),
            listen: inner.listen,
            links: inner.links.iter().map(|link| LinkStatus::of(link)).collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LinkStatus {
    fn of(link: &ServedLink) -> Self {
        let (active, standbys, lanes) = link.overview();
        let views: Vec<View> =
            lanes.iter().map(|lane| lane.view.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect();
        Self {
            link: link.settings.name.clone(),
            sender: active.map(|active| active.instance),
            standbys,
            lanes: views.len(),
            lanes_open: views.iter().filter(|view| view.epoch.is_some()).count(),
            counts: views.iter().fold(Counts::default(), |sum, view| sum + view.counts),
            held_bytes: views.iter().map(|view| view.held_bytes).sum(),
            trouble: views.into_iter().filter_map(|view| view.trouble).collect(),
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
        }
    }
}
