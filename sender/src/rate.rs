//! The rate that holds, and why: an operator's for a while, else the schedule's, else the file's. Decided in one
//! place, which tells everybody who follows it.
//!
//! - [`plan`]: the decision, told the time
//! - [`request`]: what `causeway rate` asks for

pub mod plan;
pub mod request;
pub mod schedule;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use service::live::Live;
use tokio::time::Instant;
use transport::budget::{Budget, Usage};
use wire::units::Rate;

use crate::config::{Config, WanConfig};

use plan::{Plan, Ruling};
pub use request::Request;

/// How often the plan is looked at: the system's clock may be set meanwhile, and nobody says so.
const LOOK: Duration = Duration::from_secs(1);

/// Over how many looks the use of the rate is shown: short enough to follow a change, long enough not to flicker.
const LOOKS_SHOWN: usize = 5;

/// Is told of the rate at once, and of each that follows.
type Follower = Box<dyn Fn(Option<Rate>) + Send + Sync>;

/// Where a sender's rate is decided, and the budget that keeps it.
pub struct Rates {
    budget: Budget,
    state: Mutex<State>,
}

struct State {
    plan: Plan,
    ruling: Ruling,
    followers: Vec<Follower>,
    /// The budget's use at the last looks, the oldest first.
    used: VecDeque<(Instant, Usage)>,
}

/// The rate at one moment, and what is used of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RateStatus {
    /// The rate; `null` is no limit.
    pub bits_per_second: Option<u64>,
    /// Where it comes from: `file`, `schedule` or `command`.
    pub reason: String,
    /// The schedule's entry that holds.
    pub entry: Option<String>,
    /// When the plan changes, in RFC 3339; `null` if it never does.
    pub until: Option<String>,
    /// IP bytes that left.
    pub sent_bytes: u64,
    /// Packets that left.
    pub sent_packets: u64,
    /// How long something has waited for the rate, all in all.
    pub waited_seconds: f64,
    /// What left in the last seconds.
    pub throughput_bits_per_second: f64,
    /// The part of the last seconds in which something waited for the rate, 0 to 1.
    pub waiting: f64,
}

impl Rates {
    /// The budget that keeps the rate.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The rate now.
    pub fn rate(&self) -> Option<Rate> {
        self.lock().ruling.rate
    }

    /// Tells `follower` the rate now, and each time that it changes. It must not ask back.
    pub fn follow(&self, follower: impl Fn(Option<Rate>) + Send + Sync + 'static) {
        let mut state = self.lock();
        follower(state.ruling.rate);
        state.followers.push(Box::new(follower));
    }

    /// Takes the file's rate and schedule over.
    pub fn configure(&self, wan: &WanConfig, now: Timestamp) {
        let mut state = self.lock();
        state.plan.configure(wan.rate, wan.schedule.clone());
        state.decide(now);
    }

    /// Does what `causeway rate` asks for; says what holds then.
    ///
    /// # Errors
    /// What is wrong with it, and what would be accepted.
    pub fn ask(&self, request: &Request, now: Timestamp) -> Result<String, String> {
        let order = request.check(now)?;
        let mut state = self.lock();
        let before = state.plan.order(order);
        state.decide(now);
        let sentence = state.plan.sentence(&state.ruling, before.is_some());
        tracing::info!(sentence, "rate by command");
        Ok(sentence)
    }

    /// Looks whether another rate holds by now, and how much of it is used.
    pub fn look(&self, now: Timestamp) {
        let mut state = self.lock();
        state.decide(now);
        if state.used.len() > LOOKS_SHOWN {
            state.used.pop_front();
        }
        state.used.push_back((Instant::now(), self.budget.usage()));
    }

    /// What holds, and what is used of it.
    pub fn status(&self) -> RateStatus {
        let (state, now) = (self.lock(), self.budget.usage());
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

/// No limit, kept by a budget of its own.
impl Default for Rates {
    fn default() -> Self {
        let state = State {
            plan: Plan::default(),
            ruling: Ruling::default(),
            followers: Vec::new(),
            used: VecDeque::with_capacity(LOOKS_SHOWN + 1),
        };
        let rates = Self { budget: Budget::default(), state: Mutex::new(state) };
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

/// Looks once a second, and at once with a new configuration, for as long as the sender lives.
pub async fn keep(rates: Arc<Rates>, mut config: Live<Config>) {
    loop {
        rates.look(Timestamp::now());
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            config = config.changed() => rates.configure(&config.wan, Timestamp::now()),
        }
    }
}

#[cfg(test)]
mod tests;
