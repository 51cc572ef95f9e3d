//! Entries that lanes commit while they are opened or recovered. Sans-IO.
//!
//! An opening commits two or three times, each time a few entries of the lane's state partition. One transaction each would
//! take a receiver of many links long. So the lane that has the turn commits what all lanes ask for that wait for theirs,
//! and they find the result when they have it.

use std::collections::{BTreeMap, HashMap};

use wire::ids::Offset;

use crate::target::{StateEntry, TargetError, TargetPartition};

/// Number of a request, unique within a writer.
pub(super) type Ticket = u64;

/// Entries of one lane.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) state: TargetPartition,
    /// Grant of the instance with which the lane may write.
    pub(super) grant: Option<u64>,
    pub(super) entries: Vec<StateEntry>,
    /// The lane may be why a transaction failed: it has one of its own.
    pub(super) is_alone: bool,
}

pub(super) type Requests = BTreeMap<Ticket, Request>;
pub(super) type Results = HashMap<Ticket, Result<Offset, TargetError>>;

/// Requests of lanes that wait for their turn, and results that they have not taken yet.
#[derive(Debug, Default)]
pub(super) struct Combined {
    next: Ticket,
    requests: Requests,
    results: Results,
}

impl Combined {
    pub(super) fn add(&mut self, request: Request) -> Ticket {
        self.next += 1;
        self.requests.insert(self.next, request);
        self.next
    }

    /// Returns the result of a request that another lane has committed.
    pub(super) fn take_result(&mut self, ticket: Ticket) -> Option<Result<Offset, TargetError>> {
        self.results.remove(&ticket)
    }

    /// Takes the requests that share a transaction with this one.
    pub(super) fn take_shared(&mut self, ticket: Ticket) -> Requests {
        if self.requests.get(&ticket).is_none_or(|request| request.is_alone) {
            return self.requests.remove_entry(&ticket).into_iter().collect();
        }
        let (alone, shared) = std::mem::take(&mut self.requests).into_iter().partition(|(_, request)| request.is_alone);
        self.requests = alone;
        shared
    }

    /// Number of requests that no lane has taken.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.requests.len()
    }

    /// Keeps the results of requests for their lanes.
    pub(super) fn answer(&mut self, results: Results) {
        self.results.extend(results);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::state;
    use wire::ids::LaneId;

    fn request(lane: u16, is_alone: bool) -> Request {
        Request { state: state::partition("l", LaneId(lane)), grant: None, entries: Vec::new(), is_alone }
    }

    #[test]
    fn lanes_that_may_be_at_fault_share_no_transaction() {
        let mut combined = Combined::default();
        let [first, doubted, second] = [false, true, false].map(|is_alone| combined.add(request(0, is_alone)));
        assert_eq!(combined.take_shared(first).into_keys().collect::<Vec<_>>(), [first, second]);
        assert_eq!(combined.take_shared(doubted).into_keys().collect::<Vec<_>>(), [doubted]);
        combined.answer(HashMap::from([(second, Ok(Offset(7)))]));
        assert_eq!(combined.take_result(second), Some(Ok(Offset(7))));
        assert_eq!(combined.take_result(second), None);
    }
}
