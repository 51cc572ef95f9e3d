//! Ends of the source's partitions, as the sender last said: what is known of records that are not carried yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use service::lock::Lock;
use tokio::sync::{Notify, watch};
use wire::control::{PartitionEnd, TopicEnds};
use wire::ids::Position;
use wire::partition::Partition;

use crate::target::promoted::SourceEnd;

/// Least time between two readings that lanes store, in ms.
const STORE_EVERY: i64 = 5_000;
/// Memory of an end besides its topic's name.
const END_BYTES: usize = 128;

/// One reading of the source: all ends that the sender has said in its session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndsReading {
    /// Time of the sender's word by the receiver's clock, in ms since the Unix epoch.
    pub heard: i64,
    pub ends: Arc<BTreeMap<Partition, PartitionEnd>>,
    /// True if the sender has more partitions than there is room for.
    pub is_partial: bool,
}

/// Ends of the present session, or of the last one that had some.
#[derive(Debug, Default)]
pub(crate) struct SourceEnds {
    known: Lock<Known>,
    /// Wakes the one task that waits for a reading.
    said: Notify,
    asked: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Known {
    ends: Arc<BTreeMap<Partition, PartitionEnd>>,
    bytes: usize,
    is_partial: bool,
    /// Time of the newest complete reading.
    heard: Option<i64>,
    /// A new session has begun, and has said nothing yet.
    is_new: bool,
    /// Beginning of the newest session.
    session_began: Option<Instant>,
    /// The ends differ from those that lanes were given to store, which was at this time.
    changed: bool,
    given: i64,
}

impl SourceEnds {
    /// Notes that a session begins: its sender says all ends again.
    pub(crate) fn begin(&self) {
        let mut known = self.known.lock();
        known.is_new = true;
        known.session_began = Some(Instant::now());
    }

    /// Takes a message of the sender at `now`, as far as there is room for it in `bytes_max`. Returns a reading that the
    /// lanes have to store.
    pub(crate) fn handle(&self, topics: Vec<TopicEnds>, last: bool, now: i64, bytes_max: u64) -> Option<EndsReading> {
        let mut known = self.known.lock();
        if std::mem::take(&mut known.is_new) {
            *known = Known { given: known.given, session_began: known.session_began, ..Known::default() };
        }
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        topics.into_iter().for_each(|topic| known.add(topic, bytes_max));
        if !last {
            return None;
        }
        known.heard = Some(now);
        self.said.notify_one();
        if !known.changed || now.saturating_sub(known.given) < STORE_EVERY {
            return None;
        }
        known.changed = false;
        known.given = now;
        Some(known.reading(now))
    }

    /// Returns the age of the newest session; `None` before the first one.
    pub(crate) fn session_age(&self) -> Option<Duration> {
        self.known.lock().session_began.map(|began| began.elapsed())
    }

    /// Forgets the ends of topics that the source deleted.
    pub(crate) fn forget(&self, topics: &[String]) {
        let mut known = self.known.lock();
        let is_gone = |at: &Partition| topics.iter().any(|topic| *topic == *at.topic);
        if known.ends.keys().any(is_gone) {
            Arc::make_mut(&mut known.ends).retain(|at, _| !is_gone(at));
            known.bytes = known.ends.keys().map(|at| END_BYTES + at.topic.len()).sum();
        }
    }

    /// Asks the sender of the present session for a reading.
    pub(crate) fn ask(&self) {
        self.asked.send_replace(());
    }

    /// Returns what changes whenever the sender is to be asked.
    pub(crate) fn asked(&self) -> watch::Receiver<()> {
        self.asked.subscribe()
    }

    /// Waits for a reading that was not waited for yet.
    pub(crate) async fn said(&self) {
        self.said.notified().await;
    }

