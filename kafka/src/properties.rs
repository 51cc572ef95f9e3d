//! librdkafka properties: those that a link sets, and those that a config file must not set.

use std::collections::BTreeMap;

/// Address of a cluster: its bootstrap servers, and properties passed through to librdkafka.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    /// Addresses of some brokers, as `host:port`.
    pub bootstrap_servers: Vec<String>,
    /// librdkafka properties by name. A config file with a [`forbidden`] one is refused; here the link's own value
    /// replaces it.
    pub extra: BTreeMap<String, String>,
}

/// Name and value of a librdkafka property.
pub(crate) type Setting = (&'static str, String);

/// Time that a reading client waits for an answer. A broker that hangs keeps its connections: its partitions wait this
/// long, and as long as a new connection takes, for their new leaders. A producer's Produce requests wait for as long as
/// their records instead, because a quota delays answers.
pub(crate) const READER_TIMEOUT: (&str, &str) = ("socket.timeout.ms", "8000");

/// Defaults of every client of a link. `extra` may replace them.
const DEFAULTS: [(&str, &str); 9] = [
    ("socket.keepalive.enable", "true"),
    // New partitions and new leaders are found within this time, even without another reason to ask.
    ("topic.metadata.refresh.interval.ms", "30000"),
    // For this time, a topic that brokers do not know may be a new one.
    ("topic.metadata.propagation.max.ms", "5000"),
    // A broker that hangs accepts connections and answers nothing: another one is tried after these times.
    ("socket.connection.setup.timeout.ms", "5000"),
    ("api.version.request.timeout.ms", "3000"),
    ("reconnect.backoff.ms", "100"),
    ("reconnect.backoff.max.ms", "2000"),
    // Brokers regularly close idle connections, which is not worth a log line.
    ("log.connection.close", "false"),
    ("statistics.interval.ms", "0"),
];

/// Codec of producers whose operator names none.
pub(crate) const DEFAULT_CODEC: &str = "lz4";

/// The system's certificate authorities. A librdkafka with its own OpenSSL does not look for them by default.
const SYSTEM_AUTHORITIES: (&str, &str) = ("ssl.ca.location", "probe");

impl Properties {
    /// Returns whether brokers are reached over TLS, and no authorities are set by other properties.
    fn uses_tls(&self) -> bool {
        let protocol = self.extra.get("security.protocol");
        let is_tls = protocol.is_some_and(|protocol| protocol.to_ascii_lowercase().ends_with("ssl"));
        is_tls && !self.extra.contains_key("ssl.ca.pem") && !self.extra.contains_key("ssl.ca.certificate.stores")
    }

    /// Returns the codec in which producers compress records.
    pub fn codec(&self) -> &str {
        let named = ["compression.type", "compression.codec"].iter().find_map(|name| self.extra.get(*name));
        named.map_or(DEFAULT_CODEC, String::as_str)
    }

    /// Returns all properties of a client in the order to set them: later ones replace earlier ones. The operator's
    /// properties replace `defaults`, and `fixed` replaces the operator's.
    pub(crate) fn settings(&self, client: &str, defaults: &[Setting], fixed: &[Setting]) -> Vec<(String, String)> {
        let trust = self.uses_tls().then_some(SYSTEM_AUTHORITIES);
        let common = DEFAULTS.iter().chain(&trust).map(|&(name, value)| (name.to_owned(), value.to_owned()));
        let own = |settings: &[Setting]| -> Vec<(String, String)> {
            settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
        };
        common
            .chain([("client.id".to_owned(), format!("causeway-{client}"))])
            .chain(own(defaults))
            .chain(self.extra.iter().map(|(name, value)| (name.clone(), value.clone())))
            .chain([
                ("bootstrap.servers".to_owned(), self.bootstrap_servers.join(",")),
                // A topic created by a metadata request would have the wrong partitions and settings.
                ("allow.auto.create.topics".to_owned(), "false".to_owned()),
            ])
            .chain(own(fixed))
            .collect()
    }
}

/// Properties that a config file must not set, in groups with the reason.
#[rustfmt::skip]
const FORBIDDEN: &[(&str, &str)] = &[
    ("bootstrap.servers metadata.broker.list", "is `bootstrap_servers`"),
    ("isolation.level", "a link copies committed records only"),
    ("enable.idempotence transactional.id enable.gapless.guarantee", "a link writes in transactions of its own"),
    ("acks request.required.acks", "a link waits for all replicas"),
    ("max.in.flight max.in.flight.requests.per.connection queuing.strategy", "would change the order"),
    ("retries message.send.max.retries", "a link retries until its transaction times out"),
    ("transaction.timeout.ms message.timeout.ms delivery.timeout.ms", "is derived from the transaction timeout"),
    ("enable.auto.commit auto.commit.enable auto.commit.interval.ms enable.auto.offset.store \
      offset.store.method", "positions are stored in the target, with the records"),
    ("auto.offset.reset", "a lost position halts its partition, it never jumps"),
    ("check.crcs", "a link checks every batch"),
    ("enable.partition.eof", "a link needs the end-of-partition events"),
    ("group.id group.instance.id group.protocol group.remote.assignor partition.assignment.strategy",
     "a link joins no consumer group"),
    ("allow.auto.create.topics", "topics are created by the link, with the source's partitions"),
    ("api.version.request broker.version.fallback api.version.fallback.ms",
     "older protocol versions drop headers and transactions"),
    ("queued.min.messages queued.max.messages.kbytes fetch.max.bytes fetch.message.max.bytes \
      max.partition.fetch.bytes receive.message.max.bytes queue.buffering.max.messages \
      queue.buffering.max.kbytes", "is derived from `memory`"),
    ("test.mock.num.brokers test.mock.broker.rtt", "would replace the cluster by a mock"),
    ("plugin.library.paths interceptors", "would load foreign code"),
    ("enabled_events log.queue opaque default_topic_conf msg_order_cmp", "is internal"),
];

/// Returns the reason why a config file must not set this librdkafka property; `None` if it may.
///
/// Operators may set how to reach their cluster and how to authenticate, and tuning that cannot change which records
/// arrive.
pub fn forbidden(name: &str) -> Option<&'static str> {
    if name.ends_with("_cb") {
        return Some("callbacks cannot come from a config");
    }
    FORBIDDEN.iter().find(|(names, _)| names.split(' ').any(|forbidden| forbidden == name)).map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_may_tune_and_authenticate_but_not_break_guarantees() {
        for free in ["security.protocol", "sasl.username", "linger.ms", "compression.type", "ssl.ca.location"] {
            assert_eq!(forbidden(free), None, "{free}");
        }
        for broken in ["isolation.level", "acks", "auto.offset.reset", "error_cb", "group.id"] {
            assert!(forbidden(broken).is_some(), "{broken}");
        }
    }

    #[test]
    fn tls_trusts_the_systems_authorities_unless_others_are_set() {
        let authorities = |extra: &[(&str, &str)]| {
            let extra = extra.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
            let properties = Properties { bootstrap_servers: vec!["a:1".to_owned()], extra };
            let settings: BTreeMap<String, String> = properties.settings("fra", &[], &[]).into_iter().collect();
            settings.get("ssl.ca.location").cloned()
        };
        assert_eq!(authorities(&[]), None);
        assert_eq!(authorities(&[("security.protocol", "SASL_SSL")]).as_deref(), Some("probe"));
        let own = [("security.protocol", "ssl"), ("ssl.ca.location", "/etc/ca.pem")];
        assert_eq!(authorities(&own).as_deref(), Some("/etc/ca.pem"));
        assert_eq!(authorities(&[("security.protocol", "ssl"), ("ssl.ca.pem", "…")]), None);
    }

    #[test]
    fn operators_replace_defaults_but_not_fixed_properties() {
        let properties = Properties {
            bootstrap_servers: vec!["a:1".to_owned(), "b:2".to_owned()],
            extra: [("linger.ms", "50"), ("check.crcs", "false")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        };
        let settings: BTreeMap<String, String> = properties
            .settings("fra", &[("linger.ms", "5".to_owned())], &[("check.crcs", "true".to_owned())])
            .into_iter()
            .collect();
        assert_eq!(settings["linger.ms"], "50");
        assert_eq!(settings["check.crcs"], "true");
        assert_eq!(settings["client.id"], "causeway-fra");
        assert_eq!(settings["bootstrap.servers"], "a:1,b:2");
    }
}
