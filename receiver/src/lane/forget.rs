//! Requests to drop the positions of topics that are not carried.
//!
//! A partition that was handed over has a record in each lane that ever had it. A lane that kept such a record after the
//! position is gone would hand it over again, and records would be carried twice. So every lane drops these records
//! first, and the positions only then: a request that ends halfway leaves positions that continue exactly.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;
use wire::ids::Position;
use wire::partition::Partition;

/// Step of a request to forget a topic. Every lane performs it before any lane performs the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForgetStep {
    /// Drops the records of partitions that were handed over to another lane.
    Handovers,
    /// Drops the positions.
    Positions,
}

/// Request to drop the records that a lane has stored of a topic.
#[derive(Debug)]
pub struct ForgetTopic {
    pub topic: Arc<str>,
    pub step: ForgetStep,
    /// Time of the request by the sender's clock, in ms since the Unix epoch.
    pub asked: i64,
    /// User and reason of the request.
    pub reason: String,
    /// Receives the number of records that were dropped, once that is committed, or the reason why not.
    pub done: oneshot::Sender<Result<u32, String>>,
}

/// Requests that wait for the lane's next transaction.
#[derive(Debug, Default)]
pub(super) struct Forgets(VecDeque<ForgetTopic>);

/// Requests that one transaction performs, each with the keys of its records.
#[derive(Debug, Default)]
pub(super) struct ForgetDraft(pub(super) Vec<(ForgetTopic, Vec<Partition>)>);

impl Forgets {
    pub(super) fn push(&mut self, request: ForgetTopic) {
        self.0.push_back(request);
    }

    pub(super) fn take(&mut self) -> VecDeque<ForgetTopic> {
        std::mem::take(&mut self.0)
    }

    pub(super) fn are_waiting(&self) -> bool {
        !self.0.is_empty()
    }
}

impl ForgetDraft {
    /// Keys whose records the transaction deletes.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Partition> {
        self.0.iter().flat_map(|(_, keys)| keys)
    }

    /// Returns the positions that the transaction leaves: none.
    pub(super) fn positions(&self) -> impl Iterator<Item = (Partition, Position)> {
        let requests = self.0.iter().filter(|(request, _)| request.step == ForgetStep::Positions);
        requests.flat_map(|(_, keys)| keys).map(|key| (key.clone(), Position(-1)))
    }

    /// Queues the requests again after a transaction whose outcome is unknown: deleting twice is harmless.
    pub(super) fn abandon(self, forgets: &mut Forgets) {
        forgets.0.extend(self.0.into_iter().map(|(request, _)| request));
    }
}

impl ForgetTopic {
    /// Answers with the number of records that were dropped. The session that asked may have ended.
    pub(super) fn answer(self, dropped: usize) {
        let _ = self.done.send(Ok(u32::try_from(dropped).unwrap_or(u32::MAX)));
    }

    /// Answers with the reason why nothing is dropped.
    pub(super) fn refuse(self, reason: String) {
        let _ = self.done.send(Err(reason));
    }
}
