//! Gaps between the records of a link in its target partitions, and the records of other programs that were found there.
//! Sans-IO: time and readings are arguments.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use kafka::log::Seen;
use wire::ids::{Offset, Position, TopicId};

use crate::lane::{Gap, Gaps};
use crate::target::TargetPartition;

/// Gaps of one link that may wait: about 100 bytes each.
const GAPS_MAX: usize = 16_384;
/// Partitions of which it is known what was read.
const PARTITIONS_MAX: usize = 65_536;
/// Offsets of one reading.
const OFFSETS_MAX: i64 = 5_000;
/// First and longest wait before a gap that could not be read is read again.
const RETRY: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(600);

/// Part of a target partition to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) target: TargetPartition,
    pub(crate) topic_id: TopicId,
    pub(crate) from: Position,
    pub(crate) to: Position,
}

/// Outcome of a reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reading {
    /// All that is there was seen.
    Seen(Seen),
    /// The offsets, or the topic, are gone.
    Gone,
    /// It may succeed later.
    Failed(String),
}

/// Records of other programs in one target partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) records: u64,
    pub(crate) first: Option<Offset>,
}

/// A target partition of which something was read, or has to be.
#[derive(Debug, Default)]
struct Known {
    topic_id: TopicId,
    gaps: VecDeque<(Position, Position)>,
    /// End of the last gap that was read.
    read_to: Position,
    found: Found,
    failures: u32,
    /// It is in `due`, or being read.
    is_planned: bool,
    /// Why its last reading failed.
    failure: Option<String>,
}

/// Gaps and findings of one link.
#[derive(Debug, Default)]
pub(crate) struct ForeignWatch {
    partitions: BTreeMap<TargetPartition, Known>,
    /// Time of the next reading of each partition that has gaps.
    due: BTreeSet<(Instant, TargetPartition)>,
    waiting: usize,
    unread: u64,
    last_found: Option<Instant>,
}

impl ForeignWatch {
    /// Takes the gaps that a lane has found.
    pub(crate) fn handle_gaps(&mut self, gaps: Gaps, now: Instant) {
        let (gaps, lost) = gaps.into_parts();
        self.unread += lost;
        gaps.for_each(|gap| self.handle_gap(gap, now));
    }

    fn handle_gap(&mut self, gap: Gap, now: Instant) {
        let Gap { target, topic_id, from, to, is_again } = gap;
        let has_room = self.waiting < GAPS_MAX
            && (self.partitions.contains_key(&target) || self.partitions.len() < PARTITIONS_MAX);
        if !has_room {
            self.unread += 1;
            return;
        }
        let known = self.partitions.entry(target.clone()).or_default();
        if known.topic_id != topic_id {
            // Another topic of this name: what waits is of a log that is gone.
            self.waiting -= known.gaps.len();
            self.unread += known.gaps.len() as u64;
            *known = Known { topic_id, found: known.found, is_planned: known.is_planned, ..Known::default() };
        }
        let is_known = from < known.read_to || known.gaps.iter().any(|(_, end)| from < *end);
        if is_again && is_known {
            return;
        }
        if !std::mem::replace(&mut known.is_planned, true) {
            self.due.insert((now, target));
        }
        known.gaps.push_back((from, to));
        self.waiting += 1;
    }

    /// Removes the next part to read, if one is due. The caller passes what came of it to
    /// [`ForeignWatch::handle_reading`].
    pub(crate) fn next(&mut self, now: Instant) -> Option<Part> {
        let (_, target) = self.due.first().filter(|(due, _)| *due <= now)?.clone();
        self.due.pop_first();
        let known = self.partitions.get(&target)?;
        let (from, to) = *known.gaps.front()?;
        let to = to.min(Position(from.0.saturating_add(OFFSETS_MAX)));
        Some(Part { topic_id: known.topic_id, target, from, to })
    }

    /// Takes the outcome of a reading.
    pub(crate) fn handle_reading(&mut self, part: Part, reading: Reading, now: Instant) {
        let Part { target, topic_id, to, .. } = part;
        let Some(known) = self.partitions.get_mut(&target) else { return };
        let mut due = now;
        match reading {
            // The topic has changed meanwhile.
            _ if known.topic_id != topic_id => {}
            Reading::Seen(seen) => {
                self.unread += u64::from(!seen.is_whole);
                if seen.records > 0 {
                    self.last_found = Some(now);
                    known.found.records += seen.records;
                    known.found.first = known.found.first.or(seen.first);
                }
                self.waiting -= known.advance(to);
            }
            Reading::Gone => {
                self.unread += 1;
                self.waiting -= known.advance(to);
            }
            Reading::Failed(reason) => {
                due += (RETRY * 2u32.saturating_pow(known.failures)).min(RETRY_MAX);
                known.failures = (known.failures + 1).min(8);
                known.failure = Some(reason);
            }
        }
        known.is_planned = !known.gaps.is_empty();
        if known.is_planned {
            self.due.insert((due, target));
        }
    }

    /// Returns the partitions with records of other programs.
    pub(crate) fn found(&self) -> impl Iterator<Item = (&TargetPartition, Found)> {
        self.partitions.iter().map(|(target, known)| (target, known.found)).filter(|(_, found)| found.records > 0)
    }

    /// Number of gaps that wait to be read.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Number of gaps that were not read as a whole, and will not be.
    pub(crate) fn unread(&self) -> u64 {
        self.unread
    }

