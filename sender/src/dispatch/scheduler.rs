//! Decides which class may send its next frame. Sans-IO: time and bytes are arguments.
//!
//! Strict classes go first. The others share by their guarantees: each class has a clock that its bytes advance, faster
//! for a smaller share, and the class with the least clock goes next. Thus other classes use what one leaves, in
//! proportion, and the link never idles while a class may send. A ceiling is a token bucket that goes into debt by the
//! frame that empties it. Frames are scheduled before they are closed, so that a critical record waits neither in a frame
//! nor in QUIC behind another class.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use wire::ids::LaneId;
use wire::lanes::{ClassLanes, ClassTable};
use wire::share::Share;
use wire::units::Rate;

use crate::config::derived;
use crate::dispatch::classes::{ClassTerms, Classes};

/// Largest frames by which a class may catch up after its lanes were packing. More would be a burst.
const CATCH_UP_FRAMES: u64 = 2;
/// Burst of a ceiling: the bytes that it passes in this time.
const CEILING_BURST: Duration = Duration::from_millis(20);
/// Half-life of the bytes that the measured share of a class is based on.
const SHARE_HALVES: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Scheduler {
    classes: Vec<State>,
    /// Clock of the class that was served last.
    clock: f64,
    /// Bytes of the largest frame, except for a record that is larger.
    frame_bytes: u64,
    /// Bytes that a class may catch up.
    catch_up: f64,
    rate: Option<Rate>,
}

#[derive(Debug)]
struct State {
    lanes: ClassLanes,
    terms: ClassTerms,
    weight: f64,
    /// Bytes sent, divided by the weight.
    clock: f64,
    /// Lanes whose frame is due, in the order of their requests.
    waiting: VecDeque<LaneId>,
    ceiling: Option<Bucket>,
    recent: Recent,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassView {
    pub terms: ClassTerms,
    /// Ceiling in bytes per second, if it has one.
    pub ceiling: Option<u64>,
    /// Part of the bytes sent in the last seconds, 0 to 1; `None` if nothing was sent.
    pub share: Option<f64>,
    pub waiting: usize,
}

impl Scheduler {
    /// Creates a scheduler of the lanes of `table`. Frames have at most `frame_bytes`, except for a record that is larger.
    pub(crate) fn new(
        table: &ClassTable,
        classes: &Classes,
        rate: Option<Rate>,
        frame_bytes: u64,
        now: Instant,
    ) -> Self {
        let state = |class: &ClassLanes| State {
            lanes: class.clone(),
            terms: ClassTerms::default(),
            weight: 1.0,
            clock: 0.0,
            waiting: VecDeque::new(),
            ceiling: None,
            recent: Recent { bytes: 0.0, at: now },
        };
        let states = table.classes().iter().map(state).collect();
        let mut scheduler = Self { classes: states, clock: 0.0, frame_bytes, catch_up: 0.0, rate };
        scheduler.set(table, classes, rate, now);
        scheduler
    }

    /// Applies other shares, ceilings and priorities, or another rate.
    pub(crate) fn set(&mut self, table: &ClassTable, classes: &Classes, rate: Option<Rate>, now: Instant) {
        let unshared = |state: &State| !state.terms.strict && state.terms.share.is_none();
        for (state, class) in self.classes.iter_mut().zip(table.classes()) {
            state.terms = classes.terms(&class.name);
        }
        let without = self.classes.iter().filter(|state| unshared(state)).count().max(1);
        for state in &mut self.classes {
            // Classes without a guarantee share the rest, and at least a little.
            let left = (classes.unshared() / without as f64).max(0.001);
            let weight = state.terms.share.map_or(left, Share::part);
            state.clock *= state.weight / weight;
            state.weight = weight;
        }
        self.set_rate(rate, now);
        // Clocks of other weights cannot be compared: all start from the same value.
        self.classes.iter_mut().for_each(|state| state.clock = self.clock);
    }

    /// Applies another rate to the ceilings that are a part of it.
    pub(crate) fn set_rate(&mut self, rate: Option<Rate>, now: Instant) {
        self.rate = rate;
        self.catch_up = (derived::frame_bytes(rate).min(self.frame_bytes) * CATCH_UP_FRAMES) as f64;
        for state in &mut self.classes {
            let ceiling = state.terms.ceiling.and_then(|ceiling| ceiling.bytes_per_second(rate));
            state.ceiling = ceiling.map(|rate| Bucket::new(rate, state.ceiling.take(), now));
        }
    }

    pub(crate) fn rate(&self) -> Option<Rate> {
        self.rate
    }

    pub(crate) fn handle_due(&mut self, lane: LaneId) {
        let clock = self.clock;
        let catch_up = self.catch_up;
        let Some(class) = self.class_mut(lane) else { return };
        if class.waiting.is_empty() {
            class.clock = class.clock.max(clock - catch_up / class.weight);
        }
        if !class.waiting.contains(&lane) {
            class.waiting.push_back(lane);
        }
    }

    pub(crate) fn handle_idle(&mut self, lane: LaneId) {
        if let Some(class) = self.class_mut(lane) {
            class.waiting.retain(|other| *other != lane);
        }
    }

