//! Requests to translate offsets, and their answers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use wire::ids::{Offset, Position};
use wire::partition::Partition;

use crate::lane::known_map::KnownMap;
use crate::target::map::search::Wanted;

/// Most offsets of one request.
const OFFSETS_MAX: usize = 10_000;

/// Offset of a partition, such as `orders/3@12345`, or a time, such as `orders/3@2026-11-30T01:00:00Z`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PartitionOffset {
    pub partition: Partition,
    pub at: Place,
}

/// Place in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Offset(Offset),
    /// The first carried record since a time.
    Since {
        /// Time in ms since the Unix epoch.
        time: i64,
        /// The text that says it.
        text: String,
    },
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        if let Ok(offset) = text.parse() {
            return Some(Self::Offset(Offset(offset))).filter(|_| offset >= 0);
        }
        let time: jiff::Timestamp = text.parse().ok()?;
        // A record has a whole number of milliseconds.
        let time = time.as_nanosecond().div_euclid(1_000_000) + i128::from(time.as_nanosecond() % 1_000_000 != 0);
        Some(Self::Since { time: i64::try_from(time).ok()?, text: text.to_owned() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset(offset) => offset.fmt(f),
            Self::Since { text, .. } => f.write_str(text),
        }
    }
}

impl FromStr for PartitionOffset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (partition, at) = text.rsplit_once('@')?;
            let (topic, number) = partition.rsplit_once('/').filter(|(topic, _)| !topic.is_empty())?;
            let number: i32 = number.parse().ok().filter(|number| *number >= 0)?;
            Some(Self { partition: Partition::new(topic, number), at: Place::parse(at)? })
        };
        parse().ok_or_else(|| {
            format!("`{text}`: write an offset like orders/3@12345, or a time like orders/3@2026-11-30T01:00:00Z")
        })
    }
}

impl TryFrom<String> for PartitionOffset {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<PartitionOffset> for String {
    fn from(offset: PartitionOffset) -> Self {
        offset.to_string()
    }
}

impl fmt::Display for PartitionOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.partition, self.at)
    }
}

/// Request of `POST /translate`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TranslateRequest {
    /// Name of the link; not needed if there is one.
    #[serde(default)]
    pub link: Option<String>,
    /// True to translate offsets of the target into those of the source.
    #[serde(default)]
    pub reverse: bool,
    pub offsets: Vec<PartitionOffset>,
}

/// What the map says of an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TranslationState {
    /// The record has the answered offset on the other side.
    Record,
    /// The link has no record there. The answered offset is that of the next record, or the end if there is none yet.
    NoRecord,
    /// The link has not carried it yet, or no record of that time.
    NotCarried,
    /// Of a time: the first record since then has the answered offset or a later one. More was not read.
    Later,
    /// The map does not go back so far.
    BeforeMap,
    /// The link has not carried such a partition.
    UnknownPartition,
}

/// Answer to one offset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Translation {
    /// Offset of the request.
    pub asked: String,
    pub state: TranslationState,
    /// Topic and partition on the other side.
    pub topic: Option<String>,
    pub partition: Option<i32>,
    pub offset: Option<i64>,
    /// Of a time: offset of the record on the side that was asked.
    #[serde(default)]
    pub asked_offset: Option<i64>,
    /// Source offset up to which the link has carried the partition.
    pub carried_to: Option<i64>,
}

/// One offset to translate, and the side that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) asked: PartitionOffset,
    pub(super) side: Side,
}

/// Side of a link that an offset belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Target,
}

impl TranslateRequest {
    pub(super) fn queries(&self) -> Result<Vec<Query>, String> {
        if self.offsets.len() > OFFSETS_MAX {
            return Err(format!("{} offsets in one request; at most {OFFSETS_MAX} are answered", self.offsets.len()));
        }
        let side = if self.reverse { Side::Target } else { Side::Source };
        Ok(self.offsets.iter().map(|asked| Query { asked: asked.clone(), side }).collect())
    }
}

impl Query {
    /// Asks for the target offset of a source position.
    pub(super) fn of(partition: Partition, position: Position) -> Self {
        let asked = PartitionOffset { partition, at: Place::Offset(Offset(position.0)) };
        Self { asked, side: Side::Source }
    }

    /// Returns what the map is asked; the time if that is not known yet.
    pub(super) fn wanted(&self) -> Result<Wanted, i64> {
        match (&self.asked.at, self.side) {
            (Place::Offset(offset), Side::Source) => Ok(Wanted::Target(*offset)),
            (Place::Offset(offset), Side::Target) => Ok(Wanted::Source(*offset)),
            (Place::Since { time, .. }, _) => Err(*time),
        }
    }

    pub(super) fn unknown(&self) -> Translation {
        Translation {
            asked: self.asked.to_string(),
            state: TranslationState::UnknownPartition,
            topic: None,
            partition: None,
            offset: None,
            asked_offset: None,
            carried_to: None,
        }
    }

    pub(super) fn answer(&self, map: &KnownMap, state: TranslationState, offset: Option<i64>) -> Translation {
        let other = match self.side {
            Side::Source => map.record.target(),
            Side::Target => map.key.clone(),
        };
        Translation {
            asked: self.asked.to_string(),
            state,
            topic: Some(other.topic.to_string()),
            partition: Some(other.partition),
            offset,
            asked_offset: None,
            carried_to: Some(map.record.position.0),
        }
    }

    /// Returns the answer that names the record at these offsets of source and target.
    pub(super) fn answer_both(
        &self,
        map: &KnownMap,
        state: TranslationState,
        source: Offset,
        target: Offset,
    ) -> Translation {
        let (other, asked) = match self.side {
            Side::Source => (target, source),
            Side::Target => (source, target),
        };
        Translation { asked_offset: Some(asked.0), ..self.answer(map, state, Some(other.0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_written_with_its_partition() {
        let offset: PartitionOffset = "a.b-c/3@12".parse().expect("an offset");
        assert_eq!(offset, PartitionOffset { partition: Partition::new("a.b-c", 3), at: Place::Offset(Offset(12)) });
        assert_eq!(offset.to_string(), "a.b-c/3@12");
        for (text, time) in
            [("2026-11-30T01:00:00Z", 1_796_000_400_000), ("2026-11-30T03:00:00.0004+02:00", 1_796_000_400_001)]
        {
            let asked: PartitionOffset = format!("a/3@{text}").parse().expect("a time");
            assert_eq!(asked.at, Place::Since { time, text: text.to_owned() });
            assert_eq!(asked.to_string(), format!("a/3@{text}"));
        }
        for text in ["a/3", "a@3", "/3@1", "a/-1@1", "a/1@-1", "a/1@x", "a/1@2026-11-30", ""] {
            let error = text.parse::<PartitionOffset>().unwrap_err();
            assert!(error.contains("write an offset like orders/3@12345, or a time"), "{text}");
        }
        let offsets = vec![offset; OFFSETS_MAX + 1];
        let refused = TranslateRequest { link: None, reverse: false, offsets }.queries().unwrap_err();
        assert_eq!(refused, "10001 offsets in one request; at most 10000 are answered");
    }
}
