//! Origins of the source's topics. Topics that another link writes to this cluster are not carried further, or records
//! would go round in circles. Sans-IO; [`reading`] reads the state topics that say so.

pub(crate) mod reading;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
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
    /// Links that are promoted: their topics are this cluster's own.
    promoted: HashSet<Arc<str>>,
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

    pub(crate) fn origins(&self) -> TopicOrigins<'_> {
        let mut by_topic: HashMap<&str, Vec<(&Arc<str>, &Origin)>> = HashMap::new();
        for (link, origins) in self.links.iter().filter(|(link, _)| !self.promoted.contains(*link)) {
            for origin in origins.values() {
                by_topic.entry(&origin.target_topic).or_default().push((link, origin));
            }
        }
        for arrivals in by_topic.values_mut() {
            arrivals.sort_unstable_by(|(a, one), (b, two)| (a, &one.clusters).cmp(&(b, &two.clusters)));
        }
        TopicOrigins(by_topic)
    }
}

pub(crate) struct TopicOrigins<'a>(HashMap<&'a str, Vec<(&'a Arc<str>, &'a Origin)>>);

impl TopicOrigins<'_> {
    /// Returns the origin of the topic `name` in the incarnation `id`. An incarnation that no link wrote is this
    /// cluster's own, even if the name is that of a mirrored topic.
    pub(crate) fn of(&self, name: &str, id: TopicId, forward: bool) -> TopicOrigin {
        let same = |origin: &Origin| !origin.target_topic_id.differs(id);
        let arrivals = self.0.get(name).map_or(&[][..], Vec::as_slice);
        let mut arrivals = arrivals.iter().filter(|(_, origin)| same(origin)).peekable();
        let Some((link, _)) = arrivals.peek() else { return TopicOrigin::Own };
        let link = Arc::clone(link);
        let mut clusters: Vec<String> = Vec::new();
        for cluster in arrivals.flat_map(|(_, origin)| &origin.clusters) {
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
    fn topics_of_a_promoted_link_are_this_clusters_own() {
        let mut mirrored = mirrored(&[("ab", "t", HERE, &["T"]), ("cb", "u", HERE, &["T"])]);
        mirrored.handle_entry(&"ab".into(), 0, vec![1, 8], Some(b"promoted")).unwrap();
        let reason =
            |mirrored: &MirroredTopics, topic| mirrored.origins().of(topic, HERE, false).not_carried_reason(Some("T"));
        assert_eq!(reason(&mirrored, "t"), None);
        assert_eq!(reason(&mirrored, "u"), Some(NotCarriedReason::Returns), "another link's");
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
        assert_eq!(reason(&mirrored, "t"), Some(NotCarriedReason::Returns), "its state was made again");
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
            let found = mirrored(entries).origins().of("t", HERE, *forward).not_carried_reason(Some("T"));
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
        assert_eq!(mirrored.origins().of("t", HERE, true).clusters(), ["Z", "A", "C"]);
    }

    #[test]
    fn a_deleted_origin_and_a_forgotten_link_hold_nothing_back() {
        let mut mirrored = mirrored(&[("ab", "t", HERE, &["A"])]);
        mirrored.handle_entry(&"ab".into(), 0, origin::key("t"), None).unwrap();
        assert_eq!(mirrored.origins().of("t", HERE, false), TopicOrigin::Own);
        let mut mirrored = self::mirrored(&[("ab", "t", HERE, &["A"])]);
        mirrored.forget("ab");
        assert_eq!(mirrored.origins().of("t", HERE, false), TopicOrigin::Own);
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
