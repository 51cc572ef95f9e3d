//! How long records take, stage by stage, from the source to the target: one frame of each of the receiver's
//! transactions is measured, by its first record, and stands for the others.
//!
//! Both ends measure with a clock of their own, and the sender finds how the two differ. Everything in here is for
//! people to look at: what a link does and promises depends on none of it.
//!
//! - `peer_clock`: by how much the receiver's clock differs
//! - `frames`: what was seen of each frame under way
//! - `window`: the last minute, and since the start

mod frames;
mod peer_clock;
mod window;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use service::metrics::Buckets;
use transport::clock::Clock;
use wire::control::Control;

pub use frames::{FrameTimes, Packed, Sample, Taken};
pub use peer_clock::{Ahead, PeerClock};
pub use window::{Summary, Window};

/// What a record passes, in this order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// From its timestamp, which the source's writer or broker set, until it is packed: the source, this process's
    /// reading of it, and the wait for credit.
    #[default]
    Read,
    /// Until its frame is complete: the linger and compression.
    Pack,
    /// Until QUIC has taken the frame's last byte: the wait for the budget and the congestion controller.
    Budget,
    /// Until the last byte has arrived.
    Wire,
    /// Until the transaction that it is committed in begins: frames before it, and the pace of transactions.
    Order,
    /// Until it is committed.
    Commit,
    /// All of these.
    Whole,
}

impl Stage {
    /// Every one, in order.
    pub const ALL: [Self; 7] =
        [Self::Read, Self::Pack, Self::Budget, Self::Wire, Self::Order, Self::Commit, Self::Whole];

    /// The word in `status --json` and in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Pack => "pack",
            Self::Budget => "budget",
            Self::Wire => "wire",
            Self::Order => "order",
            Self::Commit => "commit",
            Self::Whole => "whole",
        }
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

/// The latencies of one sender, shared by its lanes' threads, its session and its board.
#[derive(Debug, Default)]
pub struct Latency {
    clock: Clock,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    peer: PeerClock,
    windows: [Window; Stage::ALL.len()],
    acked: Option<u64>,
}

/// One stage at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StageStatus {
    /// Which.
    pub stage: Stage,
    /// Over the last minute.
    pub minute: Summary,
    /// Since the process started.
    pub total: Summary,
    /// The same for metrics.
    #[serde(skip)]
    pub buckets: Buckets,
}

/// How the receiver's clock differs from ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerClockStatus {
    /// How far it is ahead, in seconds; negative where it is behind.
    pub ahead_seconds: Option<f64>,
    /// How far that may be wrong.
    pub within_seconds: Option<f64>,
}

/// Where acked frames spent their time of late, for who asks what limits the link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lately {
    /// From being complete to having arrived, on average of the last 10 to 20 s; `None` where nothing was acked.
    pub transit: Option<Duration>,
    /// From having arrived to being committed.
    pub held: Option<Duration>,
    /// How long ago something was acked.
    pub acked: Option<Duration>,
    /// How long ago the receiver answered a question about its clock.
    pub heard: Option<Duration>,
}

impl Latency {
    /// Measured with `clock`.
    pub fn new(clock: Clock) -> Self {
        Self { clock, inner: Mutex::default() }
    }

    /// Our clock, in nanoseconds.
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// A session began: perhaps with another receiver, whose clock is another.
    pub fn begin_session(&self) {
        let mut inner = self.lock();
        inner.peer = PeerClock::default();
        inner.acked = None;
    }

    /// The question that the receiver answers with its clock.
    pub fn poll_question(&self) -> Control {
        let asked = self.clock.now();
        self.lock().peer.handle_asked(asked);
        Control::Clock { asked, answered: 0 }
    }

    /// Its answer.
    pub fn handle_answer(&self, asked: u64, answered: u64) {
        let now = self.clock.now();
        self.lock().peer.handle_answer(now, asked, answered);
    }

    /// How far the receiver's clock is ahead.
    pub fn ahead(&self) -> Option<Ahead> {
        let now = self.clock.now();
        self.lock().peer.ahead(now)
    }

