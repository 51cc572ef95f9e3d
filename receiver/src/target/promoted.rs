//! What the state of a link has for its promotion: that it was promoted, what the sender last said of the source's ends,
//! and the statement of loss.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use wire::close::{Close, CloseCode};
use wire::control::{PartitionEnd, TopicEnds};
use wire::ids::Position;
use wire::partition::Partition;

/// Partitions in one stored record of ends: with the longest names it stays below 300 KiB.
const ENDS_IN_PART: usize = 1_000;
/// Bytes in one stored part of a statement: far below the 1 MiB that brokers accept.
const STATEMENT_BYTES: usize = 512 * 1024;
/// Longest name of who asked, and longest reason, in bytes.
const TEXT_MAX: usize = 128;

/// Promotion of a link: its lanes carry nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct PromotedRecord {
    /// Number of the promotion; a link that was never promoted is at 0.
    pub generation: u32,
    /// Time of the request by the receiver's clock, in ms since the Unix epoch.
    pub at: i64,
    /// User who asked for it.
    pub by: String,
    /// Reason that the user gave; may be empty.
    pub reason: String,
}

impl PromotedRecord {
    /// Makes the record of a link's first promotion. Long texts are cut, and have no control characters.
    pub fn first(at: i64, mut by: String, mut reason: String) -> Self {
        wire::text::shorten(&mut by, TEXT_MAX);
        wire::text::shorten(&mut reason, TEXT_MAX);
        Self { generation: 1, at, by, reason }
    }

    /// Returns since when and by whom `link` is promoted, in a sentence without a full stop.
    pub fn sentence(&self, link: &str) -> String {
        format!("link {link} was promoted at {} by {}", self.time(), self.by)
    }

    /// Returns since when and by whom a single topic is switched over, and why.
    pub(crate) fn topic_sentence(&self) -> String {
        let reason = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
        format!("switched over at {} by {}{reason}", self.time(), self.by)
    }

    fn time(&self) -> String {
        Timestamp::from_millisecond(self.at).map_or_else(|_| self.at.to_string(), |at| at.to_string())
    }

    /// Returns the refusal of a sender.
    pub fn close(&self, link: &str) -> Close {
        let reason = if self.reason.is_empty() { String::new() } else { format!(" (reason: {})", self.reason) };
        let sentence = self.sentence(link);
        let detail = format!(
            "{sentence}: the target belongs to its applications, and the link writes nothing any more; stop this sender, and use another link name to carry again{reason}"
        );
        Close::new(CloseCode::Promoted, detail)
    }
}

/// End of a partition at the source, as the sender last said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceEnd {
    /// Last stable offset.
    pub stable: Position,
    /// High watermark.
    pub end: Position,
    /// Time of that word by the receiver's clock, in ms since the Unix epoch.
    pub heard: i64,
}

impl SourceEnd {
    /// Adds this word about `at` to `known`, unless a newer one is there.
    pub fn add_to(self, at: Partition, known: &mut BTreeMap<Partition, Self>) {
        let known = known.entry(at).or_insert(self);
        if known.heard < self.heard {
            *known = self;
        }
    }
}

/// Stored ends of some partitions.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct EndsRecord {
    /// Time of the sender's word by the receiver's clock, in ms since the Unix epoch.
    pub heard: i64,
    pub topics: Vec<TopicEnds>,
}

impl EndsRecord {
    /// Returns the records that store these ends, which are in order.
    pub fn parts<'a>(heard: i64, ends: impl Iterator<Item = (&'a Partition, PartitionEnd)>) -> Vec<Self> {
        let mut parts: Vec<Self> = Vec::new();
        for (count, (at, end)) in ends.enumerate() {
            if count % ENDS_IN_PART == 0 {
                parts.push(Self { heard, topics: Vec::new() });
            }
            let Some(Self { topics, .. }) = parts.last_mut() else { continue };
            match topics.last_mut() {
                Some(last) if last.topic == *at.topic => last.ends.push(end),
                _ => topics.push(TopicEnds { topic: at.topic.to_string(), ends: vec![end] }),
            }
        }
        parts
    }

    /// Adds the ends to `known`, where nothing newer is known.
    pub fn add_to(self, known: &mut BTreeMap<Partition, SourceEnd>) {
        let heard = self.heard;
        for TopicEnds { topic, ends } in self.topics {
            for PartitionEnd { partition, stable, end } in ends {
                let at = Partition::new(topic.as_str(), partition);
                SourceEnd { stable, end, heard }.add_to(at, known);
            }
        }
    }
}

