//! Window controller: bytes that may be in flight, derived from what ACKs show. It has no clock and no I/O. All channels
//! of a link's direction share one, so that they behave like one flow.
//!
//! Its result is a window, because quinn obeys nothing else. ACKs clock the sending, so that a window of
//! `delivery × (base + queue)` makes a queue of that length, independent of the path's rate.

use std::time::{Duration, Instant};

use super::base::Base;
use super::competing::{Competing, Outcome};
use super::deliveries::{BEST_WINDOW, Deliveries};
use super::interval::{Acked, Interval};
use super::loss_judge::LossJudge;
use super::policed::Policed;
use super::queue_owner_test::{Neighbour, QueueOwnerTest, Verdict};
use super::queue_view::QueueView;
use super::report::{Limit, Mode};
use super::settings::ack_packets;
use super::settings::{FlowSettings, Policy};

/// Part of a stated rate at which a link starts, and the round trip in seconds that is assumed until one is known.
const START_SHARE: f64 = 0.1;
const START_RTT: f64 = 0.1;
/// First window in packets where no rate is stated. RFC 9002 allows 10, but ours are paced.
const START_PACKETS: f64 = 32.0;
/// Smallest window in packets: the probes of two channels, and the packets for which the receiver delays an ACK.
const LEAST_PACKETS: f64 = 4.0;
/// Factor by which the window aims above the budget, which the limiter at the socket enforces exactly. With an aim at the
/// budget itself, half of all rounds would stay below it.
const ABOVE_BUDGET: f64 = 1.01;
/// Shortest duration of a round, and of a slice: on a short path, timers and ACKs vary.
const ROUND_MIN: Duration = Duration::from_millis(40);
const SLICE_MIN: Duration = Duration::from_millis(20);
/// Part of the target queue that the controller aims at where the path is the limit.
const AIM: f64 = 0.7;
/// Growth per round trip: at the start, and the bounds of later growth, which doubles with every round without a queue.
const START_GAIN: f64 = 1.0;
const GAIN_MIN: f64 = 0.02;
const GAIN_MAX: f64 = 0.5;
/// Part of the aim above which a queue counts as one.
const QUEUE_AT: f64 = 0.6;
/// Part of the window that is left for the round in which the base is measured again.
const DRAINED: f64 = 0.75;
/// Part of the window that must be in use before it grows further.
const USED: f64 = 0.5;
/// Silence after which the path counts as unreachable, with packets in flight: so many round trips, and at least so long.
const SILENT_ROUNDS: u32 = 3;
const SILENCE_MIN: Duration = Duration::from_millis(400);

/// Part of the window that is left after an unreachable path has returned, or after a long idle time.
const AFTER_SILENCE: f64 = 0.7;

/// Part by which a round must miss the budget for a correction of the trim, its largest correction, and the largest trim.
const TRIM_AT: f64 = 0.01;
const TRIM_STEP: f64 = 0.1;
const TRIM_MAX: f64 = 1.6;

#[derive(Debug)]
pub(super) struct WindowController {
    settings: FlowSettings,
    /// Bytes of QUIC packets per second that the budget allows.
    budget: Option<f64>,
    /// Size of a packet in bytes.
    packet: f64,
    /// Congestion window in bytes (`cwnd` of RFC 9002), in the modes that do not have a window of their own.
    window: f64,
    /// Growth of the window per round trip, as a part of it.
    gain: f64,
    /// Factor by which the window exceeds the budget's own, because quinn's pacer sends less than its window allows.
    trim: f64,
    mode: State,
    /// Round trip of the empty path (`min_rtt` of RFC 9002, but of the last 20 to 30 s).
    base: Base,
    /// Smoothed round trip in seconds (`smoothed_rtt` of RFC 9002).
    smoothed_rtt: Option<f64>,
    /// Interval of about one round trip.
    round: Interval,
    /// Interval of about a quarter of a round trip.
    slice: Interval,
    deliveries: Deliveries,
    queue: QueueView,
    losses: LossJudge,
    neighbour: Neighbour,
    /// Window in bytes to restore after a round with a smaller one, which measures the base.
    draining: Option<f64>,
    limit: Limit,
    /// Packets sent before this moment show nothing of the present path.
    evidence_from: Instant,
    last_heard: Instant,
    /// Bytes in flight (`bytes_in_flight` of RFC 9002).
    in_flight: u64,
}

