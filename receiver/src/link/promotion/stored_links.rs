//! What links have stored in one cluster, read without a receiver.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka::admin::KafkaCatalog;
use kafka::catalog::{Bounds, Catalog, Isolation, only};
use kafka::{KafkaError, LiveProperties};
use service::lock::Lock;
use wire::ids::{Offset, Position, TopicId};
use wire::origin;
use wire::returning::PromotedLink;

use super::brought::brought;
use super::facts::lanes_of;
use crate::target::kafka::{KafkaTarget, KafkaTargetConfig};
use crate::target::state::{self, LaneState};
use crate::target::{Extent, StateAccess, Target, TargetError, TargetPartition};
use crate::translate::known_maps::KnownMaps;
use crate::translate::{FirstWritten, Translator};

/// Reader of what links have stored in one cluster.
pub struct StoredLinks {
    catalog: Arc<dyn Catalog>,
    target: Arc<KafkaTarget>,
    translator: Arc<Translator>,
    /// Maps of a promoted link, which are final.
    promoted: Lock<Option<(String, Arc<KnownMaps>)>>,
}

/// A link that does not exist: names have at most 64 characters.
const UNUSED_LINK: &str = "0123456789-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789";

/// First records of links in the partitions that were asked about, where there are any. Error: a sentence that says why it
/// is not known.
pub type FirstRecords = BTreeMap<TargetPartition, Result<Offset, String>>;

impl StoredLinks {
    /// Makes the clients of the cluster of `properties`. Error: a property that librdkafka does not know or accept.
    pub fn new(properties: impl Into<LiveProperties>, client: &str) -> Result<Self, KafkaError> {
        let properties = properties.into();
        let catalog: Arc<dyn Catalog> = Arc::new(KafkaCatalog::start(&properties, client)?);
        let config = KafkaTargetConfig::default();
        let target = Arc::new(KafkaTarget::new(&properties, config, Arc::clone(&catalog), client));
        let translator = Arc::new(Translator::new(Arc::<KafkaTarget>::clone(&target)));
        Ok(Self { catalog, target, translator, promoted: Lock::default() })
    }

    /// Reads what the promoted link `link` brought. Blocks. Error: a sentence.
    pub fn promoted(&self, link: &str) -> Result<PromotedLink, String> {
        let lanes = self.lanes(link, u16::MAX, |_| Ok(Extent::LastStable))?;
        brought(link, lanes.ok_or_else(|| format!("this cluster has no topic {}", state::topic(link)))?)
    }

    /// Returns the positions in the cluster from which the promoted link `link` came, of these positions in this one; `None`
    /// where its map does not have one. Blocks. Error: a sentence.
    pub fn positions_back(
        &self,
        link: &str,
        here: &[(TargetPartition, Position)],
    ) -> Result<Vec<Option<Position>>, String> {
        let maps = self.final_maps(link)?;
        let back = |(at, position): &(TargetPartition, Position)| match maps.of_target(at) {
            Some(map) => self.translator.source_position(link, &*self.catalog, map, *position),
            None => Ok(None),
        };
        here.iter().map(back).collect()
    }

    fn final_maps(&self, link: &str) -> Result<Arc<KnownMaps>, String> {
        let mut promoted = self.promoted.lock();
        if let Some((_, maps)) = promoted.as_ref().filter(|(known, _)| known == link) {
            return Ok(Arc::clone(maps));
        }
        let lanes = self.lanes(link, u16::MAX, |_| Ok(Extent::LastStable))?.unwrap_or_default();
        let is_final = lanes.first().is_some_and(|lane| lane.promoted.is_some());
        let maps = Arc::new(KnownMaps::of_states(lanes));
        if is_final {
            *promoted = Some((link.to_owned(), Arc::clone(&maps)));
        }
        Ok(maps)
    }

    /// Finds the first record that any link wrote at or after a position of each partition, whose topics have these ids, among
    /// all that were committed before the call. Blocks for as long as all blocks of a map need. Error: a sentence.
    pub fn first_written(&self, from: &BTreeMap<TargetPartition, (Position, TopicId)>) -> Result<FirstRecords, String> {
        self.check_rights()?;
        let topics = self.catalog.topics().map_err(|error| error.to_string())?;
        let links: BTreeSet<&str> = topics.iter().filter_map(|topic| origin::link_of(&topic.name)).collect();
        let mut first = FirstRecords::new();
        for link in links {
            let lanes = self.lanes(link, u16::MAX, |at| self.through_the_end(at))?;
            let known = KnownMaps::of_states(lanes.unwrap_or_default());
            for map in known.all() {
                let at = map.record.target();
                let same = |(_, id): &&(Position, TopicId)| !map.record.target_topic_id.differs(*id);
                let Some((from, _)) = from.get(&at).filter(same) else {
                    continue;
                };
                let found = self.translator.first_written(link, &*self.catalog, map, *from);
                let before = first.remove(&at);
                first.extend(nearest(before, found, link).map(|nearest| (at, nearest)));
            }
        }
        Ok(first)
    }

