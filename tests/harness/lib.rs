//! The test harness: real Kafka clusters, the real `causeway` processes, and an independent witness.
//!
//! It depends on none of the product's crates, so that nothing it claims to have seen went through the
//! code under test: clusters are reached through the stock client, `causeway` is a process with files.
//!
//! In the order in which a test meets them:
//! - [`cluster`]: KRaft clusters of 1 or 3 nodes to start, kill and restart; [`broker`] is one node, [`jars`]
//!   where Kafka comes from
//! - [`secure`]: clusters that ask who one is, and what each may
//! - [`topics`]: topics with unique names
//! - [`journal`]: producers that note what the cluster acknowledged; [`record`] is what they write
//! - [`process`]: `causeway send` and `causeway receive`; [`files`] writes what they are started with and
//!   [`admin`] asks them how they are
//! - [`command`]: commands that end by themselves; [`halts`]: those about halted partitions
//! - [`reader`]: a stock reader of what a cluster holds; [`raw`] for what stock clients cannot write or show
//! - [`latency`]: how long records took from one cluster to the other
//! - [`verify`]: the journal against what was read: lost, doubled, reordered, changed
//! - [`guard`] and [`scratch`]: no process and no file outlives the test process, however that dies
//! - [`wait`]: polling with a deadline

#![forbid(unsafe_code)]

pub mod admin;
pub mod broker;
pub mod cluster;
pub mod command;
pub mod files;
pub mod guard;
pub mod halts;
pub mod jars;
pub mod journal;
pub mod latency;
pub mod process;
pub mod raw;
pub mod reader;
pub mod record;
pub mod scratch;
pub mod secure;
pub mod topics;
pub mod verify;
pub mod wait;
