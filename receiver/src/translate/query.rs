//! Requests to translate offsets, and their answers.

use serde::{Deserialize, Serialize};
use wire::ids::{Offset, Position};
use wire::partition::Partition;

use crate::lane::known_map::KnownMap;
use crate::target::map::search::Wanted;

/// Most offsets of one request.
const OFFSETS_MAX: usize = 10_000;

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
    /// Offsets such as `orders/3@12345`.
    pub offsets: Vec<String>,
}

/// What the map says of an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TranslationState {
    /// The record has the answered offset on the other side.
    Record,
    /// The link has no record there. The answered offset is that of the next record, or the end if there is none yet.
    NoRecord,
    /// The link has not carried it yet.
    NotCarried,
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
    /// Source offset up to which the link has carried the partition.
    pub carried_to: Option<i64>,
}

/// One offset to translate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) partition: Partition,
    pub(super) wanted: Wanted,
    asked: String,
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
        self.offsets.iter().map(|text| Query::parse(text, self.reverse)).collect()
    }
}

impl Query {
    fn parse(text: &str, reverse: bool) -> Result<Self, String> {
        let parse = || {
            let (partition, offset) = text.rsplit_once('@')?;
            let (topic, number) = partition.rsplit_once('/').filter(|(topic, _)| !topic.is_empty())?;
            let number: i32 = number.parse().ok().filter(|number| *number >= 0)?;
            let offset = Offset(offset.parse().ok().filter(|offset| *offset >= 0)?);
            let wanted = if reverse { Wanted::Source(offset) } else { Wanted::Target(offset) };
            Some(Self { partition: Partition::new(topic, number), wanted, asked: text.to_owned() })
        };
        parse().ok_or_else(|| format!("`{text}`: write an offset like orders/3@12345"))
    }

    /// Asks for the target offset of a source position.
    pub(super) fn of(partition: Partition, position: Position) -> Self {
        Self { partition, wanted: Wanted::Target(Offset(position.0)), asked: String::new() }
    }

    pub(super) fn side(&self) -> Side {
        match self.wanted {
            Wanted::Target(_) => Side::Source,
            Wanted::Source(_) => Side::Target,
        }
    }

    pub(super) fn unknown(&self) -> Translation {
        Translation {
            asked: self.asked.clone(),
            state: TranslationState::UnknownPartition,
            topic: None,
            partition: None,
            offset: None,
            carried_to: None,
        }
    }

    pub(super) fn answer(&self, map: &KnownMap, state: TranslationState, offset: Option<i64>) -> Translation {
        let other = match self.side() {
            Side::Source => map.record.target(),
            Side::Target => map.key.clone(),
        };
        Translation {
            asked: self.asked.clone(),
            state,
            topic: Some(other.topic.to_string()),
            partition: Some(other.partition),
            offset,
            carried_to: Some(map.record.position.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Query, String> {
        Query::parse(text, false)
    }

    #[test]
    fn an_offset_is_written_with_its_partition() {
        let query = parse("a.b-c/3@12").expect("an offset");
        assert_eq!((query.partition, query.wanted), (Partition::new("a.b-c", 3), Wanted::Target(Offset(12))));
        for text in ["a/3", "a@3", "/3@1", "a/-1@1", "a/1@-1", "a/1@x", ""] {
            assert!(parse(text).unwrap_err().ends_with("write an offset like orders/3@12345"), "{text}");
        }
        let offsets = vec!["a/1@1".to_owned(); OFFSETS_MAX + 1];
        let refused = TranslateRequest { link: None, reverse: false, offsets }.queries().unwrap_err();
        assert_eq!(refused, "10001 offsets in one request; at most 10000 are answered");
    }
}