    /// Returns whether a link has stored that it writes to the topic `topic`. Error: a sentence.
    pub fn is_written(&self, topic: &str) -> Result<bool, String> {
        let topics = self.catalog.topics().map_err(|error| error.to_string())?;
        for link in topics.iter().filter_map(|topic| origin::link_of(&topic.name)) {
            let known =
                KnownMaps::of_states(self.lanes(link, u16::MAX, |_| Ok(Extent::LastStable))?.unwrap_or_default());
            if known.all().any(|map| map.record.target_topic == topic) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns whether the link has stored a position of any partition. Error: a sentence.
    pub fn has_begun(&self, link: &str) -> Result<bool, String> {
        let lanes = self.lanes(link, u16::MAX, |_| Ok(Extent::LastStable))?;
        Ok(lanes.unwrap_or_default().iter().any(|lane| !lane.partitions.is_empty()))
    }

    /// Checks that state topics are not hidden: the list of topics leaves out those that one may not describe.
    fn check_rights(&self) -> Result<(), String> {
        match only(self.catalog.describe(&[state::topic(UNUSED_LINK)])) {
            Err(error) if error.is_about_rights() => Err(format!(
                "this user may not describe topics that begin with `__causeway.`: what links have written is not known ({error})"
            )),
            _ => Ok(()),
        }
    }

    fn lanes(
        &self,
        link: &str,
        most: u16,
        extent: impl Fn(&TargetPartition) -> Result<Extent, TargetError>,
    ) -> Result<Option<Vec<LaneState>>, String> {
        let mut states = self.target.states().map_err(|error| error.to_string())?;
        lanes_of(&*self.catalog, link, most, |lane| {
            let at = state::partition(link, lane);
            states.read(&at, extent(&at)?)
        })
    }

    /// Returns the extent with every transaction that has begun: the marker of one in the data may be written before that in
    /// the state.
    fn through_the_end(&self, at: &TargetPartition) -> Result<Extent, TargetError> {
        let Bounds { start, end } = only(self.catalog.bounds(std::slice::from_ref(at), Isolation::Uncommitted))?;
        Ok(if start < end { Extent::Through(Offset(end.0 - 1)) } else { Extent::LastStable })
    }
}

/// Returns the first record of all links, where `found` is that of one more. What one link does not know, no other says.
fn nearest(
    before: Option<Result<Offset, String>>,
    found: Result<FirstWritten, String>,
    link: &str,
) -> Option<Result<Offset, String>> {
    match (before, found) {
        (before, Ok(FirstWritten::Nowhere)) => before,
        (Some(Err(reason)), _) => Some(Err(reason)),
        (_, Err(reason)) => Some(Err(format!("the map of link {link}, which writes there, cannot be read: {reason}"))),
        (_, Ok(FirstWritten::BeforeMap)) => {
            Some(Err(format!("the map of link {link}, which has written there since, does not go back so far")))
        }
        (_, Ok(FirstWritten::Throughout)) => {
            Some(Err(format!("link {link} wrote there before and since: its records are those of another cluster")))
        }
        (Some(Ok(before)), Ok(FirstWritten::At(at))) => Some(Ok(before.min(at))),
        (None, Ok(FirstWritten::At(at))) => Some(Ok(at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_record_counts_unless_one_is_not_known() {
        let at = |offset| FirstWritten::At(Offset(offset));
        let of = |found: &[FirstWritten]| found.iter().fold(None, |before, found| nearest(before, Ok(*found), "back"));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[FirstWritten::Nowhere]), None);
        assert_eq!(of(&[at(90), at(75), FirstWritten::Nowhere]), Some(Ok(Offset(75))));
        for unknown in [[at(90), FirstWritten::BeforeMap], [FirstWritten::Throughout, at(90)]] {
            assert!(of(&unknown).unwrap().unwrap_err().contains("link back"));
        }
    }
}
