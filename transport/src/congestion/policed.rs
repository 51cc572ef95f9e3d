//! The rule on a path that drops what is above its rate and queues nothing: a policer, or a queue too short to
//! be seen. The rate that gets through is held, and every few seconds a little more is tried.

use std::time::{Duration, Instant};

/// How often more is tried, and at least how many round trips lie between.
const PROBE_EVERY: Duration = Duration::from_secs(3);
const PROBE_ROUNDS: u32 = 8;

/// What is held of the rate that got through: its measuring is no more exact than that.
const HELD: f64 = 0.985;

/// How much more is tried first; doubled while it gets through.
const STEP: f64 = 0.05;

const STEP_MAX: f64 = 0.1;

/// The part of a step that must arrive for it to have got through.
const ARRIVED: f64 = 0.75;

/// Losses so far above the least, while nothing is tried, say that the limit is too high.
const OF_OURS: f64 = 0.02;

/// Rounds after a step that did not get through in which its losses still show.
const SETTLES: u32 = 2;

#[derive(Debug, Clone)]
pub(super) struct Policed {
    /// Bytes per second that get through.
    limit: f64,
    /// The part that is lost while the limit is held: the path's own.
    lost: Option<f64>,
    /// The least of that since the limit was last found: more is of our making, as a bucket that was full let a step
    /// through that is too much.
    clean: f64,
    next_probe: Instant,
    probe: Option<Probe>,
    settling: u32,
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    step: f64,
    /// Rounds since the step: what the first one delivers was sent before it, and a step takes most of the second.
    rounds: u32,
}

impl Policed {
    pub(super) fn new(now: Instant, limit: f64, rtt: Duration) -> Self {
        Self { limit, lost: None, clean: 1.0, next_probe: now + wait(rtt), probe: None, settling: SETTLES }
    }

    /// Bytes per second to send.
    pub(super) fn rate(&self) -> f64 {
        self.limit * (HELD + self.probe.map_or(0.0, |probe| probe.step))
    }

    pub(super) fn is_probing(&self) -> bool {
        self.probe.is_some()
    }

    /// A round delivered so many bytes per second and lost such a part, which is too much or not.
    pub(super) fn handle_round(&mut self, now: Instant, (delivery, lost): (f64, f64), too_lossy: bool, rtt: Duration) {
        let Some(probe) = &mut self.probe else {
            if self.settling > 0 {
                self.settling -= 1;
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
            self.settling = SETTLES;
            self.next_probe = now + wait(rtt);
        }
    }

    fn narrow(&mut self, limit: f64, now: Instant, rtt: Duration) {
        self.limit = limit;
        self.next_probe = now + wait(rtt);
        (self.lost, self.clean) = (None, 1.0);
        self.settling = SETTLES;
    }
}

fn wait(rtt: Duration) -> Duration {
    PROBE_EVERY.max(rtt * PROBE_ROUNDS)
}
