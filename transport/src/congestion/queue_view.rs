//! Queue of the path as seen from round trips, and the errors of that view.

/// Longest difference in seconds between the least round trips of two intervals that counts as noise: more is a change
/// of the path.
const NOISE_MAX: f64 = 0.01;
/// Longest offset in seconds. Delayed ACKs (25 ms at most) and jitter cause it; a longer one counts as a queue.
const OFFSET_MAX: f64 = 0.03;

/// Queue and its errors; all fields are in seconds.
#[derive(Debug, Default)]
pub(super) struct QueueView {
    /// Queueing delay in the last round: its least round trip minus the base.
    pub(super) queue: f64,
    /// Smoothed time by which a byte's mean flight exceeds the least round trip: delayed ACKs and jitter.
    pub(super) offset: f64,
    /// Least round trip of the last interval.
    last_least: Option<f64>,
    /// Smoothed difference between the least round trips of consecutive intervals.
    noise: f64,
}

impl QueueView {
    /// Seconds by which the queue may be over-estimated, because round trips vary by themselves.
    pub(super) fn slack(&self) -> f64 {
        3.0 * self.noise
    }

    /// Adds the difference between a byte's mean flight and the least round trip of one round.
    pub(super) fn observe_offset(&mut self, offset: f64) {
        self.offset += (offset.clamp(0.0, OFFSET_MAX) - self.offset) / 4.0;
    }

    /// Adds the least round trip of an interval. On a path with variable delay there seems to be a queue; a queue of
    /// our own stays the same, or changes in one direction.
    pub(super) fn observe_noise(&mut self, least: f64) {
        if let Some(last) = self.last_least.replace(least) {
            let stray = (least - last).abs().min(NOISE_MAX);
            self.noise += (stray - self.noise) / 16.0;
        }
    }
}
