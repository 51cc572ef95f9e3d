//! A cell of the benchmark: a path, a budget, and a scenario, which are measured together.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::units::Rate;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cell {
    pub(crate) name: String,
    /// Knobs of the emulated path, in both directions.
    pub(crate) path: String,
    /// Knobs from the target to the source that differ.
    pub(crate) back: String,
    /// Rate of the path's bottleneck.
    pub(crate) path_rate: Rate,
    /// Budget of the link: `rate` in its configuration.
    pub(crate) budget: Rate,
    /// Round trip of the path without a queue.
    pub(crate) rtt: Duration,
    /// Share of packets that the path loses in each direction.
    pub(crate) loss: f64,
    pub(crate) scenario: Scenario,
    /// Additional lines of the sender's `[wan]`.
    pub(crate) wan: &'static [&'static str],
    /// Additional tables of the sender's file.
    pub(crate) tables: &'static str,
    pub(crate) requirements: Vec<Requirement>,
    pub(crate) compared_with: &'static [Contestant],
}

/// Events in a cell while it is measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scenario {
    Steady,
    /// Path or budget change. The measurement ends [`AFTERMATH`] after the last change.
    Changes(Vec<Change>),
    /// A TCP flow competes all the time. The measurement takes two minutes, after a warm-up of half a minute.
    WithTcpFlow,
    /// The latency of a few records is measured, with the bulk topic or without.
    Trickle {
        alone: bool,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    /// Time of the change, from the end of the warm-up.
    pub(crate) at: Duration,
    pub(crate) action: Action,
    /// Rate that is expected after the change, whose time is measured.
    pub(crate) expected: Option<ExpectedRate>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Changes knobs of the path, in both directions.
    Path(&'static str),
    Budget(Rate),
    /// Cuts off the path of one channel. A channel that replaces it has a path again.
    Channel(usize),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExpectedRate {
    pub(crate) at: MeasuredAt,
    pub(crate) rate: Rate,
    /// Shares of the rate between which the measured rate must be.
    pub(crate) within: RangeInclusive<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MeasuredAt {
    /// Entry of the path: packets that are sent.
    Offered,
    /// Exit of the path: packets that arrive.
    Delivered,
}

/// Number of seconds that means never, because JSON has no infinity.
pub(crate) const NEVER: f64 = 1e9;
/// Time for which a cell is measured after its last change.
pub(crate) const AFTERMATH: Duration = Duration::from_secs(15);

/// A bound on one figure, which a cell must keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Requirement {
    pub(crate) figure: Figure,
    at_least: bool,
    bound: f64,
}

/// A measured quantity. The results contain it under its name in snake case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    /// Bits of record values per second at the sink.
    Goodput,
    /// Goodput as a share of the limit.
    OfLimit,
    /// Goodput as a share of the path's rate.
    OfPath,
    /// Bits per second of whole IP packets that entered the path at the source.
    Offered,
    /// Bits per second of whole IP packets that arrived at the target.
    Delivered,
    /// Bits per second of whole IP packets that arrived at the source.
    Back,
    /// Share of packets dropped for any cause.
    Loss,
    /// Share of packets dropped because there were too many, by the queue or the policer.
    SelfLoss,
    /// Median time through the bottleneck, in ms.
    QueueP50,
    /// 99th percentile of the time through the bottleneck, in ms.
    QueueP99,
    /// Round trip of the path with the median queue, in ms.
    Rtt,
    /// Processor time of the sender as a share of one core.
    SenderCpu,
    /// Processor time of the receiver as a share of one core.
    ReceiverCpu,
    Sessions,
    /// Records that were out of order or had the wrong value.
    Wrong,
    /// Seconds until the expected rate was reached, for the slowest change.
    Recovery,
    /// Causeway's share of what it and the competing TCP flow carried.
    Share,
    /// Median time from a record's production to its commit, in ms.
    LatencyP50,
    /// 99th percentile of the time from a record's production to its commit, in ms.
    LatencyP99,
    /// 99th percentile of the emulator's lateness, in ms.
    Lateness,
    /// Goodput as a multiple of what plain QUIC reached in the same cell.
    TimesPlain,
}

/// A program or protocol that carries the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Contestant {
    Causeway,
    TcpCubic,
    TcpBbr,
    /// quinn with its default controller.
    QuinnCubic,
}