#[derive(Debug)]
enum State {
    Starting,
    Steady,
    Policed(Policed),
    Competing(Competing),
}

/// Findings of the controller. Rates are in bytes of QUIC packets per second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Findings {
    pub(super) allowed: f64,
    pub(super) delivery: f64,
    pub(super) base_rtt: Option<Duration>,
    pub(super) smoothed_rtt: Option<Duration>,
    pub(super) queue: Duration,
    pub(super) loss: f64,
    pub(super) mode: Mode,
    pub(super) limit: Limit,
}

impl WindowController {
    pub(super) fn new(settings: FlowSettings, budget: Option<f64>, packet: f64, now: Instant) -> Self {
        let window = budget.map_or(START_PACKETS * packet, |budget| budget * START_SHARE * START_RTT);
        Self {
            settings,
            budget,
            packet,
            window: window.max(START_PACKETS * packet / 2.0),
            gain: START_GAIN,
            trim: 1.0,
            mode: State::Starting,
            base: Base::default(),
            smoothed_rtt: None,
            round: Interval::new(now),
            slice: Interval::new(now),
            deliveries: Deliveries::new(),
            queue: QueueView::default(),
            losses: LossJudge::new(now),
            neighbour: Neighbour::default(),
            draining: None,
            limit: Limit::Source,
            evidence_from: now,
            last_heard: now,
            in_flight: 0,
        }
    }

    /// Sets the budget. A lower one takes effect immediately; towards a higher one the window grows as usual.
    pub(super) fn set_budget(&mut self, budget: Option<f64>) {
        self.budget = budget;
        self.window = self.window.min(self.cap());
    }

    pub(super) fn set_packet(&mut self, packet: f64) {
        self.packet = packet;
    }

    /// Handles the first channel after a time without channels. The path is probably still the same.
    pub(super) fn handle_first(&mut self, now: Instant) {
        self.in_flight = 0;
        if self.smoothed_rtt.is_some() {
            self.resume(now);
        }
    }

    /// Handles the end of the last channel.
    pub(super) fn handle_none(&mut self) {
        self.in_flight = 0;
    }

    /// Bytes that may be in flight over all channels.
    pub(super) fn window(&self) -> f64 {
        let window = match &self.mode {
            State::Starting | State::Steady => self.window,
            State::Policed(policed) => policed.rate() * self.flight_allowed(),
            State::Competing(competing) => competing.window(),
        };
        window.min(self.cap()).max(self.floor()).max(LEAST_PACKETS * self.packet)
    }

    /// Handles a packet of `bytes` sent at `now`; it is included in the `in_flight` bytes.
    pub(super) fn handle_sent(&mut self, now: Instant, bytes: u64, in_flight: u64) {
        if self.in_flight == 0 {
            // The path can be silent only from now on: nothing was in flight before.
            if now.saturating_duration_since(self.last_heard) > BEST_WINDOW {
                self.resume(now);
            }
            self.last_heard = now;
        }
        self.in_flight = in_flight;
        self.round.sent(bytes, in_flight);
        self.slice.sent(bytes, in_flight);
    }

