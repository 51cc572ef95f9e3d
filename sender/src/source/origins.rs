//! Where the source's topics come from: those that links brought to this cluster are not carried on, or
//! records would go round in circles. Sans-IO; [`reading`] fetches what it decides from.

pub mod reading;

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wire::ids::TopicId;
use wire::limits::CLUSTERS_MAX;
use wire::origin::{self, Origin, StoredError};

/// How a topic came to be in the source cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Passage {
    /// No link brought it.
    #[default]
    Own,
    /// A link brought it.
    Brought {
        /// Which one.
        link: Arc<str>,
        /// Kafka's ids of the clusters it has passed, the oldest first.
        clusters: Arc<[String]>,
        /// Whether it is named under `forward`.
        forward: bool,
    },
}

/// Why a topic that matches is not carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Withheld {
    /// A link brought it, and it is not named under `forward`.
    Brought,
    /// It has passed the target cluster on its way here.
    Returns,
    /// It has passed more clusters than the format can say.
    TooFar,
}

impl Withheld {
    /// Every reason.
    pub const ALL: &[Self] = &[Self::Brought, Self::Returns, Self::TooFar];

    /// The word in metrics and in `status`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Brought => "brought",
            Self::Returns => "returns",
            Self::TooFar => "too-far",
        }
    }
}

impl Passage {
    /// The clusters it has passed before this one, the oldest first.
    pub fn clusters(&self) -> &[String] {
        match self {
            Self::Own => &[],
            Self::Brought { clusters, .. } => clusters,
        }
    }

    /// Why the topic is not carried to the cluster `target`, if it is not. Where the target is not known yet,
    /// only what holds for any.
    pub fn withheld(&self, target: Option<&str>) -> Option<Withheld> {
        match self {
            Self::Own => None,
            Self::Brought { clusters, .. } if clusters.iter().any(|id| Some(&**id) == target) => {
                Some(Withheld::Returns)
            }
            Self::Brought { forward: false, .. } => Some(Withheld::Brought),
            Self::Brought { clusters, .. } if clusters.len() > CLUSTERS_MAX => Some(Withheld::TooFar),
            Self::Brought { .. } => None,
        }
    }
}

/// What links have brought to this cluster, as far as their state topics were read.
#[derive(Debug, Default)]
pub struct Brought {
    links: HashMap<Arc<str>, Origins>,
}

/// A link's, by the partition and key each stands under.
type Origins = HashMap<(i32, Vec<u8>), Origin>;

impl Brought {
    /// The next entry of a partition of a link's state.
    ///
    /// # Errors
    /// The entry is of a newer version, or damaged: nobody can tell what the link brings.
    pub fn handle_entry(
        &mut self,
        link: &Arc<str>,
        partition: i32,
        key: Vec<u8>,
        value: Option<&[u8]>,
    ) -> Result<(), StoredError> {
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

    /// A link's state is gone, or begins anew.
    pub fn forget(&mut self, link: &str) {
        self.links.remove(link);
    }

    /// Every topic brought, by its name here, for [`Passages::of`].
    pub fn passages(&self) -> Passages<'_> {
        let mut by_topic: HashMap<&str, Vec<(&Arc<str>, &Origin)>> = HashMap::new();
        for (link, origins) in &self.links {
            for origin in origins.values() {
                by_topic.entry(&origin.target_topic).or_default().push((link, origin));
            }
        }
        for arrivals in by_topic.values_mut() {
            arrivals.sort_unstable_by(|(a, one), (b, two)| (a, &one.clusters).cmp(&(b, &two.clusters)));
        }
        Passages(by_topic)
    }
}

/// Everything that links have brought, by topic.
pub struct Passages<'a>(HashMap<&'a str, Vec<(&'a Arc<str>, &'a Origin)>>);

