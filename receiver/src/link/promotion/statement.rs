//! Statement of loss: what a link has carried, what it knows that it has not carried, and since when it knows nothing.

use serde::{Deserialize, Serialize};

use crate::target::promoted::PromotedRecord;

/// Statement of loss, as `causeway failover --json` prints it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Statement {
    /// Name of the link.
    pub link: String,
    /// Kafka's id of the source cluster; `null` if nothing was carried, and in statements of earlier versions.
    pub source_cluster: Option<String>,
    /// Promotion of the link; `null` for a dry run.
    pub promoted: Option<PromotedRecord>,
    /// Topics that were switched over, if the link carries the others; empty for the whole link.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// Time of the statement in ms since the Unix epoch.
    pub made: i64,
    /// Time in ms since the Unix epoch since which nothing was written to the source as of the sender's last word, which a
    /// switch-over waits for; `null` for a failover.
    pub quiet_since: Option<i64>,
    /// Partitions of the source, in order of topic and number.
    pub partitions: Vec<PartitionLoss>,
    /// Offsets of consumer groups that the link has committed or could not commit, in order of group, topic and partition.
    pub groups: Vec<GroupResume>,
    /// Time of the sender's last word of its groups, in ms since the Unix epoch; `null` if this receiver has heard none.
    pub groups_heard: Option<i64>,
    /// What could not be found out or done, in sentences.
    pub problems: Vec<String>,
}

/// What is known of a partition of the source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartitionLoss {
    /// Topic at the source.
    pub topic: String,
    /// Id of the topic from which it was carried; `null` while unknown.
    pub topic_id: Option<String>,
    /// Number of the partition.
    pub partition: i32,
    /// Topic in the target; `null` if nothing was carried.
    pub target_topic: Option<String>,
    /// Next source offset: all before it are carried; `null` if the partition never joined.
    pub carried_to: Option<i64>,
    /// Timestamp of the last carried record in ms since the Unix epoch; `null` while unknown.
    pub last_written: Option<i64>,
    /// High watermark of the source, as the sender last said; `null` while unknown.
    pub source_end: Option<i64>,
    /// Source offsets known and not carried: `source_end` less `carried_to`, markers included; `null` while unknown.
    pub not_carried: Option<u64>,
    /// Offsets of these in transactions that were open at the source; `null` while unknown.
    pub in_open_transactions: Option<u64>,
    /// Time of the sender's last word in ms since the Unix epoch, since which nothing is known; `null` if there was none.
    pub unknown_since: Option<i64>,
    /// Source offsets that a policy or an operator left out: they count as carried.
    pub skipped: u64,
    /// Reason of its halt, a stable word.
    pub halt: Option<String>,
}

/// Where a consumer group resumes in a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupResume {
    /// Name of the group in the target.
    pub group: String,
    /// Topic in the target, or at the source where it is not carried.
    pub topic: String,
    /// Number of the partition.
    pub partition: i32,
    /// Offset in the target that the group resumes at; `null` if it has none there.
    pub resumes_at: Option<i64>,
    /// Offsets that it reads again, markers included: 0 where it resumes exactly behind what it had committed at the source;
    /// `null` while unknown.
    pub again: Option<u64>,
    /// State of the offset, a word of [consumer groups](groups.md#states); `committed` if only the target's ledger is known.
    pub state: String,
}
