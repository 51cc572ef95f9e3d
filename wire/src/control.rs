//! Control messages: everything on a session that is not a frame of records.
//!
//! They travel in order on channel 0's bidirectional control stream, each as
//! `length u32 LE · kind u8 · bincode body`. The kind byte is the protocol (`wire-format.md#control`);
//! bincode is a detail of [`crate::codec`] that a later version may replace.

use bincode::{Decode, Encode};

use crate::close::CloseCode;
use crate::ids::{Epoch, LaneId, Position, Sequence, Slot, TopicId};
use crate::lanes::{ClassLanes, ClassRequest};

/// The first message on a control stream, from the sender (wire-format.md#hello).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// What this end does, independent of who dialled.
    pub role: Role,
    /// The protocol versions this end speaks.
    pub versions: Range,
    /// Bits of [`features`](crate::hello) that this end understands.
    pub features: u64,
    /// The link this session is for.
    pub link: String,
    /// Kafka's id of this end's cluster.
    pub cluster_id: String,
    /// A name that survives restarts of this process.
    pub instance: String,
    /// Drawn at process start: tells a reconnect from a restart.
    pub process: u128,
    /// Whether this end was replaced by another process of its name and so waits rather than replaces.
    pub stand_by: bool,
    /// How many lanes the default class has; fixed for the link's life.
    pub lanes: u16,
    /// The hash that maps topics to lanes; fixed for the link's life.
    pub lane_hash: String,
    /// A hash of the topic filter: says whether a topic is newly matched.
    pub filter_hash: u64,
    /// The budget in bytes per second, from which the receiver derives credit; 0 for unlimited.
    pub rate: u64,
    /// The classes that have lanes of their own, beside the default one.
    pub classes: Vec<ClassRequest>,
}

/// What an end does on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Role {
    /// Reads the source cluster.
    Sender,
    /// Writes the target cluster.
    Receiver,
}

/// An inclusive range of protocol versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Range {
    /// The oldest version this end still speaks.
    pub min: u16,
    /// The newest version this end speaks.
    pub max: u16,
}

/// The receiver's answer to a [`Hello`] that may hold the link now.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Welcome {
    /// The version both ends will speak.
    pub version: u16,
    /// The features both ends will use.
    pub features: u64,
    /// Kafka's id of the target cluster.
    pub cluster_id: String,
    /// The receiver process's own random number.
    pub receiver: u128,
    /// What further channels present to join this session.
    pub token: u128,
    /// How many bytes may be unacknowledged.
    pub credit: CreditTerms,
    /// Every class that the link has ever had, and its lanes, in order of lanes.
    pub classes: Vec<ClassLanes>,
}

/// Credit, stated once per session (wire-format.md#credit).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct CreditTerms {
    /// Bytes each lane owns for itself: one maximal frame.
    pub reserve: u64,
    /// Bytes all lanes share, first come, first served.
    pub pool: u64,
}

/// One partition that asks to join a lane (wire-format.md#offer).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OfferedPartition {
    /// The number this partition will have within the epoch.
    pub slot: Slot,
    /// Source topic name.
    pub topic: String,
    /// Source partition number.
    pub partition: i32,
    /// The topic's incarnation.
    pub topic_id: TopicId,
    /// How many partitions the source topic has now.
    pub partitions: i32,
    /// The oldest offset that still exists.
    pub log_start: Position,
    /// The position after the newest record that `read_committed` readers see.
    pub log_end: Position,
    /// Where the `start` policy would begin.
    pub start: Position,
    /// Lifts a halt and moves the stored position; `None` to join where it stands.
    pub jump: Option<Jump>,
}

/// A wish to lift a halt, and to move the stored position (wire-format.md#jump).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Jump {
    /// The stored position this jump was decided upon; refused where it differs. −1: none is stored.
    pub expected: Position,
    /// The new position. −1, only where none is stored: where the partition would begin without a jump.
    pub to: Position,
    /// What else this allows.
    pub accepts: Accepts,
    /// When it was asked for, in ms since the Unix epoch.
    pub asked: i64,
    /// Who asked and why, for the jump log.
    pub reason: String,
}

/// What a jump allows that would otherwise halt the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Accepts {
    /// Nothing.
    Nothing,
    /// That the source's topic is another incarnation than the one carried so far.
    NewIncarnation,
    /// That the target partition holds what this link did not write, or lacks what it did.
    Target,
}

