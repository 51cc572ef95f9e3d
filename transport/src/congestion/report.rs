//! Report of a flow, for metrics and status.

use std::time::Duration;

use wire::units::Rate;

/// State of the path as a flow sees it, and the rate that it allows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlowReport {
    /// Rate of IP packets that the flow allows at present.
    pub allowed: Rate,
    /// Rate that the operator allows.
    pub budget: Option<Rate>,
    /// Rate of IP packets that arrived in the last round.
    pub delivery: Rate,
    /// Round trip of the empty path, once known.
    pub base_rtt: Option<Duration>,
    /// Smoothed round trip at present.
    pub smoothed_rtt: Option<Duration>,
    /// Shortest queueing delay of a packet in the last round.
    pub queue: Duration,
    /// Part of the recently sent packets that was lost, from 0 to 1.
    pub loss: f64,
    /// Rule in effect.
    pub mode: Mode,
    /// Reason why the rate is not higher, as far as this end can tell.
    pub limit: Limit,
    /// Number of channels of the flow.
    pub channels: usize,
}

/// Rule of congestion control that is in effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Doubles the rate each round trip, to find the path's.
    Starting,
    /// Sends at the budget, or keeps a short queue.
    Steady,
    /// Sends at the rate above which the path drops packets without a queue.
    Policed,
    /// Competes with another flow that fills the queue.
    Competing,
    /// Probes a path that does not answer although packets are in flight.
    Unreachable,
}

/// Reason why the rate is not higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Nothing more to send.
    Source,
    /// The stated rate.
    Budget,
    /// The path.
    Path,
}

impl Mode {
    /// Returns the word for metrics and status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Steady => "steady",
            Self::Policed => "policed",
            Self::Competing => "competing",
            Self::Unreachable => "unreachable",
        }
    }
}

impl Limit {
    /// Returns the word for metrics and status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Budget => "budget",
            Self::Path => "path",
        }
    }
}
