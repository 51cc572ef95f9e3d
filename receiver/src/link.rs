//! A link as this receiver serves it: its lanes, which outlive sessions, and the session that may send.

pub(crate) mod acls;
pub(crate) mod announced;
pub(crate) mod arbiter;
pub(crate) mod blocking;
pub(crate) mod condition;
pub(crate) mod following;
pub(crate) mod foreign;
pub(crate) mod incoming_rate;
pub(crate) mod left_out;
pub(crate) mod limits;
pub(crate) mod map_topic;
pub(crate) mod own_store;
pub(crate) mod promotion;
pub(crate) mod refused_topics;
pub(crate) mod registry;
pub(crate) mod source_ends;
pub mod state_topic;
pub(crate) mod weaker;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

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

use crate::config::principals::AclRules;
use crate::config::{GroupRename, Rename, derived};
use crate::groups::board::GroupBoard;
use crate::lane::handle::{Command, LaneHandle};
use crate::lane::{OpenError, Terms};
use crate::link::acls::board::AclBoard;
use crate::link::announced::Announced;
use crate::link::arbiter::{Arbiter, Candidate, SessionId, Verdict};
use crate::link::blocking::Blocking;
use crate::link::condition::LinkCondition;
use crate::link::following::follower::Following;
use crate::link::following::rule::FollowConfigs;
use crate::link::foreign::watch::ForeignWatch;
use crate::link::incoming_rate::IncomingRate;
use crate::link::left_out::LeftOut;
use crate::link::limits::LinkLimits;
use crate::link::map_topic::MapTopic;
use crate::link::promotion::board::PromotionBoard;
use crate::link::refused_topics::RefusedTopics;
use crate::link::source_ends::SourceEnds;
use crate::link::state_topic::StateTopicError;
use crate::link::weaker::WeakerTopics;
use crate::session::ledger::Ledger;

/// Time for which a session waits for lane 0 before it begins.
const INTENT_WITHIN: Duration = Duration::from_secs(3);
/// Interval at which a stop looks whether the lanes have ended.
const STOP_STEP: Duration = Duration::from_millis(5);

pub(crate) type StartLane = dyn Fn(&LinkSettings, LaneId) -> Result<LaneHandle, KafkaError> + Send + Sync;

#[derive(Debug, Clone, PartialEq)]
pub struct LinkSettings {
    pub name: String,
    /// Names of which a sender's certificate must contain at least one.
    pub senders: Vec<String>,
    /// Source topics that the link may carry.
    pub topics: TopicFilter,
    /// Rule for the names of its topics in the target.
    pub rename: Rename,
    /// Rule for the names of its consumer groups in the target.
    pub rename_groups: GroupRename,
    /// True if a created topic gets the source topic's configuration.
    pub copy_configs: bool,
    /// Changes of the source topics' settings that its target topics follow.
    pub follow_configs: FollowConfigs,
    /// Access control lists that it follows.
    pub acls: AclRules,
    /// Replication factor of created topics; `None` for the cluster's default.
    pub replication: Option<i32>,
    /// Compressed bytes of the frames that may be unacknowledged.
    pub credit_bytes: u64,
    /// Id of a rebuilt source or target cluster that takes the place of the stored one.
    pub accept_cluster: Option<String>,
    pub limits: LinkLimits,
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
    /// Settings of its target topics that follow those of the source's.
    pub(crate) following: Following,
    pub(crate) condition: LinkCondition,
    /// Memory for what its sender announces.
    pub(crate) announced: Announced,
    /// Frames of its session, while it has one.
    pub(crate) ledger: Lock<Option<Arc<Lock<Ledger>>>>,
    /// Its blocking requests to the target.
    pub(crate) blocking: Blocking,
    /// Its blocking requests about consumer groups, one at a time.
    pub(crate) group_calls: Blocking,
    /// Consumer groups of its sessions.
    pub(crate) groups: GroupBoard,
    /// Its blocking requests about access control lists, one at a time.
    pub(crate) acl_calls: Blocking,
    /// Access control lists of its sessions.
    pub(crate) acls: AclBoard,
    /// Records of other programs in its target partitions.
    pub(crate) foreign: Lock<ForeignWatch>,
    /// What its sender last said of the source's ends.
    pub(crate) source_ends: SourceEnds,
    /// Promotion of the link.
    pub(crate) promotion: PromotionBoard,
    /// Bandwidth of its senders.
    pub(crate) incoming_rate: IncomingRate,
    map_topic: MapTopic,
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
    /// Lanes that were stopped and may not have ended.
    ending: Vec<LaneHandle>,
}

