//! Rule for a path that drops packets above its rate without a queue: a policer, or a queue too short to be measured.
//! The link sends at the rate that arrives, and tries a little more every few seconds.

use std::time::{Duration, Instant};

/// Time between two probes, and the least number of round trips between them.
const PROBE_EVERY: Duration = Duration::from_secs(3);
const PROBE_ROUNDS: u32 = 8;
/// Part of the measured rate at which the link sends, because the measurement is not exact.
const HELD: f64 = 0.985;
/// Part of the rate that the first step of a probe adds, and the most that a step adds. It doubles while steps arrive.
const STEP: f64 = 0.05;
const STEP_MAX: f64 = 0.1;
/// Part of a step that must arrive for the step to count as successful.
const ARRIVED: f64 = 0.75;
/// Difference from the least losses at which the limit is too high, outside of a probe.
const OF_OURS: f64 = 0.02;
/// Rounds after a failed step in which its losses still show.
const ROUNDS_IGNORED: u32 = 2;

#[derive(Debug, Clone)]
pub(super) struct Policed {
    /// Rate in bytes per second that arrives.
    limit: f64,
    /// Part that is lost at the limit: the path's own losses.
    lost: Option<f64>,
    /// The least of `lost` since the limit was last measured. More losses are our own: a full bucket of the policer let a
    /// step pass that was too large.
    clean: f64,
    next_probe: Instant,
    probe: Option<Probe>,
    rounds_to_ignore: u32,
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    step: f64,
    /// Rounds since the step. Packets delivered in the first one were sent before it, and it takes most of the second.
    rounds: u32,
}

impl Policed {
    pub(super) fn new(now: Instant, limit: f64, rtt: Duration) -> Self {
        Self {
            limit,
            lost: None,
            clean: 1.0,
            next_probe: now + wait(rtt),
            probe: None,
            rounds_to_ignore: ROUNDS_IGNORED,
        }
    }

    /// Rate to send at, in bytes per second.
    pub(super) fn rate(&self) -> f64 {
        self.limit * (HELD + self.probe.map_or(0.0, |probe| probe.step))
    }

    pub(super) fn is_probing(&self) -> bool {
        self.probe.is_some()
    }

    /// Handles the end of a round: its delivery in bytes per second, the part that was lost, and whether that is more
    /// than the operator tolerates.
    pub(super) fn handle_round(&mut self, now: Instant, delivery: f64, lost: f64, too_lossy: bool, rtt: Duration) {
        let Some(probe) = &mut self.probe else {
            if self.rounds_to_ignore > 0 {
                self.rounds_to_ignore -= 1;
                return;
            }
            if too_lossy {
                // The path has become narrower still.
                self.narrow(self.limit.min(delivery.max(self.limit * 0.5)), now, rtt);
            } else {
                let lost = self.lost.map_or(lost, |before| before + (lost - before) / 4.0);
                self.lost = Some(lost);
                self.clean = self.clean.min(lost);
                if lost > self.clean + OF_OURS {
                    self.narrow(self.limit * (1.0 - lost + self.clean), now, rtt);
                } else if now >= self.next_probe {
                    self.probe = Some(Probe { step: STEP, rounds: 0 });
                }
            }
            return;
        };
        probe.rounds += 1;
        if probe.rounds < 3 {
            return;
        }
        if lost <= self.lost.unwrap_or(0.0) + probe.step * (1.0 - ARRIVED) {
            self.limit *= 1.0 + probe.step;
            *probe = Probe { step: (probe.step * 2.0).min(STEP_MAX), rounds: 0 };
        } else {
            self.probe = None;
            self.rounds_to_ignore = ROUNDS_IGNORED;
            self.next_probe = now + wait(rtt);
        }
    }

    fn narrow(&mut self, limit: f64, now: Instant, rtt: Duration) {
        self.limit = limit;
        self.next_probe = now + wait(rtt);
        self.lost = None;
        self.clean = 1.0;
        self.rounds_to_ignore = ROUNDS_IGNORED;
    }
}

fn wait(rtt: Duration) -> Duration {
    PROBE_EVERY.max(rtt * PROBE_ROUNDS)
}
