//! One link as this receiver serves it: its lanes, which outlive sessions, and who may send.

pub mod arbiter;
pub mod closes;
pub mod registry;
pub mod state_topic;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use kafka::KafkaError;
use kafka::catalog::Catalog;
use service::topics::TopicFilter;
use tokio::sync::{mpsc, oneshot};
use wire::close::CloseCode;
use wire::control::CreditTerms;
use wire::error::PeerIncompatible;
use wire::ids::LaneId;
use wire::lanes::{ClassRequest, ClassTable};

use crate::config::Rename;
use crate::config::derived;
use crate::lane::thread::{Command, LaneHandle};
use crate::lane::{OpenError, Terms};
use crate::link::arbiter::{Arbiter, Candidate, SessionId, Verdict};
use crate::link::closes::CloseTally;
use crate::link::state_topic::StateTopicError;

/// Starts the thread of one lane.
pub type StartLane = dyn Fn(&str, LaneId) -> Result<(LaneHandle, JoinHandle<()>), KafkaError> + Send + Sync;

/// What a link is configured with.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkSettings {
    /// Its name.
    pub name: String,
    /// The names, any of which a sender's certificate must be valid for.
    pub senders: Vec<String>,
    /// What it may carry.
    pub topics: TopicFilter,
    /// What its topics are called here.
    pub rename: Rename,
    /// Whether a created topic gets the source topic's configuration.
    pub copy_configs: bool,
    /// Replication factor of topics it creates; `None` for the cluster's default.
    pub replication: Option<i32>,
    /// Compressed bytes that its frames may take.
    pub credit_bytes: u64,
}

/// One link.
pub struct ServedLink {
    /// The target cluster.
    pub catalog: Arc<dyn Catalog>,
    /// How its sessions ended.
    pub closes: CloseTally,
    sessions: AtomicU64,
    channels: AtomicUsize,
    channel_ends: AtomicU64,
    start_lane: Arc<StartLane>,
    inner: Mutex<Inner>,
}

struct Inner {
    /// Replaced as a whole: a session knows by it whether it began with what holds now.
    settings: Arc<LinkSettings>,
    /// The receiver serves it no more.
    dismissed: bool,
    arbiter: Arbiter,
    sessions: HashMap<SessionId, mpsc::Sender<Verdict>>,
    lanes: Vec<LaneHandle>,
    threads: Vec<JoinHandle<()>>,
}

impl ServedLink {
    /// A link without lanes yet: the first session says how many it has.
    pub fn new(settings: LinkSettings, catalog: Arc<dyn Catalog>, start_lane: Arc<StartLane>) -> Self {
        let inner = Inner {
            settings: Arc::new(settings),
            dismissed: false,
            arbiter: Arbiter::default(),
            sessions: HashMap::new(),
            lanes: Vec::new(),
            threads: Vec::new(),
        };
        Self {
            catalog,
            closes: CloseTally::default(),
            sessions: AtomicU64::new(0),
            channels: AtomicUsize::new(0),
            channel_ends: AtomicU64::new(0),
            start_lane,
            inner: Mutex::new(inner),
        }
    }

    /// What it is configured with now.
    pub fn settings(&self) -> Arc<LinkSettings> {
        Arc::clone(&self.lock().settings)
    }

    /// From now on it is configured with `settings`; sessions that began with others end.
    pub fn change(&self, settings: LinkSettings) {
        let mut inner = self.lock();
        if *inner.settings != settings {
            tracing::info!(link = settings.name, "link changed; its sessions begin again");
            inner.settings = Arc::new(settings);
            inner.end_sessions();
        }
    }

    /// It is served no more.
    pub fn dismiss(&self) {
        let mut inner = self.lock();
        tracing::info!(link = inner.settings.name, "link is served no more");
        inner.dismissed = true;
        inner.settings = Arc::new(LinkSettings::clone(&inner.settings));
        inner.end_sessions();
    }

    /// A sender whose hello was checked against `settings` asks for the link; `verdicts` hears what becomes
    /// of it, now and later.
    pub fn handle_hello(&self, candidate: Candidate, settings: &Arc<LinkSettings>, verdicts: mpsc::Sender<Verdict>) {
        let mut inner = self.lock();
        let session = candidate.session;
        inner.sessions.insert(session, verdicts);
        if !Arc::ptr_eq(&inner.settings, settings) {
            return inner.dispatch(vec![changed(session)]);
        }
        let decided = inner.arbiter.handle_hello(Instant::now(), candidate);
        inner.dispatch(decided);
    }

    /// A session ended, whatever it was.
    pub fn handle_end(&self, session: SessionId) {
        let mut inner = self.lock();
        inner.sessions.remove(&session);
        let decided = inner.arbiter.handle_end(session);
        inner.dispatch(decided);
    }

