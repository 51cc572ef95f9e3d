//! What a Kafka cluster or the client answered instead of success.

use std::time::Duration;

use rdkafka_sys::rd_kafka_resp_err_t as Code;

/// A Kafka call that did not succeed, with what was being done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{doing}: {reason}")]
pub struct KafkaError {
    /// What was attempted, such as `commit of lane 3`.
    pub doing: String,
    /// librdkafka's or the broker's words.
    pub reason: String,
    /// Whose fault it is, and so what to do.
    pub fault: KafkaFault,
}

/// Whose fault a [`KafkaError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaFault {
    /// Broker or network: may pass by itself.
    Unavailable,
    /// Nothing answered within this time.
    TimedOut(Duration),
    /// Another producer with our transactional id took over.
    Fenced,
    /// Authentication or authorisation: a human must act.
    Unauthorized,
    /// The record itself is refused (too large, timestamp, policy).
    RecordRejected,
    /// The topic or partition does not exist.
    UnknownTopic,
    /// Our configuration or use is wrong: a human must act.
    Misused,
}

/// What is refused for good where a record does not go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// It may be the record, or a passing failure of the broker, which does not say.
    Doubted,
    /// The record: its size, timestamp or contents.
    Record,
    /// Its topic: we may not write it.
    Unauthorized,
    /// Its topic or partition: it is not there.
    Gone,
}

impl KafkaError {
    /// An error with the fault that `code` stands for.
    pub(crate) fn coded(doing: impl Into<String>, code: i32, reason: impl Into<String>) -> Self {
        Self { doing: doing.into(), reason: reason.into(), fault: fault_of(code) }
    }

    /// We asked for something that cannot be.
    pub(crate) fn misused(doing: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { doing: doing.into(), reason: reason.into(), fault: KafkaFault::Misused }
    }

    /// Nothing answered within `limit`.
    pub(crate) fn timed_out(doing: impl Into<String>, limit: Duration) -> Self {
        let reason = format!("no answer within {} ms", limit.as_millis());
        Self { doing: doing.into(), reason, fault: KafkaFault::TimedOut(limit) }
    }
}

/// The code by name, if this librdkafka knows it: brokers invent new ones, and an enum of the bindings
/// must never hold a number it has no name for.
pub(crate) fn known(code: i32) -> Option<Code> {
    Code::try_from(code).ok()
}

/// What a delivery report with this code condemns for good; `None` if it is the moment.
pub(crate) fn refusal(code: i32) -> Option<Refusal> {
    match known(code)? {
        Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED => Some(Refusal::Unauthorized),
        // The client has waited for the topic before it says so.
        Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
        | Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
        | Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION => Some(Refusal::Gone),
        // A broker stumbled over what it was given: a negative timestamp that it has to write anew, for one.
        Code::RD_KAFKA_RESP_ERR_UNKNOWN => Some(Refusal::Doubted),
        _ => (fault_of(code) == KafkaFault::RecordRejected).then_some(Refusal::Record),
    }
}

fn fault_of(code: i32) -> KafkaFault {
    use Code::*;
    let Some(code) = known(code) else {
        return KafkaFault::Unavailable;
    };
    match code {
        RD_KAFKA_RESP_ERR__FENCED
        | RD_KAFKA_RESP_ERR_PRODUCER_FENCED
        | RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH
        | RD_KAFKA_RESP_ERR_TRANSACTION_COORDINATOR_FENCED => KafkaFault::Fenced,
        RD_KAFKA_RESP_ERR__AUTHENTICATION
        | RD_KAFKA_RESP_ERR__SSL
        | RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED
        | RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
        | RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED
        | RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED
        | RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED => KafkaFault::Unauthorized,
        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
        | RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE
        | RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE
        | RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP
        | RD_KAFKA_RESP_ERR_INVALID_RECORD
        | RD_KAFKA_RESP_ERR_POLICY_VIOLATION
        | RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT => KafkaFault::RecordRejected,
        RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
        | RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
        | RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
        | RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID => KafkaFault::UnknownTopic,
        RD_KAFKA_RESP_ERR__INVALID_ARG
        | RD_KAFKA_RESP_ERR__STATE
        | RD_KAFKA_RESP_ERR__CONFLICT
        | RD_KAFKA_RESP_ERR__NOT_CONFIGURED
        | RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED
        | RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE
        | RD_KAFKA_RESP_ERR_INVALID_CONFIG
        | RD_KAFKA_RESP_ERR_INVALID_PARTITIONS
        | RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR
        | RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT
        | RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION
        | RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION => KafkaFault::Misused,
        _ => KafkaFault::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_newer_than_this_client_is_taken_for_trouble_that_may_pass() {
        assert_eq!(KafkaError::coded("x", 12_345, "?").fault, KafkaFault::Unavailable);
    }

    #[test]
    fn only_verdicts_on_the_record_condemn_it() {
        assert_eq!(refusal(Code::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP as i32), Some(Refusal::Record));
        assert_eq!(refusal(Code::RD_KAFKA_RESP_ERR_UNKNOWN as i32), Some(Refusal::Doubted));
        assert_eq!(refusal(Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED as i32), Some(Refusal::Unauthorized));
        // The batch's other records are not to blame: the broker has named the one that is.
        assert_eq!(refusal(Code::RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD as i32), None);
        assert_eq!(refusal(Code::RD_KAFKA_RESP_ERR__TRANSPORT as i32), None);
        assert_eq!(refusal(Code::RD_KAFKA_RESP_ERR__PURGE_QUEUE as i32), None);
    }
}
