//! Topics that go back after a promotion: what a promoted link brought to a cluster, and where each partition begins on
//! its way back.

use std::collections::BTreeMap;

use crate::control::{Control, ReturningPartition};
use crate::ids::{Position, TopicId};
use crate::limits::RETURNING_MAX;
use crate::partition::Partition;

/// What a promoted link brought to a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromotedLink {
    /// Name of the link.
    pub link: String,
    /// Cluster from which the records came.
    pub cluster: String,
    /// The link carries nothing any more. Otherwise only the topics that were switched over alone go back.
    pub is_final: bool,
    /// Topics by their names in that cluster.
    pub topics: BTreeMap<String, ReturningTopic>,
}

/// Topic that a promoted link brought to a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturningTopic {
    /// Name of the topic from which it came.
    pub from: String,
    /// Id of that topic.
    pub from_id: TopicId,
    /// Id of the topic that the link wrote.
    pub id: TopicId,
    /// Partitions that the link brought, in order.
    pub partitions: Vec<ReturningPartition>,
    /// Partitions that cannot go back, each with the reason in a sentence.
    pub stranded: BTreeMap<i32, String>,
}

impl PromotedLink {
    /// Returns the position at which a partition of that cluster goes back; `None` if the link did not bring it.
    pub fn begins(&self, at: &Partition) -> Option<Position> {
        let topic = self.topics.get(&*at.topic)?;
        let found = topic.partitions.binary_search_by_key(&at.partition, |one| one.partition).ok()?;
        Some(topic.partitions[found].begins)
    }

    /// Returns whether a topic may be offered on the way back. While the link continues, it may create and carry any other one.
    pub fn takes_back(&self, topic: &str) -> bool {
        self.is_final || self.topics.get(topic).is_some_and(|topic| !topic.partitions.is_empty())
    }

    /// Returns why a partition cannot go back now; `None` if it can, or if the link did not bring it. `id` is the present id of
    /// its topic.
    pub fn stranded(&self, at: &Partition, id: TopicId) -> Option<String> {
        if !self.takes_back(&at.topic) {
            return Some(format!("link {} continues: only topics that it has switched over go back", self.link));
        }
        let topic = self.topics.get(&*at.topic)?;
        let other = || {
            let link = &self.link;
            format!("link {link} wrote another topic of this name: its id was {}, is {id}", topic.id)
        };
        topic.stranded.get(&at.partition).cloned().or_else(|| topic.id.differs(id).then(other))
    }

    /// Returns the messages that announce a topic which goes back.
    pub fn announcement(&self, topic: &str) -> Vec<Control> {
        let Some(returning) = self.topics.get(topic) else { return Vec::new() };
        let message = |partitions: &[ReturningPartition]| Control::Returns {
            topic: topic.to_owned(),
            link: self.link.clone(),
            cluster: self.cluster.clone(),
            from: returning.from.clone(),
            from_id: returning.from_id,
            partitions: partitions.to_vec(),
        };
        returning.partitions.chunks(RETURNING_MAX).map(message).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promoted(partitions: i32) -> PromotedLink {
        let one =
            |partition| ReturningPartition { partition, begins: Position(9), common: Position(7), since: Position(0) };
        let topic = ReturningTopic {
            from: "orders".to_owned(),
            from_id: TopicId::UNKNOWN,
            id: TopicId([1; 16]),
            partitions: (0..partitions).map(one).collect(),
            stranded: BTreeMap::from([(9, "its map is lost".to_owned())]),
        };
        PromotedLink {
            link: "there".to_owned(),
            cluster: "fra".to_owned(),
            is_final: true,
            topics: BTreeMap::from([("fra.orders".to_owned(), topic)]),
        }
    }

    #[test]
    fn a_topic_of_any_size_is_announced_within_the_limits() {
        let count = i32::try_from(RETURNING_MAX).unwrap() + 1;
        let messages = promoted(count).announcement("fra.orders");
        assert_eq!(messages.len(), 2);
        messages.iter().for_each(|message| drop(crate::codec::encode_control(message)));
        assert_eq!(promoted(1).announcement("bills"), []);
    }

    #[test]
    fn while_a_link_continues_only_its_switched_topics_go_back() {
        let mut continues = PromotedLink { is_final: false, ..promoted(1) };
        let reason = |link: &PromotedLink, topic| link.stranded(&Partition::new(topic, 0), TopicId::UNKNOWN);
        assert_eq!(reason(&continues, "fra.orders"), None);
        assert!(reason(&continues, "bills").unwrap().contains("continues"), "the link may be about to carry it");
        continues.topics.get_mut("fra.orders").unwrap().partitions.clear();
        assert!(reason(&continues, "fra.orders").is_some() && reason(&promoted(1), "bills").is_none());
    }

    #[test]
    fn a_partition_without_a_known_place_does_not_go_back() {
        let stranded =
            |partition, id| promoted(2).stranded(&Partition::new("fra.orders", partition), TopicId([id; 16]));
        assert_eq!(stranded(0, 1), None);
        assert_eq!(stranded(0, 0), None, "an id that is not known says nothing");
        assert!(stranded(0, 2).unwrap().contains("another topic of this name"));
        assert_eq!(stranded(9, 1).unwrap(), "its map is lost");
    }
}