    /// Returns the newest complete reading.
    pub(crate) fn newest(&self) -> Option<EndsReading> {
        let known = self.known.lock();
        known.heard.map(|heard| known.reading(heard))
    }
}

impl Known {
    fn reading(&self, heard: i64) -> EndsReading {
        EndsReading { heard, ends: Arc::clone(&self.ends), is_partial: self.is_partial }
    }

    fn add(&mut self, topic: TopicEnds, bytes_max: usize) {
        let TopicEnds { topic, ends } = topic;
        let topic: Arc<str> = topic.into();
        let known = Arc::make_mut(&mut self.ends);
        for end in ends {
            let at = Partition { topic: Arc::clone(&topic), partition: end.partition };
            if known.get(&at) == Some(&end) {
                continue;
            }
            let bytes = if known.contains_key(&at) { 0 } else { END_BYTES + topic.len() };
            if self.bytes + bytes > bytes_max {
                self.is_partial = true;
                continue;
            }
            self.bytes += bytes;
            self.changed = true;
            known.insert(at, end);
        }
    }
}

impl EndsReading {
    /// Adds the ends to `known`, where nothing newer is known.
    pub(crate) fn add_to(&self, known: &mut BTreeMap<Partition, SourceEnd>) {
        for (at, end) in &*self.ends {
            SourceEnd { stable: end.stable, end: end.end, heard: self.heard }.add_to(at.clone(), known);
        }
    }

    /// Returns the end of a partition: the last stable one, and the high watermark.
    pub fn of(&self, at: &Partition) -> Option<(Position, Position)> {
        self.ends.get(at).map(|end| (end.stable, end.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(partition: i32, end: i64) -> Vec<TopicEnds> {
        let end = PartitionEnd { partition, stable: Position(end), end: Position(end) };
        vec![TopicEnds { topic: "orders".into(), ends: vec![end] }]
    }

    fn end_of(ends: &SourceEnds, partition: i32) -> Option<i64> {
        ends.newest()?.of(&Partition::new("orders", partition)).map(|(_, end)| end.0)
    }

    #[test]
    fn a_word_counts_once_its_reading_is_complete() {
        let ends = SourceEnds::default();
        assert_eq!(ends.newest(), None, "unknown is not 0");
        assert_eq!(ends.handle(said(0, 7), false, 10_000, 1 << 20), None);
        assert_eq!(ends.newest(), None);
        let reading = ends.handle(said(1, 9), true, 10_001, 1 << 20).expect("it is stored");
        assert_eq!((reading.heard, reading.ends.len()), (10_001, 2));
        assert_eq!(ends.handle(Vec::new(), true, 99_000, 1 << 20), None, "nothing has changed");
        assert_eq!((ends.newest().unwrap().heard, end_of(&ends, 0)), (99_000, Some(7)));
    }

    #[test]
    fn lanes_store_a_reading_every_few_seconds_at_most() {
        let ends = SourceEnds::default();
        let stored = (0..100).filter(|&n| ends.handle(said(0, n), true, 50_000 + n * 500, 1 << 20).is_some());
        assert_eq!(stored.count(), 10);
    }

    #[test]
    fn the_word_of_a_session_lasts_until_the_next_one_says_its_own() {
        let ends = SourceEnds::default();
        ends.handle(said(0, 7), true, 10_000, 1 << 20);
        ends.begin();
        assert_eq!(end_of(&ends, 0), Some(7));
        ends.handle(said(1, 9), true, 20_000, 1 << 20);
        assert_eq!((end_of(&ends, 0), end_of(&ends, 1)), (None, Some(9)));
    }

    #[test]
    fn a_sender_that_invents_partitions_takes_bounded_memory() {
        let ends = SourceEnds::default();
        (0..10_000).for_each(|partition| drop(ends.handle(said(partition, 1), true, 0, 1_000)));
        assert_eq!(ends.newest().unwrap().ends.len(), 7);
        ends.handle(said(0, 5), true, 1, 1_000);
        assert_eq!(end_of(&ends, 0), Some(5), "what it knows stays true");
    }
}
