//! Token bucket: a rate limit as a state machine, to which the caller passes the time.
//!
//! [`governor`] does the arithmetic, with three differences that this module bridges. It counts cells of a whole number
//! of nanoseconds, so a cell is several bytes here, and the remainder is carried over. It accepts nothing larger than its
//! burst, so a larger transmit is paid in instalments. It starts with a full burst, which is spent here when a rate is
//! set.

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

/// Time at the rate for one transmit of more than one packet. A channel that waits for its turn waits for one transmit of
/// each channel before it.
pub(super) const TRANSMIT_TIME: Duration = Duration::from_millis(1);
/// Time at the rate that may leave together after a quiet time, in addition to one transmit: both are 0.5 % of a second,
/// or 5 % of 100 ms. Less would lose bandwidth, because timers fire up to 2 ms late on an idle machine.
const SPARE: Duration = Duration::from_millis(4);
/// Largest packet in bytes of a common path, headers included: every transmit may be this large.
pub(super) const PACKET_BYTES: u64 = 1500;
/// Smallest cell in bytes.
const CELL_BYTES_MIN: u64 = 64;
/// Shortest time of a cell in nanoseconds: rounding it up loses at most 1/2000 of the rate.
const CELL_NANOS_MIN: u128 = 2000;

/// Token bucket with a rate, or without a limit. The caller's `now` must never decrease.
#[derive(Default)]
pub(super) struct Bucket(Option<Metered>);

struct Metered {
    rate: Rate,
    limiter: RateLimiter<NotKeyed, InMemoryState, Told, NoOpMiddleware<Nanos>>,
    clock: Told,
    cell_bytes: i64,
    burst: NonZeroU32,
    /// Bytes sent and not yet charged, less than a cell; negative for bytes that are charged and not yet sent.
    owed: i64,
}

/// Time that the caller passed last, in nanoseconds.
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
    /// Returns the rate in effect; `None` means no limit.
    pub(super) fn rate(&self) -> Option<Rate> {
        self.0.as_ref().map(|metered| metered.rate)
    }

    /// Changes the rate from `now` on. The new bucket starts empty; the rest of the old one is lost.
    pub(super) fn set_rate(&mut self, rate: Option<Rate>, now: Duration) {
        if rate == self.rate() {
            return;
        }
        let owed = self.0.as_ref().map_or(0, |metered| metered.owed);
        self.0 = rate.map(|rate| Metered::new(rate, owed, now));
    }

    /// Takes `bytes`, or returns when to ask again.
    pub(super) fn take(&mut self, bytes: u64, now: Duration) -> Result<(), Duration> {
        self.0.as_mut().map_or(Ok(()), |metered| metered.take(bytes, now))
    }

    /// Returns `bytes` that were taken and not sent.
    pub(super) fn give_back(&mut self, bytes: u64) {
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
            // This transmit is larger than a burst, so no further burst may follow it.
            let cell_bytes = self.cell_bytes.unsigned_abs();
            self.limiter = empty(self.rate, cell_bytes, self.burst, &self.clock, now);
        }
        Ok(())
    }
}

/// Makes a limiter whose burst is spent.
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
    // A new limiter has a full burst.
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
    // Rounded up, so that the rate is not exceeded.
    (u128::from(cell_bytes) * 8_000_000_000).div_ceil(u128::from(rate.bits_per_second().max(1)))
}

fn cell_time(rate: Rate, cell_bytes: u64) -> Duration {
    Duration::from_nanos(u64::try_from(cell_nanos(rate, cell_bytes)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
