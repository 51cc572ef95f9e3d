//! Whether the source is quiet: nothing is written to it any more, and everything of it is carried. Sans-IO.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::control::PartitionEnd;
use wire::partition::Partition;

use super::statement::PartitionLoss;
use crate::link::source_ends::EndsReading;

/// Names in one sentence.
const NAMED_MAX: usize = 5;

/// Most time that counts between two readings: one may have been under way for long, and taken right after the one before.
const GAP_MAX: Duration = Duration::from_millis(500);

/// Watch over the ends of the source.
#[derive(Debug)]
pub(crate) struct QuietWatch {
    /// Time for which no end may move.
    quiet: Duration,
    newest: Option<Seen>,
    /// The first reading since which no end has moved.
    since: Since,
    /// Time between readings since then, as far as it counts.
    still: Duration,
    /// Topics whose ends have moved since the watch began, and are not still for long enough.
    moved: BTreeMap<Arc<str>, Duration>,
}

#[derive(Debug)]
struct Seen {
    at: Instant,
    ends: Arc<BTreeMap<Partition, PartitionEnd>>,
}

/// Moment at which a reading arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Since {
    pub(crate) at: Instant,
    /// The same by the receiver's clock, in ms since the Unix epoch.
    pub(crate) millis: i64,
}

impl QuietWatch {
    pub(crate) fn new(quiet: Duration, now: Instant) -> Self {
        let since = Since { at: now, millis: 0 };
        Self { quiet, newest: None, since, still: Duration::ZERO, moved: BTreeMap::new() }
    }

    /// Takes a reading that is newer than those before, and arrived at `now`. Returns since when no end has moved, once that is
    /// long enough; or else the topics that are still written.
    pub(crate) fn handle(&mut self, reading: &EndsReading, now: Instant) -> Result<Since, Obstacle> {
        let this = Since { at: now, millis: reading.heard };
        let Some(before) = self.newest.replace(Seen { at: now, ends: Arc::clone(&reading.ends) }) else {
            self.since = this;
            return Err(Obstacle::Begun);
        };
        let gap = now.saturating_duration_since(before.at).min(GAP_MAX);
        self.still += gap;
        self.moved.values_mut().for_each(|still| *still += gap);
        if before.ends != reading.ends {
            self.since = this;
            self.still = Duration::ZERO;
            let is_new = |(at, end): &(&Partition, &PartitionEnd)| before.ends.get(*at) != Some(*end);
            let gone = before.ends.keys().filter(|at| !reading.ends.contains_key(*at));
            let moved = reading.ends.iter().filter(is_new).map(|(at, _)| at).chain(gone);
            self.moved.extend(moved.map(|at| (Arc::clone(&at.topic), Duration::ZERO)));
        }
        if self.still >= self.quiet {
            return Ok(self.since);
        }
        let quiet = self.quiet;
        self.moved.retain(|_, still| *still < quiet);
        Err(match self.moved.is_empty() {
            true => Obstacle::Begun,
            false => Obstacle::Written(self.moved.keys().map(ToString::to_string).collect()),
        })
    }
}

/// Reason why a link cannot be switched over yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Nothing is in the way, but no request waits at this moment.
    NotAsked,
    /// No sender has the link at this receiver.
    NoSender,
    /// The sender says no ends.
    NoWord,
    /// The ends are not watched for long enough.
    Begun,
    /// Topics that are still written.
    Written(Vec<String>),
    /// The lanes do not answer.
    NoLanes,
    /// The link carries no partition at all.
    Nothing,
    /// The logs of partitions end before what was carried of them.
    Shorter(Vec<String>),
    /// The ends of partitions are not known.
    Unknown(Vec<String>),
    /// Partitions with open transactions.
    Open(Vec<String>),
    /// Halted partitions that are not carried up to their ends.
    Halted(Vec<String>),
    /// Partitions that are not carried up to their ends, and the number of offsets that are missing.
    Behind(Vec<String>, u64),
    /// Consumer groups are not committed as of the same time.
    Groups(Option<String>),
}

