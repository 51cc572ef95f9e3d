//! `causeway failback plan`: what a link that goes back after a promotion will do, before it does it.

mod plan;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use kafka::Properties;
use kafka::admin::KafkaCatalog;
use kafka::catalog::{Bounds, Catalog, Isolation};
use receiver::{OfferedTarget, Provenance, Returning, StoredLinks};
use sender::config::{Config, Start};
use sender::{KafkaStateLog, SourceTopic, TopicLister};
use serde::Serialize;
use service::format::grouped;
use wire::ids::{Position, TopicId};
use wire::partition::Partition;
use wire::returning::PromotedLink;

use crate::args;
use crate::exit::Failure;
use crate::process::properties;
use crate::role;
use plan::{Known, Place, Row};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Plan<'a> {
    /// Name of the link that goes back.
    link: &'a str,
    /// Promoted link that brought the topics.
    promoted_link: &'a str,
    /// Kafka's id of the cluster from which they came.
    cluster: &'a str,
    partitions: Vec<Row>,
    /// Topics that the promoted link brought, and that the filter leaves out or the source does not have.
    left_out: Vec<&'a str>,
}

/// Target cluster of the way back.
struct Target {
    catalog: KafkaCatalog,
    cluster: String,
    properties: Properties,
    config: receiver::config::Config,
}

/// Prints what will happen to each partition.
pub(crate) fn run(arguments: &args::FailbackPlan) -> Result<(), Failure> {
    let config: Config = role::load(&arguments.config)?;
    let file = arguments.config.display();
    let (Some(promoted_link), Start::Promotion) = (&config.source.promoted_link, config.source.start) else {
        return Err(Failure::Config(format!(
            "{file} is not of a link that goes back: set `start = \"promotion\"` and `promoted_link` in [source]"
        )));
    };
    let properties = properties(&config)?;
    let promoted = StoredLinks::new(&properties, "failback")?.promoted(promoted_link).map_err(Failure::Failed)?;
    let catalog = KafkaCatalog::start(&properties, "failback")?;
    let target = arguments.receiver_config.as_deref().map(Target::new).transpose()?;
    let mut lister = TopicLister::new(Arc::new(KafkaStateLog::new(&properties, &config.link)));
    if let Some(target) = &target {
        let links = StoredLinks::new(&target.properties, "failback")?;
        if links.has_begun(&config.link).map_err(Failure::Failed)? {
            let link = &*config.link;
            return Err(Failure::Failed(format!(
                "link {link} has begun to go back: see `causeway status` and `causeway jumps`"
            )));
        }
    }
    let found = lister.list(&catalog, &config.source.filter(), &config.source.other_links())?;
    let carried = |topic: &&SourceTopic| topic.origin.not_carried_reason(Some(&promoted.cluster)).is_none();
    let topics: Vec<&SourceTopic> = found.topics.iter().filter(carried).collect();
    let known = look(&topics, &promoted, &catalog, target.as_ref(), &config.link)?;
    let partitions: Vec<Row> = known.iter().map(Row::new).collect();
    let is_left_out = |name: &&str| topics.iter().all(|topic| *topic.name != **name);
    let left_out = promoted.topics.keys().map(String::as_str).filter(is_left_out).collect();
    let plan = Plan { link: &config.link, promoted_link, cluster: &promoted.cluster, partitions, left_out };
    match arguments.json {
        true => println!("{}", serde_json::to_string(&plan).map_err(Failure::failed)?),
        false => print!("{}", text(&plan, target.is_some())),
    }
    match plan.partitions.iter().filter(|row| !row.is_carried()).count() {
        0 if plan.partitions.is_empty() => {
            Err(Failure::Failed("no topic would be carried: see `source.topics`".to_owned()))
        }
        0 => Ok(()),
        count => Err(Failure::Failed(format!("{count} partitions would not be carried; see above"))),
    }
}

impl Target {
    fn new(file: &Path) -> Result<Self, Failure> {
        let config: receiver::config::Config = role::load(file)?;
        let properties = properties(&config)?;
        let catalog = KafkaCatalog::start(&properties, "failback")?;
        let cluster = catalog.cluster_id()?;
        Ok(Self { catalog, cluster, properties, config })
    }