impl ServedLink {
    /// Makes a link without lanes; the first session states their number.
    pub fn new(settings: LinkSettings, catalog: Arc<dyn Catalog>, start_lane: Arc<StartLane>) -> Self {
        let announced = Announced::new(settings.limits.announced_bytes);
        let inner = Inner {
            settings: Arc::new(settings),
            dismissed: false,
            arbiter: Arbiter::default(),
            sessions: HashMap::new(),
            lanes: Vec::new(),
            ending: Vec::new(),
        };
        Self {
            catalog,
            closes: Lock::default(),
            counts: SessionCounts::default(),
            left_out: Arc::default(),
            refused_topics: Arc::default(),
            refused: Lock::default(),
            weaker: WeakerTopics::default(),
            following: Following::default(),
            condition: LinkCondition::default(),
            announced,
            ledger: Lock::default(),
            blocking: Blocking::default(),
            group_calls: Blocking::new(1),
            groups: GroupBoard::default(),
            acl_calls: Blocking::new(1),
            acls: AclBoard::default(),
            foreign: Lock::default(),
            source_ends: SourceEnds::default(),
            promotion: PromotionBoard::default(),
            incoming_rate: IncomingRate::default(),
            map_topic: MapTopic::default(),
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
        if let Some(close) = self.promotion.refusal(&inner.settings.name) {
            return inner.dispatch(vec![Verdict::End { session, close }]);
        }
        let standbys = usize::from(inner.settings.limits.standbys);
        let decided = inner.arbiter.handle_hello(Instant::now(), candidate, standbys);
        inner.dispatch(decided);
    }

    pub fn handle_end(&self, session: SessionId) {
        let mut inner = self.inner.lock();
        inner.sessions.remove(&session);
        let decided = inner.arbiter.handle_end(session);
        inner.dispatch(decided);
    }

    /// Makes the state topic and the lanes ready for a session of `terms`, which have the default class only, and for
    /// the other classes that it requests. Returns the lanes, and which of them each class has.
    pub(crate) async fn prepare(
        self: &Arc<Self>,
        terms: &Arc<Terms>,
        requests: &[ClassRequest],
    ) -> Result<(Vec<LaneHandle>, ClassTable), StateTopicError> {
        let panicked = || StateTopicError::from(Close::new(CloseCode::Internal, "preparing the link failed"));
        let link = Arc::clone(self);
        let lanes = terms.classes.lanes();
        let checked = Arc::clone(terms);
        let prepare = move || {
            let settings = link.settings();
            checked.ensure_target(&link.catalog.cluster_id()?)?;
            state_topic::prepare(&*link.catalog, &settings.name, lanes, settings.replication)
        };
        let partitions = self.blocking.run(prepare).await.ok_or_else(panicked)??;
        let classes = if requests.is_empty() && partitions == i32::from(lanes) {
            self.ensure_not_promoted(terms).await?;
            terms.classes.clone()
        } else {
            self.append_classes(terms, requests).await?
        };
        let link = Arc::clone(self);
        let start = move || {
            let settings = link.settings();
            state_topic::fit(&*link.catalog, &settings.name, partitions, &classes)?;
            link.map_topic.prepare(&*link.catalog, &settings.name, classes.lanes(), settings.replication);
            Ok((link.start_lanes(classes.lanes())?, classes))
        };
        self.blocking.run(start).await.ok_or_else(panicked)?
    }

    /// Asks lane 0 whether the link is promoted, before any lane is opened. Without an answer each lane looks for itself: a
    /// partition of the state topic in trouble must not stop the other lanes.
    async fn ensure_not_promoted(self: &Arc<Self>, terms: &Arc<Terms>) -> Result<(), StateTopicError> {
        match tokio::time::timeout(INTENT_WITHIN, self.append_classes(terms, &[])).await {
            Ok(Err(StateTopicError::Refused(close))) if close.code == CloseCode::Promoted => Err(close.into()),
            _ => Ok(()),
        }
    }

    /// Returns whether each of so many lanes has a partition of the map topic.
    pub(crate) fn has_map(&self, lanes: u16) -> bool {
        self.map_topic.has(lanes)
    }

    /// Asks lane 0, which decides about the lanes of classes. The lane drops the request once this is dropped.
    async fn append_classes(
        self: &Arc<Self>,
        terms: &Arc<Terms>,
        requests: &[ClassRequest],
    ) -> Result<ClassTable, StateTopicError> {
        let gone = || StateTopicError::from(Close::new(CloseCode::Internal, "lane 0 has ended"));
        let link = Arc::clone(self);
        let lanes = terms.classes.lanes();
        let lanes = self.blocking.run(move || link.start_lanes(lanes)).await.ok_or_else(gone)??;
        let (answer, answered) = oneshot::channel();
        let command = Command::Classes { terms: Arc::clone(terms), requests: requests.to_vec(), answer };
        lanes.first().and_then(|lane| lane.mailbox.push(command).ok()).ok_or_else(gone)?;
        match answered.await {
            Ok(Ok(classes)) => Ok(classes),
            Ok(Err(OpenError::Target(error))) => Err(error.into()),
            Ok(Err(OpenError::Refused(close))) => Err(close.into()),
            Err(_) => Err(gone()),
        }
    }

    /// Returns the first `lanes` lanes, and starts those that do not run yet.
    pub(crate) fn start_lanes(&self, lanes: u16) -> Result<Vec<LaneHandle>, StateTopicError> {
        let mut inner = self.inner.lock();
        if inner.dismissed {
            return Err(Close::from(PeerIncompatible::LinkUnknown).into());
        }
        for lane in inner.lanes.len()..usize::from(lanes) {
            let handle = (self.start_lane)(&inner.settings, LaneId(lane as u16))?;
            inner.lanes.push(handle);
        }
        Ok(inner.lanes[..usize::from(lanes)].to_vec())
    }

    /// The credit of a session with `lanes` lanes: a reserve for each, and a pool of the rest.
    pub fn credit(&self, lanes: u16) -> CreditTerms {
        derived::credit_terms(self.settings().credit_bytes, lanes)
    }

    /// Bytes that its senders have sent and that are not committed or answered: of frames, from their first byte on, and
    /// of announcements.
    pub fn held_bytes(&self, in_inboxes: u64) -> u64 {
        let frames = self.ledger.lock().as_ref().map_or(0, |ledger| ledger.lock().held());
        // The lanes may still have frames of an earlier session.
        frames.max(in_inboxes) + self.announced.held()
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

    /// Lets the lanes end, after they have committed their frames without a gap.
    pub fn leave(&self) {
        self.inner.lock().stop_lanes();
    }

    /// Ends the lanes, and blocks until they have committed their frames without a gap, or until `deadline`: a lane whose
    /// target hangs ends when the target answers.
    pub fn stop(&self, deadline: Instant) {
        let ending = {
            let mut inner = self.inner.lock();
            inner.stop_lanes();
            std::mem::take(&mut inner.ending)
        };
        for lane in ending {
            while !lane.has_ended() && Instant::now() < deadline {
                std::thread::sleep(STOP_STEP);
            }
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
            self.ending.push(lane);
        }
    }
}

/// Returns the close of a session that must restart.
fn changed() -> Close {
    Close::normal("the receiver's configuration of this link changed")
}

#[cfg(test)]
impl Default for LinkSettings {
    fn default() -> Self {
        Self {
            name: "l".into(),
            senders: vec![],
            topics: TopicFilter::new(vec![], vec![]),
            rename: Rename::prefix(""),
            rename_groups: GroupRename::default(),
            copy_configs: false,
            follow_configs: FollowConfigs::Off,
            acls: AclRules::default(),
            replication: None,
            credit_bytes: 0,
            accept_cluster: None,
            limits: LinkLimits::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use service::bell::Bell;
    use service::mailbox::Mailbox;
    use testkit::MemoryCatalog;

    use crate::lane::MapTerms;

    use super::*;

    fn link(name: &str) -> Arc<ServedLink> {
        let settings = LinkSettings { name: name.to_owned(), ..LinkSettings::default() };
        // Nothing reads the lane's mailbox, as if its target had not answered for long.
        let hangs = |_: &LinkSettings, _| Ok(LaneHandle::new(Mailbox::new(1024, Bell::default())));
        Arc::new(ServedLink::new(settings, Arc::new(MemoryCatalog::new("target")), Arc::new(hangs)))
    }

    fn terms(link: &str) -> Arc<Terms> {
        Arc::new(Terms {
            link: link.to_owned(),
            classes: ClassTable::new(1),
            lane_hash: "h".to_owned(),
            source_cluster: "source".to_owned(),
            target_cluster: "target".to_owned(),
            filter_hash: 1,
            sender: "s".to_owned(),
            accepts: None,
            map: MapTerms::new(false),
            state: None,
        })
    }

    #[tokio::test]
    async fn dials_to_a_lane_that_hangs_leave_nothing_behind() {
        const DIALS: usize = 600;
        let hangs = link("hangs");
        let classes = [ClassRequest { name: "urgent".to_owned(), lanes: 1, strict: false }];
        let mut dials = tokio::task::JoinSet::new();
        for _ in 0..DIALS {
            let link = Arc::clone(&hangs);
            let classes = classes.clone();
            dials.spawn(async move { link.prepare(&terms("hangs"), &classes).await.is_ok() });
        }
        let mut asked = Vec::new();
        while asked.len() < DIALS {
            tokio::task::yield_now().await;
            let lanes = hangs.overview().lanes;
            asked.extend(lanes.first().and_then(|lane| lane.mailbox.pop()));
        }
        let is_over = |command: &Command| matches!(command, Command::Classes { answer, .. } if answer.is_closed());
        assert!(!asked.iter().any(is_over), "all of them wait");
        assert_eq!(hangs.blocking.run(|| 7).await, Some(7), "without a thread");
        dials.shutdown().await;
        assert!(asked.iter().all(is_over), "the lane drops the requests of connections that have ended");
        let (lanes, classes) = link("other").prepare(&terms("other"), &[]).await.unwrap();
        assert_eq!((lanes.len(), classes.lanes()), (1, 1));
    }
}