/// Part of a stored statement of loss.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct StatementPart {
    /// Number of parts.
    pub parts: u32,
    pub text: String,
}

impl StatementPart {
    /// Splits the text of a statement.
    pub fn split(text: &str) -> Vec<Self> {
        let mut texts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let at = (0..=rest.len().min(STATEMENT_BYTES)).rfind(|&at| rest.is_char_boundary(at)).unwrap_or(rest.len());
            let (first, left) = rest.split_at(at);
            texts.push(first.to_owned());
            rest = left;
        }
        let parts = u32::try_from(texts.len()).unwrap_or(u32::MAX);
        texts.into_iter().map(|text| Self { parts, text }).collect()
    }

    /// Joins the parts of a statement; `None` unless all of them are there.
    pub fn join(stored: &BTreeMap<u32, Self>) -> Option<String> {
        let parts = stored.get(&0)?.parts;
        (0..parts).map(|part| stored.get(&part).filter(|one| one.parts == parts).map(|one| one.text.as_str())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_since_when_by_whom_and_what_to_do() {
        let record = PromotedRecord::first(1_700_000_000_000, "ann\u{1b}@ops".to_owned(), "fire".to_owned());
        let Close { code, detail } = record.close("fra-to-sin");
        assert_eq!(code, CloseCode::Promoted);
        assert!(detail.starts_with("link fra-to-sin was promoted at 2023-11-14T22:13:20Z by ann @ops: "), "{detail}");
        assert!(detail.contains("stop this sender") && detail.ends_with("(reason: fire)"), "{detail}");
        let long = "x".repeat(1_000);
        let detail = PromotedRecord::first(0, long.clone(), long.clone()).close(&long[..128]).detail;
        assert!(detail.find("stop this sender").unwrap() < wire::text::CLOSE_TEXT_MAX, "the remedy is never cut");
    }

    #[test]
    fn senders_of_this_cluster_know_the_key_of_a_promotion() {
        assert!(wire::origin::is_promotion(&crate::target::state::promoted_key()));
    }

    #[test]
    fn a_statement_of_any_length_is_the_same_after_a_restart() {
        for text in ["short".to_owned(), "ä".repeat(STATEMENT_BYTES)] {
            let parts = StatementPart::split(&text);
            assert!(parts.iter().all(|part| part.text.len() <= STATEMENT_BYTES));
            let mut stored: BTreeMap<u32, StatementPart> = (0..).zip(parts).collect();
            assert_eq!(StatementPart::join(&stored), Some(text));
            stored.pop_last();
            assert_eq!(StatementPart::join(&stored), None, "half of it says nothing");
        }
    }

    #[test]
    fn the_newest_word_of_each_partition_counts() {
        let partitions: Vec<_> = (0..ENDS_IN_PART as i32 + 1).map(|number| Partition::new("orders", number)).collect();
        let at = |end: i64| PartitionEnd { partition: 0, stable: Position(end), end: Position(end) };
        let ends = |end| partitions.iter().map(move |one| (one, PartitionEnd { partition: one.partition, ..at(end) }));
        let older = EndsRecord::parts(7, ends(10));
        assert_eq!(older.len(), 2, "a record is bounded");
        let mut known = BTreeMap::new();
        EndsRecord::parts(9, ends(12).take(3)).into_iter().for_each(|part| part.add_to(&mut known));
        older.into_iter().for_each(|part| part.add_to(&mut known));
        assert_eq!(known.len(), partitions.len());
        let word = |end, heard| SourceEnd { stable: Position(end), end: Position(end), heard };
        assert_eq!((known[&partitions[2]], known[&partitions[3]]), (word(12, 9), word(10, 7)));
    }
}
