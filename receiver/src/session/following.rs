//! The follower of one session: takes announcements, asks the target, and changes settings in it.

use std::sync::Arc;
use std::time::Duration;

use kafka::catalog::Catalog;
use kafka::topic_settings::COPIED;
use service::topics::{TopicFilter, check_kafka_name};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use wire::close::Close;
use wire::control::{TopicConfig, TopicSettings as Announced};

use crate::config::Rename;
use crate::join::carried_topics::CarriedTopics;
use crate::link::announced::text_bytes;
use crate::link::following::change;
use crate::link::following::follower::{Announcement, Due};
use crate::link::following::rule::FollowConfigs;
use crate::link::{LinkSettings, ServedLink};

/// Memory of a topic besides its texts: up to four maps of settings, and sentences about them.
const ENTRY_BYTES: usize = 1024;
/// Longest sleep without a topic to look at.
const IDLE: Duration = Duration::from_secs(60);

/// Following in one session; dropping it ends it.
pub(super) struct FollowTask {
    link: Arc<ServedLink>,
    allowed: TopicFilter,
    rename: Rename,
    announced: Arc<Notify>,
    _task: JoinSet<()>,
}

impl Drop for FollowTask {
    fn drop(&mut self) {
        self.link.following.0.lock().end_session();
    }
}

impl FollowTask {
    /// Starts to follow, if the link does.
    pub(super) fn start(
        link: &Arc<ServedLink>,
        settings: &LinkSettings,
        carried_topics: &Arc<CarriedTopics>,
    ) -> Option<Self> {
        if settings.follow_configs == FollowConfigs::Off {
            link.following.clear();
            return None;
        }
        link.following.0.lock().begin_session();
        let announced = Arc::new(Notify::new());
        let mut task = JoinSet::new();
        let run = run(Arc::clone(link), settings.follow_configs, Arc::clone(carried_topics), Arc::clone(&announced));
        task.spawn(run);
        Some(Self {
            link: Arc::clone(link),
            allowed: settings.topics.clone(),
            rename: settings.rename.clone(),
            announced,
            _task: task,
        })
    }

    /// Takes settings that are set on source topics themselves.
    pub(super) fn handle(&self, topics: Vec<Announced>) -> Result<(), Close> {
        for announced in topics {
            let target = self.rename.apply(&announced.topic);
            if !self.allowed.matches(&announced.topic) || check_kafka_name(&target).is_err() {
                continue;
            }
            // The earlier announcement is replaced only afterwards, so both count for a moment.
            let bytes = |one: &TopicConfig| 2 * (text_bytes(&one.name) + text_bytes(&one.value));
            let settings = announced.settings.iter().map(bytes).sum::<usize>();
            let texts = 2 * text_bytes(&announced.topic) + text_bytes(&target);
            let room = self.link.announced.take(ENTRY_BYTES + texts + settings)?;
            let announcement = Announcement { target, announced, room };
            self.link.following.0.lock().handle_announced(announcement, Instant::now());
        }
        self.announced.notify_one();
        Ok(())
    }

    /// Forgets those of these topics whose settings the sender does not know any more: they are not carried.
    pub(super) fn handle_settings(&self, topics: &[Announced]) {
        let mut follower = self.link.following.0.lock();
        topics.iter().filter(|one| one.settings.is_empty()).for_each(|one| follower.handle_gone(&one.topic));
    }
}

async fn run(link: Arc<ServedLink>, follow: FollowConfigs, carried: Arc<CarriedTopics>, announced: Arc<Notify>) {
    loop {
        let next = link.following.0.lock().next_timeout().unwrap_or_else(|| Instant::now() + IDLE);
        tokio::select! {
            () = announced.notified() => continue,
            () = tokio::time::sleep_until(next) => {}
        }
        let due = link.following.0.lock().poll_topics(Instant::now(), |topic| carried.is_joined(topic));
        if due.is_empty() {
            continue;
        }
        let asked = Arc::clone(&link);
        // A panic is reported by its thread; the topics are looked at again when they are due.
        let _ = link.blocking.run(move || follow_topics(&asked, follow, due)).await;
    }
}

/// Looks at topics, and changes their settings. Blocks on the target.
fn follow_topics(link: &ServedLink, follow: FollowConfigs, topics: Vec<Due>) {
    let catalog: &dyn Catalog = &*link.catalog;
    let targets: Vec<_> = topics.iter().map(|due| due.target.clone()).collect();
    let found = catalog.some_configs(&targets, COPIED).unwrap_or_else(|error| vec![Err(error); targets.len()]);
    let now = Instant::now();
    let mut changes = Vec::new();
    let mut changed = Vec::new();
    for (due, entries) in topics.into_iter().zip(found) {
        let plan = link.following.0.lock().plan(&due, entries, follow, now);
        if !plan.is_empty() {
            changes.push((due.target.clone(), plan));
            changed.push(due);
        }
    }
    for (due, outcome) in changed.iter().zip(change::make(catalog, changes)) {
        link.following.0.lock().handle_outcome(due, outcome, Instant::now());
    }
}
