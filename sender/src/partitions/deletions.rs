//! Deletions of keys that compaction at the source may have removed before they were carried. Pure decisions, in
//! milliseconds since the Unix epoch.
//!
//! A compacted topic keeps the deletion of a key for `delete.retention.ms` after the deletion was written. A link that
//! is away for longer may never see it, and its target keeps the key. That may have happened to a partition that is
//! behind if both are true:
//!
//! - The last time at which the link is known to have missed nothing is longer ago than that: it was at the end of the
//!   log then, or the partition began, or a loss was accepted. After a restart of the sender it is the time at which the
//!   receiver stored the position.
//! - Every record up to the position is older than that, by its timestamp, so that deletions after it may be, too.

use std::collections::HashMap;
use std::sync::Arc;

use kafka::topic_settings::TopicSettings;
use service::format::duration;
use service::lock::Lock;
use wire::ids::Position;
use wire::partition::Partition;

/// Least time for which deletions are taken to be kept: a link that keeps up is a few seconds behind, and a broker's
/// cleaner sleeps for 15 s.
const KEPT_MIN_MS: i64 = 10_000;

/// Knowledge about the compacted topics of a sender, for all its sessions.
#[derive(Debug, Default)]
pub struct Deletions(Lock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Time that each compacted topic keeps deletions.
    kept_ms: HashMap<Arc<str>, i64>,
    partitions: HashMap<Partition, Watched>,
    /// Running partitions that have missed deletions, until the session halts them.
    lost: Vec<Lost>,
}

#[derive(Debug)]
struct Lost {
    at: Partition,
    /// Last time at which nothing was missed, by which this was judged.
    complete_at: i64,
    /// Detail of the halt.
    detail: String,
}

#[derive(Debug, Default)]
struct Watched {
    /// Last time at which nothing was missed; `None` while unknown.
    complete_at: Option<i64>,
    /// Time at which the receiver stored the position, as it said before it opened the partition.
    stored_at: Option<i64>,
    looked_up: Option<LookedUp>,
}

/// Log of a partition when it was last offered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LookedUp {
    /// Position of the first record that is younger than the time for which the topic keeps deletions, or the end.
    pub(crate) young: Position,
    /// End of the committed records.
    pub(crate) end: Position,
}

impl Deletions {
    /// Takes the present settings of a topic.
    pub(crate) fn handle_settings(&self, topic: &Arc<str>, settings: &TopicSettings) {
        let mut inner = self.0.lock();
        match settings.delete_retention_ms() {
            Some(ms) => drop(inner.kept_ms.insert(Arc::clone(topic), ms.max(KEPT_MIN_MS))),
            None => {
                inner.kept_ms.remove(topic);
                inner.partitions.retain(|at, _| at.topic != *topic);
            }
        }
    }

    /// Returns the time for which the topic is taken to keep deletions; `None` if it is not known to be compacted.
    pub(crate) fn kept_ms(&self, topic: &str) -> Option<i64> {
        self.0.lock().kept_ms.get(topic).copied()
    }

    /// Takes the log of a partition that is about to be offered.
    pub(crate) fn handle_looked_up(&self, at: &Partition, found: LookedUp) {
        self.0.lock().partitions.entry(at.clone()).or_default().looked_up = Some(found);
    }

    /// Takes the time at which the receiver stored the position of a partition that it is about to open.
    pub(crate) fn handle_stored_at(&self, at: &Partition, time: i64) {
        let mut inner = self.0.lock();
        if inner.kept_ms.contains_key(&at.topic) {
            inner.partitions.entry(at.clone()).or_default().stored_at = Some(time);
        }
    }

