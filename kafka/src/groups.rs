//! Consumer groups of a cluster: their names, and the offsets that they have committed.

use wire::ids::Position;
use wire::partition::Partition;

use crate::KafkaError;

/// A consumer group that a cluster lists: one of either protocol, or one without members that only commits. Share groups
/// and groups of other kinds are not listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSummary {
    pub name: String,
    /// True if the group has members now. A cluster of an early version does not tell; it refuses commits then.
    pub has_members: bool,
}

/// Consumer groups of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupList {
    pub groups: Vec<GroupSummary>,
    /// Error of a broker whose groups are missing.
    pub incomplete: Option<KafkaError>,
}

/// Offset that a group has committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOffset {
    pub partition: Partition,
    /// Position of the next record to consume.
    pub position: Position,
    pub metadata: String,
}

/// Offsets to commit for a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupCommit {
    pub group: String,
    pub offsets: Vec<GroupOffset>,
}

/// Reason why the offset of a partition was not committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The group has members, which commit for themselves.
    #[error("the group has members")]
    HasMembers,
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}
