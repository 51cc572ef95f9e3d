//! Status of a sender at one moment: `causeway status --json` prints it. The doc comments of the fields are the text of
//! the reference page.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use service::status::{CertificateStatus, HaltedPartition, PeerStatus, Tally};
use wire::lanes::ClassLanes;
use wire::partition::Partition;

use crate::board::acls::AclsStatus;
use crate::board::{ChannelPlace, State, Wire};
use crate::dispatch::dispatcher::Dispatcher;
use crate::dispatch::scheduler::ClassView;
use crate::groups::board::GroupsStatus;
use crate::lane::compression::{Choice, Reason};
use crate::lane::progress::{Closed, Snapshot, Totals};
use crate::partitions::deleted_topic::DeletedTopic;
use crate::partitions::lane_partitions::SourceTopic;
use crate::rate::RateStatus;
use crate::report::forecast::Forecast;
use crate::report::latency::{PeerClockStatus, StageStatus};
use crate::report::limit::Limit;
use crate::report::open_transactions::OpenTransaction;
use crate::report::path::PathReport;
use crate::source::origins::{NotCarriedReason, TopicOrigin};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Role of the process, always `sender`.
    #[serde(skip_deserializing)]
    pub role: &'static str,
    /// Version that is running.
    pub version: String,
    /// Name of the link.
    pub link: String,
    /// Instance name of this process.
    pub instance: String,
    /// State: `starting`, `connecting`, `active`, or for a standby the instance that holds the link.
    pub state: State,
    /// [Reason](../troubleshoot.md#a-slow-link) why it is not faster, or has not caught up.
    pub limited_by: Limit,
    /// Problems, in sentences; empty while there are none.
    pub trouble: Vec<String>,
    /// Certificates in use.
    pub certificates: Vec<CertificateStatus>,
    /// Address of the receiver, in a session.
    pub receiver: Option<String>,
    /// Kafka's id of the target cluster, once a session began.
    pub target_cluster: Option<String>,
    /// Duration of the session in seconds.
    pub session_seconds: Option<f64>,
    /// Sessions since the process started.
    pub sessions: u64,
    /// Sentence on how the last session or attempt ended.
    pub last_end: Option<String>,
    /// Round-trip time of the path in seconds, as QUIC measures it.
    pub rtt_seconds: Option<f64>,
    /// Rate, its reason, and its use.
    pub rate: RateStatus,
    /// Forecast; empty on standby.
    pub forecast: Forecast,
    /// Network path, in a session.
    pub path: PathReport,
    /// Bytes of frames before compression for each byte on the wire, IP headers included, over the last minute.
    pub efficiency_ratio: Option<f64>,
    /// Latencies of records, stage by stage.
    pub latency: Vec<StageStatus>,
    /// Difference of the receiver's clock.
    pub peer_clock: PeerClockStatus,
    /// Traffic of all sessions of this process.
    pub wire: Wire,
    /// Channels that are open.
    pub channels: usize,
    /// Channels that the session shall have; 0 without a session.
    pub channels_wanted: usize,
    /// Times that a further channel was dialled again.
    pub channel_redials: u64,
    /// Channels that were closed because they made no progress while others did.
    pub dead_channels: u64,
    /// Channels of the session by their places.
    pub by_channel: Vec<ChannelStatus>,
    /// Credit in use by frames that are being packed or not acked, in bytes, in a session.
    pub credit_used_bytes: Option<u64>,
    /// Credit that the receiver grants in all, in bytes, in a session.
    pub credit_bytes: Option<u64>,
    /// [Frame state](../bytes.md#frame-state) that each lane may have, in bytes; `null` if no frame refers to others.
    pub frame_state_bytes: Option<u64>,
    /// Source high watermarks less positions, holes included; a partition that never joined counts from where it begins.
    /// `null` while one is unknown, and 10 s after the source last answered.
    pub lag_records: Option<u64>,
    /// Partitions whose lag is unknown: they wait for the source, or did not join yet.
    pub lag_unknown_partitions: usize,
    /// Time since the source was last asked for its high watermarks and answered, in seconds; `null` before that.
    pub lag_age_seconds: Option<f64>,
    /// Counters over all lanes.
    pub totals: Totals,
    /// Bytes of frames sent and not acked.
    pub in_flight_bytes: u64,
    /// Longest time for which a lane with frames in flight has had no ack, in seconds; `null` with none in flight.
    pub unacked_seconds: Option<f64>,
    /// Number of the link's lanes.
    pub lanes: usize,
    /// Number of lanes that are open.
    pub lanes_open: usize,
    /// Lanes that the receiver closed and that are not open again.
    pub lanes_closed: Vec<Closed>,
    /// Times that the receiver closed a lane, or could not open it, for this reason.
    pub lane_closes: Tally,
    /// Partitions that are being read.
    pub partitions: usize,
    /// Transactions at the source that have been open for 10 s or longer, the oldest first, at most 100.
    pub source_transactions_open: Vec<OpenTransaction>,
    /// Partitions that an error stopped.
    pub halted: Vec<HaltedPartition>,
    /// [Deleted](../troubleshoot.md#source-deleted) topics of which positions are stored, at most 1,500.
    pub deleted_topics: Vec<DeletedTopic>,
    /// Number of partitions that wait for the source.
    pub waiting_at_source: usize,
    /// Number of partitions that wait for the target.
    pub waiting_at_target: usize,
    /// Partitions that wait and continue by themselves, at most 100.
    pub waiting: Vec<WaitingStatus>,
    /// Condition of the receiver, as it last told it in this session; `null` if it did not.
    pub receiver_condition: Option<PeerStatus>,
    /// Entries of `source.topics` that match no topic which the source shows to this sender.
    pub unmatched_entries: Vec<String>,
    /// Consumer groups whose offsets are carried.
    pub consumer_groups: GroupsStatus,
    /// Access control lists that the receiver gets.
    pub followed_acls: AclsStatus,
    /// Topics that match the filter and are not carried, because links write them to the source.
    pub not_carried: Vec<NotCarried>,
    /// Classes that the link has ever had, the class `default` first; empty before the first session.
    pub classes: Vec<ClassStatus>,
    /// Lanes by their numbers.
    pub by_lane: Vec<LaneStatus>,
    /// Sessions and attempts that ended so: close codes, `LOST`, `BARRED` (by a certificate), `DRAINED`, `RECONFIGURED`.
    pub closes: Tally,
}

