//! Consumer groups in a session: reads their offsets at intervals, and tells the receiver what has changed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use kafka::KafkaError;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use transport::backoff::Backoff;
use wire::control::{Control, Welcome};
use wire::hello::FEATURE_GROUPS;

use super::Session;
use super::source_watch::SourceWatch;
use crate::groups::changes;
use crate::groups::reading::{Reading, Wanted};
use crate::source::promotion::Returning;

/// Pause between two messages: offers and acks go in between.
const PAUSE: Duration = Duration::from_millis(20);
/// Shortest pause between two readings.
const READ_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause after attempts that failed.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Carrying of groups in one session.
struct GroupsWatch(SourceWatch);

/// What a reading has found.
struct Found {
    /// Messages about topics that go back: the receiver continues groups that were there before the promotion.
    returns: Vec<Control>,
    /// Topics of which the receiver knows then whether they go back.
    told: Vec<Arc<str>>,
    reading: Reading,
}

/// Starts the task that carries groups in a session.
pub(super) fn start(session: &Session<'_>, welcome: &Welcome, control: &mpsc::Sender<Control>) -> JoinHandle<()> {
    tokio::spawn(GroupsWatch(SourceWatch::new(session, welcome, control, FEATURE_GROUPS)).run())
}

impl GroupsWatch {
    /// Carries groups until the session ends. Nothing else waits for it.
    async fn run(mut self) {
        let mut sent: Option<Arc<Reading>> = None;
        let mut told = HashSet::new();
        let mut backoff = backoff();
        let mut asked = self.0.board.asked().subscribe();
        loop {
            let config = self.0.config.now_and_later();
            let groups = config.groups.filter();
            self.0.board.groups().set_wanted(!groups.topics().is_empty(), self.0.control.is_some());
            let began = Instant::now();
            let Some(control) = self.0.control.clone() else {
                self.0.config.changed().await;
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
                self.0.config.changed().await;
                continue;
            }
            let wanted = Wanted { groups, topics: self.carried() };
            let new: Vec<Arc<str>> = wanted.topics.difference(&told).cloned().collect();
            let pause = match self.read(wanted, new, sent.clone()).await {
                Ok(Found { returns, told: new, reading }) => {
                    let reading = Arc::new(reading);
                    let messages = returns.into_iter().chain(changes::messages(sent.as_deref(), &reading));
                    if send(&control, messages).await.is_err() {
                        return;
                    }
                    self.0.board.groups().set_reading(Arc::clone(&reading));
                    sent = Some(reading);
                    told.extend(new);
                    backoff = self::backoff();
                    Duration::ZERO
                }
                Err(error) => {
                    self.0.board.groups().set_failed(error.to_string());
                    backoff.next_delay(rand::random())
                }
            };
            let due = (began + config.groups.interval).max(Instant::now() + pause);
            tokio::time::sleep(READ_PAUSE).await;
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                _ = self.0.config.changed() => {}
                _ = asked.changed(), if pause.is_zero() => {}
            }
        }
    }

    fn carried(&self) -> HashSet<Arc<str>> {
        let topics = Arc::clone(&self.0.topics.borrow().topics);
        let carried = topics.iter().filter(|topic| self.0.is_carried(topic));
        carried.map(|topic| Arc::clone(&topic.name)).collect()
    }

    /// Reads on a thread of its own, once no other reading hangs. Of the `new` topics, the receiver has to learn first which go
    /// back.
    async fn read(
        &self,
        wanted: Wanted,
        new: Vec<Arc<str>>,
        before: Option<Arc<Reading>>,
    ) -> Result<Found, KafkaError> {
        let alone = Arc::clone(&self.0.board.groups().reader).lock_owned().await;
        let catalog = Arc::clone(&self.0.catalog);
        let promotion = self.0.promotion.clone();
        let read = move || {
            let read = || {
                let mut reading = Reading::read(&*catalog, &wanted, before.as_deref())?;
                let Some(promotion) = promotion else { return Ok(Found { returns: Vec::new(), told: new, reading }) };
                let Returning { messages: returns, told } = promotion.announcements(new)?;
                reading.find_back(&promotion, before.as_deref());
                Ok(Found { returns, told, reading })
            };
            let read = read();
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
    messages: impl IntoIterator<Item = Control>,
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
