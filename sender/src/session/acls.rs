//! Access control lists in a session: reads those of the source at intervals, and sends all of them when they have changed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wire::control::{Control, Welcome};
use wire::hello::FEATURE_ACLS;

use super::source_watch::SourceWatch;
use super::{Session, groups};
use crate::config::Config;
use crate::groups::board::CarriedGroups;
use crate::source::acls::{Reading, Wanted};

/// Pause after a reading that failed.
const RETRY: Duration = Duration::from_secs(5);
/// Time between two looks at groups that have not been read yet.
const GROUPS_STEP: Duration = Duration::from_secs(1);
/// Looks after which groups that have not been read are a problem.
const GROUPS_LOOKS: u32 = 10;

/// Following of access control lists in one session.
struct AclsWatch(SourceWatch);

/// Starts the task that sends access control lists in a session.
pub(super) fn start(session: &Session<'_>, welcome: &Welcome, control: &mpsc::Sender<Control>) -> JoinHandle<()> {
    tokio::spawn(AclsWatch(SourceWatch::new(session, welcome, control, FEATURE_ACLS)).run())
}

impl AclsWatch {
    /// Sends rules until the session ends. Nothing else waits for it.
    async fn run(mut self) {
        let mut sent: Option<Reading> = None;
        let mut looks = 0;
        loop {
            let config = self.0.config.now_and_later();
            let follow = config.acls.follow;
            self.0.board.acls().set_wanted(follow, self.0.control.is_some());
            let Some(control) = self.0.control.clone().filter(|_| follow) else {
                // The receiver keeps what it has made: to send nothing does not say that there is nothing.
                sent = None;
                self.0.config.changed().await;
                continue;
            };
            let began = Instant::now();
            let due = match self.0.board.groups().carried() {
                CarriedGroups::Unknown if looks < GROUPS_LOOKS => {
                    looks += 1;
                    began + GROUPS_STEP
                }
                CarriedGroups::Unknown => {
                    self.0.board.acls().set_failed("the groups of the source have not been read yet".to_owned());
                    began + GROUPS_STEP
                }
                CarriedGroups::Known(groups) => match self.read(self.wanted(&config, groups), sent.clone()).await {
                    Ok(reading) => {
                        if sent.as_ref() != Some(&reading) && groups::send(&control, reading.messages()).await.is_err()
                        {
                            return;
                        }
                        self.0.board.acls().set_reading(&reading);
                        sent = Some(reading);
                        began + config.acls.interval
                    }
                    Err(reason) => {
                        self.0.board.acls().set_failed(reason);
                        Instant::now() + RETRY.min(config.acls.interval)
                    }
                },
            };
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                _ = self.0.config.changed() => {}
            }
        }
    }

    fn wanted(&self, config: &Config, groups: BTreeSet<String>) -> Wanted {
        let topics = Arc::clone(&self.0.topics.borrow().topics);
        let (carried, left_out): (Vec<_>, Vec<_>) = topics.iter().partition(|topic| self.0.is_carried(topic));
        Wanted {
            topics: carried.into_iter().map(|topic| topic.name.to_string()).collect(),
            left_out: left_out.into_iter().map(|topic| topic.name.to_string()).collect(),
            filter: config.source.filter(),
            groups,
        }
    }

    /// Reads on a thread of its own, once no other reading hangs.
    async fn read(&self, wanted: Wanted, before: Option<Reading>) -> Result<Reading, String> {
        let alone = Arc::clone(&self.0.board.acls().reader).lock_owned().await;
        let catalog = Arc::clone(&self.0.catalog);
        let read = move || {
            let stated = catalog.acls();
            drop(alone);
            Reading::choose(stated.map_err(|error| error.to_string())?, &wanted, before.as_ref())
        };
        let read = tokio::task::spawn_blocking(read).await;
        read.unwrap_or_else(|_| Err("the reading panicked".to_owned()))
    }
}
