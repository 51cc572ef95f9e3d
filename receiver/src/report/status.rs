//! Status of a receiver: its parts report to one board, which the admin port reads.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use service::credentials::board::BOARD;
use service::lock::Lock;
use service::status::{CertificateStatus, HaltedPartition, PeerStatus, Tally};
use transport::budget::Budget;
use transport::clock::Clock;
use wire::units::Rate;

use crate::config::Config;
use crate::groups::GroupServices;
use crate::groups::board::{GroupStatus, GroupsStatus};
use crate::lane::Counts;
use crate::lane::handle::{LaneHandle, View};
use crate::lane::memory::DecodeMemory;
use crate::link::acls::board::{AclStatus, AclsStatus};
use crate::link::condition;
use crate::link::foreign::board::ForeignWrites;
use crate::link::promotion::attempt::{FailoverAnswer, FailoverRequest, SwitchOverRequest};
use crate::link::promotion::board::PromotionStatus;
use crate::link::promotion::task::{failover, switch_over};
use crate::link::registry::ServedLinks;
use crate::link::{Overview, ServedLink};
use crate::report::readiness::Facts;
use crate::session::Refusals;
use crate::target::state::JumpRecord;
use crate::target_cluster::TargetCluster;
use crate::translate::{TranslateRequest, Translation};

/// The board of one receiver, and its clock.
#[derive(Default)]
pub struct Board {
    inner: Lock<Inner>,
    clock: Clock,
}

#[derive(Default)]
struct Inner {
    instance: String,
    budget: Option<Budget>,
    draining: bool,
    trouble: Option<String>,
    serving: Option<Serving>,
}

/// Parts of a receiver that listens.
pub(crate) struct Serving {
    pub(crate) listen: SocketAddr,
    pub(crate) cluster: Arc<TargetCluster>,
    pub(crate) links: Arc<ServedLinks>,
    pub(crate) memory: Arc<DecodeMemory>,
    /// Counts of peers refused before they had a session.
    pub(crate) refusals: Arc<Refusals>,
    /// Services that read and write what links store in the target.
    pub(crate) services: Arc<GroupServices>,
}

/// Status of a receiver at one moment; `causeway status --json` prints it and `docs/reference/status.md` describes it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Role of the process, always `receiver`.
    #[serde(skip_deserializing)]
    pub role: &'static str,
    /// Version of the program.
    pub version: String,
    /// Instance name of this process.
    pub instance: String,
    /// UDP address that it listens on; `null` until the target cluster has answered.
    pub listen: Option<SocketAddr>,
    /// Limit on the IP bits that it sends per second; `null` is no limit.
    pub rate_bits_per_second: Option<u64>,
    /// IP bytes sent to senders.
    pub sent_bytes: u64,
    /// Problems of the process as a whole, in sentences.
    pub trouble: Vec<String>,
    /// Certificates in use.
    pub certificates: Vec<CertificateStatus>,
    /// Decoded bytes in use by lanes.
    pub decode_memory_used_bytes: u64,
    /// Limit on the decoded bytes of all lanes, without the first frame of each.
    pub decode_memory_bytes: u64,
    /// Peers with a trusted certificate that were refused before they had a session, by close code.
    pub refusals: Tally,
    /// Handshakes that failed, by reason; anyone who reaches the port can cause them.
    pub failed_handshakes: Tally,
    /// Links that it serves, by name.
    pub links: Vec<LinkStatus>,
}

