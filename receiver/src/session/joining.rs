//! Offers on their way to their lanes: the target of each partition is looked up first, in each lane's order, beside
//! the lanes so that none is held up. A lane whose offers have to wait, for its own commit or for a partition of the
//! target that does not answer, does not hold up those of the others.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kafka::KafkaError;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use wire::close::CloseCode;
use wire::control::{Control, OfferedPartition};
use wire::ids::{Epoch, LaneId};

use super::{Ending, RETRY};
use crate::join::carried_topics::Knowledge;
use crate::join::targets::Targets;
use crate::lane::Claim;
use crate::lane::thread::{Command, LaneHandle};
use crate::link::arbiter::SessionId;

/// Announcements and offers that may wait: an announcement per topic and an offer per 256 partitions.
const QUEUE: usize = 16 * 1024;

/// Questions that the target is asked at once: so that one which it is slow to answer leaves room for others.
const QUESTIONS: usize = 4;

/// How long a session's offers wait for the other lanes' state, all together.
const KNOWLEDGE: Duration = Duration::from_secs(10);
const KNOWLEDGE_STEP: Duration = Duration::from_millis(20);

/// The queue of announcements and offers of one session.
pub(super) struct Joining {
    queue: mpsc::UnboundedSender<(Control, OwnedSemaphorePermit)>,
    /// Bounds what waits, here and for each lane.
    room: Arc<Semaphore>,
}

impl Joining {
    pub(super) fn start(
        targets: Targets,
        session: SessionId,
        lanes: &[LaneHandle],
        knowledge: Arc<Knowledge>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let (queue_in, queue) = mpsc::unbounded_channel();
        let asking = Asking { questions: Arc::new(Semaphore::new(QUESTIONS)), waited: Arc::default() };
        tasks.spawn(Work { targets: Arc::new(targets), session, lanes: lanes.to_vec(), knowledge, asking }.run(queue));
        Self { queue: queue_in, room: Arc::new(Semaphore::new(QUEUE)) }
    }

    /// Queues a `Topic` or an `Offer`.
    pub(super) fn handle(&self, message: Control) -> Result<(), Ending> {
        let full = || Ending::new(CloseCode::Busy, format!("more than {QUEUE} offers are waiting for the target"));
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| full())?;
        self.queue.send((message, room)).map_err(|_| full())
    }
}

struct Work {
    targets: Arc<Targets>,
    session: SessionId,
    lanes: Vec<LaneHandle>,
    knowledge: Arc<Knowledge>,
    asking: Asking,
}

/// What the lanes' offers share of the target's time.
#[derive(Clone)]
struct Asking {
    questions: Arc<Semaphore>,
    /// How long offers have waited for the other lanes' state.
    waited: Arc<Mutex<Duration>>,
}

/// An offer, with the topics as they were announced before it.
struct Offer {
    targets: Arc<Targets>,
    epoch: Epoch,
    partitions: Vec<OfferedPartition>,
    last: bool,
    _room: OwnedSemaphorePermit,
}

impl Work {
    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<(Control, OwnedSemaphorePermit)>) {
        // Both end with this, and with them what still waits.
        let mut tasks = JoinSet::new();
        let mut lanes: HashMap<LaneId, mpsc::UnboundedSender<Offer>> = HashMap::new();
        while let Some((message, room)) = queue.recv().await {
            match message {
                Control::Topic { topic, configs, clusters, .. } => {
                    // Offers that are under way keep the topics as they were.
                    Arc::make_mut(&mut self.targets).handle_topic(topic, configs, clusters);
                }
                Control::Offer { lane, epoch, partitions, last } => {
                    let Some(joins) = self.of(lane) else { continue };
                    let queue = lanes.entry(lane).or_insert_with(|| {
                        let (queue_in, queue) = mpsc::unbounded_channel();
                        tasks.spawn(joins.run(queue));
                        queue_in
                    });
                    let targets = Arc::clone(&self.targets);
                    let _ = queue.send(Offer { targets, epoch, partitions, last, _room: room });
                }
                _ => {}
            }
        }
    }

    fn of(&self, lane: LaneId) -> Option<Joins> {
        let handle = self.lanes.get(usize::from(lane.0))?.clone();
        let (knowledge, asking) = (Arc::clone(&self.knowledge), self.asking.clone());
        Some(Joins { lane, handle, session: self.session, knowledge, asking })
    }
}

/// The offers of one lane, one after the other.
struct Joins {
    lane: LaneId,
    handle: LaneHandle,
    session: SessionId,
    knowledge: Arc<Knowledge>,
    asking: Asking,
}

