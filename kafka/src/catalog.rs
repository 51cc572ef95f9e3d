//! Catalog of a cluster: topics, partitions, ids and log bounds, and the few admin calls that a link makes.
//!
//! The product uses [`KafkaCatalog`](crate::admin::KafkaCatalog). Tests, benches and the demo, whose cluster does not
//! answer every admin call, use the catalog in memory of `testkit`.

use std::time::Duration;

use wire::acl::Acl;
use wire::ids::{Position, TopicId};
use wire::partition::Partition;

use crate::KafkaError;
use crate::groups::{CommitError, GroupCommit, GroupList, GroupOffset};
use crate::topic_settings::{NAMES, TopicSettings};

/// Time for the partitions of a created topic to answer.
const APPEAR: Duration = Duration::from_secs(10);
const APPEAR_STEP: Duration = Duration::from_millis(50);

/// A topic's name and size, from the cluster's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSummary {
    pub name: String,
    pub partitions: i32,
}

/// Size and id of a topic. The id tells a topic from a deleted one of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    pub name: String,
    /// Kafka's topic id; [`TopicId::UNKNOWN`] if the cluster does not state one.
    pub id: TopicId,
    pub partitions: i32,
    /// Configured replicas of the partition that has fewest; 0 if the cluster does not say.
    pub replicas: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Kafka's name of the property.
    pub name: String,
    pub value: String,
    /// Set on the topic itself, not inherited from the broker.
    pub set_on_topic: bool,
    /// Value that the topic inherits, or would inherit if it were not set on the topic itself; `None` if unknown.
    pub inherited: Option<String>,
}

/// Settings to set on a topic, with their values, and settings to remove from it. All are changed, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicChange {
    pub topic: String,
    /// Names, and the values to set; `None` removes the topic's own value, so that it inherits one.
    pub settings: Vec<(String, Option<String>)>,
}

/// Start and end of a partition's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The oldest offset that still exists.
    pub start: Position,
    /// The position after the newest record that is visible at the requested isolation.
    pub end: Position,
}

/// Choice between the two ends of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// The last stable offset: the end for `read_committed` readers.
    Committed,
    /// The high watermark: the end including open transactions.
    Uncommitted,
}

/// Reason why a partition can be neither read nor written.
pub(crate) const NO_LEADER_NOW: &str = "the partition has no leader";

/// Replicas of a partition, as the cluster states them now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replicas {
    /// Broker that leads the partition.
    pub leader: Option<i32>,
    pub in_sync: usize,
    /// In-sync replicas that a write with `acks=all` requires: `min.insync.replicas`, or all replicas if they are fewer;
    /// 1 if the cluster does not say.
    pub required: usize,
}

