//! Latencies of records, stage by stage, from the source to the target. One frame of each of the receiver's
//! transactions is measured, by its first record, and stands for the others.
//!
//! Both ends measure with a clock of their own, and the sender finds by how much the two differ. The results are for
//! reports only: nothing that a link does or promises depends on them.

mod frames;
mod peer_clock;
mod window;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use service::lock::Lock;
use transport::clock::Clock;
use wire::control::Control;

pub(crate) use frames::Sample;
pub use frames::{FrameTimes, Packed, Taken};
pub(crate) use peer_clock::Ahead;
use peer_clock::PeerClock;
pub(crate) use window::Summary;
pub use window::Window;

wire::words! {
    /// Stage of a record's way, in this order.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum Stage {
        /// From its timestamp, which the source's producer or broker set, until it is packed: the source, this
        /// process's reading of it, and the wait for credit.
        #[default]
        Read = "read",
        /// Until its frame is complete: the linger and compression.
        Pack = "pack",
        /// Until QUIC has taken the frame's last byte: the wait for the budget and the congestion controller.
        Budget = "budget",
        /// Until the last byte has arrived.
        Wire = "wire",
        /// Until the transaction that commits it begins: frames before it, and the pace of transactions.
        Order = "order",
        /// Until it is committed.
        Commit = "commit",
        /// From the timestamp to the commit: all stages together.
        Whole = "whole",
    }
}

impl Sample {
    fn of(&self, stage: Stage) -> Option<Duration> {
        match stage {
            Stage::Read => self.read,
            Stage::Pack => Some(self.pack),
            Stage::Budget => Some(self.budget),
            Stage::Wire => Some(self.wire),
            Stage::Order => Some(self.order),
            Stage::Commit => Some(self.commit),
            Stage::Whole => self.read.map(|read| {
                let parts = [self.pack, self.budget, self.wire, self.order, self.commit];
                parts.into_iter().fold(read, Duration::saturating_add)
            }),
        }
    }
}

/// Latencies of one sender. Its lanes' threads and its session record them, reports read them.
#[derive(Debug, Default)]
pub struct Latency {
    clock: Clock,
    inner: Lock<Inner>,
}

#[derive(Default)]
struct Inner {
    peer: PeerClock,
    windows: [Window; Stage::ALL.len()],
    acked: Option<u64>,
}

/// Times that recently acked frames spent, as evidence for what limits the link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecentDelays {
    /// Mean time from being complete to having arrived, over the last 10 to 20 s; `None` if no frame was acked.
    pub transit: Option<Duration>,
    /// Mean time from having arrived to being committed.
    pub held: Option<Duration>,
    pub acked: Option<Duration>,
    /// Time since the receiver last answered a question about its clock.
    pub heard: Option<Duration>,
}

impl Latency {
    pub fn new(clock: Clock) -> Self {
        Self { clock, inner: Lock::default() }
    }

    /// Returns the time of this machine's clock, in nanoseconds.
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Handles that a session began, perhaps with another receiver, whose clock differs.
    pub fn begin_session(&self) {
        let mut inner = self.inner.lock();
        inner.peer = PeerClock::default();
        inner.acked = None;
    }

    /// Returns the question that the receiver answers with its clock.
    pub fn poll_question(&self) -> Control {
        let asked = self.clock.now();
        self.inner.lock().peer.handle_asked(asked);
        Control::Clock { asked, answered: 0 }
    }

    /// Handles the receiver's answer: our time of the question and its time of the answer, in nanoseconds.
    pub fn handle_answer(&self, asked: u64, answered: u64) {
        let now = self.clock.now();
        self.inner.lock().peer.handle_answer(now, asked, answered);
    }

    /// Returns by how much the receiver's clock is ahead.
    pub fn ahead(&self) -> Option<Ahead> {
        let now = self.clock.now();
        self.inner.lock().peer.ahead(now)
    }