    /// Looks at the target partitions of these source partitions, in their order. Error: a sentence.
    fn places(&self, link: &str, sources: &[Partition]) -> Result<Vec<Place>, Failure> {
        let found = self.config.links.iter().find(|found| &*found.name == link);
        let rename = &found.ok_or_else(|| Failure::Config(format!("the receiver's file has no link {link}")))?.rename;
        let at = sources.iter().map(|source| Partition::new(rename.apply(&source.topic), source.partition));
        let at: Vec<Partition> = at.collect();
        let mut names: Vec<String> = at.iter().map(|at| at.topic.to_string()).collect();
        names.dedup();
        let described = self.catalog.describe(&names)?;
        let described: HashMap<String, _> = names.into_iter().zip(described).collect();
        let bounds = self.catalog.bounds(&at, Isolation::Uncommitted)?;
        let place = |(at, bounds): (Partition, Result<Bounds, kafka::KafkaError>)| match described.get(&*at.topic) {
            Some(Ok(topic)) if at.partition < topic.partitions => match bounds {
                Ok(bounds) => Place::Found(offered(at, topic.id, bounds.end)),
                Err(error) => Place::Unknown(error.to_string()),
            },
            Some(Err(error)) if !error.is_unknown_topic() => Place::Unknown(error.to_string()),
            _ => Place::Missing,
        };
        Ok(at.into_iter().zip(bounds).map(place).collect())
    }
}

fn offered(partition: Partition, topic_id: TopicId, end: Position) -> OfferedTarget {
    OfferedTarget { partition, topic_id, end, clusters: Arc::new([]) }
}

/// Looks at each partition of the topics that go back, on both sides.
fn look(
    topics: &[&SourceTopic],
    promoted: &PromotedLink,
    catalog: &dyn Catalog,
    target: Option<&Target>,
    link: &str,
) -> Result<Vec<Known>, Failure> {
    let of_topic = |topic: &SourceTopic| {
        let name = Arc::clone(&topic.name);
        (0..topic.partitions).map(move |partition| Partition::new(Arc::clone(&name), partition))
    };
    let at: Vec<(TopicId, Partition)> =
        topics.iter().flat_map(|topic| of_topic(topic).map(|at| (topic.id, at))).collect();
    let sources: Vec<Partition> = at.iter().map(|(_, at)| at.clone()).collect();
    let logs = catalog.bounds(&sources, Isolation::Committed)?;
    let ends = catalog.bounds(&sources, Isolation::Uncommitted)?;
    let places = match target {
        Some(target) => target.places(link, &sources)?,
        None => vec![Place::NotLooked; sources.len()],
    };
    let known =
        at.into_iter().zip(logs.into_iter().zip(ends)).zip(places).map(|(((id, at), (log, end)), place)| Known {
            topic: at.topic.to_string(),
            partition: at.partition,
            end: end.as_ref().map_or(Position(0), |end| end.end),
            log: log.and_then(|log| end.map(|_| log)).map_err(|error| error.to_string()),
            returning: returning(promoted, &at),
            stranded: promoted.stranded(&at, id),
            target: place,
            target_cluster: target.map(|target| target.cluster.clone()),
        });
    Ok(known.collect())
}

fn returning(promoted: &PromotedLink, at: &Partition) -> Option<Returning> {
    let topic = promoted.topics.get(&*at.topic)?;
    let one = topic.partitions.iter().find(|one| one.partition == at.partition)?;
    let from = Provenance {
        link: promoted.link.clone(),
        cluster: promoted.cluster.clone(),
        topic: topic.from.clone(),
        topic_id: topic.from_id,
    };
    Some(Returning { from: Arc::new(from), begins: one.begins, common: one.common })
}

/// Returns the plan for people.
fn text(plan: &Plan<'_>, is_complete: bool) -> String {
    let Plan { link, promoted_link, cluster, partitions, left_out } = plan;
    let mut page = format!("link {link} would go back to cluster {cluster}, from which {promoted_link} came\n");
    if !is_complete {
        page.push_str("the target was not looked at: give --receiver-config, with access to that cluster\n");
    }
    let number = |value: Option<u64>| value.map_or_else(|| "unknown".to_owned(), grouped);
    let offset = |value: Option<i64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    page.push_str(&format!(
        "\n{:<40} {:>10} {:>12} {:>10} {:>14} {:>14}\n",
        "partition", "outcome", "from offset", "to carry", "behind target", "never carried"
    ));
    for row in partitions {
        page.push_str(&format!(
            "{:<40} {:>10} {:>12} {:>10} {:>14} {:>14}{}\n",
            format!("{}/{}", row.topic, row.partition),
            row.outcome.map_or("unknown", |outcome| outcome.word()),
            offset(row.begins),
            if row.is_carried() { number(row.to_carry) } else { "-".to_owned() },
            offset(row.common),
            if row.common.is_some() { number(row.never_carried) } else { "-".to_owned() },
            row.detail.as_ref().map(|detail| format!("  {detail}")).unwrap_or_default(),
        ));
    }
    let carried = partitions.iter().filter(|row| row.is_carried()).count();
    page.push_str(&format!("\n{carried} of {} partitions would be carried\n", partitions.len()));
    if !left_out.is_empty() {
        page.push_str(&format!("left out by `source.topics`, or gone: {}\n", left_out.join(", ")));
    }
    page
}
