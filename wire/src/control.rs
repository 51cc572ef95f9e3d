//! Control messages: everything on a session that is not a frame of records.
//!
//! They travel in order on channel 0's bidirectional control stream, each as
//! `length u32 LE · kind u8 · bincode body`. The kind byte is the protocol (`wire-format.md#control`);
//! bincode is a detail of [`crate::codec`] that a later version may replace.

use bincode::{Decode, Encode};

use crate::acl::Acl;
use crate::close::Close;
use crate::condition::Condition;
use crate::ids::{Epoch, LaneId, Position, Sequence, Slot, TopicId};
use crate::lanes::{ClassLanes, ClassRequest};
use crate::text::{CLOSE_TEXT_MAX, TEXT_MAX, shorten};

/// The first message on a control stream, from the sender (wire-format.md#hello).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// Role of this end, independent of which end dialled.
    pub role: Role,
    /// Protocol versions of this end.
    pub versions: Range,
    /// Bits of the [`features`](crate::hello) that this end supports.
    pub features: u64,
    /// Name of the session's link.
    pub link: String,
    /// Kafka's id of this end's cluster.
    pub cluster_id: String,
    /// Instance name, which survives restarts of this process.
    pub instance: String,
    /// Random number of this process: it tells a reconnect from a restart.
    pub process: u128,
    /// This process was replaced by another one of its instance name, so it waits instead of replacing it.
    pub stand_by: bool,
    /// Lanes of the default class; fixed for the link's life. 0 asks whether this end would be admitted, without a session.
    pub lanes: u16,
    /// Name of the hash that maps topics to lanes; fixed for the link's life.
    pub lane_hash: String,
    /// Hash of the topic filter: it shows whether a topic is newly matched.
    pub filter_hash: u64,
    /// Budget in bytes per second, from which the receiver derives credit; 0 means unlimited.
    pub rate: u64,
    /// Classes with lanes of their own, without the default class.
    pub classes: Vec<ClassRequest>,
}

/// Role of an end on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Role {
    /// The sender reads the source cluster.
    Sender,
    /// The receiver writes the target cluster.
    Receiver,
}

/// Range of protocol versions, inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Range {
    /// Oldest version of this end.
    pub min: u16,
    /// Newest version of this end.
    pub max: u16,
}

/// The receiver's answer to the [`Hello`] of the link's active sender.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Welcome {
    /// Version that both ends use.
    pub version: u16,
    /// Features that both ends use.
    pub features: u64,
    /// Kafka's id of the target cluster.
    pub cluster_id: String,
    /// Random number of the receiver's process.
    pub receiver: u128,
    /// Token with which further channels join this session.
    pub token: u128,
    /// Bytes that may be unacknowledged.
    pub credit: CreditTerms,
    /// Every class that the link has ever had with its lanes, in order of lanes.
    pub classes: Vec<ClassLanes>,
}

/// Credit, stated once per session (wire-format.md#credit).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct CreditTerms {
    /// Bytes reserved for each lane: one frame of maximum size.
    pub reserve: u64,
    /// Bytes that all lanes share, first come, first served.
    pub pool: u64,
}

/// Offer of one partition to a lane (wire-format.md#offer).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OfferedPartition {
    /// Number of the partition within the epoch.
    pub slot: Slot,
    /// Source topic name.
    pub topic: String,
    /// Source partition number.
    pub partition: i32,
    /// Kafka's topic id.
    pub topic_id: TopicId,
    /// Present number of partitions of the source topic.
    pub partitions: i32,
    /// Oldest offset in the log.
    pub log_start: Position,
    /// Position after the newest record that `read_committed` readers see.
    pub log_end: Position,
    /// Position at which the `start` policy would begin.
    pub start: Position,
    /// Request to lift a halt and move the stored position; `None` joins at the stored position.
    pub jump: Option<Jump>,
}

