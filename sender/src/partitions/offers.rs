//! Look-ups of due partitions: the present bounds of each at the source, and the position at which `start` would begin.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use kafka::catalog::{Bounds, Catalog, ConfigEntry, Isolation, TopicDescription, settings_of};
use kafka::{KafkaError, KafkaFault};
use transport::clock;
use wire::control::{Control, Jump, OfferedPartition, TopicConfig};
use wire::halt::HaltReason;
use wire::ids::Position;
use wire::limits::{STRING_MAX, TOPIC_CONFIGS_MAX};
use wire::partition::Partition;
use wire::returning::PromotedLink;

use crate::config::Start;
use crate::partitions::deletions::{Deletions, LookedUp as Log};
use crate::partitions::lane_partitions::SourceTopic;
use crate::partitions::policy::Policies;
use crate::partitions::rounds::{Answer, Request};
use crate::source::discovery::Topics;
use crate::source::promotion::Promotion;

/// Answers of the source about some partitions.
#[derive(Debug, Default)]
pub struct LookedUp {
    /// Messages that announce the topics of the partitions.
    pub announcements: Vec<Control>,
    pub answers: Vec<(Request, Answer)>,
}

type Known<'t> = HashMap<&'t str, &'t SourceTopic>;
/// Answers by name; a name that is not in it was not asked for.
pub(crate) type Found<N, T> = HashMap<N, Result<T, KafkaError>>;

/// Terms of the look-ups of one session.
pub struct LookUp<'a> {
    pub catalog: &'a dyn Catalog,
    pub topics: &'a Topics,
    /// Position at which partitions without a stored one start.
    pub start: Start,
    /// Topics that were announced before.
    pub announced: &'a HashSet<Arc<str>>,
    pub deletions: &'a Deletions,
    /// Policies that the receiver follows by itself; none if it cannot.
    pub policies: &'a Policies,
    /// Promoted link whose topics go back.
    pub promotion: Option<&'a Promotion>,
}

/// Looks partitions up, and announces their topics that were not announced before. Blocks on the source. A partition or
/// topic that it cannot answer for now waits, and the others do not.
pub fn look_up(terms: &LookUp<'_>, requests: Vec<Request>) -> LookedUp {
    let known: Known<'_> = terms.topics.iter().map(|topic| (&*topic.name, topic)).collect();
    let exists = |at: &Partition| known.get(&*at.topic).is_some_and(|topic| at.partition < topic.partitions);
    let (asked, gone): (Vec<_>, Vec<_>) = requests.into_iter().partition(|request| exists(&request.candidate.at));
    let mut found = LookedUp::default();
    found.answers.extend(gone.into_iter().map(|request| (request, Answer::Gone)));
    match offers(terms, &known, &asked, &mut found.announcements) {
        Ok(offers) => {
            let answers = offers.into_iter().map(|offer| offer.map_or_else(Answer::Wait, Answer::Offer));
            found.answers.extend(asked.into_iter().zip(answers));
        }
        Err(error) => {
            found.answers.extend(asked.into_iter().map(|request| (request, Answer::Wait(error.clone()))));
        }
    }
    found
}

fn offers(
    terms: &LookUp<'_>,
    known: &Known<'_>,
    asked: &[Request],
    announcements: &mut Vec<Control>,
) -> Result<Vec<Result<OfferedPartition, KafkaError>>, KafkaError> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let LookUp { catalog, start, deletions, promotion, .. } = *terms;
    // Before anything is offered: what the promoted link brought must not go back.
    let promoted = promotion.map(Promotion::get).transpose()?;
    let unannounced = announce(terms, promoted.as_deref(), known, asked, announcements)?;
    let names: Vec<_> = asked.iter().map(|request| request.candidate.at.clone()).collect();
    let bounds = catalog.bounds(&names, Isolation::Committed)?;
    let mut starts = starts(catalog, asked, start)?;
    let mut young = first_young(catalog, deletions, &names)?;
    let recreated = check_incarnations(catalog, known, asked)?;
    let offer = |(request, bounds): (&Request, Result<Bounds, KafkaError>)| {
        let at = &request.candidate.at;
        let Partition { topic: name, partition } = at;
        let bounds = bounds?;
        for failed in [&unannounced, &recreated] {
            failed.get(name).cloned().unwrap_or(Ok(()))?;
        }
        if let Some(young) = young.remove(at) {
            deletions.handle_looked_up(at, Log { young: young?, end: bounds.end });
        }
        if let Some(reason) = promoted.as_ref().and_then(|promoted| promoted.stranded(at, known[&**name].id)) {
            return Err(KafkaError { doing: format!("way back of {at}"), reason, fault: KafkaFault::Unavailable });
        }
        let returns_at = promoted.as_ref().and_then(|promoted| promoted.begins(at));
        let start = match start {
            _ if returns_at.is_some() => returns_at.unwrap_or(bounds.start),
            // A partition that was discovered later is carried from its start.
            _ if !request.first => bounds.start,
            Start::Earliest | Start::Promotion => bounds.start,
            Start::Latest => bounds.end,
            Start::Timestamp(_) => starts.remove(at).unwrap_or(Ok(bounds.start))?,
        };
        let topic = known[&**name];
        Ok(OfferedPartition {
            slot: request.candidate.slot,
            topic: topic.name.to_string(),
            partition: *partition,
            topic_id: topic.id,
            partitions: topic.partitions,
            log_start: bounds.start,
            log_end: bounds.end,
            start,
            jump: match &request.candidate.lift {
                _ if topic.unsure => Some(Jump::carried_only()),
                lift => lift.as_ref().map(|lift| lift.jump(&bounds)),
            },
        })
    };
    Ok(asked.iter().zip(bounds).map(offer).collect())
}

