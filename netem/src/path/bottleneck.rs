//! The narrowest place of a path: it sends whole packets one after another at its rate, and queues or polices
//! what comes faster. Exact to the nanosecond and the byte, whenever anybody looks.

use std::collections::VecDeque;
use std::time::Duration;

use wire::units::{Rate, Size};

use super::DropCause;
use super::dice::Fate;
use crate::conditions::{Conditions, Excess};

/// Bit-nanoseconds in a byte's second: what turns bytes and a rate into nanoseconds.
const BIT_NANOS_PER_BYTE: u128 = 8 * 1_000_000_000;

/// A packet on its way through.
#[derive(Debug)]
pub(super) struct Held<P> {
    pub(super) packet: P,
    pub(super) length: u64,
    pub(super) fate: Fate,
    /// When it reached the bottleneck.
    pub(super) arrived: Duration,
}

#[derive(Debug)]
pub(super) enum Admission<P> {
    /// It waits or is being sent.
    Queued,
    /// It is through at once.
    Through(Held<P>),
}

#[derive(Debug)]
pub(super) struct Bottleneck<P> {
    queue: VecDeque<Held<P>>,
    bytes: u64,
    /// When the packet at the head will have been sent.
    finish: Duration,
    /// The policer's bucket.
    bucket: Bucket,
}

/// A token bucket: full at first, filled at the rate.
#[derive(Debug, Default)]
struct Bucket {
    /// What is missing to full, in bit-nanoseconds, so that nothing is rounded.
    missing: u128,
    seen: Duration,
}

impl<P> Default for Bottleneck<P> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), bytes: 0, finish: Duration::ZERO, bucket: Bucket::default() }
    }
}

impl<P> Bottleneck<P> {
    /// Takes a packet at `now`; everything sent by then has been popped.
    pub(super) fn admit(
        &mut self,
        held: Held<P>,
        conditions: &Conditions,
        now: Duration,
    ) -> Result<Admission<P>, DropCause> {
        let Some(rate) = conditions.rate else { return Ok(Admission::Through(held)) };
        if let Excess::Police(depth) = conditions.excess {
            let covered = self.bucket.take(held.length, depth, rate, now);
            return if covered { Ok(Admission::Through(held)) } else { Err(DropCause::Policer) };
        }
        // A queue shorter than one packet would let nothing through.
        if !self.queue.is_empty() && self.bytes + held.length > conditions.queue_limit() {
            return Err(DropCause::Limit);
        }
        if self.queue.is_empty() {
            self.finish = now + time_to_send(held.length, rate);
        }
        self.bytes += held.length;
        self.queue.push_back(held);
        Ok(Admission::Queued)
    }

    /// The packet at the head, if it has been sent by `now`, and when.
    pub(super) fn pop(&mut self, rate: Option<Rate>, now: Duration) -> Option<(Held<P>, Duration)> {
        let finished = self.finish;
        if finished > now {
            return None;
        }
        let held = self.queue.pop_front()?;
        self.bytes -= held.length;
        if let (Some(next), Some(rate)) = (self.queue.front(), rate) {
            self.finish += time_to_send(next.length, rate);
        }
        Some((held, finished))
    }

    /// When the packet at the head will have been sent.
    pub(super) fn next(&self) -> Option<Duration> {
        self.queue.front().map(|_| self.finish)
    }

    /// Bytes not sent yet, the packet at the head in full.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is left of the packet at the head goes at the new rate; without one, everything goes now.
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
