//! Records of one partition that a transaction leaves out by policy, because the target refuses them. Sans-IO.

use std::fmt::Write;
use std::sync::Arc;

use wire::ids::{Offset, Position};
use wire::partition::Partition;

use super::rejected_record::rejected;
use super::stored::Stored;
use crate::target::state::JumpRecord;

/// Ranges of offsets that the log of jumps names; it counts the others.
const RANGES_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct SkippedRecords {
    /// Policy of the sender.
    policy: Arc<str>,
    /// Reason of the target's refusal of the first record.
    reason: Arc<str>,
    count: u64,
    first: Offset,
    last: Offset,
    /// First ranges of adjacent offsets, each with its first and last one.
    ranges: Vec<(Offset, Offset)>,
    /// Number of records that are not in them.
    others: u64,
}

impl SkippedRecords {
    pub(super) fn new(policy: Arc<str>, reason: Arc<str>, first: Offset) -> Self {
        Self { policy, reason, count: 0, first, last: first, ranges: Vec::new(), others: 0 }
    }

    /// Adds the next record.
    pub(super) fn add(&mut self, offset: Offset) {
        self.count += 1;
        self.last = offset;
        let has_room = self.ranges.len() < RANGES_MAX;
        match self.ranges.last_mut() {
            _ if self.others > 0 => self.others += 1,
            Some((_, last)) if last.0 + 1 == offset.0 => *last = offset,
            _ if has_room => self.ranges.push((offset, offset)),
            _ => self.others += 1,
        }
    }

    /// Returns the entry for the log of jumps, after `earlier` ones of the same transaction.
    pub(super) fn jump(&self, stored: &Stored, key: &Partition, earlier: usize, asked: i64) -> JumpRecord {
        JumpRecord {
            number: stored.next_jump() + earlier as u64,
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
        offsets.into_iter().for_each(|offset| skipped.add(Offset(offset)));
        skipped.described()
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
