//! Bandwidth of the senders of one link, over all their channels and sessions. Sans-IO.
//!
//! A sender may send the bytes that it was granted, and every byte is paid for before it is granted: by its place in one
//! queue, which the rate serves. So a grant waits for all earlier ones, whichever channel asked for them.
//!
//! Packets are paid for at 5 % more than the rate, so that a sender that keeps to it never waits.

use std::ops::Range;
use std::time::Duration;

use service::lock::Lock;
use tokio::time::Instant;
use wire::units::Rate;

/// Time at the rate that a channel's window holds: a round trip of as much slows no sender.
const WINDOW: Duration = Duration::from_millis(500);
/// Time at the rate that a link which was idle may be granted without a wait: timers fire late on a busy machine.
const SAVED: Duration = Duration::from_millis(200);
/// Speed at which grants are paid for, in percent of the rate.
const PAID_PERCENT: u128 = 105;
/// The least window of a channel, for slow links: a frame and control messages.
const WINDOW_BYTES_MIN: u64 = 64 * 1024;

/// Queue of the grants of one link.
#[derive(Debug, Default)]
pub(crate) struct IncomingRate {
    /// Time at which all earlier grants are paid for; `None` before the first.
    paid_at: Lock<Option<Instant>>,
}

impl IncomingRate {
    /// Charges a grant of `bytes`. Returns the times at which all earlier grants are paid for, and this one.
    pub(crate) fn charge(&self, rate: Rate, bytes: u64, now: Instant) -> Range<Instant> {
        let mut paid_at = self.paid_at.lock();
        let idle_since = now.checked_sub(SAVED).unwrap_or(now);
        let begin = paid_at.map_or(idle_since, |paid| paid.max(idle_since));
        let end = begin + time_of(rate, bytes);
        *paid_at = Some(end);
        begin..end
    }

    /// Returns what was charged for `bytes` that the peer did not send.
    pub(crate) fn refund(&self, rate: Rate, bytes: u64) {
        let mut paid_at = self.paid_at.lock();
        *paid_at = paid_at.and_then(|paid| paid.checked_sub(time_of(rate, bytes)));
    }
}

/// Returns the window of one channel in bytes.
pub(crate) fn window(rate: Rate) -> u64 {
    rate.bytes_in(WINDOW).max(WINDOW_BYTES_MIN)
}

fn time_of(rate: Rate, bytes: u64) -> Duration {
    let nanos = u128::from(bytes) * 8_000_000_000 * 100 / u128::from(rate.bits_per_second().max(1));
    let nanos = nanos / PAID_PERCENT;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::from_bits_per_second(20_000_000);

    #[test]
    fn grants_wait_for_all_earlier_ones_at_the_rate() {
        let incoming = IncomingRate::default();
        let start = Instant::now();
        let charge = |bytes, now| incoming.charge(RATE, bytes, now);
        let second = start + Duration::from_secs(1);
        let first = charge(2_625_000, start);
        assert!(first.start < start && first.end <= second, "{first:?}");
        let paid = charge(2_625_000, start);
        assert_eq!(paid.start, first.end, "another channel's grants come before");
        assert_eq!(paid.end - paid.start, Duration::from_secs(1));
        // Bytes that were not sent leave room for others.
        incoming.refund(RATE, 2_625_000);
        assert_eq!(charge(2_625_000, start), paid);
        // What an idle link has saved is bounded.
        let hour = start + Duration::from_secs(3600);
        assert!(charge(500_000, hour).end <= hour && charge(50_000, hour).end > hour);
    }
}
