//! Admin calls behind [`Catalog`]: each has its own queue, blocks, and is bounded in size and time.

mod acls;
pub(crate) mod call;
mod configs;
mod describe;
mod groups;
mod offsets;
mod replicas;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use rdkafka_sys as sys;
use wire::acl::Acl;
use wire::ids::Position;
use wire::partition::Partition;

use super::client::{Client, Kind, Topic, millis};
use super::consumer::Consumer;
use super::error::KafkaError;
use super::live_properties::{LiveProperties, Renewing};
use super::metadata;
use super::properties::{Properties, READER_TIMEOUT};
use super::text::lossy;
use crate::catalog::{
    Answers, Bounds, Catalog, ConfigEntry, Isolation, NewTopic, Replicas, TopicChange, TopicDescription, TopicSummary,
    only,
};
use crate::groups::{CommitError, GroupCommit, GroupList, GroupOffset};
use call::LIMIT;
use groups::GroupClient;
use replicas::Requirements;

/// Time limit of a ping: that of a broker that does not answer, after which the client asks another one.
const PING_LIMIT: Duration = Duration::from_secs(10);
/// Time limit of each request that renews what the client knows of leaders.
const RENEWAL_LIMIT: Duration = Duration::from_secs(2);
/// Most topics, or access control lists, in one request.
const TOPICS: usize = 500;
/// Most partitions that are asked for at the same time.
const PARTITIONS: usize = 10_000;

/// Catalog of one cluster. Every call asks the brokers again. Cheap to clone.
#[derive(Debug, Clone)]
pub struct KafkaCatalog {
    clients: Clients,
    requirements: Arc<Requirements>,
    groups: Option<Arc<GroupClient>>,
}

/// Client that a catalog asks with.
#[derive(Debug, Clone)]
enum Clients {
    Own(Arc<Renewing<Client>>),
    OfReader(Consumer),
}

impl KafkaCatalog {
    /// Starts a client for admin calls, which connects at the first call.
    pub fn start(properties: impl Into<LiveProperties>, link: &str) -> Result<Self, KafkaError> {
        let properties = properties.into();
        let groups = Some(Arc::new(GroupClient::new(&properties, link)));
        let name = link.to_owned();
        let start = move |properties: &Properties| {
            let settings = properties.settings(&name, &[(READER_TIMEOUT.0, READER_TIMEOUT.1.to_owned())], &[]);
            // Without events, because nothing takes them from the main queue: librdkafka logs errors instead.
            Client::start(Kind::Producer, &settings, 0)
        };
        let clients = Clients::Own(Arc::new(Renewing::start(properties, start)?));
        Ok(Self { clients, requirements: Arc::default(), groups })
    }

    pub(super) fn over(reader: &Consumer) -> Self {
        Self { clients: Clients::OfReader(reader.clone()), requirements: Arc::default(), groups: None }
    }

    fn client(&self) -> Arc<Client> {
        match &self.clients {
            Clients::Own(client) => client.present(),
            Clients::OfReader(reader) => reader.client(),
        }
    }
}

impl KafkaCatalog {
    /// Renews what the client knows of a topic's leaders, if one of two brokers answers within 2 s. Any broker knows them:
    /// a description of the topic would wait for the controller.
    pub(super) fn renew_leaders(&self, topic: &str) {
        let client = self.client();
        let renewed = Topic::open(&client, topic, None).and_then(|topic| {
            let ask = || metadata::of_topic(&client, &topic, RENEWAL_LIMIT);
            ask().or_else(|_| ask())
        });
        if let Err(error) = renewed {
            tracing::debug!(%error, topic, "leaders may have changed");
        }
    }

    fn cluster_id_within(&self, limit: Duration) -> Result<String, KafkaError> {
        // The client keeps the id of its last metadata, and the cluster may have been rebuilt since.
        let client = self.client();
        metadata::of_brokers(&client, limit)?;
        // SAFETY: the instance is live; we own the string, and copy it before it is freed.
        unsafe {
            let id = sys::rd_kafka_clusterid(client.raw(), millis(limit));
            if id.is_null() {
                return Err(KafkaError::timed_out("cluster id", limit));
            }
            let copy = lossy(id).into_owned();
            sys::rd_kafka_mem_free(client.raw(), id.cast());
            Ok(copy)
        }
    }
}

impl Catalog for KafkaCatalog {
    fn cluster_id(&self) -> Result<String, KafkaError> {
        self.cluster_id_within(LIMIT)
    }

    fn ping(&self) -> Result<String, KafkaError> {
        self.cluster_id_within(PING_LIMIT)
    }

    fn topics(&self) -> Result<Vec<TopicSummary>, KafkaError> {
        metadata::of_cluster(&self.client(), LIMIT)
    }

    fn describe(&self, names: &[String]) -> Answers<TopicDescription> {
        let found = chunked(names, TOPICS, |names| describe::topics(&self.client(), names))?;
        Ok(found.into_iter().map(|found| found.map(|found| found.topic)).collect())
    }

    fn configs(&self, names: &[String]) -> Answers<Vec<ConfigEntry>> {
        chunked(names, TOPICS, |names| describe::configs(&self.client(), names, &[]))
    }

