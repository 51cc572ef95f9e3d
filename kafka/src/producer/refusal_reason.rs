//! Reason of a failed delivery report: what the error code proves, and whether the record has a key.
//!
//! The broker's own sentence cannot be had. `rd_kafka_message_produce_errstr` of librdkafka 2.12 points into the
//! broker's answer, which is freed before the report can be read: see decision 39.

use rdkafka_sys as sys;
use sys::rd_kafka_resp_err_t as Code;

use crate::client::reason_of;
use crate::error::known;

/// Returns the reason for the operator. It contains nothing of the record.
pub(super) fn refusal_reason(code: i32, has_key: bool) -> String {
    let text = reason_of(code);
    let more = match known(code) {
        Some(Code::RD_KAFKA_RESP_ERR_INVALID_RECORD) if has_key => "the log of the partition's leader says why",
        Some(Code::RD_KAFKA_RESP_ERR_INVALID_RECORD) => "it has no key, and a compacted topic requires one",
        Some(Code::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP) => {
            "it is outside message.timestamp.before.max.ms or message.timestamp.after.max.ms of the topic"
        }
        _ => return text,
    };
    format!("{text}: {more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_say_what_the_code_proves() {
        let reason = |code: Code, has_key| refusal_reason(code as i32, has_key);
        assert_eq!(
            reason(Code::RD_KAFKA_RESP_ERR_INVALID_RECORD, false),
            "Broker: Broker failed to validate record: it has no key, and a compacted topic requires one"
        );
        assert_eq!(
            reason(Code::RD_KAFKA_RESP_ERR_INVALID_RECORD, true),
            "Broker: Broker failed to validate record: the log of the partition's leader says why"
        );
        assert!(reason(Code::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, true).contains("message.timestamp.before.max.ms"));
        assert_eq!(reason(Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, false), "Broker: Message size too large");
        assert_eq!(refusal_reason(12_345, true), "error code 12345, which this client does not know");
    }
}
