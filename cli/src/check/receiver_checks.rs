//! Checks of a receiver: the values derived from its settings, and its target cluster.

use std::time::Duration;

use kafka::catalog::{Catalog, ConfigEntry, TopicDescription};
use kafka::{KafkaError, Properties};
use receiver::config::{Config, derived};
use receiver::state;
use receiver::state_topic::{self, Verdict};
use service::format::{bytes, megabits};

use super::Checked;
use super::cluster::Cluster;
use super::findings::Findings;

/// Number of lanes of a link unless its sender configures another.
const LANES: u16 = 8;

impl Checked for Config {
    const CLUSTER: &'static str = "target";

    fn title(&self) -> String {
        "a receiver".to_owned()
    }

    fn derived(&self) -> Vec<(String, String)> {
        let credit = derived::credit_bytes(self);
        let terms = derived::credit_terms(credit, LANES);
        let pool = format!("{}, and a pool of {} ({LANES} lanes)", bytes(terms.reserve), bytes(terms.pool));
        vec![
            ("credit of each link".to_owned(), format!("{}, half of memory over {}", bytes(credit), self.links.len())),
            ("reserve of each lane".to_owned(), pool),
            ("decoding".to_owned(), format!("{}, a quarter of memory", bytes(derived::decode_bytes(self)))),
        ]
    }

    fn rates_at(&self, rtt: Duration) -> String {
        let terms = derived::credit_terms(derived::credit_bytes(self), LANES);
        let rates = derived::rates_allowed(terms, LANES, self.target.transactions_per_second, rtt);
        let all = megabits(rates.all_lanes);
        let one = megabits(rates.one_lane);
        format!("credit allows a link {all}, one hot partition {one}")
    }

    fn check_cluster(&self, findings: &mut Findings, cluster: &Cluster, _properties: &Properties) {
        for link in &self.links {
            let name = state::topic(&link.name);
            let asked = name.clone();
            if let Some(found) = cluster.ask(findings, "state", move |catalog| look_up(catalog, asked)) {
                judge(findings, &name, found);
            }
        }
    }
}

fn look_up(catalog: &dyn Catalog, name: String) -> Result<Option<(TopicDescription, Vec<ConfigEntry>)>, KafkaError> {
    let Some(topic) = catalog.describe(std::slice::from_ref(&name))?.pop() else { return Ok(None) };
    let configs = catalog.configs(&name)?;
    Ok(Some((topic, configs)))
}

fn judge(findings: &mut Findings, name: &str, found: Option<(TopicDescription, Vec<ConfigEntry>)>) {
    let Some((topic, configs)) = found else {
        return findings.ok("state", format!("{name} does not exist: the link's first session creates it"));
    };
    let setting = |name: &str| configs.iter().find(|entry| entry.name == name).map_or("", |entry| &entry.value);
    match state_topic::judge(&topic, &configs) {
        Verdict::Weak(flaw) | Verdict::Refused(flaw) => {
            let set = flaw.set;
            let remedy =
                format!("kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config {set}");
            findings.failed("state", flaw.detail, remedy);
        }
        Verdict::Kept => {
            let insync = setting("min.insync.replicas");
            let lanes = topic.partitions;
            findings.ok("state", format!("{name}: {lanes} lanes, compacted, min.insync.replicas={insync}"));
        }
    }
}
