//! The way back after a promotion: a link that brought topics to this cluster was promoted, and they go back to the cluster
//! from which they came, each partition behind the last record that the promoted link brought.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka::{KafkaError, KafkaFault};
use service::lock::Lock;
use wire::control::Control;
use wire::hello::{FEATURE_GROUPS_BACK, FEATURE_RETURNS};
use wire::ids::Position;
use wire::partition::Partition;
use wire::returning::PromotedLink;

/// Time between two readings of a link that continues with other topics.
const READ_EVERY: Duration = Duration::from_secs(5);

/// Reads what a promoted link has stored in this cluster.
pub trait PromotedState: Send + Sync {
    /// Error: a sentence, if the link is not promoted, if its state cannot be read now, or if it does not suffice.
    fn read(&self, link: &str) -> Result<PromotedLink, String>;
    /// Returns the positions in the cluster from which the link came, of these positions here; `None` where its map does not
    /// have one. Error: a sentence.
    fn positions_back(&self, link: &str, here: &[(Partition, Position)]) -> Result<Vec<Option<Position>>, String>;
}

/// What was read of the link, and when.
type Reading = (Instant, Arc<PromotedLink>);

/// Messages about topics that go back.
pub(crate) struct Returning {
    pub(crate) messages: Vec<Control>,
    /// Topics of which the receiver knows then whether they go back.
    pub(crate) told: Vec<Arc<str>>,
}

/// Promoted link whose topics go back.
#[derive(Clone)]
pub struct Promotion {
    link: Arc<str>,
    state: Arc<dyn PromotedState>,
    /// A promotion is final: it is read once. A link that continues is read again and again.
    read: Arc<Lock<Option<Reading>>>,
    /// Receivers of earlier versions do not know `Returns`.
    is_known: bool,
    /// Earlier ones do not know `GroupsBack`.
    takes_groups: bool,
}

impl fmt::Debug for Promotion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promotion").field("link", &self.link).finish_non_exhaustive()
    }
}

impl Promotion {
    pub fn new(link: &str, state: Arc<dyn PromotedState>) -> Self {
        Self { link: link.into(), state, read: Arc::default(), is_known: true, takes_groups: true }
    }

    /// The promotion in a session of these features.
    pub(crate) fn in_session(&self, features: u64) -> Self {
        let is_known = features & FEATURE_RETURNS != 0;
        Self { is_known, takes_groups: features & FEATURE_GROUPS_BACK != 0, ..self.clone() }
    }

    /// Returns, for positions of consumer groups here, where they are in the cluster from which the link came. `None` where a
    /// group has read further than what the link brought, or where its map does not go back so far. Blocks on the source.
    pub(crate) fn groups_back(&self, here: &[(Partition, Position)]) -> Result<Vec<Option<Position>>, KafkaError> {
        let mut back = vec![None; here.len()];
        if !self.takes_groups {
            return Ok(back);
        }
        let promoted = self.get()?;
        let is_brought =
            |(at, position): &(Partition, Position)| promoted.begins(at).is_some_and(|end| *position <= end);
        let places: Vec<usize> = (0..here.len()).filter(|&place| is_brought(&here[place])).collect();
        let asked: Vec<_> = places.iter().map(|&place| here[place].clone()).collect();
        if !asked.is_empty() {
            let found = self.state.positions_back(&self.link, &asked).map_err(|reason| self.waits(reason))?;
            places.into_iter().zip(found).for_each(|(place, found)| back[place] = found);
        }
        Ok(back)
    }

    fn waits(&self, reason: String) -> KafkaError {
        KafkaError {
            doing: format!("begin after the promotion of link {}", self.link),
            reason,
            fault: KafkaFault::Unavailable,
        }
    }

    /// Returns the messages that announce those of these topics that go back, and the topics of which more need not be said.
    /// Blocks on the source. Error: as of [`Promotion::get`].
    pub(crate) fn announcements(&self, topics: Vec<Arc<str>>) -> Result<Returning, KafkaError> {
        let promoted = self.get()?;
        let told: Vec<_> = topics.into_iter().filter(|topic| promoted.takes_back(topic)).collect();
        Ok(Returning { messages: told.iter().flat_map(|topic| promoted.announcement(topic)).collect(), told })
    }

    /// Returns what the link brought. Blocks on the source. Error: nothing may be offered now.
    pub(crate) fn get(&self) -> Result<Arc<PromotedLink>, KafkaError> {
        if !self.is_known {
            return Err(self.waits("the receiver is of an earlier version: upgrade it".to_owned()));
        }
        let mut read = self.read.lock();
        let is_fresh = |at: Instant, link: &PromotedLink| link.is_final || at.elapsed() < READ_EVERY;
        if let Some((_, read)) = read.as_ref().filter(|(at, link)| is_fresh(*at, link)) {
            return Ok(Arc::clone(read));
        }
        let found = Arc::new(self.state.read(&self.link).map_err(|reason| self.waits(reason))?);
        *read = Some((Instant::now(), Arc::clone(&found)));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use wire::control::ReturningPartition;
    use wire::ids::TopicId;
    use wire::returning::ReturningTopic;

    use super::*;

    struct Answers(Lock<Vec<Result<PromotedLink, String>>>);

    impl PromotedState for Answers {
        fn read(&self, _link: &str) -> Result<PromotedLink, String> {
            self.0.lock().pop().expect("it is read once")
        }

        fn positions_back(&self, _: &str, here: &[(Partition, Position)]) -> Result<Vec<Option<Position>>, String> {
            Ok(here.iter().map(|(_, position)| (position.0 > 2).then(|| Position(position.0 - 2))).collect())
        }
    }

    fn promoted(partitions: i32) -> PromotedLink {
        let one =
            |partition| ReturningPartition { partition, begins: Position(9), common: Position(7), since: Position(0) };
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
            is_final: true,
            topics: BTreeMap::from([("fra.orders".to_owned(), topic)]),
        }
    }

    #[test]
    fn groups_go_back_as_far_as_the_link_brought_something() {
        let promotion = Promotion::new("there", Arc::new(Answers(Lock::new(vec![Ok(promoted(1))]))));
        let at = |topic, position| (Partition::new(topic, 0), Position(position));
        let here = [at("bills", 1), at("fra.orders", 10), at("fra.orders", 9), at("fra.orders", 2)];
        let back = promotion.groups_back(&here).unwrap();
        assert_eq!(back, [None, None, Some(Position(7)), None], "another topic, behind the end, at the end, lost");
        assert_eq!(promotion.in_session(FEATURE_RETURNS).groups_back(&here).unwrap(), [None; 4], "an earlier receiver");
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
