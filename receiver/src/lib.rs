//! Commits a link's records to the target cluster, exactly once.
//!
//! In the order in which a record meets them:
//!
//! - [`config`]: the settings, and the values derived from them
//! - `run`: the life of a receiver: find the target, listen, serve, drain, stop
//! - `session`: accepts channels, authenticates senders, takes frames and control messages
//! - `link`: a served link: its lanes, its state topic, the settings that follow the source, and the sender that may use it
//! - `join`: decides whether an offered partition may join, and from which position
//! - `lane`: frames in, parts of transactions out
//! - `writer`: the transactional producers that lanes share
//! - `target`: the target cluster, and the state that is stored there
//! - `translate`: offsets of source and target, by the maps that lanes and target have
//! - `groups`: offsets of consumer groups, committed for the same groups in the target
//! - `report`: status and metrics; the data path does not depend on it

#![forbid(unsafe_code)]

pub mod config;
mod groups;
mod join;
mod lane;
mod link;
mod report;
mod run;
mod session;
mod target;
mod target_cluster;
mod translate;
mod writer;

// A receiver process, and its status.
pub use groups::board::{GroupStatus, GroupsStatus};
pub use groups::store::topic as groups_topic;
pub use link::acls::board::{AclState, AclStatus, AclsStatus};
pub use link::foreign::board::{ForeignPartition, ForeignWrites};
pub use link::promotion::attempt::{FailoverAnswer, FailoverRequest, SwitchOverRequest};
pub use link::promotion::board::PromotionStatus;
pub use link::promotion::brought::brought;
pub use link::promotion::course::Course;
pub use link::promotion::statement::{GroupResume, PartitionLoss, Statement};
pub use link::promotion::stored_links::{FirstRecords, StoredLinks};
pub use report::{metrics, status};
pub use run::{Parts, StopReason, run};
pub use translate::{PartitionOffset, Place, TranslateRequest, Translation, TranslationState};

// The target cluster, and the state that a link stores there.
pub use link::source_ends::EndsReading;
pub use link::state_topic;
pub use target::kafka::{KafkaStates, KafkaTarget, KafkaTargetConfig, KafkaWriter};
pub use target::{
    Appended, Delivered, Extent, LaneTarget, Offsets, Rejection, Rejections, StateAccess, StateEntry, StoredBlock,
    Target, TargetError, TargetPartition, TargetWriter, Unwritable,
};
pub use target::{custody, map, promoted, state};

// A lane, which the simulation, the fuzzers and the benches drive without a process.
pub use join::carried_topics::CarriedTopics;
pub use join::returns::{Provenance, Returning};
pub use join::{Offered, OfferedTarget};
pub use lane::inbox::{Arrival, Inbox};
pub use lane::memory::DecodeMemory;
pub use lane::size::TransactionRoom;
pub use lane::size::TransactionSize;
pub use lane::{
    AcceptedCluster, Claim, Committed, Company, Counts, Draft, ForgetStep, ForgetTopic, Gap, Gaps, HandoverRequest,
    Lane, LaneError, LaneMessage, MapTerms, MarkGone, OpenError, OpenLane, Prepared, RecoverError, SwitchedTopics,
    Terms,
};
pub use writer::shared::{Group, SharedLane, SharedWriter};
pub use writer::transaction::{Member, TransactionFailed, Written, write};

// Sessions, which tests run over an emulated path in virtual time.
pub use lane::handle::{Command, LaneHandle, Reply};
pub use link::LinkSettings;
pub use link::following::rule::FollowConfigs;
pub use link::registry::ServedLinks;
pub use session::ledger::{Admission, Ledger};
pub use session::peers::PEER_CONNECTIONS_MAX;
pub use session::{Host, server::serve};
pub use target_cluster::TargetCluster;
