//! Looks up due partitions at the source and sends their offers, one lane after the other, so that each topic is
//! announced once and before its partitions.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kafka::KafkaError;
use kafka::catalog::Catalog;
use tokio::sync::{mpsc, watch};
use wire::control::Control;
use wire::ids::LaneId;

use crate::config::Start;
use crate::partitions::lane_partitions::Due;
use crate::partitions::offers;
use crate::source::discovery::Discovered;

/// Wait before the source is asked again after it failed.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub struct Offering {
    pub catalog: Arc<dyn Catalog>,
    /// Position at which partitions without a stored one start.
    pub start: Start,
}

/// Partitions that could not be offered yet, by lane, and of each lane in order.
#[derive(Default)]
struct Waiting(VecDeque<(LaneId, VecDeque<Due>)>);

impl Waiting {
    /// Returns whether `due` has to queue behind others of its lane.
    fn has_lane_of(&self, due: &Due) -> bool {
        self.0.iter().any(|(lane, _)| *lane == due.lane)
    }

    fn push(&mut self, due: Due) {
        match self.0.iter_mut().find(|(lane, _)| *lane == due.lane) {
            Some((_, dues)) => dues.push_back(due),
            None => self.0.push_back((due.lane, [due].into())),
        }
    }

    /// Returns the partitions whose turn it is.
    fn first(&self) -> Option<&Due> {
        self.0.front().and_then(|(_, dues)| dues.front())
    }

    /// Removes the first partitions, which were offered.
    fn pop(&mut self) {
        if let Some((_, dues)) = self.0.front_mut() {
            dues.pop_front();
            self.0.retain(|(_, dues)| !dues.is_empty());
        }
    }

    /// Passes the turn to the next lane.
    fn pass(&mut self) {
        self.0.rotate_left(1.min(self.0.len()));
    }
}

impl Offering {
    /// Offers due partitions until the session ends. Partitions that the source does not answer for wait together
    /// with their lane; those of other lanes do not.
    pub async fn run(
        self,
        mut dues: mpsc::Receiver<Due>,
        topics: watch::Receiver<Discovered>,
        control: mpsc::Sender<Control>,
    ) {
        let mut announced: HashSet<Arc<str>> = HashSet::new();
        let mut waiting = Waiting::default();
        loop {
            let (due, again) = tokio::select! {
                biased;
                due = dues.recv() => match due {
                    Some(due) if waiting.has_lane_of(&due) => {
                        waiting.push(due);
                        continue;
                    }
                    Some(due) => (due, false),
                    None => return,
                },
                () = tokio::time::sleep(RETRY), if waiting.first().is_some() => {
                    let Some(due) = waiting.first() else { continue };
                    (due.clone(), true)
                }
            };
            match (self.messages(&due, &topics, &announced).await, again) {
                (Ok(messages), _) => {
                    for message in messages {
                        if let Control::Topic { topic, .. } = &message {
                            announced.insert(topic.as_str().into());
                        }
                        if control.send(message).await.is_err() {
                            return;
                        }
                    }
                    if again {
                        waiting.pop();
                    }
                }
                (Err(_), true) => waiting.pass(),
                (Err(error), false) => {
                    let lane = due.lane;
                    tracing::warn!(%lane, %error, "could not look up partitions at the source; trying again");
                    waiting.push(due);
                }
            }
        }
    }

    /// Asks the source with the current topics: a topic that was deleted meanwhile must not delay the others.
    async fn messages(
        &self,
        due: &Due,
        topics: &watch::Receiver<Discovered>,
        announced: &HashSet<Arc<str>>,
    ) -> Result<Vec<Control>, KafkaError> {
        let topics = Arc::clone(&topics.borrow().topics);
        let this = self.clone();
        let due = due.clone();
        let announced = announced.clone();
        let asked = tokio::task::spawn_blocking(move || {
            offers::messages(&*this.catalog, &topics, &due, this.start, &announced)
        });
        // The task does not panic; it is cancelled only when the process ends.
        asked.await.unwrap_or_else(|_| Ok(Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use wire::ids::Epoch;

    use super::*;

    fn due(lane: u16, epoch: u64) -> Due {
        Due { lane: LaneId(lane), epoch: Epoch(epoch), partitions: Vec::new() }
    }

    #[test]
    fn lanes_take_turns_and_each_keeps_its_order() {
        let mut waiting = Waiting::default();
        for due in [due(0, 1), due(1, 2), due(0, 3)] {
            waiting.push(due);
        }
        assert!(waiting.has_lane_of(&due(0, 9)) && waiting.has_lane_of(&due(1, 9)) && !waiting.has_lane_of(&due(2, 9)));
        assert_eq!(waiting.first(), Some(&due(0, 1)));
        waiting.pass();
        assert_eq!(waiting.first(), Some(&due(1, 2)));
        waiting.pop();
        assert!(!waiting.has_lane_of(&due(1, 9)));
        assert_eq!(waiting.first(), Some(&due(0, 1)));
        waiting.pop();
        assert_eq!(waiting.first(), Some(&due(0, 3)));
        waiting.pop();
        assert_eq!(waiting.first(), None);
        waiting.pass();
    }
}
