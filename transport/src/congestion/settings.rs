//! Settings of a flow: its rate, and its behaviour towards other flows on the path.

use std::time::Duration;

use wire::share::Share;
use wire::units::Rate;

/// Default of [`FlowSettings::loss_tolerance`] in percent: more than long paths lose by chance, less than a policer
/// drops.
pub const LOSS_TOLERANCE_PERCENT: u32 = 8;

/// Behaviour of a link towards other flows on its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Takes free bandwidth, keeps queues short, and takes its share where other flows fill the queue.
    #[default]
    Adaptive,
    /// Takes only bandwidth that no other flow uses.
    Scavenger,
    /// Takes the stated rate regardless of queues; only losses above the tolerance slow it.
    Reserved,
}

/// Settings of a [`Flow`](super::Flow).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlowSettings {
    /// Rate of IP packets; without one, the path is the limit.
    pub rate: Option<Rate>,
    /// Behaviour towards other flows on the path.
    pub policy: Policy,
    /// Part of the rate that this link takes regardless of other flows.
    pub floor: Share,
    /// Part of the sent packets that the path may lose without it being a sign of congestion.
    pub loss_tolerance: Share,
    /// Queueing delay at which to back off; by default 5 % of the empty path's round trip, within 4 and 15 ms.
    pub queue_target: Option<Duration>,
}

impl FlowSettings {
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

/// Number of packets that a receiver is asked to let pass before it acknowledges. An ACK for every packet would cost
/// both ends a third of their CPU time; quinn keeps 64 ranges between two ACKs.
pub const ACK_PACKETS: u32 = 10;
/// Longest time for which a receiver is asked to delay an ACK.
pub const ACK_DELAY: Duration = Duration::from_millis(25);

/// Returns the number of packets that a receiver may take before it acknowledges. At a low initial rate it is smaller,
/// so that their wait is short.
pub fn ack_packets(rate: Option<Rate>) -> u32 {
    const WITHIN: Duration = Duration::from_millis(2);
    const PACKET_BYTES: u64 = 1_500;
    rate.map_or(ACK_PACKETS, |rate| (rate.bytes_in(WITHIN) / PACKET_BYTES).clamp(1, ACK_PACKETS.into()) as u32)
}
