//! What changes from second to second: looked at once a second, shown by the board, and what
//! [`Limit`](crate::report::limit::Limit) is decided by.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

use crate::lane::activity::Spent;
use crate::report::path::{PathMeter, PathReading, PathReport};
use crate::report::status::{Board, Wire};

/// How often is looked.
const EVERY: Duration = Duration::from_secs(1);

/// Over so many looks the lanes' time is taken: long enough for a frame of a slow link to be seen,
/// short enough for an operator who waits.
const RATE_LOOKS: usize = 5;

/// Looks that are remembered, for what is taken over a minute.
const LOOKS_MAX: usize = 61;

/// A look.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// What the transport says of the path; `None` without a session.
    pub path: Option<PathReading>,
    /// What crossed the path so far.
    pub wire: Wire,
    /// Bytes on the wire so far, IP headers included.
    pub ip_bytes: u64,
    /// Bytes of frames so far, uncompressed.
    pub raw_bytes: u64,
    /// How the lanes spent their time so far.
    pub lanes: Vec<Spent>,
}

/// What follows from the last looks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pulse {
    /// The path.
    pub path: PathReport,
    /// Bytes of records for each byte on the wire, over the last minute; `None` while nothing is sent.
    pub efficiency: Option<f64>,
    /// How the lane that idles least spends its time.
    pub busiest: Shares,
}

/// Parts of the time, each 0 to 1; what is missing to 1 the lane idles.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Shares {
    /// It packs or compresses.
    pub works: f64,
    /// It waits for credit.
    pub credit: f64,
    /// It waits for the transport.
    pub room: f64,
}

/// Remembers the last looks. Sans-IO.
#[derive(Debug, Default)]
pub struct Meter {
    looks: VecDeque<(Instant, Look)>,
    path: PathMeter,
}

impl Meter {
    /// What follows at `now`.
    pub fn handle(&mut self, now: Instant, look: Look) -> Pulse {
        let Self { looks, path } = self;
        looks.push_back((now, look));
        while looks.len() > LOOKS_MAX {
            looks.pop_front();
        }
        let recent = looks.get(looks.len().saturating_sub(RATE_LOOKS + 1));
        let (Some(last), Some(oldest), Some(recent)) = (looks.back(), looks.front(), recent) else {
            return Pulse::default();
        };
        let (look, minute) = (&last.1, Change::between(&oldest.1, &last.1));
        let loss = (minute.packets > 0).then(|| minute.lost as f64 / minute.packets as f64);
        let seconds = last.0.saturating_duration_since(recent.0).as_secs_f64();
        Pulse {
            path: path.handle(now, look.path, loss),
            efficiency: (minute.wire_bytes > 0).then(|| minute.raw_bytes as f64 / minute.wire_bytes as f64),
            busiest: busiest(&recent.1, look, seconds),
        }
    }
}

struct Change {
    packets: u64,
    lost: u64,
    wire_bytes: u64,
    raw_bytes: u64,
}

impl Change {
    fn between(before: &Look, after: &Look) -> Self {
        Self {
            packets: after.wire.sent_packets.saturating_sub(before.wire.sent_packets),
            lost: after.wire.lost_packets.saturating_sub(before.wire.lost_packets),
            wire_bytes: after.ip_bytes.saturating_sub(before.ip_bytes),
            raw_bytes: after.raw_bytes.saturating_sub(before.raw_bytes),
        }
    }
}

fn busiest(before: &Look, after: &Look, seconds: f64) -> Shares {
    if seconds <= 0.0 {
        return Shares::default();
    }
    let lanes = before.lanes.iter().zip(&after.lanes).map(|(before, after)| after.since(*before));
    let spent = lanes.max_by_key(|spent| spent.wanted()).unwrap_or_default();
    let share = |spent: Duration| spent.as_secs_f64() / seconds;
    Shares { works: share(spent.works), credit: share(spent.waits_for_credit), room: share(spent.waits_for_room) }
}

/// Looks once a second, for as long as the sender lives.
pub async fn beat(board: Arc<Board>) {
    let mut meter = Meter::default();
    let mut ticks = tokio::time::interval(EVERY);
    // Looks that were missed would all see the same, at times that were not.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = tokio::time::Instant::now().into_std();
        // The lanes count by the machine's clock, whatever time is for this task.
        let lanes = board.spent(Instant::now());
        board.set_pulse(meter.handle(now, Look { lanes, ..board.look() }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn look(second: u64) -> Look {
        let (ms, n) = (Duration::from_millis, u32::try_from(second).unwrap());
        Look {
            path: Some(PathReading { rtt: ms(100), ..PathReading::default() }),
            wire: Wire {
                sent_bytes: second * 972_000,
                received_bytes: 0,
                sent_packets: second * 1000,
                lost_packets: second * 20,
            },
            ip_bytes: second * 1_000_000,
            raw_bytes: second * 2_500_000,
            lanes: vec![
                Spent { idles: SECOND * n, ..Spent::default() },
                Spent {
                    works: ms(100) * n,
                    waits_for_room: ms(700) * n,
                    waits_for_credit: ms(50) * n,
                    idles: ms(150) * n,
                },
            ],
        }
    }

    #[test]
    fn shares_are_those_of_the_last_seconds_and_efficiency_that_of_the_last_minute() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        let pulses: Vec<_> =
            (0..100).map(|second| meter.handle(start + SECOND * second, look(second.into()))).collect();
        assert_eq!(pulses[0].efficiency, None);
        assert_eq!(pulses[0].busiest, Shares::default());
        for pulse in &pulses[1..] {
            assert_eq!(pulse.path.loss_ratio, Some(0.02));
            assert_eq!(pulse.efficiency, Some(2.5));
            let Shares { works, credit, room } = pulse.busiest;
            assert!((works - 0.1).abs() < 1e-6 && (credit - 0.05).abs() < 1e-6 && (room - 0.7).abs() < 1e-6);
        }
        assert_eq!(meter.looks.len(), LOOKS_MAX);
        // Nothing moves any more.
        for second in 100..104 {
            meter.handle(start + SECOND * second, look(99));
        }
        let still = meter.handle(start + SECOND * 104, look(99));
        assert_eq!(still.busiest, Shares::default());
    }
}
