//! The two files of a link that does what a flow of MirrorMaker 2 did.

use std::fmt::Write as _;

use service::names::LinkName;
use service::topics::TopicPattern;

use super::client::{Access, Value};
use super::mirror::{Flow, Mirror, words};
use super::unlike::without_counterpart;

/// What MirrorMaker 2 leaves out unless told otherwise. Names that begin with `__` are never carried.
const EXCLUDED: &str = r"mm2.*\.internal, .*\.replica";
const GROUPS_EXCLUDED: &str = "console-consumer-.*, connect-.*, __.*";
/// Replication factor of the topics that MirrorMaker 2 creates, unless told otherwise.
const REPLICATION_FACTOR: &str = "2";
/// Topic of MirrorMaker 2 that has no use in a link.
const HEARTBEATS: &str = "heartbeats";
const POLICY: &str = "replication.policy.class";

/// Name of the sender's file.
pub(super) const SENDER: &str = "sender.toml";

/// A file to write.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Output {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) is_secret: bool,
}

/// Everything that becomes of a flow.
#[derive(Debug)]
pub(super) struct Imported {
    pub(super) link: LinkName,
    pub(super) source: String,
    pub(super) target: String,
    pub(super) outputs: Vec<Output>,
    /// What must be done by hand, in sentences.
    pub(super) by_hand: Vec<String>,
    /// Topic of Kafka Connect at the target that has the offsets of MirrorMaker 2.
    pub(super) offsets_topic: String,
    /// True if a crash of MirrorMaker 2 leaves no record behind its offsets.
    pub(super) is_exactly_once: bool,
}

impl Imported {
    /// Translates a flow. `from` is the name of its file, `link` the name to give to the link.
    pub(super) fn new(mirror: &Mirror, flow: &Flow, from: &str, link: Option<&str>) -> Result<Self, String> {
        let name = link.map_or_else(|| link_name(flow), str::to_owned);
        let link = LinkName::parse(&name).map_err(|error| format!("{error}; name the link with --link"))?;
        let source = &mirror.clusters[&flow.source];
        let target = &mirror.clusters[&flow.target];
        let from_source = Access::of(source, "source");
        let to_target = Access::of(target, "target");
        let mut by_hand = vec![
            "`wan.receiver` in sender.toml: the address at which the sender reaches the receiver, UDP".to_owned(),
            "`links.senders` in receiver.toml: the name in the sender's certificate".to_owned(),
            format!(
                "certificates: `causeway pki init pki --link {link} --sender SENDER --receiver RECEIVER` in this directory"
            ),
        ];
        let of_side = |side: &str, access: &Access| -> Vec<String> {
            access.by_hand.iter().map(|words| format!("[{side}.client]: {words}")).collect()
        };
        by_hand.extend(of_side("source", &from_source));
        by_hand.extend(of_side("target", &to_target));
        let begin = |role: &str, side: &str, alias: &str| {
            format!(
                "# {role} of link {link}, from {from}: the flow {} of MirrorMaker 2.\n# Run it near {alias}, the {side}.\n\n",
                flow.name()
            )
        };
        let mut sender = begin("Sender", "source", &flow.source);
        write_sender(&mut sender, &link, flow, &source.servers, &from_source)?;
        sender.push_str(&without_counterpart(flow, &source.client));
        let mut receiver = begin("Receiver", "target", &flow.target);
        by_hand.extend(write_receiver(&mut receiver, &link, flow, &target.servers, &to_target));
        receiver.push_str(&without_counterpart(flow, &target.client));
        let file = |name: &str, text| Output { name: name.to_owned(), text, is_secret: false };
        let mut outputs = vec![file(SENDER, sender), file("receiver.toml", receiver)];
        outputs.extend(
            from_source.properties.into_iter().chain(to_target.properties).filter_map(|(_, value)| secret(value)),
        );
        let topic = target.client.get("offset.storage.topic").cloned();
        Ok(Self {
            link,
            source: flow.source.clone(),
            target: target.servers.join(","),
            outputs,
            by_hand,
            offsets_topic: topic.unwrap_or_else(|| format!("mm2-offsets.{}.internal", flow.source)),
            is_exactly_once: target.client.get("exactly.once.source.support").is_some_and(|value| value == "enabled"),
        })
    }
}

