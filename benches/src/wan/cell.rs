//! What is measured at once: a path, a budget, and what happens meanwhile.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::units::Rate;

/// One entry of the plan.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cell {
    /// What it is asked for by.
    pub(crate) name: String,
    /// netem's knobs, both ways.
    pub(crate) path: String,
    /// netem's knobs of the way back that differ.
    pub(crate) back: String,
    /// What the path passes; the bottleneck's rate.
    pub(crate) path_rate: Rate,
    /// What the link was given: `rate` of its configuration.
    pub(crate) budget: Rate,
    /// There and back without a queue.
    pub(crate) rtt: Duration,
    /// The share of packets that the path loses by itself.
    pub(crate) loss: f64,
    /// What happens meanwhile.
    pub(crate) scenario: Scenario,
    /// Further lines of the sender's `[wan]`.
    pub(crate) wan: &'static [&'static str],
    /// Further tables of the sender's file.
    pub(crate) tables: &'static str,
    /// What it must reach.
    pub(crate) must: Vec<Must>,
    /// Who else is measured in it, for comparison.
    pub(crate) beside: &'static [Contestant],
}

/// What happens in a cell while it is measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scenario {
    /// Nothing.
    Steady,
    /// Path or budget change; the cell is over [`AFTERMATH`] after the last change.
    Changes(Vec<Change>),
    /// One TCP flow for all the time, measured over two minutes after half a minute.
    BesideTcp,
    /// A few records at a time, beside the bulk or alone, and how long they take.
    Trickle {
        /// Whether they are alone.
        alone: bool,
    },
}

/// Something that changes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    /// When, from the end of the warm-up.
    pub(crate) at: Duration,
    pub(crate) turn: Turn,
    /// What is to come of it, and so how long that takes is measured.
    pub(crate) expect: Option<Expect>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Turn {
    /// netem's knobs, both ways.
    Path(&'static str),
    /// The link's `rate`.
    Budget(Rate),
    /// The path of one channel is dead; the one that is dialled in its place is not.
    Channel(usize),
}

/// A rate that is to be reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Expect {
    pub(crate) flow: Flow,
    pub(crate) rate: Rate,
    /// Between these shares of the rate.
    pub(crate) within: (f64, f64),
}

/// Where the wire is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Where packets enter the path: what is sent.
    Offered,
    /// Where they leave it.
    Delivered,
}

/// Seconds that stand for never: JSON has no infinity.
pub(crate) const NEVER: f64 = 1e9;

/// How long a cell goes on after its last change.
pub(crate) const AFTERMATH: Duration = Duration::from_secs(15);

/// A bound on one figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Must {
    pub(crate) figure: Figure,
    pub(crate) bound: Bound,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// What is measured, by the name that the results have it under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    /// Record-value bits per second at the sink.
    Goodput,
    /// The same as a share of the limit.
    OfLimit,
    /// The same as a share of the path's rate.
    OfPath,
    /// Bits per second of whole IP packets that entered the path at the source.
    Offered,
    /// Those that arrived.
    Delivered,
    /// Bits per second that arrived back at the source.
    Back,
    /// Share of packets dropped for any cause.
    Loss,
    /// Share of packets dropped because there were too many: queue or policer.
    SelfLoss,
    /// Median time through the bottleneck, in ms.
    QueueP50,
    /// Its 99th percentile.
    QueueP99,
    /// The round trip of the path with the median queue, in ms.
    Rtt,
    /// Processor time of the sender as a share of one core.
    SenderCpu,
    /// Of the receiver.
    ReceiverCpu,
    /// Sessions that there were.
    Sessions,
    /// Records that were not due or not what they should be.
    Wrong,
    /// Seconds until what was expected of the slowest change.
    Settled,
    /// Our share of what both flows carried.
    Share,
    /// From a record's making to its commit, median, in ms.
    LatencyP50,
    /// The 99th percentile.
    LatencyP99,
    /// 99th percentile of the emulator's lateness, in ms.
    Lateness,
    /// Goodput as a multiple of what plain QUIC reached in the same cell.
    TimesPlain,
}

