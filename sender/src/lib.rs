//! Reads a source cluster and sends its records over a link.
//!
//! In the order in which a record meets them:
//!
//! - [`config`]: the settings, and the values derived from them
//! - `run`: the life of a sender: find the source, dial, run sessions, drain, leave
//! - `source`: the source cluster: discovery of topics, reading records, origins of topics
//! - `partitions`: the lane of each partition, offers to the receiver, halts and what resumes them
//! - `lane`: records in, frames out
//! - `rate`: the rate in effect, and why
//! - `dispatch`: which lane may send its frame next, within credit, class and channel
//! - `session`: one handshake, then control messages and frames until the session ends
//! - `board`: what all of these publish about themselves
//! - `report`: status, metrics, lag and forecasts; the data path does not depend on it

#![forbid(unsafe_code)]

pub mod config;

mod board;
pub mod dispatch;
pub mod lane;
pub mod partitions;
pub mod rate;
mod report;
mod run;
pub mod session;
pub mod source;
mod stop_reason;

// A sender as a whole.
pub use board::{Board, State};
pub use report::run;
pub use report::view::Report;
pub use run::Dependencies;
pub use stop_reason::StopReason;

// Its sources.
pub use source::kafka::KafkaSource;
pub use source::{Assignment, Event, LaneReader, PartitionFault, Source};

// Its reports.
pub use lane::progress::HaltedPartition;
pub use report::forecast::Forecast;
pub use report::lag::{PartitionStatus, TopicStatus};
pub use report::latency::StageStatus;
pub use report::metrics::registry as metrics;
pub use report::open_transactions::OpenTransaction;
pub use report::status::{ClassStatus, Status};