/// Status of a link at one moment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkStatus {
    /// Name of the link.
    pub link: String,
    /// Instance name of the sender that has the link.
    pub sender: Option<String>,
    /// Number of senders that stand by.
    pub standbys: usize,
    /// Number of sessions since the process started.
    pub sessions: u64,
    /// Number of open channels of the present session; 0 without one.
    pub channels: usize,
    /// Number of extra channels that ended while their session continued.
    pub channel_ends: u64,
    /// Number of lanes; 0 until a sender has connected.
    pub lanes: usize,
    /// Number of lanes that are open.
    pub lanes_open: usize,
    /// Counters over all lanes.
    pub counts: Counts,
    /// Bytes that its senders have sent and that are neither committed nor answered: of frames, from their first byte on,
    /// and of topics, settings and offers.
    pub held_bytes: u64,
    /// Limit on the bytes that the sender may have in flight or in the inboxes: its credit.
    pub credit_bytes: u64,
    /// Longest delay in seconds that the target's brokers announced within the last transactions, because a producer quota
    /// is exceeded.
    pub quota_delay_seconds: f64,
    /// Problems, in sentences: why lanes do not commit or are slow, which partitions wait, which topics the target refuses
    /// or has with weaker settings, and what the sender tells of itself.
    pub trouble: Vec<String>,
    /// Number of partitions that wait for the target.
    pub waiting_partitions: usize,
    /// Condition of the sender, as it last told it in this session.
    pub sender_condition: Option<PeerStatus>,
    /// Partitions whose halt is stored, at most 100 of each lane.
    pub halted: Vec<HaltedPartition>,
    /// Number of partitions whose halt is stored; `halted` names at most 100 of each lane.
    pub halted_partitions: usize,
    /// Topics that were [switched over](../failover.md#single-topics) alone.
    pub switched_over: BTreeSet<String>,
    /// [Orphaned](../troubleshoot.md#orphaned) positions, which the sender does not offer; at most 100 of each lane.
    pub orphaned: Vec<String>,
    /// Number of orphaned positions.
    pub orphaned_positions: usize,
    /// Created topics and their settings that the target refused: left out, or replaced by the nearest value that it accepts;
    /// at most 100 since the process started.
    pub left_out_settings: Vec<String>,
    /// Settings that [do not follow](../operate.md#settings-that-follow) the source's, each with the reason; at most a hundred.
    pub unlike_settings: Vec<String>,
    /// Number of topics whose settings cannot follow now.
    pub failing_settings: usize,
    /// Number of settings that were changed as at the source, since the process started.
    pub followed_settings: u64,
    /// Target topics with settings that delete earlier or accept less than the source's, at most a hundred.
    pub weaker_settings: Vec<String>,
    /// Number of these topics; `null` until a session has compared them.
    pub weaker_topics: Option<usize>,
    /// Consumer groups whose offsets it commits.
    pub consumer_groups: GroupsStatus,
    /// Access control lists that it follows.
    pub followed_acls: AclsStatus,
    /// Records that [other programs](../troubleshoot.md#foreign-writes) wrote to its target partitions.
    pub foreign_writes: ForeignWrites,
    /// Promotion of the link: see [failover](../failover.md).
    pub promotion: PromotionStatus,
    /// Status of each lane.
    pub by_lane: Vec<LaneStatus>,
    /// Number of ended sessions, by close code.
    pub closes: Tally,
}

/// Status of a lane at one moment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LaneStatus {
    /// Number of the lane.
    pub lane: usize,
    /// Epoch of the lane, while open.
    pub epoch: Option<u64>,
    /// Records committed to the target.
    pub records: u64,
    /// Compressed bytes in its inbox.
    pub held_bytes: u64,
    /// Error of the target, while it fails.
    pub trouble: Option<String>,
}

/// A jump of a stored position, as `GET /jumps` and `causeway jumps` show it.
#[derive(Debug, Clone, Serialize)]
pub struct JumpStatus {
    /// Name of the link.
    pub link: String,
    /// Number of the lane whose state has the jump.
    pub lane: usize,
    /// Record of the jump.
    #[serde(flatten)]
    pub jump: JumpRecord,
}

impl Board {
    /// Makes a board with a clock other than the machine's.
    pub fn with_clock(clock: Clock) -> Self {
        Self { inner: Lock::default(), clock }
    }

    /// Clock of this process, for reports.
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Sets the instance name and the budget.
    pub fn introduce(&self, config: &Config, budget: Budget) {
        let mut inner = self.inner.lock();
        inner.instance = config.instance.to_string();
        inner.budget = Some(budget);
    }

    /// Sets the reason why the target does not answer.
    pub fn set_trouble(&self, trouble: String) {
        self.inner.lock().trouble = Some(trouble);
    }

    /// Notes that the target has answered and the receiver listens.
    pub(crate) fn begin(&self, serving: Serving) {
        let mut inner = self.inner.lock();
        inner.trouble = None;
        inner.serving = Some(serving);
    }

    /// Notes that the receiver accepts no new work.
    pub fn drain(&self) {
        self.inner.lock().draining = true;
    }

    /// Returns whether the receiver can do its work, or the reason why not.
    pub fn ready(&self) -> Result<(), String> {
        let inner = self.inner.lock();
        let serving = inner.serving.as_ref();
        let unreachable = serving.and_then(|serving| serving.links.target.lock().unreachable(Instant::now()));
        let links = links(serving);
        let failing: Vec<_> = links.iter().filter_map(|link| link.condition.preparing()).collect();
        let lanes: Vec<_> = links.iter().flat_map(|link| views(&link.overview().lanes)).collect();
        let facts = Facts {
            listens: serving.is_some(),
            draining: inner.draining,
            trouble: inner.trouble.clone(),
            rebuilt: serving.and_then(Serving::rebuilt),
            unreachable,
            working: lanes.iter().filter(|view| view.epoch.is_some() && view.trouble.is_none()).count(),
            failing: failing.into_iter().chain(lanes.into_iter().filter_map(|view| view.trouble)).collect(),
        };
        facts.ready()
    }

