//! Proof that source and target are two clusters although both state one id, as clusters from a common image do.
//!
//! The sender creates a topic with a random name at the source, and the receiver creates one of that name at the target.
//! Creations pass the cluster's controller, so that in one cluster the second one fails, even where the metadata of a broker
//! or client is old. Then the sender checks that its own topic, with its id, still exists: no one deleted it in between.

use std::sync::Arc;
use std::time::Duration;

use kafka::KafkaError;
use kafka::catalog::{Catalog, NewTopic, only};
use wire::ids::TopicId;
use wire::origin;

/// Time limit for a created topic to be described by the brokers.
const APPEAR: Duration = Duration::from_secs(5);
const APPEAR_STEP: Duration = Duration::from_millis(50);

/// A topic that this sender created at the source.
pub(crate) struct Probe {
    catalog: Arc<dyn Catalog>,
    link: String,
    topic: String,
    id: TopicId,
}

impl Probe {
    /// Creates the topic. The error says what failed; nothing is left behind.
    pub(crate) async fn create(catalog: Arc<dyn Catalog>, link: String, process: u128) -> Result<Self, String> {
        blocking(move || Self::create_now(catalog, link, process)).await
    }

    fn create_now(catalog: Arc<dyn Catalog>, link: String, process: u128) -> Result<Self, String> {
        let topic = origin::probe_topic(&link, process);
        let failed = |error: &dyn std::fmt::Display| {
            format!("cannot create {topic} at the source: {error}; give this sender Create, Describe and Delete on it")
        };
        let new = NewTopic { name: topic.clone(), partitions: 1, replication: None, configs: Vec::new() };
        let created = catalog.create_new(&new).map_err(|error| failed(&error))?;
        let mut probe = Self { catalog, link, topic: topic.clone(), id: TopicId::UNKNOWN };
        let id = if created { probe.appeared() } else { Err("it existed, and was deleted".to_owned()) };
        match id {
            Ok(id) => {
                probe.id = id;
                Ok(probe)
            }
            Err(reason) => {
                probe.delete(false);
                Err(failed(&reason))
            }
        }
    }

    /// Waits until the topic is described, and returns its id.
    fn appeared(&self) -> Result<TopicId, String> {
        let mut waited = Duration::ZERO;
        loop {
            match self.described() {
                Ok(TopicId::UNKNOWN) => return Err("the source states no topic ids".to_owned()),
                Ok(id) => return Ok(id),
                Err(error) if waited >= APPEAR => return Err(error.to_string()),
                Err(_) => std::thread::sleep(APPEAR_STEP),
            }
            waited += APPEAR_STEP;
        }
    }

    fn described(&self) -> Result<TopicId, KafkaError> {
        Ok(only(self.catalog.describe(std::slice::from_ref(&self.topic)))?.id)
    }

    /// Deletes the topic. If the receiver welcomed this sender, says first whether the proof holds.
    pub(crate) async fn finish(self, welcomed: bool) -> Result<(), String> {
        blocking(move || {
            let now = self.described();
            let holds = now.as_ref().is_ok_and(|&id| id == self.id);
            self.delete(welcomed && holds);
            match now {
                _ if holds || !welcomed => Ok(()),
                Ok(_) => Err(format!("another program deleted and created {}", self.topic)),
                Err(error) => Err(format!("cannot find {} again at the source: {error}", self.topic)),
            }
        })
        .await
    }

    /// Deletes the topic, and those that killed processes left behind, if the clusters are known to be two.
    fn delete(&self, with_others: bool) {
        let mut names = vec![self.topic.clone()];
        if with_others {
            let all = self.catalog.topics().unwrap_or_default();
            let is_other = |name: &String| origin::is_probe_of(name, &self.link) && *name != self.topic;
            names.extend(all.into_iter().map(|topic| topic.name).filter(is_other));
        }
        match self.catalog.delete(&names) {
            Ok(answers) => {
                answers.into_iter().filter_map(Result::err).filter(|error| !error.is_unknown_topic()).for_each(
                    |error| tracing::warn!(%error, "could not delete a probe topic at the source; delete it by hand"),
                )
            }
            Err(error) => {
                tracing::warn!(%error, ?names, "could not delete probe topics at the source; delete them by hand")
            }
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()))
}
