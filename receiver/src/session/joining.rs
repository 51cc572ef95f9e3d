//! Offers on their way to their lanes: the target of each partition is looked up first, in order, beside
//! the lanes so that none is held up.

use std::sync::Arc;
use std::time::Duration;

use link::kafka::KafkaError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use wire::close::CloseCode;
use wire::control::{Control, OfferedPartition};
use wire::ids::{Epoch, LaneId};

use super::{Ending, RETRY};
use crate::arbiter::SessionId;
use crate::knowledge::Knowledge;
use crate::lane::Claim;
use crate::lane_thread::{Command, LaneHandle};
use crate::targets::Targets;

/// Announcements and offers that may wait: an announcement per topic and an offer per 256 partitions.
const QUEUE: usize = 16 * 1024;

/// How long a session's offers wait for the other lanes' state, all together.
const KNOWLEDGE: Duration = Duration::from_secs(10);
const KNOWLEDGE_STEP: Duration = Duration::from_millis(20);

/// The queue of announcements and offers of one session.
pub(super) struct Joining(mpsc::Sender<Control>);

impl Joining {
    pub(super) fn start(
        targets: Targets,
        session: SessionId,
        lanes: &[LaneHandle],
        knowledge: Arc<Knowledge>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let (queue_in, queue) = mpsc::channel(QUEUE);
        let (targets, lanes) = (Arc::new(targets), lanes.to_vec());
        tasks.spawn(Work { targets, session, lanes, knowledge, waited: Duration::ZERO }.run(queue));
        Self(queue_in)
    }

    /// Queues a `Topic` or an `Offer`.
    pub(super) fn handle(&self, message: Control) -> Result<(), Ending> {
        let queued = self.0.try_send(message);
        queued.map_err(|_| Ending::new(CloseCode::Busy, format!("more than {QUEUE} offers are waiting for the target")))
    }
}

struct Work {
    targets: Arc<Targets>,
    session: SessionId,
    lanes: Vec<LaneHandle>,
    knowledge: Arc<Knowledge>,
    /// How long offers have waited for the other lanes' state.
    waited: Duration,
}

impl Work {
    async fn run(mut self, mut queue: mpsc::Receiver<Control>) {
        while let Some(message) = queue.recv().await {
            match message {
                Control::Topic { topic, configs, clusters, .. } => {
                    // No look-up is under way: this is its only other holder.
                    if let Some(targets) = Arc::get_mut(&mut self.targets) {
                        targets.handle_topic(topic, configs, clusters);
                    }
                }
                Control::Offer { lane, epoch, partitions, last } => self.offer(lane, epoch, partitions, last).await,
                _ => {}
            }
        }
    }

    async fn offer(&mut self, lane: LaneId, epoch: Epoch, partitions: Vec<OfferedPartition>, last: bool) {
        self.wait_for_knowledge().await;
        let Some(handle) = self.lanes.get(usize::from(lane.0)) else { return };
        let partitions = Arc::new(partitions);
        if !self.claim(handle, lane, epoch, &partitions).await {
            return;
        }
        let (targets, knowledge) = (Arc::clone(&self.targets), Arc::clone(&self.knowledge));
        for offered in ask(move || targets.look_up(&partitions, &knowledge)).await {
            self.push(handle, Command::Offer(self.session, epoch, Box::new(offered)));
        }
        if last {
            self.push(handle, Command::LastOffer(self.session, epoch));
        }
    }

    /// Whether a missing topic is new or was lost is known once every lane was read; lanes open together, so
    /// that this is soon. A lane that does not open must not hold the others up for long: not once per offer.
    async fn wait_for_knowledge(&mut self) {
        while !self.knowledge.is_complete() && self.waited < KNOWLEDGE {
            tokio::time::sleep(KNOWLEDGE_STEP).await;
            self.waited += KNOWLEDGE_STEP;
        }
    }

    fn push(&self, handle: &LaneHandle, command: Command) {
        if handle.mailbox.push(command).is_err() {
            tracing::error!("a lane's mailbox is full; an offer is lost until the lane is opened again");
        }
    }

