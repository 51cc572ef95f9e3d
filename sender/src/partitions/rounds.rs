//! Rounds of offers, lane by lane: which partitions were offered, and which wait until the source answers for them.
//! Sans-IO.
//!
//! A partition that the source cannot answer for, such as one without a leader, neither delays nor fails the others: it
//! waits by itself, and is offered when it has an answer. The first round of a lane ends, with `last`, only when every
//! partition of it was offered. Until then the receiver stores no filter hash for the lane, so that a partition that
//! waits keeps its `start` policy, and takes no position for orphaned. A partition that was discovered after the first
//! round is offered with the start of its log in place of `start`: it begins there whether `last` was sent or not.

use std::collections::BTreeMap;

use kafka::KafkaError;
use wire::control::{Control, OfferedPartition};
use wire::ids::{Epoch, LaneId};
use wire::limits::OFFER_PARTITIONS_MAX;
use wire::partition::Partition;

use crate::partitions::lane_partitions::{Candidate, Due};

/// Rounds of all lanes of a session.
#[derive(Debug, Default)]
pub struct Rounds {
    lanes: BTreeMap<LaneId, Round>,
}

/// Round of a lane in its present epoch.
#[derive(Debug)]
struct Round {
    epoch: Epoch,
    /// Partitions that are due and not offered yet.
    open: BTreeMap<Partition, OpenOffer>,
    /// True once the receiver was notified that the first round is complete.
    complete: bool,
}

#[derive(Debug)]
struct OpenOffer {
    request: Request,
    /// Reason why the partition waits; `None` during its first look-up.
    reason: Option<String>,
}

/// Request to look a partition up at the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub lane: LaneId,
    pub epoch: Epoch,
    pub candidate: Candidate,
    /// True in the lane's first round, where `start` applies.
    pub first: bool,
}

/// Answer of the source for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Offer(OfferedPartition),
    /// The source cannot answer now.
    Wait(KafkaError),
    /// The partition is not among the topics any longer.
    Gone,
}

impl Rounds {
    /// Takes partitions that are due; returns the requests for them.
    pub fn handle_due(&mut self, due: Due) -> Vec<Request> {
        let Due { lane, epoch, partitions, first } = due;
        let new = || Round { epoch, open: BTreeMap::new(), complete: false };
        let round = self.lanes.entry(lane).or_insert_with(new);
        if round.epoch != epoch {
            *round = new();
        }
        let request = |candidate| Request { lane, epoch, candidate, first };
        let requests: Vec<_> = partitions.into_iter().map(request).collect();
        for request in &requests {
            // A request for the same partition is outdated: the partition had vanished, and its slot is forgotten.
            let open = OpenOffer { request: request.clone(), reason: None };
            round.open.insert(request.candidate.at.clone(), open);
        }
        requests
    }

    /// Returns whether a partition waits for the source.
    pub fn has_waiting(&self) -> bool {
        self.lanes.values().flat_map(|round| round.open.values()).any(|open| open.reason.is_some())
    }

    /// Returns the requests for all partitions that wait.
    pub fn waiting(&self) -> Vec<Request> {
        let open = self.lanes.values().flat_map(|round| round.open.values());
        open.filter(|open| open.reason.is_some()).map(|open| open.request.clone()).collect()
    }

    /// Takes the answers of one look-up, which was for `lanes`; returns the offers to send.
    pub fn handle_answers(&mut self, lanes: &[(LaneId, Epoch)], answers: Vec<(Request, Answer)>) -> Vec<Control> {
        let mut offered: BTreeMap<LaneId, Vec<OfferedPartition>> = BTreeMap::new();
        for (lane, epoch) in lanes {
            if self.lanes.get(lane).is_some_and(|round| round.epoch == *epoch) {
                offered.entry(*lane).or_default();
            }
        }
        let mut new = Vec::new();
        for (request, answer) in answers {
            let Some(round) = self.lanes.get_mut(&request.lane).filter(|round| round.epoch == request.epoch) else {
                continue;
            };
            let at = request.candidate.at.clone();
            let Some(open) = round.open.get_mut(&at).filter(|open| open.request == request) else { continue };
            match answer {
                Answer::Wait(error) => {
                    if open.reason.replace(error.to_string()).is_none() {
                        new.push((at, error));
                    }
                    continue;
                }
                Answer::Offer(partition) => offered.entry(request.lane).or_default().push(partition),
                Answer::Gone => {}
            }
            round.open.remove(&at);
        }
        if let Some((partition, error)) = new.first() {
            tracing::warn!(%partition, others = new.len() - 1, %error, "partition waits for the source; the others continue");
        }
        offered.into_iter().flat_map(|(lane, partitions)| self.offers(lane, partitions)).collect()
    }