/// Looks up where the `start` policy begins, if it is a time.
fn starts(catalog: &dyn Catalog, asked: &[Request], start: Start) -> Result<Found<Partition, Position>, KafkaError> {
    let Start::Timestamp(at) = start else { return Ok(HashMap::new()) };
    let first = asked.iter().filter(|request| request.first);
    let names: Vec<_> = first.map(|request| request.candidate.at.clone()).collect();
    let positions = catalog.positions_at(&names, at)?;
    Ok(names.into_iter().zip(positions).collect())
}

/// Looks up, in compacted topics, the first record that is younger than the time for which the topic keeps deletions.
pub(crate) fn first_young(
    catalog: &dyn Catalog,
    deletions: &Deletions,
    partitions: &[Partition],
) -> Result<Found<Partition, Position>, KafkaError> {
    let mut by_time: BTreeMap<i64, Vec<Partition>> = BTreeMap::new();
    for at in partitions {
        if let Some(kept_ms) = deletions.kept_ms(&at.topic) {
            by_time.entry(kept_ms).or_default().push(at.clone());
        }
    }
    let now = clock::unix_millis();
    let mut found = HashMap::new();
    for (kept_ms, partitions) in by_time {
        let positions = catalog.positions_at(&partitions, now.saturating_sub(kept_ms))?;
        found.extend(partitions.into_iter().zip(positions));
    }
    Ok(found)
}

/// Checks that the bounds just looked up are of the topic that the offer names, where a halt is lifted. If the topic was
/// recreated since it was discovered, the jump would go into another log. Discovery sees that within seconds.
fn check_incarnations<'r>(
    catalog: &dyn Catalog,
    known: &Known<'_>,
    asked: &'r [Request],
) -> Result<Found<&'r Arc<str>, ()>, KafkaError> {
    let lifted: BTreeSet<_> = asked
        .iter()
        .filter(|request| request.candidate.lift.is_some())
        .map(|request| &request.candidate.at.topic)
        .collect();
    let names: Vec<_> = lifted.iter().map(|name| name.to_string()).collect();
    let described = catalog.describe(&names)?;
    let check = |(name, found): (&Arc<str>, Result<TopicDescription, KafkaError>)| {
        let now = found?.id;
        let was = known[&**name].id;
        if !was.differs(now) {
            return Ok(());
        }
        let reason = format!("its id was {was}, is {now}: waiting until discovery sees the new topic");
        let doing = format!("offer of the halted topic {name}");
        Err(KafkaError { doing, reason, fault: KafkaFault::Unavailable })
    };
    Ok(lifted.into_iter().zip(described).map(|(name, found)| (name, check((name, found)))).collect())
}

/// Announces the topics of partitions. Returns those whose configuration cannot be read now.
fn announce<'r>(
    terms: &LookUp<'_>,
    promoted: Option<&PromotedLink>,
    known: &Known<'_>,
    asked: &'r [Request],
    announcements: &mut Vec<Control>,
) -> Result<Found<&'r Arc<str>, ()>, KafkaError> {
    let LookUp { catalog, announced, deletions, policies, .. } = *terms;
    // What does not go back yet is announced when it does, with where it begins.
    let is_new =
        |topic: &&Arc<str>| !announced.contains(*topic) && promoted.is_none_or(|promoted| promoted.takes_back(topic));
    let new: BTreeSet<_> = asked.iter().map(|request| &request.candidate.at.topic).filter(is_new).collect();
    let names: Vec<_> = new.iter().map(|name| name.to_string()).collect();
    let configs = if names.is_empty() { Vec::new() } else { catalog.configs(&names)? };
    let mut failed = HashMap::new();
    for (name, configs) in new.into_iter().zip(configs) {
        let entries = match configs {
            Ok(entries) => {
                deletions.handle_settings(name, &settings_of(&entries));
                entries
            }
            Err(error) if matches!(error.fault, KafkaFault::Unauthorized | KafkaFault::UnknownTopic) => {
                tracing::warn!(topic = %name, %error, "could not read the topic's configuration; the target gets defaults");
                Vec::new()
            }
            Err(error) => {
                failed.insert(name, Err(error));
                continue;
            }
        };
        announcements.extend(announcement(known[&**name], entries, policies));
        announcements.extend(promoted.into_iter().flat_map(|promoted| promoted.announcement(name)));
    }
    Ok(failed)
}

