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
//! - `groups`: offsets that consumer groups have committed at the source
//! - `session`: one handshake, then control messages and frames until the session ends
//! - `board`: what all of these publish about themselves
//! - `report`: status, metrics, lag and forecasts; the data path does not depend on it

#![forbid(unsafe_code)]

pub mod config;

mod board;
mod dispatch;
mod groups;
mod lane;
mod partitions;
mod rate;
mod report;
mod run;
mod session;
mod source;
mod stop_reason;

// A sender as a whole.
pub use board::{Board, State};
pub use lane::compression::Compression;
pub use report::run;
pub use report::view::Report;
pub use run::Dependencies;
pub use stop_reason::StopReason;

// Its question to a receiver, for checks.
pub use session::ask_admission;

// Its source.
pub use source::discovery::{Discovered, TopicLister, Topics, matches_nothing};
pub use source::kafka::KafkaSource;
pub use source::origins::reading::{KafkaStateLog, StateLog, UnreadState};
pub use source::origins::{OtherLinks, TopicOrigin};
pub use source::promotion::{PromotedState, Promotion};
pub use source::{Assignment, Event, FetchedBytes, LaneReader, PartitionFault, Source};

// Its reports.
pub use board::acls::AclsStatus;
pub use groups::board::{GroupStatus, GroupsStatus};
pub use partitions::deleted_topic::DeletedTopic;
pub use report::cost::{CostStatus, TopicCost};
pub use report::forecast::Forecast;
pub use report::lag::{PartitionStatus, TopicStatus};
pub use report::latency::StageStatus;
pub use report::metrics::registry as metrics;
pub use report::open_transactions::OpenTransaction;
pub use report::status::{ClassStatus, Status};

// Requests of operators.
pub use partitions::resume::{Halt, Request as ResumeRequest, ResumeAction, Scope as ResumeScope};
pub use rate::plan::Plan as RatePlan;
pub use rate::{RateStatus, Request as RateRequest};

// Its parts, for tests that run them without a process.
pub use dispatch::classes::{Class, Classes};
pub use dispatch::dispatcher::{CreditUsage, Dispatcher, Turn};
pub use dispatch::striping::{Again, ChannelId, FrameId, Striping};
pub use lane::activity::Activity;
pub use lane::compression::{Choice, Reason as CompressionReason};
pub use lane::latency::{FrameTimes, Latency, Packed, Stage, Taken, Window};
pub use lane::progress::Progress;
pub use lane::thread::{Command as LaneCommand, LaneHandle, SessionPart};
pub use lane::{Freed, Lane, LaneError, OutFrame, Packing, TopicBytes};
pub use partitions::deletions::Deletions;
pub use partitions::lane_partitions::{LanePartitions, SourceTopic};
pub use partitions::offers::{LookUp, look_up};
pub use partitions::policy::{Policies, Policy, Rule};
pub use partitions::rounds::Rounds;
pub use partitions::router::Router;
pub use report::EverySecond;
pub use session::{
    ChannelDialer, Handshaken, Identity, Offering, REDIAL_MAX, REDIAL_MIN, Session, SessionEnd, shake_hands,
};