    /// Returns the status at this moment.
    pub fn status(&self) -> Status {
        let inner = self.inner.lock();
        let budget = inner.budget.as_ref();
        let serving = inner.serving.as_ref();
        let target = serving.and_then(|serving| serving.links.target_trouble());
        let trouble = inner.trouble.iter().cloned();
        Status {
            role: "receiver",
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: inner.instance.clone(),
            listen: serving.map(|serving| serving.listen),
            rate_bits_per_second: budget.and_then(Budget::rate).map(Rate::bits_per_second),
            sent_bytes: budget.map_or(0, |budget| budget.usage().wire_bytes),
            trouble: trouble.chain(target).chain(serving.and_then(Serving::rebuilt)).chain(BOARD.trouble()).collect(),
            certificates: BOARD.status(),
            decode_memory_used_bytes: serving.map_or(0, |serving| serving.memory.held()),
            decode_memory_bytes: serving.map_or(0, |serving| serving.memory.limit()),
            refusals: serving.map(|serving| serving.refusals.peers()).unwrap_or_default(),
            failed_handshakes: serving.map(|serving| serving.refusals.handshakes()).unwrap_or_default(),
            links: links(serving).iter().map(|link| LinkStatus::of(link)).collect(),
        }
    }

    /// Returns the newest jumps of every link, in order of link, lane and number.
    pub fn jumps(&self) -> Vec<JumpStatus> {
        let links = links(self.inner.lock().serving.as_ref());
        let mut all = Vec::new();
        for link in links {
            let name = link.settings().name.clone();
            for (lane, view) in views(&link.overview().lanes).into_iter().enumerate() {
                let jumps = view.needs_action.jumps.values().cloned();
                all.extend(jumps.map(|jump| JumpStatus { link: name.clone(), lane, jump }));
            }
        }
        all
    }

    /// Returns the consumer groups of every link.
    pub fn groups(&self) -> Vec<GroupStatus> {
        let links = links(self.inner.lock().serving.as_ref());
        links.iter().flat_map(|link| link.groups.groups(&link.settings().name)).collect()
    }

    /// Returns what the rules of the source become in the target, for every link that follows them.
    pub fn acls(&self) -> Vec<AclStatus> {
        let links = links(self.inner.lock().serving.as_ref());
        links.iter().flat_map(|link| link.acls.plan()).collect()
    }

    /// Translates offsets of a link.
    pub async fn translate(&self, request: TranslateRequest) -> Result<Vec<Translation>, String> {
        let (link, services) = self.link(request.link.as_deref())?;
        Arc::clone(&services.translator).translate(link, request).await
    }

    /// Promotes a link, or states what would be lost.
    pub async fn failover(&self, request: FailoverRequest) -> Result<FailoverAnswer, String> {
        let (link, services) = self.link(request.link.as_deref())?;
        failover(link, services, request).await
    }

    /// Promotes a link once everything of its source is carried and nothing is written there any more.
    pub async fn switch_over(&self, request: SwitchOverRequest) -> Result<FailoverAnswer, String> {
        let (link, services) = self.link(request.link.as_deref())?;
        switch_over(link, services, request).await
    }

    /// Returns the link of this name, or the only one.
    fn link(&self, wanted: Option<&str>) -> Result<(Arc<ServedLink>, Arc<GroupServices>), String> {
        let (links, services) = {
            let inner = self.inner.lock();
            let serving = inner.serving.as_ref().ok_or("the target cluster has not answered yet")?;
            (serving.links.all(), Arc::clone(&serving.services))
        };
        let name = |link: &Arc<ServedLink>| link.settings().name.clone();
        let named = || links.iter().map(name).collect::<Vec<_>>().join(", ");
        let link = match (wanted, &*links) {
            (None, [only]) => Some(only),
            (None, _) => return Err(format!("name the link with --link, one of: {}", named())),
            (Some(wanted), _) => links.iter().find(|link| name(link) == wanted),
        };
        let link = link.ok_or_else(|| format!("no such link; this receiver serves: {}", named()))?;
        Ok((Arc::clone(link), services))
    }