    /// Returns why gaps of a partition that wait could not be read.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.partitions.values().find_map(|known| known.failure.as_deref())
    }

    /// Time at which records of other programs were last found.
    pub(crate) fn last_found(&self) -> Option<Instant> {
        self.last_found
    }
}

impl Known {
    /// Notes that the first gap was read up to here. Returns how many gaps are done.
    fn advance(&mut self, to: Position) -> usize {
        self.failures = 0;
        self.failure = None;
        self.read_to = self.read_to.max(to);
        let Some(first) = self.gaps.front_mut() else { return 0 };
        if to < first.1 {
            first.0 = to;
            return 0;
        }
        self.gaps.pop_front();
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: TopicId = TopicId([1; 16]);

    fn gap(partition: i32, from: i64, to: i64) -> Gap {
        let target = TargetPartition::new("orders", partition);
        Gap { target, topic_id: LOG, from: Position(from), to: Position(to), is_again: false }
    }

    fn seen(records: u64, first: i64) -> Reading {
        let first = (records > 0).then_some(Offset(first));
        Reading::Seen(Seen { records, first, bytes: 0, is_whole: true })
    }

    /// Reads what is due now. `read` makes the outcome.
    fn read_all(watch: &mut ForeignWatch, now: Instant, read: impl Fn(&Part) -> Reading) -> Vec<(i32, i64, i64)> {
        let mut parts = Vec::new();
        while let Some(part) = watch.next(now) {
            parts.push((part.target.partition, part.from.0, part.to.0));
            let reading = read(&part);
            watch.handle_reading(part, reading, now);
        }
        parts
    }

    #[test]
    fn every_gap_is_read_once_and_large_ones_in_parts() {
        let now = Instant::now();
        let mut watch = ForeignWatch::default();
        watch.handle_gap(gap(0, 10, 12), now);
        watch.handle_gap(gap(0, 20, 20 + OFFSETS_MAX + 1), now);
        assert_eq!(watch.status().records, None, "nothing is known yet");
        let middle = 20 + OFFSETS_MAX;
        let parts = read_all(&mut watch, now, |part| seen(u64::from(part.from.0 >= 20), part.from.0 + 1));
        assert_eq!(parts, [(0, 10, 12), (0, 20, middle), (0, middle, middle + 1)]);
        let status = watch.status();
        assert_eq!((status.records, status.waiting, status.unread), (Some(2), 0, 0));
        assert_eq!(status.partitions[0].first_offset, Some(21));
        let trouble = "foreign-writes: other programs wrote 2 records to 1 target partitions, such as orders/0@21";
        assert_eq!(watch.trouble(now).as_deref(), Some(trouble));
        assert_eq!(watch.trouble(now + Duration::from_secs(3600)), None);
        // The lane is opened again, and names what is stored.
        watch.handle_gap(Gap { is_again: true, ..gap(0, 20, 30) }, now);
        watch.handle_gap(Gap { is_again: true, ..gap(0, 9_000, 9_002) }, now);
        assert_eq!(read_all(&mut watch, now, |_| seen(0, 0)), [(0, 9_000, 9_002)]);
    }

    #[test]
    fn a_partition_that_cannot_be_read_delays_no_other() {
        let now = Instant::now();
        let mut watch = ForeignWatch::default();
        watch.handle_gap(gap(0, 1, 3), now);
        watch.handle_gap(gap(1, 1, 3), now);
        watch.handle_gap(gap(0, 5, 7), now);
        let fails = |part: &Part| match part.target.partition {
            0 => Reading::Failed("no leader".to_owned()),
            _ => seen(0, 0),
        };
        assert_eq!(read_all(&mut watch, now, fails), [(0, 1, 3), (1, 1, 3)]);
        let status = watch.status();
        assert_eq!((status.records, status.waiting, status.failure.as_deref()), (None, 2, Some("no leader")));
        assert_eq!(read_all(&mut watch, now + RETRY, fails), [(0, 1, 3)]);
        assert!(read_all(&mut watch, now + RETRY * 2, fails).is_empty(), "it waits twice as long");
        assert_eq!(read_all(&mut watch, now + RETRY * 3, |_| seen(0, 0)), [(0, 1, 3), (0, 5, 7)]);
        assert_eq!((watch.status().records, watch.failure()), (Some(0), None));
    }

    #[test]
    fn what_was_not_read_is_unknown() {
        let now = Instant::now();
        let mut watch = ForeignWatch::default();
        (0..GAPS_MAX as i64 + 3).for_each(|at| watch.handle_gap(gap(0, 10 * at, 10 * at + 2), now));
        assert_eq!((watch.waiting(), watch.unread()), (GAPS_MAX, 3));
        read_all(&mut watch, now, |_| Reading::Gone);
        assert_eq!((watch.waiting(), watch.status().records), (0, None));
    }

    #[test]
    fn what_waits_is_not_looked_for_in_another_topic_of_the_name() {
        let now = Instant::now();
        let mut watch = ForeignWatch::default();
        watch.handle_gap(gap(0, 100, 110), now);
        let part = watch.next(now).expect("a part");
        watch.handle_gap(Gap { topic_id: TopicId([2; 16]), ..gap(0, 3, 5) }, now);
        watch.handle_reading(part, seen(10, 100), now);
        assert_eq!((watch.status().records, watch.unread()), (None, 1), "of the topic that is gone");
        assert_eq!(read_all(&mut watch, now, |_| seen(0, 0)), [(0, 3, 5)]);
    }
}
