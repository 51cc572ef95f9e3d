//! Switch-over of single topics, for migrations in waves: their partitions are halted, and the link carries the others.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::partition::Partition;

use super::quiet::{Obstacle, list};
use super::statement::{PartitionLoss, Statement};
use crate::lane::handle::Command;
use crate::lane::switched_topics::SwitchedTopics;
use crate::link::ServedLink;
use crate::target::promoted::PromotedRecord;
use crate::translate::known_maps::KnownMaps;

/// Time until every partition is halted.
const WITHIN: Duration = Duration::from_secs(40);
/// Time for the sender's first word of the source's ends.
const SAID_WITHIN: Duration = Duration::from_secs(20);
/// Pause between two requests to the lanes.
const PAUSE: Duration = Duration::from_millis(200);

/// Returns the topics that were switched over alone, with every partition that has a position. `None` while not all lanes
/// answer.
pub(crate) async fn switched_over(link: &ServedLink) -> Option<HashSet<String>> {
    let lanes = link.overview().lanes;
    let views = lanes.iter().map(|lane| Arc::clone(&lane.view.lock().needs_action));
    let mut topics: BTreeSet<Arc<str>> = views.flat_map(|view| view.switched_over.clone()).collect();
    if topics.is_empty() {
        return Some(HashSet::new());
    }
    let ends = link.source_ends.newest().unwrap_or_default().ends;
    let sources = ends.keys().filter(|at| topics.contains(&at.topic)).cloned().collect();
    let maps = KnownMaps::of_sources(&lanes, sources).await?;
    for map in maps.all().filter(|map| !map.record.is_switched_over()) {
        topics.remove(&map.key.topic);
    }
    Some(topics.iter().map(ToString::to_string).collect())
}

/// Returns the part of these partitions that a switch-over is about: those of `topics`, or without any, those of all topics
/// but the ones that were switched over alone. A new partition of such a topic has no position.
pub(super) fn due(topics: &BTreeSet<String>, mut partitions: Vec<PartitionLoss>) -> Vec<PartitionLoss> {
    if !topics.is_empty() {
        partitions.retain(|one| topics.contains(&one.topic));
        return partitions;
    }
    let named = |is: &dyn Fn(&PartitionLoss) -> bool| -> BTreeSet<String> {
        partitions.iter().filter(|one| is(one)).map(|one| one.topic.clone()).collect()
    };
    let over = named(&PartitionLoss::is_switched_over);
    let carried = named(&|one| one.carried_to.is_some() && !one.is_switched_over());
    partitions.retain(|one| !over.contains(&one.topic) || carried.contains(&one.topic));
    partitions
}

/// Returns what is in the way of a switch-over of these partitions. Of single topics, those that are switched over already
/// are not waited for. A link whose topics are all switched over has nothing left to wait for.
pub(super) fn obstacle(topics: &BTreeSet<String>, all: usize, mut due: Vec<PartitionLoss>) -> Option<Obstacle> {
    if !topics.is_empty() {
        due.retain(|one| !one.is_switched_over());
    }
    missing(all, &due)
}

/// Returns what of these partitions is not carried, of `all` that the source has: nothing where all others were switched over.
pub(super) fn missing(all: usize, due: &[PartitionLoss]) -> Option<Obstacle> {
    if due.is_empty() && all > 0 { None } else { Obstacle::of(due) }
}

/// Returns whether every partition of these topics is halted so. Error: a sentence, if one of them is not carried.
pub(super) async fn are_switched_over(link: &ServedLink, topics: &BTreeSet<String>) -> Result<bool, String> {
    if let Some(close) = link.promotion.refusal(&link.settings().name) {
        return Err(close.detail);
    }
    let deadline = Instant::now() + SAID_WITHIN;
    while link.source_ends.newest().is_none() && Instant::now() < deadline {
        link.source_ends.ask();
        let _ = tokio::time::timeout(PAUSE, link.source_ends.said()).await;
    }
    let partitions = partitions(link, topics)?;
    Ok(left(link, partitions).await?.is_empty())
}

/// Halts every partition of these topics, and returns once all halts are stored. Error: a sentence; it may be tried again.
pub(super) async fn halt(link: &ServedLink, topics: &BTreeSet<String>, record: &PromotedRecord) -> Result<(), String> {
    let detail = record.topic_sentence();
    let names = topics.iter().map(|topic| topic.as_str().into()).collect();
    let switched = Arc::new(SwitchedTopics { topics: names, detail });
    let deadline = Instant::now() + WITHIN;
    let mut asked = 0;
    loop {
        asked += 1;
        for lane in link.overview().lanes {
            // A full mailbox has room again by the next request.
            let _ = lane.mailbox.push(Command::SwitchOver(Arc::clone(&switched)));
        }
        tokio::time::sleep(PAUSE).await;
        let waits = match left(link, partitions(link, topics)?).await {
            // Partitions that began while the lanes were asked first are halted by the second request.
            Ok(left) if left.is_empty() && asked > 1 => return Ok(()),
            Ok(left) if left.is_empty() => continue,
            Ok(left) => format!("not switched over yet: {}", list(&left)),
            Err(reason) => reason,
        };
        if Instant::now() >= deadline {
            return Err(format!("{waits}; ask again"));
        }
    }
}

