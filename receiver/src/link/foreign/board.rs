//! Records of other programs in a link's target partitions, for status and metrics.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::watch::ForeignWatch;

/// Partitions that the status names.
const NAMED_MAX: usize = 100;
/// Time for which records that were found are a trouble.
const TROUBLE_FOR: Duration = Duration::from_secs(60 * 60);

/// Records that other programs have written to the target partitions of a link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ForeignWrites {
    /// Number of such records that were found since the process started; `null` if none was found, but not everything
    /// was read.
    pub records: Option<u64>,
    /// Partitions that have some, at most 100.
    pub partitions: Vec<ForeignPartition>,
    /// Number of partitions that have some.
    pub partitions_count: usize,
    /// Stretches of offsets that wait to be read.
    pub waiting: usize,
    /// Stretches that were not read as a whole, and will not be: too many waited, or they were deleted before.
    pub unread: u64,
    /// Reason why those that wait could not be read.
    pub failure: Option<String>,
}

/// Target partition with records of other programs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ForeignPartition {
    /// Target topic.
    pub topic: String,
    /// Number of the partition.
    pub partition: i32,
    /// Number of records of other programs.
    pub records: u64,
    /// Offset of the first that was found.
    pub first_offset: Option<i64>,
}

impl ForeignWatch {
    pub(crate) fn status(&self) -> ForeignWrites {
        let named = self.found().take(NAMED_MAX).map(|(target, found)| ForeignPartition {
            topic: target.topic.to_string(),
            partition: target.partition,
            records: found.records,
            first_offset: found.first.map(|first| first.0),
        });
        let records: u64 = self.found().map(|(_, found)| found.records).sum();
        let is_known = records > 0 || (self.waiting() == 0 && self.unread() == 0);
        ForeignWrites {
            records: is_known.then_some(records),
            partitions: named.collect(),
            partitions_count: self.found().count(),
            waiting: self.waiting(),
            unread: self.unread(),
            failure: self.failure().map(str::to_owned),
        }
    }

    /// Returns the problem, in a sentence.
    pub(crate) fn trouble(&self, now: Instant) -> Option<String> {
        self.last_found().filter(|at| now.duration_since(*at) < TROUBLE_FOR)?;
        let records: u64 = self.found().map(|(_, found)| found.records).sum();
        let (target, found) = self.found().next()?;
        let partitions = self.found().count();
        let first = found.first.map_or_else(String::new, |first| format!(", such as {target}@{first}"));
        Some(format!("foreign-writes: other programs wrote {records} records to {partitions} target partitions{first}"))
    }
}
