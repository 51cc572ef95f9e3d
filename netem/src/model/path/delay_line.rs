//! The delay line behind the bottleneck: packets stay on it for the path's delay, with jitter and reordering.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::Rng;
use rand::rngs::ChaCha8Rng;

use super::dice::{Delivery, PathPacket, rng};
use crate::model::conditions::{Conditions, Jitter, Order};

/// Time between two targets of ordered jitter. Short enough that every round trip of a WAN sees several, long enough
/// that packets rarely have to wait for each other to keep their order.
const WANDER: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct DelayLine<P> {
    /// Packets by the time at which they arrive, then in the order in which they entered.
    in_flight: BTreeMap<(Duration, u64), InFlight<P>>,
    entered: u64,
    /// Bytes that are in flight on the delay line.
    pub(super) bytes: u64,
    /// Arrival time of the last of the packets that keep their order.
    last: Duration,
    wander: ChaCha8Rng,
}

#[derive(Debug)]
struct InFlight<P> {
    length: u64,
    packet: P,
    flip: Option<u64>,
}

impl<P: Clone> DelayLine<P> {
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let wander = rng(seed, stream, 2);
        Self { in_flight: BTreeMap::new(), entered: 0, bytes: 0, last: Duration::ZERO, wander }
    }

    /// Takes a packet that leaves the bottleneck `at` a time that never goes back.
    pub(super) fn enter(&mut self, packet: PathPacket<P>, conditions: &Conditions, at: Duration) {
        let due = self.due(&packet, conditions, at);
        let PathPacket { packet, length, fate, .. } = packet;
        if fate.doubled {
            self.push(due, length, packet.clone(), fate.flip);
        }
        self.push(due, length, packet, fate.flip);
    }

    /// Removes the next packet that has arrived by `now`; returns it and its length.
    pub(super) fn pop(&mut self, now: Duration) -> Option<(Delivery<P>, u64)> {
        let first = self.in_flight.first_entry().filter(|first| first.key().0 <= now)?;
        let ((due, _), InFlight { length, packet, flip }) = first.remove_entry();
        self.bytes -= length;
        Some((Delivery { packet, due, flip }, length))
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.in_flight.keys().next().map(|(due, _)| *due)
    }

    fn push(&mut self, due: Duration, length: u64, packet: P, flip: Option<u64>) {
        self.bytes += length;
        self.entered += 1;
        self.in_flight.insert((due, self.entered), InFlight { length, packet, flip });
    }

    fn due(&mut self, packet: &PathPacket<P>, conditions: &Conditions, at: Duration) -> Duration {
        let Conditions { delay, jitter, reorder, .. } = conditions;
        if let Some(reorder) = reorder.filter(|_| packet.fate.overtaken) {
            return at + *delay + reorder.by;
        }
        match jitter.order {
            Order::Free if jitter.by > Duration::ZERO => at + jittered(*delay, jitter, part(packet.fate.jitter)),
            _ => {
                let offset = if jitter.by > Duration::ZERO { self.wandered(at) } else { 0.0 };
                self.last = self.last.max(at + jittered(*delay, jitter, offset));
                self.last
            }
        }
    }

    /// Returns the offset of ordered jitter at a time, between -1 and 1. It lies on a straight line between two random
    /// targets, [`WANDER`] apart, which the seed decides.
    fn wandered(&mut self, at: Duration) -> f64 {
        let slot = at.as_nanos() / WANDER.as_nanos();
        let done = (at.as_nanos() % WANDER.as_nanos()) as f64 / WANDER.as_nanos() as f64;
        // Each target takes two words of the generator.
        self.wander.set_word_pos(slot * 2);
        let from = part(self.wander.next_u64());
        let to = part(self.wander.next_u64());
        from + (to - from) * done
    }
}

/// Maps a random number to the range from -1 to 1.
fn part(die: u64) -> f64 {
    die as f64 / u64::MAX as f64 * 2.0 - 1.0
}

fn jittered(delay: Duration, jitter: &Jitter, part: f64) -> Duration {
    let stray = jitter.by.mul_f64(part.abs());
    if part < 0.0 { delay.saturating_sub(stray) } else { delay + stray }
}
