//! The bottleneck of a path: it sends whole packets one after another at its rate. Packets above the rate are queued
//! or policed. Times are exact to the nanosecond and sizes to the byte, at any moment.

use std::collections::VecDeque;
use std::time::Duration;

use wire::units::{Rate, Size};

use super::counters::DropCause;
use super::dice::PathPacket;
use crate::model::conditions::{Conditions, Excess};

/// Bit-nanoseconds per byte at one bit per second: converts bytes and a rate into nanoseconds.
const BIT_NANOS_PER_BYTE: u128 = 8 * 1_000_000_000;

#[derive(Debug)]
pub(super) enum Admission<P> {
    /// The packet waits in the queue or is being sent.
    Queued,
    /// The packet has already passed.
    Through(PathPacket<P>),
}

#[derive(Debug)]
pub(super) struct Bottleneck<P> {
    queue: VecDeque<PathPacket<P>>,
    /// Bytes that are not sent yet, the whole packet at the head included.
    pub(super) bytes: u64,
    /// Time at which the packet at the head will have been sent.
    finish: Duration,
    policer: Bucket,
}

/// A policer's token bucket: full at first, refilled at the rate.
#[derive(Debug, Default)]
struct Bucket {
    /// Tokens missing until the bucket is full, in bit-nanoseconds, so that nothing is rounded.
    missing: u128,
    seen: Duration,
}

impl<P> Default for Bottleneck<P> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), bytes: 0, finish: Duration::ZERO, policer: Bucket::default() }
    }
}

impl<P> Bottleneck<P> {
    /// Accepts or drops a packet at `now`. Packets sent by then must have been popped.
    pub(super) fn admit(
        &mut self,
        packet: PathPacket<P>,
        conditions: &Conditions,
        now: Duration,
    ) -> Result<Admission<P>, DropCause> {
        let Some(rate) = conditions.rate else { return Ok(Admission::Through(packet)) };
        if let Excess::Police(depth) = conditions.excess {
            let conforms = self.policer.take(packet.length, depth, rate, now);
            return if conforms { Ok(Admission::Through(packet)) } else { Err(DropCause::Policer) };
        }
        // A limit below one packet would stop all traffic, so that an empty queue always accepts a packet.
        if !self.queue.is_empty() && self.bytes + packet.length > conditions.queue_limit() {
            return Err(DropCause::Limit);
        }
        if self.queue.is_empty() {
            self.finish = now + time_to_send(packet.length, rate);
        }
        self.bytes += packet.length;
        self.queue.push_back(packet);
        Ok(Admission::Queued)
    }

    /// Removes the packet at the head if it has been sent by `now`; returns it and when it was sent.
    pub(super) fn pop(&mut self, rate: Option<Rate>, now: Duration) -> Option<(PathPacket<P>, Duration)> {
        let sent = self.finish;
        if sent > now {
            return None;
        }
        let packet = self.queue.pop_front()?;
        self.bytes -= packet.length;
        if let (Some(next), Some(rate)) = (self.queue.front(), rate) {
            self.finish += time_to_send(next.length, rate);
        }
        Some((packet, sent))
    }

    /// Returns when the packet at the head will have been sent.
    pub(super) fn next(&self) -> Option<Duration> {
        self.queue.front().map(|_| self.finish)
    }

    /// Applies a new rate to the rest of the packet at the head. Without a rate everything is sent now.
    pub(super) fn rate_changed(&mut self, old: Option<Rate>, new: Option<Rate>, now: Duration) {
        let left = self.finish.saturating_sub(now).as_nanos();
        self.finish = match (old, new) {
            (Some(old), Some(new)) => {
                let bits = left * u128::from(old.bits_per_second());
                now + nanos(bits.div_ceil(new.bits_per_second().into()))
            }
            _ => now,
        };
    }
}

impl Bucket {
    fn take(&mut self, length: u64, depth: Size, rate: Rate, now: Duration) -> bool {
        let gained = now.saturating_sub(self.seen).as_nanos() * u128::from(rate.bits_per_second());
        self.seen = now;
        self.missing = self.missing.saturating_sub(gained);
        let missing = self.missing + u128::from(length) * BIT_NANOS_PER_BYTE;
        let covered = missing <= u128::from(depth.bytes()) * BIT_NANOS_PER_BYTE;
        if covered {
            self.missing = missing;
        }
        covered
    }
}

fn time_to_send(length: u64, rate: Rate) -> Duration {
    nanos((u128::from(length) * BIT_NANOS_PER_BYTE).div_ceil(rate.bits_per_second().into()))
}

fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