/// Returns the partitions that the source has of these topics, and those that are stored.
fn partitions(link: &ServedLink, topics: &BTreeSet<String>) -> Result<Vec<Partition>, String> {
    let newest = link.source_ends.newest().ok_or("the sender has not said the ends of the source lately")?;
    let named: Vec<_> = newest.ends.keys().filter(|at| topics.contains(&*at.topic)).cloned().collect();
    let is_missing = |topic: &&String| !named.iter().any(|at| *at.topic == ***topic);
    let missing: Vec<_> = topics.iter().filter(is_missing).cloned().collect();
    if missing.is_empty() {
        return Ok(named);
    }
    Err(format!(
        "the link does not carry {}: `causeway status --topics` at the sender lists what it carries",
        list(&missing)
    ))
}

/// Returns the names of those partitions whose halt is not stored. One that has no position is left out: it is halted when it
/// is offered.
async fn left(link: &ServedLink, partitions: Vec<Partition>) -> Result<Vec<String>, String> {
    let lanes = link.overview().lanes;
    let maps = KnownMaps::of_sources(&lanes, partitions).await.ok_or("not all lanes of the link are open")?;
    let mut left: Vec<_> =
        maps.all().filter(|map| !map.record.is_switched_over()).map(|map| map.key.to_string()).collect();
    left.sort_unstable();
    if maps.all().next().is_none() {
        return Err("the link has carried nothing of these topics yet".to_owned());
    }
    Ok(left)
}

/// Returns the part of a statement that is about these topics.
pub(super) fn only(mut statement: Statement, topics: &BTreeSet<String>) -> Statement {
    statement.partitions.retain(|one| topics.contains(&one.topic));
    let targets: BTreeSet<_> = statement.partitions.iter().filter_map(|one| one.target_topic.clone()).collect();
    statement.groups.retain(|group| targets.contains(&group.topic));
    statement.topics = topics.iter().cloned().collect();
    statement
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(topic: &str, carried_to: Option<i64>, end: i64, halt: Option<&str>) -> PartitionLoss {
        PartitionLoss {
            topic: topic.to_owned(),
            carried_to,
            source_end: Some(end),
            not_carried: carried_to.map(|to| u64::try_from(end - to).unwrap()),
            in_open_transactions: Some(0),
            halt: halt.map(str::to_owned),
            ..PartitionLoss::default()
        }
    }

    fn names(due: &[PartitionLoss]) -> Vec<&str> {
        due.iter().map(|one| one.topic.as_str()).collect()
    }

    const OVER: Option<&str> = Some("switched-over");

    #[test]
    fn a_topic_that_was_switched_over_holds_up_no_later_switch_over() {
        let whole = BTreeSet::new();
        let late = partition("orders", Some(5), 9, OVER);
        let new = partition("orders", None, 3, None);
        let other = partition("bills", Some(7), 7, None);
        let left = due(&whole, vec![late.clone(), new.clone(), other]);
        assert_eq!((names(&left), obstacle(&whole, 3, left.clone())), (vec!["bills"], None));
        // All topics were moved in waves, one after the other.
        let left = due(&whole, vec![late, new]);
        assert_eq!((names(&left), obstacle(&whole, 2, left.clone())), (vec![], None));
        assert_eq!(obstacle(&whole, 0, Vec::new()), Some(Obstacle::Nothing));
    }

    #[test]
    fn a_topic_that_is_halted_in_part_is_waited_for() {
        let whole = BTreeSet::new();
        let late = partition("orders", Some(5), 9, OVER);
        let left = partition("orders", Some(1), 1, None);
        let both = due(&whole, vec![late.clone(), left.clone()]);
        assert_eq!(both.len(), 2);
        assert!(matches!(obstacle(&whole, 2, both), Some(Obstacle::Halted(_))), "what was written late is named");
        // Asked again, the rest of it is switched over.
        let alone = BTreeSet::from(["orders".to_owned()]);
        let both = due(&alone, vec![late, left, partition("bills", Some(1), 4, None)]);
        assert_eq!((both.len(), obstacle(&alone, 3, both.clone())), (2, None));
    }
}
