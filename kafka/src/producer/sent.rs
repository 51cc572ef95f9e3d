//! Records of a transaction by partition: how many were sent, and whether their reports are missing. Sans-IO.

use std::collections::HashMap;

use super::offsets::Offsets;

/// Partition as the client names it: the address of its topic handle, and the partition's number.
pub(super) type Origin = (usize, i32);

/// Reports of the records that one partition took since the last drain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) offsets: Offsets,
    pub(super) count: u64,
    /// Broker that took the newest of them, if the client knows it.
    pub(super) broker: Option<i32>,
}

/// Records that were sent to each partition.
#[derive(Debug, Default)]
pub(super) struct SentRecords {
    partitions: HashMap<Origin, Sent>,
    /// Newest records, all to one partition, that are not counted above: most records follow one to the same partition.
    newest: Option<(Origin, u64)>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Sent {
    /// Records since the last drain.
    count: u64,
    broker: Option<i32>,
}

impl SentRecords {
    /// Counts a record that was sent.
    pub(super) fn add(&mut self, to: Origin) {
        match &mut self.newest {
            Some((origin, count)) if *origin == to => *count += 1,
            _ => {
                self.count_newest();
                self.newest = Some((to, 1));
            }
        }
    }

    fn count_newest(&mut self) {
        if let Some((origin, count)) = self.newest.take() {
            self.partitions.entry(origin).or_default().count += count;
        }
    }

    /// Notes that all records were reported.
    pub(super) fn complete(&mut self, reported: &HashMap<Origin, Ends>) {
        self.count_newest();
        for (origin, sent) in &mut self.partitions {
            sent.count = 0;
            sent.broker = reported.get(origin).and_then(|ends| ends.broker).or(sent.broker);
        }
    }

    /// Returns the partitions that records are in flight to, each with the broker that last reported one.
    pub(super) fn unreported(&self, reported: &HashMap<Origin, Ends>) -> Vec<(Origin, Option<i32>)> {
        let unreported = |origin: &Origin| {
            let Sent { count, broker } = self.partitions.get(origin).copied().unwrap_or_default();
            let newest = self.newest.filter(|(to, _)| to == origin).map_or(0, |(_, count)| count);
            let ends = reported.get(origin);
            let missing = count + newest > ends.map_or(0, |ends| ends.count);
            missing.then_some((*origin, ends.and_then(|ends| ends.broker).or(broker)))
        };
        self.written().filter_map(|origin| unreported(&origin)).collect()
    }

    /// Returns every partition that a record was sent to.
    pub(super) fn written(&self) -> impl Iterator<Item = Origin> {
        let newest = self.newest.map(|(origin, _)| origin).filter(|origin| !self.partitions.contains_key(origin));
        self.partitions.keys().copied().chain(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Origin = (1, 0);
    const B: Origin = (1, 1);

    fn reported(count: u64, broker: i32) -> Ends {
        Ends { offsets: Offsets::default(), count, broker: Some(broker) }
    }

    #[test]
    fn partition_is_unreported_until_its_last_report() {
        let mut sent = SentRecords::default();
        [A, A, B, A].into_iter().for_each(|to| sent.add(to));
        let unreported = |sent: &SentRecords, ends: &[(Origin, Ends)]| {
            let mut found = sent.unreported(&ends.iter().cloned().collect());
            found.sort_unstable();
            found
        };
        assert_eq!(unreported(&sent, &[]), [(A, None), (B, None)]);
        assert_eq!(unreported(&sent, &[(A, reported(2, 7)), (B, reported(1, 8))]), [(A, Some(7))]);
        assert_eq!(unreported(&sent, &[(A, reported(3, 7)), (B, reported(1, 8))]), []);
        sent.complete(&HashMap::from([(A, reported(3, 7)), (B, reported(1, 8))]));
        assert_eq!(unreported(&sent, &[]), []);
        sent.add(B);
        assert_eq!(unreported(&sent, &[]), [(B, Some(8))], "the broker of the transaction before");
        let mut written: Vec<_> = sent.written().collect();
        written.sort_unstable();
        assert_eq!(written, [A, B]);
    }
}