/// Request to lift a halt and to move the stored position (wire-format.md#jump).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Jump {
    /// Stored position that the request assumes; it is refused if another one is stored. −1: none is stored.
    pub expected: Position,
    /// New position. −1, only if none is stored: the position at which the partition would begin without a jump.
    pub to: Position,
    /// Condition that the request accepts.
    pub accepts: Accepts,
    /// Time of the request in ms since the Unix epoch.
    pub asked: i64,
    /// Author and reason of the request, for the jump log.
    pub reason: String,
}

impl Jump {
    /// Returns the request of an offer that joins only if the link has carried the partition.
    pub fn carried_only() -> Self {
        let none = Position(-1);
        Self { expected: none, to: none, accepts: Accepts::CarriedOnly, asked: 0, reason: String::new() }
    }
}

/// Condition that a jump accepts, and that would otherwise halt the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Accepts {
    /// No such condition.
    Nothing,
    /// The source's topic has another id than the one copied so far.
    NewIncarnation,
    /// The target partition has records that this link did not write, or lacks records that it wrote.
    Target,
    /// Nothing, and the partition joins only if the link has carried it with the same clusters passed: the sender does not
    /// know whether another link writes the topic. Only with [`crate::hello::FEATURE_CARRIED_ONLY`].
    CarriedOnly,
}

/// Topic configuration entry that the receiver may apply when it creates the target topic.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TopicConfig {
    /// Kafka's name of the property.
    pub name: String,
    /// Value of the property.
    pub value: String,
}

/// Topic whose positions are stored and whose partitions are not offered (wire-format.md#forget).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct OrphanedTopic {
    /// Source topic name.
    pub topic: String,
    /// Number of its stored positions.
    pub positions: u32,
}

/// Topic that is gone from the source.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct GoneTopic {
    /// Source topic name.
    pub topic: String,
    /// Time since which it is gone by the receiver's clock, in ms since the Unix epoch.
    pub since: i64,
}

/// Settings of a source topic: in [`Control::Settings`] the effective ones, those inherited from its cluster included; in
/// [`Control::OwnSettings`] those that are set on the topic itself and that another cluster can have, too.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TopicSettings {
    /// Topic name.
    pub topic: String,
    /// Settings that decide what the topic keeps and accepts. Empty: the effective ones are not known any more, or none is
    /// set on the topic itself.
    pub settings: Vec<TopicConfig>,
}

/// Offsets that a consumer group of the source has committed in one topic.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct GroupOffsets {
    /// Name of the group.
    pub group: String,
    /// Topic name.
    pub topic: String,
    /// Offsets that are new or have changed.
    pub offsets: Vec<CommittedOffset>,
}

/// Committed offset of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CommittedOffset {
    /// Partition number.
    pub partition: i32,
    /// Offset of the next record to consume; −1 if there is no committed offset any more.
    pub offset: Position,
    /// Metadata that the consumer committed with it.
    pub metadata: String,
}

/// Ends of a topic's partitions at the source.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TopicEnds {
    /// Topic name.
    pub topic: String,
    /// Ends that are new or have changed.
    pub ends: Vec<PartitionEnd>,
}

/// Partition that goes back to the cluster which it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ReturningPartition {
    /// Partition number, the same in both clusters.
    pub partition: i32,
    /// Position after the last record that the promoted link brought: the way back begins there.
    pub begins: Position,
    /// Position in the cluster that it goes back to, up to which both clusters have the same records.
    pub common: Position,
    /// Position there from which on they have: the promoted link began there, or left something out before.
    pub since: Position,
}

/// Ends of a partition's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct PartitionEnd {
    /// Partition number.
    pub partition: i32,
    /// Last stable offset: the position after the newest record that `read_committed` readers see; −1 if both are unknown.
    pub stable: Position,
    /// High watermark, at least as high: records of open transactions are between the two.
    pub end: Position,
}

impl PartitionEnd {
    /// The end of a partition that was known and cannot be read now.
    pub const fn unknown(partition: i32) -> Self {
        Self { partition, stable: Position(-1), end: Position(-1) }
    }
}

