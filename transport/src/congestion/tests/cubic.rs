//! Model of TCP CUBIC (RFC 9438) for its effect on neighbours: it fills a queue until it overflows.

use std::time::Duration;

const PACKET: f64 = super::quic::PACKET as f64;
const BETA: f64 = 0.7;
const C: f64 = 0.4;

pub(super) struct Cubic {
    window: f64,
    threshold: f64,
    plateau: f64,
    epoch: Option<Duration>,
    recovery_from: Duration,
}

impl Cubic {
    pub(super) fn new() -> Self {
        Self { window: 10.0 * PACKET, threshold: f64::MAX, plateau: 0.0, epoch: None, recovery_from: Duration::ZERO }
    }

    pub(super) fn window(&self) -> u64 {
        self.window as u64
    }

    pub(super) fn handle_acked(&mut self, now: Duration, sent: Duration, rtt: Option<f64>) {
        if sent < self.recovery_from && self.recovery_from > Duration::ZERO {
            return;
        }
        if self.window < self.threshold {
            self.window += PACKET;
            return;
        }
        let epoch = *self.epoch.get_or_insert(now);
        let since = (now - epoch).as_secs_f64();
        let rtt = rtt.unwrap_or(0.1);
        let rise = ((self.plateau - self.threshold).max(0.0) / PACKET / C).cbrt();
        let goal = self.plateau + C * PACKET * (since + rtt - rise).powi(3);
        let reno = self.threshold + PACKET * 0.53 * since / rtt;
        let goal = goal.max(reno).min(self.window * 1.5);
        self.window += (goal - self.window).max(0.0) * PACKET / self.window;
    }

    pub(super) fn handle_lost(&mut self, now: Duration, sent: Duration) {
        if sent < self.recovery_from {
            return;
        }
        self.plateau = if self.window < self.plateau { self.window * (1.0 + BETA) / 2.0 } else { self.window };
        self.window = (self.window * BETA).max(2.0 * PACKET);
        self.threshold = self.window;
        self.epoch = None;
        self.recovery_from = now;
    }
}