fn secret(value: Value) -> Option<Output> {
    match value {
        Value::Secret { file, text: Some(text) } => Some(Output { name: file, text: text + "\n", is_secret: true }),
        _ => None,
    }
}

/// A name of a link has no capitals.
fn link_name(flow: &Flow) -> String {
    let name = format!("{}-to-{}", flow.source, flow.target).to_lowercase();
    name.chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || "._-".contains(letter) { letter } else { '-' })
        .collect()
}

fn write_sender(
    file: &mut String,
    link: &LinkName,
    flow: &Flow,
    servers: &[String],
    access: &Access,
) -> Result<(), String> {
    let topics = patterns("topics", flow.get("topics").unwrap_or(".*"))?;
    let exclude = flow.get("topics.exclude").or_else(|| flow.get("topics.blacklist")).unwrap_or(EXCLUDED);
    let mut exclude = patterns("topics.exclude", exclude)?;
    exclude.extend([HEARTBEATS.to_owned(), format!(".*[.]{HEARTBEATS}")]);
    if renames(flow).is_some() {
        // MirrorMaker 2 knows by the name that a topic came from the target.
        exclude.push(format!("{}.*", literal(&format!("{}{}", flow.target, separator(flow)))));
    }
    exclude.retain(|entry| !topics.contains(entry));
    // Writing into a String cannot fail.
    let _ = writeln!(file, "link = {}\n\n[source]\nbootstrap_servers = {}", quoted(link), array(servers));
    let _ = writeln!(file, "topics = {}", array(&topics));
    let _ = writeln!(file, "# MirrorMaker 2's own topics, and what came from the target, are left out as before.");
    let _ = writeln!(file, "exclude = {}", array(&exclude));
    write_client(file, "source", access);
    let groups = patterns("groups", flow.get("groups").unwrap_or(".*"))?;
    let left_out = flow.get("groups.exclude").or_else(|| flow.get("groups.blacklist")).unwrap_or(GROUPS_EXCLUDED);
    let mut left_out = patterns("groups.exclude", left_out)?;
    left_out.retain(|entry| !groups.contains(entry));
    if flow.is_on("sync.group.offsets.enabled", false) {
        let _ = writeln!(file, "\n[groups]\ninclude = {}\nexclude = {}", array(&groups), array(&left_out));
    } else {
        let _ = writeln!(
            file,
            "\n# `sync.group.offsets.enabled` was off. This commits offsets of groups in the target, translated exactly:"
        );
        let _ = writeln!(file, "# [groups]\n# include = {}\n# exclude = {}", array(&groups), array(&left_out));
    }
    let _ = writeln!(
        file,
        "\n[wan]\n# By hand: where the receiver listens.\nreceiver = \"causeway.{}.example:7443\"",
        host(&flow.target)
    );
    let _ = writeln!(
        file,
        "# The bandwidth that this link may use; without it, what the path has.\n# rate = \"500 Mbit/s\""
    );
    write_tls(file, "sender");
    Ok(())
}

/// Returns what must be done by hand.
fn write_receiver(file: &mut String, link: &LinkName, flow: &Flow, servers: &[String], access: &Access) -> Vec<String> {
    let mut by_hand = Vec::new();
    let _ = writeln!(file, "[target]\nbootstrap_servers = {}", array(servers));
    match flow.get("replication.factor").unwrap_or(REPLICATION_FACTOR) {
        factor if factor.parse::<u16>().is_ok_and(|factor| factor > 0) => {
            let _ = writeln!(file, "replication_factor = {factor}");
        }
        _ => file.push_str("# The replication factor is the cluster's own default.\n"),
    }
    write_client(file, "target", access);
    let _ = writeln!(file, "\n[[links]]\nname = {}", quoted(link));
    let _ = writeln!(
        file,
        "# By hand: the name in the sender's certificate.\nsenders = [\"causeway.{}.example\"]",
        host(&flow.source)
    );
    match renames(flow) {
        Some(rename) => {
            let _ = writeln!(file, "rename = {}", quoted(&rename));
        }
        None if is_identity(flow) => file.push_str("# Topics keep their names, as with IdentityReplicationPolicy.\n"),
        None => {
            file.push_str("# By hand: MirrorMaker 2 named topics by a policy of yours; see `rename`.\n");
            by_hand.push(format!("`links.rename` in receiver.toml: `{POLICY}` is not one of Kafka's"));
        }
    }
    if flow.is_on("sync.topic.configs.enabled", true) {
        file.push_str("# \"all\" is what MirrorMaker 2 does: changes that delete records of the target, too.\n");
        file.push_str("follow_configs = \"safe\"\n");
    }
    if flow.is_on("sync.topic.acls.enabled", true) {
        file.push_str("# MirrorMaker 2 made rules for reading. Here: `acls.follow` at the sender, and\n");
        file.push_str("# follow_acls = \"dry-run\", then look at `causeway acls`\n");
    }
    write_tls(file, "receiver");
    by_hand
}

