//! What may be written in a sender's config: the tables behind the loader and the reference.

use service::admin::access::TOKEN;
use service::admin::{self, Listen};
use service::config::{Absent, Field, Section, Shape};
use service::{logging, tls};
use transport::io_threads::IoThreads;
use wire::units::Size;

/// The least memory for each lane.
pub const MEMORY_PER_LANE: Size = Size::from_bytes(4 << 20);

/// The least memory for each channel: half of it is for windows, half of those for what is sent, and 4 MiB hold a
/// frame of records and its successor.
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

/// A sender's whole config.
pub const SECTIONS: &[Section] = &[
    Section { path: "", shape: Shape::Table, doc: "Which link this sender serves.", fields: TOP },
    Section { path: "source", shape: Shape::Table, doc: "The cluster that records come from.", fields: SOURCE },
    Section { path: "wan", shape: Shape::Table, doc: "The way to the receiver: facts, not tuning.", fields: WAN },
    Section {
        path: "wan.schedule",
        shape: Shape::Repeated,
        doc: "When the rate is another than `wan.rate`: weekly, on the clocks of `wan.time_zone`. An entry holds while \
              those clocks show a time in it, also on the days on which they are changed. No two may hold at the same \
              time.",
        fields: SCHEDULE,
    },
    Section {
        path: "policies",
        shape: Shape::Repeated,
        doc: "What is done about halted partitions without asking anybody; without an entry, nothing. The first entry \
              that matches a topic counts. What a policy does is counted, logged and kept in the log of jumps.",
        fields: POLICIES,
    },
    Section {
        path: "classes",
        shape: Shape::Repeated,
        doc: "Classes of topics, each with lanes and a part of the rate of its own. The first that matches a topic \
              counts; topics that none matches are in the class `default`, which has `lanes.count` lanes and what the \
              others leave of the rate. A topic that changes its class is moved, exactly once and in order.",
        fields: CLASSES,
    },
    Section {
        path: "lanes",
        shape: Shape::Table,
        doc: "How partitions are divided into units of ownership and transaction, in the class `default`.",
        fields: LANES,
    },
    tls::SECTION,
    Section {
        path: "admin",
        shape: Shape::Table,
        doc: admin::SECTION_DOC,
        fields: &[Listen::field(r#""127.0.0.1:7401""#), TOKEN],
    },
    logging::SECTION,
    Section {
        path: "source.client",
        shape: Shape::Properties,
        doc: "librdkafka properties, passed through by their own names: how to reach and authenticate to the source \
              cluster. Those that would break the promise are refused. Secrets come from files: \
              `\"sasl.password\" = { file = \"/run/secrets/sasl\" }`.",
        fields: &[],
    },
];

const TOP: &[Field] = &[
    Field {
        name: "link",
        kind: "a name of `a-z 0-9 . _ -`, at most 64 characters",
        absent: Absent::Required,
        bounds: None,
        live: false,
        doc: "The link's name, the same on both sides. Its state is kept in the target under this name, so another \
              name is another link, which begins at `start`.",
    },
    Field {
        name: "instance",
        kind: "a name",
        absent: Absent::Otherwise("this machine's host name"),
        bounds: None,
        live: false,
        doc: "What this process is called across restarts. Two senders of one link need different ones: the second \
              then stands by; with the same one it replaces the first.",
    },
    Field {
        name: "memory",
        kind: "a size, such as `256 MiB`",
        absent: Absent::Default(r#""256 MiB""#),
        bounds: Some((r#""64 MiB""#, r#""64 GiB""#)),
        live: false,
        doc: "What records and frames may occupy, at least 4 MiB per lane. More lets more be under way on a long path.",
    },
    IoThreads::FIELD,
];

const SOURCE: &[Field] = &[
    Field {
        name: "bootstrap_servers",
        kind: "a list of addresses, such as `kafka-1.fra.example:9092`",
        absent: Absent::Required,
        bounds: None,
        live: false,
        doc: "Brokers of the source cluster to ask for the others.",
    },
    Field {
        name: "topics",
        kind: "a list of topic names and patterns, such as `orders` or `payments.*`",
        absent: Absent::Required,
        bounds: None,
        live: true,
        doc: "What the link carries. An entry that could be a topic's name (`A-Z a-z 0-9 . _ -`) is exactly that \
              topic; any other is a regular expression over the whole name. Names that begin with `__` are never \
              carried.",
    },
    Field {
        name: "exclude",
        kind: "a list of topic names and patterns",
        absent: Absent::Default("[]"),
        bounds: None,
        live: true,
        doc: "What `topics` matches but the link does not carry.",
    },
    Field {
        name: "forward",
        kind: "a list of topic names and patterns",
        absent: Absent::Default("[]"),
        bounds: None,
        live: true,
        doc: "What is carried on though another link brought it to this cluster. All else that links brought is left \
              out, and nothing ever goes back to a cluster it has passed.",
    },
    Field {
        name: "start",
        kind: "`earliest`, `latest` or a time, such as `2026-01-31T06:00:00Z`",
        absent: Absent::Default(r#""earliest""#),
        bounds: None,
        live: false,
        doc: "Where the link begins in what it has never carried: at the oldest record, after the newest one as of \
              the first start, or at the first record stamped at or after a time. Decided once and stored in the \
              target.",
    },
];

const WAN: &[Field] = &[
    Field {
        name: "receiver",
        kind: "one address or a list, such as `link.sin.example:7443`",
        absent: Absent::Required,
        bounds: None,
        live: false,
        doc: "Where the receiver listens (UDP). Several are tried in order; names are resolved again at each dial.",
    },
    Field {
        name: "server_name",
        kind: "a DNS name or IP address",
        absent: Absent::Otherwise("the host of the address dialled"),
        bounds: None,
        live: false,
        doc: "The name that the receiver's certificate must bear.",
    },
    Field {
        name: "rate",
        kind: "a rate, such as `500 Mbit/s`",
        absent: Absent::Otherwise("no limit"),
        bounds: Some(RATE_BOUNDS),
        live: true,
        doc: "The bandwidth this link was given. No more leaves this process for the receiver, everything counted: \
              records, acks, what is sent again, and the headers down to IP. Over any second at most half a percent \
              more, over any 100 ms 5 percent, each and one burst of the network card. Windows and frame sizes are \
              derived from it.",
    },
    Field {
        name: "time_zone",
        kind: "a time zone of the IANA database, such as `Europe/Berlin`",
        absent: Absent::Default(r#""UTC""#),
        bounds: None,
        live: true,
        doc: "On whose clocks `[[wan.schedule]]` is.",
    },
    Field {
        name: "policy",
        kind: "`adaptive`, `scavenger` or `reserved`",
        absent: Absent::Default(r#""adaptive""#),
        bounds: None,
        live: false,
        doc: "How the link behaves towards others on its path. `adaptive` takes what is free, keeps queues short, and \
              takes about its share beside flows that fill them. `scavenger` takes what nobody else wants. `reserved` \
              takes the rate, whatever queues; only losses above `loss_tolerance` slow it.",
    },
    Field {
        name: "floor",
        kind: "a share, such as `20 %`",
        absent: Absent::Default(r#""0 %""#),
        bounds: Some((r#""0 %""#, r#""100 %""#)),
        live: false,
        doc: "The share of `rate` that the link goes on sending whatever the path's queue says. More takes it from \
              others, and from itself in retransmissions where the path is narrower than that.",
    },
    Field {
        name: "loss_tolerance",
        kind: "a share, such as `8 %`",
        absent: Absent::Default(r#""8 %""#),
        bounds: Some((r#""0.1 %""#, r#""50 %""#)),
        live: false,
        doc: "Losses up to this share of what is sent are the path's own and no sign of congestion. Above it, the link \
              sends no more than arrives.",
    },
    Field {
        name: "queue_target",
        kind: "a duration, such as `10 ms`",
        absent: Absent::Otherwise("5 % of the empty path's round trip, within 4 and 15 ms"),
        bounds: Some((r#""1 ms""#, r#""1 s""#)),
        live: false,
        doc: "How long packets may queue on the path before the link backs off. More fills a path better whose delay \
              wanders, and delays everybody on it.",
    },
    Field {
        name: "path_mtu",
        kind: "a size, such as `1400 B`",
        absent: Absent::Otherwise("found out"),
        bounds: Some((r#""1248 B""#, r#""1500 B""#)),
        live: false,
        doc: "The longest IP packet that passes. State it where it is known: finding out may mistake losses for a \
              shorter path, and then sends short packets for a minute.",
    },
    Field {
        name: "segmentation_offload",
        kind: "`true` or `false`",
        absent: Absent::Default("true"),
        bounds: None,
        live: false,
        doc: "Whether the kernel is handed many packets at once. `false` costs about a quarter more of the sender's CPU \
              time; it helps where a kernel or a network card damages such packets, which shows as heavy loss that \
              `iperf3` does not see.",
    },
    Field {
        name: "channels",
        kind: "a count",
        absent: Absent::Otherwise("4; 2 below 20 Mbit/s of `rate`, one per 125 above 500"),
        bounds: Some(("1", "16")),
        live: false,
        doc: "QUIC connections of a session, each a UDP flow of its own: what reordering and lost packets hold up is \
              that much less, and one whose path fails is dialled again while the others go on. Each takes 16 MiB of \
              `memory`.",
    },
    Field {
        name: "compression",
        kind: "`none`, `lz4`, or `zstd` with a level from 1 to 19, such as `zstd:3`",
        absent: Absent::Default(r#""lz4""#),
        bounds: None,
        live: false,
        doc: "How frames are compressed; `zstd` alone is level 1. A higher level costs CPU and saves bandwidth. A frame \
              that would grow is sent as it is.",
    },
    Field {
        name: "linger",
        kind: "a duration, such as `5 ms`",
        absent: Absent::Default(r#""5 ms""#),
        bounds: Some((r#""0 ms""#, r#""1 s""#)),
        live: false,
        doc: "How long a record waits for others while the link is idle. More makes larger frames and fewer \
              transactions of a trickle, and each record that much later.",
    },
];

/// The least and the most that a link can be given: a packet of 1,500 bytes takes 188 ms and 120 ns.
const RATE_BOUNDS: (&str, &str) = (r#""64 kbit/s""#, r#""100 Gbit/s""#);

const SCHEDULE: &[Field] = &[
    Field {
        name: "days",
        kind: "days and spans of days, such as `mon-fri` or `sat,sun`",
        absent: Absent::Required,
        bounds: None,
        live: true,
        doc: "On which days the entry begins.",
    },
    Field {
        name: "from",
        kind: "a time of day, such as `08:00`",
        absent: Absent::Required,
        bounds: None,
        live: true,
        doc: "When it begins.",
    },
    Field {
        name: "to",
        kind: "a time of day, such as `18:00`, up to `24:00`",
        absent: Absent::Required,
        bounds: None,
        live: true,
        doc: "When it ends; on the next day where that is not after its beginning.",
    },
    Field {
        name: "rate",
        kind: "a rate, such as `100 Mbit/s`",
        absent: Absent::Required,
        bounds: Some(RATE_BOUNDS),
        live: true,
        doc: "The rate meanwhile.",
    },
];

const POLICIES: &[Field] = &[
    Field {
        name: "topics",
        kind: "a list of topic names and patterns",
        absent: Absent::Required,
        bounds: None,
        live: false,
        doc: "Which topics.",
    },
    Field {
        name: "policy",
        kind: "`stop`, `skip` or `new-incarnation`, or a list of them",
        absent: Absent::Required,
        bounds: None,
        live: false,
        doc: "`stop` halts until somebody acts. `skip` leaves out what cannot be carried: one record that the target \
              refuses or that is too large, a range that retention deleted, what a truncated source lost. \
              `new-incarnation` carries a topic that was deleted and made again, from its start, into the same target \
              topic.",
    },
];

const CLASSES: &[Field] = &[
    Field {
        name: "name",
        kind: "a name of `a-z 0-9 . _ -`, at most 64 characters",
        absent: Absent::Required,
        bounds: None,
        live: false,
        doc: "What the class is called. Its lanes are kept in the target under this name, also when it is taken out of \
              the file; its topics are then in the class `default`.",
    },
    Field {
        name: "topics",
        kind: "a list of topic names and patterns",
        absent: Absent::Required,
        bounds: None,
        live: true,
        doc: "Which of the link's topics. It adds none to `source.topics`.",
    },
    Field {
        name: "priority",
        kind: "`shared` or `strict`",
        absent: Absent::Default(r#""shared""#),
        bounds: None,
        live: true,
        doc: "A `strict` class goes before every class that is not, and starves them if it has enough to send: give it \
              a `ceiling`.",
    },
    Field {
        name: "share",
        kind: "a share, such as `30 %`",
        absent: Absent::Otherwise("its part of what the other shares leave"),
        bounds: Some((r#""1 %""#, r#""100 %""#)),
        live: true,
        doc: "What the class is guaranteed of what strict classes leave, while it has enough to send. What it does not \
              use, the others have. All shares together are at most 100 %.",
    },
    Field {
        name: "ceiling",
        kind: "a rate, such as `20 Mbit/s`, or a share of `wan.rate`, such as `50 %`",
        absent: Absent::Otherwise("none"),
        bounds: None,
        live: true,
        doc: "What the class never exceeds, also where the rest is idle. Bytes of frames count; what packets add to \
              them, about 4 %, and repairs come on top.",
    },
    Field {
        name: "lanes",
        kind: "a count",
        absent: Absent::Default("2"),
        bounds: Some(("1", "63")),
        live: false,
        doc: "Fixed for the life of the link, as `lanes.count`. All classes together, those that were ever taken out of \
              the file included, have at most 64.",
    },
];

const LANES: &[Field] = &[Field {
    name: "count",
    kind: "a count",
    absent: Absent::Default("8"),
    bounds: Some(("1", "64")),
    live: false,
    doc: "Fixed for the life of the link. Each lane is one transactional producer at the receiver and one consumer \
          here; more lanes commit in parallel, and cost transactions and connections.",
}];
