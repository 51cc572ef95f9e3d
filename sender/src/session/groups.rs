//! Consumer groups in a session: reads their offsets at intervals, and tells the receiver what has changed.

use std::sync::Arc;
use std::time::Duration;

use kafka::KafkaError;
use kafka::catalog::Catalog;
use service::live::Live;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use transport::backoff::Backoff;
use wire::control::{Control, Welcome};
use wire::hello::FEATURE_GROUPS;

use super::Session;
use crate::board::Board;
use crate::config::Config;
use crate::groups::changes;
use crate::groups::reading::{Reading, Wanted};
use crate::source::discovery::Discovered;

/// Pause between two messages: offers and acks go in between.
const PAUSE: Duration = Duration::from_millis(20);
/// Longest pause after attempts that failed.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Carrying of groups in one session.
struct GroupsWatch {
    catalog: Arc<dyn Catalog>,
    config: Live<Config>,
    topics: watch::Receiver<Discovered>,
    board: Arc<Board>,
    /// Target cluster, which no topic returns to.
    target: String,
    /// Control stream to the receiver; `None` if it does not know the message.
    control: Option<mpsc::Sender<Control>>,
}

/// Starts the task that carries groups in a session.
pub(super) fn start(session: &Session<'_>, welcome: &Welcome, control: &mpsc::Sender<Control>) -> JoinHandle<()> {
    let watch = GroupsWatch {
        catalog: Arc::clone(&session.offering.catalog),
        config: session.config.clone(),
        topics: session.topics.clone(),
        board: Arc::clone(&session.board),
        target: welcome.cluster_id.clone(),
        control: (welcome.features & FEATURE_GROUPS != 0).then(|| control.clone()),
    };
    tokio::spawn(watch.run())
}

impl GroupsWatch {
    /// Carries groups until the session ends. Nothing else waits for it.
    async fn run(mut self) {
        let mut sent: Option<Arc<Reading>> = None;
        let mut backoff = backoff();
        loop {
            let config = self.config.now_and_later();
            let groups = config.groups.filter();
            self.board.groups().set_wanted(!groups.topics().is_empty(), self.control.is_some());
            let began = Instant::now();
            let Some(control) = self.control.clone() else {
                self.config.changed().await;
                continue;
            };
            if groups.topics().is_empty() {
                if let Some(sent) = sent.take() {
                    // The receiver forgets them.
                    let none = Reading::empty(std::time::Instant::now());
                    if send(&control, changes::messages(Some(&sent), &none)).await.is_err() {
                        return;
                    }
                }
                self.config.changed().await;
                continue;
            }
            let wanted = Wanted { groups, topics: self.carried() };
            let pause = match self.read(wanted, sent.clone()).await {
                Ok(reading) => {
                    let reading = Arc::new(reading);
                    if send(&control, changes::messages(sent.as_deref(), &reading)).await.is_err() {
                        return;
                    }
                    self.board.groups().set_reading(Arc::clone(&reading));
                    sent = Some(reading);
                    backoff = self::backoff();
                    Duration::ZERO
                }
                Err(error) => {
                    self.board.groups().set_failed(error.to_string());
                    backoff.next_delay(rand::random())
                }
            };
            let due = (began + config.groups.interval).max(Instant::now() + pause);
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                _ = self.config.changed() => {}
            }
        }
    }

    fn carried(&self) -> std::collections::HashSet<Arc<str>> {
        let topics = Arc::clone(&self.topics.borrow().topics);
        let carried = topics.iter().filter(|topic| topic.origin.not_carried_reason(Some(&self.target)).is_none());
        carried.map(|topic| Arc::clone(&topic.name)).collect()
    }

    /// Reads on a thread of its own, once no other reading hangs.
    async fn read(&self, wanted: Wanted, before: Option<Arc<Reading>>) -> Result<Reading, KafkaError> {
        let alone = Arc::clone(&self.board.groups().reader).lock_owned().await;
        let catalog = Arc::clone(&self.catalog);
        let read = move || {
            let read = Reading::read(&*catalog, &wanted, before.as_deref());
            drop(alone);
            read
        };
        let read = tokio::task::spawn_blocking(read).await;
        read.unwrap_or_else(|_| Err(KafkaError::misused("reading of groups", "it panicked")))
    }
}

fn backoff() -> Backoff {
    Backoff::try_new(Duration::from_secs(1), RETRY_MAX).expect("the constants are in order")
}

/// Sends messages, with a pause between two of them.
pub(super) async fn send(
    control: &mpsc::Sender<Control>,
    messages: Vec<Control>,
) -> Result<(), mpsc::error::SendError<Control>> {
    let mut first = true;
    for message in messages {
        if !std::mem::take(&mut first) {
            tokio::time::sleep(PAUSE).await;
        }
        control.send(message).await?;
    }
    Ok(())
}