fn write_client(file: &mut String, side: &str, access: &Access) {
    if access.properties.is_empty() && access.by_hand.is_empty() {
        return;
    }
    let _ = writeln!(file, "\n[{side}.client]");
    for words in &access.by_hand {
        let _ = writeln!(file, "# By hand: {}", plain(words));
    }
    for (name, value) in &access.properties {
        let _ = match value {
            Value::Plain(value) => writeln!(file, "\"{name}\" = {}", quoted(value)),
            Value::Secret { file: secret, .. } => writeln!(file, "\"{name}\" = {{ file = {} }}", quoted(secret)),
        };
    }
}

fn write_tls(file: &mut String, role: &str) {
    let _ = writeln!(
        file,
        "\n[tls]\n# By hand: `causeway pki init` makes them.\nca = \"pki/ca.pem\"\ncertificate = \"pki/{role}.pem\"\nkey = \"pki/{role}.key\""
    );
}

/// The name that a topic has in the target; `None` if it keeps its own, or if it is not known.
fn renames(flow: &Flow) -> Option<String> {
    let is_default = flow.get(POLICY).is_none_or(|class| class.ends_with(".DefaultReplicationPolicy"));
    is_default.then(|| format!("{}{}{{topic}}", flow.source, separator(flow)))
}

fn is_identity(flow: &Flow) -> bool {
    flow.get(POLICY).is_some_and(|class| class.ends_with(".IdentityReplicationPolicy"))
}

fn separator(flow: &Flow) -> &str {
    flow.get("replication.policy.separator").unwrap_or(".")
}

/// The entries of a list of topics or groups, each of which a link can use.
fn patterns(setting: &str, list: &str) -> Result<Vec<String>, String> {
    let entries = words(list).into_iter().filter(|entry| entry != "__.*");
    let checked = entries.map(|entry| match TopicPattern::parse(&entry) {
        Ok(_) => Ok(entry),
        Err(error) => Err(format!("`{setting}`: {error}; write it otherwise in a copy of the file")),
    });
    checked.collect()
}

/// A regular expression that matches this text.
fn literal(text: &str) -> String {
    text.chars().map(|letter| if letter == '.' { "[.]".to_owned() } else { letter.to_string() }).collect()
}

/// A part of a host's name in place of a cluster's alias.
fn host(alias: &str) -> String {
    alias.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' }).collect()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace(char::is_control, " "))
}

fn array(entries: &[String]) -> String {
    let entries: Vec<_> = entries.iter().map(|entry| quoted(entry)).collect();
    format!("[{}]", entries.join(", "))
}

