//! Offers on their way to their lanes: the target of each partition is looked up first, outside the lanes' threads.
//!
//! Offers of one lane stay in order. A lane whose offers have to wait, for its own commit or for a partition of the
//! target that does not answer, does not delay those of the other lanes. Within a lane, the partitions that cannot be used
//! now wait by themselves.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use kafka::KafkaError;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use wire::close::Close;
use wire::control::{Control, OfferedPartition};
use wire::ids::{Epoch, LaneId};
use wire::origin::Origin;
use wire::partition::Partition;

use super::waiting::WaitingOffers;

use crate::join::carried_topics::CarriedTopics;
use crate::join::returns::Provenance;
use crate::join::targets::Targets;
use crate::lane::Claim;
use crate::lane::handle::{Command, LaneHandle};
use crate::link::announced::Room;
use crate::link::arbiter::SessionId;
use crate::link::blocking::Blocking;

/// Memory of an entry besides its names and texts.
const ENTRY_BYTES: usize = 128;
/// Requests to the target that may be in flight: a request that it answers slowly leaves room for others.
const REQUESTS: usize = 4;
/// Wait between two attempts on a target that fails.
const RETRY: Duration = Duration::from_secs(1);
/// Time limit, for all offers of a session together, of the wait for the other lanes' state.
const LANES_READ_WITHIN: Duration = Duration::from_secs(10);
const LANES_READ_STEP: Duration = Duration::from_millis(20);

/// Announcements and offers of one session; dropping it drops what waits. The link's [`Announced`] bounds it.
///
/// [`Announced`]: crate::link::announced::Announced
pub(super) struct Joining {
    targets: Arc<Targets>,
    handles: Vec<LaneHandle>,
    shared: Arc<Shared>,
    queues: HashMap<LaneId, mpsc::UnboundedSender<Entry>>,
    tasks: JoinSet<()>,
}

/// Parts of a session that its lanes' offers share.
struct Shared {
    session: SessionId,
    carried_topics: Arc<CarriedTopics>,
    requests: Semaphore,
    blocking: Blocking,
    /// Time for which offers have waited for the other lanes' state.
    waited: Mutex<Duration>,
}

struct Offer {
    epoch: Epoch,
    partitions: Vec<OfferedPartition>,
    last: bool,
    room: Room,
}

/// Entry of a lane's queue.
enum Entry {
    Offer(Offer),
    /// Topics that no longer exist at the source; offers after this are of new ones.
    Gone(Arc<HashSet<Arc<str>>>, Room),
}

struct LaneOffers {
    lane: LaneId,
    handle: LaneHandle,
    shared: Arc<Shared>,
    targets: Arc<Targets>,
    waiting: WaitingOffers,
}

impl Drop for LaneOffers {
    fn drop(&mut self) {
        self.handle.view.lock().waiting.clear();
    }
}

impl Joining {
    pub(super) fn start(
        targets: Targets,
        session: SessionId,
        lanes: &[LaneHandle],
        carried_topics: Arc<CarriedTopics>,
    ) -> Self {
        let shared = Arc::new(Shared::new(session, carried_topics, targets.blocking.clone()));
        let targets = Arc::new(targets);
        Self { targets, handles: lanes.to_vec(), shared, queues: HashMap::new(), tasks: JoinSet::new() }
    }

