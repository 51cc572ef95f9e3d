//! Offers on their way to their lanes: the target of each partition is looked up first, outside the lanes' threads.
//!
//! Offers of one lane stay in order. A lane whose offers have to wait, for its own commit or for a partition of the
//! target that does not answer, does not delay those of the other lanes. Within a lane, the partitions that cannot be used
//! now wait by themselves.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use kafka::KafkaError;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use wire::close::{Close, CloseCode};
use wire::control::{Control, OfferedPartition};
use wire::ids::{Epoch, LaneId};
use wire::origin::Origin;
use wire::partition::Partition;

use super::waiting::{Room, WaitingOffers};

use crate::join::carried_topics::CarriedTopics;
use crate::join::targets::Targets;
use crate::lane::Claim;
use crate::lane::thread::{Command, LaneHandle};
use crate::link::arbiter::SessionId;

/// Announcements and offers of a session that may wait: one announcement per topic, one offer per 256 partitions.
const QUEUE: usize = 16 * 1024;
/// Requests to the target that may be in flight: a request that it answers slowly leaves room for others.
const REQUESTS: usize = 4;
/// Wait between two attempts on a target that fails.
const RETRY: Duration = Duration::from_secs(1);
/// Time limit, for all offers of a session together, of the wait for the other lanes' state.
const LANES_READ_WITHIN: Duration = Duration::from_secs(10);
const LANES_READ_STEP: Duration = Duration::from_millis(20);

/// The queue of announcements and offers of one session; dropping it drops what waits.
pub(super) struct Joining {
    queue: mpsc::Sender<(Control, OwnedSemaphorePermit)>,
    /// Bounds the entries in this queue and in those of the lanes together.
    room: Arc<Semaphore>,
    _tasks: JoinSet<()>,
}

/// Parts of a session that its lanes' offers share.
struct Shared {
    session: SessionId,
    carried_topics: Arc<CarriedTopics>,
    requests: Semaphore,
    /// Time for which offers have waited for the other lanes' state.
    waited: Mutex<Duration>,
}

/// An offer, with the topics as they were announced before it.
struct Offer {
    targets: Arc<Targets>,
    epoch: Epoch,
    partitions: Vec<OfferedPartition>,
    last: bool,
    room: OwnedSemaphorePermit,
}

/// Entry of a lane's queue.
enum Entry {
    Offer(Offer),
    /// Topics that no longer exist at the source; offers after this are of new ones.
    Gone(Arc<HashSet<Arc<str>>>),
}

struct LaneOffers {
    lane: LaneId,
    handle: LaneHandle,
    shared: Arc<Shared>,
    /// Topics as they were announced last.
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
        let (queue, queued) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        tasks.spawn(distribute(targets, lanes.to_vec(), Arc::new(Shared::new(session, carried_topics)), queued));
        Self { queue, room: Arc::new(Semaphore::new(QUEUE)), _tasks: tasks }
    }

    /// Queues a `Topic`, an `Offer` or `TopicsGone`.
    pub(super) fn handle(&self, message: Control) -> Result<(), Close> {
        let full = || Close::new(CloseCode::Busy, format!("more than {QUEUE} offers are waiting for the target"));
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| full())?;
        self.queue.try_send((message, room)).map_err(|_| full())
    }
}

/// Passes offers to the queues of their lanes. The queues end with this task.
async fn distribute(
    targets: Targets,
    handles: Vec<LaneHandle>,
    shared: Arc<Shared>,
    mut queue: mpsc::Receiver<(Control, OwnedSemaphorePermit)>,
) {
    let mut targets = Arc::new(targets);
    let mut tasks = JoinSet::new();
    let mut lanes: HashMap<LaneId, mpsc::Sender<Entry>> = HashMap::new();
    while let Some((message, room)) = queue.recv().await {
        match message {
            Control::Topic { topic, configs, clusters, .. } => {
                // Offers in flight keep the topics as they were.
                Arc::make_mut(&mut targets).handle_topic(topic, configs, clusters);
            }
            Control::Offer { lane, epoch, partitions, last } => {
                let Some(handle) = handles.get(usize::from(lane.0)) else { continue };
                let queue = lanes.entry(lane).or_insert_with(|| {
                    let (queue, queued) = mpsc::channel(QUEUE);
                    let offers = LaneOffers {
                        lane,
                        handle: handle.clone(),
                        shared: Arc::clone(&shared),
                        targets: Arc::clone(&targets),
                        waiting: WaitingOffers::new(),
                    };
                    tasks.spawn(offers.run(queued));
                    queue
                });
                let offer = Offer { targets: Arc::clone(&targets), epoch, partitions, last, room };
                // The room of the session bounds this queue, too.
                let _ = queue.try_send(Entry::Offer(offer));
            }
            Control::TopicsGone { topics } => {
                let topics: Arc<HashSet<Arc<str>>> = Arc::new(topics.into_iter().map(Arc::from).collect());
                for queue in lanes.values() {
                    // A queue that is full belongs to a lane that is stuck; its session ends by its own rules.
                    let _ = queue.try_send(Entry::Gone(Arc::clone(&topics)));
                }
            }
            _ => {}
        }
    }
}

