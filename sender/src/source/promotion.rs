//! The way back after a promotion: a link that brought topics to this cluster was promoted, and they go back to the cluster
//! from which they came, each partition behind the last record that the promoted link brought.

use std::fmt;
use std::sync::Arc;

use kafka::{KafkaError, KafkaFault};
use service::lock::Lock;
use wire::hello::FEATURE_RETURNS;
use wire::returning::PromotedLink;

/// Reads what a promoted link has stored in this cluster.
pub trait PromotedState: Send + Sync {
    /// Error: a sentence, if the link is not promoted, if its state cannot be read now, or if it does not suffice.
    fn read(&self, link: &str) -> Result<PromotedLink, String>;
}

/// Promoted link whose topics go back.
#[derive(Clone)]
pub struct Promotion {
    link: Arc<str>,
    state: Arc<dyn PromotedState>,
    /// A promotion is final: it is read once.
    read: Arc<Lock<Option<Arc<PromotedLink>>>>,
    /// Receivers of earlier versions do not know `Returns`.
    is_known: bool,
}

impl fmt::Debug for Promotion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promotion").field("link", &self.link).finish_non_exhaustive()
    }
}

impl Promotion {
    pub fn new(link: &str, state: Arc<dyn PromotedState>) -> Self {
        Self { link: link.into(), state, read: Arc::default(), is_known: true }
    }

    /// The promotion in a session of these features.
    pub(crate) fn in_session(&self, features: u64) -> Self {
        Self { is_known: features & FEATURE_RETURNS != 0, ..self.clone() }
    }

    /// Returns what the link brought. Blocks on the source. Error: nothing may be offered now.
    pub(crate) fn get(&self) -> Result<Arc<PromotedLink>, KafkaError> {
        let waits = |reason: String| KafkaError {
            doing: format!("begin after the promotion of link {}", self.link),
            reason,
            fault: KafkaFault::Unavailable,
        };
        if !self.is_known {
            return Err(waits("the receiver is of an earlier version: upgrade it".to_owned()));
        }
        let mut read = self.read.lock();
        if let Some(read) = &*read {
            return Ok(Arc::clone(read));
        }
        let found = self.state.read(&self.link).map_err(waits)?;
        Ok(Arc::clone(read.insert(Arc::new(found))))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use wire::control::ReturningPartition;
    use wire::ids::{Position, TopicId};
    use wire::partition::Partition;
    use wire::returning::ReturningTopic;

    use super::*;

    struct Answers(Lock<Vec<Result<PromotedLink, String>>>);

    impl PromotedState for Answers {
        fn read(&self, _link: &str) -> Result<PromotedLink, String> {
            self.0.lock().pop().expect("it is read once")
        }
    }

    fn promoted(partitions: i32) -> PromotedLink {
        let one = |partition| ReturningPartition { partition, begins: Position(9), common: Position(7) };
        let topic = ReturningTopic {
            from: "orders".to_owned(),
            from_id: TopicId::UNKNOWN,
            id: TopicId::UNKNOWN,
            partitions: (0..partitions).map(one).collect(),
            stranded: BTreeMap::new(),
        };
        PromotedLink {
            link: "there".to_owned(),
            cluster: "fra".to_owned(),
            topics: BTreeMap::from([("fra.orders".to_owned(), topic)]),
        }
    }

    #[test]
    fn a_promotion_is_awaited_and_then_read_once() {
        let answers = vec![Ok(promoted(2)), Err("link there is not promoted".to_owned())];
        let promotion = Promotion::new("there", Arc::new(Answers(Lock::new(answers))));
        assert!(promotion.get().unwrap_err().reason.contains("not promoted"));
        assert!(promotion.in_session(0).get().unwrap_err().reason.contains("upgrade"));
        assert_eq!(promotion.get().unwrap().begins(&Partition::new("fra.orders", 1)), Some(Position(9)));
        assert_eq!(promotion.get().unwrap().begins(&Partition::new("fra.orders", 2)), None, "it is new");
        assert_eq!(promotion.get().unwrap().begins(&Partition::new("bills", 0)), None);
    }
}
