//! Model of quinn's bulk sender for a controller: its window, pacer, loss detection and probes; and the receiver's ACKs.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use quinn::congestion::Controller;

use super::super::channel::Channel;
use super::cubic::Cubic;

/// Bytes of a full packet as quinn counts them, and as they are on the wire.
pub(super) const PACKET: u64 = 1_452;
pub(super) const HEADERS: u64 = 28;
pub(super) const WIRE: u64 = PACKET + HEADERS;

/// Congestion controller of a sender.
pub(super) enum Control {
    Ours(Box<Channel>),
    /// A TCP's: unpaced, three packets out of order are a loss.
    Cubic(Cubic),
}

pub(super) struct Sender {
    pub(super) control: Control,
    /// Begin of the virtual time.
    start: Instant,
    /// Packets from `first` on that are neither acknowledged nor lost.
    sent: VecDeque<Option<Duration>>,
    first: u64,
    in_flight: u64,
    largest_acked: Option<u64>,
    rtt: Option<f64>,
    pacer: Pacer,
    probes: u32,
    last_progress: Duration,
    /// The sender has something to send.
    pub(super) busy: bool,
    pub(super) lost: u64,
}

/// quinn-proto's, in floating point.
struct Pacer {
    tokens: f64,
    prev: Duration,
}

/// Next action of a sender.
pub(super) enum NextSend {
    Send,
    /// Not before this; without a time, not before an ACK.
    Wait(Option<Duration>),
}

impl Sender {
    pub(super) fn new(control: Control, start: Instant) -> Self {
        Self {
            control,
            start,
            sent: VecDeque::new(),
            first: 0,
            in_flight: 0,
            largest_acked: None,
            rtt: None,
            pacer: Pacer { tokens: 10.0 * PACKET as f64, prev: Duration::ZERO },
            probes: 0,
            last_progress: Duration::ZERO,
            busy: true,
            lost: 0,
        }
    }

    fn threshold(&self) -> u64 {
        if matches!(self.control, Control::Ours(_)) { 128 } else { 3 }
    }

    fn window(&self) -> u64 {
        match &self.control {
            Control::Ours(channel) => channel.window(),
            Control::Cubic(cubic) => cubic.window(),
        }
    }

    pub(super) fn next_send(&mut self, now: Duration) -> NextSend {
        if !self.busy {
            return NextSend::Wait(None);
        }
        if self.in_flight + PACKET >= self.window() {
            return NextSend::Wait(None);
        }
        if matches!(self.control, Control::Cubic(_)) {
            return NextSend::Send;
        }
        match self.pacer.wait(now, self.window() as f64, self.rtt.unwrap_or(0.333)) {
            None => NextSend::Send,
            Some(until) => NextSend::Wait(Some(until)),
        }
    }

    /// Sends the next packet; returns its number.
    pub(super) fn send(&mut self, now: Duration) -> u64 {
        let number = self.first + self.sent.len() as u64;
        if self.in_flight == 0 {
            self.last_progress = now;
        }
        self.sent.push_back(Some(now));
        self.in_flight += PACKET;
        self.pacer.tokens = (self.pacer.tokens - PACKET as f64).max(0.0);
        if let Control::Ours(channel) = &mut self.control {
            channel.on_sent(self.start + now, PACKET, number);
        }
        number
    }

    /// Returns when the sender acts without an arrival: a packet counts as lost, or a probe is due.
    pub(super) fn next_timeout(&self) -> Option<Duration> {
        let old = self.sent.front().copied().flatten().filter(|_| self.largest_acked.is_some_and(|l| l > self.first));
        let lost = old.map(|sent| sent + self.loss_delay());
        let probe = (self.in_flight > 0).then(|| self.last_progress + self.probe_timeout());
        [lost, probe].into_iter().flatten().min()
    }

    fn loss_delay(&self) -> Duration {
        Duration::from_secs_f64(self.rtt.unwrap_or(0.333) * 1.125)
    }

    fn probe_timeout(&self) -> Duration {
        let one = self.rtt.unwrap_or(0.333) * 1.25 + 0.025;
        Duration::from_secs_f64(one * f64::from(1 << self.probes.min(16)))
    }

    /// Handles a timeout; returns the number of probes to send regardless of the window.
    pub(super) fn handle_timeout(&mut self, now: Duration) -> u32 {
        self.detect_lost(now);
        if self.in_flight > 0 && now >= self.last_progress + self.probe_timeout() {
            self.probes += 1;
            return 2;
        }
        0
    }

