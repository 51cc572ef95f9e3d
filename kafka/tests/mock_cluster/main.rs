//! Tests of the Kafka client with librdkafka's mock cluster, in process. The mock neither aborts nor fences, and answers
//! few admin calls; those are tested with real Kafka.

mod cluster;
mod consume;
mod offsets;
mod produce;
