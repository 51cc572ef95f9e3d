//! Congestion control: how much of a link may be under way at once, so that the pipe is full, the budget kept, and
//! whoever else uses the path is left room.
//!
//! One [`Flow`] is shared by all channels of a link's direction: they find the path together, and act as one.
//! The rules, and what was measured, stand in `docs/design/decisions/0031-congestion-control.md`.
//!
//! - `law`: the rules, without I/O
//! - `base`, `round`, `episode`: what they look at
//! - `policed`, `competing`: rules for two special paths
//! - `channel`: quinn's controller of one channel, over the shared state

mod base;
mod channel;
mod competing;
mod episode;
mod law;
mod policed;
mod round;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::congestion::ControllerFactory;
use wire::share::Share;
use wire::units::Rate;

use channel::Shared;

/// What the default of [`FlowSettings::loss_tolerance`] is, in parts per hundred: above what long paths lose by
/// chance, below what a policer drops.
pub const LOSS_TOLERANCE_PERCENT: u32 = 8;

/// How many packets of a channel its receiver is asked to let pass before it acknowledges, and how long to wait for
/// them. ACKs of every packet would cost both ends a third of their CPU time; quinn keeps 64 ranges between two ACKs.
pub const ACK_PACKETS: u32 = 10;
pub const ACK_DELAY: Duration = Duration::from_millis(25);

/// How many packets a receiver may take before it acknowledges, by the rate stated at first: at a low rate so few that
/// their wait is short.
pub fn ack_packets(rate: Option<Rate>) -> u32 {
    const WITHIN: Duration = Duration::from_millis(2);
    const PACKET_BYTES: u64 = 1_500;
    rate.map_or(ACK_PACKETS, |rate| (rate.bytes_in(WITHIN) / PACKET_BYTES).clamp(1, ACK_PACKETS.into()) as u32)
}

/// How a link behaves towards others on its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Takes what is free, keeps queues short, and its share beside flows that fill them.
    #[default]
    Adaptive,
    /// Takes what nobody else wants.
    Scavenger,
    /// Takes the stated rate, whatever queues; only losses above the tolerance slow it.
    Reserved,
}

/// What a [`Flow`] is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlowSettings {
    /// Bits per second of IP packets; without one, what the path bears.
    pub rate: Option<Rate>,
    /// Towards others on the path.
    pub policy: Policy,
    /// The part of the rate that this link takes whoever else is there.
    pub floor: Share,
    /// Losses up to this part of what is sent are the path's and no sign of congestion.
    pub loss_tolerance: Share,
    /// The queue at which to back off; by default 5 % of the empty path's round trip, within 4 and 15 ms.
    pub queue_target: Option<Duration>,
}

/// Congestion control of one direction of a link. A clone is the same flow.
#[derive(Clone)]
pub struct Flow {
    shared: Arc<Shared>,
}

/// What a flow has found, and what it does about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlowReport {
    /// Bits per second of IP packets that the flow allows at present.
    pub allowed: Rate,
    /// What the operator allows.
    pub budget: Option<Rate>,
    /// What arrived, in the last round, of IP packets.
    pub delivery: Rate,
    /// The round trip of the empty path, once known.
    pub base_rtt: Option<Duration>,
    /// The round trip at present.
    pub smoothed_rtt: Option<Duration>,
    /// How long the last round's packets waited, the least of them.
    pub queue: Duration,
    /// The part of what was sent lately that was lost.
    pub loss: f64,
    /// Which rule holds.
    pub mode: Mode,
    /// What keeps the rate from being higher, as far as can be seen from here.
    pub limit: Limit,
    /// Channels that take part.
    pub channels: usize,
}

/// Which rule holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Doubling, to find the path.
    Starting,
    /// The budget, or a short queue.
    Steady,
    /// The path drops what is too much without queueing it.
    Policed,
    /// Somebody else fills the queue.
    Competing,
    /// Nothing is heard though something is under way.
    Dark,
}

/// What keeps the rate from being higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// There is nothing more to send.
    Source,
    /// The stated rate.
    Budget,
    /// The path.
    Path,
}

impl FlowSettings {
    /// The defaults, for this rate.
    pub fn new(rate: Option<Rate>) -> Self {
        Self {
            rate,
            policy: Policy::default(),
            floor: Share::NONE,
            loss_tolerance: Share::of_one(f64::from(LOSS_TOLERANCE_PERCENT) / 100.0),
            queue_target: None,
        }
    }
}

impl Flow {
    /// A flow that knows nothing of its path yet.
    pub fn new(settings: FlowSettings) -> Self {
        Self::with_clock(settings, || Some(tokio::time::Instant::now().into_std()))
    }

    /// For those who make time up, and tell of events as they happen.
    fn with_clock(settings: FlowSettings, clock: channel::Clock) -> Self {
        Self { shared: Arc::new(Shared::new(settings, Instant::now(), clock)) }
    }

    /// Changes the budget. A lower one holds from the next packet on.
    pub fn set_rate(&self, rate: Option<Rate>) {
        self.shared.set_rate(rate);
    }

    /// What quinn makes the controllers of new channels with.
    pub fn controllers(&self) -> Arc<dyn ControllerFactory + Send + Sync> {
        Arc::clone(&self.shared) as Arc<dyn ControllerFactory + Send + Sync>
    }

    /// Time passes. On a dark path each call lets a few more packets out, so that the path's return is noticed by
    /// the next of them, and not by QUIC's own probes, between which it waits twice as long each time.
    pub fn handle_tick(&self, now: Instant) {
        self.shared.handle_tick(now);
    }

    /// What was known when something last happened.
    pub fn report(&self) -> FlowReport {
        self.shared.report()
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flow({:?})", self.report())
    }
}

/// Two handles are equal if they are the same flow.
impl PartialEq for Flow {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for Flow {}

impl Mode {
    /// For metrics and status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Steady => "steady",
            Self::Policed => "policed",
            Self::Competing => "competing",
            Self::Dark => "dark",
        }
    }
}

impl Limit {
    /// For metrics and status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Budget => "budget",
            Self::Path => "path",
        }
    }
}

#[cfg(test)]
mod tests;