    pub(super) fn handle_ack(&mut self, now: Duration, numbers: impl Iterator<Item = u64>) {
        let mut newest = None;
        let mut any = false;
        for number in numbers {
            let Some(place) = number.checked_sub(self.first) else { continue };
            let Some(sent) = self.sent.get_mut(place as usize).and_then(Option::take) else { continue };
            any = true;
            self.in_flight -= PACKET;
            newest = newest.max(Some((number, sent)));
            match &mut self.control {
                Control::Ours(channel) => channel.note_acked(self.start + now, self.start + sent, PACKET),
                Control::Cubic(cubic) => cubic.handle_acked(now, sent, self.rtt),
            }
        }
        let Some((number, sent)) = newest.filter(|_| any) else { return };
        if let Control::Ours(channel) = &mut self.control {
            channel.on_end_acks(self.start + now, self.in_flight, !self.busy, Some(number));
        }
        if self.largest_acked.is_none_or(|largest| number > largest) {
            self.largest_acked = Some(number);
            let sample = (now - sent).as_secs_f64();
            self.rtt = Some(self.rtt.map_or(sample, |rtt| rtt + (sample - rtt) / 8.0));
        }
        self.probes = 0;
        self.last_progress = now;
        self.detect_lost(now);
    }

    fn detect_lost(&mut self, now: Duration) {
        let Some(largest) = self.largest_acked else { return };
        let mut lost = 0;
        let mut newest = None;
        let delay = self.loss_delay();
        let threshold = self.threshold();
        let below = largest.saturating_sub(self.first).min(self.sent.len() as u64);
        for place in 0..below {
            let Some(sent) = self.sent[place as usize] else { continue };
            if largest >= self.first + place + threshold || now >= sent + delay {
                self.sent[place as usize] = None;
                lost += 1;
                newest = Some(sent);
            } else {
                break;
            }
        }
        while let Some(None) = self.sent.front() {
            self.sent.pop_front();
            self.first += 1;
        }
        let Some(newest) = newest else { return };
        self.lost += lost;
        self.in_flight -= lost * PACKET;
        match &mut self.control {
            Control::Ours(channel) => {
                channel.on_congestion_event(self.start + now, self.start + newest, false, lost * PACKET);
            }
            Control::Cubic(cubic) => cubic.handle_lost(now, newest),
        }
    }
}

impl Pacer {
    fn wait(&mut self, now: Duration, window: f64, rtt: f64) -> Option<Duration> {
        let capacity = (window * 0.002 / rtt).clamp(10.0 * PACKET as f64, 256.0 * PACKET as f64);
        self.tokens = self.tokens.min(capacity);
        if self.tokens >= PACKET as f64 {
            return None;
        }
        self.tokens = (self.tokens + window * 1.25 * (now - self.prev).as_secs_f64() / rtt).min(capacity);
        self.prev = now;
        if self.tokens >= PACKET as f64 {
            return None;
        }
        // tokio wakes tasks at whole milliseconds only.
        let until = now + Duration::from_secs_f64(rtt * (capacity - self.tokens) / window * 0.8);
        Some(Duration::from_millis(until.as_micros().div_ceil(1_000) as u64))
    }
}

/// Acknowledges every so many packets, or after 25 ms.
#[derive(Default)]
pub(super) struct Acker {
    /// The last batches: an ACK repeats what the ones before it said.
    batches: VecDeque<Vec<u64>>,
    open: Vec<u64>,
    due: Option<Duration>,
}

impl Acker {
    const DELAY: Duration = Duration::from_millis(25);

    pub(super) fn handle(&mut self, now: Duration, number: u64, every: usize) -> Option<Vec<u64>> {
        self.open.push(number);
        if self.open.len() >= every {
            return Some(self.ack());
        }
        self.due.get_or_insert(now + Self::DELAY);
        None
    }

    pub(super) fn next_timeout(&self) -> Option<Duration> {
        self.due
    }

    pub(super) fn handle_timeout(&mut self, now: Duration) -> Option<Vec<u64>> {
        self.due.filter(|due| *due <= now).map(|_| self.ack())
    }

    fn ack(&mut self) -> Vec<u64> {
        self.due = None;
        self.batches.push_back(std::mem::take(&mut self.open));
        if self.batches.len() > 4 {
            self.batches.pop_front();
        }
        self.batches.iter().flatten().copied().collect()
    }
}
