//! The Kafka client shim against librdkafka's mock cluster, in process. The mock neither aborts nor
//! fences and answers few admin calls: what concerns those is tested against real Kafka.

mod cluster;
mod consume;
mod offsets;
mod produce;
