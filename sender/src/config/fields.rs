//! The settings of a sender's configuration file.

use std::time::Duration;

use service::admin::AdminSettings;
use service::config::{
    Address, ProcessSettings, Properties, ReadSection, Rejection, Reported, Section, Table, properties, value::choice,
};
use service::logging::LogSettings;
use service::names::{InstanceName, LinkName, PeerName};
use service::tls::TlsFiles;
use service::topics::{TopicFilter, TopicPattern};
use transport::congestion::Policy as FlowPolicy;
use transport::io_threads::IoThreads;
use wire::compress::Codec;
use wire::share::Share;
use wire::units::{Rate, Size};

use super::classes::{ClassEntry, read_classes};
use super::cost::CostConfig;
use super::schedule::{RATE_MAX, RATE_MIN, ScheduleEntry, read_schedule};
use super::{Start, read_policies};
use crate::dispatch::classes::Classes;
use crate::lane::compression::Compression;
use crate::partitions::policy::{Policies, Policy};
use crate::rate::schedule::{Schedule, Zone};
use crate::source::origins::OtherLinks;

/// The least memory for each lane.
pub const MEMORY_PER_LANE: Size = Size::from_bytes(4 << 20);
/// The least memory for each channel: a quarter of it is for data in flight, a frame of records and its successor.
pub const MEMORY_PER_CHANNEL: Size = Size::from_bytes(16 << 20);

/// The smallest useful file.
pub const EXAMPLE: &str = r#"link = "fra-to-sin"

[source]
bootstrap_servers = ["kafka-1.fra.example:9092"]
topics = ["orders", "payments.*"]

[wan]
receiver = "link.sin.example:7443"

[tls]
ca = "pki/ca.pem"
certificate = "pki/sender.pem"
key = "pki/sender.key"
"#;

