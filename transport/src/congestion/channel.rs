//! quinn's controller of one channel. All channels share one window: each may have an equal part of it in flight, and
//! also the parts that the others do not use. A channel without data thus lends its part, and gets it back within a
//! round trip.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quinn::congestion::{Controller, ControllerFactory};
use quinn_proto::RttEstimator;
use wire::units::Rate;

use super::interval::Acked;
use super::report::FlowReport;
use super::settings::FlowSettings;
use super::window_controller::WindowController;

/// Bytes of the UDP and IPv4 headers, which quinn does not count. IPv6 has 20 more; the limiter at the socket counts
/// those.
const HEADERS: f64 = 28.0;
/// Packet size in bytes until a channel knows its own.
const PACKET_ASSUMED: u16 = 1_200;
/// Silence after which a channel gets no part of the window, if other channels are heard: its packets in flight are lost.
const SILENT: Duration = Duration::from_secs(1);
/// Packets that a tick allows a channel on an unreachable path: one of them may be lost by chance.
const PROBE_PACKETS: u64 = 2;
/// Smallest window of a channel in packets, so that it notices when its path is back.
const CHANNEL_PACKETS: u64 = 4;

pub(super) struct Shared {
    state: Mutex<State>,
    /// Bytes of the window that are not in flight; negative if more than the window is.
    free: AtomicI64,
    /// Equal part of the window for each channel, in bytes.
    part: AtomicU64,
    /// Clock from which QUIC reads its own times too.
    clock: Clock,
}

/// Clock that QUIC's own times come from; `None` in virtual time, where each event brings the time.
pub(super) type Clock = fn() -> Option<Instant>;

struct State {
    settings: FlowSettings,
    controller: WindowController,
    packet: u16,
    members: Vec<Member>,
    next_id: u64,
    /// Time of the latest event.
    now: Instant,
    /// Bytes allowed beyond the window, to probe whether an unreachable path is back.
    probes: u64,
}

struct Member {
    id: u64,
    in_flight: u64,
    last_heard: Instant,
    /// The channel is silent while others are heard.
    silent: Arc<AtomicBool>,
}

pub(super) struct Channel {
    shared: Arc<Shared>,
    id: u64,
    in_flight: u64,
    packet: u16,
    silent: Arc<AtomicBool>,
    /// Content so far of the ACK being read.
    acked: Option<Acked>,
}

impl Shared {
    pub(super) fn new(settings: FlowSettings, now: Instant, clock: Clock) -> Self {
        let packet = PACKET_ASSUMED;
        let budget = settings.rate.map(|rate| quic_bytes(rate, packet));
        let controller = WindowController::new(settings, budget, f64::from(packet), now);
        let state = State { settings, controller, packet, members: Vec::new(), next_id: 0, now, probes: 0 };
        let shared = Self { state: Mutex::new(state), free: AtomicI64::new(0), part: AtomicU64::new(0), clock };
        shared.publish(&mut shared.state(), now);
        shared
    }

    pub(super) fn set_rate(&self, rate: Option<Rate>) {
        let mut state = self.state();
        state.settings.rate = rate;
        state.retarget();
        self.publish_window(&state);
    }

    pub(super) fn handle_tick(&self, now: Instant) {
        let mut state = self.state();
        state.now = state.now.max(now);
        state.probes = if state.controller.is_unreachable(now) {
            let over = state.in_flight().saturating_sub(state.controller.window() as u64);
            over + PROBE_PACKETS * u64::from(state.packet) * state.members.len() as u64
        } else {
            0
        };
        self.publish_window(&state);
    }

    pub(super) fn report(&self) -> FlowReport {
        let state = self.state();
        let findings = state.controller.findings(state.now);
        FlowReport {
            allowed: state.settings.rate.into_iter().fold(state.wire_rate(findings.allowed), Rate::min),
            budget: state.settings.rate,
            delivery: state.wire_rate(findings.delivery),
            base_rtt: findings.base_rtt,
            smoothed_rtt: findings.smoothed_rtt,
            queue: findings.queue,
            loss: findings.loss,
            mode: findings.mode,
            limit: findings.limit,
            channels: state.members.len(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn join(self: &Arc<Self>, now: Instant, packet: u16, in_flight: u64) -> Channel {
        let mut state = self.state();
        if state.packet != packet {
            state.packet = packet;
            state.retarget();
        }
        if state.members.is_empty() {
            state.controller.handle_first(now);
        }
        let id = state.next_id;
        state.next_id += 1;
        let silent = Arc::new(AtomicBool::new(false));
        state.members.push(Member { id, in_flight, last_heard: now, silent: Arc::clone(&silent) });
        self.publish(&mut state, now);
        drop(state);
        Channel { shared: Arc::clone(self), id, in_flight, packet, silent, acked: None }
    }

    /// Publishes the window and its parts, after an update of which channels are silent.
    fn publish(&self, state: &mut State, now: Instant) {
        let heard = state.members.iter().map(|member| member.last_heard).max().unwrap_or(now);
        for member in &mut state.members {
            let silent = heard.saturating_duration_since(member.last_heard) > SILENT;
            member.silent.store(silent, Ordering::Relaxed);
            if silent {
                // Its bytes in flight count again when a packet of it arrives.
                member.in_flight = 0;
            }
        }
        self.publish_window(state);
    }

    fn publish_window(&self, state: &State) {
        let window = state.controller.window();
        let heard = state.members.iter().map(|member| member.last_heard).max();
        let active = state.members.iter().filter(|member| member.is_active(heard)).count().max(1);
        let free = window as i64 + state.probes as i64 - state.in_flight() as i64;
        self.free.store(free, Ordering::Relaxed);
        self.part.store((window / active as f64) as u64, Ordering::Relaxed);
    }
}

impl State {
    fn in_flight(&self) -> u64 {
        self.members.iter().map(|member| member.in_flight).sum()
    }

    fn member(&mut self, id: u64) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.id == id)
    }

    fn retarget(&mut self) {
        let packet = self.packet;
        self.controller.set_packet(f64::from(packet));
        self.controller.set_budget(self.settings.rate.map(|rate| quic_bytes(rate, packet)));
    }

    /// Returns the rate on the wire for a rate in bytes per second as quinn counts them.
    fn wire_rate(&self, bytes: f64) -> Rate {
        let packet = f64::from(self.packet);
        Rate::from_bits_per_second((bytes * 8.0 * (packet + HEADERS) / packet) as u64)
    }
}

impl Member {
    fn is_active(&self, heard: Option<Instant>) -> bool {
        heard.is_none_or(|heard| heard.saturating_duration_since(self.last_heard) <= SILENT)
    }
}

impl ControllerFactory for Shared {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(self.join(now, current_mtu, 0))
    }
}