    /// Takes a `Topic`, `SkipRefused`, `Returns`, an `Offer` or `TopicsGone`, and passes it to its lanes.
    pub(super) fn handle(&mut self, message: Control) -> Result<(), Close> {
        match message {
            Control::Topic { topic, configs, clusters, .. } => self.targets.handle_topic(topic, configs, clusters),
            Control::Returns { topic, link, cluster, from, from_id, partitions } => {
                let from = Provenance { link, cluster, topic: from, topic_id: from_id };
                self.targets.handle_returning(topic, from, partitions)
            }
            Control::SkipRefused { topic, policy } => self.targets.handle_skip_refused(topic, policy),
            Control::Offer { lane, epoch, partitions, last } => {
                let room = self.targets.room(bytes_of(&partitions))?;
                if let Some(queue) = self.queue(lane) {
                    let _ = queue.send(Entry::Offer(Offer { epoch, partitions, last, room }));
                }
                Ok(())
            }
            Control::TopicsGone { topics } => {
                let bytes = topics.iter().map(|topic| ENTRY_BYTES + topic.len()).sum::<usize>();
                let room = self.targets.room(bytes + self.queues.len() * ENTRY_BYTES)?;
                let topics: Arc<HashSet<Arc<str>>> = Arc::new(topics.into_iter().map(Arc::from).collect());
                self.targets.handle_gone(topics.iter());
                self.shared.carried_topics.handle_gone(&topics);
                for queue in self.queues.values() {
                    let _ = queue.send(Entry::Gone(Arc::clone(&topics), room.clone()));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Returns the queue of a lane; `None` if the link does not have the lane.
    fn queue(&mut self, lane: LaneId) -> Option<&mpsc::UnboundedSender<Entry>> {
        let handle = self.handles.get(usize::from(lane.0))?.clone();
        let queue = self.queues.entry(lane).or_insert_with(|| {
            let (queue, queued) = mpsc::unbounded_channel();
            let shared = Arc::clone(&self.shared);
            let targets = Arc::clone(&self.targets);
            let offers = LaneOffers { lane, handle, shared, targets, waiting: WaitingOffers::new() };
            self.tasks.spawn(offers.run(queued));
            queue
        });
        Some(queue)
    }
}

/// Memory that offered partitions take until their lane has answered.
fn bytes_of(partitions: &[OfferedPartition]) -> usize {
    let reason = |one: &OfferedPartition| one.jump.as_ref().map_or(0, |jump| jump.reason.len());
    partitions.iter().map(|one| size_of_val(one) + ENTRY_BYTES + one.topic.len() + reason(one)).sum::<usize>()
        + ENTRY_BYTES
}

impl LaneOffers {
    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Entry>) {
        loop {
            let due = self.waiting.next_timeout();
            tokio::select! {
                entry = queue.recv() => match entry {
                    Some(Entry::Offer(offer)) => self.offer(offer).await,
                    Some(Entry::Gone(topics, room)) => self.handle_gone(topics, room),
                    None => return,
                },
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.retry().await;
                }
            }
        }
    }

    async fn offer(&mut self, offer: Offer) {
        let Offer { epoch, partitions, last, room } = offer;
        self.shared.wait_for_all_lanes().await;
        self.waiting.handle_offer(epoch, &partitions);
        self.join(partitions, &room).await;
        if last {
            self.waiting.handle_last();
        }
        self.notify_last();
    }

    fn handle_gone(&mut self, topics: Arc<HashSet<Arc<str>>>, room: Room) {
        self.waiting.handle_gone(&topics);
        self.handle.view.lock().waiting = self.waiting.reported();
        self.push(Command::TopicsGone(self.shared.session, self.waiting.epoch, topics, room));
        self.notify_last();
    }

    /// Looks up again the offers that wait.
    async fn retry(&mut self) {
        if let Some((partitions, room)) = self.waiting.again() {
            self.join(partitions, &room).await;
        }
        self.notify_last();
    }

    fn notify_last(&mut self) {
        if self.waiting.poll_last() {
            self.push(Command::LastOffer(self.shared.session, self.waiting.epoch));
        }
    }

    /// Passes on the offers whose targets answer; the others wait.
    async fn join(&mut self, partitions: Vec<OfferedPartition>, room: &Room) {
        let targets = Arc::clone(&self.targets);
        let carried_topics = Arc::clone(&self.shared.carried_topics);
        let offered = Arc::new(partitions);
        let claims = self.shared.request(move || targets.claims(&offered, &carried_topics)).await;
        if self.claim(claims.origins).await {
            let targets = Arc::clone(&self.targets);
            let carried_topics = Arc::clone(&self.shared.carried_topics);
            let claimed = Arc::new(claims.partitions);
            let found = self.shared.request(move || targets.look_up(&claimed, &carried_topics)).await;
            for mut offered in found.offered {
                self.waiting.handle_joined(&offered.key());
                offered.room = Some(room.clone());
                self.push(Command::Offer(self.shared.session, self.waiting.epoch, Box::new(offered)));
            }
            for waiting in claims.waiting.into_iter().chain(found.waiting) {
                let slot = waiting.partition.slot;
                let key = Partition::new(waiting.partition.topic.as_str(), waiting.partition.partition);
                if let Some(halt) = self.waiting.handle_waiting(waiting, room) {
                    let Partition { topic, partition } = &key;
                    tracing::warn!(%topic, partition, reason = halt.detail, "partition waits for its target");
                    self.push(Command::WaitingOffer(self.shared.session, self.waiting.epoch, slot, key, halt));
                }
            }
        }
        self.waiting.handle_attempt(Instant::now());
        self.handle.view.lock().waiting = self.waiting.reported();
    }

    fn push(&self, command: Command) {
        if self.handle.mailbox.push(command).is_err() {
            tracing::error!(lane = %self.lane, "the lane's mailbox is full; an offer is lost until the lane is opened again");
        }
    }

    /// Stores the origins of topics that are about to be created: a sender that reads the target cluster must not take
    /// them for that cluster's own. False if the lane is closed; the partitions will be offered again.
    async fn claim(&self, origins: Vec<(Arc<str>, Origin)>) -> bool {
        if origins.is_empty() {
            return true;
        }
        let (done, stored) = oneshot::channel();
        self.push(Command::Claim(self.shared.session, self.waiting.epoch, Claim { origins, done }));
        if stored.await.is_err() {
            return false;
        }
        let targets = Arc::clone(&self.targets);
        let lane = self.lane;
        self.shared.request(move || targets.wait_until_visible(lane)).await;
        true
    }
}

impl Shared {
    fn new(session: SessionId, carried_topics: Arc<CarriedTopics>, blocking: Blocking) -> Self {
        Self { session, carried_topics, requests: Semaphore::new(REQUESTS), blocking, waited: Mutex::default() }
    }

    /// Waits until every lane was read that the sender opens, which tells whether a missing topic is new or was lost. Lanes open together,
    /// so that this is soon; a lane that does not open delays the others once, not with every offer.
    async fn wait_for_all_lanes(&self) {
        let mut waited = self.waited.lock().await;
        while !self.carried_topics.are_requested_read() && *waited < LANES_READ_WITHIN {
            tokio::time::sleep(LANES_READ_STEP).await;
            *waited += LANES_READ_STEP;
        }
    }

    /// Repeats a request until the target answers.
    async fn request<R: Default + Send + 'static>(
        &self,
        request: impl Fn() -> Result<R, KafkaError> + Clone + Send + 'static,
    ) -> R {
        let mut failing = false;
        loop {
            // Other requests may run between two attempts.
            let permit = self.requests.acquire().await;
            let answer = self.blocking.run(request.clone()).await;
            drop(permit);
            match answer {
                Some(Ok(answer)) => return answer,
                Some(Err(error)) if !failing => {
                    failing = true;
                    tracing::warn!(%error, "could not look up target topics; trying again");
                }
                Some(Err(_)) => {}
                None => return R::default(),
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka::catalog::{Bounds, Catalog, NewTopic};
    use service::bell::Bell;
    use service::mailbox::Mailbox;
    use service::topics::{TopicFilter, TopicPattern};
    use testkit::{MemoryCatalog, topic_id};
    use wire::close::CloseCode;
    use wire::control::TopicConfig;
    use wire::ids::Position;

    use super::*;
    use crate::config::Rename;
    use crate::join::fixtures::offered;
    use crate::lane::Terms;
    use crate::link::announced::Announced;
    use crate::link::{LinkSettings, ServedLink};
    use crate::target::state;

    /// Creates a cluster that has only the state topic.
    fn cluster() -> Arc<MemoryCatalog> {
        let cluster = MemoryCatalog::new("target");
        cluster.add_partition(&state::topic("l"), Bounds { start: Position(0), end: Position(0) });
        Arc::new(cluster)
    }

    fn names(cluster: &MemoryCatalog) -> Vec<String> {
        cluster.topics().unwrap().into_iter().map(|topic| topic.name).collect()
    }

    fn targets(cluster: &Arc<MemoryCatalog>) -> Targets {
        targets_with(cluster, false)
    }

    fn targets_with(cluster: &Arc<MemoryCatalog>, copy_configs: bool) -> Targets {
        let settings = LinkSettings {
            topics: TopicFilter::new(vec![TopicPattern::parse(".*").unwrap()], vec![]),
            rename: Rename::prefix("fra."),
            copy_configs,
            ..LinkSettings::default()
        };
        let catalog: Arc<dyn Catalog> = Arc::<MemoryCatalog>::clone(cluster);
        let link = ServedLink::new(settings, catalog, Arc::new(|_, _| unreachable!("no lane is started")));
        Targets::new(&link, &link.settings(), Arc::new(terms()))
    }

    fn terms() -> Terms {
        Terms {
            link: "l".into(),
            classes: wire::lanes::ClassTable::new(1),
            lane_hash: "h".into(),
            source_cluster: "fra".into(),
            target_cluster: "sin".into(),
            filter_hash: 1,
            sender: "s".into(),
            accepts: None,
            map: crate::lane::MapTerms::new(false),
            state: None,
        }
    }

    fn offers(lane: &LaneHandle, carried_topics: &Arc<CarriedTopics>, targets: Targets) -> LaneOffers {
        let shared = Arc::new(Shared::new(1, Arc::clone(carried_topics), Blocking::default()));
        let targets = Arc::new(targets);
        LaneOffers { lane: LaneId(0), handle: lane.clone(), shared, targets, waiting: WaitingOffers::new() }
    }

    fn offer(partitions: Vec<OfferedPartition>) -> Offer {
        let room = Announced::new(1).take(1).unwrap();
        Offer { epoch: Epoch(1), partitions, last: true, room }
    }

    #[tokio::test]
    async fn a_lane_that_cannot_store_a_claim_delays_no_other_lane() {
        let lanes: Vec<_> = (0..2).map(|_| LaneHandle::new(Mailbox::new(8, Bell::default()))).collect();
        let carried_topics = Arc::new(CarriedTopics::new(2));
        (0..2).for_each(|lane| carried_topics.handle_lane_read(LaneId(lane), [].iter()));
        let cluster = cluster();
        let there = NewTopic { name: "fra.there".into(), partitions: 1, replication: None, configs: vec![] };
        cluster.create(&[there]).unwrap();
        let mut joining = Joining::start(targets(&cluster), 1, &lanes, carried_topics);
        for (lane, topic) in [(0, "missing"), (1, "there")] {
            let partitions = vec![offered(topic)];
            joining.handle(Control::Offer { lane: LaneId(lane), epoch: Epoch(1), partitions, last: true }).unwrap();
        }
        // The claim is kept, so that the first lane waits permanently.
        let mut claimed = None;
        let mut joined = 0;
        while claimed.is_none() || joined < 2 {
            if let Some(Command::Claim(_, _, claim)) = lanes[0].mailbox.pop() {
                claimed = Some(claim);
            }
            joined += usize::from(lanes[1].mailbox.pop().is_some());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(lanes[0].mailbox.pop().is_none());
    }

    #[tokio::test]
    async fn a_lane_that_does_not_open_delays_the_others_once() {
        let lane = LaneHandle::new(Mailbox::new(64, Bell::default()));
        let carried_topics = Arc::new(CarriedTopics::new(2));
        (0..2).for_each(|lane| carried_topics.handle_requested(LaneId(lane)));
        carried_topics.handle_lane_read(LaneId(0), [].iter());
        let mut offers = offers(&lane, &carried_topics, targets(&cluster()));
        *offers.shared.waited.lock().await = LANES_READ_WITHIN - LANES_READ_STEP;
        let began = std::time::Instant::now();
        for _ in 0..20 {
            offers.offer(offer(Vec::new())).await;
        }
        assert!(began.elapsed() < LANES_READ_WITHIN, "{:?}", began.elapsed());
        assert_eq!(std::iter::from_fn(|| lane.mailbox.pop()).count(), 20);
    }

    #[tokio::test]
    async fn a_target_partition_without_a_leader_waits_alone() {
        let cluster = cluster();
        let without = Partition::new("fra.one", 0);
        for topic in ["fra.one", "fra.three"] {
            let new = NewTopic { name: topic.into(), partitions: 1, replication: None, configs: vec![] };
            cluster.create(&[new]).unwrap();
        }
        cluster.set_leader(&without, false);
        let lane = LaneHandle::new(Mailbox::new(8, Bell::default()));
        let carried_topics = Arc::new(CarriedTopics::new(1));
        carried_topics.handle_lane_read(LaneId(0), [].iter());
        let mut offers = offers(&lane, &carried_topics, targets(&cluster));
        let word = |command| match command {
            Command::Offer(_, _, offered) => format!("{} joins", offered.partition.topic),
            Command::WaitingOffer(_, _, _, key, halt) => format!("{} {}", key.topic, halt.reason),
            Command::LastOffer(..) => "last".to_owned(),
            other => panic!("{other:?}"),
        };
        let sent = || std::iter::from_fn(|| lane.mailbox.pop()).map(word).collect::<Vec<_>>();
        offers.offer(offer(vec![offered("one"), offered("three")])).await;
        assert_eq!(sent(), ["three joins"]);
        offers.retry().await;
        assert_eq!(sent(), ["one target-unavailable"]);
        assert_eq!(lane.view.lock().waiting.len(), 1);
        cluster.set_leader(&without, true);
        offers.retry().await;
        assert_eq!(sent(), ["one joins", "last"]);
        assert!(lane.view.lock().waiting.is_empty());
    }

    #[tokio::test]
    async fn an_offer_takes_memory_until_its_lane_has_decided_it() {
        let cluster = cluster();
        let new = NewTopic { name: "fra.one".into(), partitions: 1, replication: None, configs: vec![] };
        cluster.create(&[new]).unwrap();
        let lane = LaneHandle::new(Mailbox::new(8, Bell::default()));
        let carried_topics = Arc::new(CarriedTopics::new(1));
        carried_topics.handle_lane_read(LaneId(0), [].iter());
        let targets = targets(&cluster);
        let memory = targets.announced_bytes().clone();
        let room = targets.room(1000).unwrap();
        let mut offers = offers(&lane, &carried_topics, targets);
        offers.offer(Offer { room, ..offer(vec![offered("one")]) }).await;
        let Some(Command::Offer(_, _, waits)) = lane.mailbox.pop() else { panic!("no offer") };
        assert_eq!(memory.held(), 1000, "its target may fail for hours");
        drop(waits);
        assert_eq!(memory.held(), 0);
    }

    #[tokio::test]
    async fn topics_are_created_after_their_claim_and_never_in_a_loop() {
        let cluster = cluster();
        let targets = targets(&cluster);
        targets.handle_topic("orders".into(), vec![], vec!["ams".into()]).unwrap();
        targets.handle_topic("circle".into(), vec![], vec!["sin".into()]).unwrap();
        let lane = LaneHandle::new(Mailbox::new(8, Bell::default()));
        let carried_topics = Arc::new(CarriedTopics::new(1));
        carried_topics.handle_lane_read(LaneId(0), [].iter());
        let mut offers = offers(&lane, &carried_topics, targets);
        let offer = offers.offer(offer(vec![offered("orders"), offered("circle")]));
        let claimed = async {
            loop {
                match lane.mailbox.pop() {
                    Some(Command::Claim(_, _, claim)) => return claim,
                    Some(other) => panic!("{other:?} before the state names the topic"),
                    None => tokio::task::yield_now().await,
                }
            }
        };
        let answer = async {
            let Claim { origins, done } = claimed.await;
            let [(topic, origin)] = &origins[..] else { panic!("{origins:?}") };
            assert_eq!((&**topic, origin.target_topic.as_str()), ("orders", "fra.orders"));
            assert_eq!(origin.clusters, ["ams", "fra"]);
            assert_eq!(names(&cluster), [state::topic("l")], "created before its state was stored");
            done.send(()).unwrap();
        };
        tokio::join!(offer, answer);
        assert_eq!(names(&cluster), [&state::topic("l"), "fra.orders"]);
        let answers: Vec<_> = std::iter::from_fn(|| lane.mailbox.pop()).collect();
        let [Command::Offer(_, _, joins), Command::Offer(_, _, circle), Command::LastOffer(..)] = &answers[..] else {
            panic!("{answers:?}")
        };
        assert_eq!(joins.origin().unwrap().target_topic_id, topic_id("fra.orders"));
        assert_eq!(circle.target.as_ref().unwrap_err().reason, "returns-to-origin");
    }

    #[tokio::test]
    async fn announcements_and_offers_that_wait_have_a_limit() {
        let lane = LaneHandle::new(Mailbox::new(8, Bell::default()));
        let targets = targets_with(&cluster(), true);
        let announced = targets.announced_bytes().clone();
        let mut joining = Joining::start(targets, 1, &[lane], Arc::new(CarriedTopics::new(1)));
        let config = |name: &str| TopicConfig { name: name.into(), value: "v".repeat(1000) };
        let topic = |n: usize, configs: Vec<TopicConfig>| {
            let topic = format!("t{n}");
            Control::Topic { topic, topic_id: topic_id("t"), configs, clusters: vec![] }
        };
        // Settings that are not copied are not kept, and a topic that is announced again counts once.
        for _ in 0..10_000 {
            joining.handle(topic(0, vec![config("min.insync.replicas"); 64])).unwrap();
        }
        assert!(announced.held() < 1000, "{}", announced.held());
        let fit = (0..).take_while(|&n| joining.handle(topic(n, vec![config("retention.ms")])).is_ok()).count();
        assert!((500..1000).contains(&fit), "{fit} of more than 1,000 B within 1 MiB");
        let refused = joining.handle(topic(fit, vec![config("retention.ms")])).unwrap_err();
        assert!(refused.code == CloseCode::Busy && refused.detail.contains("1048576 bytes"), "{refused:?}");
        let offer =
            || Control::Offer { lane: LaneId(0), epoch: Epoch(1), partitions: vec![offered("a"); 256], last: false };
        assert!(joining.handle(offer()).is_err());
        drop(joining);
        assert_eq!(announced.held(), 0, "free after the session");
    }
}