    /// Handles that the receiver opened a partition. Returns why it must halt instead, if deletions may be missing.
    /// `is_accepted` is true if an operator or a policy has just accepted that.
    pub(crate) fn handle_open(
        &self,
        at: &Partition,
        position: Position,
        now: i64,
        is_accepted: bool,
    ) -> Option<String> {
        let mut inner = self.0.lock();
        let kept = *inner.kept_ms.get(&at.topic)?;
        let watched = inner.partitions.entry(at.clone()).or_default();
        let known = watched.complete_at.max(watched.stored_at.take());
        let found = watched.looked_up.take();
        // A position that was never stored before begins now, in an empty target.
        let complete_at = known.filter(|_| !is_accepted).unwrap_or(now);
        watched.complete_at = Some(complete_at);
        let found = found.filter(|found| found.young > position && found.end > position)?;
        (now - complete_at >= kept).then(|| detail(position, found.end, now - complete_at, kept))
    }

    /// Handles that a partition was carried up to the end of the committed records at this time.
    pub(crate) fn handle_caught_up(&self, at: &Partition, time: i64) {
        let mut inner = self.0.lock();
        if inner.kept_ms.contains_key(&at.topic) {
            inner.partitions.entry(at.clone()).or_default().complete_at = Some(time);
        }
    }

    /// Returns the last time at which a partition of a compacted topic had missed nothing, if that is known.
    pub(crate) fn complete_at(&self, at: &Partition) -> Option<i64> {
        self.0.lock().partitions.get(at)?.complete_at
    }

    /// Handles a running partition that is behind, at this position. Its first young record is at `found.young`.
    pub(crate) fn handle_behind(&self, at: &Partition, position: Position, found: LookedUp, now: i64) {
        let mut inner = self.0.lock();
        let Some(kept) = inner.kept_ms.get(&at.topic).copied() else { return };
        let Some(complete_at) = inner.partitions.get(at).and_then(|watched| watched.complete_at) else { return };
        if now - complete_at >= kept && found.young > position && found.end > position {
            let detail = detail(position, found.end, now - complete_at, kept);
            inner.lost.push(Lost { at: at.clone(), complete_at, detail });
        }
    }

    /// Returns the running partitions that must be halted, once each, with the details. A loss that was accepted after it
    /// was found is not among them.
    pub(crate) fn take_lost(&self) -> Vec<(Partition, String)> {
        let mut inner = self.0.lock();
        let lost = std::mem::take(&mut inner.lost);
        let is_valid = |lost: &Lost| {
            inner.partitions.get(&lost.at).is_some_and(|watched| watched.complete_at == Some(lost.complete_at))
        };
        lost.into_iter().filter(is_valid).map(|lost| (lost.at, lost.detail)).collect()
    }
}