impl Channel {
    /// Adds a packet of `bytes`, sent at `sent`, to the ACK being read.
    pub(super) fn note_acked(&mut self, now: Instant, sent: Instant, bytes: u64) {
        let acked = self.acked.get_or_insert(Acked {
            packets: 0,
            bytes: 0,
            newest_sent: sent,
            read: now,
            flight: 0.0,
            idle: false,
        });
        acked.packets += 1;
        acked.bytes += bytes;
        acked.newest_sent = acked.newest_sent.max(sent);
        acked.flight += bytes as f64 * now.saturating_duration_since(sent).as_secs_f64();
    }

    /// Updates the shared state and passes the event to the window controller, with the bytes in flight.
    fn update(&self, now: Instant, heard: bool, handle: impl FnOnce(&mut WindowController, u64)) {
        let mut state = self.shared.state();
        state.now = state.now.max(now);
        if let Some(member) = state.member(self.id) {
            member.in_flight = self.in_flight;
            if heard {
                member.last_heard = now;
            }
        }
        if heard {
            state.probes = 0;
        }
        let in_flight = state.in_flight();
        handle(&mut state.controller, in_flight);
        self.shared.publish(&mut state, now);
    }
}

impl Controller for Channel {
    fn on_sent(&mut self, now: Instant, bytes: u64, _last_packet_number: u64) {
        // A channel with nothing in flight is not silent: it could not be heard.
        let idle = self.in_flight == 0;
        self.in_flight += bytes;
        self.update(now, idle, |controller, in_flight| controller.handle_sent(now, bytes, in_flight));
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, _app_limited: bool, _rtt: &RttEstimator) {
        self.note_acked(now, sent, bytes);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, _largest: Option<u64>) {
        self.in_flight = in_flight;
        let Some(acked) = self.acked.take() else { return };
        let read = (self.shared.clock)().map_or(now, |read| read.max(now));
        let acked = Acked { read, idle: app_limited, ..acked };
        self.update(now, true, |controller, in_flight| controller.handle_acked(now, &acked, in_flight));
    }

    /// Handles losses and marks. It ignores quinn's "persistent congestion": on an unreachable path all packets are lost, which
    /// shows nothing of the path's rate.
    fn on_congestion_event(&mut self, now: Instant, sent: Instant, _is_persistent: bool, lost_bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(lost_bytes);
        self.update(now, false, |controller, in_flight| match lost_bytes {
            0 => controller.handle_marked(now, sent),
            _ => controller.handle_lost(sent, lost_bytes, in_flight),
        });
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.packet = new_mtu;
        let mut state = self.shared.state();
        state.packet = new_mtu;
        state.retarget();
        self.shared.publish_window(&state);
    }

    fn window(&self) -> u64 {
        let free = self.shared.free.load(Ordering::Relaxed);
        let part = self.shared.part.load(Ordering::Relaxed);
        if self.silent.load(Ordering::Relaxed) {
            // Enough for QUIC's own probes and their answers.
            return CHANNEL_PACKETS * u64::from(self.packet);
        }
        part.max(self.in_flight.saturating_add_signed(free)).max(CHANNEL_PACKETS * u64::from(self.packet))
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        let now = self.shared.state().now;
        Box::new(self.shared.join(now, self.packet, 0))
    }

    fn initial_window(&self) -> u64 {
        self.window()
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.members.retain(|member| member.id != self.id);
        if state.members.is_empty() {
            state.controller.handle_none();
        }
        self.shared.publish_window(&state);
    }
}

/// Returns the bytes per second, as quinn counts them, of packets of `packet` bytes that fill `rate` on the wire.
fn quic_bytes(rate: Rate, packet: u16) -> f64 {
    let packet = f64::from(packet);
    rate.bits_per_second() as f64 / 8.0 * packet / (packet + HEADERS)
}
