//! Whose queue is it? Ours drains when we send less, and what is delivered stays the same meanwhile, because the
//! bottleneck stays busy with it. Somebody else's stays, and what we cut is cut from our delivery.

use std::collections::VecDeque;

/// Rounds for which the queue must have stood at half of the delivery; fewer once such a flow has been seen.
const ROUNDS_PATIENT: u32 = 10;
const ROUNDS_WARNED: u32 = 4;

/// Rounds at half of the delivery after which it is looked whether the queue changed at all, and how many rounds may
/// have seen another one: those in which the path changed.
const ROUNDS_LONGER: u32 = 4;
const ROUNDS_CHANGING: usize = 2;

/// The part of the first delivery, or of the recent one, below which rounds count.
const HALF: f64 = 0.5;

/// To where the window may fall before the verdict.
const LEAST: f64 = 0.4;

/// A queue that strays no further than this while we send half as much is none: in seconds, and of itself.
const STRAY: f64 = 0.001;
const STRAY_PART: f64 = 0.04;

/// Rounds of which the queues are remembered.
const ROUNDS_KEPT: usize = 32;

/// Whether a queue, in seconds, is where it was.
pub(super) fn stands_still(queue: f64, before: f64) -> bool {
    (queue - before).abs() <= STRAY.max(queue * STRAY_PART)
}

#[derive(Debug)]
pub(super) struct Episode {
    rounds: u32,
    /// What was delivered once the queue stood.
    first: f64,
    low: u32,
    needed: u32,
    /// The queues of its rounds.
    queues: VecDeque<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not known yet.
    Open,
    /// Somebody else fills it.
    NotOurs,
    /// There is no queue: the path has become longer.
    Longer,
}

impl Episode {
    pub(super) fn new(warned: bool) -> Self {
        let needed = if warned { ROUNDS_WARNED } else { ROUNDS_PATIENT };
        Self { rounds: 0, first: f64::MAX, low: 0, needed, queues: VecDeque::new() }
    }

    /// A further round with a standing queue of so many seconds, and what it delivered per second. `recent` is a
    /// delivery that we had beside such a flow.
    pub(super) fn handle_round(&mut self, delivery: f64, queue: f64, recent: f64) -> Verdict {
        self.rounds += 1;
        match self.rounds {
            // What the first round delivers was sent before anything was cut.
            1 => return Verdict::Open,
            2 => self.first = delivery,
            _ => {}
        }
        if self.queues.len() == ROUNDS_KEPT {
            self.queues.pop_front();
        }
        self.queues.push_back(queue);
        if delivery <= (self.first * HALF).max(recent * HALF) {
            self.low += 1;
        }
        let others = self.queues.iter().filter(|before| !stands_still(queue, **before)).count();
        if self.low >= ROUNDS_LONGER && others <= ROUNDS_CHANGING {
            return Verdict::Longer;
        }
        if self.low >= self.needed { Verdict::NotOurs } else { Verdict::Open }
    }

    /// Bytes per second below which nothing is cut before the verdict.
    pub(super) fn least_delivery(&self) -> f64 {
        if self.rounds < 2 { 0.0 } else { self.first * LEAST }
    }
}