    /// Returns which sender has each link, for a user who asked the receiver instead of the sender.
    pub fn holders(&self) -> String {
        let links = links(self.inner.lock().serving.as_ref());
        let holder = |link: &Arc<ServedLink>| {
            let sender = link.overview().sender.unwrap_or_else(|| "no sender".to_owned());
            format!("{} is held by {sender}", link.settings().name)
        };
        links.iter().map(holder).collect::<Vec<_>>().join(", ")
    }
}

impl Serving {
    /// Returns a sentence if the target cluster was rebuilt and a link does not accept it.
    fn rebuilt(&self) -> Option<String> {
        let settings: Vec<_> = self.links.all().iter().map(|link| link.settings()).collect();
        self.cluster.trouble(settings.iter().map(|settings| &**settings))
    }
}

fn links(serving: Option<&Serving>) -> Vec<Arc<ServedLink>> {
    serving.map(|serving| serving.links.all()).unwrap_or_default()
}

fn views(lanes: &[LaneHandle]) -> Vec<View> {
    lanes.iter().map(LaneHandle::condition).collect()
}

impl LinkStatus {
    fn of(link: &ServedLink) -> Self {
        let Overview { sender, standbys, lanes } = link.overview();
        let settings = link.settings();
        let views = views(&lanes);
        let sender_condition = link.condition.sender();
        let of_sender = sender_condition.iter().flat_map(|peer| &peer.trouble).map(|said| format!("sender: {said}"));
        let own = link.condition.preparing().into_iter().chain(trouble(&views));
        let refused = link.refused.lock().clone();
        let own = refused.into_iter().chain(own).chain(link.refused_topics.sentences());
        let own = own.chain(link.weaker.problems()).chain(link.following.trouble()).chain(link.groups.trouble());
        let own = own.chain(link.acls.trouble()).chain(link.promotion.trouble(&settings.name));
        let own = own.chain(link.foreign.lock().trouble(Instant::now()));
        let trouble = own.chain(of_sender).collect();
        let mut counts = Counts::default();
        views.iter().for_each(|view| counts = counts + view.counts);
        Self {
            link: settings.name.clone(),
            sender,
            standbys,
            sessions: link.counts.begun.load(Ordering::Relaxed),
            channels: link.counts.channels.load(Ordering::Relaxed),
            channel_ends: link.counts.channel_ends.load(Ordering::Relaxed),
            lanes: views.len(),
            lanes_open: views.iter().filter(|view| view.epoch.is_some()).count(),
            counts,
            held_bytes: link.held_bytes(views.iter().map(|view| view.held_bytes).sum()),
            credit_bytes: settings.credit_bytes,
            quota_delay_seconds: condition::quota_delay(&views).as_secs_f64(),
            trouble,
            waiting_partitions: views.iter().map(|view| view.waiting.len()).sum(),
            sender_condition,
            halted: views.iter().flat_map(|view| view.needs_action.halted.iter().cloned()).collect(),
            halted_partitions: views.iter().map(|view| view.needs_action.halted_count).sum(),
            switched_over: views
                .iter()
                .flat_map(|view| &view.needs_action.switched_over)
                .map(ToString::to_string)
                .collect(),
            orphaned: views.iter().flat_map(|view| view.needs_action.orphaned.iter().cloned()).collect(),
            orphaned_positions: views.iter().map(|view| view.needs_action.orphaned_count).sum(),
            left_out_settings: link.left_out.sentences(),
            unlike_settings: link.following.unlike(),
            failing_settings: link.following.failing(),
            followed_settings: link.following.changed(),
            weaker_settings: link.weaker.named(),
            weaker_topics: link.weaker.count(),
            consumer_groups: link.groups.status(),
            followed_acls: link.acls.status(settings.acls.follow.word()),
            foreign_writes: link.foreign.lock().status(),
            promotion: link.promotion.status(),
            by_lane: views.into_iter().enumerate().map(|(lane, view)| LaneStatus::of(lane, view)).collect(),
            closes: link.closes.lock().clone(),
        }
    }
}

/// Returns why lanes do not commit or are slow, and which partitions wait.
fn trouble(views: &[View]) -> Vec<String> {
    let waiting: Vec<_> = views.iter().flat_map(|view| view.waiting.iter().cloned()).collect();
    let lanes = views.iter().filter_map(|view| view.trouble.clone());
    let quota = condition::quota_trouble(views);
    lanes.chain(quota).chain(service::format::waiting("the target", &waiting)).collect()
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
