//! Topics as the sender of a link announced them in a session, and the memory that they take.

use std::collections::HashMap;
use std::sync::Arc;

use service::lock::Lock;
use wire::close::Close;
use wire::control::{ReturningPartition, TopicConfig};

use super::returns::{Provenance, Returning};
use crate::link::announced::{Announced, Room, text_bytes};

/// Memory of an announcement besides its texts: two lists, its room, and its place in a map that has doubled.
const ENTRY_BYTES: usize = 384;
/// Memory of a partition that goes back, in a map that has doubled.
const RETURNING_BYTES: usize = 96;

/// Announcements of one session, by the names of their topics.
#[derive(Debug)]
pub(super) struct Announcements {
    pub(super) memory: Announced,
    topics: Lock<HashMap<String, Announcement>>,
    /// Policies of topics whose refused records are left out.
    skips_refused: Lock<HashMap<String, (Arc<str>, Room)>>,
    /// Topics that go back.
    returning: Lock<HashMap<String, ReturningEntry>>,
}

#[derive(Debug)]
struct ReturningEntry {
    from: Arc<Provenance>,
    partitions: HashMap<i32, ReturningPartition>,
    rooms: Vec<Room>,
}

#[derive(Debug)]
struct Announcement {
    /// Settings that are copied.
    configs: Vec<TopicConfig>,
    /// Clusters that the topic has passed, the source included.
    clusters: Arc<[String]>,
    _room: Room,
}

impl Announcements {
    pub(super) fn new(memory: Announced) -> Self {
        Self { memory, topics: Lock::default(), skips_refused: Lock::default(), returning: Lock::default() }
    }

    /// Takes an announcement. It replaces an earlier one.
    pub(super) fn handle(&self, topic: String, configs: Vec<TopicConfig>, clusters: Vec<String>) -> Result<(), Close> {
        let configs_bytes = configs.iter().map(|one| text_bytes(&one.name) + text_bytes(&one.value)).sum::<usize>();
        let clusters_bytes = clusters.iter().map(|one| text_bytes(one)).sum::<usize>();
        let bytes = ENTRY_BYTES + text_bytes(&topic) + configs_bytes + clusters_bytes;
        let mut topics = self.topics.lock();
        // The earlier one first, so that it does not count twice.
        topics.remove(&topic);
        let announcement = Announcement { configs, clusters: clusters.into(), _room: self.memory.take(bytes)? };
        topics.insert(topic, announcement);
        Ok(())
    }

    /// Takes the policy by which refused records of a topic are left out. It replaces an earlier one.
    pub(super) fn handle_skip_refused(&self, topic: String, policy: String) -> Result<(), Close> {
        let mut skips_refused = self.skips_refused.lock();
        skips_refused.remove(&topic);
        let room = self.memory.take(ENTRY_BYTES + text_bytes(&topic) + text_bytes(&policy))?;
        skips_refused.insert(topic, (policy.into(), room));
        Ok(())
    }

    /// Takes partitions of a topic that goes back, and adds them to those of earlier messages.
    pub(super) fn handle_returning(
        &self,
        topic: String,
        from: Provenance,
        partitions: Vec<ReturningPartition>,
    ) -> Result<(), Close> {
        let mut returning = self.returning.lock();
        let known = returning.get(&topic);
        let is_new =
            |one: &&ReturningPartition| known.is_none_or(|known| !known.partitions.contains_key(&one.partition));
        let new = partitions.iter().filter(is_new).count();
        if known.is_some() && new == 0 {
            return Ok(());
        }
        let texts = [&topic, &from.link, &from.cluster, &from.topic].map(|text| text_bytes(text));
        let room = self.memory.take(ENTRY_BYTES + texts.iter().sum::<usize>() + new * RETURNING_BYTES)?;
        let entry = returning.entry(topic).or_insert_with(|| ReturningEntry {
            from: Arc::new(from),
            partitions: HashMap::new(),
            rooms: Vec::new(),
        });
        entry.partitions.extend(partitions.into_iter().map(|one| (one.partition, one)));
        entry.rooms.push(room);
        Ok(())
    }

    /// Returns where a partition of a topic that goes back begins; `None` for another one.
    pub(super) fn returning(&self, topic: &str, partition: i32) -> Option<Returning> {
        let returning = self.returning.lock();
        let entry = returning.get(topic)?;
        let ReturningPartition { begins, common, .. } = *entry.partitions.get(&partition)?;
        Some(Returning { from: Arc::clone(&entry.from), begins, common })
    }

    /// Returns the policy by which refused records of a topic are left out; `None` if they halt their partition.
    pub(super) fn skips_refused(&self, topic: &str) -> Option<Arc<str>> {
        self.skips_refused.lock().get(topic).map(|(policy, _)| Arc::clone(policy))
    }

    /// Returns the clusters that a topic has passed, the source included.
    pub(super) fn clusters(&self, topic: &str) -> Option<Arc<[String]>> {
        self.topics.lock().get(topic).map(|announcement| Arc::clone(&announcement.clusters))
    }

    /// Returns the settings to copy.
    pub(super) fn configs(&self, topic: &str) -> Vec<(String, String)> {
        let topics = self.topics.lock();
        let configs = topics.get(topic).map_or(&[][..], |announcement| &announcement.configs);
        configs.iter().map(|config| (config.name.clone(), config.value.clone())).collect()
    }
}
