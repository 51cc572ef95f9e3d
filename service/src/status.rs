//! Types that the statuses of both ends show.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wire::partition::Partition;

/// Counts of events by a word, such as a close code. Few different words occur.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally(BTreeMap<Cow<'static, str>, u64>);

/// Partition that an error stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct HaltedPartition {
    /// Source topic of a halted partition.
    pub topic: String,
    /// Number of the halted partition.
    pub partition: i32,
    /// Stored position; −1 while none is stored, or known here.
    pub position: i64,
    /// [Reason](../troubleshoot.md#halts), a stable word.
    pub reason: String,
    /// Values and limit that explain the halt.
    pub detail: String,
}

impl Tally {
    /// Counts one more event under `word`.
    pub fn add(&mut self, word: &'static str) {
        *self.0.entry(Cow::Borrowed(word)).or_default() += 1;
    }

    /// Returns each word with its count, in order.
    pub fn counts(&self) -> Vec<(String, u64)> {
        self.0.iter().map(|(word, count)| (word.to_string(), *count)).collect()
    }

    /// Returns the sum of several tallies.
    pub fn sum<'a>(tallies: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        for (word, count) in tallies.into_iter().flat_map(|tally| &tally.0) {
            *sum.0.entry(word.clone()).or_default() += count;
        }
        sum
    }
}

impl HaltedPartition {
    pub fn is_of(&self, at: &Partition) -> bool {
        self.partition == at.partition && *self.topic == *at.topic
    }
}
