//! The law: how many bytes may be under way, from what ACKs say. No clock, no I/O, and one for all channels of a
//! link's direction, so that they act as one flow.
//!
//! It holds a window, since a window is all that quinn obeys. Sending is clocked by ACKs, so a window of
//! `delivery × (base + queue)` is a queue of that length, whatever the path's rate is.

mod bounds;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::base::Base;
use super::competing::{Competing, Outcome};
use super::episode::{Episode, Verdict};
use super::policed::Policed;
use super::round::{Acked, Stretch, WindowedMax};
use super::{FlowSettings, Limit, Mode, Policy};

/// The part of a stated rate that a link starts with, and how long a round trip is taken for until one is known.
const START_SHARE: f64 = 0.1;
const START_RTT: f64 = 0.1;

/// The first window where no rate is stated, in packets: RFC 9002 allows 10; ours are paced.
const START_PACKETS: f64 = 32.0;

/// Never less may be under way, in packets: two channels' probes, and what the other side delays ACKs for.
const LEAST_PACKETS: f64 = 4.0;

/// How far above the budget the window aims. The limiter at the socket cuts it off exactly; with an aim at the
/// budget itself, half of all rounds would fall short of it.
const ABOVE_BUDGET: f64 = 1.01;

/// The least time that a round takes, and a slice: on a short path, noise of timers and ACKs.
const ROUND_MIN: Duration = Duration::from_millis(40);
const SLICE_MIN: Duration = Duration::from_millis(20);

/// Of the queue at which the law backs off, the part that it aims at where the path is the limit.
const AIM: f64 = 0.7;

/// Growth per round trip: at the start, and the bounds of later growth, which doubles with every round
/// without a queue.
const START_GAIN: f64 = 1.0;
const GAIN_MIN: f64 = 0.02;
const GAIN_MAX: f64 = 0.5;

/// The part of the aim above which a queue is taken to stand.
const STANDING: f64 = 0.6;

/// What is left of the window for the round in which a stale base is looked for again.
const DRAINED: f64 = 0.75;

/// For how long a flow that fills queues is expected back.
const WARNED_FOR: Duration = Duration::from_secs(90);

/// The window grows no further than to where this part of it is used.
const USED: f64 = 0.5;

/// Silence for so many round trips and so long, with packets under way: the path is dark.
const DARK_ROUNDS: u32 = 3;
const DARK_MIN: Duration = Duration::from_millis(400);

/// What is left of the window when a dark path is back, or after a long idle time.
const AFTER_DARK: f64 = 0.7;

/// Losses are judged over so many packets.
const LOSS_PACKETS: f64 = 200.0;

/// Rounds in a row that lose too much, without a queue, before the path is taken for a policed one.
const LOSSY_ROUNDS: u32 = 3;

/// How far the least round trips of two slices count as apart, at most: more is a change of the path.
const NOISE_MAX: f64 = 0.01;

/// How much longer than the least round trip packets may be under way before that counts as a queue: delayed
/// ACKs (25 ms at most) and jitter.
const OFFSET_MAX: f64 = 0.03;

/// How long the best delivery is remembered, from which competing starts.
const BEST_WINDOW: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Law {
    settings: FlowSettings,
    /// Bytes per second of QUIC packets that the budget allows.
    budget: Option<f64>,
    packet: f64,
    window: f64,
    gain: f64,
    mode: State,
    base: Base,
    smoothed_rtt: Option<f64>,
    round: Stretch,
    slice: Stretch,
    /// Bytes acknowledged, and seconds, of the last slices, about a round trip together.
    slices: VecDeque<(f64, f64)>,
    /// Deliveries of rounds, in bytes per second.
    recent: WindowedMax,
    best: WindowedMax,
    delivery: f64,
    queue: f64,
    /// How much longer than the least round trip a byte is under way: delayed ACKs, jitter.
    offset: f64,
    /// The least round trip of the last slice, and how far that strays from one slice to the next.
    last_least: Option<f64>,
    noise: f64,
    /// By what the window exceeds what the budget needs, for the pacer's sake.
    trim: f64,
    /// Acknowledged and lost since losses were judged last.
    judged: (f64, f64),
    loss: f64,
    /// Rounds in a row that lost too much.
    lossy: u32,
    episode: Option<Episode>,
    /// The window before it was lowered for a moment to see the base.
    draining: Option<f64>,
    /// When a flow that fills queues was last seen, and the window that we had beside it.
    warned: Option<Instant>,
    competed: f64,
    limit: Limit,
    /// What was sent before says nothing of the path as it is now, or of the window as it is now.
    evidence_from: Instant,
    losses_from: Instant,
    last_heard: Instant,
    in_flight: u64,
}

