//! Checks of a receiver: the values derived from its settings, and its target cluster.

use std::path::Path;
use std::time::Duration;

use kafka::catalog::{Catalog, ConfigEntry, TopicDescription, described, only};
use kafka::{KafkaError, KafkaFault, Properties};
use receiver::GroupsStatus;
use receiver::config::{Config, FollowAcls, LinkConfig, derived};
use receiver::state;
use receiver::state_topic::{self, Verdict};
use receiver::status::{LinkStatus, Status};
use service::format::{bytes, megabits};

use super::Checked;
use super::cluster::Cluster;
use super::findings::Findings;
use crate::admin::{self, AdminPort};
use crate::args::AdminOptions;
use crate::exit::Failure;

/// Time for an answer of the running process.
const ANSWER: Duration = Duration::from_secs(5);
/// Number of lanes of a link unless its sender configures another.
const LANES: u16 = 8;

impl Checked for Config {
    const CLUSTER: &'static str = "target";

    fn title(&self) -> String {
        "a receiver".to_owned()
    }

    fn derived(&self) -> Vec<(String, String)> {
        let credit = least_credit(self);
        let terms = derived::credit_terms(credit, LANES);
        let pool = format!("{}, and a pool of {} ({LANES} lanes)", bytes(terms.reserve), bytes(terms.pool));
        vec![
            ("credit of each link".to_owned(), format!("{}, half of its part of memory", bytes(credit))),
            ("reserve of each lane".to_owned(), pool),
            ("decoding".to_owned(), format!("{}, a quarter of memory", bytes(derived::decode_bytes(self.memory)))),
        ]
    }

    fn rates_at(&self, rtt: Duration) -> String {
        let terms = derived::credit_terms(least_credit(self), LANES);
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
            let name = receiver::groups_topic(&link.name);
            let asked = name.clone();
            // A link without groups needs no right to see it.
            let look_up = move |catalog: &dyn Catalog| match look_up(catalog, asked) {
                Err(error) if error.fault == KafkaFault::Unauthorized => Ok(None),
                found => found,
            };
            if let Some(found) = cluster.ask(findings, "groups", look_up) {
                judge_ledger(findings, &name, link, found);
            }
        }
        check_acls(self, findings, cluster);
    }

    fn check_running(&self, findings: &mut Findings, file: &Path) {
        match running(file) {
            Ok(status) => status.links.iter().for_each(|link| {
                judge_settings(findings, link);
                judge_groups(findings, link);
            }),
            Err(failure) => findings.note(
                "settings",
                format!("the settings of topics at both ends are compared while the receiver runs; {failure}"),
            ),
        }
    }
}

/// Tells what is done about access control lists, and whether those of the target can be read.
fn check_acls(config: &Config, findings: &mut Findings, cluster: &Cluster) {
    const WHAT: &str = "acls";
    let following: Vec<_> = config.links.iter().filter(|link| link.follow_acls != FollowAcls::Off).collect();
    let Some(first) = following.first() else {
        return findings.note(WHAT, "off: `links.follow_acls` follows the access control lists of the source");
    };
    let what = match first.follow_acls {
        FollowAcls::DryRun => "only plans them (`causeway acls`)",
        _ => "makes them in the target: it needs Alter on the cluster",
    };
    let what = format!("link {} {what}; {} links follow them", &*first.name, following.len());
    match cluster.ask(findings, WHAT, |catalog| catalog.acls()) {
        None => {}
        Some(Some(rules)) => findings.ok(WHAT, format!("{what}; the target has {} rules", rules.len())),
        Some(None) => findings.failed(
            WHAT,
            format!("the target states no access control lists at all; {what}"),
            "give this receiver Alter on the cluster; a target without an authorizer cannot follow them",
        ),
    }
}

/// The credit of the link that has the least.
fn least_credit(config: &Config) -> u64 {
    config.links.iter().map(|link| derived::credit_bytes(config, link)).min().unwrap_or(0)
}

