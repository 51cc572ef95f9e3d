//! Rate in effect, and its reason: an operator's for a while, else the schedule's, else the file's; or what the receiver
//! allows, if that is less. It is decided in one place, which notifies all followers.

pub(crate) mod plan;
pub(crate) mod request;
pub(crate) mod schedule;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use service::live::Live;
use service::lock::Lock;
use tokio::time::Instant;
use transport::budget::{Budget, Usage};
use wire::units::Rate;

use crate::config::{Config, WanConfig};

use plan::{Plan, Ruling};
pub use request::Request;

/// Interval at which the plan is evaluated: the system's clock may be set without notice.
const INTERVAL: Duration = Duration::from_secs(1);
/// Samples over which the use of the rate is shown: few enough to follow a change, and enough not to flicker.
const SAMPLES: usize = 5;
/// Callback for the present rate and each later one.
type Follower = Box<dyn Fn(Option<Rate>) + Send + Sync>;

/// Rates of a sender: decides which is in effect, and has the budget that keeps it.
pub struct Rates {
    budget: Budget,
    state: Lock<State>,
}

struct State {
    plan: Plan,
    ruling: Ruling,
    followers: Vec<Follower>,
    /// Use of the budget at the last samples, the oldest first.
    used: VecDeque<(Instant, Usage)>,
}

/// Rate at one moment, and its use.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RateStatus {
    /// Rate in effect, in IP bits per second; `null` for no limit.
    pub bits_per_second: Option<u64>,
    /// Reason for the rate: `file`, `schedule`, `command`, or `receiver` if it allows less.
    pub reason: String,
    /// Entry of the schedule that is in effect, with its time zone.
    pub entry: Option<String>,
    /// Time of the next change of the plan, in RFC 3339; `null` if nothing changes by itself.
    pub until: Option<String>,
    /// IP bytes that left for the receiver, all headers from IP on included.
    pub sent_bytes: u64,
    /// IP packets that left for the receiver.
    pub sent_packets: u64,
    /// Seconds in which packets have waited for the rate, in all.
    pub waited_seconds: f64,
    /// IP bits that left per second, over the last 5 s.
    pub throughput_bits_per_second: f64,
    /// Part of the last 5 s in which packets waited for the rate, 0 to 1.
    pub waiting: f64,
}

impl RateStatus {
    /// Returns the part of the rate that is used; 0 without a rate.
    pub fn used_ratio(&self) -> f64 {
        self.bits_per_second.map_or(0.0, |rate| self.throughput_bits_per_second / rate.max(1) as f64)
    }
}

impl Rates {
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    pub fn rate(&self) -> Option<Rate> {
        self.state.lock().ruling.rate
    }

    /// Calls `follower` with the rate now, and each time that it changes. It must not call the rates back.
    pub fn follow(&self, follower: impl Fn(Option<Rate>) + Send + Sync + 'static) {
        let mut state = self.state.lock();
        follower(state.ruling.rate);
        state.followers.push(Box::new(follower));
    }

    pub fn configure(&self, wan: &WanConfig, now: Timestamp) {
        let mut state = self.state.lock();
        state.plan.configure(wan.rate, wan.schedule.clone());
        state.decide(now);
    }

    /// Sets the most that the receiver of the present session allows; `None` after the session.
    pub fn assign(&self, rate: Option<Rate>, now: Timestamp) {
        let mut state = self.state.lock();
        state.plan.assign(rate);
        state.decide(now);
    }

    /// Performs a request of `causeway rate`. Returns a sentence on the rate in effect.
    /// Error: a sentence on what is wrong with the request, and what would be accepted.
    pub fn ask(&self, request: &Request, now: Timestamp) -> Result<String, String> {
        let order = request.check(now)?;
        let mut state = self.state.lock();
        let before = state.plan.order(order);
        state.decide(now);
        let sentence = state.plan.sentence(&state.ruling, before.is_some());
        tracing::info!(sentence, "rate by command");
        Ok(sentence)
    }

    pub fn evaluate(&self, now: Timestamp) {
        let mut state = self.state.lock();
        state.decide(now);
        if state.used.len() > SAMPLES {
            state.used.pop_front();
        }
        state.used.push_back((Instant::now(), self.budget.usage()));
    }

    pub fn status(&self) -> RateStatus {
        let state = self.state.lock();
        let now = self.budget.usage();
        let recent = state.used.front().map(|(at, usage)| (at.elapsed().as_secs_f64(), *usage));
        let recent = recent.filter(|(seconds, _)| *seconds > 0.0);
        let per_second = |amount: f64| recent.map_or(0.0, |(seconds, _)| amount / seconds);
        let before = recent.map_or(now, |(_, usage)| usage);
        RateStatus {
            bits_per_second: state.ruling.rate.map(Rate::bits_per_second),
            reason: state.ruling.reason.word().to_owned(),
            entry: state.ruling.reason.entry(),
            until: state.ruling.until.map(|until| until.to_string()),
            sent_bytes: now.wire_bytes,
            sent_packets: now.packets,
            waited_seconds: now.waited.as_secs_f64(),
            throughput_bits_per_second: per_second((now.wire_bytes - before.wire_bytes) as f64 * 8.0),
            waiting: per_second((now.waited.saturating_sub(before.waited)).as_secs_f64()).min(1.0),
        }
    }
}

impl State {
    fn decide(&mut self, now: Timestamp) {
        let ruling = self.plan.rule(now);
        if ruling == self.ruling {
            return;
        }
        let before = std::mem::replace(&mut self.ruling, ruling);
        if before.rate == self.ruling.rate {
            return;
        }
        tracing::info!(from = plan::shown(before.rate), to = plan::shown(self.ruling.rate), why = %self.ruling.reason, "rate");
        self.followers.iter().for_each(|follower| follower(self.ruling.rate));
    }
}

/// Rates without a limit, with a budget of their own.
impl Default for Rates {
    fn default() -> Self {
        let state = State {
            plan: Plan::default(),
            ruling: Ruling::default(),
            followers: Vec::new(),
            used: VecDeque::with_capacity(SAMPLES + 1),
        };
        let rates = Self { budget: Budget::default(), state: Lock::new(state) };
        let budget = rates.budget.clone();
        rates.follow(move |rate| budget.set_rate(rate));
        rates
    }
}

impl std::fmt::Debug for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rates").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// Evaluates the plan once a second, and immediately with a new configuration, for as long as the sender lives.
pub(crate) async fn keep(rates: Arc<Rates>, mut config: Live<Config>) {
    loop {
        rates.evaluate(Timestamp::now());
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            config = config.changed() => rates.configure(&config.wan, Timestamp::now()),
        }
    }
}

#[cfg(test)]
mod tests;
