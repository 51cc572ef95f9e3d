//! What may be written in a receiver's config: the tables behind the loader and the reference.

use service::admin::access::TOKEN;
use service::admin::{self, Listen};
use service::config::{Absent, Field, Section, Shape};
use service::{logging, tls};
use transport::io_threads::IoThreads;

/// The smallest useful file.
pub const EXAMPLE: &str = r#"[target]
bootstrap_servers = ["kafka-1.sin.example:9092"]

[[links]]
name = "fra-to-sin"
senders = ["sender.fra.example"]

[tls]
ca = "pki/ca.pem"
certificate = "pki/receiver.pem"
key = "pki/receiver.key"
"#;

/// A receiver's whole config.
pub const SECTIONS: &[Section] = &[
    Section { path: "", shape: Shape::Table, doc: "Where this receiver listens.", fields: TOP },
    Section { path: "target", shape: Shape::Table, doc: "The cluster that records go to.", fields: TARGET },
    Section {
        path: "links",
        shape: Shape::Repeated,
        doc: "The links served here, and what each may do. At least one.",
        fields: LINKS,
    },
    tls::SECTION,
    Section {
        path: "admin",
        shape: Shape::Table,
        doc: admin::SECTION_DOC,
        fields: &[Listen::field(r#""127.0.0.1:7402""#), TOKEN],
    },
    logging::SECTION,
    Section {
        path: "target.client",
        shape: Shape::Properties,
        doc: "librdkafka properties, passed through by their own names: how to reach and authenticate to the target \
              cluster. Those that would break the promise are refused. Secrets come from files: \
              `\"sasl.password\" = { file = \"/run/secrets/sasl\" }`.",
        fields: &[],
    },
];

const TOP: &[Field] = &[
    Field {
        name: "listen",
        kind: "an IP address and a port, such as `0.0.0.0:7443`",
        absent: Absent::Default(r#""0.0.0.0:7443""#),
        bounds: None,
        live: false,
        doc: "Where senders dial (UDP). `[::]:7443` listens on IPv4 too.",
    },
    Field {
        name: "instance",
        kind: "a name",
        absent: Absent::Otherwise("this machine's host name"),
        bounds: None,
        live: false,
        doc: "What this process is called across restarts, in logs and in `status` of both sides.",
    },
    Field {
        name: "memory",
        kind: "a size, such as `512 MiB`",
        absent: Absent::Default(r#""512 MiB""#),
        bounds: Some((r#""64 MiB""#, r#""256 GiB""#)),
        live: false,
        doc: "What frames may occupy that are not yet committed, over all links. More lets a fast link on a long path \
              have more under way.",
    },
    Field {
        name: "rate",
        kind: "a rate, such as `50 Mbit/s`",
        absent: Absent::Otherwise("no limit"),
        bounds: Some((r#""64 kbit/s""#, r#""100 Gbit/s""#)),
        live: true,
        doc: "What leaves this receiver for all its senders together, everything counted, headers down to IP included. \
              It sends acks alone, about 1 to 3 percent of what it receives; less than they need slows its links. A \
              sender's own `wan.rate` limits what comes.",
    },
    IoThreads::FIELD,
];

const TARGET: &[Field] = &[
    Field {
        name: "bootstrap_servers",
        kind: "a list of addresses, such as `kafka-1.sin.example:9092`",
        absent: Absent::Required,
        bounds: None,
        live: false,
        doc: "Brokers of the target cluster to ask for the others.",
    },
    Field {
        name: "replication_factor",
        kind: "a count",
        absent: Absent::Otherwise("the target cluster's own default"),
        bounds: Some(("1", "32767")),
        live: false,
        doc: "Of the topics that the receiver creates, its state topics included.",
    },
    Field {
        name: "transactions_per_second",
        kind: "a count",
        absent: Absent::Default("40"),
        bounds: Some(("1", "1000")),
        live: false,
        doc: "How many transactions all lanes of this receiver together commit in the long run. More makes a trickle \
              of records arrive sooner, and costs the target's brokers CPU.",
    },
    Field {
        name: "transaction_burst",
        kind: "a count",
        absent: Absent::Default("16"),
        bounds: Some(("1", "1000")),
        live: false,
        doc: "How many transactions may follow each other without waiting after a quiet time.",
    },
    Field {
        name: "transaction_timeout",
        kind: "a duration, such as `30 s`",
        absent: Absent::Default(r#""30 s""#),
        bounds: Some((r#""5 s""#, r#""15 min""#)),
        live: false,
        doc: "After this the target aborts a transaction whose receiver is gone. More tolerates a slower target, and \
              lets a dead receiver hold up `read_committed` readers for longer.",
    },
];

const LINKS: &[Field] = &[
    Field {
        name: "name",
        kind: "a name of `a-z 0-9 . _ -`, at most 64 characters",
        absent: Absent::Required,
        bounds: None,
        live: false,
        doc: "The link's name, the same on both sides.",
    },
    Field {
        name: "senders",
        kind: "a list of DNS names or IP addresses",
        absent: Absent::Required,
        bounds: None,
        live: true,
        doc: "Who may send on this link: the sender's certificate must bear one of these names.",
    },
    Field {
        name: "topics",
        kind: "a list of topic names and patterns, such as `orders` or `payments.*`",
        absent: Absent::Default(r#"[".*"]"#),
        bounds: None,
        live: true,
        doc: "Source topics that this link may write, whatever its sender asks for. Written as in a sender's \
              `source.topics`.",
    },
    Field {
        name: "rename",
        kind: "a name with `{topic}` in it, such as `fra.{topic}`",
        absent: Absent::Default(r#""{topic}""#),
        bounds: None,
        live: false,
        doc: "What a source topic is called in the target.",
    },
    Field {
        name: "copy_configs",
        kind: "`true` or `false`",
        absent: Absent::Default("true"),
        bounds: None,
        live: false,
        doc: "Whether a topic that the receiver creates gets those settings of the source topic that make sense in \
              another cluster. Existing topics are never changed.",
    },
];
