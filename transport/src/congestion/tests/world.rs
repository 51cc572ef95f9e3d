//! Senders, a path and receivers in virtual time, packet by packet.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use netem::{Conditions, DropCause, Path, parse_knobs};
use wire::units::Rate;

use crate::congestion::{Flow, FlowReport, FlowSettings, ack_packets};

use super::cubic::Cubic;
use super::quic::{Acker, Control, NextSend, PACKET, Sender, WIRE};

/// Bytes of an ACK on the wire.
const ACK: usize = 80;

/// Interval at which the flow's time is updated.
const TICK: Duration = Duration::from_millis(200);

/// Bytes that the socket's limiter allows together.
const BURST: f64 = 10.0 * WIRE as f64;

#[derive(Clone, Copy)]
struct Packet {
    sender: usize,
    number: u64,
    offered: Duration,
}

pub(super) struct World {
    pub(super) flow: Flow,
    start: Instant,
    now: Duration,
    senders: Vec<Sender>,
    ackers: Vec<Acker>,
    forward: Path<Packet>,
    back: Path<(usize, Vec<u64>)>,
    limiter: Option<Limiter>,
    turn: usize,
    script: VecDeque<(Duration, String)>,
    tick: Duration,
    /// Packets to an ACK.
    every: usize,
    /// Sender of which all packets are lost.
    cut_off: Option<usize>,
    seen: Seen,
}

/// Exact budget at the socket; the product uses another one.
struct Limiter {
    rate: f64,
    tokens: f64,
    at: Duration,
}

/// Observations since the last call.
#[derive(Default)]
struct Seen {
    since: Duration,
    delivered: BTreeMap<usize, u64>,
    queues: Vec<Duration>,
    dropped: u64,
    offered: u64,
}

/// Observations of an interval of time.
#[derive(Debug)]
pub(super) struct Observed {
    /// Bits per second that arrived, on the wire, of our channels together.
    pub(super) ours: f64,
    /// The same of the other.
    pub(super) other: f64,
    /// The median wait of our packets in the bottleneck's queue.
    pub(super) queue: Duration,
    /// The part of packets that the bottleneck dropped.
    pub(super) overflow: f64,
    /// Bits per second by sender.
    pub(super) each: Vec<f64>,
    pub(super) report: FlowReport,
}

impl World {
    /// `channels` of a flow over a path with these knobs (`delay` one way).
    pub(super) fn new(settings: FlowSettings, channels: usize, knobs: &str) -> Self {
        let conditions = Conditions::default().with(parse_knobs(knobs).unwrap());
        let back = Conditions { delay: conditions.delay, jitter: conditions.jitter, ..Conditions::default() };
        let start = Instant::now();
        let flow = Flow::with_clock(settings, || None);
        let mut world = Self {
            start,
            now: Duration::ZERO,
            senders: Vec::new(),
            ackers: Vec::new(),
            forward: Path::new(conditions, 7, 0),
            back: Path::new(back, 7, 1),
            limiter: settings.rate.map(Limiter::new),
            turn: 0,
            script: VecDeque::new(),
            tick: Duration::ZERO,
            every: ack_packets(settings.rate) as usize + 1,
            cut_off: None,
            seen: Seen::default(),
            flow,
        };
        for _ in 0..channels {
            world.open();
        }
        world
    }

    /// Opens another channel.
    pub(super) fn open(&mut self) {
        let channel = self.flow.shared.join(self.start + self.now, PACKET as u16, 0);
        self.add(Control::Ours(Box::new(channel)));
    }

    /// Adds a CUBIC flow next to ours.
    pub(super) fn add_cubic(&mut self) {
        self.add(Control::Cubic(Cubic::new()));
    }

    fn add(&mut self, control: Control) {
        self.senders.push(Sender::new(control, self.start));
        self.ackers.push(Acker::default());
    }

    pub(super) fn sender(&mut self, number: usize) -> &mut Sender {
        &mut self.senders[number]
    }

    /// Drops all packets of this sender from now on.
    pub(super) fn cut_off(&mut self, sender: usize) {
        self.cut_off = Some(sender);
    }

    /// Turns knobs of the forward path (of both for `delay`, `down` and `up`) at a time.
    pub(super) fn at(&mut self, second: f64, knobs: &str) {
        self.script.push_back((Duration::from_secs_f64(second), knobs.to_owned()));
    }

    /// Knobs of the way back.
    pub(super) fn set_back(&mut self, knobs: &str) {
        for knob in parse_knobs(knobs).unwrap() {
            self.back.set(knob, self.now);
        }
    }

    pub(super) fn set_rate(&mut self, rate: Option<Rate>) {
        self.flow.set_rate(rate);
        self.limiter = rate.map(|rate| Limiter { at: self.now, ..Limiter::new(rate) });
    }

    /// Runs on until `second`; says what happened meanwhile.
    pub(super) fn run_until(&mut self, second: f64) -> Observed {
        let end = Duration::from_secs_f64(second);
        loop {
            let sent = self.send();
            let next = [
                self.forward.next_timeout(),
                self.back.next_timeout(),
                self.script.front().map(|(at, _)| *at),
                self.senders.iter().filter_map(Sender::next_timeout).min(),
                self.ackers.iter().filter_map(Acker::next_timeout).min(),
                sent,
                Some(self.tick),
            ];
            let next = next.into_iter().flatten().min().unwrap_or(end);
            if next >= end {
                self.now = end;
                return self.observed();
            }
            self.now = next.max(self.now + Duration::from_nanos(1));
            self.step();
        }
    }