    /// Handles an ACK that arrived at `now` and left `in_flight` bytes in flight.
    pub(super) fn handle_acked(&mut self, now: Instant, acked: &Acked, in_flight: u64) {
        self.in_flight = in_flight;
        if self.is_silent(now) {
            self.resume(now);
        }
        self.last_heard = now;
        if acked.newest_sent < self.evidence_from {
            return;
        }
        let rtt = now.saturating_duration_since(acked.newest_sent);
        self.observe_rtt(now, rtt, acked.read.saturating_duration_since(acked.newest_sent));
        // The peer sends an ACK after more than so many packets. One for fewer packets was sent by its timer.
        let prompt = acked.packets > ack_packets(self.settings.rate);
        self.round.acked(acked, rtt, prompt);
        self.slice.acked(acked, rtt, prompt);
        if !acked.idle {
            self.grow(acked.bytes as f64);
        }
        let slice = SLICE_MIN.max(self.rtt() / 4);
        if self.slice.lasted(now) >= slice && self.slice.acked as f64 >= 8.0 * self.packet {
            self.end_slice(now);
        }
        if acked.newest_sent >= self.round.since && self.round.lasted(now) >= ROUND_MIN {
            self.end_round(now);
        }
    }

    /// Handles the loss of `bytes` of packets, of which the newest was sent at `sent`.
    pub(super) fn handle_lost(&mut self, sent: Instant, bytes: u64, in_flight: u64) {
        self.in_flight = in_flight;
        if sent >= self.losses.counts_from && sent >= self.evidence_from {
            self.round.lost += bytes;
            self.slice.lost += bytes;
        }
    }

    /// Handles a packet sent at `sent` that a router marked instead of dropping it (ECN): the router's queue is too long.
    pub(super) fn handle_marked(&mut self, now: Instant, sent: Instant) {
        if sent >= self.losses.counts_from && self.settings.policy != Policy::Reserved {
            self.window *= 0.85;
            self.gain = 0.0;
            self.leave_start();
            self.losses.counts_from = now;
        }
    }

    pub(super) fn findings(&self, now: Instant) -> Findings {
        let unreachable = self.is_unreachable(now);
        let mode = match self.mode {
            _ if unreachable => Mode::Unreachable,
            State::Starting => Mode::Starting,
            State::Steady => Mode::Steady,
            State::Policed(_) => Mode::Policed,
            State::Competing(_) => Mode::Competing,
        };
        Findings {
            allowed: self.window() / self.flight().max(1e-4),
            delivery: if unreachable { 0.0 } else { self.deliveries.last },
            base_rtt: self.base.get(),
            smoothed_rtt: self.smoothed_rtt.map(Duration::from_secs_f64),
            queue: Duration::from_secs_f64(self.queue.queue),
            loss: self.losses.part,
            mode,
            limit: self.limit,
        }
    }

    /// Returns whether the path has been silent for long with bytes in flight.
    pub(super) fn is_unreachable(&self, now: Instant) -> bool {
        self.in_flight > 0 && self.is_silent(now)
    }

    fn is_silent(&self, now: Instant) -> bool {
        let silence = now.saturating_duration_since(self.last_heard);
        // Before the first ACK the round trip is unknown.
        self.smoothed_rtt.is_some() && silence > SILENCE_MIN.max(self.rtt() * SILENT_ROUNDS)
    }

    /// Starts again after an unreachable path or a long idle time. The path is probably still the same.
    fn resume(&mut self, now: Instant) {
        self.window = self.window() * AFTER_SILENCE;
        self.mode = State::Starting;
        self.gain = START_GAIN;
        self.neighbour.test = None;
        self.draining = None;
        self.evidence_from = now;
        self.round = Interval::new(now);
        self.slice = Interval::new(now);
        self.deliveries.forget_slices();
        self.losses.restart();
    }

    /// Adds a round trip. `rtt` may be shorter than the path's, but `rtt_max` is not: if the base were too short once,
    /// part of the path's own delay would count as a queue until the base is forgotten.
    fn observe_rtt(&mut self, now: Instant, rtt: Duration, rtt_max: Duration) {
        if self.base.get().is_none() {
            let stated = self.budget.map_or(0.0, |budget| budget * START_SHARE * rtt.as_secs_f64());
            self.window = self.window.max(stated);
        }
        if matches!(self.mode, State::Competing(_)) {
            // The other flow's queue is not part of the path.
            self.base.observe_least(now, rtt_max);
        } else {
            self.base.observe(now, rtt_max);
        }
        let rtt = rtt.as_secs_f64();
        self.smoothed_rtt = Some(self.smoothed_rtt.map_or(rtt, |smoothed| smoothed + (rtt - smoothed) / 8.0));
    }