impl LaneOffers {
    async fn run(mut self, mut queue: mpsc::Receiver<Entry>) {
        loop {
            let due = self.waiting.next_timeout();
            tokio::select! {
                entry = queue.recv() => match entry {
                    Some(Entry::Offer(offer)) => self.offer(offer).await,
                    Some(Entry::Gone(topics)) => self.handle_gone(topics),
                    None => return,
                },
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.retry().await;
                }
            }
        }
    }

    async fn offer(&mut self, offer: Offer) {
        let Offer { targets, epoch, partitions, last, room } = offer;
        self.shared.wait_for_all_lanes().await;
        self.targets = targets;
        self.waiting.handle_offer(epoch, &partitions);
        self.join(partitions, &Arc::new(room)).await;
        if last {
            self.waiting.handle_last();
        }
        self.notify_last();
    }

    fn handle_gone(&mut self, topics: Arc<HashSet<Arc<str>>>) {
        self.waiting.handle_gone(&topics);
        self.handle.view.lock().waiting = self.waiting.reported();
        self.push(Command::TopicsGone(self.shared.session, self.waiting.epoch, topics));
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
            for offered in found.offered {
                self.waiting.handle_joined(&offered.key());
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
    fn new(session: SessionId, carried_topics: Arc<CarriedTopics>) -> Self {
        Self { session, carried_topics, requests: Semaphore::new(REQUESTS), waited: Mutex::default() }
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
            let answer = tokio::task::spawn_blocking(request.clone()).await;
            drop(permit);
            match answer {
                Ok(Ok(answer)) => return answer,
                Ok(Err(error)) if !failing => {
                    failing = true;
                    tracing::warn!(%error, "could not look up target topics; trying again");
                }
                Ok(Err(_)) => {}
                Err(_) => return R::default(),
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
    use wire::ids::Position;

    use super::*;
    use crate::config::Rename;
    use crate::join::fixtures::offered;
    use crate::lane::Terms;
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
        let settings = LinkSettings {
            name: "l".into(),
            senders: vec![],
            topics: TopicFilter::new(vec![TopicPattern::parse(".*").unwrap()], vec![]),
            rename: Rename::prefix("fra."),
            copy_configs: false,
            replication: None,
            credit_bytes: 0,
            accept_cluster: None,
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
        }
    }

    fn offers(lane: &LaneHandle, carried_topics: &Arc<CarriedTopics>) -> LaneOffers {
        let shared = Arc::new(Shared::new(1, Arc::clone(carried_topics)));
        let targets = Arc::new(targets(&cluster()));
        LaneOffers { lane: LaneId(0), handle: lane.clone(), shared, targets, waiting: WaitingOffers::new() }
    }

    fn offer(targets: &Arc<Targets>, partitions: Vec<OfferedPartition>) -> Offer {
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        Offer { targets: Arc::clone(targets), epoch: Epoch(1), partitions, last: true, room }
    }

    #[tokio::test]
    async fn a_lane_that_cannot_store_a_claim_delays_no_other_lane() {
        let lanes: Vec<_> =
            (0..2).map(|_| LaneHandle { mailbox: Mailbox::new(8, Bell::default()), view: Arc::default() }).collect();
        let carried_topics = Arc::new(CarriedTopics::new(2));
        (0..2).for_each(|lane| carried_topics.handle_lane_read(LaneId(lane), [].iter()));
        let cluster = cluster();
        let there = NewTopic { name: "fra.there".into(), partitions: 1, replication: None, configs: vec![] };
        cluster.create(&[there]).unwrap();
        let joining = Joining::start(targets(&cluster), 1, &lanes, carried_topics);
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
        let lane = LaneHandle { mailbox: Mailbox::new(64, Bell::default()), view: Arc::default() };
        let carried_topics = Arc::new(CarriedTopics::new(2));
        (0..2).for_each(|lane| carried_topics.handle_requested(LaneId(lane)));
        carried_topics.handle_lane_read(LaneId(0), [].iter());
        let targets = Arc::new(targets(&cluster()));
        let mut offers = offers(&lane, &carried_topics);
        *offers.shared.waited.lock().await = LANES_READ_WITHIN - LANES_READ_STEP;
        let began = std::time::Instant::now();
        for _ in 0..20 {
            offers.offer(offer(&targets, Vec::new())).await;
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
        let lane = LaneHandle { mailbox: Mailbox::new(8, Bell::default()), view: Arc::default() };
        let carried_topics = Arc::new(CarriedTopics::new(1));
        carried_topics.handle_lane_read(LaneId(0), [].iter());
        let mut offers = offers(&lane, &carried_topics);
        let targets = Arc::new(targets(&cluster));
        let word = |command| match command {
            Command::Offer(_, _, offered) => format!("{} joins", offered.partition.topic),
            Command::WaitingOffer(_, _, _, key, halt) => format!("{} {}", key.topic, halt.reason),
            Command::LastOffer(..) => "last".to_owned(),
            other => panic!("{other:?}"),
        };
        let sent = || std::iter::from_fn(|| lane.mailbox.pop()).map(word).collect::<Vec<_>>();
        offers.offer(offer(&targets, vec![offered("one"), offered("three")])).await;
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
    async fn topics_are_created_after_their_claim_and_never_in_a_loop() {
        let cluster = cluster();
        let mut targets = targets(&cluster);
        targets.handle_topic("orders".into(), vec![], vec!["ams".into()]);
        targets.handle_topic("circle".into(), vec![], vec!["sin".into()]);
        let lane = LaneHandle { mailbox: Mailbox::new(8, Bell::default()), view: Arc::default() };
        let carried_topics = Arc::new(CarriedTopics::new(1));
        carried_topics.handle_lane_read(LaneId(0), [].iter());
        let mut offers = offers(&lane, &carried_topics);
        let offer = offers.offer(offer(&Arc::new(targets), vec![offered("orders"), offered("circle")]));
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
}
