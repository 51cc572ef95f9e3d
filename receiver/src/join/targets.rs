//! Target topics of offered partitions: looks them up, creates or grows them, and reads where their logs end.
//! Blocks on the target cluster; runs outside the lanes' threads.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kafka::catalog::{Bounds, Catalog, Isolation, NewTopic, Replicas, TopicDescription, only};
use kafka::topic_settings::COPIED;
use kafka::{KafkaError, KafkaFault};
use service::lock::Lock;
use service::topics::{TopicFilter, check_kafka_name};
use wire::close::Close;
use wire::control::{Accepts, OfferedPartition, ReturningPartition, TopicConfig};
use wire::halt::HaltReason;
use wire::ids::{LaneId, Position, TopicId};
use wire::origin::Origin;
use wire::partition::Partition;

use crate::config::Rename;
use crate::join::admission::Admission;
use crate::join::announcements::Announcements;
use crate::join::carried_topics::CarriedTopics;
use crate::join::creation::{Change, NotUsable, TopicCreator, is_refused_name};
use crate::join::returns::Provenance;
use crate::join::{Offered, OfferedTarget, is_carried_only, origin_unknown};
use crate::lane::Terms;
use crate::link::announced::Room;
use crate::link::blocking::Blocking;
use crate::link::refused_topics::RefusedTopics;
use crate::link::{LinkSettings, ServedLink};
use crate::target::state::{self, HaltRecord};

/// Time limit for a created topic to appear in the metadata of the brokers, before it waits by itself.
const APPEAR: Duration = Duration::from_secs(5);
const APPEAR_STEP: Duration = Duration::from_millis(50);

/// Target topics by name.
type Topics = HashMap<String, Result<TopicDescription, NotUsable>>;

/// Partitions whose offers can be decided, and those that wait because the cluster cannot answer for them now.
#[derive(Debug, Default)]
pub(crate) struct LookedUp {
    pub offered: Vec<Offered>,
    pub waiting: Vec<Waiting>,
}

/// An offered partition that waits for its target, with the reason.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub partition: OfferedPartition,
    pub error: KafkaError,
}

/// Origins to store before a look-up creates topics.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// Origins of the missing topics, by their source names.
    pub origins: Vec<(Arc<str>, Origin)>,
    /// Partitions whose targets can be looked up once the origins are stored.
    pub partitions: Vec<OfferedPartition>,
    pub waiting: Vec<Waiting>,
}

/// Looks up and creates the target topics of one link.
#[derive(Clone)]
pub(crate) struct Targets {
    /// Places for the requests of the link.
    pub(crate) blocking: Blocking,
    catalog: Arc<dyn Catalog>,
    rename: Rename,
    allowed: TopicFilter,
    replication: Option<i32>,
    copy_configs: bool,
    creator: TopicCreator,
    refused_topics: Arc<RefusedTopics>,
    terms: Arc<Terms>,
    announcements: Arc<Announcements>,
    admission: Arc<Lock<Admission>>,
    /// Held while topics are created: lanes share topics, and a topic that one lane finds missing may be created, and
    /// even written, by another a moment later.
    creating: Arc<Lock<()>>,
}

impl Targets {
    pub(crate) fn new(link: &ServedLink, settings: &LinkSettings, terms: Arc<Terms>) -> Self {
        Self {
            blocking: link.blocking.clone(),
            catalog: Arc::clone(&link.catalog),
            rename: settings.rename.clone(),
            allowed: settings.topics.clone(),
            replication: settings.replication,
            copy_configs: settings.copy_configs,
            creator: TopicCreator::new(link, settings),
            refused_topics: link.refused_topics.begun(),
            terms,
            announcements: Arc::new(Announcements::new(link.announced.clone())),
            admission: Arc::new(Lock::new(Admission::new(settings.limits))),
            creating: Arc::default(),
        }
    }

