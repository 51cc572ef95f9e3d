//! Offers of a lane whose target cannot be used now: a partition without a leader, or a topic that the receiver may not
//! describe. Sans-IO.
//!
//! They are looked up again until the target answers. Meanwhile the lane is not told that every partition was offered:
//! the filter hash is not stored, so that a partition that waits keeps its `start` policy, and no position looks orphaned.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wire::control::OfferedPartition;
use wire::halt::HaltReason;
use wire::ids::Epoch;
use wire::partition::Partition;

use crate::join::targets::Waiting;
use crate::link::announced::Room;
use crate::target::state::HaltRecord;

/// First and longest wait before the target is asked again.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Offers of one lane that wait.
pub(super) struct WaitingOffers {
    pub(super) epoch: Epoch,
    offers: BTreeMap<Partition, WaitingOffer>,
    /// True if the last offer of the discovery waits for the others.
    last: bool,
    wait: Duration,
    due: Instant,
}

struct WaitingOffer {
    partition: OfferedPartition,
    /// Memory of the offer, taken as long as one of its partitions waits.
    room: Room,
    /// Reason why it waits.
    reason: String,
    /// Reason that the sender knows. The first failure is kept from it: most of them pass with the next attempt.
    reported: Option<String>,
}

impl WaitingOffers {
    pub(super) fn new() -> Self {
        let offers = BTreeMap::new();
        Self { epoch: Epoch(0), offers, last: false, wait: RETRY_MIN, due: Instant::now() }
    }

    /// Takes an offer that arrives. It replaces earlier ones of its partitions, and of earlier epochs.
    pub(super) fn handle_offer(&mut self, epoch: Epoch, partitions: &[OfferedPartition]) {
        if self.epoch != epoch {
            *self = Self { epoch, ..Self::new() };
        }
        for partition in partitions {
            self.offers.remove(&key(partition));
        }
    }

    /// Takes an offer that has to wait. Returns the halt that its sender must learn of.
    pub(super) fn handle_waiting(&mut self, waiting: Waiting, room: &Room) -> Option<HaltRecord> {
        let Waiting { partition, error } = waiting;
        let reason = error.to_string();
        let Some(known) = self.offers.get_mut(&key(&partition)) else {
            let room = room.clone();
            self.wait = RETRY_MIN;
            self.offers.insert(key(&partition), WaitingOffer { partition, room, reason, reported: None });
            return None;
        };
        known.reason.clone_from(&reason);
        let news = known.reported.as_ref() != Some(&reason);
        known.reported = Some(reason.clone());
        news.then(|| HaltRecord::new(HaltReason::TargetUnavailable, reason))
    }

    pub(super) fn handle_joined(&mut self, at: &Partition) {
        self.offers.remove(at);
    }

    /// Drops the offers of topics that no longer exist at the source.
    pub(super) fn handle_gone(&mut self, topics: &HashSet<Arc<str>>) {
        self.offers.retain(|at, _| !topics.contains(&at.topic));
    }

    /// Notes that the sender has offered all partitions.
    pub(super) fn handle_last(&mut self) {
        self.last = true;
    }

    /// Returns whether the lane can be told now that all partitions were offered.
    pub(super) fn poll_last(&mut self) -> bool {
        self.offers.is_empty() && std::mem::take(&mut self.last)
    }

    /// Sets the time of the next attempt, after one.
    pub(super) fn handle_attempt(&mut self, now: Instant) {
        self.due = now + self.wait;
        self.wait = (self.wait * 2).min(RETRY_MAX);
    }

    /// Returns the time of the next attempt, while any offer waits.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        (!self.offers.is_empty()).then_some(self.due)
    }

    /// Returns the offers to look up again, and room for them.
    pub(super) fn again(&self) -> Option<(Vec<OfferedPartition>, Room)> {
        let room = self.offers.first_key_value()?.1.room.clone();
        Some((self.offers.values().map(|offer| offer.partition.clone()).collect(), room))
    }

    /// Returns the partitions that wait, with the reasons, for the status. Those of the first attempt may pass.
    pub(super) fn reported(&self) -> Vec<(Partition, String)> {
        let reported = self.offers.iter().filter(|(_, offer)| offer.reported.is_some());
        reported.map(|(at, offer)| (at.clone(), offer.reason.clone())).collect()
    }
}

fn key(partition: &OfferedPartition) -> Partition {
    Partition::new(partition.topic.as_str(), partition.partition)
}

#[cfg(test)]
mod tests {
    use kafka::{KafkaError, KafkaFault};

    use super::*;
    use crate::join::fixtures::offered;
    use crate::link::announced::Announced;

    fn waiting(topic: &str, reason: &str) -> Waiting {
        let error = KafkaError { doing: "list".into(), reason: reason.into(), fault: KafkaFault::Unavailable };
        Waiting { partition: offered(topic), error }
    }

    fn room() -> Room {
        Announced::new(1).take(1).unwrap()
    }

    #[test]
    fn the_sender_learns_of_each_reason_once_and_not_of_what_passes() {
        let mut offers = WaitingOffers::new();
        offers.handle_offer(Epoch(1), &[offered("a")]);
        assert_eq!(offers.handle_waiting(waiting("a", "no leader"), &room()), None);
        assert!(offers.reported().is_empty());
        let halt = offers.handle_waiting(waiting("a", "no leader"), &room()).unwrap();
        assert_eq!((halt.reason.as_str(), halt.detail.as_str()), ("target-unavailable", "list: no leader"));
        assert_eq!(offers.reported().len(), 1);
        assert_eq!(offers.handle_waiting(waiting("a", "no leader"), &room()), None);
        assert!(offers.handle_waiting(waiting("a", "not authorised"), &room()).is_some());
    }

    #[test]
    fn the_last_offer_waits_for_all_others_of_its_epoch() {
        let mut offers = WaitingOffers::new();
        offers.handle_offer(Epoch(1), &[offered("a")]);
        offers.handle_waiting(waiting("a", "no leader"), &room());
        offers.handle_last();
        assert!(!offers.poll_last());
        assert_eq!(offers.again().unwrap().0, [offered("a")]);
        offers.handle_joined(&Partition::new("a", 0));
        assert!(offers.poll_last() && !offers.poll_last(), "once");
        offers.handle_waiting(waiting("b", "no leader"), &room());
        offers.handle_last();
        offers.handle_offer(Epoch(2), &[]);
        assert!(!offers.poll_last() && offers.again().is_none(), "the lane was opened again");
    }

    #[test]
    fn attempts_back_off_until_another_offer_waits() {
        let mut offers = WaitingOffers::new();
        assert_eq!(offers.next_timeout(), None);
        let now = Instant::now();
        offers.handle_waiting(waiting("a", "no leader"), &room());
        let waits: Vec<_> = std::iter::repeat_with(|| {
            offers.handle_attempt(now);
            offers.next_timeout().unwrap() - now
        })
        .take(7)
        .collect();
        assert!(waits[0] == RETRY_MIN && waits.is_sorted() && waits[6] == RETRY_MAX, "{waits:?}");
        offers.handle_waiting(waiting("b", "no leader"), &room());
        offers.handle_attempt(now);
        assert_eq!(offers.next_timeout(), Some(now + RETRY_MIN));
    }
}
