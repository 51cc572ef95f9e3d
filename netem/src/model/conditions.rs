//! Conditions of one direction of a path. Each knob has the name that tc-netem(8) gives it.

use std::time::Duration;

use wire::share::Share;
use wire::units::{Rate, Size};

use super::flow::{FlowNumber, FlowSet};

/// Conditions of one direction of a path. By default packets pass unchanged and without delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conditions {
    /// Time from the bottleneck's sending of a packet to its arrival.
    pub delay: Duration,
    pub jitter: Jitter,
    /// Packets that take longer, so that others overtake them.
    pub reorder: Option<Reorder>,
    pub loss: Loss,
    /// Share of packets that arrive twice.
    pub duplicate: Share,
    /// Share of packets that arrive with one bit flipped.
    pub corrupt: Share,
    /// Bits per second of whole IP packets through the bottleneck. Without a rate there is no bottleneck.
    pub rate: Option<Rate>,
    /// Treatment of what exceeds the rate of the bottleneck.
    pub excess: Excess,
    /// The longest IP packet that passes. A longer one is dropped without notice, as in an MTU black hole.
    pub mtu: Option<Size>,
    /// Outage: the path drops every packet.
    pub down: bool,
    /// Flows whose packets are all dropped.
    pub down_flows: FlowSet,
}

/// The direction in which a packet travels. On the command line it is named after the end that the packet leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Direction {
    /// From the source to the target.
    #[value(name = "source", help = "The end that packets leave in the forward direction")]
    Forward,
    /// From the target to the source.
    #[value(name = "target", help = "The end at which they arrive")]
    Back,
}

impl Direction {
    pub const BOTH: [Self; 2] = [Self::Forward, Self::Back];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Back => "back",
        }
    }
}

/// Variation of the delay around its mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Jitter {
    /// Largest difference from the mean. Delays are uniform between `-by` and `+by`, but never negative.
    pub by: Duration,
    pub order: Order,
}

/// Order of packets under jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The delay changes gradually and packets keep their order, as behind a queue elsewhere or a busy radio cell.
    #[default]
    Kept,
    /// Delays are independent of each other, as in tc-netem, so that packets often overtake each other.
    Free,
}

/// Packets that take longer and are overtaken. (In tc-netem some packets skip the delay and overtake.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reorder {
    pub share: Share,
    pub by: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Loss {
    #[default]
    None,
    /// Packets are lost with the same probability, independent of each other.
    Random(Share),
    Bursts(GilbertElliott),
}

/// The Gilbert-Elliott chain: a good and a bad state, one step per packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GilbertElliott {
    /// Probability `p` of a step from good to bad.
    pub enter: Share,
    /// Probability `r` of a step from bad to good. A burst lasts 1/r packets on average.
    pub leave: Share,
    /// Probability `1-h` that a packet is lost in the bad state.
    pub lost_in_bad: Share,
    /// Probability `1-k` that a packet is lost in the good state.
    pub lost_in_good: Share,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// Queues up to this many bytes, the packet being sent included, and drops packets that do not fit (tail drop).
    QueueBytes(Size),
    /// Queues as many bytes as the current rate sends in this time.
    QueueTime(Duration),
    /// Queues nothing and drops packets that a token bucket of this depth does not cover, as an operator's policer does.
    Police(Size),
}

impl Default for Excess {
    /// Queues one round trip of a long path: router vendors long gave a port that much (RFC 3439 §2.4).
    fn default() -> Self {
        Self::QueueTime(Duration::from_millis(100))
    }
}

/// A new value for one knob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knob {
    Delay(Duration),
    Jitter(Jitter),
    Reorder(Option<Reorder>),
    Loss(Loss),
    Duplicate(Share),
    Corrupt(Share),
    Rate(Option<Rate>),
    Excess(Excess),
    Mtu(Option<Size>),
    Down(bool),
    Flow(FlowNumber, bool),
}

impl Conditions {
    pub fn set(&mut self, knob: Knob) {
        match knob {
            Knob::Delay(delay) => self.delay = delay,
            Knob::Jitter(jitter) => self.jitter = jitter,
            Knob::Reorder(reorder) => self.reorder = reorder,
            Knob::Loss(loss) => self.loss = loss,
            Knob::Duplicate(share) => self.duplicate = share,
            Knob::Corrupt(share) => self.corrupt = share,
            Knob::Rate(rate) => self.rate = rate,
            Knob::Excess(excess) => self.excess = excess,
            Knob::Mtu(mtu) => self.mtu = mtu,
            Knob::Down(down) => self.down = down,
            Knob::Flow(flow, down) => self.down_flows.set(flow, down),
        }
    }

    /// Returns these conditions with `knobs` changed in their order.
    #[must_use]
    pub fn with(mut self, knobs: impl IntoIterator<Item = Knob>) -> Self {
        knobs.into_iter().for_each(|knob| self.set(knob));
        self
    }

    /// Returns the limit of the bottleneck's queue, in bytes.
    pub fn queue_limit(&self) -> u64 {
        match (self.excess, self.rate) {
            (Excess::QueueBytes(size), _) => size.bytes(),
            (Excess::QueueTime(time), Some(rate)) => rate.bytes_in(time),
            (Excess::QueueTime(_), None) | (Excess::Police(_), _) => 0,
        }
    }
}

impl Loss {
    /// Returns the share of packets that is lost in the long run.
    pub fn mean(&self) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Random(share) => share.part(),
            Self::Bursts(chain) => chain.mean(),
        }
    }
}

impl GilbertElliott {
    /// Returns a chain that loses `mean` of all packets in bursts of `length` packets on average.
    pub fn bursts(mean: Share, length: f64) -> Self {
        let leave = 1.0 / length.max(1.0);
        let enter = mean.part() * leave / mean.rest().part();
        Self {
            enter: Share::of_one(enter),
            leave: Share::of_one(leave),
            lost_in_bad: Share::ALL,
            lost_in_good: Share::NONE,
        }
    }

    /// Returns the share of packets that is lost in the long run.
    pub fn mean(&self) -> f64 {
        let enter = self.enter.part();
        let leave = self.leave.part();
        let bad = if enter + leave > 0.0 { enter / (enter + leave) } else { 0.0 };
        bad * self.lost_in_bad.part() + (1.0 - bad) * self.lost_in_good.part()
    }
}