    fn some_configs(&self, names: &[String], settings: &[&str]) -> Answers<Vec<ConfigEntry>> {
        chunked(names, TOPICS, |names| describe::configs(&self.client(), names, settings))
    }

    fn alter(&self, topics: &[TopicChange]) -> Answers<()> {
        chunked(topics, TOPICS, |topics| configs::alter(&self.client(), topics))
    }

    fn replicas(&self, partitions: &[Partition]) -> Answers<Replicas> {
        chunked(partitions, TOPICS, |partitions| replicas::list(&self.client(), &self.requirements, partitions))
    }

    fn bounds(&self, partitions: &[Partition], isolation: Isolation) -> Answers<Bounds> {
        // The end is read last: a start read after it could be higher.
        let starts = self.offsets(partitions, offsets::EARLIEST, isolation)?;
        let started = partitions.iter().zip(&starts).filter(|(_, start)| start.is_ok());
        let started: Vec<Partition> = started.map(|(at, _)| at.clone()).collect();
        let mut ends = self.offsets(&started, offsets::LATEST, isolation)?.into_iter();
        let bounds = |start: Result<i64, KafkaError>| {
            let start = start?;
            let end = ends.next().unwrap_or(Ok(start))?;
            Ok(Bounds { start: Position(start), end: Position(end.max(start)) })
        };
        Ok(starts.into_iter().map(bounds).collect())
    }

    fn ends(&self, partitions: &[Partition], isolation: Isolation) -> Answers<Position> {
        Ok(positions(self.offsets(partitions, offsets::LATEST, isolation)?))
    }

    fn positions_at(&self, partitions: &[Partition], timestamp_ms: i64) -> Answers<Position> {
        // librdkafka would read negative times as the start or end of the log.
        let mut found = self.offsets(partitions, timestamp_ms.max(0), Isolation::Committed)?;
        let none_that_new = |index: &usize| matches!(found[*index], Ok(offset) if offset < 0);
        let missing: Vec<usize> = (0..found.len()).filter(none_that_new).collect();
        let without: Vec<Partition> = missing.iter().map(|&index| partitions[index].clone()).collect();
        // The end of committed records: a transaction that is open now may add records of that time.
        for (index, end) in missing.into_iter().zip(self.offsets(&without, offsets::LATEST, Isolation::Committed)?) {
            found[index] = end;
        }
        Ok(positions(found))
    }

    fn create(&self, topics: &[NewTopic]) -> Answers<()> {
        chunked(topics, TOPICS, |topics| topics::create(&self.client(), topics))
    }

    fn create_new(&self, topic: &NewTopic) -> Result<bool, KafkaError> {
        topics::create_new(&self.client(), topic)
    }

    fn delete(&self, names: &[String]) -> Answers<()> {
        chunked(names, TOPICS, |names| topics::delete(&self.client(), names))
    }

    fn grow(&self, name: &str, partitions: i32) -> Result<(), KafkaError> {
        let Err(refused) = topics::grow(&self.client(), name, partitions) else { return Ok(()) };
        let found = only(self.describe(&[name.to_owned()]));
        if found.is_ok_and(|topic| topic.partitions >= partitions) { Ok(()) } else { Err(refused) }
    }

    fn groups(&self) -> Result<GroupList, KafkaError> {
        groups::list(&self.client())
    }

    fn committed(&self, groups: &[String]) -> Answers<Vec<GroupOffset>> {
        self.group_client()?.committed(groups)
    }

    fn commit(&self, commits: &[GroupCommit]) -> Answers<Vec<Result<(), CommitError>>> {
        self.group_client()?.commit(commits)
    }

    fn acls(&self) -> Result<Option<Vec<Acl>>, KafkaError> {
        acls::read(&self.client())
    }

    fn create_acls(&self, acls: &[Acl]) -> Answers<()> {
        chunked(acls, TOPICS, |acls| acls::create(&self.client(), acls))
    }

    fn delete_acls(&self, acls: &[Acl]) -> Answers<()> {
        chunked(acls, TOPICS, |acls| acls::delete(&self.client(), acls))
    }
}

impl KafkaCatalog {
    fn group_client(&self) -> Result<&GroupClient, KafkaError> {
        let none = || KafkaError::misused("offsets of groups", "this catalog shares the client of a reader");
        self.groups.as_deref().ok_or_else(none)
    }

    /// Returns one offset per partition, in the order of the request; −1 if no record is that new.
    fn offsets(&self, partitions: &[Partition], spec: i64, isolation: Isolation) -> Answers<i64> {
        chunked(partitions, PARTITIONS, |partitions| offsets::list(&self.client(), partitions, spec, isolation))
    }
}

/// Asks about at most `size` names in one request.
fn chunked<N, T>(names: &[N], size: usize, ask: impl Fn(&[N]) -> Answers<T>) -> Answers<T> {
    let mut found = Vec::with_capacity(names.len());
    for names in names.chunks(size) {
        found.extend(ask(names)?);
    }
    Ok(found)
}

fn positions(offsets: Vec<Result<i64, KafkaError>>) -> Vec<Result<Position, KafkaError>> {
    offsets.into_iter().map(|offset| offset.map(Position)).collect()
}