fn detail(position: Position, end: Position, away_ms: i64, kept_ms: i64) -> String {
    let away = duration(away_ms as f64 / 1000.0);
    let kept = duration(kept_ms as f64 / 1000.0);
    format!(
        "deletions between source offsets {position} and {end} may be gone: it was last known to miss none {away} ago, and the source keeps them for {kept} (`delete.retention.ms`, at least {} s)",
        KEPT_MIN_MS / 1000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;
    const NOW: i64 = 100 * DAY;

    fn at() -> Partition {
        Partition::new("kv", 0)
    }

    fn settings(policy: &str, kept: &str) -> TopicSettings {
        let entries = [("cleanup.policy", policy), ("delete.retention.ms", kept)];
        entries.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn compacted(kept_ms: i64) -> Deletions {
        let deletions = Deletions::default();
        deletions.handle_settings(&at().topic, &settings("compact", &kept_ms.to_string()));
        deletions
    }

    /// Opens the partition at 50, with the log's end at 90 and its first young record at `young`.
    fn is_lost(deletions: &Deletions, young: i64, now: i64) -> bool {
        deletions.handle_looked_up(&at(), LookedUp { young: Position(young), end: Position(90) });
        deletions.handle_open(&at(), Position(50), now, false).is_some()
    }

    #[test]
    fn a_link_away_for_longer_than_deletions_are_kept_halts() {
        let stored = |ago: i64, young: i64| {
            let deletions = compacted(DAY);
            deletions.handle_stored_at(&at(), NOW - ago);
            is_lost(&deletions, young, NOW)
        };
        assert!(stored(3 * DAY, 51) && stored(3 * DAY, 90), "all that follows may be old");
        assert!(!stored(3 * DAY, 50), "the next record is young: the topic was idle");
        assert!(!stored(DAY - 1, 90), "it was not away for so long");
        assert!(!stored(3 * DAY, 20), "young records were carried");
    }

    #[test]
    fn a_partition_that_begins_or_is_not_behind_has_missed_nothing() {
        let deletions = compacted(DAY);
        assert!(!is_lost(&deletions, 90, NOW), "it was never stored");
        assert!(!is_lost(&deletions, 90, NOW + DAY - 1), "another session of the first catch-up");
        assert!(is_lost(&deletions, 90, NOW + DAY), "the first catch-up takes too long");
        let deletions = compacted(DAY);
        deletions.handle_stored_at(&at(), NOW - 3 * DAY);
        deletions.handle_looked_up(&at(), LookedUp { young: Position(51), end: Position(50) });
        assert_eq!(deletions.handle_open(&at(), Position(50), NOW, false), None);
    }

    #[test]
    fn what_was_carried_since_counts_more_than_what_is_stored() {
        let deletions = compacted(DAY);
        deletions.handle_caught_up(&at(), NOW - 5);
        deletions.handle_stored_at(&at(), NOW - 3 * DAY);
        assert!(!is_lost(&deletions, 90, NOW));
        assert_eq!(deletions.complete_at(&at()), Some(NOW - 5));
    }

    #[test]
    fn an_accepted_loss_is_not_reported_again() {
        let deletions = compacted(DAY);
        deletions.handle_stored_at(&at(), NOW - 3 * DAY);
        assert!(is_lost(&deletions, 90, NOW));
        deletions.handle_looked_up(&at(), LookedUp { young: Position(90), end: Position(90) });
        assert_eq!(deletions.handle_open(&at(), Position(50), NOW, true), None);
        assert!(!is_lost(&deletions, 90, NOW + 1000));
    }

    #[test]
    fn a_running_partition_that_falls_behind_is_halted_once() {
        let deletions = compacted(DAY);
        deletions.handle_caught_up(&at(), NOW);
        let found = LookedUp { young: Position(70), end: Position(90) };
        deletions.handle_behind(&at(), Position(50), found, NOW + DAY - 1);
        assert!(deletions.take_lost().is_empty());
        deletions.handle_behind(&at(), Position(50), found, NOW + DAY);
        assert_eq!(deletions.take_lost().len(), 1);
        assert!(deletions.take_lost().is_empty());
        let other = Partition::new("kv", 1);
        deletions.handle_behind(&other, Position(50), found, NOW + DAY);
        assert!(deletions.take_lost().is_empty(), "nothing is known of it");
    }

    #[test]
    fn a_loss_that_is_accepted_meanwhile_halts_nothing() {
        let deletions = compacted(DAY);
        deletions.handle_caught_up(&at(), NOW);
        let found = LookedUp { young: Position(70), end: Position(90) };
        deletions.handle_behind(&at(), Position(50), found, NOW + DAY);
        deletions.handle_open(&at(), Position(50), NOW + DAY + 1, true);
        assert!(deletions.take_lost().is_empty());
    }

    #[test]
    fn short_times_do_not_halt_a_link_that_keeps_up() {
        let deletions = compacted(100);
        assert_eq!(deletions.kept_ms("kv"), Some(KEPT_MIN_MS));
        deletions.handle_settings(&at().topic, &settings("delete", "100"));
        assert_eq!(deletions.kept_ms("kv"), None);
        deletions.handle_stored_at(&at(), NOW - 3 * DAY);
        assert!(!is_lost(&deletions, 90, NOW), "it is not compacted");
    }
}
