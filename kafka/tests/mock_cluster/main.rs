//! Tests of the Kafka client with librdkafka's mock cluster, in process. The mock neither aborts nor fences, and answers
//! few admin calls; those are tested with real Kafka.

mod cluster;
mod consume;
mod endings;
mod groups;
mod lost_brokers;
mod offsets;
mod produce;
mod record_errors;
