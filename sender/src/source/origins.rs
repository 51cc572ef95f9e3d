//! Origins of the source's topics. Topics that another link writes to this cluster are not carried further, or records
//! would go round in circles. Sans-IO; [`reading`] reads the state topics that say so.

pub(crate) mod reading;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use service::names::LinkName;
use wire::ids::TopicId;
use wire::limits::CLUSTERS_MAX;
use wire::origin::{self, Origin, StoredError};

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TopicOrigin {
    /// Producers of this cluster write the topic.
    #[default]
    Own,
    /// A link writes the topic.
    Mirrored {
        link: Arc<str>,
        /// Kafka's ids of the clusters that the topic has passed, the oldest first.
        clusters: Arc<[String]>,
        /// True if the topic is named under `source.forward`.
        forward: bool,
    },
}

wire::words! {
    /// Reason why a topic that matches the filter is not carried.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum NotCarriedReason {
        /// A link writes the topic, and it is not named under `source.forward`.
        Brought = "brought",
        /// The topic has passed the target cluster on its way here.
        Returns = "returns",
        /// The topic has passed more clusters than the format can record.
        TooFar = "too-far",
    }
}

impl TopicOrigin {
    /// The clusters that the topic has passed before this one, the oldest first.
    pub fn clusters(&self) -> &[String] {
        match self {
            Self::Own => &[],
            Self::Mirrored { clusters, .. } => clusters,
        }
    }

    /// Returns why the topic is not carried to the cluster `target`; without a target, to any.
    pub fn not_carried_reason(&self, target: Option<&str>) -> Option<NotCarriedReason> {
        match self {
            Self::Own => None,
            Self::Mirrored { clusters, .. } if clusters.iter().any(|id| Some(&**id) == target) => {
                Some(NotCarriedReason::Returns)
            }
            Self::Mirrored { forward: false, .. } => Some(NotCarriedReason::Brought),
            Self::Mirrored { clusters, .. } if clusters.len() > CLUSTERS_MAX => Some(NotCarriedReason::TooFar),
            Self::Mirrored { .. } => None,
        }
    }
}

/// Topics that links write to this cluster, as far as their state topics were read.
#[derive(Debug, Default)]
pub(crate) struct MirroredTopics {
    links: HashMap<Arc<str>, LinkOrigins>,
    /// Links that are promoted: applications write to their topics.
    promoted: HashSet<Arc<str>>,
}

/// Links whose topics are carried although a link writes or wrote them.
#[derive(Debug, Clone, Default)]
pub struct OtherLinks {
    /// Links whose topics count as this cluster's own.
    pub ignored: Vec<LinkName>,
    /// Promoted link whose topics go back to where they came from, with those that earlier promoted links brought.
    pub promoted: Option<LinkName>,
}

/// Origins that one link has recorded, by partition and key of the record.
type LinkOrigins = HashMap<(i32, Vec<u8>), Origin>;

impl MirroredTopics {
    /// Handles the next entry of a partition of a link's state.
    /// Error: the entry is of a newer version, or damaged: the link's topics are unknown.
    pub(crate) fn handle_entry(
        &mut self,
        link: &Arc<str>,
        partition: i32,
        key: Vec<u8>,
        value: Option<&[u8]>,
    ) -> Result<(), StoredError> {
        if origin::is_promotion(&key) {
            match value {
                Some(_) => self.promoted.insert(Arc::clone(link)),
                None => self.promoted.remove(link),
            };
        }
        if origin::source_topic(&key)?.is_none() {
            return Ok(());
        }
        let origins = self.links.entry(Arc::clone(link)).or_default();
        match value {
            Some(value) => origins.insert((partition, key), origin::decode(value)?),
            None => origins.remove(&(partition, key)),
        };
        Ok(())
    }

    /// Forgets a link whose state is gone or was recreated.
    pub(crate) fn forget(&mut self, link: &str) {
        self.links.remove(link);
        self.promoted.remove(link);
    }

    /// Returns the origins of topics. Those of the promoted link `returning` go back.
    pub(crate) fn origins(&self, returning: Option<&str>) -> TopicOrigins<'_> {
        let mut by_topic: HashMap<&str, Vec<Arrival<'_>>> = HashMap::new();
        for (link, origins) in &self.links {
            let is_promoted = self.promoted.contains(link);
            for origin in origins.values() {
                by_topic.entry(&origin.target_topic).or_default().push(Arrival { link, origin, is_promoted });
            }
        }
        for arrivals in by_topic.values_mut() {
            arrivals.sort_unstable_by(|a, b| (a.link, &a.origin.clusters).cmp(&(b.link, &b.origin.clusters)));
        }
        TopicOrigins { by_topic, returning: returning.map(str::to_owned) }
    }
}