impl Obstacle {
    /// Returns the most serious obstacle in these partitions; `None` if all of them are carried up to their ends.
    pub(crate) fn of(partitions: &[PartitionLoss]) -> Option<Self> {
        if partitions.is_empty() {
            return Some(Self::Nothing);
        }
        let named = |is: &dyn Fn(&PartitionLoss) -> bool| {
            let named = partitions.iter().filter(|one| !is_carried(one) && is(one));
            Some(named.map(name).collect::<Vec<_>>()).filter(|names| !names.is_empty())
        };
        let is_open = |one: &PartitionLoss| one.in_open_transactions.is_some_and(|open| open > 0);
        let halted = named(&|one| one.halt.is_some()).map(Self::Halted);
        let unknown = || named(&|one| one.source_end.is_none()).map(Self::Unknown);
        let open = || named(&is_open).map(Self::Open);
        let missing = || partitions.iter().filter(|one| !is_carried(one)).filter_map(missing).sum();
        let behind = || named(&|_| true).map(|names| Self::Behind(names, missing()));
        let is_shorter = |one: &PartitionLoss| one.carried_to.zip(one.source_end).is_some_and(|(to, end)| end < to);
        let shorter = || named(&is_shorter).map(Self::Shorter);
        halted.or_else(unknown).or_else(shorter).or_else(open).or_else(behind)
    }
}

pub(super) fn name(partition: &PartitionLoss) -> String {
    format!("{}/{}", partition.topic, partition.partition)
}

/// An empty partition need not have joined. A log that ends before what was carried is another one.
fn is_carried(partition: &PartitionLoss) -> bool {
    match partition.carried_to {
        Some(_) => partition.not_carried == Some(0) && partition.source_end == partition.carried_to,
        None => partition.source_end == Some(0),
    }
}

fn missing(partition: &PartitionLoss) -> Option<u64> {
    partition.not_carried.or_else(|| partition.source_end.and_then(|end| u64::try_from(end).ok()))
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked => f.write_str("no client asks for it"),
            Self::NoSender => f.write_str("no sender has the link at this receiver"),
            Self::NoWord => f.write_str(
                "the sender has not said the ends of the source lately (a sender of an earlier version never does)",
            ),
            Self::Begun => f.write_str("watching whether the source is still written"),
            Self::Written(topics) => write!(f, "still written at the source, or not readable there: {}", list(topics)),
            Self::NoLanes => f.write_str("not all lanes of the link are open"),
            Self::Nothing => f.write_str("the link carries no partition"),
            Self::Shorter(partitions) => {
                write!(f, "the source has other logs than those that were carried: {}", list(partitions))
            }
            Self::Unknown(partitions) => {
                let named = list(partitions);
                write!(f, "the source does not tell the ends of {named} (a deleted topic: see `causeway forget`)")
            }
            Self::Open(partitions) => write!(f, "transactions are open at the source in {}", list(partitions)),
            Self::Halted(partitions) => {
                write!(f, "halted, and not carried to the end: {} (see `causeway status`)", list(partitions))
            }
            Self::Behind(partitions, offsets) => {
                write!(f, "{offsets} offsets are not carried, of {}", list(partitions))
            }
            Self::Groups(None) => f.write_str("consumer groups are not committed up to now yet"),
            Self::Groups(Some(trouble)) => write!(f, "consumer groups: {trouble}"),
        }
    }
}