/// Returns the messages that announce a topic, `Topic` first. Entries too long for the wire, which no receiver applies, are
/// left out.
fn announcement(topic: &SourceTopic, entries: Vec<ConfigEntry>, policies: &Policies) -> impl Iterator<Item = Control> {
    let configs = entries
        .into_iter()
        .filter(|entry| entry.set_on_topic && entry.name.len() <= STRING_MAX && entry.value.len() <= STRING_MAX)
        .map(|entry| TopicConfig { name: entry.name, value: entry.value })
        .take(TOPIC_CONFIGS_MAX)
        .collect();
    let clusters = topic.origin.clusters().to_vec();
    let policy = policies.skips(&topic.name, HaltReason::RecordRejected);
    let skip = policy.map(|policy| Control::SkipRefused { topic: topic.name.to_string(), policy: policy.to_owned() });
    let topic = Control::Topic { topic: topic.name.to_string(), topic_id: topic.id, configs, clusters };
    [topic].into_iter().chain(skip)
}

#[cfg(test)]
mod tests {
    use testkit::{MemoryCatalog, topic_id};
    use wire::ids::{Epoch, LaneId, Slot, TopicId};

    use super::*;
    use crate::partitions::lane_partitions::Candidate;
    use crate::partitions::resume::{Halt, HaltLift, ResumeAction};
    use crate::source::origins::TopicOrigin;

    const LOG: Bounds = Bounds { start: Position(1), end: Position(3) };

    fn topic(name: &str, id: TopicId) -> SourceTopic {
        SourceTopic { name: name.into(), id, partitions: 1, origin: TopicOrigin::Own, unsure: false }
    }

    fn request(topic: &str, lift: Option<HaltLift>) -> Request {
        let candidate = Candidate { slot: Slot(0), at: Partition::new(topic, 0), lift };
        Request { lane: LaneId(0), epoch: Epoch(1), candidate, first: true }
    }

    fn looked_up(catalog: &dyn Catalog, topics: &Topics, requests: Vec<Request>, start: Start) -> LookedUp {
        let announced = HashSet::new();
        let deletions = Deletions::default();
        let policies = Policies::default();
        let terms = LookUp {
            catalog,
            topics,
            start,
            announced: &announced,
            deletions: &deletions,
            policies: &policies,
            promotion: None,
        };
        look_up(&terms, requests)
    }

    /// Returns the offer of a topic that discovery found with this id.
    fn offer(discovered: TopicId, lift: Option<HaltLift>) -> Answer {
        let source = MemoryCatalog::new("source");
        source.add_partition("orders", LOG);
        let topics = Arc::new(vec![topic("orders", discovered)]);
        let found = looked_up(&source, &topics, vec![request("orders", lift)], Start::Earliest);
        assert_eq!(found.announcements.len(), 1);
        found.answers[0].1.clone()
    }

    #[test]
    fn no_halt_is_lifted_in_a_topic_recreated_since_discovery() {
        let halt = Halt { reason: HaltReason::Truncated.word().to_owned(), position: Position(50) };
        let lift = halt.lift(ResumeAction::Skip, 1, "test").unwrap();
        assert!(matches!(offer(topic_id("orders"), lift.clone()), Answer::Offer(_)));
        let earlier = TopicId([1; 16]);
        let Answer::Wait(refused) = offer(earlier, lift) else { panic!("offered") };
        assert_eq!(refused.fault, KafkaFault::Unavailable);
        assert!(matches!(offer(earlier, None), Answer::Offer(_)), "without a jump the receiver compares");
    }

    #[test]
    fn each_partition_has_its_own_answer() {
        let source = MemoryCatalog::new("source");
        for topic in ["one", "three"] {
            source.add_partition(topic, LOG);
        }
        source.set_leader(&Partition::new("one", 0), false);
        let topics = Arc::new(["deleted", "one", "three"].map(|name| topic(name, TopicId::UNKNOWN)).to_vec());
        for start in [Start::Earliest, Start::Latest, Start::Timestamp(5)] {
            let asked = ["one", "gone", "three", "deleted"].map(|name| request(name, None)).to_vec();
            let found = looked_up(&source, &topics, asked, start);
            let words: Vec<_> = found
                .answers
                .iter()
                .map(|(request, answer)| match answer {
                    Answer::Offer(_) => format!("{}: offered", request.candidate.at.topic),
                    Answer::Wait(error) => format!("{}: {:?}", request.candidate.at.topic, error.fault),
                    Answer::Gone => format!("{}: gone", request.candidate.at.topic),
                })
                .collect();
            assert_eq!(
                words,
                ["gone: gone", "one: Unavailable", "three: offered", "deleted: UnknownTopic"],
                "{start:?}"
            );
        }
    }

    #[test]
    fn a_partition_discovered_later_starts_at_its_log_start() {
        let source = MemoryCatalog::new("source");
        source.add_partition("orders", LOG);
        let topics = Arc::new(vec![topic("orders", topic_id("orders"))]);
        let start = |first| {
            let asked = vec![Request { first, ..request("orders", None) }];
            match looked_up(&source, &topics, asked, Start::Latest).answers.remove(0).1 {
                Answer::Offer(offer) => offer.start,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((start(true), start(false)), (LOG.end, LOG.start));
    }
}