    /// Something was acked, with what is known of one of the frames.
    pub fn handle_ack(&self, sample: Option<&Sample>) {
        let (clock, now) = (self.clock.now(), Instant::now());
        let mut inner = self.lock();
        inner.acked = Some(clock);
        let Some(sample) = sample else { return };
        for (stage, window) in Stage::ALL.into_iter().zip(&mut inner.windows) {
            if let Some(took) = sample.of(stage) {
                window.record(now, took, sample.frames);
            }
        }
    }

    /// Every stage as it is now.
    pub fn stages(&self) -> Vec<StageStatus> {
        let now = Instant::now();
        // The lock is taken for each by itself: lanes that wait to be told of an ack get in between.
        let status = |stage: Stage| {
            let window = &self.lock().windows[stage as usize];
            StageStatus { stage, minute: window.minute(now), total: window.total(), buckets: window.buckets() }
        };
        Stage::ALL.into_iter().map(status).collect()
    }

    /// How the clocks differ as far as is known.
    pub fn peer_clock(&self) -> PeerClockStatus {
        let ahead = self.ahead();
        PeerClockStatus {
            ahead_seconds: ahead.map(|ahead| ahead.nanos as f64 / 1e9),
            within_seconds: ahead.map(|ahead| ahead.within as f64 / 1e9),
        }
    }

    /// Where time went of late.
    pub fn lately(&self) -> Lately {
        let (clock, now) = (self.clock.now(), Instant::now());
        let inner = self.lock();
        let mean = |stage: Stage| {
            let summary = inner.windows[stage as usize].last(now, Duration::from_secs(20));
            summary.mean_seconds.map(Duration::from_secs_f64)
        };
        let both = |one, other| Some(mean(one)? + mean(other)?);
        Lately {
            transit: both(Stage::Budget, Stage::Wire),
            held: both(Stage::Order, Stage::Commit),
            acked: inner.acked.map(|at| Duration::from_nanos(clock.saturating_sub(at))),
            heard: inner.peer.silence(clock).map(Duration::from_nanos),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
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
        let stages = latency.stages();
        let means: Vec<_> = stages.iter().map(|stage| stage.minute.mean_seconds.unwrap()).collect();
        let (whole, parts) = means.split_last().unwrap();
        let sum: f64 = parts.iter().sum();
        assert!((whole - sum).abs() < whole * 0.01 && (sum - 65.433).abs() < 0.7, "{means:?}");
        assert!(stages.iter().all(|stage| stage.minute.frames == 3 && stage.total.frames == 3));
        assert!(stages.iter().map(|stage| stage.stage).eq(Stage::ALL));
        let lately = latency.lately();
        let near = |found: Option<Duration>, millis: f64| {
            let found = found.unwrap().as_secs_f64() * 1000.0;
            assert!((found - millis).abs() < millis * 0.02, "{found} is not about {millis}");
        };
        near(lately.transit, 430.0);
        near(lately.held, 65_000.0);
        assert!(lately.acked.is_some() && lately.heard.is_none());
    }

    #[test]
    fn a_record_without_a_timestamp_tells_nothing_of_when_it_was_written() {
        let latency = Latency::default();
        latency.handle_ack(Some(&sample(None)));
        let frames: Vec<_> = latency.stages().iter().map(|stage| stage.minute.frames).collect();
        assert_eq!(frames, [0, 3, 3, 3, 3, 3, 0]);
    }

    #[test]
    fn a_session_with_another_receiver_knows_nothing_of_the_clock_before() {
        let latency = Latency::default();
        let Control::Clock { asked, answered: 0 } = latency.poll_question() else { panic!("a question") };
        latency.handle_answer(asked, asked + 5_000_000_000);
        assert!(latency.peer_clock().ahead_seconds.is_some_and(|ahead| (4.0..6.0).contains(&ahead)));
        latency.begin_session();
        assert_eq!(latency.peer_clock(), PeerClockStatus::default());
    }

    #[test]
    fn every_stage_has_one_word() {
        assert!(Stage::ALL.iter().all(|stage| serde_json::json!(stage) == stage.word()));
        assert!(Stage::ALL.iter().enumerate().all(|(place, stage)| *stage as usize == place));
    }
}
