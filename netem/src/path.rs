//! One direction of a path: first the bottleneck, which all packets reach and which queues or drops what is
//! too much for it, then the long haul, which delays, loses, doubles and damages. So a packet that is lost
//! has cost the bottleneck its bytes, as on a real path (in tc-netem it has not).
//!
//! No clock and no randomness of its own: time is an argument, counted from the run's start, and every die is
//! drawn from the seed and the packet's number, whatever the knobs say. The same packets meet the same fate in
//! every run.

mod bottleneck;
mod counters;
mod dice;
mod haul;

use std::time::Duration;

use crate::conditions::{Conditions, Knob};
use bottleneck::{Admission, Bottleneck, Held};
use dice::Dice;
use haul::Haul;

pub use counters::{Counters, DropCause};

/// Bytes that one direction may hold, queue and haul together: 20 s of 100 Mbit/s. What is more is dropped, as
/// [`DropCause::Overflow`].
pub const HELD_MAX: u64 = 256 << 20;

/// One direction of a path, holding packets of type `P`.
#[derive(Debug)]
pub struct Path<P> {
    conditions: Conditions,
    dice: Dice,
    bottleneck: Bottleneck<P>,
    haul: Haul<P>,
    counters: Counters,
}

/// A packet that arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery<P> {
    /// The packet.
    pub packet: P,
    /// When it was to arrive; later than that is the carrier's lateness.
    pub due: Duration,
    /// The die that says which of its bits arrives flipped, if one does.
    pub flip: Option<u64>,
}

impl<P> Delivery<P> {
    /// Flips the bit that was chosen, if one was.
    pub fn damage(&self, bytes: &mut [u8]) {
        let bits = bytes.len() as u64 * 8;
        if let Some(bit) = self.flip.filter(|_| bits > 0).map(|die| die % bits) {
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
    }
}

impl<P: Clone> Path<P> {
    /// A path under `conditions` whose dice come from `seed`; `stream` keeps directions apart.
    pub fn new(conditions: Conditions, seed: u64, stream: u64) -> Self {
        Self {
            conditions,
            dice: Dice::new(seed, stream),
            bottleneck: Bottleneck::default(),
            haul: Haul::new(seed, stream),
            counters: Counters::default(),
        }
    }

    /// A packet of `length` bytes, IP header included, enters the path at `now`, which never goes back.
    ///
    /// # Errors
    /// Why it was dropped at once. Others are dropped on the way, and only counted.
    pub fn offer(&mut self, packet: P, length: usize, now: Duration) -> Result<(), DropCause> {
        self.settle(now);
        let length = length as u64;
        self.counters.offered(length);
        let fate = self.dice.roll(&self.conditions);
        let held = Held { packet, length, fate, arrived: now };
        self.admit(held, now).inspect_err(|&cause| self.counters.dropped(cause))
    }

    /// A packet that never enters because its own way is down: counted, and its die drawn, so that the others meet
    /// the same fate as without it.
    pub fn lose(&mut self, length: usize, now: Duration) -> DropCause {
        self.settle(now);
        self.counters.offered(length as u64);
        let _ = self.dice.roll(&self.conditions);
        self.counters.dropped(DropCause::Down);
        DropCause::Down
    }

    fn admit(&mut self, held: Held<P>, now: Duration) -> Result<(), DropCause> {
        if self.conditions.mtu.is_some_and(|mtu| held.length > mtu.bytes()) {
            return Err(DropCause::Mtu);
        }
        if self.bottleneck.bytes() + self.haul.bytes() + held.length > HELD_MAX {
            return Err(DropCause::Overflow);
        }
        match self.bottleneck.admit(held, &self.conditions, now)? {
            Admission::Queued => self.counters.backlog(self.bottleneck.bytes()),
            Admission::Through(held) => self.haul(held, now),
        }
        Ok(())
    }

    /// The next packet that has arrived by `now`.
    pub fn poll(&mut self, now: Duration) -> Option<Delivery<P>> {
        self.settle(now);
        let (delivery, length) = self.haul.pop(now)?;
        self.counters.delivered(length);
        Some(delivery)
    }

    /// When [`Path::poll`] may have something next, unless something else happens before.
    pub fn next_timeout(&self) -> Option<Duration> {
        // A packet that leaves the bottleneck cannot arrive before the shortest haul, so it need not be seen
        // to before that either.
        let shortest = self.conditions.delay.saturating_sub(self.conditions.jitter.by);
        let from_bottleneck = self.bottleneck.next().map(|finish| finish + shortest);
        [from_bottleneck, self.haul.next()].into_iter().flatten().min()
    }

    /// Turns a knob at `now`. What the bottleneck sent before then went under the old conditions.
    pub fn set(&mut self, knob: Knob, now: Duration) {
        self.settle(now);
        let old = self.conditions;
        self.conditions.set(knob);
        self.bottleneck.rate_changed(old.rate, self.conditions.rate, now);
        self.settle(now);
    }

    /// The conditions at present.
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// What has happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.bottleneck.bytes() == 0 && self.haul.bytes() == 0
    }

    /// Lets everything into the haul that the bottleneck has sent by `now`.
    fn settle(&mut self, now: Duration) {
        while let Some((held, finished)) = self.bottleneck.pop(self.conditions.rate, now) {
            self.counters.queued(finished.saturating_sub(held.arrived));
            self.haul(held, finished);
        }
    }

    fn haul(&mut self, held: Held<P>, at: Duration) {
        if self.conditions.down {
            return self.counters.dropped(DropCause::Down);
        }
        if held.fate.lost {
            return self.counters.dropped(DropCause::Loss);
        }
        self.counters.changed(&held.fate);
        self.haul.enter(held, &self.conditions, at);
    }
}

#[cfg(test)]
mod tests;