    /// Makes the state topic and the lanes ready for a session of `terms`, which know the default class only, with
    /// the classes that it needs beside that. Says which lanes every class has. Blocks on the target cluster.
    pub fn prepare(
        &self,
        terms: &Arc<Terms>,
        wishes: &[ClassRequest],
    ) -> Result<(Vec<LaneHandle>, ClassTable), StateTopicError> {
        let settings = self.settings();
        let lanes = terms.classes.lanes();
        let partitions = state_topic::prepare(&*self.catalog, &settings.name, lanes, settings.replication)?;
        let classes = if wishes.is_empty() && partitions == i32::from(lanes) {
            terms.classes.clone()
        } else {
            self.append_classes(terms, wishes)?
        };
        state_topic::fit(&*self.catalog, &settings.name, partitions, &classes)?;
        Ok((self.start_lanes(classes.lanes())?, classes))
    }

    /// Asks lane 0, which has the last word on lanes.
    fn append_classes(&self, terms: &Arc<Terms>, wishes: &[ClassRequest]) -> Result<ClassTable, StateTopicError> {
        let gone = || StateTopicError::Refused { code: CloseCode::Internal, detail: "lane 0 has ended".to_owned() };
        let lanes = self.start_lanes(terms.classes.lanes())?;
        let (answer, answered) = oneshot::channel();
        let command = Command::Classes { terms: Arc::clone(terms), wishes: wishes.to_vec(), answer };
        lanes.first().and_then(|lane| lane.mailbox.push(command).ok()).ok_or_else(gone)?;
        match answered.blocking_recv() {
            Ok(Ok(classes)) => Ok(classes),
            Ok(Err(OpenError::Target(error))) => Err(error.into()),
            Ok(Err(OpenError::Refused { code, detail })) => Err(StateTopicError::Refused { code, detail }),
            Err(_) => Err(gone()),
        }
    }

    /// At least `lanes` lanes.
    fn start_lanes(&self, lanes: u16) -> Result<Vec<LaneHandle>, StateTopicError> {
        let mut inner = self.lock();
        if inner.dismissed {
            let detail = PeerIncompatible::LinkUnknown.to_string();
            return Err(StateTopicError::Refused { code: CloseCode::LinkUnknown, detail });
        }
        for lane in inner.lanes.len()..usize::from(lanes) {
            let (handle, thread) = (self.start_lane)(&inner.settings.name, LaneId(lane as u16))?;
            inner.lanes.push(handle);
            inner.threads.push(thread);
        }
        Ok(inner.lanes[..usize::from(lanes)].to_vec())
    }

    /// The credit of a session with `lanes` lanes: a reserve each, and a pool of what is left.
    pub fn credit(&self, lanes: u16) -> CreditTerms {
        derived::credit_terms(self.settings().credit_bytes, lanes)
    }

    /// A session took the link.
    pub fn handle_begin(&self) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
    }

    /// How many sessions took the link since the process started.
    pub fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::Relaxed)
    }

    /// The session that holds the link has so many channels.
    pub fn set_channels(&self, channels: usize) {
        self.channels.store(channels, Ordering::Relaxed);
    }

    /// How many channels the session has that holds the link.
    pub fn channels(&self) -> usize {
        self.channels.load(Ordering::Relaxed)
    }

    /// A further channel ended and its session went on.
    pub fn count_channel_end(&self) {
        self.channel_ends.fetch_add(1, Ordering::Relaxed);
    }

    /// How many did since the process started.
    pub fn channel_ends(&self) -> u64 {
        self.channel_ends.load(Ordering::Relaxed)
    }

    /// Whether somebody waits for the link.
    pub fn has_standby(&self) -> bool {
        self.lock().arbiter.standbys() > 0
    }

    /// Who holds the link, who waits, and the lanes, for `status`.
    pub fn overview(&self) -> (Option<Candidate>, usize, Vec<LaneHandle>) {
        let inner = self.lock();
        (inner.arbiter.active().cloned(), inner.arbiter.standbys(), inner.lanes.clone())
    }

    /// Lets the lanes commit what they hold without a gap, and waits for their threads. Blocks.
    pub fn stop(&self) {
        let threads = {
            let mut inner = self.lock();
            inner.stop_lanes();
            std::mem::take(&mut inner.threads)
        };
        for thread in threads {
            let _ = thread.join();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn dispatch(&mut self, verdicts: Vec<Verdict>) {
        for verdict in verdicts {
            let session = match &verdict {
                Verdict::Activate(session) => session,
                Verdict::StandBy { session, .. } | Verdict::End { session, .. } => session,
            };
            if let Some(sender) = self.sessions.get(session) {
                // A session that does not take its few verdicts is gone; its end will be reported.
                let _ = sender.try_send(verdict);
            }
        }
    }

    fn end_sessions(&mut self) {
        let verdicts = self.sessions.keys().copied().map(changed).collect();
        self.dispatch(verdicts);
    }

    fn stop_lanes(&mut self) {
        for lane in self.lanes.drain(..) {
            let _ = lane.mailbox.push(Command::Stop);
        }
    }
}

/// A session that is to begin again.
fn changed(session: SessionId) -> Verdict {
    let detail = "the receiver's configuration of this link changed".to_owned();
    Verdict::End { session, code: CloseCode::Normal, detail }
}
