//! `causeway salvage`: copies what a promoted link never carried, at the cluster that was its source.

mod coordinates;
mod copy;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use kafka::Properties;
use kafka::admin::KafkaCatalog;
use kafka::catalog::{Bounds, Catalog, Isolation};
use receiver::{PartitionLoss, Statement, StoredLinks};
use sender::config::Config;
use serde::Serialize;
use service::format::grouped;
use wire::ids::{Position, TopicId};
use wire::partition::Partition;

use crate::args;
use crate::exit::Failure;
use crate::process::properties;
use crate::role;
use copy::Copier;
use plan::{LeftBehind, Log};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    /// Name of the link.
    link: &'a str,
    /// Ending of the names of the topics that have the copies.
    suffix: &'a str,
    partitions: &'a [LeftBehind],
}

/// Copies what was left behind, or says what it would copy.
pub(crate) fn run(arguments: &args::Salvage) -> Result<(), Failure> {
    let statement = read(&arguments.statement)?;
    if statement.promoted.is_none() && statement.topics.is_empty() && !arguments.dry_run {
        let link = &statement.link;
        return Err(Failure::Config(format!(
            "the statement is of a dry run, and link {link} may carry more: run `causeway failover --link {link} --json`, or this with --dry-run"
        )));
    }
    let config: Config = role::load(&arguments.config)?;
    let properties = properties(&config)?;
    let catalog = KafkaCatalog::start(&properties, "salvage")?;
    check_cluster(&statement, &catalog, &config, &arguments.config)?;
    let mut losses = statement.partitions.clone();
    losses.retain(|loss| arguments.topics.is_empty() || arguments.topics.contains(&loss.topic));
    if let Some(topic) = arguments.topics.iter().find(|topic| losses.iter().all(|loss| loss.topic != **topic)) {
        return Err(Failure::Config(format!("the statement of link {} has no topic {topic}", statement.link)));
    }
    add_unnamed(&mut losses, &catalog)?;
    let links = StoredLinks::new(&properties, "salvage")?;
    let mut partitions = look(&losses, &catalog, &links)?;
    if !arguments.dry_run {
        let copies =
            Copies { link: &statement.link, suffix: &arguments.suffix, properties: &properties, links: &links };
        copies.make(&mut partitions, &catalog)?;
    }
    let report = Report { link: &statement.link, suffix: &arguments.suffix, partitions: &partitions };
    match arguments.json {
        true => println!("{}", serde_json::to_string(&report).map_err(Failure::failed)?),
        false => print!("{}", text(&report)),
    }
    let missing = partitions.iter().filter(|one| one.missing().is_some()).count();
    match missing {
        0 => Ok(()),
        count => Err(Failure::Failed(format!("of {count} partitions not everything is copied; see above"))),
    }
}

fn read(file: &Path) -> Result<Statement, Failure> {
    let read = || match file.as_os_str() == "-" {
        true => {
            let mut text = String::new();
            io::stdin().lock().read_to_string(&mut text)?;
            Ok(text)
        }
        false => std::fs::read_to_string(file),
    };
    let unusable = |error: &dyn std::fmt::Display| {
        let file = file.display();
        Failure::Config(format!("{file}: {error}; it must have what `causeway failover --json` printed"))
    };
    let text: String = read().map_err(|error: io::Error| unusable(&error))?;
    let statement: Statement = serde_json::from_str(&text).map_err(|error| unusable(&error))?;
    let mut named: Vec<_> = statement.partitions.iter().map(|one| (&one.topic, one.partition)).collect();
    named.sort_unstable();
    if named.windows(2).any(|two| two[0] == two[1]) {
        return Err(unusable(&"it names a partition twice"));
    }
    let is_valid = |one: &PartitionLoss| one.partition >= 0 && one.carried_to.is_none_or(|at| at >= 0);
    if !statement.partitions.iter().all(is_valid) {
        return Err(unusable(&"it has a negative number"));
    }
    if statement.link.is_empty() { Err(unusable(&"it names no link")) } else { Ok(statement) }
}

/// Checks that the statement is about this cluster.
fn check_cluster(statement: &Statement, catalog: &dyn Catalog, config: &Config, file: &Path) -> Result<(), Failure> {
    let found = catalog.cluster_id()?;
    let link = &statement.link;
    let file = file.display();
    match &statement.source_cluster {
        Some(source) if *source != found => Err(Failure::Config(format!(
            "link {link} carried from cluster {source}, and `source` in {file} is cluster {found}"
        ))),
        // An earlier version's statement does not name the cluster.
        None if **link != *config.link => {
            Err(Failure::Config(format!("the statement is of link {link}, and {file} of link {}", &*config.link)))
        }
        _ => Ok(()),
    }
}

/// Adds partitions that the link had not heard of when it lost its source.
fn add_unnamed(losses: &mut Vec<PartitionLoss>, catalog: &dyn Catalog) -> Result<(), Failure> {
    let mut stated: BTreeMap<String, i32> = BTreeMap::new();
    for PartitionLoss { topic, partition, .. } in losses.iter() {
        let count = stated.entry(topic.clone()).or_default();
        *count = (*count).max(partition.saturating_add(1));
    }
    let names: Vec<String> = stated.keys().cloned().collect();
    for ((topic, count), found) in stated.into_iter().zip(catalog.describe(&names)?) {
        // One that cannot be described has a problem of its own.
        let partitions = found.map_or(count, |found| found.partitions);
        let new = |partition| PartitionLoss { topic: topic.clone(), partition, ..PartitionLoss::default() };
        losses.extend((count..partitions).map(new));
    }
    Ok(())
}

