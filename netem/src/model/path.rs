//! Model of one direction of a path. All packets first reach the bottleneck, which queues or drops what exceeds its
//! rate. Then the delay line delays, loses, duplicates and corrupts them. A lost packet has therefore used bytes of the
//! bottleneck, as on a real path (in tc-netem it has not).
//!
//! A path reads no clock and has no hidden randomness: time is an argument, counted from the run's start, and each
//! random number depends only on the seed and on the packet's number, not on the knobs. The same packets meet the
//! same fate in every run.

mod bottleneck;
pub(crate) mod counters;
mod delay_line;
pub(crate) mod dice;

use std::time::Duration;

use super::conditions::{Conditions, Knob};
use bottleneck::{Admission, Bottleneck};
use counters::{Counters, DropCause};
use delay_line::DelayLine;
use dice::{Delivery, Dice, PathPacket};

/// Limit of the bytes in one direction, in the queue and on the delay line together: 20 s of 100 Mbit/s. Packets above
/// it are dropped as [`DropCause::Overflow`].
pub const HELD_MAX: u64 = 256 << 20;

#[derive(Debug)]
pub struct Path<P> {
    pub conditions: Conditions,
    dice: Dice,
    bottleneck: Bottleneck<P>,
    delay_line: DelayLine<P>,
    pub counters: Counters,
}

impl<P: Clone> Path<P> {
    /// Creates a path under `conditions`. Its random numbers come from `seed`; `stream` separates the directions.
    pub fn new(conditions: Conditions, seed: u64, stream: u64) -> Self {
        Self {
            conditions,
            dice: Dice::new(seed, stream),
            bottleneck: Bottleneck::default(),
            delay_line: DelayLine::new(seed, stream),
            counters: Counters::default(),
        }
    }

    /// Puts a packet of `length` bytes, IP header included, on the path at `now`, which never goes back.
    pub fn offer(&mut self, packet: P, length: usize, now: Duration) -> Result<(), DropCause> {
        self.advance(now);
        let length = length as u64;
        self.counters.offered(length);
        let fate = self.dice.roll(&self.conditions);
        let packet = PathPacket { packet, length, fate, arrived: now };
        self.admit(packet, now).inspect_err(|&cause| self.counters.dropped(cause))
    }

    /// Counts a packet as lost because its flow is down. Its random numbers are drawn for the sake of the others.
    pub fn lose(&mut self, length: usize, now: Duration) -> DropCause {
        self.advance(now);
        self.counters.offered(length as u64);
        let _ = self.dice.roll(&self.conditions);
        self.counters.dropped(DropCause::Down);
        DropCause::Down
    }

    fn admit(&mut self, packet: PathPacket<P>, now: Duration) -> Result<(), DropCause> {
        if self.conditions.mtu.is_some_and(|mtu| packet.length > mtu.bytes()) {
            return Err(DropCause::Mtu);
        }
        if self.bottleneck.bytes + self.delay_line.bytes + packet.length > HELD_MAX {
            return Err(DropCause::Overflow);
        }
        match self.bottleneck.admit(packet, &self.conditions, now)? {
            Admission::Queued => self.counters.backlog_max = self.counters.backlog_max.max(self.bottleneck.bytes),
            Admission::Through(packet) => self.enter_delay_line(packet, now),
        }
        Ok(())
    }

    /// Returns the next packet that has arrived by `now`.
    pub fn poll(&mut self, now: Duration) -> Option<Delivery<P>> {
        self.advance(now);
        let (delivery, length) = self.delay_line.pop(now)?;
        self.counters.delivered += 1;
        self.counters.delivered_bytes += length;
        Some(delivery)
    }

    /// Returns when [`Path::poll`] may return a packet next, unless something else happens before.
    pub fn next_timeout(&self) -> Option<Duration> {
        // A packet that leaves the bottleneck cannot arrive before the shortest delay has passed.
        let shortest = self.conditions.delay.saturating_sub(self.conditions.jitter.by);
        let from_bottleneck = self.bottleneck.next().map(|finish| finish + shortest);
        [from_bottleneck, self.delay_line.next()].into_iter().flatten().min()
    }

    /// Changes one knob at `now`. Packets that the bottleneck sent before went under the old conditions.
    pub fn set(&mut self, knob: Knob, now: Duration) {
        self.advance(now);
        let old = self.conditions;
        self.conditions.set(knob);
        self.bottleneck.rate_changed(old.rate, self.conditions.rate, now);
        self.advance(now);
    }

    pub fn is_empty(&self) -> bool {
        self.bottleneck.bytes == 0 && self.delay_line.bytes == 0
    }

    /// Moves every packet that the bottleneck has sent by `now` to the delay line.
    fn advance(&mut self, now: Duration) {
        while let Some((packet, sent)) = self.bottleneck.pop(self.conditions.rate, now) {
            self.counters.sojourn.record(sent.saturating_sub(packet.arrived));
            self.enter_delay_line(packet, sent);
        }
    }

    fn enter_delay_line(&mut self, packet: PathPacket<P>, at: Duration) {
        if self.conditions.down {
            return self.counters.dropped(DropCause::Down);
        }
        if packet.fate.lost {
            return self.counters.dropped(DropCause::Loss);
        }
        self.counters.changed(&packet.fate);
        self.delay_line.enter(packet, &self.conditions, at);
    }
}

#[cfg(test)]
mod tests;
