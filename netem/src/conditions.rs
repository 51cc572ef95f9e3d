//! What one direction of a path does to packets: the knobs of tc-netem(8), by their names there.

mod text;

use std::time::Duration;

use wire::units::{Rate, Size};

use crate::flow::{FlowNumber, FlowSet};
use crate::share::Share;

pub use text::{KnobError, parse_knobs};

/// What one direction of a path does. The default is a wire that does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conditions {
    /// How long a packet is under way once the bottleneck has sent it.
    pub delay: Duration,
    /// How far the delay strays.
    pub jitter: Jitter,
    /// Packets that are overtaken.
    pub reorder: Option<Reorder>,
    /// Packets that never arrive.
    pub loss: Loss,
    /// Share of packets that arrive twice.
    pub duplicate: Share,
    /// Share of packets that arrive with one bit flipped.
    pub corrupt: Share,
    /// Bits per second of whole IP packets through the bottleneck; none is no bottleneck.
    pub rate: Option<Rate>,
    /// What the bottleneck does with more than its rate.
    pub excess: Excess,
    /// The longest IP packet that passes; a longer one vanishes without a word, as in an MTU black hole.
    pub mtu: Option<Size>,
    /// Nothing passes.
    pub down: bool,
    /// Nothing of these passes.
    pub dark_flows: FlowSet,
}

/// How far the delay strays from its mean, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Jitter {
    /// Uniform between `-by` and `+by`, never below no delay at all.
    pub by: Duration,
    /// Whether packets keep their order.
    pub order: Order,
}

/// Whether jitter keeps packets in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The delay wanders with time, and packets stay in line: a queue elsewhere, a busy radio cell.
    #[default]
    Kept,
    /// Each packet strays for itself, as in tc-netem: packets overtake each other all the time.
    Free,
}

/// Some packets take longer and are overtaken. (In tc-netem some go at once and overtake.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reorder {
    /// Which share.
    pub share: Share,
    /// How much longer they take.
    pub by: Duration,
}

/// Packets that never arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Loss {
    /// None is lost.
    #[default]
    None,
    /// Each for itself.
    Random(Share),
    /// In bursts.
    Bursts(GilbertElliott),
}

/// The Gilbert-Elliott chain: a good and a bad state, one step per packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GilbertElliott {
    /// `p`: from good to bad.
    pub enter: Share,
    /// `r`: from bad to good; a burst lasts 1/r packets on average.
    pub leave: Share,
    /// `1-h`: lost while bad.
    pub lost_in_bad: Share,
    /// `1-k`: lost while good.
    pub lost_in_good: Share,
}

/// What the bottleneck does with more than its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// It queues so many bytes, the packet being sent included, and drops the rest at the tail.
    QueueBytes(Size),
    /// The same, as the time that the queue takes to drain at the present rate.
    QueueTime(Duration),
    /// It queues nothing and drops what a token bucket of this depth does not cover, as an operator's
    /// policer does.
    Police(Size),
}

impl Default for Excess {
    /// A round-trip's worth of a far path: what router vendors long gave a port, and RFC 3439 §2.4 quotes.
    fn default() -> Self {
        Self::QueueTime(Duration::from_millis(100))
    }
}

/// One knob and where it is to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knob {
    /// [`Conditions::delay`]
    Delay(Duration),
    /// [`Conditions::jitter`]
    Jitter(Jitter),
    /// [`Conditions::reorder`]
    Reorder(Option<Reorder>),
    /// [`Conditions::loss`]
    Loss(Loss),
    /// [`Conditions::duplicate`]
    Duplicate(Share),
    /// [`Conditions::corrupt`]
    Corrupt(Share),
    /// [`Conditions::rate`]
    Rate(Option<Rate>),
    /// [`Conditions::excess`]
    Excess(Excess),
    /// [`Conditions::mtu`]
    Mtu(Option<Size>),
    /// [`Conditions::down`]
    Down(bool),
    /// [`Conditions::dark_flows`]
    Flow(FlowNumber, bool),
}

impl Conditions {
    /// Turns one knob.
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
            Knob::Flow(flow, down) => self.dark_flows.set(flow, down),
        }
    }

    /// These conditions with `knobs` turned, in their order.
    #[must_use]
    pub fn with(mut self, knobs: impl IntoIterator<Item = Knob>) -> Self {
        knobs.into_iter().for_each(|knob| self.set(knob));
        self
    }

    /// Bytes that the bottleneck's queue holds.
    pub fn queue_limit(&self) -> u64 {
        match (self.excess, self.rate) {
            (Excess::QueueBytes(size), _) => size.bytes(),
            (Excess::QueueTime(time), Some(rate)) => rate.bytes_in(time),
            (Excess::QueueTime(_), None) | (Excess::Police(_), _) => 0,
        }
    }
}

impl Loss {
    /// The share that is lost in the long run.
    pub fn mean(&self) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Random(share) => share.part(),
            Self::Bursts(chain) => chain.mean(),
        }
    }
}

impl GilbertElliott {
    /// Bursts of `length` packets on average, none of which arrives, that make up `mean` of all packets.
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

    /// The share that is lost in the long run.
    pub fn mean(&self) -> f64 {
        let (enter, leave) = (self.enter.part(), self.leave.part());
        let bad = if enter + leave > 0.0 { enter / (enter + leave) } else { 0.0 };
        bad * self.lost_in_bad.part() + (1.0 - bad) * self.lost_in_good.part()
    }
}