/// Every section of a sender's file, in the order of the reference.
pub const SECTIONS: &[Section] = &[
    Config::SECTION,
    SourceConfig::SECTION,
    WanConfig::SECTION,
    ScheduleEntry::SECTION,
    PolicyEntry::SECTION,
    ClassEntry::SECTION,
    Lanes::SECTION,
    GroupsConfig::SECTION,
    AclsConfig::SECTION,
    CostConfig::SECTION,
    TlsFiles::SECTION,
    Section { fields: &AdminSettings::fields(r#""127.0.0.1:7401""#), ..AdminSettings::SECTION },
    LogSettings::SECTION,
    properties::section("source.client"),
];

service::settings! {
    /// The link that this sender serves, and the resources it may use.
    #[derive(Debug, Clone)]
    pub struct Config: Table "" {
        /// The name of the link, the same on both sides. Its state is stored in the target under this name; another
        /// name is another link, which begins at `start`.
        link: LinkName = required, "a name of `a-z 0-9 . _ -`, at most 64 characters";
        /// The name of this process across restarts. Two senders of one link need different names: the second then
        /// stands by. A sender with the same name replaces the first.
        instance: InstanceName as InstanceName::read = otherwise("this machine's host name"), "a name";
        /// Memory for records and frames, at least 4 MiB per lane. Larger values allow more data in flight on long
        /// paths.
        memory: Size = default(r#""256 MiB""#), "a size, such as `256 MiB`", [r#""64 MiB""#, r#""64 GiB""#];
    }
    shared {
        /// Threads that carry packets.
        io_threads: IoThreads = IoThreads::FIELD;
    }
    parts(table) {
        /// `[source]`, the source cluster.
        source: SourceConfig = table.document().read(), adopt_live;
        /// `[wan]`, the path to the receiver.
        wan: WanConfig = table.document().read(), adopt_live;
        /// `[[policies]]`, the actions on halts.
        policies: Policies = read_policies(table.document());
        /// Number of lanes of the default class.
        lanes: u16 = table.document().read().map(|lanes: Lanes| lanes.count);
        /// `[[classes]]`, the classes besides the default one.
        classes: Classes = read_classes(table.document()), adopt_live;
        /// `[groups]`, the consumer groups whose offsets are carried.
        groups: GroupsConfig = table.document().read(), adopt_live;
        /// `[acls]`, the access control lists that the receiver gets.
        acls: AclsConfig = table.document().read(), adopt_live;
        /// `[cost]`, the price of what is sent.
        cost: CostConfig = table.document().read(), adopt_live;
        /// Settings that both roles have.
        process: ProcessSettings = table.document().read(), adopt_live;
    }
}

service::settings! {
    /// The cluster that records come from.
    #[derive(Debug, Clone)]
    pub struct SourceConfig: Table "source" {
        /// Brokers of the source cluster to connect to first.
        bootstrap_servers: Vec<Address> = required, "a list of addresses, such as `kafka-1.fra.example:9092`";
        /// Topics that the link carries. An entry that could be a topic's name (`A-Z a-z 0-9 . _ -`) is exactly that
        /// topic; any other is a regular expression over the whole name. Names that begin with `__` are never carried.
        topics: Vec<TopicPattern> = required, "a list of topic names and patterns, such as `orders` or `payments.*`", live;
        /// Topics that `topics` matches but the link does not carry.
        exclude: Vec<TopicPattern> = default("[]"), "a list of topic names and patterns", live;
        /// Topics to carry although another link brought them to this cluster. Other such topics are left out, and no
        /// topic ever goes back to a cluster that it has passed.
        forward: Vec<TopicPattern> = default("[]"), "a list of topic names and patterns", live;
        /// Links that are gone or none of yours: their state topics here are not read, and topics that they write here
        /// are carried as this cluster's own.
        ignore_links: Vec<LinkName> = default("[]"), "a list of link names", live;
        /// Carry to a target with the same cluster id, as clusters from one image have, if a probe proves in each session
        /// that they are two: both ends create and delete a topic `__causeway.<link>.probe.<number>`.
        allow_same_cluster_id: bool = default("false"), "`true` or `false`";
        /// The beginning in a partition that the link has never carried: the oldest record, after the newest one at the
        /// first start, the first record stamped at or after a time, or after the last record that `promoted_link` brought.
        /// It is decided once and stored in the target.
        start: Start = default(r#""earliest""#), "`earliest`, `latest`, `promotion` or a time, such as `2026-01-31T06:00:00Z`";
        /// The promoted link that brought topics to this cluster, for the way [back](../failover.md#back): each of its
        /// partitions begins after the last record that it brought, and continues the log from which that came. Its topics
        /// are carried as this cluster's own.
        promoted_link: Option<LinkName> = otherwise("none"), "the name of a link";
    }
    parts(table) {
        /// `[source.client]`, the librdkafka properties.
        client: Properties = table.document().table("source.client").read_properties();
    }
}

service::settings! {
    /// The path to the receiver: facts, not tuning.
    #[derive(Debug, Clone)]
    pub struct WanConfig: Table "wan" {
        /// Addresses of the receiver (UDP). Several are tried in order; names are resolved again at each dial.
        receiver: Vec<Address> = required, "one address or a list, such as `link.sin.example:7443`";
        /// Name that the receiver's certificate must bear.
        server_name: Option<PeerName> = otherwise("the host of the address dialled"), "a DNS name or IP address";
        /// The bandwidth that this link may use: all that leaves the process for the receiver, with acks,
        /// retransmissions, and headers down to IP. Over any second it may exceed the rate by 0.5 %, over any 100 ms by
        /// 5 %, each plus one burst of the network card. Windows and frame sizes are derived from it.
        rate: Option<Rate> = otherwise("no limit"), "a rate, such as `500 Mbit/s`", [RATE_MIN, RATE_MAX], live;
        /// The time zone of `[[wan.schedule]]`.
        time_zone: Zone = default(r#""UTC""#), "a time zone of the IANA database, such as `Europe/Berlin`", live;
        /// The behaviour towards other traffic on the path. `adaptive` takes what is free, keeps queues short, and
        /// takes about its share next to flows that fill them. `scavenger` takes what no other flow uses. `reserved`
        /// takes the rate, regardless of queues; only losses above `loss_tolerance` slow it.
        policy: FlowPolicy as read_flow_policy = default(r#""adaptive""#), "`adaptive`, `scavenger` or `reserved`";
        /// The share of `rate` that the link always sends, regardless of queues. It takes that from other traffic, and
        /// costs retransmissions where the path has less bandwidth.
        floor: Share = default(r#""0 %""#), "a share, such as `20 %`", [r#""0 %""#, r#""100 %""#];
        /// Losses up to this share of the packets sent are no sign of congestion. Above it, the link sends no more than
        /// arrives.
        loss_tolerance: Share = default(r#""8 %""#), "a share, such as `8 %`", [r#""0.1 %""#, r#""50 %""#];
        /// Time that packets may queue on the path before the link backs off. Higher values fill a path of varying
        /// delay better, and delay all its traffic.
        queue_target: Option<Duration> = otherwise("5 % of the empty path's round trip, within 4 and 15 ms"),
            "a duration, such as `10 ms`", [r#""1 ms""#, r#""1 s""#];
        /// The longest IP packet that passes the path. State it if you know it: discovery may mistake losses for a
        /// smaller limit, and then sends short packets for a minute.
        path_mtu: Option<u16> as read_mtu = otherwise("discovered"), "a size, such as `1400 B`", [r#""1248 B""#, r#""1500 B""#];
        /// Segmentation offload: the kernel takes many packets in one call. `false` costs about 25 % more CPU time; it
        /// helps where a kernel or network card damages such packets: heavy loss that `iperf3` does not see.
        segmentation_offload: bool = default("true"), "`true` or `false`";
        /// Number of QUIC connections of a session, each with its own UDP flow. More channels lose less time to
        /// reordering and loss; when the path of one fails, it is dialled again while the others continue. Each takes
        /// 16 MiB of `memory`.
        channels: Option<u16> = otherwise("4; 2 below 20 Mbit/s of `rate`; above 500 Mbit/s one per 125 Mbit/s"), "a count", ["1", "16"];
        /// The compression of frames. `auto` follows what limits the link, for each class: the [strongest
        /// method](../bytes.md#auto) that pays while bytes do, a cheaper one while the processor does. `shape` sends what
        /// the records of a topic have in common once per frame, which makes structured records much smaller, with zstd
        /// behind it; where that saves nothing, frames are sent with zstd alone, and what does not shrink uncompressed.
        /// `lz4` costs the least CPU. Without a level, zstd has level 1; higher levels cost CPU and save little. A
        /// receiver that does not know `shape` gets `zstd`.
        compression: Compression as read_compression = default(r#""auto""#),
            "`auto`, `none`, `lz4`, or `zstd` or `shape`, with a level from 1 to 19 if need be, such as `shape:3`";
        /// Processors that `auto` may keep busy.
        compression_cpu: Option<f64> = otherwise("what is idle"), "a number, such as `1.5`", ["0.05", "256"];
        /// Time that a record waits for others while the link is idle. Higher values make larger frames and fewer
        /// transactions of a trickle of records, and delay each record by that much.
        linger: Duration = default(r#""5 ms""#), "a duration, such as `5 ms`", [r#""0 ms""#, r#""1 s""#];
    }
    parts(table) {
        /// `[[wan.schedule]]`, the rates of the week.
        schedule: Schedule = read_schedule(table.document()), live;
    }
}

service::settings! {
    /// Actions on halted partitions and deleted topics that need no operator; without an entry there are none. The first entry that matches
    /// a topic applies. Every action is counted, logged and kept in the log of jumps.
    #[derive(Debug, Clone)]
    pub struct PolicyEntry: Repeated "policies" {
        /// Topics to which the entry applies.
        topics: TopicFilter = required, "a list of topic names and patterns";
        /// The actions. `stop` keeps the partition halted until an operator acts. `skip` skips what cannot be carried:
        /// records that the target refuses or that are too large, a range that retention deleted, deletions of keys that
        /// compaction removed, what a truncated source lost. `new-incarnation` carries a topic that was deleted and created again, from its start, into the
        /// same target topic.
        policy: Vec<Policy> = default(r#""stop""#), "`stop`, `skip` or `new-incarnation`, or a list of them";
        /// Time after which a topic that the source deleted, or that this sender may not see, is forgotten as by `causeway
        /// forget`, from when a sender with such an entry noticed it. The target keeps that time.
        forget_after: Option<Duration> = otherwise("never"), "a duration, such as `7 d`", [r#""1 s""#, r#""3650 d""#];
    }
}

service::settings! {
    /// The lanes of the class `default`: units of ownership and of transactions, over which partitions are divided.
    #[derive(Debug, Clone)]
    pub struct Lanes: Table "lanes" {
        /// Number of lanes, fixed for the life of the link. Each is one transactional producer at the receiver and one
        /// consumer here. More lanes commit in parallel, and cost transactions and connections.
        count: u16 = default("8"), "a count", ["1", "64"];
    }
}

service::settings! {
    /// [Consumer groups](../groups.md) whose committed offsets are carried. Without an entry in `include` there are none.
    #[derive(Debug, Clone)]
    pub struct GroupsConfig: Table "groups" {
        /// Consumer groups of the source, written as in `source.topics`. The receiver commits their offsets, translated,
        /// for the groups of the same names in the target, while those have no members.
        include: Vec<TopicPattern> = default("[]"), "a list of names and patterns of groups, such as `billing` or `app-.*`", live;
        /// Groups that `include` matches and that are not carried.
        exclude: Vec<TopicPattern> = default("[]"), "a list of names and patterns of groups", live;
        /// Interval between two readings of their offsets.
        interval: Duration = default(r#""5 s""#), "a duration, such as `5 s`", [r#""1 s""#, r#""1 h""#], live;
    }
}

service::settings! {
    /// [Access control lists](../acls.md) of carried topics and groups.
    #[derive(Debug, Clone)]
    pub struct AclsConfig: Table "acls" {
        /// Tell the receiver the rules of the source that apply to carried topics and groups. It follows them only where
        /// `links.follow_acls` says so.
        follow: bool = default("false"), "`true` or `false`", live;
        /// Interval between two readings of them.
        interval: Duration = default(r#""30 s""#), "a duration, such as `30 s`", [r#""1 s""#, r#""1 h""#], live;
    }
}

impl GroupsConfig {
    pub fn filter(&self) -> TopicFilter {
        TopicFilter::new(self.include.clone(), self.exclude.clone())
    }
}

impl SourceConfig {
    pub fn filter(&self) -> TopicFilter {
        TopicFilter::new(self.topics.clone(), self.exclude.clone()).forwarding(self.forward.clone())
    }

    /// Links whose topics are carried nevertheless.
    pub fn other_links(&self) -> OtherLinks {
        OtherLinks { ignored: self.ignore_links.clone(), promoted: self.promoted_link.clone() }
    }
}

impl WanConfig {
    /// The highest rate of the file; `None` if there is no limit, always or at some time.
    pub fn highest_rate(&self) -> Option<Rate> {
        self.rate.map(|rate| self.schedule.highest().map_or(rate, |highest| rate.max(highest)))
    }
}

fn read_mtu(table: &Table<'_>, name: &str) -> Result<Option<u16>, Reported> {
    let mtu: Option<Size> = table.read(name)?;
    // The bounds of the field end at 1500.
    Ok(mtu.map(|mtu| u16::try_from(mtu.bytes()).unwrap_or(u16::MAX)))
}

fn read_flow_policy(table: &Table<'_>, name: &str) -> Result<FlowPolicy, Reported> {
    let words =
        [("adaptive", FlowPolicy::Adaptive), ("scavenger", FlowPolicy::Scavenger), ("reserved", FlowPolicy::Reserved)];
    table.read_with(name, |value| choice(value, &words))
}

/// The levels of zstd without the negative ones, which lz4 beats, and the "ultra" ones, whose memory is not bounded.
const ZSTD_LEVELS: std::ops::RangeInclusive<i32> = 1..=19;

fn read_compression(table: &Table<'_>, name: &str) -> Result<Compression, Reported> {
    let words = [
        ("auto", Compression::Auto),
        ("none", Compression::Fixed(Codec::None)),
        ("lz4", Compression::Fixed(Codec::Lz4)),
        ("zstd", Compression::Fixed(Codec::Zstd(1))),
        ("shape", Compression::Fixed(Codec::Shape(1))),
    ];
    table.read_with(name, |value| {
        let Some((word, level)) = value.as_str().and_then(|text| text.split_once(':')) else {
            return choice(value, &words);
        };
        let number = level.parse().ok().filter(|number| ZSTD_LEVELS.contains(number));
        match (word, number) {
            ("zstd", Some(level)) => Ok(Compression::Fixed(Codec::Zstd(level))),
            ("shape", Some(level)) => Ok(Compression::Fixed(Codec::Shape(level))),
            ("zstd" | "shape", None) => {
                let (min, max) = ZSTD_LEVELS.into_inner();
                let sentence = format!("\"{level}\" is no zstd level; write \"{word}:{min}\" to \"{word}:{max}\"");
                Err(Rejection::because(sentence))
            }
            _ => choice(value, &words),
        }
    })
}
