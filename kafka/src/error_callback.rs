//! Errors that librdkafka reports through its error callback while a batch of messages is taken. A missing topic, for
//! one, is not reported as a message: the callback's text alone names the partition.

use std::cell::RefCell;
use std::ffi::{c_char, c_int, c_void};

use rdkafka_sys as sys;
use sys::rd_kafka_resp_err_t as Code;

use super::error::known;
use super::text::lossy;

thread_local! {
    /// Errors reported on this thread since it began to collect them; `None` while it does not.
    static COLLECTED: RefCell<Option<Vec<ReportedError>>> = const { RefCell::new(None) };
}

#[derive(Debug)]
pub(super) struct ReportedError {
    code: i32,
    reason: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct MissingPartition {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) reason: String,
}

impl ReportedError {
    pub(super) fn missing(&self) -> Option<MissingPartition> {
        let missing = matches!(
            known(self.code),
            Some(
                Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                    | Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
                    | Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
                    | Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID
            )
        );
        // `topic [7]: topic does not exist (…)`; topic names contain neither blanks nor brackets.
        let (topic, rest) = self.reason.split_once(" [").filter(|_| missing)?;
        let (partition, reason) = rest.split_once("]: ")?;
        let partition = partition.parse().ok()?;
        Some(MissingPartition { topic: topic.to_owned(), partition, reason: reason.to_owned() })
    }
}

/// Runs `take`, and returns its result with the errors that the callback reported meanwhile.
pub(super) fn collect<T>(take: impl FnOnce() -> T) -> (T, Vec<ReportedError>) {
    COLLECTED.set(Some(Vec::new()));
    let taken = take();
    (taken, COLLECTED.take().unwrap_or_default())
}

/// Called by librdkafka on the thread that takes messages or events.
pub(super) extern "C" fn on_error(_rk: *mut sys::rd_kafka_t, code: c_int, reason: *const c_char, _opaque: *mut c_void) {
    // SAFETY: librdkafka passes a string that lives as long as the call.
    let reason = unsafe { lossy(reason) };
    tracing::debug!(code, "kafka client: {reason}");
    COLLECTED.with_borrow_mut(|collected| {
        if let Some(collected) = collected {
            collected.push(ReportedError { code, reason: reason.into_owned() });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_error_names_the_missing_partition() {
        let missing =
            |code: Code, reason: &str| ReportedError { code: code as i32, reason: reason.to_owned() }.missing();
        let unknown = Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
        let expected = MissingPartition {
            topic: "a.b".to_owned(),
            partition: 17,
            reason: "topic does not exist (Broker: Unknown)".to_owned(),
        };
        assert_eq!(missing(unknown, "a.b [17]: topic does not exist (Broker: Unknown)"), Some(expected));
        assert_eq!(missing(Code::RD_KAFKA_RESP_ERR__TRANSPORT, "a.b [17]: x"), None);
        assert_eq!(missing(unknown, "something else"), None);
    }
}
