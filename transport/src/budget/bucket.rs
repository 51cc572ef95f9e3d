//! How many bytes may leave now: a rate as a state machine that is told the time.
//!
//! The arithmetic is [`governor`]'s. What that needs around it: it counts cells that take a whole number of
//! nanoseconds each, so that a cell is several bytes and what is left over is carried; it takes nothing that is
//! larger than its burst, so that such a transmit is paid for in instalments; and it starts with a full burst, so
//! that whoever changes a rate starts it empty.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use wire::units::Rate;

/// How long one transmit may occupy the rate, where it is more than one packet: whoever waits for a turn waits for
/// one transmit of each that came before.
pub const TRANSMIT_TIME: Duration = Duration::from_millis(1);

/// What may leave at once after a quiet time, beside one transmit: together half a percent of a second, 5 percent of
/// 100 ms. Less would lose what a late timer leaves unused: they fire up to 2 ms late on an idle machine.
const SPARE: Duration = Duration::from_millis(4);

/// The largest packet of a common path, headers included, in bytes: no transmit is asked to be smaller.
pub const PACKET_BYTES: u64 = 1500;

/// The smallest cell, in bytes.
const CELL_BYTES_MIN: u64 = 64;

/// A cell takes at least this long, so that rounding its time up loses at most 1/2000 of the rate.
const CELL_NANOS_MIN: u128 = 2000;

/// A rate and what is left of it. Driving contract: `now` never decreases.
#[derive(Default)]
pub struct Bucket(Option<Metered>);

struct Metered {
    rate: Rate,
    limiter: RateLimiter<NotKeyed, InMemoryState, Told, NoOpMiddleware<Nanos>>,
    clock: Told,
    cell_bytes: i64,
    burst: NonZeroU32,
    /// Bytes sent and not yet charged, less than a cell; below zero where they are paid for and not yet sent.
    owed: i64,
}

/// The time as it was told last, in nanoseconds.
#[derive(Debug, Clone, Default)]
struct Told(Arc<AtomicU64>);

impl Clock for Told {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.load(Ordering::Relaxed).into()
    }
}

impl Told {
    fn tell(&self, now: Duration) {
        self.0.store(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Bucket {
    /// The rate that holds; `None` is no limit.
    pub fn rate(&self) -> Option<Rate> {
        self.0.as_ref().map(|metered| metered.rate)
    }

    /// Another rate from `now` on, without a burst of its own: what was left of the earlier one is forgotten.
    pub fn set_rate(&mut self, rate: Option<Rate>, now: Duration) {
        if rate == self.rate() {
            return;
        }
        let owed = self.0.as_ref().map_or(0, |metered| metered.owed);
        self.0 = rate.map(|rate| Metered::new(rate, owed, now));
    }

    /// Takes `bytes`, or says when to ask again.
    ///
    /// # Errors
    /// The moment before which there is not enough.
    pub fn take(&mut self, bytes: u64, now: Duration) -> Result<(), Duration> {
        self.0.as_mut().map_or(Ok(()), |metered| metered.take(bytes, now))
    }

    /// Gives back `bytes` that were taken and did not leave.
    pub fn give_back(&mut self, bytes: u64) {
        if let Some(metered) = &mut self.0 {
            metered.owed = metered.owed.saturating_sub_unsigned(bytes);
        }
    }
}

impl Metered {
    fn new(rate: Rate, owed: i64, now: Duration) -> Self {
        let cell_bytes = cell_bytes(rate);
        let burst = PACKET_BYTES.max(rate.bytes_in(TRANSMIT_TIME)) + rate.bytes_in(SPARE);
        let burst = u32::try_from(burst / cell_bytes).unwrap_or(u32::MAX);
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let clock = Told::default();
        let limiter = empty(rate, cell_bytes, burst, &clock, now);
        let cell_bytes = i64::try_from(cell_bytes).unwrap_or(i64::MAX);
        Self { rate, limiter, clock, cell_bytes, burst, owed }
    }

    fn take(&mut self, bytes: u64, now: Duration) -> Result<(), Duration> {
        self.clock.tell(now);
        let mut instalments = 0;
        loop {
            let due = self.owed.saturating_add_unsigned(bytes);
            let cells = u32::try_from(due.max(0) / self.cell_bytes).unwrap_or(u32::MAX);
            let Some(next) = NonZeroU32::new(cells.min(self.burst.get())) else {
                self.owed = due;
                break;
            };
            match self.limiter.check_n(next) {
                Ok(Ok(())) => self.owed -= i64::from(next.get()) * self.cell_bytes,
                Ok(Err(until)) => return Err(Duration::from(until.earliest_possible())),
                // `next` is no more than the burst.
                Err(_) => return Err(now + SPARE),
            }
            instalments += 1;
        }
        if instalments > 1 {
            // What leaves at once is more than a burst already: no other one behind it.
            let cell_bytes = self.cell_bytes.unsigned_abs();
            self.limiter = empty(self.rate, cell_bytes, self.burst, &self.clock, now);
        }
        Ok(())
    }
}

/// A limiter whose burst is spent.
fn empty(
    rate: Rate,
    cell_bytes: u64,
    burst: NonZeroU32,
    clock: &Told,
    now: Duration,
) -> RateLimiter<NotKeyed, InMemoryState, Told, NoOpMiddleware<Nanos>> {
    clock.tell(now);
    let quota = Quota::with_period(cell_time(rate, cell_bytes)).expect("a cell takes at least 2 µs");
    let limiter = RateLimiter::direct_with_clock(quota.allow_burst(burst), clock.clone());
    // A fresh one has all of its burst.
    let _ = limiter.check_n(burst);
    limiter
}

fn cell_bytes(rate: Rate) -> u64 {
    let mut bytes = CELL_BYTES_MIN;
    while cell_nanos(rate, bytes) < CELL_NANOS_MIN {
        bytes *= 2;
    }
    bytes
}

fn cell_nanos(rate: Rate, cell_bytes: u64) -> u128 {
    // Rounded up, so that no rate is exceeded.
    (u128::from(cell_bytes) * 8_000_000_000).div_ceil(u128::from(rate.bits_per_second().max(1)))
}

fn cell_time(rate: Rate, cell_bytes: u64) -> Duration {
    Duration::from_nanos(u64::try_from(cell_nanos(rate, cell_bytes)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
