//! Judge of losses: the part of the packets that the path loses, and whether that is more than the operator tolerates.

use std::time::Instant;

/// Number of packets over which losses are judged.
const LOSS_PACKETS: f64 = 200.0;
/// Number of consecutive rounds with too many losses, without a queue, after which the path counts as policed.
const LOSSY_ROUNDS: u32 = 3;

/// Losses of the packets in flight.
#[derive(Debug)]
pub(super) struct LossJudge {
    /// Bytes acknowledged since the last judgement.
    acked: f64,
    /// Bytes lost since the last judgement.
    lost: f64,
    /// Smoothed part of what was sent that is lost, from 0 to 1.
    pub(super) part: f64,
    /// Consecutive rounds that lost too much.
    lossy_rounds: u32,
    /// Losses of packets sent before this moment do not count: the window was different then.
    pub(super) counts_from: Instant,
}

impl LossJudge {
    pub(super) fn new(now: Instant) -> Self {
        Self { acked: 0.0, lost: 0.0, part: 0.0, lossy_rounds: 0, counts_from: now }
    }

    /// Forgets what has not been judged yet.
    pub(super) fn restart(&mut self) {
        self.acked = 0.0;
        self.lost = 0.0;
    }

    /// Adds a round's bytes. Returns whether more was lost than `tolerance`, once there are enough packets to tell.
    pub(super) fn judge(&mut self, acked: u64, lost: u64, packet: f64, tolerance: f64) -> Option<bool> {
        self.acked += acked as f64;
        self.lost += lost as f64;
        if self.acked + self.lost < LOSS_PACKETS * packet {
            return None;
        }
        let part = self.lost / (self.acked + self.lost);
        self.restart();
        self.part += (part - self.part) / 2.0;
        Some(part > tolerance)
    }

    /// Counts a round that lost too much. Returns whether the path counts as policed now.
    pub(super) fn count_lossy_round(&mut self) -> bool {
        self.lossy_rounds += 1;
        let policed = self.lossy_rounds >= LOSSY_ROUNDS;
        if policed {
            self.lossy_rounds = 0;
        }
        policed
    }

    /// Ends the series of rounds that lost too much.
    pub(super) fn end_series(&mut self) {
        self.lossy_rounds = 0;
    }
}
