//! The long haul behind the bottleneck: a delay, and what strays from it.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

use rand::Rng;
use rand::rngs::ChaCha8Rng;

use super::Delivery;
use super::bottleneck::Held;
use super::dice::rng;
use crate::conditions::{Conditions, Jitter, Order};

/// How often the wandering delay is given a new goal. Short enough that every round-trip of a WAN sees several,
/// long enough that packets rarely have to wait for one another to stay in line.
const WANDER: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Haul<P> {
    under_way: BinaryHeap<Reverse<UnderWay<P>>>,
    entered: u64,
    bytes: u64,
    /// When the last of the packets that keep their order arrives.
    last: Duration,
    wander: ChaCha8Rng,
}

#[derive(Debug)]
struct UnderWay<P> {
    due: Duration,
    number: u64,
    length: u64,
    packet: P,
    flip: Option<u64>,
}

impl<P: Clone> Haul<P> {
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let wander = rng(seed, stream, 2);
        Self { under_way: BinaryHeap::new(), entered: 0, bytes: 0, last: Duration::ZERO, wander }
    }

    /// A packet leaves the bottleneck `at` a time that never goes back.
    pub(super) fn enter(&mut self, held: Held<P>, conditions: &Conditions, at: Duration) {
        let due = self.due(&held, conditions, at);
        let Held { packet, length, fate, .. } = held;
        if fate.doubled {
            self.push(due, length, packet.clone(), fate.flip);
        }
        self.push(due, length, packet, fate.flip);
    }

    /// The next packet that has arrived by `now`, and its length.
    pub(super) fn pop(&mut self, now: Duration) -> Option<(Delivery<P>, u64)> {
        if self.next()? > now {
            return None;
        }
        let Reverse(UnderWay { due, length, packet, flip, .. }) = self.under_way.pop()?;
        self.bytes -= length;
        Some((Delivery { packet, due, flip }, length))
    }

    /// When the next packet arrives.
    pub(super) fn next(&self) -> Option<Duration> {
        self.under_way.peek().map(|Reverse(first)| first.due)
    }

    /// Bytes under way.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn push(&mut self, due: Duration, length: u64, packet: P, flip: Option<u64>) {
        self.bytes += length;
        self.entered += 1;
        self.under_way.push(Reverse(UnderWay { due, number: self.entered, length, packet, flip }));
    }

    fn due(&mut self, held: &Held<P>, conditions: &Conditions, at: Duration) -> Duration {
        let Conditions { delay, jitter, reorder, .. } = conditions;
        if let Some(reorder) = reorder.filter(|_| held.fate.overtaken) {
            return at + *delay + reorder.by;
        }
        match jitter.order {
            Order::Free if jitter.by > Duration::ZERO => at + strayed(*delay, jitter, part(held.fate.jitter)),
            _ => {
                let stray = if jitter.by > Duration::ZERO { self.wandered(at) } else { 0.0 };
                self.last = self.last.max(at + strayed(*delay, jitter, stray));
                self.last
            }
        }
    }

    /// Where between -1 and 1 the wandering delay is at a time: on a straight line between two goals, which
    /// the seed names for each [`WANDER`] of the run.
    fn wandered(&mut self, at: Duration) -> f64 {
        let slot = at.as_nanos() / WANDER.as_nanos();
        let done = (at.as_nanos() % WANDER.as_nanos()) as f64 / WANDER.as_nanos() as f64;
        // Two words per goal.
        self.wander.set_word_pos(slot * 2);
        let (from, to) = (part(self.wander.next_u64()), part(self.wander.next_u64()));
        from + (to - from) * done
    }
}

/// A die as a part of the range from -1 to 1.
fn part(die: u64) -> f64 {
    die as f64 / u64::MAX as f64 * 2.0 - 1.0
}

fn strayed(delay: Duration, jitter: &Jitter, part: f64) -> Duration {
    let stray = jitter.by.mul_f64(part.abs());
    if part < 0.0 { delay.saturating_sub(stray) } else { delay + stray }
}

impl<P> Ord for UnderWay<P> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

impl<P> PartialOrd for UnderWay<P> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<P> PartialEq for UnderWay<P> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<P> Eq for UnderWay<P> {}
