//! Refusals of records by the target.

use std::fmt;

use wire::ids::Offset;
use wire::partition::Partition;

use crate::error::Refusal;

/// Refusal of records of one partition. Brokers name the batch, but not always the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Target partition that the records were for.
    pub partition: Partition,
    /// Cause of the refusal: one record, its topic, or unknown.
    pub refusal: Refusal,
    /// Source offset of the first record among which the refused one is.
    pub first: Offset,
    /// Source offset of the last of them; equal to `first` where the record is known exactly.
    pub last: Offset,
    /// Source offsets of the refused records, where the broker names them. It has accepted the others of their batches.
    pub named: Vec<Offset>,
    pub reason: String,
}

/// Refusals within one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejections {
    /// Refusal that failed the transaction.
    pub first: Rejection,
    /// Further partitions whose refused records the brokers name.
    pub others: Vec<Rejection>,
}

impl Rejections {
    pub fn iter(&self) -> impl Iterator<Item = &Rejection> {
        [&self.first].into_iter().chain(&self.others)
    }
}

impl From<Rejection> for Rejections {
    fn from(first: Rejection) -> Self {
        Self { first, others: Vec::new() }
    }
}

impl fmt::Display for Rejections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rejection { partition, named, reason, .. } = &self.first;
        match named.len() {
            0 | 1 => write!(f, "{partition} refuses a record: {reason}")?,
            count => write!(f, "{partition} refuses {count} records: {reason}")?,
        }
        match self.others.len() {
            0 => Ok(()),
            others => write!(f, "; so do {others} other partitions"),
        }
    }
}