/// Times of one frame at the receiver (wire-format.md#epoch), for reports only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Timing {
    /// Sequence of a frame that no earlier ack covers.
    pub sequence: Sequence,
    /// Arrival of its last byte, in µs since the Unix epoch by the receiver's clock.
    pub arrived: u64,
    /// Time from its arrival to the begin of its transaction, in µs.
    pub order: u64,
    /// Duration of its transaction including the commit, in µs.
    pub commit: u64,
}

/// Message on the control stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Sender → receiver: the sender's identity and settings.
    Hello(Hello),
    /// Receiver → sender: the sender is the link's active one.
    Welcome(Welcome),
    /// Receiver → sender: another instance is active; wait as a standby.
    Standby {
        /// The active instance.
        behind: String,
    },
    /// First message on any channel but the first, on a control stream of its own (wire-format.md#join-channel).
    JoinChannel {
        /// Token from [`Welcome::token`].
        token: u128,
        /// Receiver process from [`Welcome::receiver`].
        receiver: u128,
        /// Number of the channel, never reused in a session; 0 is the channel of the first handshake.
        channel: u32,
    },
    /// Receiver → sender, on that stream: the channel has joined, frames may travel on it.
    ChannelOpen {
        /// Number of the channel.
        channel: u32,
    },
    /// Either way: the sender closes a further channel, or the receiver has read it to its end.
    ChannelClosed {
        /// Number of the channel.
        channel: u32,
        /// Detail for operators.
        detail: String,
    },
    /// Sender → receiver: open this lane.
    OpenLane {
        /// Number of the lane.
        lane: LaneId,
    },
    /// Receiver → sender: the lane is open at this epoch.
    LaneOpen {
        /// Number of the lane.
        lane: LaneId,
        /// Epoch of the lane.
        epoch: Epoch,
    },
    /// Either way: the lane is closed, and its unacknowledged frames are discarded.
    LaneClosed {
        /// Number of the lane.
        lane: LaneId,
        /// Epoch that ended.
        epoch: Epoch,
        /// Reason for the end.
        reason: LaneClosedReason,
        /// Detail for operators.
        detail: String,
    },
    /// Sender → receiver: description of a source topic, before its first [`Control::Offer`].
    Topic {
        /// Topic name.
        topic: String,
        /// Kafka's topic id.
        topic_id: TopicId,
        /// Configuration entries that differ from the broker's defaults.
        configs: Vec<TopicConfig>,
        /// Kafka's ids of the clusters that the topic passed before the source, from the oldest; empty if it began there.
        clusters: Vec<String>,
    },
    /// Sender → receiver, before the topic's first [`Control::Offer`]: records that the target refuses are left out.
    SkipRefused {
        /// Topic name.
        topic: String,
        /// Policy that says so, for the jump log.
        policy: String,
    },
    /// Sender → receiver: offer of partitions to a lane.
    Offer {
        /// Lane of the partitions.
        lane: LaneId,
        /// Present epoch of the lane.
        epoch: Epoch,
        /// Offered partitions, at most [`crate::limits::OFFER_PARTITIONS_MAX`].
        partitions: Vec<OfferedPartition>,
        /// Last batch of one discovery, which commits the filter hash.
        last: bool,
    },
    /// Receiver → sender: the partition is open; read from its stored position.
    PartitionOpen {
        /// Lane of the message.
        lane: LaneId,
        /// Present epoch of the lane.
        epoch: Epoch,
        /// Slot from the offer.
        slot: Slot,
        /// Stored position.
        position: Position,
        /// Leader epoch of the source, stored with the position; −1 if unknown.
        leader_epoch: i32,
    },
    /// Either way: the partition is halted until an operator acts or the cause ends.
    PartitionHalted {
        /// Lane of the message.
        lane: LaneId,
        /// Present epoch of the lane.
        epoch: Epoch,
        /// Slot of the partition.
        slot: Slot,
        /// Stored position; −1 if none is stored, and from the sender.
        position: Position,
        /// Word of the reason, see [`crate::halt`].
        reason: String,
        /// Values and limits, for operators.
        detail: String,
    },
    /// Sender → receiver: effective settings of topics, at first and when they change.
    Settings {
        /// Topics with new settings, at most [`crate::limits::SETTINGS_TOPICS_MAX`].
        topics: Vec<TopicSettings>,
    },
    /// Sender → receiver: settings that are set on topics themselves, at first and when they change.
    OwnSettings {
        /// Topics with all their own settings, at most [`crate::limits::SETTINGS_TOPICS_MAX`].
        topics: Vec<TopicSettings>,
    },
    /// Sender → receiver: committed offsets of consumer groups, all at first and then those that change.
    Groups {
        /// Offsets by group and topic, at most [`crate::limits::GROUP_TOPICS_MAX`] of them.
        groups: Vec<GroupOffsets>,
        /// Last message of one reading, which may be empty.
        last: bool,
    },
    /// Sender → receiver, within a reading of groups and after `Returns`: offsets of groups that have read no further than what
    /// a promoted link brought, as positions in the log from which it came.
    GroupsBack {
        /// Offsets by group and topic of the source, at most [`crate::limits::GROUP_TOPICS_MAX`] of them.
        groups: Vec<GroupOffsets>,
    },
    /// Sender → receiver: all access control lists of carried topics and groups, in one or more messages.
    Acls {
        /// Rules of the source, at most [`crate::limits::ACLS_MAX`].
        acls: Vec<Acl>,
        /// Carried topics to which some of them apply, at most [`crate::limits::ACL_NAMES_MAX`].
        topics: Vec<String>,
        /// Carried groups to which some of them apply, as many.
        groups: Vec<String>,
        /// Last message of one reading, which may be empty.
        last: bool,
    },
    /// Sender → receiver: ends of the source's partitions, all at first and then those that change.
    SourceEnds {
        /// Ends by topic, at most [`crate::limits::ENDS_TOPICS_MAX`] topics and [`crate::limits::ENDS_MAX`] partitions.
        topics: Vec<TopicEnds>,
        /// Last message of one reading, which may be empty: every end that was sent is true as of this reading.
        last: bool,
    },
    /// Sender → receiver, after `Topic`: a promoted link brought the topic to the source, from the target.
    Returns {
        /// Topic name at the source.
        topic: String,
        /// Promoted link.
        link: String,
        /// Cluster from which it came.
        cluster: String,
        /// Topic from which it came.
        from: String,
        /// Id of that topic.
        from_id: TopicId,
        /// Partitions, at most [`crate::limits::RETURNING_MAX`]; further ones in further messages.
        partitions: Vec<ReturningPartition>,
    },
    /// Receiver → sender: read the ends of the source and the committed offsets of groups now, and say them.
    ReadSource {},
    /// Receiver → sender, before a `PartitionOpen`: time at which the partition's position was stored.
    StoredAt {
        /// Lane of the message.
        lane: LaneId,
        /// Present epoch of the lane.
        epoch: Epoch,
        /// Slot from the offer.
        slot: Slot,
        /// Time by the receiver's clock, in ms since the Unix epoch.
        at: i64,
    },
    /// Sender → receiver: topics that were offered in this session no longer exist at the source.
    TopicsGone {
        /// Topic names, at most [`crate::limits::TOPICS_NAMED_MAX`].
        topics: Vec<String>,
    },
    /// Receiver → sender: every topic with stored positions that is not offered, whenever that changes.
    Orphaned {
        /// Topics in order, at most [`crate::limits::TOPICS_NAMED_MAX`].
        topics: Vec<OrphanedTopic>,
        /// Number of further topics.
        others: u32,
    },
    /// Sender → receiver: drop the stored positions of a topic that is not carried.
    Forget {
        /// Topic name.
        topic: String,
        /// Time of the request in ms since the Unix epoch.
        asked: i64,
        /// Author and reason of the request, for the jump log.
        reason: String,
    },
    /// Receiver → sender: answer to [`Control::Forget`].
    Forgotten {
        /// Topic name.
        topic: String,
        /// Number of positions that were dropped.
        positions: u32,
        /// Reason why not all of them were dropped; empty on success.
        refused: String,
    },
    /// Sender → receiver: topics with positions are gone from the source, or are not gone any more.
    MarkGone {
        /// Topic names, at most [`crate::limits::TOPICS_NAMED_MAX`].
        topics: Vec<String>,
        /// True if they are gone.
        gone: bool,
    },
    /// Receiver → sender: every topic that is marked as gone, at first and when they change.
    GoneSince {
        /// Topics in order, at most [`crate::limits::TOPICS_NAMED_MAX`].
        topics: Vec<GoneTopic>,
        /// Receiver's time now, in ms since the Unix epoch.
        now: i64,
    },
    /// Receiver → sender: all frames up to this one are committed, and their credit is free.
    Ack {
        /// Lane of the message.
        lane: LaneId,
        /// Present epoch of the lane.
        epoch: Epoch,
        /// Sequence of the newest committed frame.
        sequence: Sequence,
        /// Times of one of the frames, for reports.
        timing: Option<Timing>,
    },
    /// Either way: clock probe; the answer has both times.
    Clock {
        /// Sender's time of the question, in ns since the Unix epoch.
        asked: u64,
        /// Receiver's time of the answer, in ns since the Unix epoch; 0 in a question.
        answered: u64,
    },
    /// Receiver → sender: the most that the sender may send, from now on.
    RateAssignment {
        /// IP bits per second, at least [`crate::limits::RATE_MIN`].
        bits_per_second: u64,
    },
    /// Either way: the session is over (wire-format.md#close).
    Close(Close),
    /// Either way: the problems of this end, whenever they change (wire-format.md#condition).
    Condition(Condition),
}

