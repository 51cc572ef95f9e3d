//! Source partitions whose end is held back by a transaction that stays open: nothing behind it can be carried
//! until its producer, or the broker's timeout, decides it. Sans-IO.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wire::ids::Position;

use crate::source::discovery::SourceLog;
use wire::partition::Partition;

/// A transaction that is decided sooner is ordinary.
const ORDINARY: Duration = Duration::from_secs(10);

/// How many partitions are named.
const NAMED_MAX: usize = 100;

/// A transaction that has been open for long.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OpenTransaction {
    /// Source topic.
    pub topic: String,
    /// Source partition.
    pub partition: i32,
    /// Offsets behind its first record, its own and others'.
    pub held_back: u64,
    /// How long it has been seen open, in seconds.
    pub seconds: f64,
}

/// Since when each partition's end is held back at the same place.
#[derive(Debug, Default)]
pub struct Watch {
    since: HashMap<Partition, (Position, Instant)>,
}

impl Watch {
    /// The source was asked for its logs; returns the transactions that have been open for long, the oldest
    /// first.
    pub fn handle(&mut self, now: Instant, logs: &[SourceLog]) -> Vec<OpenTransaction> {
        let before = std::mem::take(&mut self.since);
        let mut open = Vec::new();
        for SourceLog { at, stable, bounds } in logs.iter().filter(|log| log.stable < log.bounds.end) {
            let same = before.get(at).filter(|(position, _)| position == stable);
            let since = same.map_or(now, |(_, since)| *since);
            self.since.insert(at.clone(), (*stable, since));
            let age = now.duration_since(since);
            if age >= ORDINARY {
                let held_back = u64::try_from(bounds.end.0 - stable.0).unwrap_or(0);
                let (topic, seconds) = (at.topic.to_string(), age.as_secs_f64());
                open.push(OpenTransaction { topic, partition: at.partition, held_back, seconds });
            }
        }
        open.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        open.truncate(NAMED_MAX);
        open
    }
}

impl OpenTransaction {
    /// For people.
    pub fn sentence(&self) -> String {
        let Self { topic, partition, held_back, seconds } = self;
        format!(
            "source-transaction-open: a transaction on {topic}/{partition} has been open for {seconds:.0} s and holds back {held_back} offsets; its producer must commit or abort it"
        )
    }
}

#[cfg(test)]
mod tests {
    use kafka::catalog::Bounds;

    use super::*;

    fn held(stable: i64, high: i64) -> Vec<SourceLog> {
        let at = Partition { topic: "orders".into(), partition: 3 };
        let bounds = Bounds { start: Position(0), end: Position(high) };
        vec![SourceLog { at, bounds, stable: Position(stable) }]
    }

    #[test]
    fn a_transaction_is_shown_once_it_has_held_the_same_place_for_long_and_until_it_is_decided() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut watch = Watch::default();
        assert!(watch.handle(at(0), &held(5, 9)).is_empty());
        assert!(watch.handle(at(9), &held(5, 20)).is_empty());
        let open = watch.handle(at(12), &held(5, 30));
        assert_eq!((open[0].held_back, open[0].seconds), (25, 12.0));
        assert!(watch.handle(at(15), &held(6, 30)).is_empty(), "the next transaction is another");
        assert!(watch.handle(at(24), &held(30, 30)).is_empty());
        assert!(watch.handle(at(26), &held(6, 30)).is_empty(), "it was decided in between");
    }
}
