//! How a cluster is reached: settings of Java's clients as properties of librdkafka. A secret goes into a file of its own.

use super::mirror::Cluster;
use super::properties::Settings;

/// Property of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Plain(String),
    /// In a file of this name; without a text the operator writes it.
    Secret {
        file: String,
        text: Option<String>,
    },
}

/// How a cluster is reached.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) properties: Vec<(&'static str, Value)>,
    /// What must be done by hand, in sentences.
    pub(super) by_hand: Vec<String>,
}

/// Settings of TLS that are JVM key stores, and what takes their place.
const STORES: [(&str, &str); 2] = [
    ("ssl.truststore.location", "`ssl.ca.location`: the authorities as PEM; `keytool -exportcert -rfc` writes them"),
    (
        "ssl.keystore.location",
        "`ssl.certificate.location` and `ssl.key.location`, or `ssl.keystore.location` of a PKCS#12 file",
    ),
];

impl Access {
    /// `side` is `source` or `target`, which the names of secrets begin with.
    pub(super) fn of(cluster: &Cluster, side: &str) -> Self {
        let mut access = Self::default();
        let get = |name: &str| of_client(&cluster.client, name);
        if let Some(protocol) = get("security.protocol") {
            access.set("security.protocol", &protocol.to_ascii_lowercase());
        }
        if let Some(mechanism) = get("sasl.mechanism") {
            access.set("sasl.mechanism", mechanism);
            access.log_in(&cluster.client, mechanism, side);
        }
        if get("ssl.endpoint.identification.algorithm").is_some_and(str::is_empty) {
            access.set("ssl.endpoint.identification.algorithm", "none");
        }
        let is_pem = |kind: &str| get(kind).is_some_and(|kind| kind.eq_ignore_ascii_case("PEM"));
        for ((name, remedy), kind) in STORES.into_iter().zip(["ssl.truststore.type", "ssl.keystore.type"]) {
            match get(name) {
                Some(file) if name == "ssl.truststore.location" && is_pem(kind) => access.set("ssl.ca.location", file),
                Some(file) => access.by_hand.push(format!("{remedy}, in place of {file}")),
                None => {}
            }
        }
        access.by_hand.extend(cluster.by_hand.iter().cloned());
        access
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.properties.push((name, Value::Plain(value.to_owned())));
    }

    fn log_in(&mut self, client: &Settings, mechanism: &str, side: &str) {
        let jaas = of_client(client, "sasl.jaas.config").unwrap_or_default();
        let user = option(jaas, "username").or_else(|| client.get("sasl.username").cloned());
        let password = option(jaas, "password").filter(|password| !is_elsewhere(password));
        if !matches!(mechanism, "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512") {
            self.by_hand
                .push(format!("the log-in with {mechanism}: see librdkafka's properties that begin with `sasl.`"));
            return;
        }
        match user.filter(|user| !is_elsewhere(user)) {
            Some(user) => self.set("sasl.username", &user),
            None => self.by_hand.push("`sasl.username`: MirrorMaker 2 has it from elsewhere".to_owned()),
        }
        let file = format!("{side}-sasl.password");
        if password.is_none() {
            self.by_hand.push(format!("write the password into {file}, with mode 0600"));
        }
        self.properties.push(("sasl.password", Value::Secret { file, text: password }));
    }
}

/// The setting of all clients of a cluster, or of those that read, write or administrate.
fn of_client<'a>(client: &'a Settings, name: &str) -> Option<&'a str> {
    let places = ["", "consumer.", "producer.", "admin."];
    places.iter().find_map(|place| client.get(&format!("{place}{name}"))).map(String::as_str)
}

/// Returns whether a value names a place, which one of Kafka's configuration providers reads.
fn is_elsewhere(value: &str) -> bool {
    value.contains("${")
}

/// An option of a JAAS entry: `name="value"`, or without quotes up to a space or the semicolon.
fn option(jaas: &str, name: &str) -> Option<String> {
    let starts = jaas.match_indices(name).map(|(at, _)| at);
    let mut own = starts.filter(|at| jaas[..*at].ends_with(char::is_whitespace));
    let value = own.find_map(|at| jaas[at + name.len()..].trim_start().strip_prefix('='))?.trim_start();
    let Some(quoted) = value.strip_prefix('"') else {
        return Some(value.split([' ', '\t', ';']).next().unwrap_or_default().to_owned());
    };
    let mut text = String::new();
    let mut letters = quoted.chars();
    loop {
        match letters.next()? {
            '"' => return Some(text),
            '\\' => text.push(letters.next()?),
            letter => text.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JAAS: &str =
        r#"org.apache.kafka.common.security.scram.ScramLoginModule required username="mirror" password="p\"w;=x";"#;

    fn access(settings: &[(&str, &str)]) -> Access {
        let client = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Access::of(&Cluster { client, ..Cluster::default() }, "source")
    }

    fn plain(value: &str) -> Value {
        Value::Plain(value.to_owned())
    }

    #[test]
    fn a_password_goes_into_a_file() {
        let access = access(&[
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.jaas.config", JAAS),
            ("ssl.truststore.location", "/etc/ca.pem"),
            ("ssl.truststore.type", "pem"),
            ("ssl.endpoint.identification.algorithm", ""),
        ]);
        let secret = Value::Secret { file: "source-sasl.password".into(), text: Some("p\"w;=x".into()) };
        let expected = [
            ("security.protocol", plain("sasl_ssl")),
            ("sasl.mechanism", plain("SCRAM-SHA-512")),
            ("sasl.username", plain("mirror")),
            ("sasl.password", secret),
            ("ssl.endpoint.identification.algorithm", plain("none")),
            ("ssl.ca.location", plain("/etc/ca.pem")),
        ];
        assert_eq!(access, Access { properties: expected.into(), by_hand: Vec::new() });
    }

    #[test]
    fn what_the_file_does_not_have_is_left_to_somebody() {
        let elsewhere = r#"x required username="${file:/a:u}" password="${file:/a:p}";"#;
        let access = access(&[
            ("consumer.sasl.mechanism", "PLAIN"),
            ("sasl.jaas.config", elsewhere),
            ("ssl.truststore.location", "/etc/trust.jks"),
            ("ssl.keystore.location", "/etc/key.jks"),
        ]);
        assert!(!format!("{access:?}").contains("${"), "{access:?}");
        let starts = [
            "`sasl.username`",
            "write the password into source-sasl.password",
            "`ssl.ca.location`",
            "`ssl.certificate",
        ];
        assert_eq!(access.by_hand.len(), starts.len(), "{access:?}");
        assert!(access.by_hand.iter().zip(starts).all(|(words, start)| words.starts_with(start)), "{access:?}");
    }

    #[test]
    fn options_of_jaas_are_found_by_their_whole_names() {
        assert_eq!(option("x required myusername=\"no\" username = yes ;", "username").as_deref(), Some("yes"));
        assert_eq!(option("x required username=\"open", "username"), None);
        assert_eq!(option("x required", "password"), None);
    }
}
