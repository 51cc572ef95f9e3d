//! Bytes sent, acknowledged and lost within an interval of time, and its round trips.

use std::time::{Duration, Instant};

use super::settings::ACK_DELAY;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Acked {
    /// Packets that it acknowledges for the first time, and their bytes.
    pub(crate) packets: u32,
    pub(crate) bytes: u64,
    pub(crate) newest_sent: Instant,
    /// Moment at which the ACK was read. QUIC reads its clock before the socket: if the system stops its thread in
    /// between, for 4 ms on a busy machine, the ACK gets a time before its arrival.
    pub(crate) read: Instant,
    /// Sum over these packets of bytes × seconds in flight.
    pub(crate) flight: f64,
    /// True if no data was waiting to be sent when the ACK arrived.
    pub(crate) idle: bool,
}

/// Measurements of an interval of time. A round is about one round trip, a slice a part of it.
#[derive(Debug, Clone)]
pub(super) struct Interval {
    pub(super) since: Instant,
    pub(super) sent: u64,
    pub(super) acked: u64,
    pub(super) lost: u64,
    /// Bytes acknowledged while no data was waiting to be sent.
    idle: u64,
    /// The least round trip of packets that the peer acknowledged without delay, and of those for which it may have
    /// waited for more packets.
    prompt: Option<Duration>,
    late: Option<Duration>,
    /// The most bytes that were in flight.
    pub(super) peak: u64,
    /// Sum over the acknowledged packets of bytes × seconds in flight.
    flight: f64,
}

impl Interval {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, sent: 0, acked: 0, lost: 0, idle: 0, prompt: None, late: None, peak: 0, flight: 0.0 }
    }

    pub(super) fn sent(&mut self, bytes: u64, in_flight: u64) {
        self.sent += bytes;
        self.peak = self.peak.max(in_flight);
    }

    /// Adds an ACK, which the peer sent without delay if it is `prompt`.
    pub(super) fn acked(&mut self, acked: &Acked, rtt: Duration, prompt: bool) {
        self.acked += acked.bytes;
        self.idle += if acked.idle { acked.bytes } else { 0 };
        self.flight += acked.flight;
        let least = if prompt { &mut self.prompt } else { &mut self.late };
        *least = Some(least.map_or(rtt, |least| least.min(rtt)));
    }

    /// The least round trip without the peer's ACK delay. If no ACK was prompt, the longest delay is subtracted, so that
    /// the delay cannot count as a queue.
    pub(super) fn least_rtt(&self) -> Option<Duration> {
        self.prompt.or_else(|| self.late.map(|rtt| rtt.saturating_sub(ACK_DELAY)))
    }

    /// Returns whether data was waiting to be sent most of the time.
    pub(super) fn is_busy(&self) -> bool {
        self.idle * 5 <= self.acked
    }

    /// Part of the packets that was lost, from 0 to 1.
    pub(super) fn lost_part(&self) -> f64 {
        self.lost as f64 / (self.lost + self.acked).max(1) as f64
    }

    pub(super) fn lasted(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Bytes sent per second.
    pub(super) fn sending(&self, now: Instant) -> f64 {
        self.sent as f64 / self.lasted(now).as_secs_f64().max(1e-6)
    }

    /// Bytes acknowledged per second.
    pub(super) fn delivery(&self, now: Instant) -> f64 {
        self.acked as f64 / self.lasted(now).as_secs_f64().max(1e-6)
    }

    /// Mean time in seconds for which a byte was in flight.
    pub(super) fn mean_flight(&self) -> Option<f64> {
        (self.acked > 0).then(|| self.flight / self.acked as f64)
    }
}

/// The largest value within a window of time.
#[derive(Debug, Clone)]
pub(super) struct WindowedMax {
    window: Duration,
    /// Values that may still become the largest: in descending order, the oldest first.
    seen: Vec<(Instant, f64)>,
}

impl WindowedMax {
    pub(super) fn new(window: Duration) -> Self {
        Self { window, seen: Vec::new() }
    }

    pub(super) fn observe(&mut self, now: Instant, value: f64) {
        while self.seen.last().is_some_and(|(_, last)| *last <= value) {
            self.seen.pop();
        }
        let window = self.window;
        self.seen.retain(|(at, _)| now.saturating_duration_since(*at) <= window);
        self.seen.push((now, value));
        // Of more than a thousand descending values the oldest is not needed.
        if self.seen.len() > 1_000 {
            self.seen.remove(0);
        }
    }

    pub(super) fn get(&self) -> f64 {
        self.seen.first().map_or(0.0, |(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_value_is_forgotten_after_its_time() {
        let mut most = WindowedMax::new(Duration::from_secs(3));
        let start = Instant::now();
        for (second, value, expected) in [(0, 5.0, 5.0), (1, 3.0, 5.0), (2, 4.0, 5.0), (3, 1.0, 5.0), (4, 1.0, 4.0)] {
            most.observe(start + Duration::from_secs(second), value);
            assert!((most.get() - expected).abs() < 1e-9, "second {second}: {}", most.get());
        }
    }
}
