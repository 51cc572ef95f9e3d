//! Replicas of partitions, and how many of them a write requires.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use service::lock::Lock;
use wire::partition::Partition;

use super::describe::{self, Described, DescribedPartition};
use crate::catalog::{Answers, ConfigEntry, Replicas};
use crate::client::Client;
use crate::error::{KafkaError, KafkaFault};

/// Time that each request may take: a lane waits for the answer, and asks again.
const REQUEST_LIMIT: Duration = Duration::from_secs(2);
/// Time for which a topic's setting is not read again.
const FRESH: Duration = Duration::from_secs(60);
const SETTING: &str = "min.insync.replicas";
const NO_RIGHT: &str = "the receiver's user has no right to write the topic";

/// In-sync replicas that a write to each topic requires, as far as they were read.
#[derive(Debug, Default)]
pub(super) struct Requirements(Lock<HashMap<String, Requirement>>);

#[derive(Debug, Clone, Copy)]
struct Requirement {
    read: Instant,
    min_in_sync: usize,
}

/// Lists the replicas of partitions.
pub(super) fn list(client: &Arc<Client>, requirements: &Requirements, asked: &[Partition]) -> Answers<Replicas> {
    let names: BTreeSet<&str> = asked.iter().map(|at| at.topic.as_ref()).collect();
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let described = describe::topics_with_rights(client, &names, REQUEST_LIMIT)?;
    let topics: HashMap<&str, Result<Described, KafkaError>> =
        names.iter().map(String::as_str).zip(described).collect();
    let found: Vec<_> = asked.iter().map(|at| found_in(&topics, at)).collect();
    // The setting matters only while a replica is not in sync.
    let short = asked.iter().zip(&found).filter(|(_, found)| found.as_ref().is_ok_and(is_short));
    let min_in_sync = requirements.of(client, short.map(|(at, _)| at.topic.as_ref()).collect());
    let replicas = |(at, found): (&Partition, Result<DescribedPartition, KafkaError>)| {
        let DescribedPartition { leader, replicas, in_sync } = found?;
        let required = min_in_sync.get(at.topic.as_ref()).map_or(1, |&required| required.min(replicas));
        Ok(Replicas { leader, in_sync, required })
    };
    Ok(asked.iter().zip(found).map(replicas).collect())
}

fn found_in(
    topics: &HashMap<&str, Result<Described, KafkaError>>,
    at: &Partition,
) -> Result<DescribedPartition, KafkaError> {
    let topic = topics[at.topic.as_ref()].as_ref().map_err(KafkaError::clone)?;
    if !topic.may_write {
        let doing = format!("write to {at}");
        return Err(KafkaError { doing, reason: NO_RIGHT.to_owned(), fault: KafkaFault::Unauthorized });
    }
    let unknown = || KafkaError::unknown_topic(format!("replicas of {at}"));
    topic.partitions.get(&at.partition).copied().ok_or_else(unknown)
}

fn is_short(found: &DescribedPartition) -> bool {
    found.in_sync < found.replicas
}

impl Requirements {
    /// Returns the setting of each topic. A topic whose setting cannot be read is left out.
    fn of<'n>(&self, client: &Arc<Client>, names: BTreeSet<&'n str>) -> HashMap<&'n str, usize> {
        let fresh = |name: &str| self.0.lock().get(name).filter(|one| one.read.elapsed() < FRESH).copied();
        let stale: Vec<String> =
            names.iter().filter(|name| fresh(name).is_none()).map(|&name| name.to_owned()).collect();
        if !stale.is_empty() {
            match describe::configs_within(client, &stale, &[SETTING], REQUEST_LIMIT) {
                Ok(configs) => stale.into_iter().zip(configs).for_each(|(name, found)| self.note(name, found)),
                Err(error) => tracing::debug!(%error, "could not read how many in-sync replicas a write requires"),
            }
        }
        let known = |name: &'n str| fresh(name).map(|one| (name, one.min_in_sync));
        names.into_iter().filter_map(known).collect()
    }

    fn note(&self, topic: String, found: Result<Vec<ConfigEntry>, KafkaError>) {
        let unknown = found.as_ref().err().map(ToString::to_string);
        let entry = found.unwrap_or_default().into_iter().find(|one| one.name == SETTING);
        let min_in_sync = entry.and_then(|entry| entry.value.parse().ok()).unwrap_or(1);
        let known = self.0.lock().insert(topic.clone(), Requirement { read: Instant::now(), min_in_sync });
        if let (Some(error), None) = (unknown, known) {
            tracing::warn!(topic, error, "could not read `{SETTING}`, so that it counts as 1");
        }
    }
}
