//! Errors of Kafka calls: what failed, why, and whose fault it is.

use std::time::Duration;

use rdkafka_sys::rd_kafka_resp_err_t as Code;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{doing}: {reason}")]
pub struct KafkaError {
    /// The attempted operation, such as `commit of lane 3`.
    pub doing: String,
    pub reason: String,
    /// The fault, which decides what to do.
    pub fault: KafkaFault,
}

/// Fault behind a [`KafkaError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaFault {
    /// Broker or network: a later attempt may succeed.
    Unavailable,
    /// No answer arrived within this time.
    TimedOut(Duration),
    /// Another producer with our transactional id took over.
    Fenced,
    /// Authentication or authorisation failed: an operator must act.
    Unauthorized,
    /// The record itself is refused because of its size, timestamp or the topic's policy.
    RecordRejected,
    /// The topic or partition does not exist.
    UnknownTopic,
    /// Our configuration or our call is wrong: an operator must act.
    Misused,
}

/// Permanent reason why a record was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The record, or a temporary failure of the broker: the broker does not say which.
    Doubted,
    /// The record: its size, timestamp or contents.
    Record,
    /// The topic: the receiver has no right to write it.
    Unauthorized,
    /// The topic or partition: it does not exist.
    Gone,
}

impl KafkaError {
    /// Builds an error with the fault that `code` means.
    pub(crate) fn coded(doing: impl Into<String>, code: i32, reason: impl Into<String>) -> Self {
        Self { doing: doing.into(), reason: reason.into(), fault: fault_of(code) }
    }

    /// Builds an error for a call that can never succeed.
    pub fn misused(doing: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { doing: doing.into(), reason: reason.into(), fault: KafkaFault::Misused }
    }

    /// Builds an error about a topic or partition that does not exist.
    pub fn unknown_topic(doing: impl Into<String>) -> Self {
        let reason = "there is no such topic or partition".to_owned();
        Self { doing: doing.into(), reason, fault: KafkaFault::UnknownTopic }
    }

    /// Builds an error about a topic or partition that cannot be used now.
    pub(crate) fn unavailable(doing: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { doing: doing.into(), reason: reason.into(), fault: KafkaFault::Unavailable }
    }

    /// Returns whether the topic or partition does not exist.
    pub fn is_unknown_topic(&self) -> bool {
        self.fault == KafkaFault::UnknownTopic
    }

    /// Returns whether no broker may have answered.
    pub fn is_unanswered(&self) -> bool {
        matches!(self.fault, KafkaFault::Unavailable | KafkaFault::TimedOut(_))
    }

    /// Returns whether the user lacks a right.
    pub fn is_about_rights(&self) -> bool {
        self.fault == KafkaFault::Unauthorized
    }

    /// Builds an error for a call without an answer within `limit`.
    pub(crate) fn timed_out(doing: impl Into<String>, limit: Duration) -> Self {
        let reason = format!("no answer within {} ms", limit.as_millis());
        Self { doing: doing.into(), reason, fault: KafkaFault::TimedOut(limit) }
    }
}

/// Returns the named code, if this librdkafka knows it. Newer brokers have more codes, and an enum of the bindings must
/// never hold a number without a name.
pub(crate) fn known(code: i32) -> Option<Code> {
    Code::try_from(code).ok()
}

/// Returns the permanent refusal that this code of a delivery report means; `None` for a temporary failure.
pub(crate) fn refusal(code: i32) -> Option<Refusal> {
    match known(code)? {
        Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED => Some(Refusal::Unauthorized),
        // The client has already waited for the topic before it returns these.
        Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
        | Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
        | Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION => Some(Refusal::Gone),
        // A broker failed at the record, for example at a negative timestamp that it must rewrite; or the topic, not the
        // record, is what it refuses.
        Code::RD_KAFKA_RESP_ERR_UNKNOWN
        | Code::RD_KAFKA_RESP_ERR_POLICY_VIOLATION
        | Code::RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT => Some(Refusal::Doubted),
        _ => (fault_of(code) == KafkaFault::RecordRejected).then_some(Refusal::Record),
    }
}

/// Declares `fault_of` from rows of a fault and the codes that mean it.
macro_rules! faults {
    ($($fault:ident: $($code:ident)+;)+) => {
        fn fault_of(code: i32) -> KafkaFault {
            match known(code) {
                $($(Some(Code::$code))|+ => KafkaFault::$fault,)+
                _ => KafkaFault::Unavailable,
            }
        }
    };
}

faults! {
    Fenced:
        RD_KAFKA_RESP_ERR__FENCED RD_KAFKA_RESP_ERR_PRODUCER_FENCED RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH
        RD_KAFKA_RESP_ERR_TRANSACTION_COORDINATOR_FENCED;
    Unauthorized:
        RD_KAFKA_RESP_ERR__AUTHENTICATION RD_KAFKA_RESP_ERR__SSL RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED
        RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    RecordRejected:
        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE
        RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP RD_KAFKA_RESP_ERR_INVALID_RECORD
        RD_KAFKA_RESP_ERR_POLICY_VIOLATION RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT;
    UnknownTopic:
        RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
        RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID;
    // A replication factor that cannot be reached is not here: it passes when the missing broker is back.
    Misused:
        RD_KAFKA_RESP_ERR__INVALID_ARG RD_KAFKA_RESP_ERR__STATE RD_KAFKA_RESP_ERR__CONFLICT
        RD_KAFKA_RESP_ERR__NOT_CONFIGURED RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE
        RD_KAFKA_RESP_ERR_INVALID_CONFIG RD_KAFKA_RESP_ERR_INVALID_PARTITIONS
        RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT
        RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_codes_count_as_temporary() {
        assert_eq!(KafkaError::coded("x", 12_345, "?").fault, KafkaFault::Unavailable);
    }

    #[test]
    fn only_verdicts_on_the_record_are_refusals() {
        assert_eq!(refusal(Code::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP as i32), Some(Refusal::Record));
        assert_eq!(refusal(Code::RD_KAFKA_RESP_ERR_UNKNOWN as i32), Some(Refusal::Doubted));
        assert_eq!(refusal(Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED as i32), Some(Refusal::Unauthorized));
        // The other records of the batch are not at fault: the broker has named the one that is.
        assert_eq!(refusal(Code::RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD as i32), None);
        assert_eq!(refusal(Code::RD_KAFKA_RESP_ERR__TRANSPORT as i32), None);
        assert_eq!(refusal(Code::RD_KAFKA_RESP_ERR__PURGE_QUEUE as i32), None);
    }
}
