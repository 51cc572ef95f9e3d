//! Topics that a link keeps at the target for itself: how they are created.

use std::time::Duration;

use kafka::KafkaError;
use kafka::catalog::{Catalog, Isolation, NewTopic, TopicDescription, only};
use wire::partition::Partition;

const APPEAR: Duration = Duration::from_secs(10);
const APPEAR_STEP: Duration = Duration::from_millis(50);

/// Describes the one topic in `names`; `None` if it does not exist.
pub fn described(catalog: &dyn Catalog, names: &[String]) -> Result<Option<TopicDescription>, KafkaError> {
    match only(catalog.describe(names)) {
        Err(error) if error.is_unknown_topic() => Ok(None),
        found => found.map(Some),
    }
}

/// Creates a topic with these settings, and waits until it can be written.
pub(crate) fn create(
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

/// Waits until every partition of a created topic has a leader that answers.
pub(crate) fn appear(catalog: &dyn Catalog, name: &str, lanes: i32) -> Result<(), KafkaError> {
    let partitions: Vec<_> = (0..lanes).map(|partition| Partition::new(name, partition)).collect();
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
