//! Proof that source and target are two clusters although both state one id. The sender's half is the creation of a topic
//! with a random name at the source; this half is the creation of one of the same name at the target.

use std::sync::Arc;

use kafka::catalog::{Catalog, NewTopic};
use wire::close::{Close, CloseCode};
use wire::control::Hello;
use wire::origin;

use crate::link::ServedLink;

/// Result of the receiver's half.
pub(super) enum Proof {
    /// The target could create the topic: it is another cluster.
    OtherCluster,
    /// The target has the topic of this name already: it is the source.
    SameCluster(String),
}

/// Creates the topic of the sender's name, and deletes it again. An error says why nothing is proven.
pub(super) async fn prove_other_cluster(served: &ServedLink, hello: &Hello) -> Result<Proof, Close> {
    let topic = origin::probe_topic(&hello.link, hello.process);
    let catalog = Arc::clone(&served.catalog);
    let link = hello.link.clone();
    let name = topic.clone();
    match served.blocking.run(move || create(&*catalog, &link, name)).await {
        Some(Ok(true)) => {
            tracing::info!(link = hello.link, topic, "source and target have one id, and are two clusters");
            Ok(Proof::OtherCluster)
        }
        Some(Ok(false)) => Ok(Proof::SameCluster(topic)),
        Some(Err(error)) => {
            let detail = format!("cannot create {topic} at the target, to tell it from the source: {error}");
            Err(Close::new(CloseCode::Internal, detail))
        }
        None => Err(Close::new(CloseCode::Internal, "the probe of the target failed")),
    }
}

/// Returns whether the topic could be created: then no cluster of the sender's has it. It is deleted again, and so are
/// those that killed processes left behind.
fn create(catalog: &dyn Catalog, link: &str, name: String) -> Result<bool, kafka::KafkaError> {
    let new = NewTopic { name: name.clone(), partitions: 1, replication: None, configs: Vec::new() };
    let created = catalog.create_new(&new);
    let mut names = vec![name];
    match &created {
        // It is the sender's.
        Ok(false) => return created,
        Ok(true) => {
            let all = catalog.topics().unwrap_or_default();
            let others = all.into_iter().map(|topic| topic.name).filter(|other| origin::is_probe_of(other, link));
            names.extend(others.filter(|other| *other != new.name).collect::<Vec<_>>());
        }
        // Its outcome may be unknown.
        Err(_) => {}
    }
    match catalog.delete(&names) {
        Ok(answers) => answers
            .into_iter()
            .filter_map(Result::err)
            .filter(|error| !error.is_unknown_topic())
            .for_each(|error| tracing::warn!(%error, "could not delete a probe topic at the target")),
        Err(error) => tracing::warn!(%error, ?names, "could not delete probe topics at the target"),
    }
    created
}
