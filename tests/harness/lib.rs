//! The test harness: real Kafka clusters, real `causeway` processes, and an independent comparison of records.
//!
//! It depends on no crate of the product, so no code under test takes part in its results: it reaches clusters through
//! the stock client, and `causeway` is a process with files.
//!
//! The modules, in the order in which a test uses them:
//! - [`pair`]: two clusters for a link, shared by tests or a test's own
//! - [`cluster`]: a KRaft cluster of 1 or 3 nodes to start, kill and restart; [`broker`] is one node, [`jars`] are
//!   Kafka's jars, [`download`] fetches them
//! - [`secure`]: listeners that authenticate their clients; [`rights`]: users and rights; [`pki`]: certificates
//! - [`topics`]: topics with unique names
//! - [`journal`]: producers that note what the cluster acknowledged; [`record`]: the records that they write
//! - [`process`]: `causeway send` and `causeway receive`; [`files`]: their configuration files; [`admin`]: their admin
//!   ports
//! - [`command`]: commands that end by themselves; [`halts`]: those about halted partitions
//! - [`reader`]: a stock consumer; [`raw`]: records that stock clients cannot write or read
//! - [`prometheus`]: a real Prometheus that scrapes the processes
//! - [`browser`]: a real Chromium that shows their pages
//! - [`latency`]: latency of records from one cluster to the other
//! - [`verify`]: comparison of journal and target: lost, doubled, reordered, changed
//! - [`guard`] and [`scratch`]: processes and files that never outlive the test process
//! - [`wait`]: polling with a deadline

#![forbid(unsafe_code)]

pub mod admin;
pub mod broker;
pub mod browser;
pub mod cluster;
pub mod command;
pub mod compaction;
pub mod download;
pub mod files;
pub mod guard;
pub mod halts;
pub mod jars;
pub mod journal;
pub mod latency;
pub mod pair;
pub mod pki;
pub mod process;
pub mod prometheus;
pub mod raw;
pub mod reader;
pub mod record;
pub mod rights;
pub mod scratch;
pub mod secure;
pub mod topics;
pub mod verify;
pub mod wait;