impl Control {
    /// Returns the message with as much of each text for operators as this end keeps. Names and words stay as they are:
    /// they are checked where they are used.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        match &mut self {
            Self::Close(Close { detail, .. }) => shorten(detail, CLOSE_TEXT_MAX),
            Self::LaneClosed { detail, .. }
            | Self::PartitionHalted { detail, .. }
            | Self::ChannelClosed { detail, .. }
            | Self::Forgotten { refused: detail, .. }
            | Self::Forget { reason: detail, .. }
            | Self::Standby { behind: detail } => shorten(detail, TEXT_MAX),
            Self::Offer { partitions, .. } => {
                let jumps = partitions.iter_mut().filter_map(|offered| offered.jump.as_mut());
                jumps.for_each(|jump| shorten(&mut jump.reason, TEXT_MAX));
            }
            Self::Condition(condition) => *condition = std::mem::take(condition).shortened(),
            _ => {}
        }
        self
    }
}

crate::words! {
    /// Reason why a lane was closed.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
    pub enum LaneClosedReason {
        /// Another receiver opened the lane; the sender does not open it again in this session for 60 s.
        Superseded = "superseded",
        /// The target refused or failed; the sender opens the lane again after a back-off.
        TargetFailed = "target-failed",
        /// The stored state forbids opening; an operator must act.
        Refused = "refused",
        /// The session is ending.
        SessionEnded = "session-ended",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::CloseCode;

    #[test]
    fn a_halt_keeps_its_word_and_a_sentence() {
        let halt = Control::PartitionHalted {
            lane: LaneId(0),
            epoch: Epoch(1),
            slot: Slot(2),
            position: Position(3),
            reason: "record-rejected".to_owned(),
            detail: "x".repeat(1000),
        };
        let Control::PartitionHalted { reason, detail, .. } = halt.shortened() else { panic!("another message") };
        assert_eq!((reason.as_str(), detail.len()), ("record-rejected", TEXT_MAX));
        let Control::Close(close) = Control::Close(Close::new(CloseCode::Normal, "x".repeat(1000))).shortened() else {
            panic!("another message")
        };
        assert_eq!(close.detail.len(), CLOSE_TEXT_MAX);
    }
}
