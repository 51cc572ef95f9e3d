//! Alerts and dashboard of `deploy/`, against a real Prometheus that scrapes a real link.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::files::LinkFiles;
use harness::halts;
use harness::journal;
use harness::pair::Pair;
use harness::prometheus::{Programs, Prometheus};
use harness::record::small;
use harness::scratch::Scratch;
use harness::wait::until_ok;
use harness::{topics, verify};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(90);
/// Two scrapes and an evaluation.
const SEEN: Duration = Duration::from_secs(10);

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

#[test]
fn the_alerts_fire_when_their_tests_say_so() -> Result<()> {
    let programs = Programs::get()?;
    let dir = deploy("prometheus");
    let checked = programs.promtool(&["check", "rules", "causeway.rules.yaml"], &dir)?;
    ensure!(checked.contains("rules found"), "{checked}");
    programs.promtool(&["test", "rules", "causeway.rules.test.yaml"], &dir)?;
    let tests = std::fs::read_to_string(dir.join("causeway.rules.test.yaml"))?;
    let rules = std::fs::read_to_string(dir.join("causeway.rules.yaml"))?;
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let fires = format!("- alertname: {alert}\n");
        let rests = format!("alertname: {alert}, eval_time: 45m");
        ensure!(tests.contains(&fires) && tests.contains(&rests), "{alert} has no test of each kind");
    }
    Ok(())
}

#[test]
fn the_file_of_compose_is_what_prometheus_accepts() -> Result<()> {
    let programs = Programs::get()?;
    let scratch = Scratch::new("compose")?;
    let dir = scratch.path();
    std::fs::copy(deploy("compose/prometheus.yml"), dir.join("prometheus.yml"))?;
    std::fs::copy(deploy("prometheus/causeway.rules.yaml"), dir.join("causeway.rules.yaml"))?;
    std::fs::create_dir_all(dir.join("pki/link"))?;
    std::fs::write(dir.join("pki/link/ca.pem"), "")?;
    let without = programs.promtool(&["check", "config", "prometheus.yml"], dir);
    ensure!(without.is_err_and(|error| error.to_string().contains("admin.token")), "the file has no token");
    std::fs::write(dir.join("pki/admin.token"), "")?;
    let checked = programs.promtool(&["check", "config", "prometheus.yml"], dir)?;
    ensure!(checked.contains("1 rule files found"), "{checked}");
    Ok(())
}

/// Returns the titles and the queries of the dashboard's panels.
fn queries() -> Result<Vec<(String, String)>> {
    let board: Value = serde_json::from_str(&std::fs::read_to_string(deploy("grafana/causeway.json"))?)?;
    let mut queries = Vec::new();
    for panel in board["panels"].as_array().context("no panels")? {
        let title = panel["title"].as_str().context("no title")?;
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().with_context(|| format!("{title}: no query"))?;
            queries.push((title.to_owned(), expression.to_owned()));
        }
    }
    Ok(queries)
}

#[test]
fn dashboard_queries_have_data_and_a_halt_raises_its_alert() -> Result<()> {
    let programs = Programs::get()?;
    let pair = Pair::shared()?;
    let link = topics::unique("board");
    let topic = topics::create_unique(&pair.source, "board", 2)?;
    let refused = topics::create_unique(&pair.source, "board-refused", 1)?;
    // The target's topic has a record already: the partition halts.
    topics::create(&pair.target, &refused, 1, &[])?;
    journal::write(&pair.target, &refused, 0, &small(0..1))?;
    let mut files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic, &refused])?;
    files.sender.set("wan", "rate", "\"100Mbit/s\"");
    let (mut receiver, sender) = files.start()?;
    // A session that ended has its place on the dashboard, too.
    sender.admin.wait_until_ready(PATIENCE)?;
    receiver.kill();
    receiver = files.receiver.start()?;
    let jobs = [("causeway-sender", &sender.admin), ("causeway-receiver", &receiver.admin)];
    let prometheus = Prometheus::start(&programs, &jobs, &deploy("prometheus/causeway.rules.yaml"))?;

    let mut expected = journal::write(&pair.source, &topic, 0, &small(0..500))?.written;
    expected.merge(&journal::write(&pair.source, &topic, 1, &small(0..500))?.written);
    journal::write(&pair.source, &refused, 0, &small(0..1))?;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    halts::wait_for(&sender, &refused, 0, "target-not-empty")?;

    let variables = |expression: &str| expression.replace("$link", &link).replace("$__rate_interval", "10s");
    for (title, expression) in queries()? {
        let expression = variables(&expression);
        until_ok(&format!("{title}: data of {expression}"), SEEN, || {
            Ok((!prometheus.query(&expression)?.is_empty()).then_some(()))
        })?;
    }
    until_ok("the alert of the halt", SEEN, || {
        let halted = format!("ALERTS{{alertname=\"CausewayHalted\", alertstate=\"firing\", link=\"{link}\"}}");
        Ok((!prometheus.query(&halted)?.is_empty()).then_some(()))
    })?;
    let firing = prometheus.query("ALERTS{alertstate=\"firing\"}")?;
    let names: BTreeSet<_> = firing.iter().filter_map(|alert| alert["metric"]["alertname"].as_str()).collect();
    ensure!(names == BTreeSet::from(["CausewayHalted"]), "a link that carries raises {names:?}");
    Ok(())
}
