//! What librdkafka says beside a batch of messages: that a topic does not exist is no message to it, but
//! a call to the error callback while the batch is taken, with the partition named in the text alone.

use std::cell::RefCell;
use std::ffi::{c_char, c_int, c_void};

use rdkafka_sys as sys;
use sys::rd_kafka_resp_err_t as Code;

use super::client::lossy;
use super::error::known;

thread_local! {
    /// What was said on this thread since it began to listen; `None` while it does not.
    static HEARD: RefCell<Option<Vec<Aside>>> = const { RefCell::new(None) };
}

/// One call of the error callback.
#[derive(Debug)]
pub(super) struct Aside {
    code: i32,
    reason: String,
}

impl Aside {
    /// The partition this says is missing, with the words for it.
    pub(super) fn missing(self) -> Option<((String, i32), String)> {
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
        Some(((topic.to_owned(), partition.parse().ok()?), reason.to_owned()))
    }
}

/// Runs `take` and returns what was said during it.
pub(super) fn heard<T>(take: impl FnOnce() -> T) -> (T, Vec<Aside>) {
    HEARD.set(Some(Vec::new()));
    let taken = take();
    (taken, HEARD.take().unwrap_or_default())
}

/// Called by librdkafka on the thread that takes messages or events.
pub(super) extern "C" fn on_error(_rk: *mut sys::rd_kafka_t, code: c_int, reason: *const c_char, _opaque: *mut c_void) {
    // SAFETY: librdkafka passes a string that lives as long as the call.
    let reason = unsafe { lossy(reason) };
    tracing::debug!(code, "kafka client: {reason}");
    HEARD.with_borrow_mut(|heard| {
        if let Some(heard) = heard {
            heard.push(Aside { code, reason: reason.into_owned() });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_partition_is_read_out_of_the_words() {
        let code = Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART as i32;
        let aside = |code, reason: &str| Aside { code, reason: reason.to_owned() }.missing();
        let said = aside(code, "a.b [17]: topic does not exist (Broker: Unknown)");
        assert_eq!(said, Some((("a.b".to_owned(), 17), "topic does not exist (Broker: Unknown)".to_owned())));
        assert_eq!(aside(Code::RD_KAFKA_RESP_ERR__TRANSPORT as i32, "a.b [17]: x"), None);
        assert_eq!(aside(code, "something else"), None);
    }
}
