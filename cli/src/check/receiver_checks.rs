//! Checks of a receiver: the values derived from its settings, and its target cluster.

use kafka::KafkaError;
use kafka::catalog::{Catalog, ConfigEntry, TopicDescription, only};
use receiver::config::{Config, derived};
use receiver::state;
use receiver::state_topic::{self, Verdict};
use service::format::{bytes, megabits};
use wire::units::display_duration;

use super::cluster::Cluster;
use super::findings::Findings;
use super::{ROUND_TRIPS, credentials, show_derived as show};
use crate::exit::Failure;
use crate::process::properties;

/// Number of lanes of a link unless its sender configures another.
const LANES: u16 = 8;

pub(super) fn show_derived(config: &Config) {
    let terms = derived::credit_terms(derived::credit_bytes(config), LANES);
    let links = config.links.len();
    let mut lines = vec![
        (
            "credit of each link".to_owned(),
            format!("{}, half of memory over {links}", bytes(derived::credit_bytes(config))),
        ),
        (
            "reserve of each lane".to_owned(),
            format!("{}, and a pool of {} ({LANES} lanes)", bytes(terms.reserve), bytes(terms.pool)),
        ),
        ("decoding".to_owned(), format!("{}, a quarter of memory", bytes(derived::decode_bytes(config)))),
    ];
    for rtt in ROUND_TRIPS {
        let at = display_duration(rtt).to_string();
        let rates = derived::rates_allowed(terms, LANES, config.target.transactions_per_second, rtt);
        let all = megabits(rates.all_lanes);
        let one = megabits(rates.one_lane);
        let words = format!("credit allows a link {all}, one hot partition {one}");
        lines.push((format!("at a {at} round trip"), words));
    }
    show(&lines);
}

pub(super) fn ask(config: &Config) -> Result<Findings, Failure> {
    let mut findings = Findings::default();
    credentials(&mut findings, config);
    let cluster = Cluster::reach(&mut findings, "target", config, &properties(config)?)?;
    let Some(cluster) = cluster else { return Ok(findings) };
    let Some(id) = cluster.ask(&mut findings, "target cluster", |catalog| catalog.cluster_id()) else {
        return Ok(findings);
    };
    findings.ok("target cluster", id);
    for link in &config.links {
        let name = state::topic(&link.name);
        let asked = name.clone();
        if let Some(found) = cluster.ask(&mut findings, "state", move |catalog| look_up(catalog, asked)) {
            judge(&mut findings, &name, found);
        }
    }
    Ok(findings)
}

fn look_up(catalog: &dyn Catalog, name: String) -> Result<Option<(TopicDescription, Vec<ConfigEntry>)>, KafkaError> {
    let names = [name];
    let Some(topic) = state_topic::described(catalog, &names)? else { return Ok(None) };
    let configs = only(catalog.configs(&names))?;
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