#[derive(Debug)]
enum State {
    Starting,
    Steady,
    Policed(Policed),
    Competing(Competing),
}

/// What the law says of itself.
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

impl Law {
    pub(super) fn new(settings: FlowSettings, budget: Option<f64>, packet: f64, now: Instant) -> Self {
        let window = budget.map_or(START_PACKETS * packet, |budget| budget * START_SHARE * START_RTT);
        Self {
            settings,
            budget,
            packet,
            window: window.max(START_PACKETS * packet / 2.0),
            gain: START_GAIN,
            mode: State::Starting,
            base: Base::default(),
            smoothed_rtt: None,
            round: Stretch::new(now),
            slice: Stretch::new(now),
            slices: VecDeque::new(),
            recent: WindowedMax::new(Duration::from_secs(1)),
            best: WindowedMax::new(BEST_WINDOW),
            delivery: 0.0,
            queue: 0.0,
            offset: 0.0,
            last_least: None,
            noise: 0.0,
            trim: 1.0,
            judged: (0.0, 0.0),
            loss: 0.0,
            lossy: 0,
            episode: None,
            draining: None,
            warned: None,
            competed: 0.0,
            limit: Limit::Source,
            evidence_from: now,
            losses_from: now,
            last_heard: now,
            in_flight: 0,
        }
    }

    /// A new budget. Less counts at once; towards more the window grows as it would anyway.
    pub(super) fn set_budget(&mut self, budget: Option<f64>) {
        self.budget = budget;
        self.window = self.window.min(self.cap());
    }

    pub(super) fn set_packet(&mut self, packet: f64) {
        self.packet = packet;
    }

    /// A first channel, or a first one again. What was found of the path is as likely as not what it is.
    pub(super) fn handle_first(&mut self, now: Instant) {
        self.in_flight = 0;
        if self.smoothed_rtt.is_some() {
            self.resume(now);
        }
    }

    /// The last channel has gone.
    pub(super) fn handle_none(&mut self) {
        self.in_flight = 0;
    }

    /// Bytes that may be under way, over all channels.
    pub(super) fn window(&self) -> f64 {
        let window = match &self.mode {
            State::Starting | State::Steady => self.window,
            State::Policed(policed) => policed.rate() * self.flight_allowed(),
            State::Competing(competing) => competing.window(),
        };
        window.min(self.cap()).max(self.floor()).max(LEAST_PACKETS * self.packet)
    }

    /// `bytes` went out at `now`; with them `in_flight` are under way.
    pub(super) fn handle_sent(&mut self, now: Instant, bytes: u64, in_flight: u64) {
        if self.in_flight == 0 {
            // Silence counts from when there is something to be heard of.
            if now.saturating_duration_since(self.last_heard) > BEST_WINDOW {
                self.resume(now);
            }
            self.last_heard = now;
        }
        self.in_flight = in_flight;
        self.round.sent(bytes, in_flight);
        self.slice.sent(bytes, in_flight);
    }