    /// Returns the messages that offer `partitions` to a lane.
    fn offers(&mut self, lane: LaneId, mut partitions: Vec<OfferedPartition>) -> Vec<Control> {
        let Some(round) = self.lanes.get_mut(&lane) else { return Vec::new() };
        let is_last = !round.open.values().any(|open| open.request.first);
        let completes = is_last && !std::mem::replace(&mut round.complete, is_last);
        let epoch = round.epoch;
        let mut messages = Vec::new();
        while !partitions.is_empty() || (completes && messages.is_empty()) {
            let rest = partitions.split_off(partitions.len().min(OFFER_PARTITIONS_MAX));
            let last = is_last && rest.is_empty();
            messages.push(Control::Offer { lane, epoch, partitions, last });
            partitions = rest;
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use kafka::KafkaFault;
    use wire::ids::{Position, Slot, TopicId};

    use super::*;

    const LANE: LaneId = LaneId(0);

    fn due(epoch: u64, first: bool, partitions: &[(&str, u32)]) -> Due {
        let candidate =
            |&(topic, slot): &(&str, u32)| Candidate { slot: Slot(slot), at: Partition::new(topic, 0), lift: None };
        Due { lane: LANE, epoch: Epoch(epoch), partitions: partitions.iter().map(candidate).collect(), first }
    }

    fn offer(request: &Request) -> Answer {
        let Candidate { slot, at, .. } = &request.candidate;
        Answer::Offer(OfferedPartition {
            slot: *slot,
            topic: at.topic.to_string(),
            partition: at.partition,
            topic_id: TopicId::UNKNOWN,
            partitions: 1,
            log_start: Position(0),
            log_end: Position(0),
            start: Position(0),
            jump: None,
        })
    }

    fn no_leader() -> Answer {
        let error = KafkaError { doing: "list".into(), reason: "no leader".into(), fault: KafkaFault::Unavailable };
        Answer::Wait(error)
    }

    /// Answers requests, those for `without` with a missing leader. Returns the slots offered and whether it is the last.
    fn answer(rounds: &mut Rounds, epoch: u64, requests: Vec<Request>, without: &[&str]) -> Vec<(Vec<u32>, bool)> {
        let answered = requests.into_iter().map(|request| {
            let waits = without.contains(&&*request.candidate.at.topic);
            let answer = if waits { no_leader() } else { offer(&request) };
            (request, answer)
        });
        let answered = answered.collect();
        let offers = rounds.handle_answers(&[(LANE, Epoch(epoch))], answered);
        let offer = |message| match message {
            Control::Offer { partitions, last, .. } => (partitions.iter().map(|at| at.slot.0).collect(), last),
            other => panic!("{other:?}"),
        };
        offers.into_iter().map(offer).collect()
    }

    #[test]
    fn the_first_round_waits_for_a_partition_without_a_leader() {
        let mut rounds = Rounds::default();
        let asked = rounds.handle_due(due(1, true, &[("one", 0), ("three", 1)]));
        assert!(rounds.waiting().is_empty(), "the first look-up is not over");
        assert_eq!(answer(&mut rounds, 1, asked, &["one"]), [(vec![1], false)]);
        let later = rounds.handle_due(due(1, false, &[("new", 2)]));
        assert_eq!(answer(&mut rounds, 1, later, &[]), [(vec![2], false)], "offered, but the round is not complete");
        let waiting = rounds.waiting();
        assert_eq!(waiting.iter().map(|one| one.candidate.slot.0).collect::<Vec<_>>(), [0]);
        assert_eq!(answer(&mut rounds, 1, waiting, &["one"]), []);
        let waiting = rounds.waiting();
        assert_eq!(answer(&mut rounds, 1, waiting, &[]), [(vec![0], true)]);
        assert!(rounds.waiting().is_empty());
    }

    #[test]
    fn a_first_round_without_partitions_is_complete() {
        let mut rounds = Rounds::default();
        let asked = rounds.handle_due(due(1, true, &[]));
        assert_eq!(answer(&mut rounds, 1, asked, &[]), [(vec![], true)]);
        let asked = rounds.handle_due(due(1, false, &[("new", 0)]));
        assert_eq!(answer(&mut rounds, 1, asked, &["new"]), [], "it waits alone, and the receiver knows the rest");
        assert_eq!(rounds.waiting().len(), 1);
    }

    #[test]
    fn a_partition_that_vanishes_while_it_waits_completes_the_round() {
        let mut rounds = Rounds::default();
        let asked = rounds.handle_due(due(1, true, &[("one", 0)]));
        assert_eq!(answer(&mut rounds, 1, asked, &["one"]), []);
        let gone = rounds.waiting().into_iter().map(|request| (request, Answer::Gone)).collect();
        let last = rounds.handle_answers(&[(LANE, Epoch(1))], gone);
        assert_eq!(last, [Control::Offer { lane: LANE, epoch: Epoch(1), partitions: vec![], last: true }]);
    }

    #[test]
    fn answers_for_an_older_epoch_or_slot_are_dropped() {
        let mut rounds = Rounds::default();
        let before = rounds.handle_due(due(1, true, &[("one", 0)]));
        let asked = rounds.handle_due(due(2, true, &[("one", 0)]));
        assert_eq!(answer(&mut rounds, 1, before, &[]), []);
        assert_eq!(answer(&mut rounds, 2, asked, &["one"]), []);
        let before = rounds.waiting();
        let again = rounds.handle_due(due(2, false, &[("one", 1)]));
        assert_eq!(answer(&mut rounds, 2, before, &[]), [(vec![], true)], "its slot is forgotten");
        assert_eq!(answer(&mut rounds, 2, again, &[]), [(vec![1], true)]);
    }

    #[test]
    fn of_many_batches_only_the_last_completes_the_round() {
        let mut rounds = Rounds::default();
        let many: Vec<_> = (0..OFFER_PARTITIONS_MAX as i32 + 1).map(|n| Partition::new("orders", n)).collect();
        let candidates = many.into_iter().zip(0..).map(|(at, slot)| Candidate { slot: Slot(slot), at, lift: None });
        let due = Due { lane: LANE, epoch: Epoch(1), partitions: candidates.collect(), first: true };
        let asked = rounds.handle_due(due);
        let offers = answer(&mut rounds, 1, asked, &[]);
        let sizes: Vec<_> = offers.iter().map(|(slots, last)| (slots.len(), *last)).collect();
        assert_eq!(sizes, [(OFFER_PARTITIONS_MAX, false), (1, true)]);
    }
}