    fn step(&mut self) {
        let now = self.now;
        if now >= self.tick {
            self.flow.handle_tick(self.start + now);
            self.tick = now + TICK;
        }
        while self.script.front().is_some_and(|(at, _)| *at <= now) {
            let (_, knobs) = self.script.pop_front().unwrap();
            for knob in parse_knobs(&knobs).unwrap() {
                self.forward.set(knob, now);
                if !knobs.contains("rate") {
                    self.back.set(knob, now);
                }
            }
        }
        while let Some(delivery) = self.forward.poll(now) {
            let Packet { sender, number, offered } = delivery.packet;
            *self.seen.delivered.entry(sender).or_default() += WIRE;
            let ours = matches!(self.senders[sender].control, Control::Ours(_));
            if ours {
                let haul = self.forward.conditions.delay;
                self.seen.queues.push(delivery.due.saturating_sub(offered + haul));
            }
            if let Some(ack) = self.ackers[sender].handle(now, number, if ours { self.every } else { 2 }) {
                let _ = self.back.offer((sender, ack), ACK, now);
            }
        }
        for sender in 0..self.senders.len() {
            if let Some(ack) = self.ackers[sender].handle_timeout(now) {
                let _ = self.back.offer((sender, ack), ACK, now);
            }
        }
        while let Some(delivery) = self.back.poll(now) {
            let (sender, numbers) = delivery.packet;
            self.senders[sender].handle_ack(now, numbers.into_iter());
        }
        for sender in 0..self.senders.len() {
            if self.senders[sender].next_timeout().is_some_and(|at| at <= now) {
                for _ in 0..self.senders[sender].handle_timeout(now) {
                    self.offer(sender);
                }
            }
        }
    }

    /// Lets the senders send in turn; returns when one of them may send next.
    fn send(&mut self) -> Option<Duration> {
        let mut next = None::<Duration>;
        let mut idle = 0;
        let count = self.senders.len();
        while idle < count {
            self.turn = (self.turn + 1) % count;
            let sender = self.turn;
            match self.senders[sender].next_send(self.now) {
                NextSend::Wait(until) => {
                    next = [next, until].into_iter().flatten().min();
                    idle += 1;
                }
                NextSend::Send => {
                    let ours = matches!(self.senders[sender].control, Control::Ours(_));
                    match self.limiter.as_mut().filter(|_| ours).and_then(|limiter| limiter.wait(self.now)) {
                        Some(until) => {
                            next = [next, Some(until)].into_iter().flatten().min();
                            idle += 1;
                        }
                        None => {
                            self.offer(sender);
                            idle = 0;
                        }
                    }
                }
            }
        }
        next
    }

    fn offer(&mut self, sender: usize) {
        let number = self.senders[sender].send(self.now);
        if matches!(self.senders[sender].control, Control::Ours(_)) {
            if let Some(limiter) = &mut self.limiter {
                limiter.tokens -= WIRE as f64;
            }
            self.seen.offered += 1;
            if self.cut_off == Some(sender) {
                return;
            }
            let packet = Packet { sender, number, offered: self.now };
            if let Err(DropCause::Limit | DropCause::Policer) = self.forward.offer(packet, WIRE as usize, self.now) {
                self.seen.dropped += 1;
            }
        } else {
            let _ = self.forward.offer(Packet { sender, number, offered: self.now }, WIRE as usize, self.now);
        }
    }

    fn observed(&mut self) -> Observed {
        let mut seen = std::mem::replace(&mut self.seen, Seen { since: self.now, ..Seen::default() });
        let seconds = (self.now - seen.since).as_secs_f64();
        let rate = |ours: bool| {
            let mine = |sender: &usize| matches!(self.senders[*sender].control, Control::Ours(_)) == ours;
            let bytes = seen.delivered.iter().filter(|(sender, _)| mine(sender)).map(|(_, bytes)| *bytes).sum::<u64>();
            bytes as f64 * 8.0 / seconds
        };
        let ours = rate(true);
        let other = rate(false);
        let middle = seen.queues.len() / 2;
        let queue = if seen.queues.is_empty() { Duration::ZERO } else { *seen.queues.select_nth_unstable(middle).1 };
        let overflow = seen.dropped as f64 / seen.offered.max(1) as f64;
        let report = self.flow.report();
        let each = |sender| seen.delivered.get(&sender).copied().unwrap_or(0) as f64 * 8.0 / seconds;
        let each = (0..self.senders.len()).map(each).collect();
        Observed { ours, other, queue, overflow, each, report }
    }
}

impl Limiter {
    fn new(rate: Rate) -> Self {
        Self { rate: rate.bits_per_second() as f64 / 8.0, tokens: BURST, at: Duration::ZERO }
    }

    /// Until when there is no token.
    fn wait(&mut self, now: Duration) -> Option<Duration> {
        self.tokens = (self.tokens + self.rate * (now - self.at).as_secs_f64()).min(BURST);
        self.at = now;
        if self.tokens >= 0.0 {
            return None;
        }
        Some(now + Duration::from_secs_f64(-self.tokens / self.rate + 1e-6))
    }
}