impl Replicas {
    /// Returns why a write with `acks=all` cannot succeed now.
    pub fn refusal(&self) -> Option<String> {
        let Self { leader, in_sync, required } = self;
        if leader.is_none() {
            Some(NO_LEADER_NOW.to_owned())
        } else if in_sync < required {
            Some(format!("the partition has {in_sync} in-sync replicas, `min.insync.replicas` is {required}"))
        } else {
            None
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    pub partitions: i32,
    /// Replication factor; `None` means the cluster's default.
    pub replication: Option<i32>,
    /// Configuration entries to set: pairs of name and value.
    pub configs: Vec<(String, String)>,
}

/// Answers about several names, one for each, in the order of the request. A name that the cluster cannot answer now has
/// an error of its own, and neither fails nor delays the others. The outer error says that it answered for none of them.
pub type Answers<T> = Result<Vec<Result<T, KafkaError>>, KafkaError>;

/// Topics, partitions and log bounds of a cluster, as a link asks for them.
///
/// No method waits until a topic or partition is available: the caller asks again later. All methods block; call them off
/// the async threads. A method that an implementation leaves out fails as unsupported: a double for tests implements only
/// what its test uses.
///
/// ```
/// use kafka::KafkaError;
/// use kafka::catalog::{Catalog, TopicSummary};
///
/// struct OneTopic;
///
/// impl Catalog for OneTopic {
///     fn topics(&self) -> Result<Vec<TopicSummary>, KafkaError> {
///         Ok(vec![TopicSummary { name: "orders".to_owned(), partitions: 3 }])
///     }
/// }
///
/// assert_eq!(OneTopic.topics().unwrap()[0].partitions, 3);
/// assert!(OneTopic.cluster_id().is_err());
/// ```
pub trait Catalog: Send + Sync {
    fn cluster_id(&self) -> Result<String, KafkaError> {
        unsupported("cluster id")
    }
    /// Asks any broker for an answer, in 10 s at most: the cluster can be reached. Returns Kafka's id of the cluster.
    fn ping(&self) -> Result<String, KafkaError> {
        self.cluster_id()
    }
    /// Lists every topic of the cluster.
    fn topics(&self) -> Result<Vec<TopicSummary>, KafkaError> {
        unsupported("list of topics")
    }
    /// Describes topics. One that does not exist has the fault `UnknownTopic`.
    fn describe(&self, names: &[String]) -> Answers<TopicDescription> {
        unsupported(&format!("description of {names:?}"))
    }
    /// Reads the configuration of topics.
    fn configs(&self, names: &[String]) -> Answers<Vec<ConfigEntry>> {
        unsupported(&format!("configuration of {names:?}"))
    }
    /// Reads the configuration entries of topics that are called `settings`. Many topics cost little.
    fn some_configs(&self, names: &[String], settings: &[&str]) -> Answers<Vec<ConfigEntry>> {
        let wanted = |mut entries: Vec<ConfigEntry>| {
            entries.retain(|entry| settings.contains(&entry.name.as_str()));
            entries
        };
        Ok(self.configs(names)?.into_iter().map(|configs| configs.map(wanted)).collect())
    }
    /// Reads the effective settings of topics that decide what they keep and accept. Many topics cost little.
    fn settings(&self, names: &[String]) -> Answers<TopicSettings> {
        let found = self.some_configs(names, NAMES)?;
        Ok(found.into_iter().map(|configs| configs.map(|entries| settings_of(&entries))).collect())
    }
    /// Changes settings of topics. A topic whose changes the cluster refuses keeps its settings.
    fn alter(&self, topics: &[TopicChange]) -> Answers<()> {
        unsupported(&format!("change of the settings of {} topics", topics.len()))
    }
    /// Reads the replicas of partitions, in a few seconds at most. A partition that this user may not write has an error. An
    /// implementation that leaves it out states that all can be written.
    fn replicas(&self, partitions: &[Partition]) -> Answers<Replicas> {
        Ok(partitions.iter().map(|_| Ok(Replicas { leader: Some(0), in_sync: 1, required: 1 })).collect())
    }
    /// Reads the bounds of partitions. One without a leader has the fault `Unavailable`.
    fn bounds(&self, partitions: &[Partition], _isolation: Isolation) -> Answers<Bounds> {
        unsupported(&format!("bounds of {} partitions", partitions.len()))
    }
    /// Reads the ends of partitions. It costs half as much as [`Catalog::bounds`].
    fn ends(&self, partitions: &[Partition], isolation: Isolation) -> Answers<Position> {
        Ok(self.bounds(partitions, isolation)?.into_iter().map(|bounds| bounds.map(|bounds| bounds.end)).collect())
    }
    /// Returns for each partition the position of the first record with a timestamp of `timestamp_ms` or later, or the
    /// log's end if there is none.
    fn positions_at(&self, partitions: &[Partition], _timestamp_ms: i64) -> Answers<Position> {
        unsupported(&format!("positions of {} partitions at a time", partitions.len()))
    }
    /// Creates topics; those that exist are left unchanged.
    fn create(&self, topics: &[NewTopic]) -> Answers<()> {
        unsupported(&format!("creation of {} topics", topics.len()))
    }
    /// Creates a topic. False: a topic of this name exists, and is left unchanged. The cluster's controller decides it,
    /// even if a broker's metadata is old.
    fn create_new(&self, topic: &NewTopic) -> Result<bool, KafkaError> {
        unsupported(&format!("creation of {}", topic.name))
    }
    /// Deletes topics. One that does not exist has the fault `UnknownTopic`.
    fn delete(&self, names: &[String]) -> Answers<()> {
        unsupported(&format!("deletion of {names:?}"))
    }
    /// Raises a topic's partition count; a topic that has as many already is left unchanged.
    fn grow(&self, name: &str, partitions: i32) -> Result<(), KafkaError> {
        unsupported(&format!("growth of `{name}` to {partitions} partitions"))
    }
    /// Lists the consumer groups that this user may describe.
    fn groups(&self) -> Result<GroupList, KafkaError> {
        unsupported("list of groups")
    }
    /// Reads all committed offsets of groups. A group that does not exist has none.
    fn committed(&self, groups: &[String]) -> Answers<Vec<GroupOffset>> {
        unsupported(&format!("offsets of {} groups", groups.len()))
    }
    /// Commits offsets for groups without members. The answers are in the order of the offsets.
    fn commit(&self, commits: &[GroupCommit]) -> Answers<Vec<Result<(), CommitError>>> {
        unsupported(&format!("commit for {} groups", commits.len()))
    }
    /// Reads the access control lists of topics and groups. `None`: the cluster states no rule about anything. It has no
    /// authorizer, or none that this user may read, or really no rule.
    fn acls(&self) -> Result<Option<Vec<Acl>>, KafkaError> {
        unsupported("access control lists")
    }
    /// Creates access control lists. Those that exist are left as they are.
    fn create_acls(&self, acls: &[Acl]) -> Answers<()> {
        unsupported(&format!("creation of {} access control lists", acls.len()))
    }
    /// Deletes exactly these access control lists. One that does not exist is no error.
    fn delete_acls(&self, acls: &[Acl]) -> Answers<()> {
        unsupported(&format!("deletion of {} access control lists", acls.len()))
    }
}

/// Returns the settings among these entries that decide what a topic keeps and accepts.
pub fn settings_of(entries: &[ConfigEntry]) -> TopicSettings {
    entries.iter().map(|entry| (entry.name.clone(), entry.value.clone())).collect()
}

/// Returns the only answer of a request for one name.
pub fn only<T>(answers: Answers<T>) -> Result<T, KafkaError> {
    let none = || Err(KafkaError::misused("a request for one name", "the answer has none"));
    answers?.pop().unwrap_or_else(none)
}

fn unsupported<T>(doing: &str) -> Result<T, KafkaError> {
    Err(KafkaError::misused(doing, "this catalog does not support it"))
}

/// Describes the one topic in `names`; `None` if it does not exist.
pub fn described(catalog: &dyn Catalog, names: &[String]) -> Result<Option<TopicDescription>, KafkaError> {
    match only(catalog.describe(names)) {
        Err(error) if error.is_unknown_topic() => Ok(None),
        found => found.map(Some),
    }
}

/// Waits until every partition of a created topic has a leader that answers.
pub fn appear(catalog: &dyn Catalog, name: &str, count: i32) -> Result<(), KafkaError> {
    let partitions: Vec<_> = (0..count).map(|partition| Partition::new(name, partition)).collect();
    let mut waited = Duration::ZERO;
    loop {
        let bounds = catalog.bounds(&partitions, Isolation::Uncommitted);
        match bounds.and_then(|bounds| bounds.into_iter().collect::<Result<Vec<_>, _>>()) {
            Ok(_) => return Ok(()),
            Err(error) if waited >= APPEAR => return Err(error),
            Err(_) => {
                std::thread::sleep(APPEAR_STEP);
                waited += APPEAR_STEP;
            }
        }
    }
}

/// Creates a topic with these settings, and waits until it can be written.
pub fn create(
    catalog: &dyn Catalog,
    name: &str,
    partitions: i32,
    replication: Option<i32>,
    configs: &[(&str, &str)],
) -> Result<(), KafkaError> {
    // With three or more replicas, the loss of one broker must not lose what is stored.
    let in_sync = replication.filter(|&replicas| replicas > 2).map(|_| ("min.insync.replicas", "2"));
    let configs = configs.iter().copied().chain(in_sync);
    let configs = configs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    only(catalog.create(&[NewTopic { name: name.to_owned(), partitions, replication, configs }]))?;
    appear(catalog, name, partitions)
}
