//! Topics that a link carries, by the records of its lanes.

use std::collections::HashSet;
use std::sync::Arc;

use wire::halt::HaltReason;
use wire::ids::Position;
use wire::partition::Partition;

use super::known_maps::KnownMaps;
use super::query::Query;
use crate::link::ServedLink;

/// Topics in one question to the lanes, which copy the records.
const ASKED_MAX: usize = 500;

/// Returns those of these source topics that the link writes to their target topics: of partition 0 there is a position,
/// and the target topic is the one that it wrote to. None while not all lanes answer.
pub(crate) async fn carried_topics(link: &Arc<ServedLink>, topics: &[String]) -> HashSet<String> {
    let lanes = link.overview().lanes;
    let rename = link.settings().rename.clone();
    let mut carried = HashSet::new();
    for topics in topics.chunks(ASKED_MAX) {
        let query = |topic: &String| Query::of(Partition::new(topic.as_str(), 0), Position(0));
        let queries: Vec<_> = topics.iter().map(query).collect();
        let Some(known) = KnownMaps::of_lanes(&lanes, &queries).await else { return HashSet::new() };
        for (topic, query) in topics.iter().zip(&queries) {
            let Some(map) = known.of(query) else { continue };
            let halt = map.record.halt.as_ref().and_then(|halt| HaltReason::of(&halt.reason));
            if map.record.target_topic == rename.apply(topic) && halt != Some(HaltReason::TargetReplaced) {
                carried.insert(topic.clone());
            }
        }
    }
    carried
}
