//! Back-off between attempts: exponential, capped, with jitter. It has neither a clock nor randomness of its own: the
//! caller brings them.

use std::time::Duration;

/// Back-off with delays that grow until [`Backoff::reset`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    ceiling: Duration,
}

/// Error in the delays of a back-off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BackoffError {
    /// The first delay is zero, which would retry without a pause.
    #[error("first delay is zero; it must be longer")]
    Zero,
    #[error("first delay of {first:?} is above the cap of {cap:?}")]
    AboveCap { first: Duration, cap: Duration },
}

impl Backoff {
    /// Makes a back-off with a delay of about `first` that doubles each time up to `cap`.
    pub const fn try_new(first: Duration, cap: Duration) -> Result<Self, BackoffError> {
        if first.is_zero() {
            return Err(BackoffError::Zero);
        }
        if first.as_nanos() > cap.as_nanos() {
            return Err(BackoffError::AboveCap { first, cap });
        }
        Ok(Self { first, cap, ceiling: first })
    }

    /// Returns the next delay: between half and all of a ceiling that doubles with each call. `random` is uniform over
    /// all `u64`, so that peers that lost the same receiver do not all return at the same time.
    pub fn next_delay(&mut self, random: u64) -> Duration {
        let ceiling = self.ceiling;
        self.ceiling = ceiling.saturating_mul(2).min(self.cap);
        let half = ceiling / 2;
        // 32 bits of randomness are enough, and an `f64` holds them exactly.
        let share = u32::try_from(random >> 32).unwrap_or(u32::MAX);
        half.saturating_add((ceiling - half).mul_f64(f64::from(share) / f64::from(u32::MAX)))
    }

    /// Starts again with the first delay, after a success.
    pub fn reset(&mut self) {
        self.ceiling = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const CAP: Duration = Duration::from_secs(2);

    fn longest(backoff: &mut Backoff, count: usize) -> Vec<u128> {
        (0..count).map(|_| backoff.next_delay(u64::MAX).as_millis()).collect()
    }

    #[test]
    fn delays_double_up_to_the_cap_and_restart_after_a_success() {
        let mut backoff = Backoff::try_new(FIRST, CAP).unwrap();
        assert_eq!(longest(&mut backoff, 7), [100, 200, 400, 800, 1600, 2000, 2000]);
        backoff.reset();
        assert_eq!(longest(&mut backoff, 2), [100, 200]);
    }

    #[test]
    fn jitter_stays_between_half_and_all_of_the_ceiling() {
        let mut backoff = Backoff::try_new(FIRST, FIRST).unwrap();
        assert_eq!(backoff.next_delay(0), FIRST / 2);
        assert_eq!(backoff.next_delay(u64::MAX), FIRST);
        let middle = backoff.next_delay(u64::MAX / 2).as_millis();
        assert!((74..=75).contains(&middle), "{middle}");
    }

    #[test]
    fn the_largest_durations_do_not_overflow() {
        let mut backoff = Backoff::try_new(Duration::MAX / 2, Duration::MAX).unwrap();
        for random in [0, 1 << 63, u64::MAX, u64::MAX] {
            backoff.next_delay(random);
        }
    }

    #[test]
    fn impossible_delays_are_refused() {
        assert_eq!(Backoff::try_new(Duration::ZERO, CAP), Err(BackoffError::Zero));
        let error = Backoff::try_new(CAP, FIRST).unwrap_err();
        assert_eq!(error.to_string(), "first delay of 2s is above the cap of 100ms");
    }
}
