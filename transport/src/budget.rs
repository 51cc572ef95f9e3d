//! Budget: the bandwidth limit of a link, enforced at the UDP socket. One limiter counts everything that leaves through
//! the link's sockets: records, acks, probes and retransmissions.
//!
//! It counts IP bytes: each datagram with its UDP and IP headers, 28 bytes for IPv4 and 48 for IPv6. Over any second, at
//! most the rate plus 0.5 % leaves; over any 100 ms, at most the rate plus 5 %; in both cases plus one transmit. Without a
//! rate, nothing waits.

mod bucket;
mod limiter;
mod queue;
mod sockets;

pub use limiter::{Budget, Usage};
pub use sockets::BudgetSockets;