/// Way on which a topic has come.
struct Arrival<'a> {
    link: &'a Arc<str>,
    origin: &'a Origin,
    /// The link writes nothing any more.
    is_promoted: bool,
}

pub(crate) struct TopicOrigins<'a> {
    by_topic: HashMap<&'a str, Vec<Arrival<'a>>>,
    returning: Option<String>,
}

impl TopicOrigins<'_> {
    /// Returns the origin of the topic `name` in the incarnation `id`. An incarnation that no link wrote is this
    /// cluster's own, even if the name is that of a mirrored topic. What promoted links brought alone is carried as the
    /// cluster's own is, but not to the clusters that it has passed: only a link that names the promoted one takes it back.
    pub(crate) fn of(&self, name: &str, id: TopicId, forward: bool) -> TopicOrigin {
        let arrivals = self.by_topic.get(name).map_or(&[][..], Vec::as_slice);
        let same: Vec<_> = arrivals.iter().filter(|arrival| !arrival.origin.target_topic_id.differs(id)).collect();
        let is_returning = |arrival: &&&Arrival<'_>| self.returning.as_deref() == Some(&**arrival.link);
        let goes_back = same.iter().any(|arrival| is_returning(&arrival));
        let is_undone = |arrival: &&&Arrival<'_>| goes_back && (arrival.is_promoted || is_returning(arrival));
        let arrivals: Vec<_> = same.iter().filter(|arrival| !is_undone(arrival)).collect();
        let Some(first) = arrivals.first() else { return TopicOrigin::Own };
        let link = Arc::clone(first.link);
        let forward = forward || arrivals.iter().all(|arrival| arrival.is_promoted);
        let mut clusters: Vec<String> = Vec::new();
        for cluster in arrivals.iter().flat_map(|arrival| &arrival.origin.clusters) {
            if !clusters.contains(cluster) {
                clusters.push(cluster.clone());
            }
        }
        TopicOrigin::Mirrored { link, clusters: clusters.into(), forward }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: TopicId = TopicId([1; 16]);
    const OTHER: TopicId = TopicId([2; 16]);
    /// A link, a topic's name and id, and the clusters it has passed.
    type Entry<'a> = (&'a str, &'a str, TopicId, &'a [&'a str]);

    fn mirrored(entries: &[Entry<'_>]) -> MirroredTopics {
        let mut mirrored = MirroredTopics::default();
        for (partition, &(link, topic, target_topic_id, clusters)) in entries.iter().enumerate() {
            let clusters = clusters.iter().map(|&id| id.to_owned()).collect();
            let record = Origin { target_topic: topic.to_owned(), target_topic_id, clusters };
            let value = origin::encode(&record);
            mirrored.handle_entry(&link.into(), partition as i32, origin::key("t"), Some(&value)).unwrap();
        }
        mirrored
    }

    #[test]
    fn topics_of_a_promoted_link_go_back_by_the_link_that_names_it() {
        let mut mirrored =
            mirrored(&[("ab", "t", HERE, &["T"]), ("cb", "u", HERE, &["T"]), ("ab2", "t", HERE, &["T"])]);
        let promote = |mirrored: &mut MirroredTopics, link: &str| {
            mirrored.handle_entry(&link.into(), 0, vec![1, 8], Some(b"promoted")).unwrap();
        };
        let origin = |mirrored: &MirroredTopics, topic, returning| mirrored.origins(returning).of(topic, HERE, false);
        let reason =
            |mirrored: &MirroredTopics, topic| origin(mirrored, topic, Some("ab")).not_carried_reason(Some("T"));
        promote(&mut mirrored, "ab");
        assert_eq!(reason(&mirrored, "t"), Some(NotCarriedReason::Returns), "another link brings it, too");
        promote(&mut mirrored, "ab2");
        assert_eq!(origin(&mirrored, "t", Some("ab")), TopicOrigin::Own, "both rounds are over");
        assert_eq!(reason(&mirrored, "u"), Some(NotCarriedReason::Returns), "another link's");
        let unnamed = origin(&mirrored, "t", None);
        assert_eq!(unnamed.not_carried_reason(Some("T")), Some(NotCarriedReason::Returns), "its records are there");
        assert_eq!(unnamed.not_carried_reason(Some("C")), None, "applications write it here");
        assert_eq!(unnamed.clusters(), ["T"]);
        mirrored.forget("ab2");
        mirrored.forget("ab");
        mirrored
            .handle_entry(
                &"ab".into(),
                0,
                origin::key("t"),
                Some(&origin::encode(&Origin {
                    target_topic: "t".to_owned(),
                    target_topic_id: HERE,
                    clusters: vec!["T".to_owned()],
                })),
            )
            .unwrap();
        let again = origin(&mirrored, "t", None).not_carried_reason(Some("C"));
        assert_eq!(again, Some(NotCarriedReason::Brought), "its state was made again");
    }

    #[test]
    fn mirrored_topics_are_forwarded_only_if_named_and_never_back() {
        let table: &[(&[Entry<'_>], bool, Option<NotCarriedReason>)] = &[
            (&[], false, None),
            (&[], true, None),
            (&[("ab", "t", HERE, &["A"])], false, Some(NotCarriedReason::Brought)),
            (&[("ab", "t", HERE, &["A"])], true, None),
            (&[("ab", "t", TopicId::UNKNOWN, &["A"])], false, Some(NotCarriedReason::Brought)),
            (&[("ab", "t", OTHER, &["A"])], false, None),
            (&[("ab", "other", HERE, &["A"])], false, None),
            (&[("ab", "t", HERE, &["T"])], false, Some(NotCarriedReason::Returns)),
            (&[("ab", "t", HERE, &["T"])], true, Some(NotCarriedReason::Returns)),
            (&[("ab", "t", HERE, &["T", "A"])], true, Some(NotCarriedReason::Returns)),
            (&[("ab", "t", HERE, &["A", "T"])], true, Some(NotCarriedReason::Returns)),
            (&[("ab", "t", HERE, &["A"]), ("tb", "t", HERE, &["T"])], true, Some(NotCarriedReason::Returns)),
            (&[("ab", "t", HERE, &["A"]), ("tb", "t", OTHER, &["T"])], true, None),
            (&[("ab", "t", HERE, &["A"; CLUSTERS_MAX + 1])], true, None),
        ];
        for (entries, forward, expected) in table {
            let found = mirrored(entries).origins(None).of("t", HERE, *forward).not_carried_reason(Some("T"));
            assert_eq!(found, *expected, "{entries:?}, forward {forward}");
        }
        let far: Vec<String> = (0..=CLUSTERS_MAX).map(|n| n.to_string()).collect();
        let far = TopicOrigin::Mirrored { link: "ab".into(), clusters: far.into(), forward: true };
        assert_eq!(far.not_carried_reason(Some("T")), Some(NotCarriedReason::TooFar));
        assert_eq!(far.not_carried_reason(Some("3")), Some(NotCarriedReason::Returns));
    }

    #[test]
    fn the_clusters_passed_are_listed_in_order() {
        let mirrored = mirrored(&[("ab", "t", HERE, &["Z", "A"]), ("cb", "t", HERE, &["A", "C"])]);
        assert_eq!(mirrored.origins(None).of("t", HERE, true).clusters(), ["Z", "A", "C"]);
    }

    #[test]
    fn a_deleted_origin_and_a_forgotten_link_hold_nothing_back() {
        let mut mirrored = mirrored(&[("ab", "t", HERE, &["A"])]);
        mirrored.handle_entry(&"ab".into(), 0, origin::key("t"), None).unwrap();
        assert_eq!(mirrored.origins(None).of("t", HERE, false), TopicOrigin::Own);
        let mut mirrored = self::mirrored(&[("ab", "t", HERE, &["A"])]);
        mirrored.forget("ab");
        assert_eq!(mirrored.origins(None).of("t", HERE, false), TopicOrigin::Own);
    }

    #[test]
    fn state_of_a_newer_version_is_refused_and_others_are_skipped() {
        let mut mirrored = MirroredTopics::default();
        let link = "ab".into();
        assert_eq!(mirrored.handle_entry(&link, 0, origin::encode(&0u8), Some(b"anything")), Ok(()));
        assert_eq!(mirrored.handle_entry(&link, 0, vec![2, 16], Some(b"")), Err(StoredError::Format(2)));
        assert_eq!(mirrored.handle_entry(&link, 0, origin::key("t"), Some(&[2])), Err(StoredError::Format(2)));
    }
}
