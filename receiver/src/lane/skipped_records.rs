//! Records of one partition that a transaction leaves out by policy, because the target refuses them. Sans-IO.

use std::fmt::Write;
use std::sync::Arc;

use wire::ids::{Offset, Position, Slot};
use wire::partition::Partition;

use super::rejected_record::rejected;
use super::stored::Stored;
use crate::target::state::JumpRecord;

/// Ranges of offsets that the log of jumps names; it counts the others.
const RANGES_MAX: usize = 16;

/// Reasons that the log of jumps names besides the first record's.
const OTHER_REASONS_MAX: usize = 3;

#[derive(Debug, Clone)]
pub(super) struct SkippedRecords {
    /// Policy of the sender.
    policy: Arc<str>,
    /// Reason of the target's refusal of the first record.
    reason: Arc<str>,
    /// Other reasons, of later records.
    other_reasons: Vec<Arc<str>>,
    count: u64,
    first: Offset,
    last: Offset,
    /// First ranges of adjacent offsets, each with its first and last one.
    ranges: Vec<(Offset, Offset)>,
    /// Number of records that are not in them.
    others: u64,
}

/// Records that a transaction leaves out, and their entry in the log of jumps.
#[derive(Debug)]
pub(super) struct LoggedSkips {
    pub(super) slot: Slot,
    pub(super) key: Partition,
    pub(super) skipped: SkippedRecords,
    /// Number of the entry, and its contents: earlier records of the same reason included.
    pub(super) number: u64,
    pub(super) entry: SkippedRecords,
}

impl SkippedRecords {
    pub(super) fn new(policy: Arc<str>, reason: Arc<str>, first: Offset) -> Self {
        let other_reasons = Vec::new();
        Self { policy, reason, other_reasons, count: 0, first, last: first, ranges: Vec::new(), others: 0 }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Adds the next record, which the target refuses for `reason`.
    pub(super) fn add(&mut self, offset: Offset, reason: &Arc<str>) {
        let is_known = self.reason == *reason || self.other_reasons.contains(reason);
        if !is_known && self.other_reasons.len() < OTHER_REASONS_MAX {
            self.other_reasons.push(Arc::clone(reason));
        }
        self.add_range(offset, offset);
    }

    /// Returns these records and `later` ones as one entry of the log; `None` if their policies or reasons differ.
    pub(super) fn merged(&self, later: &Self) -> Option<Self> {
        let reasons = |skipped: &Self| (Arc::clone(&skipped.reason), skipped.other_reasons.clone());
        if self.policy != later.policy || reasons(self) != reasons(later) || later.first <= self.last {
            return None;
        }
        let mut merged = self.clone();
        later.ranges.iter().for_each(|(first, last)| merged.add_range(*first, *last));
        merged.count += later.others;
        merged.others += later.others;
        merged.last = later.last;
        Some(merged)
    }

    fn add_range(&mut self, first: Offset, offset: Offset) {
        let count = (offset.0 - first.0) as u64 + 1;
        self.count += count;
        self.last = offset;
        let has_room = self.ranges.len() < RANGES_MAX;
        match self.ranges.last_mut() {
            _ if self.others > 0 => self.others += count,
            Some((_, last)) if last.0 + 1 == first.0 => *last = offset,
            _ if has_room => self.ranges.push((first, offset)),
            _ => self.others += count,
        }
    }

    /// Returns the entry for the log of jumps with this number.
    pub(super) fn jump(&self, stored: &Stored, key: &Partition, number: u64, asked: i64) -> JumpRecord {
        JumpRecord {
            number,
            asked,
            sender: stored.terms.sender.clone(),
            topic: key.topic.to_string(),
            partition: key.partition,
            from: self.first.0,
            to: Position::after(self.last).0,
            accepted: String::new(),
            reason: self.described(),
            halt: Some(rejected(self.first, &self.reason)),
        }
    }

    /// Logs that they were left out.
    pub(super) fn report(&self, key: &Partition) {
        let Self { policy, reason, count, first, last, .. } = self;
        let Partition { topic, partition } = key;
        tracing::warn!(%topic, partition, count, %first, %last, %reason, %policy, "left out records that the target refuses");
    }

    /// Returns the policy, and which records it left out if they are more than one.
    fn described(&self) -> String {
        let mut text = self.policy.to_string();
        for (index, reason) in self.other_reasons.iter().enumerate() {
            let _ = write!(text, "{} {reason}", if index == 0 { ", later ones:" } else { ";" });
        }
        if self.count == 1 {
            return text;
        }
        let _ = write!(text, ", {} records, at source offsets", self.count);
        for (index, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let _ =
                if first == last { write!(text, "{comma} {first}") } else { write!(text, "{comma} {first} to {last}") };
        }
        if self.others > 0 {
            let _ = write!(text, " and {} more up to {}", self.others, self.last);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(offsets: impl IntoIterator<Item = i64>) -> String {
        let mut skipped = SkippedRecords::new("policy: skip".into(), "no".into(), Offset(3));
        offsets.into_iter().for_each(|offset| skipped.add(Offset(offset), &"no".into()));
        skipped.described()
    }

    fn skipped(offsets: impl IntoIterator<Item = i64>, reason: &str) -> SkippedRecords {
        let mut offsets = offsets.into_iter().map(Offset).peekable();
        let first = *offsets.peek().expect("one");
        let mut skipped = SkippedRecords::new("policy: skip".into(), reason.into(), first);
        offsets.for_each(|offset| skipped.add(offset, &reason.into()));
        skipped
    }

    #[test]
    fn neighbours_of_one_reason_are_one_entry() {
        let first = skipped([3, 5], "no");
        let merged = first.merged(&skipped([6, 9], "no")).expect("one reason");
        assert_eq!(merged.described(), "policy: skip, 4 records, at source offsets 3, 5 to 6, 9");
        assert_eq!((merged.first, merged.last), (Offset(3), Offset(9)));
        let many = merged.merged(&skipped((11..4_000).step_by(2), "no")).expect("one reason");
        assert!(many.described().contains(", 1999 records,") && many.described().ends_with(" more up to 3999"));
        assert!(first.merged(&skipped([6], "another")).is_none() && first.merged(&skipped([4], "no")).is_none());
    }

    #[test]
    fn the_log_of_jumps_names_every_reason() {
        let mut skipped = skipped([3], "too large");
        skipped.add(Offset(4), &"no key".into());
        skipped.add(Offset(6), &"too large".into());
        skipped.add(Offset(7), &"too old".into());
        let text = skipped.described();
        assert_eq!(text, "policy: skip, later ones: no key; too old, 4 records, at source offsets 3 to 4, 6 to 7");
    }

    #[test]
    fn the_log_of_jumps_names_what_was_left_out() {
        assert_eq!(described([3]), "policy: skip");
        assert_eq!(described([3, 6, 7, 8, 10]), "policy: skip, 5 records, at source offsets 3, 6 to 8, 10");
        let many = described((3..4_000).step_by(2));
        assert!(many.starts_with("policy: skip, 1999 records, at source offsets 3, 5, 7,"), "{many}");
        assert!(many.ends_with(" 33 and 1983 more up to 3999"), "{many}");
    }
}
