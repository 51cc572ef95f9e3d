//! A link as this receiver serves it: its lanes, which outlive sessions, and the session that may send.

pub(crate) mod arbiter;
pub(crate) mod condition;
pub(crate) mod left_out;
pub(crate) mod refused_topics;
pub(crate) mod registry;
pub mod state_topic;
pub(crate) mod weaker;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::thread::JoinHandle;
use std::time::Instant;

use kafka::KafkaError;
use kafka::catalog::Catalog;
use service::lock::Lock;
use service::status::Tally;
use service::topics::TopicFilter;
use tokio::sync::{mpsc, oneshot};
use wire::close::{Close, CloseCode};
use wire::control::CreditTerms;
use wire::error::PeerIncompatible;
use wire::ids::LaneId;
use wire::lanes::{ClassRequest, ClassTable};

use crate::config::{Rename, derived};
use crate::lane::thread::{Command, LaneHandle};
use crate::lane::{OpenError, Terms};
use crate::link::arbiter::{Arbiter, Candidate, SessionId, Verdict};
use crate::link::condition::LinkCondition;
use crate::link::left_out::LeftOut;
use crate::link::refused_topics::RefusedTopics;
use crate::link::state_topic::StateTopicError;
use crate::link::weaker::WeakerTopics;

pub(crate) type StartLane = dyn Fn(&str, LaneId) -> Result<(LaneHandle, JoinHandle<()>), KafkaError> + Send + Sync;

#[derive(Debug, Clone, PartialEq)]
pub struct LinkSettings {
    pub name: String,
    /// Names of which a sender's certificate must contain at least one.
    pub senders: Vec<String>,
    /// Source topics that the link may carry.
    pub topics: TopicFilter,
    /// Rule for the names of its topics in the target.
    pub rename: Rename,
    /// True if a created topic gets the source topic's configuration.
    pub copy_configs: bool,
    /// Replication factor of created topics; `None` for the cluster's default.
    pub replication: Option<i32>,
    /// Compressed bytes of the frames that may be unacknowledged.
    pub credit_bytes: u64,
    /// Id of a rebuilt source or target cluster that takes the place of the stored one.
    pub accept_cluster: Option<String>,
}

pub struct ServedLink {
    pub catalog: Arc<dyn Catalog>,
    /// Counts of its ended sessions, by close code.
    pub closes: Lock<Tally>,
    pub counts: SessionCounts,
    /// Settings that its created topics lack.
    pub left_out: Arc<LeftOut>,
    /// Topics whose target topics the cluster refuses.
    pub refused_topics: Arc<RefusedTopics>,
    /// Reason why the stored state refused the last session; `None` once a lane was opened.
    pub refused: Lock<Option<String>>,
    /// Target topics that delete earlier or accept less than their source topics.
    pub weaker: WeakerTopics,
    pub(crate) condition: LinkCondition,
    start_lane: Arc<StartLane>,
    inner: Lock<Inner>,
}

#[derive(Debug, Default)]
pub struct SessionCounts {
    /// Sessions that got the link since the process started.
    pub begun: AtomicU64,
    pub channels: AtomicUsize,
    /// Extra channels that ended while their session continued.
    pub channel_ends: AtomicU64,
}

/// Sessions and lanes of a link at one moment.
pub struct Overview {
    pub sender: Option<String>,
    pub standbys: usize,
    pub lanes: Vec<LaneHandle>,
}

struct Inner {
    /// Replaced as a whole: a session compares pointers to learn whether its settings are still in effect.
    settings: Arc<LinkSettings>,
    /// Set when the receiver stops serving the link.
    dismissed: bool,
    arbiter: Arbiter,
    sessions: HashMap<SessionId, mpsc::Sender<Verdict>>,
    lanes: Vec<LaneHandle>,
    threads: Vec<JoinHandle<()>>,
}

