//! Decides when each lane of a session is opened: immediately at the start, later with a back-off that only progress
//! resets. Sans-IO.

use std::time::Duration;

use tokio::time::Instant;
use wire::control::LaneClosedReason;
use wire::ids::LaneId;

/// First wait after a lane was closed.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
/// Longest wait after a lane was closed: a target that was down for long is found again within this time.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Wait after another receiver opened a lane, without jitter.
const SUPERSEDED: Duration = Duration::from_secs(60);

/// Lanes of one session that are not open.
#[derive(Debug)]
pub(super) struct Reopen {
    lanes: Vec<Wait>,
}

#[derive(Debug, Clone, Copy)]
struct Wait {
    due: Option<Instant>,
    backoff: Duration,
}

impl Reopen {
    /// Creates lanes that are all due now.
    pub(super) fn new(lanes: u16) -> Self {
        let wait = Wait { due: Some(Instant::now()), backoff: BACKOFF_MIN };
        Self { lanes: vec![wait; usize::from(lanes)] }
    }

    /// Handles that a lane was closed; `jitter` is 0 to 1.
    pub(super) fn handle_closed(&mut self, lane: LaneId, reason: LaneClosedReason, now: Instant, jitter: f64) {
        let Some(wait) = self.lanes.get_mut(usize::from(lane.0)) else { return };
        wait.due = match reason {
            LaneClosedReason::TargetFailed => {
                let due = now + wait.backoff.mul_f64(0.5 + jitter / 2.0);
                wait.backoff = (wait.backoff * 2).min(BACKOFF_MAX);
                Some(due)
            }
            LaneClosedReason::Superseded => Some(now + SUPERSEDED.mul_f64(1.0 + jitter / 4.0)),
            LaneClosedReason::Refused | LaneClosedReason::SessionEnded => None,
        };
    }

    /// Handles that a record of the lane was committed: the lane works again.
    pub(super) fn handle_progress(&mut self, lane: LaneId) {
        if let Some(wait) = self.lanes.get_mut(usize::from(lane.0)) {
            wait.backoff = BACKOFF_MIN;
        }
    }

    /// Returns the lanes to be opened now, each once.
    pub(super) fn poll_due(&mut self, now: Instant) -> Vec<LaneId> {
        let mut due = Vec::new();
        for (lane, wait) in self.lanes.iter_mut().enumerate() {
            if wait.due.is_some_and(|at| at <= now) {
                wait.due = None;
                due.push(LaneId(lane as u16));
            }
        }
        due
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.lanes.iter().filter_map(|wait| wait.due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_lane_is_opened_less_often_until_it_progresses() {
        let now = Instant::now();
        let mut reopen = Reopen::new(1);
        let mut waits = Vec::new();
        for _ in 0..8 {
            reopen.poll_due(now + Duration::from_secs(600));
            reopen.handle_closed(LaneId(0), LaneClosedReason::TargetFailed, now, 1.0);
            waits.push(reopen.next_timeout().expect("due") - now);
        }
        assert!(waits.is_sorted() && waits[7] == BACKOFF_MAX, "{waits:?}");
        reopen.handle_progress(LaneId(0));
        reopen.handle_closed(LaneId(0), LaneClosedReason::TargetFailed, now, 1.0);
        assert_eq!(reopen.next_timeout(), Some(now + BACKOFF_MIN));
    }

    #[test]
    fn a_superseded_lane_is_not_opened_for_a_minute() {
        let now = Instant::now();
        let mut reopen = Reopen::new(1);
        reopen.poll_due(now + Duration::from_secs(1));
        reopen.handle_closed(LaneId(0), LaneClosedReason::Superseded, now, 0.0);
        assert!(reopen.poll_due(now + Duration::from_secs(59)).is_empty());
        assert_eq!(reopen.poll_due(now + Duration::from_secs(61)), [LaneId(0)]);
    }
}