impl Contestant {
    pub(crate) const ALL: [Self; 4] = [Self::Causeway, Self::TcpCubic, Self::TcpBbr, Self::QuinnCubic];
    pub(crate) const OTHERS: [Self; 3] = [Self::TcpCubic, Self::TcpBbr, Self::QuinnCubic];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Causeway => "causeway",
            Self::TcpCubic => "tcp-cubic",
            Self::TcpBbr => "tcp-bbr",
            Self::QuinnCubic => "quinn-cubic",
        }
    }

    /// Returns the kernel's name of the congestion control, if the contestant is TCP.
    pub(crate) const fn tcp(self) -> Option<&'static str> {
        match self {
            Self::TcpCubic => Some("cubic"),
            Self::TcpBbr => Some("bbr"),
            Self::Causeway | Self::QuinnCubic => None,
        }
    }
}

impl Cell {
    /// Returns the highest possible goodput in bits per second, with records of `record_bytes` bytes.
    pub(crate) fn limit(&self, record_bytes: usize) -> f64 {
        super::limit::limit(self.budget.min(self.path_rate), self.loss, record_bytes)
    }

    pub(crate) fn bounds(&self) -> String {
        self.requirements.iter().map(Requirement::to_string).collect::<Vec<_>>().join(", ")
    }

    /// Returns how long the cell is measured after the warm-up, if a steady cell takes `steady`.
    pub(crate) fn duration(&self, steady: Duration) -> Duration {
        match &self.scenario {
            Scenario::Steady => steady,
            Scenario::Changes(changes) => changes.iter().map(|change| change.at).max().unwrap_or_default() + AFTERMATH,
            Scenario::WithTcpFlow => Duration::from_secs(120),
            Scenario::Trickle { .. } => steady.max(Duration::from_secs(30)),
        }
    }

    /// Returns how long the warm-up is, if that of a steady cell takes `steady`.
    pub(crate) fn warm_up(&self, steady: Duration) -> Duration {
        if self.scenario == Scenario::WithTcpFlow { steady.max(Duration::from_secs(30)) } else { steady }
    }
}

pub(crate) const fn at_least(figure: Figure, bound: f64) -> Requirement {
    Requirement { figure, at_least: true, bound }
}

pub(crate) const fn at_most(figure: Figure, bound: f64) -> Requirement {
    Requirement { figure, at_least: false, bound }
}

impl Requirement {
    pub(crate) fn is_met(&self, value: f64) -> bool {
        if self.at_least { value >= self.bound } else { value <= self.bound }
    }
}

impl Figure {
    /// Returns true if the worst of all seeds counts, not the median, because it must never happen.
    pub(crate) const fn is_judged_by_the_worst(self) -> bool {
        matches!(self, Self::Sessions | Self::Wrong)
    }

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Goodput => "goodput",
            Self::OfLimit => "of the limit",
            Self::OfPath => "of the path",
            Self::Offered => "sent",
            Self::Delivered => "arrived",
            Self::Back => "back",
            Self::Loss => "loss",
            Self::SelfLoss => "self-loss",
            Self::QueueP50 => "queue p50",
            Self::QueueP99 => "queue p99",
            Self::Rtt => "RTT",
            Self::SenderCpu => "sender CPU",
            Self::ReceiverCpu => "receiver CPU",
            Self::Sessions => "sessions",
            Self::Wrong => "wrong records",
            Self::Recovery => "recovery",
            Self::Share => "share",
            Self::LatencyP50 => "latency p50",
            Self::LatencyP99 => "latency p99",
            Self::Lateness => "emulator late p99",
            Self::TimesPlain => "times plain QUIC",
        }
    }

    pub(crate) fn show(self, value: f64) -> String {
        use Figure::*;
        match self {
            Goodput | Offered | Delivered | Back => format!("{:.1} Mbit/s", value / 1e6),
            OfLimit | OfPath | Loss | SelfLoss | SenderCpu | ReceiverCpu | Share => format!("{:.1} %", value * 100.0),
            QueueP50 | QueueP99 | Rtt | LatencyP50 | LatencyP99 | Lateness => format!("{value:.1} ms"),
            Sessions | Wrong => format!("{value:.0}"),
            TimesPlain => format!("{value:.1}"),
            Recovery if value < NEVER => format!("{value:.1} s"),
            Recovery => "never".to_owned(),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.at_least { '≥' } else { '≤' };
        write!(f, "{} {sign} {}", self.figure.label(), self.figure.show(self.bound))
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "budget {}, {}", self.budget, self.path)?;
        if !self.back.is_empty() {
            write!(f, "; back: {}", self.back)?;
        }
        self.wan.iter().try_for_each(|line| write!(f, "; {line}"))
    }
}
