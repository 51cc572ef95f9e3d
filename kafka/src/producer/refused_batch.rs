//! Records of a refused batch that the broker names. Sans-IO.
//!
//! librdkafka 2.12 passes on the reports of one batch together. What they say depends on how many records the broker names:
//! - two or more: all others have the code `_INVALID_DIFFERENT_RECORD`
//! - all: each has a text of its own
//! - exactly one: all have the broker's code, but the text of the others is one and the same
//! - none: all have the broker's code, and one text or none
//!
//! Texts are freed before they could be read (see [`super::refusal_reason`]), so that only their addresses count. In a
//! batch of two records, the second and the third case look alike: there the broker counts as having named none.

use std::collections::HashMap;

use rdkafka_sys as sys;
use sys::rd_kafka_resp_err_t as Code;
use wire::ids::Offset;

use crate::error::{Refusal, known, refusal};

/// Failed reports of one batch.
#[derive(Debug, Default)]
pub(super) struct RefusedBatch {
    /// Records that are refused for themselves.
    refused: Vec<RefusedRecord>,
    /// True if other records of the batch are reported as not at fault.
    spares: bool,
}

/// Report of a record that is refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct RefusedRecord {
    /// Source offset of the record.
    pub(super) offset: Offset,
    pub(super) has_key: bool,
    /// Address of the report's text; 0 for none.
    pub(super) text: usize,
}

impl RefusedBatch {
    /// Takes the report of one record.
    pub(super) fn add(&mut self, code: i32, record: RefusedRecord) {
        self.spares |= known(code) == Some(Code::RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD);
        // A record that is too large may fit in another codec: its name is no verdict.
        let is_size = known(code) == Some(Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
        if refusal(code) == Some(Refusal::Record) && !is_size {
            self.refused.push(record);
        }
    }

    /// Returns the refused records in the order of their offsets; nothing if it is not clear which they are.
    pub(super) fn named(mut self) -> Vec<RefusedRecord> {
        let count = self.refused.len();
        let mut texts: HashMap<usize, usize> = HashMap::new();
        self.refused.iter().for_each(|record| *texts.entry(record.text).or_default() += 1);
        let all = self.spares || count == 1 || (count > 2 && texts.len() == count && !texts.contains_key(&0));
        let one = count > 2 && texts.len() == 2;
        self.refused.retain(|record| all || (one && texts[&record.text] == 1));
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVALID: Code = Code::RD_KAFKA_RESP_ERR_INVALID_RECORD;
    const OTHER: Code = Code::RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD;

    fn named(reports: &[(Code, usize)]) -> Vec<i64> {
        let mut batch = RefusedBatch::default();
        for (offset, (code, text)) in (10..).zip(reports) {
            batch.add(*code as i32, RefusedRecord { offset: Offset(offset), has_key: true, text: *text });
        }
        batch.named().iter().map(|record| record.offset.0).collect()
    }

    #[test]
    fn records_are_named_only_where_the_reports_say_which() {
        assert_eq!(named(&[(OTHER, 1), (INVALID, 2), (OTHER, 1), (INVALID, 3)]), [11, 13]);
        assert_eq!(named(&[(INVALID, 2), (INVALID, 3), (INVALID, 4)]), [10, 11, 12], "all");
        assert_eq!(named(&[(INVALID, 1), (INVALID, 2), (INVALID, 1)]), [11], "one");
        assert_eq!(named(&[(INVALID, 1), (INVALID, 0), (INVALID, 1)]), [11], "one, without a text");
        assert_eq!(named(&[(INVALID, 1), (INVALID, 2)]), [0i64; 0], "one or both");
        assert_eq!(named(&[(INVALID, 2), (INVALID, 2), (INVALID, 2)]), [0i64; 0], "none, with a text");
        assert_eq!(named(&[(INVALID, 0), (INVALID, 0), (INVALID, 0)]), [0i64; 0], "none");
        assert_eq!(named(&[(INVALID, 0)]), [10], "it is alone");
        let doubted = Code::RD_KAFKA_RESP_ERR_UNKNOWN;
        assert_eq!(named(&[(Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, 0)]), [0i64; 0], "it may fit in another codec");
        assert_eq!(named(&[(doubted, 2), (doubted, 3), (doubted, 4)]), [0i64; 0], "perhaps the broker failed");
    }
}