    /// Takes a topic's announcement: its configuration, and the clusters that it passed before the source. Only what a
    /// creation of the target topic needs is kept, until the session ends.
    pub(crate) fn handle_topic(
        &self,
        topic: String,
        mut configs: Vec<TopicConfig>,
        mut clusters: Vec<String>,
    ) -> Result<(), Close> {
        if !self.allowed.matches(&topic) {
            return Ok(());
        }
        configs.retain(|config| self.copy_configs && COPIED.contains(&config.name.as_str()));
        configs.shrink_to_fit();
        clusters.push(self.terms.source_cluster.clone());
        self.announcements.handle(topic, configs, clusters)
    }

    #[cfg(test)]
    pub(crate) fn announced_bytes(&self) -> &crate::link::announced::Announced {
        &self.announcements.memory
    }

    /// Takes memory for an entry that waits for its lane.
    pub(crate) fn room(&self, bytes: usize) -> Result<Room, Close> {
        self.announcements.memory.take(bytes)
    }

    /// Forgets which of these topics were admitted: they no longer exist at the source.
    pub(crate) fn handle_gone<'t>(&self, topics: impl Iterator<Item = &'t Arc<str>>) {
        let mut admission = self.admission.lock();
        topics.for_each(|topic| admission.forget(topic));
    }

    /// Takes the policy for the records of a topic that the target refuses.
    pub(crate) fn handle_skip_refused(&self, topic: String, policy: String) -> Result<(), Close> {
        if self.allowed.matches(&topic) { self.announcements.handle_skip_refused(topic, policy) } else { Ok(()) }
    }

    /// Takes a topic that goes back to the cluster from which a promoted link brought it.
    pub(crate) fn handle_returning(
        &self,
        topic: String,
        from: Provenance,
        partitions: Vec<ReturningPartition>,
    ) -> Result<(), Close> {
        if !self.allowed.matches(&topic) {
            return Ok(());
        }
        self.announcements.handle_returning(topic, from, partitions)
    }

    /// Returns the target of each offered partition, in the order offered. A topic that cannot be used halts its
    /// own partitions only, and a topic or partition that the cluster cannot answer for waits by itself. An error means
    /// that the cluster answers for none.
    pub(crate) fn look_up(
        &self,
        partitions: &[OfferedPartition],
        carried_topics: &CarriedTopics,
    ) -> Result<LookedUp, KafkaError> {
        let topics = self.ensure(self.wanted(partitions), carried_topics)?;
        let at = |offered: &OfferedPartition| Partition::new(self.rename.apply(&offered.topic), offered.partition);
        let present: Vec<_> = partitions
            .iter()
            .map(at)
            .filter(|at| matches!(topics.get(&*at.topic), Some(Ok(topic)) if at.partition < topic.partitions))
            .collect();
        let ends = if present.is_empty() { HashMap::new() } else { self.ends(present)? };
        let mut found = LookedUp::default();
        for partition in partitions {
            let at = at(partition);
            let target = match topics.get(&*at.topic) {
                Some(Ok(topic)) if topic.partitions <= at.partition => Err(too_few(topic, partition)),
                Some(Ok(topic)) => match &ends[&at] {
                    Ok(end) => Ok(OfferedTarget {
                        topic_id: topic.id,
                        end: *end,
                        clusters: self.clusters(&partition.topic),
                        partition: at,
                    }),
                    Err(error) => {
                        found.waiting.push(Waiting { partition: partition.clone(), error: error.clone() });
                        continue;
                    }
                },
                Some(Err(NotUsable::Wait(error))) => {
                    found.waiting.push(Waiting { partition: partition.clone(), error: error.clone() });
                    continue;
                }
                Some(Err(NotUsable::Halt(halt))) => Err(halt.clone()),
                None => Err(self.admit(partition).err().unwrap_or_else(|| unauthorized(&partition.topic))),
            };
            self.refused_topics.note(&partition.topic, target.as_ref().err());
            let skips_refused = self.announcements.skips_refused(&partition.topic);
            found.offered.push(Offered {
                partition: partition.clone(),
                target,
                skips_refused,
                returning: self.announcements.returning(&partition.topic, partition.partition),
                room: None,
                was_deferred: false,
            });
        }
        Ok(found)
    }

    /// Returns the end of each partition's log; an error where no record can be written now. Such a partition would stop
    /// its lane.
    fn ends(&self, partitions: Vec<Partition>) -> Result<HashMap<Partition, Result<Position, KafkaError>>, KafkaError> {
        let bounds = self.catalog.bounds(&partitions, Isolation::Uncommitted)?;
        let replicas = self.catalog.replicas(&partitions)?;
        let writable = |at: &Partition, replicas: Result<Replicas, KafkaError>| match replicas?.refusal() {
            Some(reason) => Err(KafkaError { doing: format!("write to {at}"), reason, fault: KafkaFault::Unavailable }),
            None => Ok(()),
        };
        let ends = partitions.into_iter().zip(bounds.into_iter().zip(replicas));
        let end = |(at, (bounds, replicas)): (Partition, (Result<Bounds, KafkaError>, _))| {
            let end = bounds.and_then(|bounds| writable(&at, replicas).map(|()| bounds.end));
            (at, end)
        };
        Ok(ends.map(end).collect())
    }

    /// Returns the origins that the state must contain before the missing topics of these partitions are created. A
    /// topic that the cluster does not describe now could be missing, so its partitions wait.
    pub(crate) fn claims(
        &self,
        partitions: &[OfferedPartition],
        carried_topics: &CarriedTopics,
    ) -> Result<Claims, KafkaError> {
        let wanted = self.wanted(partitions);
        let found = self.describe(&wanted.keys().cloned().collect::<Vec<_>>())?;
        let mut claims = Claims::default();
        for (target_topic, partition) in wanted {
            let creates = !is_carried_only(partition);
            if creates && !found.contains_key(&target_topic) && carried_topics.carries(&partition.topic) != Some(true) {
                let clusters = self.clusters(&partition.topic).to_vec();
                let origin = Origin { target_topic, target_topic_id: TopicId::UNKNOWN, clusters };
                claims.origins.push((partition.topic.as_str().into(), origin));
            }
        }
        for partition in partitions {
            match found.get(&self.rename.apply(&partition.topic)) {
                Some(Err(error)) if !is_refused_name(error) => {
                    claims.waiting.push(Waiting { partition: partition.clone(), error: error.clone() });
                }
                _ => claims.partitions.push(partition.clone()),
            }
        }
        Ok(claims)
    }

    /// Waits until `read_committed` readers see the present state of `lane`: a commit is answered before that.
    pub(crate) fn wait_until_visible(&self, lane: LaneId) -> Result<(), KafkaError> {
        let at = [Partition::new(state::topic(&self.terms.link), i32::from(lane.0))];
        let end = |isolation| only(self.catalog.ends(&at, isolation));
        let written = end(Isolation::Uncommitted)?;
        let mut waited = Duration::ZERO;
        while end(Isolation::Committed)? < written {
            if waited >= APPEAR {
                return Err(timed_out("read of the state just stored"));
            }
            std::thread::sleep(APPEAR_STEP);
            waited += APPEAR_STEP;
        }
        Ok(())
    }

    /// Returns the target topics that this link may write, each with one of its offered partitions.
    fn wanted<'p>(&self, partitions: &'p [OfferedPartition]) -> HashMap<String, &'p OfferedPartition> {
        let wanted = partitions.iter().filter(|partition| self.admit(partition).is_ok());
        wanted.map(|partition| (self.rename.apply(&partition.topic), partition)).collect()
    }

    /// Decides whether the link may carry the topic of a partition. Error: the halt of the partition.
    fn admit(&self, partition: &OfferedPartition) -> Result<(), HaltRecord> {
        let topic = &partition.topic;
        if self.returns(topic) {
            let detail = format!("{topic} has passed this cluster on its way to the source");
            return Err(HaltRecord::new(HaltReason::ReturnsToOrigin, detail));
        }
        if !self.allowed.matches(topic) {
            return Err(unauthorized(topic));
        }
        if let Some(returning) = self.announcements.returning(topic, partition.partition) {
            returning.check_place(&self.rename.apply(topic), &self.terms.target_cluster)?;
        }
        check_kafka_name(&self.rename.apply(topic))
            .map_err(|reason| HaltRecord::new(HaltReason::TargetRefused, reason))?;
        self.admission.lock().admit(topic, partition.partitions)
    }

    fn clusters(&self, topic: &str) -> Arc<[String]> {
        self.announcements.clusters(topic).unwrap_or_else(|| [self.terms.source_cluster.clone()].into())
    }

    /// Returns whether the topic has been in this cluster before. A sender does not offer such topics; if one does, the
    /// receiver must not close the loop.
    fn returns(&self, topic: &str) -> bool {
        // The last one is the source, which is another cluster even where it has the target's id.
        let clusters = self.clusters(topic);
        clusters.split_last().is_some_and(|(_source, passed)| passed.contains(&self.terms.target_cluster))
    }

    /// Creates missing topics, grows those with too few partitions, and waits until the cluster shows them.
    fn ensure(
        &self,
        wanted: HashMap<String, &OfferedPartition>,
        carried_topics: &CarriedTopics,
    ) -> Result<Topics, KafkaError> {
        let names: Vec<_> = wanted.keys().cloned().collect();
        let mut found = self.describe(&names)?;
        let _creating = if has_all(&found, &wanted) {
            None
        } else {
            let creating = self.creating.lock();
            found = self.describe(&names)?;
            Some(creating)
        };
        let mut topics = Topics::new();
        let mut awaited = HashMap::new();
        let mut missing = Vec::new();
        for (name, partition) in wanted {
            match found.remove(&name) {
                Some(Ok(topic)) if topic.partitions >= partition.partitions => {
                    topics.insert(name, Ok(topic));
                }
                // Its number of partitions is for its applications to choose.
                Some(Ok(topic)) if carried_topics.is_switched_over(&partition.topic) => {
                    topics.insert(name, Ok(topic));
                }
                Some(Ok(topic)) => match self.grow(&name, partition.partitions) {
                    Ok(true) => drop(awaited.insert(name, partition.partitions)),
                    // The partitions that exist are carried.
                    Ok(false) => drop(topics.insert(name, Ok(topic))),
                    Err(error) => drop(topics.insert(name, Err(NotUsable::Wait(error)))),
                },
                Some(Err(error)) => drop(topics.insert(name, Err(NotUsable::not_described(error)))),
                None if carried_topics.carries(&partition.topic) == Some(true) && !adopts(partition) => {
                    let detail =
                        format!("{name} is missing, and this link has written to it: it is not created again silently");
                    let halt = HaltRecord::new(HaltReason::TargetReplaced, detail);
                    topics.insert(name, Err(NotUsable::Halt(halt)));
                }
                None if is_carried_only(partition) => {
                    let halt = origin_unknown(&partition.topic);
                    topics.insert(name, Err(NotUsable::Halt(halt)));
                }
                None => match self.announcements.returning(&partition.topic, partition.partition) {
                    Some(returning) => drop(topics.insert(name, Err(NotUsable::Halt(returning.missing())))),
                    None => missing.push(self.new_topic(&name, partition)),
                },
            }
        }
        let created = self.creator.create(&mut missing)?;
        for (topic, created) in missing.into_iter().zip(created) {
            match created {
                Ok(()) => drop(awaited.insert(topic.name, topic.partitions)),
                Err(not_usable) => drop(topics.insert(topic.name, Err(not_usable))),
            }
        }
        topics.extend(self.appear(awaited)?);
        Ok(topics)
    }

    /// Adds partitions to a topic. False: the cluster permanently refuses it.
    fn grow(&self, name: &str, partitions: i32) -> Result<bool, KafkaError> {
        tracing::info!(topic = name, partitions, "adding target partitions");
        match self.catalog.grow(name, partitions) {
            Ok(()) => Ok(true),
            Err(error) if Change::Growth.is_refused(&error) => {
                tracing::warn!(topic = name, %error, "could not add target partitions");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Waits until the cluster shows these topics with at least these numbers of partitions. Those that it does not show
    /// in time wait.
    fn appear(&self, awaited: HashMap<String, i32>) -> Result<Topics, KafkaError> {
        let names: Vec<_> = awaited.keys().cloned().collect();
        let mut waited = Duration::ZERO;
        loop {
            let found = self.describe(&names)?;
            let is_there =
                |name: &String| matches!(found.get(name), Some(Ok(topic)) if topic.partitions >= awaited[name]);
            if names.iter().all(is_there) || waited >= APPEAR {
                let absent = || Err(timed_out("creation of the target topic"));
                let topic = |name: &String| if is_there(name) { found[name].clone() } else { absent() };
                let topics: Vec<_> = names.iter().map(|name| topic(name).map_err(NotUsable::Wait)).collect();
                return Ok(names.into_iter().zip(topics).collect());
            }
            std::thread::sleep(APPEAR_STEP);
            waited += APPEAR_STEP;
        }
    }

    /// Describes the topics that exist. One that the cluster cannot describe now has its error.
    fn describe(&self, names: &[String]) -> Result<HashMap<String, Result<TopicDescription, KafkaError>>, KafkaError> {
        if names.is_empty() {
            return Ok(HashMap::new());
        }
        let answers = match self.catalog.describe(names) {
            // The whole request is refused because of one name: the others have their own answers.
            Err(error) if is_refused_name(&error) => {
                names.iter().map(|name| only(self.catalog.describe(std::slice::from_ref(name)))).collect()
            }
            answers => answers?,
        };
        let found = names.iter().cloned().zip(answers);
        Ok(found.filter(|(_, found)| !found.as_ref().is_err_and(KafkaError::is_unknown_topic)).collect())
    }

    fn new_topic(&self, name: &str, partition: &OfferedPartition) -> NewTopic {
        NewTopic {
            name: name.to_owned(),
            partitions: partition.partitions,
            replication: self.replication,
            configs: self.announcements.configs(&partition.topic),
        }
    }
}

fn timed_out(doing: &str) -> KafkaError {
    let reason = format!("not visible within {} s", APPEAR.as_secs());
    KafkaError { doing: doing.to_owned(), reason, fault: KafkaFault::TimedOut(APPEAR) }
}

/// Returns whether every wanted topic that the cluster can describe exists with enough partitions.
fn has_all(
    found: &HashMap<String, Result<TopicDescription, KafkaError>>,
    wanted: &HashMap<String, &OfferedPartition>,
) -> bool {
    let has = |(name, offered): (&String, &&OfferedPartition)| match found.get(name) {
        Some(Ok(topic)) => topic.partitions >= offered.partitions,
        Some(Err(_)) => true,
        None => false,
    };
    wanted.iter().all(has)
}

/// Returns whether an operator has adopted the target topic, even if it does not exist.
fn adopts(partition: &OfferedPartition) -> bool {
    partition.jump.as_ref().is_some_and(|jump| jump.accepts == Accepts::Target)
}

fn unauthorized(topic: &str) -> HaltRecord {
    let detail = format!("the receiver's configuration does not let this link carry {topic}");
    HaltRecord::new(HaltReason::TopicUnauthorized, detail)
}

fn too_few(topic: &TopicDescription, offered: &OfferedPartition) -> HaltRecord {
    let detail = format!(
        "{} has {} partitions, the source's topic {}, and the target does not let it grow",
        topic.name, topic.partitions, offered.partitions
    );
    HaltRecord::new(HaltReason::TargetTooFewPartitions, detail)
}

#[cfg(test)]
mod tests;
