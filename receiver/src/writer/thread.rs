//! The thread of a writer: it drives the lanes of many links and commits together what is due.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use service::mailbox::Mailbox;
use tokio::runtime::Handle;

use super::pace::{CommitPace, Ticket};
use super::transaction::{self, TransactionFailed, Written};
use super::{Home, Homes};
use crate::lane::LaneError;
use crate::lane::runner::{LaneRunner, Next, Place};
use crate::lane::size::TransactionSize;
use crate::target::{Target, TargetError};

/// Sleep of a thread that has nothing to do.
const IDLE: Duration = Duration::from_secs(60);

/// Lanes that come to a writer's thread: new ones, and those that were away to be opened or recovered.
pub(crate) type Arrivals<T> = Mailbox<Box<LaneRunner<T>>>;

pub(crate) struct WriterThread<T: Target> {
    pub(super) home: Arc<Home<T>>,
    pub(super) homes: Arc<Homes<T>>,
    pub(super) target: Arc<T>,
    /// Generation of the credentials that the writer has at least.
    pub(super) generation: u64,
    pub(super) runtime: Handle,
    /// The receiver's common pace of transactions, and this writer's place in its queue.
    pub(super) pace: Arc<CommitPace>,
    pub(super) ticket: Ticket,
    pub(super) size: TransactionSize,
    /// Lanes that are here; the others are being opened or recovered.
    pub(super) lanes: VecDeque<Box<LaneRunner<T>>>,
    /// Most lanes in one transaction: it halves when one fails for a reason that may be any lane's, and doubles with each
    /// success.
    pub(super) width: usize,
    /// The last transaction was of a lane that must be alone.
    pub(super) one_was_alone: bool,
}

/// What the lanes of a thread need next.
struct Outlook {
    /// Places of the lanes that have something to commit.
    due: Vec<usize>,
    /// Time for which the others need nothing.
    wait: Duration,
}

impl<T: Target> WriterThread<T> {
    /// Drives the lanes until the process ends and none is left.
    pub(crate) fn run(mut self) {
        loop {
            let generation = self.target.generation();
            if self.generation < generation {
                self.generation = generation;
                self.home.writer.renew();
            }
            while let Some(runner) = self.home.arrivals.pop() {
                self.lanes.push_back(runner);
            }
            let Outlook { due, wait } = self.look_after();
            let wait = wait.min(self.commit(due));
            self.lanes.iter_mut().for_each(|runner| runner.publish());
            if self.lanes.is_empty() && self.home.has_ended() {
                break;
            }
            if !wait.is_zero() {
                self.home.bell.wait(wait);
            }
        }
        self.pace.leave(self.ticket);
    }

    /// Takes the commands of every lane, and sends away those that may block or that another writer suits.
    fn look_after(&mut self) -> Outlook {
        let mut outlook = Outlook { due: Vec::new(), wait: IDLE };
        let mut kept = 0;
        for _ in 0..self.lanes.len() {
            let Some(mut runner) = self.lanes.pop_front() else { break };
            runner.obey();
            let place = runner.place();
            if place != self.home.place && !runner.needs_recovery() {
                self.move_away(runner, place);
                continue;
            }
            match runner.next() {
                Next::Perform => {
                    self.send_away(runner);
                    continue;
                }
                Next::End => {
                    self.home.release();
                    continue;
                }
                Next::Commit => outlook.due.push(kept),
                Next::Wait(left) => outlook.wait = outlook.wait.min(left),
            }
            self.lanes.push_back(runner);
            kept += 1;
        }
        outlook
    }

    fn move_away(&self, mut runner: Box<LaneRunner<T>>, place: Place) {
        let home = self.homes.of(place, &runner);
        runner.move_to(&home.writer);
        home.adopt(runner);
        self.home.release();
    }

    /// Opens or recovers a lane elsewhere. It comes back.
    fn send_away(&self, mut runner: Box<LaneRunner<T>>) {
        let home = Arc::clone(&self.home);
        let share = Arc::clone(runner.share());
        let perform = move || {
            runner.perform();
            runner.publish();
            home.take_back(runner);
        };
        self.runtime.spawn(async move { share.opening.run(perform).await });
    }

    /// Commits what is due, if the pace permits. Returns how long to wait before the next attempt.
    fn commit(&mut self, due: Vec<usize>) -> Duration {
        if due.is_empty() {
            self.pace.leave(self.ticket);
            return IDLE;
        }
        let strict = due.iter().any(|&lane| self.lanes[lane].is_strict());
        if let Err(wait) = self.pace.take(self.ticket, strict) {
            return wait.max(Duration::from_millis(1));
        }
        let places = self.next_parts(&due);
        let asked = self.write(&places);
        // The lanes that had no turn come first.
        let last = places.get(asked.saturating_sub(1)).map_or(0, |place| place + 1);
        self.lanes.rotate_left(last % self.lanes.len().max(1));
        Duration::ZERO
    }

    /// Returns the places of the lanes that share the next transaction. Those that must be alone have every second one.
    fn next_parts(&mut self, due: &[usize]) -> Vec<usize> {
        let is_alone = |lane: &usize| self.home.place == Place::Careful || self.lanes[*lane].is_alone();
        let alone: Vec<usize> = due.iter().copied().filter(is_alone).take(1).collect();
        let together: Vec<usize> = due.iter().copied().filter(|lane| !is_alone(lane)).take(self.width).collect();
        self.one_was_alone = !alone.is_empty() && (together.is_empty() || !self.one_was_alone);
        if self.one_was_alone { alone } else { together }
    }

    /// Runs one transaction over the lanes at these places, which increase. Returns the number of lanes that had a turn.
    fn write(&mut self, places: &[usize]) -> usize {
        let lanes = self.lanes.iter_mut().enumerate().filter(|(place, _)| places.binary_search(place).is_ok());
        let lanes: Vec<_> = lanes.map(|(_, runner)| &mut **runner).collect();
        let asking: Vec<_> = lanes.iter().map(|runner| runner.ask()).collect();
        let group = self.home.writer.group();
        let began = Instant::now();
        let written = transaction::write(lanes.into_iter(), self.size.room(), || group.commit());
        drop((group, asking));
        match written {
            Ok(Written { bytes, asked }) => {
                self.size.handle_success(bytes, began.elapsed());
                self.width = self.width.saturating_mul(2);
                asked
            }
            Err(failed) => {
                self.handle_failure(&failed);
                places.len()
            }
        }
    }

    fn handle_failure(&mut self, failed: &TransactionFailed) {
        // The session of a sender that broke the protocol ends, and nothing is wrong with the target.
        let TransactionFailed { error: LaneError::Target(error), lanes } = failed else { return };
        let lanes = *lanes;
        if lanes > 1 {
            tracing::warn!(lanes, %error, "transaction of several lanes failed; each reads its state");
        }
        if !matches!(error, TargetError::Rejected(_)) {
            self.size.handle_failure();
        }
        if !names_partition(error) {
            self.width = (lanes / 2).max(1);
        }
    }
}

/// Returns whether the error is known to be about one partition, whose lane leaves it out.
fn names_partition(error: &TargetError) -> bool {
    matches!(error, TargetError::Rejected(_) | TargetError::Unwritable(_) | TargetError::Replaced { .. })
}