impl ServedLink {
    /// Makes a link without lanes; the first session states their number.
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
            closes: Lock::default(),
            counts: SessionCounts::default(),
            left_out: Arc::default(),
            refused_topics: Arc::default(),
            refused: Lock::default(),
            weaker: WeakerTopics::default(),
            condition: LinkCondition::default(),
            start_lane,
            inner: Lock::new(inner),
        }
    }

    pub fn settings(&self) -> Arc<LinkSettings> {
        Arc::clone(&self.inner.lock().settings)
    }

    /// Applies new settings; sessions that began with other ones end.
    pub fn change(&self, settings: LinkSettings) {
        let mut inner = self.inner.lock();
        if *inner.settings != settings {
            tracing::info!(link = settings.name, "link changed; its sessions restart");
            inner.settings = Arc::new(settings);
            inner.end_sessions(&changed());
        }
    }

    /// Ends every session of the link.
    pub fn end_sessions(&self, close: &Close) {
        self.inner.lock().end_sessions(close);
    }

    pub fn dismiss(&self) {
        let mut inner = self.inner.lock();
        tracing::info!(link = inner.settings.name, "link is removed from the configuration");
        inner.dismissed = true;
        inner.settings = Arc::new(LinkSettings::clone(&inner.settings));
        inner.end_sessions(&changed());
    }

    /// Takes the request of a sender whose hello was checked against `settings`; `verdicts` receives the decisions
    /// about it.
    pub fn handle_hello(&self, candidate: Candidate, settings: &Arc<LinkSettings>, verdicts: mpsc::Sender<Verdict>) {
        let mut inner = self.inner.lock();
        let session = candidate.session;
        inner.sessions.insert(session, verdicts);
        if !Arc::ptr_eq(&inner.settings, settings) {
            return inner.dispatch(vec![Verdict::End { session, close: changed() }]);
        }
        let decided = inner.arbiter.handle_hello(Instant::now(), candidate);
        inner.dispatch(decided);
    }

    pub fn handle_end(&self, session: SessionId) {
        let mut inner = self.inner.lock();
        inner.sessions.remove(&session);
        let decided = inner.arbiter.handle_end(session);
        inner.dispatch(decided);
    }

    /// Makes the state topic and the lanes ready for a session of `terms`, which have the default class only, and for
    /// the other classes that it requests. Returns the lanes, and which of them each class has. Blocks on the target.
    pub fn prepare(
        &self,
        terms: &Arc<Terms>,
        requests: &[ClassRequest],
    ) -> Result<(Vec<LaneHandle>, ClassTable), StateTopicError> {
        let settings = self.settings();
        let lanes = terms.classes.lanes();
        terms.ensure_target(&self.catalog.cluster_id()?)?;
        let partitions = state_topic::prepare(&*self.catalog, &settings.name, lanes, settings.replication)?;
        let classes = if requests.is_empty() && partitions == i32::from(lanes) {
            terms.classes.clone()
        } else {
            self.append_classes(terms, requests)?
        };
        state_topic::fit(&*self.catalog, &settings.name, partitions, &classes)?;
        Ok((self.start_lanes(classes.lanes())?, classes))
    }

    /// Asks lane 0, which decides about the lanes of classes.
    fn append_classes(&self, terms: &Arc<Terms>, requests: &[ClassRequest]) -> Result<ClassTable, StateTopicError> {
        let gone = || StateTopicError::from(Close::new(CloseCode::Internal, "lane 0 has ended"));
        let lanes = self.start_lanes(terms.classes.lanes())?;
        let (answer, answered) = oneshot::channel();
        let command = Command::Classes { terms: Arc::clone(terms), requests: requests.to_vec(), answer };
        lanes.first().and_then(|lane| lane.mailbox.push(command).ok()).ok_or_else(gone)?;
        match answered.blocking_recv() {
            Ok(Ok(classes)) => Ok(classes),
            Ok(Err(OpenError::Target(error))) => Err(error.into()),
            Ok(Err(OpenError::Refused(close))) => Err(close.into()),
            Err(_) => Err(gone()),
        }
    }

    /// Returns the first `lanes` lanes, and starts those that do not run yet.
    fn start_lanes(&self, lanes: u16) -> Result<Vec<LaneHandle>, StateTopicError> {
        let mut inner = self.inner.lock();
        if inner.dismissed {
            return Err(Close::from(PeerIncompatible::LinkUnknown).into());
        }
        for lane in inner.lanes.len()..usize::from(lanes) {
            let (handle, thread) = (self.start_lane)(&inner.settings.name, LaneId(lane as u16))?;
            inner.lanes.push(handle);
            inner.threads.push(thread);
        }
        Ok(inner.lanes[..usize::from(lanes)].to_vec())
    }

    /// The credit of a session with `lanes` lanes: a reserve for each, and a pool of the rest.
    pub fn credit(&self, lanes: u16) -> CreditTerms {
        derived::credit_terms(self.settings().credit_bytes, lanes)
    }

    /// Returns whether another session stands by for the link.
    pub fn has_standby(&self) -> bool {
        self.inner.lock().arbiter.standbys() > 0
    }

    /// Returns the link's sessions and lanes, for `status`.
    pub fn overview(&self) -> Overview {
        let inner = self.inner.lock();
        let sender = inner.arbiter.active().map(|active| active.instance.clone());
        Overview { sender, standbys: inner.arbiter.standbys(), lanes: inner.lanes.clone() }
    }

    /// Stops the lanes, after they have committed their frames without a gap. Blocks until then.
    pub fn stop(&self) {
        let threads = {
            let mut inner = self.inner.lock();
            inner.stop_lanes();
            std::mem::take(&mut inner.threads)
        };
        for thread in threads {
            let _ = thread.join();
        }
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
                // A session that does not take its few verdicts has ended; its end will be reported.
                let _ = sender.try_send(verdict);
            }
        }
    }

    fn end_sessions(&mut self, close: &Close) {
        let end = |&session| Verdict::End { session, close: close.clone() };
        let verdicts = self.sessions.keys().map(end).collect();
        self.dispatch(verdicts);
    }

    fn stop_lanes(&mut self) {
        for lane in self.lanes.drain(..) {
            let _ = lane.mailbox.push(Command::Stop);
        }
    }
}

/// Returns the close of a session that must restart.
fn changed() -> Close {
    Close::normal("the receiver's configuration of this link changed")
}
