//! Looks due partitions up at the source and sends their offers, one lane after the other, so that each
//! topic is announced once and before its partitions.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use link::catalog::Catalog;
use tokio::sync::{mpsc, watch};
use wire::control::Control;

use crate::config::Start;
use crate::discovery::Discovered;
use crate::offers;
use crate::roster::Due;

/// How long to wait before the source is asked again after it failed.
const RETRY: Duration = Duration::from_secs(1);

/// What offers are made with.
#[derive(Clone)]
pub struct Offering {
    /// The source cluster.
    pub catalog: Arc<dyn Catalog>,
    /// The `start` policy.
    pub start: Start,
}

impl Offering {
    /// Offers what is due until the session ends.
    pub async fn run(
        self,
        mut dues: mpsc::Receiver<Due>,
        topics: watch::Receiver<Discovered>,
        control: mpsc::Sender<Control>,
    ) {
        let mut announced: HashSet<Arc<str>> = HashSet::new();
        while let Some(due) = dues.recv().await {
            let messages = self.messages(due, &topics, &announced).await;
            for message in messages {
                if let Control::Topic { topic, .. } = &message {
                    announced.insert(topic.as_str().into());
                }
                if control.send(message).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Asks until the source answers: its partitions wait for it, nothing else does. Each time with the
    /// topics as they are by then: one that was deleted meanwhile must not hold up the others.
    async fn messages(
        &self,
        due: Due,
        topics: &watch::Receiver<Discovered>,
        announced: &HashSet<Arc<str>>,
    ) -> Vec<Control> {
        let mut failing = false;
        loop {
            let topics = Arc::clone(&topics.borrow().topics);
            let (this, due, announced) = (self.clone(), due.clone(), announced.clone());
            let asked = tokio::task::spawn_blocking(move || {
                offers::messages(&*this.catalog, &topics, &due, this.start, &announced)
            });
            match asked.await {
                Ok(Ok(messages)) => return messages,
                Ok(Err(error)) if !failing => {
                    failing = true;
                    tracing::warn!(%error, "could not look up partitions at the source; trying again");
                }
                Ok(Err(_)) => {}
                Err(_) => return Vec::new(),
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}