fn plain(words: &str) -> String {
    words.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use kafka::properties::forbidden;
    use service::config::parse;

    use super::super::properties;
    use super::*;

    const TEXT: &str = "clusters = fra, SIN\nfra.bootstrap.servers = f1:9092,f2:9092\nSIN.bootstrap.servers = s1:9092\n\
        fra->SIN.enabled = true\nfra->SIN.topics = orders, bills\\\\..*\nfra->SIN.sync.group.offsets.enabled = true\n\
        fra->SIN.groups = billing\nreplication.factor = 3\ntasks.max = 8\nfra.security.protocol = SASL_SSL\n\
        fra.sasl.mechanism = PLAIN\nfra.sasl.jaas.config = x required username=\"u\" password=\"hunter2\";\n\
        fra.consumer.fetch.max.bytes = 1000\n";

    fn imported(text: &str) -> Imported {
        let mirror = Mirror::of_properties(properties::parse(text).unwrap()).unwrap();
        Imported::new(&mirror, mirror.flow(None).unwrap(), "mm2.properties", None).unwrap()
    }

    fn both(imported: &Imported) -> (sender::config::Config, receiver::config::Config) {
        let text = |name: &str| &imported.outputs.iter().find(|output| output.name == name).unwrap().text;
        let sender = parse(text("sender.toml"), "sender.toml", forbidden).map_err(|error| error.to_string());
        let receiver = parse(text("receiver.toml"), "receiver.toml", forbidden).map_err(|error| error.to_string());
        (sender.unwrap(), receiver.unwrap())
    }

    #[test]
    fn both_files_can_be_used_and_mean_what_the_flow_meant() {
        let imported = imported(TEXT);
        let (sender, receiver) = both(&imported);
        assert_eq!(&*sender.link, "fra-to-sin");
        let filter = sender.source.filter();
        let carried =
            ["orders", "bills.x", "billsx", "heartbeats", "fra.heartbeats", "SIN.orders", "mm2-offsets.SIN.internal"];
        assert_eq!(carried.map(|topic| filter.matches(topic)), [true, true, false, false, false, false, false]);
        assert!(sender.groups.filter().matches("billing"));
        let names = |servers: &[service::config::Address]| servers.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&sender.source.bootstrap_servers), ["f1:9092", "f2:9092"]);
        assert_eq!(names(&receiver.target.bootstrap_servers), ["s1:9092"]);
        let text = |name: &str| imported.outputs.iter().find(|output| output.name == name).unwrap().text.clone();
        for words in
            ["rename = \"fra.{topic}\"", "replication_factor = 3", "name = \"fra-to-sin\"", "follow_configs = \"safe\""]
        {
            assert!(text("receiver.toml").contains(words), "{}", text("receiver.toml"));
        }
        assert_eq!(imported.offsets_topic, "mm2-offsets.fra.internal");
    }

    #[test]
    fn a_secret_is_in_no_file_but_its_own() {
        let imported = imported(TEXT);
        let has: Vec<_> = imported.outputs.iter().filter(|output| output.text.contains("hunter2")).collect();
        let expected = Output { name: "source-sasl.password".into(), text: "hunter2\n".into(), is_secret: true };
        assert_eq!(has, [&expected]);
        assert!(!imported.by_hand.concat().contains("hunter2"));
        assert!(imported.outputs[0].text.contains("\"sasl.password\" = { file = \"source-sasl.password\" }"));
    }

    #[test]
    fn everything_by_default_is_still_usable() {
        let text = "clusters = a, b\na.bootstrap.servers = a:1\nb.bootstrap.servers = b:1\na->b.enabled = true\n";
        let (sender, _) = both(&imported(text));
        let filter = sender.source.filter();
        assert!(filter.matches("anything") && !filter.matches("b.orders") && !filter.matches("x.replica"));
        assert!(sender.groups.include.is_empty(), "MirrorMaker 2 commits no offsets unless told to");
    }

    #[test]
    fn a_policy_of_ones_own_is_left_to_the_operator() {
        let of = |class: &str| imported(&format!("{TEXT}replication.policy.class = {class}\n"));
        let own = of("com.example.Mine");
        both(&own);
        assert!(own.by_hand.iter().any(|words| words.starts_with("`links.rename`")), "{:?}", own.by_hand);
        let identity = of("org.apache.kafka.connect.mirror.IdentityReplicationPolicy");
        assert!(!identity.outputs[1].text.contains("rename ="), "{}", identity.outputs[1].text);
    }

    #[test]
    fn a_pattern_that_only_java_knows_is_named() {
        let settings = properties::parse(&TEXT.replace("topics = orders", "topics = (?=x)orders")).unwrap();
        let mirror = Mirror::of_properties(settings).unwrap();
        let error = Imported::new(&mirror, mirror.flow(None).unwrap(), "f", None).unwrap_err();
        assert!(error.starts_with("`topics`: \"(?=x)orders\" is no regular expression"), "{error}");
    }
}