    /// Has the state name every topic that is about to be made: a sender beside the target that sees the topic
    /// must not take it for its own cluster's. False if the lane is closed, and offered anew some time.
    async fn claim(
        &self,
        handle: &LaneHandle,
        lane: LaneId,
        epoch: Epoch,
        offered: &Arc<Vec<OfferedPartition>>,
    ) -> bool {
        let (targets, knowledge) = (Arc::clone(&self.targets), Arc::clone(&self.knowledge));
        let asked = Arc::clone(offered);
        let origins = ask(move || targets.claims(&asked, &knowledge)).await;
        if origins.is_empty() {
            return true;
        }
        let (done, stored) = oneshot::channel();
        self.push(handle, Command::Claim(self.session, epoch, Claim { origins, done }));
        if stored.await.is_err() {
            return false;
        }
        let targets = Arc::clone(&self.targets);
        ask(move || targets.wait_until_visible(lane)).await;
        true
    }
}

/// Asks until the target answers.
async fn ask<R: Default + Send + 'static>(question: impl Fn() -> Result<R, KafkaError> + Clone + Send + 'static) -> R {
    let mut failing = false;
    loop {
        match tokio::task::spawn_blocking(question.clone()).await {
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use link::bell::Bell;
    use link::catalog::{
        Bounds, Catalog, ConfigEntry, Isolation, NewTopic, TopicDescription, TopicPartition, TopicSummary,
    };
    use link::mailbox::Mailbox;
    use link::topics::{TopicFilter, TopicPattern};
    use wire::ids::{Position, Slot, TopicId};

    use super::*;
    use crate::config::Rename;
    use crate::lane::Terms;
    use crate::served_link::{LinkSettings, ServedLink};

    /// A cluster in which topics can be made.
    #[derive(Default)]
    struct Made(Mutex<Vec<TopicDescription>>);

    impl Made {
        fn names(&self) -> Vec<String> {
            self.0.lock().unwrap().iter().map(|topic| topic.name.clone()).collect()
        }
    }

    impl Catalog for Made {
        fn cluster_id(&self) -> Result<String, KafkaError> {
            Ok("sin".to_owned())
        }

        fn topics(&self) -> Result<Vec<TopicSummary>, KafkaError> {
            Ok(Vec::new())
        }

        fn describe(&self, names: &[String]) -> Result<Vec<TopicDescription>, KafkaError> {
            Ok(self.0.lock().unwrap().iter().filter(|topic| names.contains(&topic.name)).cloned().collect())
        }

        fn configs(&self, _name: &str) -> Result<Vec<ConfigEntry>, KafkaError> {
            Ok(Vec::new())
        }

        fn bounds(&self, asked: &[TopicPartition], _: Isolation) -> Result<Vec<Bounds>, KafkaError> {
            Ok(vec![Bounds { start: Position(0), end: Position(0) }; asked.len()])
        }

        fn positions_at(&self, _: &[TopicPartition], _: i64) -> Result<Vec<Position>, KafkaError> {
            Ok(Vec::new())
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

        fn grow(&self, _: &str, _: i32) -> Result<(), KafkaError> {
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

    #[tokio::test]
    async fn a_lane_that_does_not_open_holds_up_the_others_once_and_not_with_every_offer() {
        let lane = LaneHandle { mailbox: Mailbox::new(64, Bell::default()), view: Arc::default() };
        let knowledge = Arc::new(Knowledge::new(2));
        knowledge.handle_lane_read(LaneId(0), [].iter());
        let targets = Arc::new(targets(&Arc::<Made>::default()));
        let waited = KNOWLEDGE - KNOWLEDGE_STEP;
        let mut work = Work { targets, session: 1, lanes: vec![lane.clone()], knowledge, waited };
        let began = std::time::Instant::now();
        for _ in 0..20 {
            work.offer(LaneId(0), Epoch(1), Vec::new(), true).await;
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
        let waited = Duration::ZERO;
        let mut work = Work { targets: Arc::new(targets), session: 1, lanes: vec![lane.clone()], knowledge, waited };
        let offer = async {
            work.offer(LaneId(0), Epoch(1), vec![offered("orders"), offered("circle")], true).await;
        };
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
