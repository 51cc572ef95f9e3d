//! Source partitions whose end is held back by a transaction that stays open. Records behind it cannot be carried
//! until its producer, or the broker's timeout, ends it. Sans-IO.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wire::ids::Position;

use crate::source::discovery::SourceLog;
use wire::partition::Partition;

/// Age from which on an open transaction is reported.
const ORDINARY: Duration = Duration::from_secs(10);
/// Partitions that are reported at most.
const NAMED_MAX: usize = 100;

/// Transaction at the source that has been open for long.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OpenTransaction {
    /// Source topic of a transaction that has been open for 10 s or longer.
    pub topic: String,
    /// Source partition of the transaction.
    pub partition: i32,
    /// Offsets from its first record to the high watermark, which cannot be carried yet.
    pub held_back: u64,
    /// Seconds for which it has been seen open.
    pub seconds: f64,
}

/// Memory of since when each partition's end is held back at the same position.
#[derive(Debug, Default)]
pub(crate) struct OpenTransactions {
    since: HashMap<Partition, (Position, Instant)>,
}

impl OpenTransactions {
    /// Takes in the source's logs; returns the transactions that have been open for long, the oldest first.
    pub(crate) fn handle(&mut self, now: Instant, logs: &[SourceLog]) -> Vec<OpenTransaction> {
        let before = std::mem::take(&mut self.since);
        let mut open = Vec::new();
        for SourceLog { at, stable, bounds } in logs.iter().filter(|log| log.stable < log.bounds.end) {
            let same = before.get(at).filter(|(position, _)| position == stable);
            let since = same.map_or(now, |(_, since)| *since);
            self.since.insert(at.clone(), (*stable, since));
            let age = now.duration_since(since);
            if age >= ORDINARY {
                let held_back = u64::try_from(bounds.end.0 - stable.0).unwrap_or(0);
                let topic = at.topic.to_string();
                open.push(OpenTransaction { topic, partition: at.partition, held_back, seconds: age.as_secs_f64() });
            }
        }
        open.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        open.truncate(NAMED_MAX);
        open
    }
}

impl OpenTransaction {
    /// Returns whether both are of the same partition.
    pub fn is_in_place_of(&self, other: &Self) -> bool {
        self.topic == other.topic && self.partition == other.partition
    }

    /// Returns the sentence for the receiver, which learns of changes: it states no time.
    pub fn lasting(&self) -> String {
        let Self { topic, partition, .. } = self;
        let limit = ORDINARY.as_secs();
        format!(
            "source-transaction-open: a transaction on {topic}/{partition} has been open for more than {limit} s; its producer must commit or abort it"
        )
    }

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
    fn a_transaction_is_shown_while_it_has_been_open_for_long() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut watch = OpenTransactions::default();
        assert!(watch.handle(at(0), &held(5, 9)).is_empty());
        assert!(watch.handle(at(9), &held(5, 20)).is_empty());
        let open = watch.handle(at(12), &held(5, 30));
        assert_eq!((open[0].held_back, open[0].seconds), (25, 12.0));
        assert!(watch.handle(at(15), &held(6, 30)).is_empty(), "the next transaction is another");
        assert!(watch.handle(at(24), &held(30, 30)).is_empty());
        assert!(watch.handle(at(26), &held(6, 30)).is_empty(), "it was decided in between");
    }
}