/// One topic configuration entry that the receiver may apply when it creates the target topic.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TopicConfig {
    /// Kafka's name of the property.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What the receiver measured of one frame (wire-format.md#epoch). For people: nothing is decided by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Timing {
    /// The frame: one of those that this ack is the first to cover.
    pub sequence: Sequence,
    /// When its last byte arrived, in µs since the Unix epoch by the receiver's clock.
    pub arrived: u64,
    /// How long it waited for the transaction that it is committed in to begin, in µs.
    pub order: u64,
    /// How long that transaction took, its commit included, in µs.
    pub commit: u64,
}

/// Everything that travels on the control stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Sender → receiver: who we are and what we want.
    Hello(Hello),
    /// Receiver → sender: the link is yours.
    Welcome(Welcome),
    /// Receiver → sender: another instance holds the link; wait.
    Standby {
        /// The instance that holds the link.
        behind: String,
    },
    /// First message on any channel but the first, on a control stream of its own (wire-format.md#join-channel).
    JoinChannel {
        /// From [`Welcome::token`].
        token: u128,
        /// From [`Welcome::receiver`].
        receiver: u128,
        /// The sender's number for it, never used twice in a session; 0 is the channel of the first handshake.
        channel: u32,
    },
    /// Receiver → sender, on that stream: the channel has joined, frames may travel on it.
    ChannelOpen {
        /// Which.
        channel: u32,
    },
    /// Either way: the sender gives a further channel up, or the receiver has taken all that it will take of it.
    ChannelClosed {
        /// Which.
        channel: u32,
        /// For people.
        detail: String,
    },
    /// Sender → receiver: open this lane.
    OpenLane {
        /// Which.
        lane: LaneId,
    },
    /// Receiver → sender: the lane is ours, at this epoch.
    LaneOpen {
        /// Which.
        lane: LaneId,
        /// Counted in the target.
        epoch: Epoch,
    },
    /// Either way: the lane is closed, its unacknowledged frames are forgotten.
    LaneClosed {
        /// Which.
        lane: LaneId,
        /// The epoch that ended.
        epoch: Epoch,
        /// Why.
        reason: LaneClosedReason,
        /// For people.
        detail: String,
    },
    /// Sender → receiver: a topic as it is at the source, before its first [`Control::Offer`].
    Topic {
        /// Its name.
        topic: String,
        /// Its incarnation.
        topic_id: TopicId,
        /// Configuration entries that differ from the broker's defaults.
        configs: Vec<TopicConfig>,
        /// Kafka's ids of the clusters it passed before the source, the oldest first; none where it began there.
        clusters: Vec<String>,
    },
    /// Sender → receiver: partitions that ask to join.
    Offer {
        /// The lane they belong to.
        lane: LaneId,
        /// Its present epoch.
        epoch: Epoch,
        /// At most [`crate::limits::OFFER_PARTITIONS_MAX`].
        partitions: Vec<OfferedPartition>,
        /// Ends the batches of one discovery: commits the filter hash.
        last: bool,
    },
    /// Receiver → sender: the partition's position is stored; read from here.
    PartitionOpen {
        /// Which lane.
        lane: LaneId,
        /// Its present epoch.
        epoch: Epoch,
        /// From the offer.
        slot: Slot,
        /// The stored position.
        position: Position,
        /// The source's leader epoch stored with it; −1 if unknown.
        leader_epoch: i32,
    },
    /// Either way: the slot is closed by an error that a human must look at.
    PartitionHalted {
        /// Which lane.
        lane: LaneId,
        /// Its present epoch.
        epoch: Epoch,
        /// Which partition.
        slot: Slot,
        /// The stored position, from the receiver; −1 if none is stored, and from the sender.
        position: Position,
        /// A word of [`crate::halt`].
        reason: String,
        /// For people: the values and the limit.
        detail: String,
    },
    /// Receiver → sender: every frame up to this one is committed; its credit is free.
    Ack {
        /// Which lane.
        lane: LaneId,
        /// Its present epoch.
        epoch: Epoch,
        /// The newest committed frame.
        sequence: Sequence,
        /// How long one of the frames took, for reports.
        timing: Option<Timing>,
    },
    /// Either way: a clock probe, answered with both times set.
    Clock {
        /// Sender's clock when it asked, ns since the Unix epoch.
        asked: u64,
        /// The other end's clock when it answered; 0 in a question.
        answered: u64,
    },
    /// Either way: the session is over.
    Close {
        /// One of a table (wire-format.md#close).
        code: CloseCode,
        /// For people.
        detail: String,
    },
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
