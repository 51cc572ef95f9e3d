//! The settings of a receiver's configuration file.

use std::net::SocketAddr;
use std::time::Duration;

use service::admin::AdminSettings;
use service::config::{Address, ProcessSettings, Properties, ReadSection, Section, properties};
use service::logging::LogSettings;
use service::names::{InstanceName, LinkName, PeerName};
use service::tls::TlsFiles;
use service::topics::{TopicFilter, TopicPattern};
use transport::io_threads::IoThreads;
use wire::units::{Rate, Size};

use super::principals::{AclRules, FollowAcls, PrincipalPattern, PrincipalRule};
use super::{GroupRename, Rename, adopt_links, read_links};
use crate::link::following::rule::FollowConfigs;

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

/// Every section of a receiver's file, in the order of the reference.
pub const SECTIONS: &[Section] = &[
    Config::SECTION,
    TargetConfig::SECTION,
    LinkConfig::SECTION,
    TlsFiles::SECTION,
    Section { fields: &AdminSettings::fields(r#""127.0.0.1:7402""#), ..AdminSettings::SECTION },
    LogSettings::SECTION,
    properties::section("target.client"),
];

service::settings! {
    /// The address of this receiver, and the resources it may use.
    #[derive(Debug, Clone)]
    pub struct Config: Table "" {
        /// Address that senders dial (UDP). `[::]:7443` listens on IPv4 too.
        listen: SocketAddr = default(r#""0.0.0.0:7443""#), "an IP address and a port, such as `0.0.0.0:7443`";
        /// The name of this process across restarts, in logs, in `status` of both sides, and with the port in its
        /// transactional ids at the target: two receivers of one target with the same name and port stop each other.
        instance: InstanceName as InstanceName::read = otherwise("this machine's host name"), "a name";
        /// Memory for frames that are not committed yet, over all links. Larger values allow more data in flight on
        /// fast, long paths.
        memory: Size = default(r#""512 MiB""#), "a size, such as `512 MiB`", [r#""64 MiB""#, r#""256 GiB""#];
        /// The bandwidth that this receiver may send to all its senders, headers down to IP included. It sends only
        /// acks, 1 to 3 % of what it receives; a lower rate slows its links. `wan.rate` of each sender limits the
        /// incoming traffic.
        rate: Option<Rate> = otherwise("no limit"), "a rate, such as `50 Mbit/s`",
            [r#""64 kbit/s""#, r#""100 Gbit/s""#], live;
    }
    shared {
        /// Threads that carry packets.
        io_threads: IoThreads = IoThreads::FIELD;
    }
    parts(table) {
        /// `[target]`, the target cluster.
        target: TargetConfig = table.document().read();
        /// `[[links]]`, the links served here: at least one, each name once.
        links: Vec<LinkConfig> = read_links(table.document()), adopt_live(adopt_links);
        /// Settings that both roles have.
        process: ProcessSettings = table.document().read(), adopt_live;
    }
}

service::settings! {
    /// The cluster that records go to.
    #[derive(Debug, Clone)]
    pub struct TargetConfig: Table "target" {
        /// Brokers of the target cluster to connect to first.
        bootstrap_servers: Vec<Address> = required, "a list of addresses, such as `kafka-1.sin.example:9092`";
        /// Replication factor of the topics that the receiver creates, including its state topics.
        replication_factor: Option<i32> = otherwise("the target cluster's own default"), "a count", ["1", "32767"];
        /// Transactions per second that all lanes of this receiver commit, on average. Higher values make a trickle of
        /// records arrive sooner, and cost the target's brokers CPU.
        transactions_per_second: u32 = default("40"), "a count", ["1", "1000"];
        /// Number of transactions that may follow each other without a wait after a quiet time.
        transaction_burst: u32 = default("16"), "a count", ["1", "1000"];
        /// Time after which the target aborts a transaction whose receiver is gone. Higher values tolerate a slower
        /// target, but a dead receiver then holds up `read_committed` readers for longer.
        transaction_timeout: Duration = default(r#""30 s""#), "a duration, such as `30 s`", [r#""5 s""#, r#""15 min""#];
    }
    parts(table) {
        /// `[target.client]`, the librdkafka properties.
        client: Properties = table.document().table("target.client").read_properties();
    }
}

service::settings! {
    /// The links served here, and the rights of each. At least one.
    #[derive(Debug, Clone)]
    pub struct LinkConfig: Repeated "links" {
        /// The name of the link, the same on both sides.
        name: LinkName = required, "a name of `a-z 0-9 . _ -`, at most 64 characters";
        /// Names of the link's senders: a sender's certificate must bear one of them.
        senders: Vec<PeerName> = required, "a list of DNS names or IP addresses", live;
        /// Source topics that this link may write, regardless of `source.topics`; written in the same way.
        topics: TopicFilter = default(r#"[".*"]"#),
            "a list of topic names and patterns, such as `orders` or `payments.*`", live;
        /// The name of a source topic in the target.
        rename: Rename = default(r#""{topic}""#), "a name with `{topic}` in it, such as `fra.{topic}`";
        /// The name of a source [consumer group](../groups.md) in the target.
        rename_groups: GroupRename = default(r#""{group}""#), "a name with `{group}` in it, such as `fra.{group}`";
        /// Copy a source topic's settings that make sense in another cluster to the topic that the receiver creates.
        /// A value that the target refuses is replaced by the nearest that it accepts, or left out, and named. Existing
        /// topics are not changed.
        copy_configs: bool = default("true"), "`true` or `false`";
        /// Follow later changes of these settings, [within 10 s](../operate.md#settings-that-follow), in every topic that
        /// the link writes. `safe` leaves out changes that delete records in the target or make it refuse records.
        follow_configs: FollowConfigs = default(r#""off""#), "`off`, `safe` or `all`", live;
        /// Make the [access control lists](../acls.md) in the target that the source has for the link's topics and groups, as
        /// far as they let someone read: `on`; or only show what it would do: `dry-run`. `off` leaves what was made.
        follow_acls: FollowAcls = default(r#""off""#), "`off`, `dry-run` or `on`", live;
        /// Principals whose rules are followed, and their names in the target. `{name}` stands for any text but `*`;
        /// the first rule that matches counts. Everyone is followed only if a rule names `User:*`.
        acl_principals: Vec<PrincipalRule> = default(r#"["User:{name}"]"#),
            "a list of rules, such as `User:{name}` or `User:fra-{name} -> User:{name}`", live;
        /// Principals whose rules are not followed, by their names at the source or in the target.
        acl_exclude: Vec<PrincipalPattern> = default("[]"), "a list of principals, such as `User:admin` or `User:ops-{name}`", live;
        /// Groups of the source whose rules are followed: none without an entry, because a sender that names a group of
        /// this cluster's own could let others into it.
        acl_groups: Vec<TopicPattern> = default("[]"), "a list of names and patterns of groups, such as `billing` or `app-.*`", live;
        /// The part of `memory` that this link may use.
        memory: Option<Size> = otherwise("an equal part of what other links leave"), "a size, such as `64 MiB`",
            [r#""8 MiB""#, r#""256 GiB""#];
        /// Most topics that this link carries. Further ones halt.
        topics_max: u32 = default("20000"), "a count", ["1", "1000000"], live;
        /// Most partitions of all its topics. A topic that would exceed it halts, before anything is created for it.
        partitions_max: u32 = default("200000"), "a count", ["1", "2000000"], live;
        /// Most senders that stand by; further ones are refused.
        standbys_max: u16 = default("8"), "a count", ["0", "64"], live;
        /// The bandwidth that the link's sender may use. It lowers its rate to this; one that does not is held to 5 % more
        /// by QUIC, and is then slow.
        rate: Option<Rate> = otherwise("no limit"), "a rate, such as `50 Mbit/s`",
            [r#""1 Mbit/s""#, r#""100 Gbit/s""#], live;
        /// Id of a rebuilt source or target cluster that takes the place of the stored one.
        accept_cluster: Option<String> = otherwise("none"), "a cluster id, such as `5L6g3nShT-eMCtK--X86sw`", live;
    }
}

impl LinkConfig {
    /// Returns its settings about access control lists.
    pub(crate) fn acl_rules(&self) -> AclRules {
        AclRules {
            follow: self.follow_acls,
            principals: self.acl_principals.clone(),
            exclude: self.acl_exclude.clone(),
            groups: self.acl_groups.clone(),
        }
    }
}