impl Joins {
    async fn run(self, mut queue: mpsc::UnboundedReceiver<Offer>) {
        while let Some(offer) = queue.recv().await {
            self.offer(offer).await;
        }
    }

    async fn offer(&self, offer: Offer) {
        let Offer { targets, epoch, partitions, last, .. } = offer;
        self.wait_for_knowledge().await;
        let partitions = Arc::new(partitions);
        if !self.claim(&targets, epoch, &partitions).await {
            return;
        }
        let knowledge = Arc::clone(&self.knowledge);
        for offered in self.asking.ask(move || targets.look_up(&partitions, &knowledge)).await {
            self.push(Command::Offer(self.session, epoch, Box::new(offered)));
        }
        if last {
            self.push(Command::LastOffer(self.session, epoch));
        }
    }

    /// Whether a missing topic is new or was lost is known once every lane was read; lanes open together, so
    /// that this is soon. A lane that does not open must not hold the others up for long: not once per offer.
    async fn wait_for_knowledge(&self) {
        let mut waited = self.asking.waited.lock().await;
        while !self.knowledge.is_complete() && *waited < KNOWLEDGE {
            tokio::time::sleep(KNOWLEDGE_STEP).await;
            *waited += KNOWLEDGE_STEP;
        }
    }

    fn push(&self, command: Command) {
        if self.handle.mailbox.push(command).is_err() {
            tracing::error!("a lane's mailbox is full; an offer is lost until the lane is opened again");
        }
    }

    /// Has the state name every topic that is about to be made: a sender beside the target that sees the topic
    /// must not take it for its own cluster's. False if the lane is closed, and offered anew some time.
    async fn claim(&self, targets: &Arc<Targets>, epoch: Epoch, offered: &Arc<Vec<OfferedPartition>>) -> bool {
        let (asks, knowledge, asked) = (Arc::clone(targets), Arc::clone(&self.knowledge), Arc::clone(offered));
        let origins = self.asking.ask(move || asks.claims(&asked, &knowledge)).await;
        if origins.is_empty() {
            return true;
        }
        let (done, stored) = oneshot::channel();
        self.push(Command::Claim(self.session, epoch, Claim { origins, done }));
        if stored.await.is_err() {
            return false;
        }
        let (asks, lane) = (Arc::clone(targets), self.lane);
        self.asking.ask(move || asks.wait_until_visible(lane)).await;
        true
    }
}

