//! The records of partitions as a transaction will leave them.
//!
//! Each record that is appended changes the one of its partition, and the records of one partition follow each other in
//! runs: the record that was changed last is found without hashing the topic's name.

use std::collections::HashMap;

use wire::partition::Partition;

use crate::target::state::PartitionRecord;

#[derive(Debug, Default)]
pub(super) struct Changes {
    records: Vec<(Partition, PartitionRecord)>,
    places: HashMap<Partition, usize>,
    /// Place of the record that was asked for last.
    last: usize,
}

impl Changes {
    pub(super) fn get(&self, key: &Partition) -> Option<&PartitionRecord> {
        self.places.get(key).map(|&place| &self.records[place].1)
    }

    pub(super) fn insert(&mut self, key: Partition, record: PartitionRecord) {
        match self.places.get(&key) {
            Some(&place) => self.records[place].1 = record,
            None => {
                self.places.insert(key.clone(), self.records.len());
                self.records.push((key, record));
            }
        }
    }

    /// Returns the record of `key`, which `stored` makes if the transaction has not changed it yet.
    pub(super) fn get_or_insert_with(
        &mut self,
        key: &Partition,
        stored: impl FnOnce() -> PartitionRecord,
    ) -> &mut PartitionRecord {
        if self.records.get(self.last).is_none_or(|(last, _)| last != key) {
            self.last = self.places.get(key).copied().unwrap_or_else(|| {
                self.insert(key.clone(), stored());
                self.records.len() - 1
            });
        }
        &mut self.records[self.last].1
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Partition, &PartitionRecord)> {
        self.records.iter().map(|(key, record)| (key, record))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&Partition, &mut PartitionRecord)> {
        self.records.iter_mut().map(|(key, record)| (&*key, record))
    }

    /// Returns the partitions and their records, in the order of the first changes.
    pub(super) fn into_records(self) -> Vec<(Partition, PartitionRecord)> {
        self.records
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::fixtures::partition_record as record;

    #[test]
    fn each_partition_has_one_record_however_they_alternate() {
        let a = Partition::new("orders", 0);
        let b = Partition::new("orders", 1);
        let mut changes = Changes::default();
        for key in [&a, &b, &b, &a, &b, &a, &a] {
            changes.get_or_insert_with(key, || record(0)).position.0 += 1;
        }
        assert_eq!(changes.get(&a), Some(&record(4)));
        changes.insert(a.clone(), record(9));
        changes.insert(Partition::new("orders", 2), record(1));
        changes.get_or_insert_with(&a, || record(0)).position.0 += 1;
        assert_eq!(changes.iter().map(|(_, record)| record.position.0).collect::<Vec<_>>(), [10, 3, 1]);
        assert_eq!(changes.into_records().len(), 3);
    }
}