/// Partition that waits for a cluster and continues by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WaitingStatus {
    /// Source topic of a waiting partition.
    pub topic: String,
    /// Number of the waiting partition.
    pub partition: i32,
    /// Cluster that it waits for: `source` or `target`.
    pub cluster: String,
    /// Reason why it waits.
    pub detail: String,
}

impl WaitingStatus {
    pub fn of(at: &Partition, cluster: &str, detail: String) -> Self {
        Self { topic: at.topic.to_string(), partition: at.partition, cluster: cluster.to_owned(), detail }
    }
}

/// Topic that matches the filter and is not carried: its records would go round in circles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotCarried {
    /// Topic that matches the filter and is not carried.
    pub topic: String,
    /// Reason: `brought` (not in `source.forward`), `returns` (it has passed the target) or `too-far` (over 16 clusters).
    pub reason: NotCarriedReason,
    /// Link that writes the topic to the source.
    pub by: String,
    /// Kafka's ids of the clusters that the topic has passed, the oldest first.
    pub clusters: Vec<String>,
}

impl NotCarried {
    /// Returns those among `topics`, on the way to the cluster `target` if its id is known.
    pub fn of(topics: &[SourceTopic], target: Option<&str>) -> Vec<Self> {
        let not_carried = |topic: &SourceTopic| match (&topic.origin, topic.origin.not_carried_reason(target)) {
            (TopicOrigin::Mirrored { link, clusters, .. }, Some(reason)) => {
                Some(Self { topic: topic.name.to_string(), reason, by: link.to_string(), clusters: clusters.to_vec() })
            }
            _ => None,
        };
        topics.iter().filter_map(not_carried).collect()
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LaneStatus {
    /// Number of the lane.
    pub lane: usize,
    /// Epoch of the lane, while it is open.
    pub epoch: Option<u64>,
    /// Partitions that the lane reads.
    pub partitions: usize,
    /// Records that the lane has sent.
    pub records: u64,
    /// Bytes of the lane's frames sent and not acked.
    pub in_flight_bytes: u64,
}

impl LaneStatus {
    pub fn of(lane: usize, snapshot: &Snapshot) -> Self {
        Self {
            lane,
            epoch: snapshot.epoch.map(|epoch| epoch.0),
            partitions: snapshot.partitions,
            records: snapshot.totals.records,
            in_flight_bytes: snapshot.in_flight_bytes,
        }
    }
}

/// Channel's place in the session at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChannelStatus {
    /// Number of the channel; 0 carries the control messages.
    pub channel: usize,
    /// Channel state: true while it is open.
    pub up: bool,
    /// Round-trip time of the channel in seconds, while it is open.
    pub rtt_seconds: Option<f64>,
    /// Traffic in this place since the session began.
    pub wire: Wire,
}

impl ChannelStatus {
    pub fn of(channel: usize, place: &ChannelPlace) -> Self {
        let rtt_seconds = place.connection.as_ref().map(|connection| connection.rtt().as_secs_f64());
        Self { channel, up: place.connection.is_some(), rtt_seconds, wire: place.wire() }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ClassStatus {
    /// Name of a class that the link has or had.
    pub class: String,
    /// Number of its lanes.
    pub lanes: u16,
    /// Priority: true if the class goes before others.
    pub strict: bool,
    /// Guaranteed part of what strict classes leave, in percent.
    pub share_percent: Option<f64>,
    /// Ceiling in bytes of frames per second.
    pub ceiling_bytes_per_second: Option<u64>,
    /// Compression of its frames now: that of `wan.compression`, or what `auto` uses; less if the receiver is older.
    pub compression: String,
    /// Reason for it: `fixed` (as configured), or of `auto`: `start`, `bytes` (fewer make the link faster), `cpu` (the
    /// processor limits it), `cap` (of `wan.compression_cpu`), `rest` (it keeps up), `no-gain` (the next one is no better).
    pub compression_reason: Reason,
    /// Processor time that making its frames took since the process started, in seconds.
    pub compression_cpu_seconds: f64,
    /// Bytes that compression saved since the process started.
    pub saved_bytes: u64,
    /// Bytes of the class's frames since the process started.
    pub sent_bytes: u64,
    /// Bytes of these frames before compression.
    pub raw_bytes: u64,
    /// Bytes of keys, values and headers that were sent by their shape.
    pub shaped_bytes: u64,
    /// Part of the bytes sent in the last seconds that was the class's, in percent.
    pub sent_percent: Option<f64>,
    /// Lanes that wait to send a frame.
    pub waiting_lanes: usize,
}

impl ClassStatus {
    pub fn all(dispatcher: &Dispatcher, lanes: &[Snapshot], choices: &[Arc<Choice>]) -> Vec<Self> {
        let status = |(class, view): (&ClassLanes, ClassView)| {
            let of_class = lanes.iter().skip(usize::from(class.first)).take(usize::from(class.count));
            let choice = choices.get(usize::from(class.first));
            let strongest = of_class.clone().find_map(|lane| lane.codec);
            let codec = strongest.map(|most| choice.map_or(most, |choice| choice.codec().within(most)));
            let totals = of_class.fold(Totals::default(), |sum, lane| sum + lane.totals);
            Self {
                class: class.name.clone(),
                lanes: class.count,
                strict: view.terms.strict,
                share_percent: view.terms.share.map(|share| share.part() * 100.0),
                ceiling_bytes_per_second: view.ceiling,
                compression: codec.map(|codec| codec.to_string()).unwrap_or_default(),
                compression_reason: choice.map(|choice| choice.reason()).unwrap_or_default(),
                compression_cpu_seconds: totals.compression_micros as f64 / 1e6,
                saved_bytes: totals.raw_bytes.saturating_sub(totals.frame_bytes),
                sent_bytes: totals.frame_bytes,
                raw_bytes: totals.raw_bytes,
                shaped_bytes: totals.shaped_bytes,
                sent_percent: view.share.map(|share| share * 100.0),
                waiting_lanes: view.waiting,
            }
        };
        dispatcher.table().classes().iter().zip(dispatcher.classes()).map(status).collect()
    }
}
