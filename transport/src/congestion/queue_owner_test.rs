//! Test of whose queue it is. Our own drains when we send less, while our delivery stays the same, because the queue
//! keeps the bottleneck busy. Another flow's queue does not drain, and our delivery falls with our window.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Rounds in which the queue must stay while our delivery is halved; fewer if another flow has been seen recently.
const ROUNDS_PATIENT: u32 = 10;
const ROUNDS_WARNED: u32 = 4;
/// Rounds with half of the delivery after which the test checks whether the queue has changed at all, and the number of
/// rounds that may have had another queue, because the path changed during them.
const ROUNDS_LONGER: u32 = 4;
const ROUNDS_CHANGING: usize = 2;
/// Part of the first delivery, or of the recent one, below which a round counts as halved.
const HALF: f64 = 0.5;
/// Part of the first delivery below which nothing is cut before the verdict.
const LEAST: f64 = 0.4;
/// Largest difference of a queue that has not changed: in seconds, and as a part of the queue. A queue that does not
/// change while we send half as much is not a queue but a longer path.
const STRAY: f64 = 0.001;
const STRAY_PART: f64 = 0.04;
/// Number of rounds whose queues are remembered.
const ROUNDS_KEPT: usize = 32;

/// Returns whether a queue, in seconds, has kept its length.
pub(super) fn is_unchanged(queue: f64, before: f64) -> bool {
    (queue - before).abs() <= STRAY.max(queue * STRAY_PART)
}

#[derive(Debug)]
pub(super) struct QueueOwnerTest {
    rounds: u32,
    /// Delivery in bytes per second at the beginning of the test.
    first: f64,
    /// Rounds in which the delivery was halved.
    halved: u32,
    /// Number of such rounds that the verdict needs.
    needed: u32,
    /// Queues of the last rounds in seconds.
    queues: VecDeque<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Open,
    /// Another flow fills the queue.
    NotOurs,
    /// The path has become longer, without a queue.
    Longer,
}

impl QueueOwnerTest {
    /// Begins a test, a shorter one if another flow is `expected`.
    pub(super) fn new(expected: bool) -> Self {
        let needed = if expected { ROUNDS_WARNED } else { ROUNDS_PATIENT };
        Self { rounds: 0, first: f64::MAX, halved: 0, needed, queues: VecDeque::new() }
    }

    /// Adds a round with its delivery in bytes per second and its queue in seconds. `recent` is the best delivery
    /// alongside another flow, if one is expected.
    pub(super) fn handle_round(&mut self, delivery: f64, queue: f64, recent: f64) -> Verdict {
        self.rounds += 1;
        match self.rounds {
            // Packets delivered in the first round were sent before the window was reduced.
            1 => return Verdict::Open,
            2 => self.first = delivery,
            _ => {}
        }
        if self.queues.len() == ROUNDS_KEPT {
            self.queues.pop_front();
        }
        self.queues.push_back(queue);
        if delivery <= (self.first * HALF).max(recent * HALF) {
            self.halved += 1;
        }
        let others = self.queues.iter().filter(|before| !is_unchanged(queue, **before)).count();
        if self.halved >= ROUNDS_LONGER && others <= ROUNDS_CHANGING {
            return Verdict::Longer;
        }
        if self.halved >= self.needed { Verdict::NotOurs } else { Verdict::Open }
    }

    /// Delivery in bytes per second below which the window is not reduced before the verdict.
    pub(super) fn least_delivery(&self) -> f64 {
        if self.rounds < 2 { 0.0 } else { self.first * LEAST }
    }
}

/// Time for which a neighbour that stopped is expected to return.
const WARNED_FOR: Duration = Duration::from_secs(90);

/// Memory of a neighbour: another flow on the path that fills its queue until it overflows.
#[derive(Debug, Default)]
pub(super) struct Neighbour {
    seen: Option<Instant>,
    /// Window in bytes that we had when competition with it last ended.
    pub(super) window: f64,
    pub(super) test: Option<QueueOwnerTest>,
}

impl Neighbour {
    pub(super) fn saw(&mut self, now: Instant) {
        self.seen = Some(now);
    }

    pub(super) fn is_expected(&self, now: Instant) -> bool {
        self.seen.is_some_and(|at| now.saturating_duration_since(at) < WARNED_FOR)
    }
}