    fn grow(&mut self, acked: f64) {
        if self.draining.is_some() || self.gain <= 0.0 {
            return;
        }
        // Growth per round trip, but on a short path per round, because rounds are not shorter than `ROUND_MIN`.
        let scale = (self.rtt().as_secs_f64() / ROUND_MIN.as_secs_f64()).min(1.0);
        let grown = self.window + self.gain * acked * scale;
        // A window that was not used shows nothing of the path.
        let known = (self.round.peak.max(self.in_flight) as f64 / USED).max(self.window);
        self.window = grown.min(known).min(self.cap().max(self.window));
    }

    /// Ends a slice: reduces the window immediately if the queue is above the target.
    fn end_slice(&mut self, now: Instant) {
        let slice = std::mem::replace(&mut self.slice, Interval::new(now));
        let Some(base) = self.base.get() else { return };
        let Some(least) = slice.least_rtt() else { return };
        let queue = least.saturating_sub(base).as_secs_f64();
        let delivery = self.deliveries.observe_slice(&slice, now);
        let rtt = self.rtt();
        self.queue.observe_noise(least.as_secs_f64());
        if let State::Competing(competing) = &mut self.mode {
            if competing.handle_slice(now, base, least, slice.lost_part(), rtt) {
                // Packets sent before the cut are lost because of the window before it.
                self.losses.counts_from = now;
            }
            return;
        }
        if queue <= self.target() + self.queue.slack() || self.settings.policy == Policy::Reserved {
            return;
        }
        // All packets acknowledged in the slice had waited, so they arrived at the path's own rate.
        let goal = self.window_for(delivery);
        if goal < self.window {
            self.window = goal.max(self.window * 0.25).max(self.descent_bound());
            self.losses.counts_from = now;
        }
        self.gain = 0.0;
        self.leave_start();
    }

    /// Ends a round: measures it, then applies the rule of the present mode.
    fn end_round(&mut self, now: Instant) {
        let round = std::mem::replace(&mut self.round, Interval::new(now));
        let Some(base) = self.base.get() else { return };
        let Some(least) = round.least_rtt() else { return };
        let used = round.is_busy();
        self.deliveries.observe_round(now, round.delivery(now));
        self.queue.queue = least.saturating_sub(base).as_secs_f64();
        self.queue.observe_offset(round.mean_flight().unwrap_or(0.0) - least.as_secs_f64());
        self.adjust_trim(now, &round);
        let tolerance = self.settings.loss_tolerance.part();
        let judged = self.losses.judge(round.acked, round.lost, self.packet, tolerance);
        let too_lossy = judged == Some(true);
        self.limit = self.limit_now(used);
        if let Some(window) = self.draining.take() {
            self.window = window;
            return;
        }
        let rtt = self.rtt();
        let calm = self.queue.queue <= self.target() + self.queue.slack();
        match &mut self.mode {
            State::Policed(policed) => {
                if used {
                    policed.handle_round(now, self.deliveries.last, round.lost_part(), too_lossy, rtt);
                }
                self.leave_policed_if(calm);
            }
            State::Competing(_) => self.compete(now, calm, &round),
            State::Starting | State::Steady if too_lossy && (calm || self.settings.policy == Policy::Reserved) => {
                self.gain = 0.0;
                self.leave_start();
                // A series is needed: what its first round delivered was sent while the window grew.
                if self.losses.count_lossy_round() {
                    self.mode = State::Policed(Policed::new(now, self.deliveries.recent(), rtt));
                    self.losses.counts_from = now;
                }
            }
            State::Starting | State::Steady => {
                if judged.is_some() {
                    self.losses.end_series();
                }
                self.steer(now, used);
            }
        }
    }