impl Passages<'_> {
    /// How the topic `name`, now of incarnation `id`, came here. An incarnation that a link did not write is
    /// this cluster's own, whatever name it has.
    pub fn of(&self, name: &str, id: TopicId, forward: bool) -> Passage {
        let same = |origin: &Origin| {
            let theirs = origin.target_topic_id;
            theirs == id || theirs == TopicId::UNKNOWN || id == TopicId::UNKNOWN
        };
        let arrivals = self.0.get(name).map_or(&[][..], Vec::as_slice);
        let mut arrivals = arrivals.iter().filter(|(_, origin)| same(origin)).peekable();
        let Some((link, _)) = arrivals.peek() else { return Passage::Own };
        let link = Arc::clone(link);
        let mut clusters: Vec<String> = Vec::new();
        for cluster in arrivals.flat_map(|(_, origin)| &origin.clusters) {
            if !clusters.contains(cluster) {
                clusters.push(cluster.clone());
            }
        }
        Passage::Brought { link, clusters: clusters.into(), forward }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: TopicId = TopicId([1; 16]);
    const OTHER: TopicId = TopicId([2; 16]);

    /// A link, a topic's name and id, and the clusters it has passed.
    type Entry<'a> = (&'a str, &'a str, TopicId, &'a [&'a str]);

    fn brought(entries: &[Entry<'_>]) -> Brought {
        let mut brought = Brought::default();
        for (partition, &(link, topic, target_topic_id, clusters)) in entries.iter().enumerate() {
            let clusters = clusters.iter().map(|&id| id.to_owned()).collect();
            let record = Origin { target_topic: topic.to_owned(), target_topic_id, clusters };
            let value = origin::encode(&record);
            brought.handle_entry(&link.into(), partition as i32, origin::key("t"), Some(&value)).unwrap();
        }
        brought
    }

    #[test]
    fn what_a_link_brought_goes_on_only_if_named_and_never_back() {
        let table: &[(&[Entry<'_>], bool, Option<Withheld>)] = &[
            (&[], false, None),
            (&[], true, None),
            (&[("ab", "t", HERE, &["A"])], false, Some(Withheld::Brought)),
            (&[("ab", "t", HERE, &["A"])], true, None),
            (&[("ab", "t", TopicId::UNKNOWN, &["A"])], false, Some(Withheld::Brought)),
            (&[("ab", "t", OTHER, &["A"])], false, None),
            (&[("ab", "other", HERE, &["A"])], false, None),
            (&[("ab", "t", HERE, &["T"])], false, Some(Withheld::Returns)),
            (&[("ab", "t", HERE, &["T"])], true, Some(Withheld::Returns)),
            (&[("ab", "t", HERE, &["T", "A"])], true, Some(Withheld::Returns)),
            (&[("ab", "t", HERE, &["A", "T"])], true, Some(Withheld::Returns)),
            (&[("ab", "t", HERE, &["A"]), ("tb", "t", HERE, &["T"])], true, Some(Withheld::Returns)),
            (&[("ab", "t", HERE, &["A"]), ("tb", "t", OTHER, &["T"])], true, None),
            (&[("ab", "t", HERE, &["A"; CLUSTERS_MAX + 1])], true, None),
        ];
        for (entries, forward, expected) in table {
            let found = brought(entries).passages().of("t", HERE, *forward).withheld(Some("T"));
            assert_eq!(found, *expected, "{entries:?}, forward {forward}");
        }
        let far: Vec<String> = (0..=CLUSTERS_MAX).map(|n| n.to_string()).collect();
        let far = Passage::Brought { link: "ab".into(), clusters: far.into(), forward: true };
        assert_eq!(far.withheld(Some("T")), Some(Withheld::TooFar));
        assert_eq!(far.withheld(Some("3")), Some(Withheld::Returns));
    }

    #[test]
    fn the_clusters_passed_are_told_to_the_next_one_in_order() {
        let brought = brought(&[("ab", "t", HERE, &["Z", "A"]), ("cb", "t", HERE, &["A", "C"])]);
        assert_eq!(brought.passages().of("t", HERE, true).clusters(), ["Z", "A", "C"]);
    }

    #[test]
    fn a_link_that_is_gone_and_an_origin_that_is_deleted_hold_nothing_back() {
        let mut brought = brought(&[("ab", "t", HERE, &["A"])]);
        brought.handle_entry(&"ab".into(), 0, origin::key("t"), None).unwrap();
        assert_eq!(brought.passages().of("t", HERE, false), Passage::Own);
        let mut brought = self::brought(&[("ab", "t", HERE, &["A"])]);
        brought.forget("ab");
        assert_eq!(brought.passages().of("t", HERE, false), Passage::Own);
    }

    #[test]
    fn state_of_a_newer_version_is_refused_and_other_records_are_passed_over() {
        let mut brought = Brought::default();
        let link = "ab".into();
        assert_eq!(brought.handle_entry(&link, 0, origin::encode(&0u8), Some(b"anything")), Ok(()));
        assert_eq!(brought.handle_entry(&link, 0, vec![2, 16], Some(b"")), Err(StoredError::Format(2)));
        assert_eq!(brought.handle_entry(&link, 0, origin::key("t"), Some(&[2])), Err(StoredError::Format(2)));
    }
}