/// Lists a few names, and says how many more there are.
pub(super) fn list(names: &[String]) -> String {
    let shown = names.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use wire::ids::Position;

    use super::*;

    fn reading(heard: i64, ends: &[(&str, i64)]) -> EndsReading {
        let end = |(topic, end): &(&str, i64)| {
            let position = Position(*end);
            (Partition::new(*topic, 0), PartitionEnd { partition: 0, stable: position, end: position })
        };
        EndsReading { heard, ends: Arc::new(ends.iter().map(end).collect()), is_partial: false }
    }

    fn written(topics: &[&str]) -> Result<i64, Obstacle> {
        Err(Obstacle::Written(topics.iter().map(ToString::to_string).collect()))
    }

    /// A watch that gets a reading at each of the times, in ms.
    fn watch(quiet: u64) -> impl FnMut(i64, &[(&str, i64)]) -> Result<i64, Obstacle> {
        let began = Instant::now();
        let mut watch = QuietWatch::new(Duration::from_millis(quiet), began);
        move |at, ends| {
            let now = began + Duration::from_millis(at.unsigned_abs());
            watch.handle(&reading(at, ends), now).map(|since| since.millis)
        }
    }

    #[test]
    fn a_source_is_quiet_once_no_end_has_moved_for_the_whole_time() {
        let mut heard = watch(1_000);
        assert_eq!(heard(10_000, &[("a", 5), ("b", 7)]), Err(Obstacle::Begun));
        assert_eq!(heard(10_500, &[("a", 5), ("b", 8)]), written(&["b"]));
        assert_eq!(heard(11_000, &[("a", 6), ("b", 8)]), written(&["a", "b"]));
        assert_eq!(heard(11_500, &[("a", 6), ("b", 8)]), written(&["a"]), "b is still for long enough");
        assert_eq!(heard(12_000, &[("a", 6), ("b", 8)]), Ok(11_000));
        assert_eq!(heard(12_400, &[("a", 6), ("b", 8)]), Ok(11_000));
        assert_eq!(heard(12_800, &[("a", 6)]), written(&["b"]), "it has gone");
        assert_eq!(heard(13_799, &[("a", 6)]), written(&["b"]), "a reading that comes late counts little");
        assert_eq!(heard(14_299, &[("a", 6)]), Ok(12_800));
    }

    #[test]
    fn a_first_reading_says_nothing_about_before() {
        let mut heard = watch(900);
        assert_eq!(heard(10_000, &[("a", 5)]), Err(Obstacle::Begun));
        assert_eq!(heard(10_500, &[("a", 5)]), Err(Obstacle::Begun));
        assert_eq!(heard(10_899, &[("a", 5)]), Err(Obstacle::Begun));
        assert_eq!(heard(10_900, &[("a", 5)]), Ok(10_000));
    }

    fn carried(carried_to: i64, end: i64) -> PartitionLoss {
        PartitionLoss {
            topic: "orders".to_owned(),
            carried_to: Some(carried_to),
            source_end: Some(end),
            not_carried: u64::try_from(end - carried_to).ok(),
            in_open_transactions: Some(0),
            ..PartitionLoss::default()
        }
    }

    #[test]
    fn only_what_is_known_to_be_carried_is_no_obstacle() {
        let unjoined = PartitionLoss { carried_to: None, not_carried: None, ..carried(0, 0) };
        assert_eq!(Obstacle::of(&[carried(7, 7), unjoined.clone()]), None, "an empty partition needs no position");
        let names = || vec!["orders/0".to_owned()];
        assert_eq!(Obstacle::of(&[carried(7, 9)]), Some(Obstacle::Behind(names(), 2)));
        let unjoined = PartitionLoss { source_end: Some(4), ..unjoined };
        assert_eq!(Obstacle::of(std::slice::from_ref(&unjoined)), Some(Obstacle::Behind(names(), 4)));
        let unknown = PartitionLoss { source_end: None, not_carried: None, ..carried(7, 7) };
        assert_eq!(Obstacle::of(&[unjoined, unknown.clone()]), Some(Obstacle::Unknown(names())));
        let open = PartitionLoss { in_open_transactions: Some(1), ..carried(7, 9) };
        assert_eq!(Obstacle::of(&[open]), Some(Obstacle::Open(names())));
        let halted = PartitionLoss { halt: Some("too-large".to_owned()), ..carried(7, 9) };
        assert_eq!(Obstacle::of(&[unknown, halted]), Some(Obstacle::Halted(names())));
        let shorter = PartitionLoss { not_carried: Some(0), ..carried(7, 5) };
        assert_eq!(Obstacle::of(&[shorter]), Some(Obstacle::Shorter(names())), "it was created again");
        assert_eq!(Obstacle::of(&[]), Some(Obstacle::Nothing));
        let at_end = PartitionLoss { halt: Some("by-operator".to_owned()), ..carried(7, 7) };
        assert_eq!(Obstacle::of(&[at_end]), None, "a halted partition without anything to carry is complete");
    }

    #[test]
    fn a_sentence_names_a_few_and_counts_the_rest() {
        let names = (0..7).map(|number| format!("t{number}")).collect();
        assert_eq!(
            Obstacle::Written(names).to_string(),
            "still written at the source, or not readable there: t0, t1, t2, t3, t4 and 2 more"
        );
    }
}