impl Asking {
    /// Asks until the target answers.
    async fn ask<R: Default + Send + 'static>(
        &self,
        question: impl Fn() -> Result<R, KafkaError> + Clone + Send + 'static,
    ) -> R {
        let mut failing = false;
        loop {
            // Between two attempts others may ask.
            let permit = self.questions.acquire().await;
            let answer = tokio::task::spawn_blocking(question.clone()).await;
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
    use std::sync::Mutex;

    use kafka::catalog::{Bounds, Catalog, Isolation, NewTopic, TopicDescription};
    use service::bell::Bell;
    use service::mailbox::Mailbox;
    use service::topics::{TopicFilter, TopicPattern};
    use wire::ids::{Position, Slot, TopicId};
    use wire::partition::Partition;

    use super::*;
    use crate::config::Rename;
    use crate::lane::Terms;
    use crate::link::{LinkSettings, ServedLink};

    /// A cluster in which topics can be made.
    #[derive(Default)]
    struct Made(Mutex<Vec<TopicDescription>>);

    impl Made {
        fn names(&self) -> Vec<String> {
            self.0.lock().unwrap().iter().map(|topic| topic.name.clone()).collect()
        }
    }

    impl Catalog for Made {
        fn describe(&self, names: &[String]) -> Result<Vec<TopicDescription>, KafkaError> {
            Ok(self.0.lock().unwrap().iter().filter(|topic| names.contains(&topic.name)).cloned().collect())
        }

        fn bounds(&self, asked: &[Partition], _: Isolation) -> Result<Vec<Bounds>, KafkaError> {
            Ok(vec![Bounds { start: Position(0), end: Position(0) }; asked.len()])
        }

        fn create(&self, topics: &[NewTopic]) -> Result<(), KafkaError> {
            let made = topics.iter().map(|topic| TopicDescription {
                name: topic.name.clone(),
                id: TopicId([9; 16]),
                partitions: topic.partitions,
                replicas: 1,
            });
            self.0.lock().unwrap().extend(made);
            Ok(())
        }
    }

    fn targets(cluster: &Arc<Made>) -> Targets {
        let settings = LinkSettings {
            name: "l".into(),
            senders: vec![],
            topics: TopicFilter::new(vec![TopicPattern::parse(".*").unwrap()], vec![]),
            rename: Rename::prefix("fra."),
            copy_configs: false,
            replication: None,
            credit_bytes: 0,
        };
        let catalog: Arc<dyn Catalog> = Arc::<Made>::clone(cluster);
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
        }
    }

    fn offered(topic: &str) -> OfferedPartition {
        OfferedPartition {
            slot: Slot(0),
            topic: topic.into(),
            partition: 0,
            topic_id: TopicId([1; 16]),
            partitions: 1,
            log_start: Position(0),
            log_end: Position(0),
            start: Position(0),
            jump: None,
        }
    }

    fn joins(lane: &LaneHandle, knowledge: &Arc<Knowledge>) -> Joins {
        let asking = Asking { questions: Arc::new(Semaphore::new(QUESTIONS)), waited: Arc::default() };
        Joins { lane: LaneId(0), handle: lane.clone(), session: 1, knowledge: Arc::clone(knowledge), asking }
    }

    fn offer(targets: &Arc<Targets>, partitions: Vec<OfferedPartition>) -> Offer {
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        Offer { targets: Arc::clone(targets), epoch: Epoch(1), partitions, last: true, _room: room }
    }

    #[tokio::test]
    async fn a_lane_that_cannot_store_what_it_is_about_to_make_holds_up_no_other_lane() {
        let lanes: Vec<_> =
            (0..2).map(|_| LaneHandle { mailbox: Mailbox::new(8, Bell::default()), view: Arc::default() }).collect();
        let knowledge = Arc::new(Knowledge::new(2));
        (0..2).for_each(|lane| knowledge.handle_lane_read(LaneId(lane), [].iter()));
        let cluster = Arc::<Made>::default();
        let there = NewTopic { name: "fra.there".into(), partitions: 1, replication: None, configs: vec![] };
        cluster.create(&[there]).unwrap();
        let mut tasks = JoinSet::new();
        let joining = Joining::start(targets(&cluster), 1, &lanes, knowledge, &mut tasks);
        for (lane, topic) in [(0, "missing"), (1, "there")] {
            let (lane, epoch, partitions) = (LaneId(lane), Epoch(1), vec![offered(topic)]);
            joining.handle(Control::Offer { lane, epoch, partitions, last: true }).unwrap();
        }
        // Kept, so that the first lane waits for ever.
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
    async fn a_lane_that_does_not_open_holds_up_the_others_once_and_not_with_every_offer() {
        let lane = LaneHandle { mailbox: Mailbox::new(64, Bell::default()), view: Arc::default() };
        let knowledge = Arc::new(Knowledge::new(2));
        knowledge.handle_lane_read(LaneId(0), [].iter());
        let targets = Arc::new(targets(&Arc::<Made>::default()));
        let joins = joins(&lane, &knowledge);
        *joins.asking.waited.lock().await = KNOWLEDGE - KNOWLEDGE_STEP;
        let began = std::time::Instant::now();
        for _ in 0..20 {
            joins.offer(offer(&targets, Vec::new())).await;
        }
        assert!(began.elapsed() < KNOWLEDGE, "{:?}", began.elapsed());
        assert_eq!(std::iter::from_fn(|| lane.mailbox.pop()).count(), 20);
    }

    #[tokio::test]
    async fn no_topic_is_made_before_the_state_names_it_and_none_that_has_been_here() {
        let cluster = Arc::<Made>::default();
        let mut targets = targets(&cluster);
        targets.handle_topic("orders".into(), vec![], vec!["ams".into()]);
        targets.handle_topic("circle".into(), vec![], vec!["sin".into()]);
        let lane = LaneHandle { mailbox: Mailbox::new(8, Bell::default()), view: Arc::default() };
        let knowledge = Arc::new(Knowledge::new(1));
        knowledge.handle_lane_read(LaneId(0), [].iter());
        let joins = joins(&lane, &knowledge);
        let offer = joins.offer(offer(&Arc::new(targets), vec![offered("orders"), offered("circle")]));
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
            assert_eq!(cluster.names(), [""; 0], "made before its state was stored");
            done.send(()).unwrap();
        };
        tokio::join!(offer, answer);
        assert_eq!(cluster.names(), ["fra.orders"]);
        let answers: Vec<_> = std::iter::from_fn(|| lane.mailbox.pop()).collect();
        let [Command::Offer(_, _, joins), Command::Offer(_, _, circle), Command::LastOffer(..)] = &answers[..] else {
            panic!("{answers:?}")
        };
        assert_eq!(joins.origin().unwrap().target_topic_id, TopicId([9; 16]));
        assert_eq!(circle.target.as_ref().unwrap_err().reason, "returns-to-origin");
    }
}