    fn limit_now(&self, used: bool) -> Limit {
        let at_budget = self.budget.is_some() && self.window() >= 0.98 * self.cap();
        if at_budget && (used || self.deliveries.last >= 0.9 * self.budget.unwrap_or(f64::MAX)) {
            return Limit::Budget;
        }
        if used { Limit::Path } else { Limit::Source }
    }

    /// Adapts the window at the end of a round, on a path that is neither policed nor shared with a flow that fills the
    /// queue.
    fn steer(&mut self, now: Instant, used: bool) {
        let slack = self.queue.slack();
        let target = self.target();
        let aim = target * AIM;
        let yields = self.settings.policy != Policy::Reserved;
        let too_long = self.queue.queue > target + slack;
        let queues = self.queue.queue > aim * QUEUE_AT + slack;
        let expected = self.neighbour.is_expected(now);
        if yields && (too_long || (queues && expected)) && self.test_queue_owner(now, expected) {
            return;
        }
        if yields && too_long {
            // `end_slice` has reduced the window already.
            return;
        }
        if !queues {
            self.neighbour.test = None;
        }
        if self.window >= 0.95 * self.cap() {
            self.leave_start();
        }
        if !used || matches!(self.mode, State::Starting) {
            return;
        }
        if queues && yields {
            self.hold(now);
            return;
        }
        let first = (aim / self.base_seconds()).clamp(GAIN_MIN, GAIN_MAX / 2.0);
        self.gain = if self.gain > 0.0 { (self.gain * 2.0).min(GAIN_MAX) } else { first };
    }

    /// Keeps the queue at the length aimed at. Drains it for one round if the base has not been seen for long.
    fn hold(&mut self, now: Instant) {
        let goal = self.window_for(self.deliveries.last).clamp(self.window * 0.95, self.window * 1.05);
        self.window += (goal - self.window) / 2.0;
        self.gain = 0.0;
        if self.base.is_stale(now) {
            self.base.look_again(now);
            self.draining = Some(self.window);
            self.window *= DRAINED;
        }
    }

    /// Tests whose queue it is that does not drain although the window was reduced: our own would drain, with the same
    /// delivery. Returns whether that changed the mode or the base.
    fn test_queue_owner(&mut self, now: Instant, expected: bool) -> bool {
        let recent = if expected { self.deliveries.best() } else { 0.0 };
        let over = self.queue.queue > self.target();
        let test = self.neighbour.test.get_or_insert_with(|| QueueOwnerTest::new(expected));
        match test.handle_round(self.deliveries.last, self.queue.queue, recent) {
            Verdict::Open => return false,
            // We hold a queue below the target ourselves.
            Verdict::Longer if !over => return false,
            Verdict::Longer => self.rebase(now),
            Verdict::NotOurs => {
                if self.settings.policy != Policy::Adaptive {
                    return false;
                }
                let share = self.deliveries.best() * 0.5 * self.rtt().as_secs_f64();
                let window = share.max(self.window).max(self.neighbour.window * 0.8);
                self.mode = State::Competing(Competing::new(now, window, self.losses.part));
                self.neighbour.saw(now);
            }
        }
        self.neighbour.test = None;
        self.losses.counts_from = now;
        true
    }

    /// Adds the queue to the base: our own rate did not change it, so the path has become longer.
    fn rebase(&mut self, now: Instant) {
        let rtt = Duration::from_secs_f64(self.base_seconds() + self.queue.queue);
        self.base = Base::default();
        self.base.observe(now, rtt);
        self.gain = START_GAIN / 2.0;
    }

    fn compete(&mut self, now: Instant, calm: bool, round: &Interval) {
        let most = (round.peak as f64 * 1.5).max(LEAST_PACKETS * self.packet).min(self.cap() * 1.05);
        let State::Competing(competing) = &mut self.mode else { return };
        let outcome = competing.handle_round(now, self.queue.queue, calm, most);
        if outcome == Outcome::Continues {
            return;
        }
        self.window = competing.window();
        let competed = competing.full_window();
        self.mode = State::Steady;
        self.gain = 0.0;
        if outcome == Outcome::Longer {
            self.rebase(now);
            return;
        }
        self.neighbour.window = competed;
        self.neighbour.saw(now);
        self.base.look_again(now);
    }

