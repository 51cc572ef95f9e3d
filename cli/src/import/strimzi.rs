//! Strimzi's `KafkaMirrorMaker2`, of `v1beta2` and of `v1`, as settings of MirrorMaker 2.

use std::collections::BTreeMap;

use yaml_rust2::{Yaml, YamlLoader};

use super::mirror::{Cluster, Flow, Mirror};
use super::properties::Settings;

/// Settings of a mirror, and their names in MirrorMaker 2.
const PATTERNS: [(&str, &str); 6] = [
    ("topicsPattern", "topics"),
    ("topicsExcludePattern", "topics.exclude"),
    ("topicsBlacklistPattern", "topics.exclude"),
    ("groupsPattern", "groups"),
    ("groupsExcludePattern", "groups.exclude"),
    ("groupsBlacklistPattern", "groups.exclude"),
];

/// Kafka Connect's topic of offsets, unless the file names another.
const OFFSETS: &str = "mirrormaker2-cluster-offsets";

/// Reads the document of this kind, among others that the file may have.
pub(super) fn parse(text: &str) -> Result<Mirror, String> {
    let documents = YamlLoader::load_from_str(text).map_err(|error| format!("no YAML: {error}"))?;
    let found = documents.iter().find(|one| one["kind"].as_str() == Some("KafkaMirrorMaker2"));
    let spec = &found.ok_or("it has no document of kind KafkaMirrorMaker2")?["spec"];
    let mut mirror = Mirror::default();
    for one in list(&spec["clusters"]).iter().chain([&spec["target"]]) {
        mirror.add_cluster(one)?;
    }
    for one in list(&spec["mirrors"]) {
        mirror.add_cluster(&one["source"])?;
        let alias = |inside: &Yaml, name: &str| {
            let alias = inside.as_str().or_else(|| one[name].as_str()).map(str::to_owned);
            alias.ok_or_else(|| format!("a mirror has no `{name}`"))
        };
        let source = alias(&one["source"]["alias"], "sourceCluster")?;
        let target = alias(&spec["target"]["alias"], "targetCluster")?;
        let mut settings = Settings::new();
        for connector in ["heartbeatConnector", "checkpointConnector", "sourceConnector"] {
            settings.extend(flat(&one[connector]["config"]));
            if let Some(tasks) = text_of(&one[connector]["tasksMax"]) {
                settings.insert("tasks.max".to_owned(), tasks);
            }
        }
        let patterns =
            PATTERNS.iter().filter_map(|(name, setting)| Some(((*setting).to_owned(), text_of(&one[*name])?)));
        settings.extend(patterns);
        mirror.flows.push(Flow { source, target, settings });
    }
    let named = mirror.flows.iter().flat_map(|flow| [flow.source.clone(), flow.target.clone()]);
    let unknown: Vec<_> = named.filter(|alias| !mirror.clusters.contains_key(alias)).collect();
    if let Some(alias) = unknown.first() {
        return Err(format!("a mirror names the cluster {alias}, which it does not have"));
    }
    for target in mirror.flows.iter().map(|flow| &flow.target) {
        if let Some(cluster) = mirror.clusters.get_mut(target) {
            cluster.client.entry("offset.storage.topic".to_owned()).or_insert_with(|| OFFSETS.to_owned());
        }
    }
    Ok(mirror)
}

impl Mirror {
    /// Adds a cluster, if there is one here.
    fn add_cluster(&mut self, one: &Yaml) -> Result<(), String> {
        if one.is_badvalue() || one.is_null() {
            return Ok(());
        }
        let alias = one["alias"].as_str().ok_or("a cluster has no `alias`")?.to_owned();
        let servers =
            one["bootstrapServers"].as_str().ok_or_else(|| format!("cluster {alias} has no `bootstrapServers`"))?;
        let mut cluster =
            Cluster { servers: super::mirror::words(servers), client: flat(&one["config"]), ..Cluster::default() };
        if let Some(topic) = text_of(&one["offsetStorageTopic"]) {
            cluster.client.insert("offset.storage.topic".to_owned(), topic);
        }
        secure(&mut cluster, one);
        self.clusters.insert(alias, cluster);
        Ok(())
    }
}