    /// Records that frames were acked, with the sample of one of them.
    pub fn handle_ack(&self, sample: Option<&Sample>) {
        let clock = self.clock.now();
        let now = Instant::now();
        let mut inner = self.inner.lock();
        inner.acked = Some(clock);
        let Some(sample) = sample else { return };
        for (stage, window) in Stage::ALL.iter().zip(&mut inner.windows) {
            if let Some(took) = sample.of(*stage) {
                window.record(now, took, sample.frames);
            }
        }
    }

    /// Returns what `read` finds in the window of a stage. Lanes that record an ack get the lock in between.
    pub fn stage<T>(&self, stage: Stage, read: impl FnOnce(&Window) -> T) -> T {
        read(&self.inner.lock().windows[stage as usize])
    }

    /// Returns the times that recently acked frames spent.
    pub fn recent_delays(&self) -> RecentDelays {
        let clock = self.clock.now();
        let now = Instant::now();
        let inner = self.inner.lock();
        let mean = |stage: Stage| {
            let summary = inner.windows[stage as usize].last(now, Duration::from_secs(20));
            summary.mean_seconds.map(Duration::from_secs_f64)
        };
        let both = |one, other| Some(mean(one)? + mean(other)?);
        RecentDelays {
            transit: both(Stage::Budget, Stage::Wire),
            held: both(Stage::Order, Stage::Commit),
            acked: inner.acked.map(|at| Duration::from_nanos(clock.saturating_sub(at))),
            heard: inner.peer.silence(clock).map(Duration::from_nanos),
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("peer", &self.peer).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(latency: &Latency) -> Vec<Summary> {
        let now = Instant::now();
        Stage::ALL.iter().map(|stage| latency.stage(*stage, |window| window.minute(now))).collect()
    }

    fn sample(read: Option<u64>) -> Sample {
        let ms = Duration::from_millis;
        Sample {
            read: read.map(ms),
            pack: ms(2),
            budget: ms(30),
            wire: ms(400),
            order: ms(5_000),
            commit: ms(60_000),
            frames: 3,
        }
    }

    #[test]
    fn the_whole_is_the_sum_of_its_stages() {
        let latency = Latency::default();
        latency.handle_ack(Some(&sample(Some(1))));
        let minutes = minutes(&latency);
        let means: Vec<_> = minutes.iter().map(|minute| minute.mean_seconds.unwrap()).collect();
        let (whole, parts) = means.split_last().unwrap();
        let sum: f64 = parts.iter().sum();
        assert!((whole - sum).abs() < whole * 0.01 && (sum - 65.433).abs() < 0.7, "{means:?}");
        assert!(minutes.iter().all(|minute| minute.frames == 3));
        assert!(Stage::ALL.iter().all(|stage| latency.stage(*stage, Window::total).frames == 3));
        let recent_delays = latency.recent_delays();
        let near = |found: Option<Duration>, millis: f64| {
            let found = found.unwrap().as_secs_f64() * 1000.0;
            assert!((found - millis).abs() < millis * 0.02, "{found} is not about {millis}");
        };
        near(recent_delays.transit, 430.0);
        near(recent_delays.held, 65_000.0);
        assert!(recent_delays.acked.is_some() && recent_delays.heard.is_none());
    }

    #[test]
    fn a_record_without_a_timestamp_has_no_read_stage() {
        let latency = Latency::default();
        latency.handle_ack(Some(&sample(None)));
        let frames: Vec<_> = minutes(&latency).iter().map(|minute| minute.frames).collect();
        assert_eq!(frames, [0, 3, 3, 3, 3, 3, 0]);
    }

    #[test]
    fn a_new_session_forgets_the_receivers_clock() {
        let latency = Latency::default();
        let Control::Clock { asked, answered: 0 } = latency.poll_question() else { panic!("a question") };
        latency.handle_answer(asked, asked + 5_000_000_000);
        assert!(latency.ahead().is_some_and(|ahead| (4_000_000_000..6_000_000_000).contains(&ahead.nanos)));
        latency.begin_session();
        assert_eq!(latency.ahead(), None);
    }

    #[test]
    fn every_stage_has_one_word() {
        assert!(Stage::ALL.iter().all(|stage| serde_json::json!(stage) == stage.word()));
        assert!(Stage::ALL.iter().enumerate().all(|(place, stage)| *stage as usize == place));
    }
}
