//! What was sent, acknowledged and lost within a stretch of time, and what its round trips say.

use std::time::{Duration, Instant};

use super::ACK_DELAY;

/// What one ACK of QUIC said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acked {
    /// Packets that it acknowledges for the first time, and their bytes.
    pub(crate) packets: u32,
    pub(crate) bytes: u64,
    /// When the newest of them was sent.
    pub(crate) newest_sent: Instant,
    /// When it was read. QUIC dates it with a clock that it looks at before it looks into the socket: where the machine
    /// stops its thread in between, for 4 ms on a busy one, an ACK that came meanwhile is dated before it came.
    pub(crate) read: Instant,
    /// Sum over them of bytes × seconds under way.
    pub(crate) flight: f64,
    /// Whether there was nothing more to send when it came.
    pub(crate) idle: bool,
}

/// A stretch of time: a round is about a round trip, a slice a part of it.
#[derive(Debug, Clone)]
pub(super) struct Stretch {
    /// When it began.
    pub(super) since: Instant,
    pub(super) sent: u64,
    pub(super) acked: u64,
    pub(super) lost: u64,
    /// Acknowledged while there was nothing more to send.
    idle: u64,
    /// The least round trip of a packet whose arrival made the peer send an ACK, and of one for which it may have
    /// waited for others.
    prompt: Option<Duration>,
    late: Option<Duration>,
    /// The most bytes that were in flight.
    pub(super) peak: u64,
    flight: f64,
}

impl Stretch {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, sent: 0, acked: 0, lost: 0, idle: 0, prompt: None, late: None, peak: 0, flight: 0.0 }
    }

    pub(super) fn sent(&mut self, bytes: u64, in_flight: u64) {
        self.sent += bytes;
        self.peak = self.peak.max(in_flight);
    }

    /// An ACK; a `prompt` one was not held up at the peer.
    pub(super) fn acked(&mut self, acked: &Acked, rtt: Duration, prompt: bool) {
        self.acked += acked.bytes;
        self.idle += if acked.idle { acked.bytes } else { 0 };
        self.flight += acked.flight;
        let least = if prompt { &mut self.prompt } else { &mut self.late };
        *least = Some(least.map_or(rtt, |least| least.min(rtt)));
    }

    /// The least round trip without the peer's waiting. Where nothing was prompt, all of that is taken off: a queue
    /// is believed when it is seen.
    pub(super) fn least_rtt(&self) -> Option<Duration> {
        self.prompt.or_else(|| self.late.map(|rtt| rtt.saturating_sub(ACK_DELAY)))
    }

    /// Whether there was something to send for most of it.
    pub(super) fn is_busy(&self) -> bool {
        self.idle * 5 <= self.acked
    }

    /// How long it has lasted.
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

    /// How long a byte was under way in the mean, in seconds.
    pub(super) fn mean_flight(&self) -> Option<f64> {
        (self.acked > 0).then(|| self.flight / self.acked as f64)
    }
}

/// The largest of what was seen within a window of time.
#[derive(Debug, Clone)]
pub(super) struct WindowedMax {
    window: Duration,
    /// Values that may still become the largest: descending, the oldest first.
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
        // A descent of a thousand steps within the window has its shape without the first ones as well.
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
        let (mut most, start) = (WindowedMax::new(Duration::from_secs(3)), Instant::now());
        for (second, value, expected) in [(0, 5.0, 5.0), (1, 3.0, 5.0), (2, 4.0, 5.0), (3, 1.0, 5.0), (4, 1.0, 4.0)] {
            most.observe(start + Duration::from_secs(second), value);
            assert!((most.get() - expected).abs() < 1e-9, "second {second}: {}", most.get());
        }
    }
}