/// Who carries the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Contestant {
    Causeway,
    /// iperf3 over TCP Cubic.
    TcpCubic,
    /// iperf3 over TCP BBR.
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

    /// What the kernel calls its congestion control, if it is TCP.
    pub(crate) const fn tcp(self) -> Option<&'static str> {
        match self {
            Self::TcpCubic => Some("cubic"),
            Self::TcpBbr => Some("bbr"),
            Self::Causeway | Self::QuinnCubic => None,
        }
    }
}

impl Cell {
    /// The most bits of record values per second, `record_bytes` each.
    pub(crate) fn limit(&self, record_bytes: usize) -> f64 {
        super::limit::limit(self.budget.min(self.path_rate), self.loss, record_bytes)
    }

    /// What it must reach, in words.
    pub(crate) fn bounds(&self) -> String {
        self.must.iter().map(Must::to_string).collect::<Vec<_>>().join(", ")
    }

    /// How long it is measured after the warm-up, where a steady one takes `steady`.
    pub(crate) fn duration(&self, steady: Duration) -> Duration {
        match &self.scenario {
            Scenario::Steady => steady,
            Scenario::Changes(changes) => changes.iter().map(|change| change.at).max().unwrap_or_default() + AFTERMATH,
            Scenario::BesideTcp => Duration::from_secs(120),
            Scenario::Trickle { .. } => steady.max(Duration::from_secs(30)),
        }
    }

    /// How long it runs before that, where a steady one takes `steady`.
    pub(crate) fn warm_up(&self, steady: Duration) -> Duration {
        if self.scenario == Scenario::BesideTcp { steady.max(Duration::from_secs(30)) } else { steady }
    }
}

impl Must {
    pub(crate) const fn at_least(figure: Figure, bound: f64) -> Self {
        Self { figure, bound: Bound::AtLeast(bound) }
    }

    pub(crate) const fn at_most(figure: Figure, bound: f64) -> Self {
        Self { figure, bound: Bound::AtMost(bound) }
    }

    /// Whether `value` will do.
    pub(crate) fn is_met(&self, value: f64) -> bool {
        match self.bound {
            Bound::AtLeast(bound) => value >= bound,
            Bound::AtMost(bound) => value <= bound,
        }
    }
}

impl Figure {
    /// Where the worst of all seeds counts, not the one in the middle: what must never happen.
    pub(crate) const fn is_judged_by_the_worst(self) -> bool {
        matches!(self, Self::Sessions | Self::Wrong)
    }

    /// How it is called in a table.
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
            Self::Settled => "settled",
            Self::Share => "share",
            Self::LatencyP50 => "latency p50",
            Self::LatencyP99 => "latency p99",
            Self::Lateness => "emulator late p99",
            Self::TimesPlain => "times plain QUIC",
        }
    }

    /// `value` with its unit.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::Goodput | Self::Offered | Self::Delivered | Self::Back => format!("{:.1} Mbit/s", value / 1e6),
            Self::OfLimit
            | Self::OfPath
            | Self::Loss
            | Self::SelfLoss
            | Self::SenderCpu
            | Self::ReceiverCpu
            | Self::Share => format!("{:.1} %", value * 100.0),
            Self::QueueP50 | Self::QueueP99 | Self::Rtt | Self::LatencyP50 | Self::LatencyP99 | Self::Lateness => {
                format!("{value:.1} ms")
            }
            Self::Sessions | Self::Wrong => format!("{value:.0}"),
            Self::TimesPlain => format!("{value:.1}"),
            Self::Settled if value < NEVER => format!("{value:.1} s"),
            Self::Settled => "never".to_owned(),
        }
    }
}

impl fmt::Display for Must {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = self.figure.label();
        match self.bound {
            Bound::AtLeast(bound) => write!(f, "{label} ≥ {}", self.figure.show(bound)),
            Bound::AtMost(bound) => write!(f, "{label} ≤ {}", self.figure.show(bound)),
        }
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