    /// Returns the lane that may send next; `None` if none may now.
    pub(crate) fn next(&self, now: Instant) -> Option<LaneId> {
        let may = |state: &&State| {
            !state.waiting.is_empty() && state.ceiling.as_ref().is_none_or(|bucket| bucket.opens(now).is_none())
        };
        let strict = self.classes.iter().filter(may).find(|state| state.terms.strict);
        let shared = || self.classes.iter().filter(may).min_by(|a, b| a.clock.total_cmp(&b.clock));
        strict.or_else(shared)?.waiting.front().copied()
    }

    /// Returns the time at which the ceiling of a lane's class lets it send; `None` if the lane does not wait for that.
    pub(crate) fn opens(&self, lane: LaneId, now: Instant) -> Option<Instant> {
        self.class(lane)?.ceiling.as_ref()?.opens(now)
    }

    /// Handles that the next lane makes its frame, of `bytes` at most; others may make theirs meanwhile.
    pub(crate) fn handle_taken(&mut self, lane: LaneId, bytes: u64, now: Instant) {
        self.handle_idle(lane);
        let Some(class) = self.class_mut(lane) else { return };
        let clock = class.clock;
        let is_strict = class.terms.strict;
        class.charge(bytes as f64, now);
        if !is_strict {
            self.clock = self.clock.max(clock);
        }
        // A class does not catch up later what its ceiling held back.
        let Self { classes, clock, catch_up, .. } = self;
        let held = |state: &&mut State| state.ceiling.as_ref().is_some_and(|bucket| bucket.opens(now).is_some());
        for state in classes.iter_mut().filter(held) {
            state.clock = state.clock.max(*clock - *catch_up / state.weight);
        }
    }

    /// Handles that the frame for which `taken` was charged is made and has `bytes`: compressed, it is smaller.
    pub(crate) fn handle_made(&mut self, lane: LaneId, taken: u64, bytes: u64, now: Instant) {
        if let Some(class) = self.class_mut(lane) {
            class.charge(bytes as f64 - taken as f64, now);
        }
    }

    /// Returns whether a lane's class goes before others.
    pub(crate) fn is_strict(&self, lane: LaneId) -> bool {
        self.class(lane).is_some_and(|class| class.terms.strict)
    }

    pub(crate) fn view(&self, now: Instant) -> Vec<ClassView> {
        let recent: Vec<_> = self.classes.iter().map(|state| state.recent.now(now)).collect();
        let all: f64 = recent.iter().sum();
        let view = |(state, recent): (&State, f64)| ClassView {
            terms: state.terms,
            ceiling: state.ceiling.as_ref().map(|bucket| bucket.rate as u64),
            share: (all >= 1.0).then(|| recent / all),
            waiting: state.waiting.len(),
        };
        self.classes.iter().zip(recent).map(view).collect()
    }

    fn class(&self, lane: LaneId) -> Option<&State> {
        self.classes.iter().find(|class| class.lanes.owns(lane))
    }

    fn class_mut(&mut self, lane: LaneId) -> Option<&mut State> {
        self.classes.iter_mut().find(|class| class.lanes.owns(lane))
    }
}

impl State {
    fn charge(&mut self, bytes: f64, now: Instant) {
        self.clock += bytes / self.weight;
        self.recent.add(bytes, now);
        if let Some(bucket) = &mut self.ceiling {
            bucket.take(bytes, now);
        }
    }
}

/// Token bucket. A frame may take more than there is in it; the next frame waits for the debt.
#[derive(Debug)]
struct Bucket {
    /// Bytes per second that flow into the bucket.
    rate: f64,
    /// Bytes that may pass now; negative while in debt.
    bytes: f64,
    at: Instant,
}

impl Bucket {
    /// Creates a bucket that keeps the debt of the one before, and gains no fill.
    fn new(rate: u64, before: Option<Self>, now: Instant) -> Self {
        let rate = (rate as f64).max(1.0);
        let bytes = before.map_or(0.0, |bucket| bucket.filled(now)).min(rate * CEILING_BURST.as_secs_f64());
        Self { rate, bytes, at: now }
    }

    fn filled(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.bytes + passed * self.rate).min(self.rate * CEILING_BURST.as_secs_f64())
    }

    /// Returns the time at which a frame may pass; `None` for now.
    fn opens(&self, now: Instant) -> Option<Instant> {
        let bytes = self.filled(now);
        // Rounded up to whole nanoseconds, or a sleeper would always wake a moment too early.
        (bytes < 0.0).then(|| now + Duration::from_secs_f64(-bytes / self.rate) + Duration::from_nanos(1))
    }

    fn take(&mut self, bytes: f64, now: Instant) {
        self.bytes = self.filled(now) - bytes;
        self.at = now;
    }
}

/// Bytes that count less with their age.
#[derive(Debug)]
struct Recent {
    bytes: f64,
    at: Instant,
}

impl Recent {
    fn now(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at).as_secs_f64();
        self.bytes * (-age / SHARE_HALVES.as_secs_f64()).exp2()
    }

    fn add(&mut self, bytes: f64, now: Instant) {
        *self = Self { bytes: (self.now(now) + bytes).max(0.0), at: now };
    }
}

#[cfg(test)]
mod tests;
