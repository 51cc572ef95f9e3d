//! What MirrorMaker 2 does, from its `mm2.properties` or from Strimzi's `KafkaMirrorMaker2`.

use std::collections::{BTreeMap, BTreeSet};

use super::properties::Settings;

/// Clusters and the flows between them.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Mirror {
    pub(super) clusters: BTreeMap<String, Cluster>,
    pub(super) flows: Vec<Flow>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Cluster {
    pub(super) servers: Vec<String>,
    /// Settings of its Java clients.
    pub(super) client: Settings,
    /// What the file does not have, such as secrets that Kubernetes keeps.
    pub(super) by_hand: Vec<String>,
}

/// One direction.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Flow {
    pub(super) source: String,
    pub(super) target: String,
    pub(super) settings: Settings,
}

impl Flow {
    /// Its name, as MirrorMaker 2 writes it.
    pub(super) fn name(&self) -> String {
        format!("{}->{}", self.source, self.target)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// Returns whether a switch of MirrorMaker 2 is on, which has this default.
    pub(super) fn is_on(&self, name: &str, default: bool) -> bool {
        self.get(name).map_or(default, |value| value.eq_ignore_ascii_case("true"))
    }
}

impl Mirror {
    /// Takes the settings of an `mm2.properties`.
    pub(super) fn of_properties(all: Settings) -> Result<Self, String> {
        let aliases: BTreeSet<String> =
            all.get("clusters").map(|list| words(list)).unwrap_or_default().into_iter().collect();
        if aliases.is_empty() {
            return Err("it has no `clusters`: it is no mm2.properties".to_owned());
        }
        let shared: Settings = all
            .iter()
            .filter(|(name, _)| *name != "clusters" && !name.contains("->") && !has_alias(name, &aliases))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let mut clusters = BTreeMap::new();
        for alias in &aliases {
            let mut client: Settings = shared.clone();
            client.extend(below(&all, &format!("{alias}.")));
            let servers = words(&client.remove("bootstrap.servers").unwrap_or_default());
            if servers.is_empty() {
                return Err(format!("`{alias}.bootstrap.servers` is missing"));
            }
            clusters.insert(alias.clone(), Cluster { servers, client, by_hand: Vec::new() });
        }
        let mut flows = Vec::new();
        for (source, target) in aliases.iter().flat_map(|source| aliases.iter().map(move |target| (source, target))) {
            let mut settings = shared.clone();
            settings.extend(below(&all, &format!("{source}->{target}.")));
            let flow = Flow { source: source.clone(), target: target.clone(), settings };
            if source != target && flow.is_on("enabled", false) {
                flows.push(flow);
            }
        }
        Ok(Self { clusters, flows })
    }

    /// Returns the flow of this name, or the only one.
    pub(super) fn flow(&self, name: Option<&str>) -> Result<&Flow, String> {
        let names: Vec<_> = self.flows.iter().map(Flow::name).collect();
        match (name, &*self.flows) {
            (_, []) => Err("no flow is enabled in it".to_owned()),
            (None, [flow]) => Ok(flow),
            (None, _) => Err(format!("it has several flows: choose one with --flow, of {}", names.join(", "))),
            (Some(name), flows) => {
                let found = flows.iter().find(|flow| flow.name() == name.replace(' ', ""));
                found.ok_or_else(|| format!("it has no flow {name}; enabled are {}", names.join(", ")))
            }
        }
    }
}

/// The entries of a list: separated by commas, as MirrorMaker 2 reads it.
pub(super) fn words(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn has_alias(name: &str, aliases: &BTreeSet<String>) -> bool {
    aliases.iter().any(|alias| name.strip_prefix(alias.as_str()).is_some_and(|rest| rest.starts_with('.')))
}

/// The settings whose names begin with `prefix`, without it.
fn below(all: &Settings, prefix: &str) -> Settings {
    let below = all.iter().filter_map(|(name, value)| Some((name.strip_prefix(prefix)?.to_owned(), value.clone())));
    below.collect()
}

#[cfg(test)]
mod tests {
    use super::super::properties;
    use super::*;

    fn mirror(text: &str) -> Result<Mirror, String> {
        Mirror::of_properties(properties::parse(text).unwrap())
    }

    const TEXT: &str = "clusters = fra, sin\nfra.bootstrap.servers = f1:9092, f2:9092\nsin.bootstrap.servers = s1:9092\n\
                        fra->sin.enabled = true\nfra->sin.topics = orders, bills.*\nreplication.factor = 3\n\
                        sin.replication.factor = 2\n";

    #[test]
    fn what_has_no_prefix_is_of_all_and_the_own_goes_first() {
        let mirror = mirror(TEXT).unwrap();
        assert_eq!(mirror.clusters["fra"].servers, ["f1:9092", "f2:9092"]);
        assert_eq!(mirror.clusters["sin"].client["replication.factor"], "2");
        let flow = mirror.flow(None).unwrap();
        assert_eq!((flow.name().as_str(), flow.get("topics")), ("fra->sin", Some("orders, bills.*")));
        assert_eq!(flow.get("replication.factor"), Some("3"));
    }

    #[test]
    fn of_several_flows_one_is_chosen() {
        let both = mirror(&format!("{TEXT}sin->fra.enabled=TRUE\n")).unwrap();
        assert_eq!(both.flow(None).unwrap_err(), "it has several flows: choose one with --flow, of fra->sin, sin->fra");
        assert_eq!(both.flow(Some("sin->fra")).unwrap().target, "fra");
        assert!(both.flow(Some("sin->par")).unwrap_err().contains("enabled are fra->sin, sin->fra"));
        let none = mirror(&TEXT.replace("enabled = true", "enabled = false")).unwrap();
        assert_eq!(none.flow(None).unwrap_err(), "no flow is enabled in it");
    }

    #[test]
    fn another_file_is_refused() {
        assert!(mirror("link = \"a\"\n").unwrap_err().contains("no mm2.properties"));
        assert!(mirror("clusters = a, b\n").unwrap_err().contains("`a.bootstrap.servers` is missing"));
    }
}