/// Adds how a cluster is reached, and what Kubernetes keeps of that.
fn secure(cluster: &mut Cluster, one: &Yaml) {
    let is_tls = !one["tls"].is_badvalue();
    let login = &one["authentication"];
    let kind = login["type"].as_str().unwrap_or_default();
    let mechanism = match kind {
        "scram-sha-512" => Some("SCRAM-SHA-512"),
        "scram-sha-256" => Some("SCRAM-SHA-256"),
        "plain" => Some("PLAIN"),
        _ => None,
    };
    let mut set = |name: &str, value: &str| cluster.client.insert(name.to_owned(), value.to_owned());
    match (is_tls, mechanism.is_some()) {
        (true, true) => set("security.protocol", "SASL_SSL"),
        (true, false) => set("security.protocol", "SSL"),
        (false, true) => set("security.protocol", "SASL_PLAINTEXT"),
        (false, false) => None,
    };
    if let Some(mechanism) = mechanism {
        set("sasl.mechanism", mechanism);
        set("sasl.username", login["username"].as_str().unwrap_or_default());
        let secret = &login["passwordSecret"];
        let name = secret["secretName"].as_str().unwrap_or("?");
        let key = secret["password"].as_str().unwrap_or("?");
        cluster.by_hand.push(format!("the password: it is `{key}` of the Kubernetes secret `{name}`"));
    }
    let authorities =
        list(&one["tls"]["trustedCertificates"]).iter().filter_map(|trusted| trusted["secretName"].as_str());
    for secret in authorities {
        cluster.by_hand.push(format!("the authority: its certificate is in the Kubernetes secret `{secret}`"));
    }
    match kind {
        "" | "scram-sha-512" | "scram-sha-256" | "plain" => {}
        "tls" => {
            let secret = login["certificateAndKey"]["secretName"].as_str().unwrap_or("?");
            let words = format!(
                "`ssl.certificate.location` and `ssl.key.location`: both are in the Kubernetes secret `{secret}`"
            );
            cluster.by_hand.push(words);
        }
        other => cluster.by_hand.push(format!("the authentication of type `{other}`")),
    }
}

fn list(yaml: &Yaml) -> &[Yaml] {
    yaml.as_vec().map_or(&[], Vec::as_slice)
}

/// The settings of a map, whose values are scalars.
fn flat(yaml: &Yaml) -> Settings {
    let entries = yaml.as_hash().into_iter().flatten();
    entries.filter_map(|(name, value)| Some((text_of(name)?, text_of(value)?))).collect::<BTreeMap<_, _>>()
}

/// A scalar as text.
fn text_of(yaml: &Yaml) -> Option<String> {
    match yaml {
        Yaml::String(text) | Yaml::Real(text) => Some(text.clone()),
        Yaml::Integer(number) => Some(number.to_string()),
        Yaml::Boolean(value) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BETA: &str = "
apiVersion: kafka.strimzi.io/v1beta2
kind: KafkaMirrorMaker2
spec:
  connectCluster: sin
  clusters:
    - alias: fra
      bootstrapServers: f1:9093
      tls:
        trustedCertificates: [{secretName: fra-ca, certificate: ca.crt}]
      authentication:
        type: scram-sha-512
        username: mirror
        passwordSecret: {secretName: mirror-user, password: password}
    - alias: sin
      bootstrapServers: s1:9092
      config: {config.storage.replication.factor: 3}
  mirrors:
    - sourceCluster: fra
      targetCluster: sin
      sourceConnector:
        tasksMax: 4
        config:
          replication.factor: 3
          sync.topic.acls.enabled: \"false\"
          replication.policy.class: org.apache.kafka.connect.mirror.IdentityReplicationPolicy
      checkpointConnector:
        config: {sync.group.offsets.enabled: true}
      topicsPattern: orders.*
      groupsPattern: billing
";

    #[test]
    fn both_versions_have_the_same_meaning() {
        let beta = parse(BETA).unwrap();
        let flow = beta.flow(None).unwrap();
        assert_eq!(flow.name(), "fra->sin");
        let expected = [
            ("topics", "orders.*"),
            ("groups", "billing"),
            ("tasks.max", "4"),
            ("replication.factor", "3"),
            ("sync.group.offsets.enabled", "true"),
            ("sync.topic.acls.enabled", "false"),
        ];
        assert!(expected.iter().all(|(name, value)| flow.get(name) == Some(value)), "{flow:?}");
        let fra = &beta.clusters["fra"];
        assert_eq!(fra.client["security.protocol"], "SASL_SSL");
        assert_eq!(fra.client["sasl.username"], "mirror");
        assert!(fra.by_hand.iter().any(|words| words.contains("`password` of the Kubernetes secret `mirror-user`")));
        let v1 = "kind: KafkaMirrorMaker2\nspec:\n  target: {alias: sin, bootstrapServers: s1:9092}\n  mirrors:\n    \
                  - source: {alias: fra, bootstrapServers: f1:9093}\n      topicsPattern: orders.*\n";
        let v1 = parse(v1).unwrap();
        assert_eq!(v1.flow(None).unwrap().name(), "fra->sin");
        assert_eq!(v1.clusters["fra"].servers, ["f1:9093"]);
        assert_eq!(v1.clusters["sin"].client["offset.storage.topic"], "mirrormaker2-cluster-offsets");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |text: &str| parse(text).unwrap_err();
        assert!(error("kind: Kafka\n").contains("no document of kind KafkaMirrorMaker2"));
        assert!(error("a: [").starts_with("no YAML"));
        let lacks = BETA.replace("targetCluster: sin", "targetCluster: par");
        assert!(error(&lacks).contains("names the cluster par"), "{}", error(&lacks));
    }
}