    fn leave_policed_if(&mut self, calm: bool) {
        let State::Policed(policed) = &self.mode else { return };
        let free = self.budget.is_some_and(|budget| policed.rate() >= budget);
        let queues = !calm && !policed.is_probing() && self.settings.policy != Policy::Reserved;
        if free || queues {
            self.window = policed.rate() * self.flight_allowed();
            self.mode = State::Steady;
            self.gain = 0.0;
        }
    }

    fn leave_start(&mut self) {
        if matches!(self.mode, State::Starting) {
            self.mode = State::Steady;
        }
    }

    /// Window in bytes with which `delivery` leaves a queue of the length aimed at.
    fn window_for(&self, delivery: f64) -> f64 {
        let sent = delivery / (1.0 - self.losses.part.min(self.settings.loss_tolerance.part()));
        sent * (self.base_seconds() + self.target() * AIM + self.queue.slack() + self.queue.offset)
    }

    /// Smallest window in bytes until the test of the queue's owner has a verdict.
    fn descent_bound(&self) -> f64 {
        match (&self.neighbour.test, self.settings.policy) {
            (Some(test), Policy::Adaptive) => test.least_delivery() * (self.base_seconds() + self.target()),
            _ => 0.0,
        }
    }

    /// Bytes in flight that the budget allows.
    fn cap(&self) -> f64 {
        let Some(budget) = self.budget else { return f64::MAX };
        let flight = match (&self.mode, self.settings.policy) {
            (State::Competing(_), _) | (_, Policy::Reserved) => self.flight(),
            _ => self.flight_allowed(),
        };
        budget * ABOVE_BUDGET * self.trim * flight + 2.0 * self.packet
    }

    /// Corrects the trim after a round at the budget. quinn's pacer loses the time by which its timers are late, so that a
    /// window that the budget allows may send less than the budget; a larger window compensates that.
    fn adjust_trim(&mut self, now: Instant, round: &Interval) {
        let Some(budget) = self.budget else { return };
        let at_budget = matches!(self.mode, State::Steady) && self.window >= 0.95 * self.cap();
        let queue_max = self.target() * AIM * QUEUE_AT + self.queue.slack();
        if !at_budget || !round.is_busy() || self.queue.queue > queue_max {
            return;
        }
        let off = round.sending(now) / budget - 1.0;
        if off.abs() > TRIM_AT {
            self.trim = (self.trim * (1.0 - (off / 2.0).clamp(-TRIM_STEP, TRIM_STEP))).clamp(1.0, TRIM_MAX);
        }
    }

    /// Bytes in flight that the operator guarantees to this link.
    fn floor(&self) -> f64 {
        self.budget.map_or(0.0, |budget| budget * self.settings.floor.part() * self.flight())
    }

    /// Seconds for which a byte is in flight at present.
    fn flight(&self) -> f64 {
        self.smoothed_rtt.unwrap_or(START_RTT) + self.queue.offset
    }

    /// Seconds for which a byte may be in flight where we keep the queue short.
    fn flight_allowed(&self) -> f64 {
        if self.base.get().is_none() {
            return START_RTT;
        }
        self.flight().min(self.base_seconds() + self.target() + self.queue.offset + self.queue.slack())
    }

    fn base_seconds(&self) -> f64 {
        self.base.get().map_or(START_RTT, |base| base.as_secs_f64())
    }

    fn rtt(&self) -> Duration {
        Duration::from_secs_f64(self.smoothed_rtt.unwrap_or(START_RTT))
    }

    /// Queueing delay in seconds at which to back off.
    fn target(&self) -> f64 {
        let target = self
            .settings
            .queue_target
            .map_or_else(|| (self.base_seconds() * 0.05).clamp(0.004, 0.015), |target| target.as_secs_f64());
        if self.settings.policy == Policy::Scavenger { target / 2.0 } else { target }
    }
}