/// Looks at the logs of the source.
fn look(losses: &[PartitionLoss], catalog: &dyn Catalog, links: &StoredLinks) -> Result<Vec<LeftBehind>, Failure> {
    let at: Vec<Partition> = losses.iter().map(|loss| Partition::new(loss.topic.as_str(), loss.partition)).collect();
    let names: BTreeSet<String> = losses.iter().map(|loss| loss.topic.clone()).collect();
    let names: Vec<String> = names.into_iter().collect();
    let described = catalog.describe(&names)?;
    let ids: BTreeMap<String, Result<TopicId, String>> = names
        .into_iter()
        .zip(described.into_iter().map(|found| found.map(|topic| topic.id).map_err(|error| error.to_string())))
        .collect();
    let stable = catalog.bounds(&at, Isolation::Committed)?;
    let ends = catalog.bounds(&at, Isolation::Uncommitted)?;
    // After the bounds: what a link writes from now on is behind them.
    let from = |(at, loss): (&Partition, &PartitionLoss)| {
        let id = ids.get(&loss.topic).and_then(|id| id.as_ref().ok()).copied().unwrap_or(TopicId::UNKNOWN);
        (at.clone(), (Position(loss.carried_to.unwrap_or(0)), id))
    };
    let from = at.iter().zip(losses).map(from).collect();
    let mut first = links.first_written(&from).map_err(Failure::Failed)?;
    let plans = losses.iter().zip(&at).zip(stable.into_iter().zip(ends)).map(|((loss, at), (stable, all))| {
        let id = ids.get(&loss.topic).cloned().unwrap_or_else(|| Err("the source has not described it".to_owned()));
        let bounds = stable.and_then(|stable| Ok((stable, all?.end))).map_err(|error| error.to_string());
        let log = id.and_then(|id| bounds.map(|(stable, end)| Log { topic_id: shown(id), stable, end }));
        LeftBehind::new(loss, log, first.remove(at))
    });
    Ok(plans.collect())
}

/// Returns an id as a statement has it.
fn shown(id: TopicId) -> String {
    if id == TopicId::UNKNOWN { String::new() } else { id.to_string() }
}

/// What the copies are made of, and where they go.
struct Copies<'a> {
    link: &'a str,
    suffix: &'a str,
    properties: &'a Properties,
    links: &'a StoredLinks,
}

impl Copies<'_> {
    /// Copies all that can be. What fails is the problem of its own partition.
    fn make(&self, partitions: &mut [LeftBehind], catalog: &KafkaCatalog) -> Result<(), Failure> {
        let mut copier = None;
        for one in partitions.iter_mut().filter(|one| one.may_be_copied()) {
            let mut ready = match copier.take() {
                Some(ready) => ready,
                None => Copier::start(self.link, self.properties, catalog.clone())?,
            };
            match self.copy(&mut ready, one) {
                Ok(()) => copier = Some(ready),
                // A producer is of no use after an error.
                Err(failure) => one.problem = Some(failure.to_string()),
            }
        }
        Ok(())
    }

    fn copy(&self, copier: &mut Copier, one: &mut LeftBehind) -> Result<(), Failure> {
        let at = Partition::new(one.topic.as_str(), one.partition);
        let into: Arc<str> = format!("{}{}", one.topic, self.suffix).into();
        if !copier.knows(&into) {
            if self.links.is_written(&into).map_err(Failure::Failed)? {
                return Err(Failure::Failed(format!("a link writes to {into}: choose another --suffix")));
            }
            copier.open(&at.topic, &into)?;
        }
        if let Some(last) = copier.last(&at, &into) {
            *one = std::mem::take(one).behind(last.0.saturating_add(1));
        }
        one.copied = Some(0);
        if one.is_due() {
            eprintln!("copying {at} into {into} ...");
            one.copied = Some(copier.copy(&at, one.bounds(), &into)?);
        }
        Ok(())
    }
}

/// Returns the report for people.
fn text(report: &Report<'_>) -> String {
    let mut page = String::new();
    for one in report.partitions {
        let Bounds { start, end } = one.bounds();
        let into = format!("{}{}/{}", one.topic, report.suffix, one.partition);
        let at = format!("{}/{}", one.topic, one.partition);
        let what = match one.copied {
            Some(copied) => format!("{} records copied into {into}", grouped(copied)),
            None if one.is_due() => {
                format!("{} offsets would be copied into {into}", grouped((end.0 - start.0) as u64))
            }
            None => "nothing copied".to_owned(),
        };
        let missing = one.missing().map(|missing| format!("; problem: {missing}")).unwrap_or_default();
        page.push_str(&format!("{at:<40} offsets {start} to {end}: {what}{missing}\n"));
    }
    let copied: u64 = report.partitions.iter().filter_map(|one| one.copied).sum();
    let touched = report.partitions.iter().filter(|one| one.copied.is_some_and(|copied| copied > 0)).count();
    page.push_str(&format!(
        "link {}: {} records copied, of {touched} of {} partitions\n",
        report.link,
        grouped(copied),
        report.partitions.len()
    ));
    page
}