    /// An ACK came at `now` and left `in_flight` under way.
    pub(super) fn handle_acked(&mut self, now: Instant, acked: &Acked, in_flight: u64) {
        self.in_flight = in_flight;
        if self.is_dark_since(now) {
            self.resume(now);
        }
        self.last_heard = now;
        if acked.newest_sent < self.evidence_from {
            return;
        }
        let rtt = now.saturating_duration_since(acked.newest_sent);
        self.observe_rtt(now, rtt, acked.read.saturating_duration_since(acked.newest_sent));
        // More than so many packets, and their number makes the peer send an ACK; so many or fewer, and its timer did.
        let prompt = acked.packets > super::ack_packets(self.settings.rate);
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

    /// `bytes` of packets, the newest of them sent at `sent`, are lost.
    pub(super) fn handle_lost(&mut self, sent: Instant, bytes: u64, in_flight: u64) {
        self.in_flight = in_flight;
        if sent >= self.losses_from && sent >= self.evidence_from {
            self.round.lost += bytes;
            self.slice.lost += bytes;
        }
    }

    /// A router marked a packet sent at `sent` instead of dropping it: its queue is over what it aims at.
    pub(super) fn handle_marked(&mut self, now: Instant, sent: Instant) {
        if sent >= self.losses_from && self.settings.policy != Policy::Reserved {
            self.window *= 0.85;
            self.gain = 0.0;
            self.leave_start();
            self.losses_from = now;
        }
    }

    pub(super) fn findings(&self, now: Instant) -> Findings {
        let dark = self.is_dark(now);
        let mode = match self.mode {
            _ if dark => Mode::Dark,
            State::Starting => Mode::Starting,
            State::Steady => Mode::Steady,
            State::Policed(_) => Mode::Policed,
            State::Competing(_) => Mode::Competing,
        };
        Findings {
            allowed: self.window() / self.flight().max(1e-4),
            delivery: if dark { 0.0 } else { self.delivery },
            base_rtt: self.base.get(),
            smoothed_rtt: self.smoothed_rtt.map(Duration::from_secs_f64),
            queue: Duration::from_secs_f64(self.queue),
            loss: self.loss,
            mode,
            limit: self.limit,
        }
    }

    /// Whether nothing was heard for long though something is under way.
    pub(super) fn is_dark(&self, now: Instant) -> bool {
        self.in_flight > 0 && self.is_dark_since(now)
    }

    fn is_dark_since(&self, now: Instant) -> bool {
        let silence = now.saturating_duration_since(self.last_heard);
        // Before the first ACK nobody knows how long it takes.
        self.smoothed_rtt.is_some() && silence > DARK_MIN.max(self.rtt() * DARK_ROUNDS)
    }

    /// The path was dark, or nobody sent for long. It is as likely as not the path it was.
    fn resume(&mut self, now: Instant) {
        self.window = self.window() * AFTER_DARK;
        self.mode = State::Starting;
        self.gain = START_GAIN;
        self.episode = None;
        self.draining = None;
        self.evidence_from = now;
        self.restart_stretches(now);
    }

    fn restart_stretches(&mut self, now: Instant) {
        self.round = Stretch::new(now);
        self.slice = Stretch::new(now);
        self.slices.clear();
        self.judged = (0.0, 0.0);
    }

    /// `surely` is a round trip that the path is not longer than, and `rtt` may be shorter than the path. A base that
    /// believed that once would take the path's own length for a queue until it was forgotten.
    fn observe_rtt(&mut self, now: Instant, rtt: Duration, surely: Duration) {
        if self.base.get().is_none() {
            let stated = self.budget.map_or(0.0, |budget| budget * START_SHARE * rtt.as_secs_f64());
            self.window = self.window.max(stated);
        }
        if matches!(self.mode, State::Competing(_)) {
            // Its queue is no path.
            self.base.observe_least(now, surely);
        } else {
            self.base.observe(now, surely);
        }
        let rtt = rtt.as_secs_f64();
        self.smoothed_rtt = Some(self.smoothed_rtt.map_or(rtt, |smoothed| smoothed + (rtt - smoothed) / 8.0));
    }

    fn grow(&mut self, acked: f64) {
        if self.draining.is_some() || self.gain <= 0.0 {
            return;
        }
        // Per round trip, but not per more of them than anybody looks at.
        let scale = (self.rtt().as_secs_f64() / ROUND_MIN.as_secs_f64()).min(1.0);
        let grown = self.window + self.gain * acked * scale;
        // Beyond what was used nothing is known.
        let known = (self.round.peak.max(self.in_flight) as f64 / USED).max(self.window);
        self.window = grown.min(known).min(self.cap().max(self.window));
    }

    /// The slice between two looks at the queue is over: a queue above the target is answered at once.
    fn end_slice(&mut self, now: Instant) {
        let slice = std::mem::replace(&mut self.slice, Stretch::new(now));
        let (Some(base), Some(least)) = (self.base.get(), slice.least_rtt()) else { return };
        let queue = least.saturating_sub(base).as_secs_f64();
        let delivery = self.delivery_of(&slice, now);
        let rtt = self.rtt();
        self.observe_noise(least.as_secs_f64());
        if let State::Competing(competing) = &mut self.mode {
            let lost = slice.lost as f64 / (slice.lost + slice.acked).max(1) as f64;
            if competing.handle_slice(now, (base, least), lost, rtt) {
                // What was sent before the cut is lost by what was before it.
                self.losses_from = now;
            }
            return;
        }
        if queue <= self.target() + self.slack() || self.settings.policy == Policy::Reserved {
            return;
        }
        // All that was acknowledged in the slice had waited: it came as fast as the path lets it.
        let goal = self.window_for(delivery);
        if goal < self.window {
            self.window = goal.max(self.window * 0.25).max(self.descent_bound());
            self.losses_from = now;
        }
        self.gain = 0.0;
        self.leave_start();
    }

    /// A path whose delay wanders seems to queue. A queue of ours stands still, or moves one way.
    fn observe_noise(&mut self, least: f64) {
        if let Some(last) = self.last_least.replace(least) {
            let stray = (least - last).abs().min(NOISE_MAX);
            self.noise += (stray - self.noise) / 16.0;
        }
    }

    /// Bytes per second delivered in a slice, or in the round trip up to its end where that was more: at a slice's
    /// beginning there may have been a gap.
    fn delivery_of(&mut self, slice: &Stretch, now: Instant) -> f64 {
        const SLICES: usize = 4;
        if self.slices.len() == SLICES {
            self.slices.pop_front();
        }
        self.slices.push_back((slice.acked as f64, slice.lasted(now).as_secs_f64()));
        let (acked, seconds) = self.slices.iter().fold((0.0, 0.0), |sum, slice| (sum.0 + slice.0, sum.1 + slice.1));
        slice.delivery(now).max(acked / seconds.max(1e-6))
    }

    fn end_round(&mut self, now: Instant) {
        let round = std::mem::replace(&mut self.round, Stretch::new(now));
        let (Some(base), Some(least)) = (self.base.get(), round.least_rtt()) else { return };
        let used = round.is_busy();
        self.delivery = round.delivery(now);
        self.queue = least.saturating_sub(base).as_secs_f64();
        self.recent.observe(now, self.delivery);
        self.best.observe(now, self.delivery);
        let offset = round.mean_flight().unwrap_or(0.0) - least.as_secs_f64();
        self.offset += (offset.clamp(0.0, OFFSET_MAX) - self.offset) / 4.0;
        self.adjust_trim(now, &round);
        let judged = self.judge_losses(&round);
        let too_lossy = judged == Some(true);
        self.limit = self.limit_now(used);
        if let Some(window) = self.draining.take() {
            self.window = window;
            return;
        }
        let rtt = self.rtt();
        let calm = self.queue <= self.target() + self.slack();
        match &mut self.mode {
            State::Policed(policed) => {
                if used {
                    let lost = round.lost as f64 / (round.lost + round.acked).max(1) as f64;
                    policed.handle_round(now, (self.delivery, lost), too_lossy, rtt);
                }
                self.leave_policed_if(calm);
            }
            State::Competing(_) => self.compete(now, calm, &round),
            State::Starting | State::Steady if too_lossy && (calm || self.settings.policy == Policy::Reserved) => {
                // What the first such round delivered was sent while the window grew.
                self.gain = 0.0;
                self.leave_start();
                self.lossy += 1;
                if self.lossy >= LOSSY_ROUNDS {
                    self.lossy = 0;
                    self.mode = State::Policed(Policed::new(now, self.recent.get(), rtt));
                    self.losses_from = now;
                }
            }
            State::Starting | State::Steady => {
                if judged.is_some() {
                    self.lossy = 0;
                }
                self.steer(now, used);
            }
        }
    }

    /// Whether more was lost than the operator tolerates, once there are enough packets to tell.
    fn judge_losses(&mut self, round: &Stretch) -> Option<bool> {
        let (acked, lost) = (self.judged.0 + round.acked as f64, self.judged.1 + round.lost as f64);
        if acked + lost < LOSS_PACKETS * self.packet {
            self.judged = (acked, lost);
            return None;
        }
        self.judged = (0.0, 0.0);
        let loss = lost / (acked + lost);
        self.loss += (loss - self.loss) / 2.0;
        Some(loss > self.settings.loss_tolerance.part())
    }

    fn limit_now(&self, used: bool) -> Limit {
        let budget = self.budget.is_some_and(|_| self.window() >= 0.98 * self.cap());
        match (used, budget) {
            (_, true) if used || self.delivery >= 0.9 * self.budget.unwrap_or(f64::MAX) => Limit::Budget,
            (true, _) => Limit::Path,
            _ => Limit::Source,
        }
    }

    /// A round's end where the path is not known to be policed or shared with a flow that fills queues.
    fn steer(&mut self, now: Instant, used: bool) {
        let slack = self.slack();
        let (aim, target) = (self.target() * AIM, self.target());
        let yields = self.settings.policy != Policy::Reserved;
        let standing = self.queue > aim * STANDING + slack;
        let warned = self.warned.is_some_and(|at| now.saturating_duration_since(at) < WARNED_FOR);
        if yields && (self.queue > target + slack || (standing && warned)) && self.doubt(now, warned) {
            return;
        }
        if yields && self.queue > target + slack {
            return;
        }
        if !standing {
            self.episode = None;
        }
        if self.window >= 0.95 * self.cap() {
            self.leave_start();
        }
        if !used || matches!(self.mode, State::Starting) {
            return;
        }
        if standing && yields {
            let goal = self.window_for(self.delivery).clamp(self.window * 0.95, self.window * 1.05);
            self.window += (goal - self.window) / 2.0;
            self.gain = 0.0;
            if self.base.is_stale(now) {
                self.base.look_again(now);
                self.draining = Some(self.window);
                self.window *= DRAINED;
            }
            return;
        }
        let first = (aim / self.base_seconds()).clamp(GAIN_MIN, GAIN_MAX / 2.0);
        self.gain = if self.gain > 0.0 { (self.gain * 2.0).min(GAIN_MAX) } else { first };
    }

    /// The queue stands though the window was cut. Ours would drain while delivery stays what it is. Says whether
    /// that changed the rule.
    fn doubt(&mut self, now: Instant, warned: bool) -> bool {
        let recent = if warned { self.best.get() } else { 0.0 };
        let over = self.queue > self.target();
        let episode = self.episode.get_or_insert_with(|| Episode::new(warned));
        match episode.handle_round(self.delivery, self.queue, recent) {
            Verdict::Open => return false,
            // What stands below the target, we hold there.
            Verdict::Longer if !over => return false,
            Verdict::Longer => self.rebase(now),
            Verdict::NotOurs => {
                if self.settings.policy != Policy::Adaptive {
                    return false;
                }
                let share = self.best.get() * 0.5 * self.rtt().as_secs_f64();
                let window = share.max(self.window).max(self.competed * 0.8);
                self.mode = State::Competing(Competing::new(now, window, self.loss));
                self.warned = Some(now);
            }
        }
        self.episode = None;
        self.losses_from = now;
        true
    }

    /// Nothing that we did changed the queue: it is the path.
    fn rebase(&mut self, now: Instant) {
        let rtt = Duration::from_secs_f64(self.base_seconds() + self.queue);
        self.base = Base::default();
        self.base.observe(now, rtt);
        self.gain = START_GAIN / 2.0;
    }

    fn compete(&mut self, now: Instant, calm: bool, round: &Stretch) {
        let most = (round.peak as f64 * 1.5).max(LEAST_PACKETS * self.packet).min(self.cap() * 1.05);
        let State::Competing(competing) = &mut self.mode else { return };
        let verdict = competing.handle_round(now, self.queue, calm, most);
        if verdict == Outcome::Goes {
            return;
        }
        self.window = competing.window();
        let competed = competing.full_window();
        self.mode = State::Steady;
        self.gain = 0.0;
        if verdict == Outcome::Longer {
            self.rebase(now);
            return;
        }
        self.competed = competed;
        self.warned = Some(now);
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
}