/// Asks the receiver that runs with `file` for its status.
fn running(file: &Path) -> Result<Status, Failure> {
    let options = AdminOptions { admin: None, config: Some(file.to_owned()), ca: None, token: None };
    let port = AdminPort::new(&options, admin::RECEIVER, ANSWER)?;
    serde_json::from_str(&port.get("status")?).map_err(|error| port.failed(error))
}

/// Judges the settings of a link's topics at both ends, which the receiver compares in a session.
fn judge_settings(findings: &mut Findings, link: &LinkStatus) {
    let name = &link.link;
    if link.failing_settings > 0 {
        let topics = link.failing_settings;
        let remedy = "see its problems in `causeway status`; grant AlterConfigs: docs/security.md#rights";
        findings.failed("settings", format!("link {name}: {topics} target topics cannot follow the source's"), remedy);
    }
    match link.weaker_topics {
        None => findings.note("settings", format!("link {name}: its sender has not announced those of its topics yet")),
        Some(0) => findings.ok("settings", format!("link {name}: no target topic deletes earlier or accepts less")),
        Some(count) => {
            for topic in &link.weaker_settings {
                findings.failed(
                    "settings",
                    format!("link {name}: {topic}"),
                    "set these on the target topic as at the source: docs/troubleshoot.md#weaker-settings",
                );
            }
            if let Some(others) = count.checked_sub(link.weaker_settings.len()).filter(|others| *others > 0) {
                findings.note("settings", format!("link {name}: the same in {others} more topics"));
            }
        }
    }
}

/// Judges whether the target lets a link commit for the groups that its sender has sent: only commits show it.
fn judge_groups(findings: &mut Findings, link: &LinkStatus) {
    let name = &link.link;
    let GroupsStatus { groups, offsets, .. } = &link.consumer_groups;
    let failed = offsets.counts().into_iter().find(|(state, count)| state == "failed" && *count > 0);
    match (groups, failed) {
        (None, _) => {
            findings.note("groups", format!("link {name}: its sender has sent none, so no right to commit is needed"))
        }
        (Some(groups), None) => {
            findings.ok("groups", format!("link {name}: the target refuses no commit for its {groups} groups"));
        }
        (Some(_), Some((_, count))) => {
            let troubles = link.trouble.iter().filter(|trouble| trouble.starts_with("groups: "));
            let reasons: Vec<_> = troubles.map(String::as_str).collect();
            findings.failed(
                "groups",
                format!("link {name}: {count} offsets cannot be committed: {}", reasons.join(", ")),
                "grant `Read` on the groups and the topics: docs/security.md#rights",
            );
        }
    }
}

/// Judges the topic that has what a link has committed for groups, and shows what it names them.
fn judge_ledger(
    findings: &mut Findings,
    name: &str,
    link: &LinkConfig,
    found: Option<(TopicDescription, Vec<ConfigEntry>)>,
) {
    let rule = format!("groups are named \"{}\"", link.rename_groups);
    let Some((topic, configs)) = found else {
        return findings.ok(
            "groups",
            format!("{name} is not there, or cannot be seen: the link's first groups create it; {rule}"),
        );
    };
    let policy = configs.iter().find(|entry| entry.name == "cleanup.policy").map_or("", |entry| &entry.value);
    match (policy, topic.partitions) {
        ("compact", 1) => findings.ok("groups", format!("{name}: compacted; {rule}")),
        (policy, partitions) => findings.failed(
            "groups",
            format!("{name} has {partitions} partitions and cleanup.policy={policy}; it needs one, and compact"),
            format!(
                "kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config cleanup.policy=compact"
            ),
        ),
    }
}

fn look_up(catalog: &dyn Catalog, name: String) -> Result<Option<(TopicDescription, Vec<ConfigEntry>)>, KafkaError> {
    let names = [name];
    let Some(topic) = described(catalog, &names)? else { return Ok(None) };
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
