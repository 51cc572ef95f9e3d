//! Admission of topics to a link, up to the limits that the receiver's configuration sets for it. Sans-IO.

use std::collections::HashMap;

use wire::halt::HaltReason;

use crate::link::limits::LinkLimits;
use crate::target::state::HaltRecord;

/// Topics of one session, with their numbers of partitions.
#[derive(Debug)]
pub(super) struct Admission {
    limits: LinkLimits,
    topics: HashMap<String, u64>,
    partitions: u64,
}

impl Admission {
    pub(super) fn new(limits: LinkLimits) -> Self {
        Self { limits, topics: HashMap::new(), partitions: 0 }
    }

    /// Admits a topic that has `partitions` at the source, or more of its partitions. Error: the halt of its partitions.
    pub(super) fn admit(&mut self, topic: &str, partitions: i32) -> Result<(), HaltRecord> {
        let partitions = u64::try_from(partitions).unwrap_or(0);
        let known = self.topics.get(topic).copied();
        if known.is_some_and(|known| known >= partitions) {
            return Ok(());
        }
        let LinkLimits { topics, partitions: most, .. } = self.limits;
        if known.is_none() && self.topics.len() as u64 >= topics {
            return Err(refused(format!(
                "the receiver lets this link carry {topics} topics: raise `links.topics_max`"
            )));
        }
        let sum = self.partitions - known.unwrap_or(0) + partitions;
        if sum > most {
            return Err(refused(format!(
                "the receiver lets this link carry {most} partitions, and with the {partitions} of {topic} it would have {sum}: raise `links.partitions_max`"
            )));
        }
        self.partitions = sum;
        self.topics.insert(topic.to_owned(), partitions);
        Ok(())
    }

    /// Forgets a topic that no longer exists at the source.
    pub(super) fn forget(&mut self, topic: &str) {
        self.partitions -= self.topics.remove(topic).unwrap_or(0);
    }
}

fn refused(detail: String) -> HaltRecord {
    HaltRecord::new(HaltReason::TopicUnauthorized, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_carries_topics_and_partitions_up_to_its_limits() {
        let mut admission = Admission::new(LinkLimits { topics: 2, partitions: 10, ..LinkLimits::default() });
        admission.admit("a", 4).unwrap();
        admission.admit("a", 4).unwrap();
        let refused = admission.admit("b", 7).unwrap_err();
        assert_eq!(refused.reason, "topic-unauthorized");
        assert!(refused.detail.contains("carry 10 partitions, and with the 7 of b it would have 11"), "{refused:?}");
        assert!(refused.detail.ends_with("raise `links.partitions_max`"));
        admission.admit("b", 5).unwrap();
        assert!(admission.admit("b", 2_000_000).is_err(), "it grows too far");
        let refused = admission.admit("c", 1).unwrap_err();
        assert!(refused.detail.ends_with("carry 2 topics: raise `links.topics_max`"), "{refused:?}");
        admission.admit("b", 6).unwrap();
        admission.forget("a");
        admission.admit("c", 4).unwrap();
        assert!(admission.admit("a", 1).is_err());
    }
}
