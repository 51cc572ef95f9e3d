//! Metering of one channel of a link that has a rate: the sender may send what it is granted.
//!
//! The receiver still reads every byte that arrives, so that a frame that is not complete takes no room from others. Only
//! the channel's window, which all of its streams share, opens at the link's rate, regardless of what was read or acked: a
//! sender that reaches the rate waits for the next grant. One that keeps to the rate it was assigned never waits.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quinn::Connection;
use tokio::time::{Instant, sleep_until};
use transport::endpoint::{admit_streams, grant, meter};
use wire::units::Rate;

use crate::config::derived::STREAMS;
use crate::link::ServedLink;
use crate::link::incoming_rate::window;

/// Least interval between two grants of a channel.
const TICK: Duration = Duration::from_millis(10);
/// Time at the rate for which one channel is granted bytes before the others have their turn, and the least bytes.
const TURN: Duration = Duration::from_millis(50);
const TURN_BYTES_MIN: u64 = 4 * 1024;

/// Connection of a channel that takes frames.
pub(super) struct FrameChannel {
    pub(super) connection: Connection,
    /// Bytes that were read from all streams of the channel.
    pub(super) read: Arc<AtomicU64>,
}

/// Meter of one channel. When it is dropped, the link need not pay for what the channel was granted and did not use.
pub(super) struct Meter {
    link: Arc<ServedLink>,
    rate: Rate,
    /// Bytes that were read from all streams of the channel.
    read: Arc<AtomicU64>,
    /// Those of them that were granted again.
    granted: u64,
    connection: Connection,
    /// IP bytes of the channel that were charged.
    charged: u64,
    /// Bytes of the window, which the link has paid for in advance.
    deposit: u64,
}

impl Meter {
    pub(super) fn new(link: Arc<ServedLink>, rate: Rate, channel: &FrameChannel) -> Self {
        let FrameChannel { connection, read } = channel;
        let granted = read.load(Ordering::Relaxed);
        let charged = arrived(connection);
        Self { link, rate, read: Arc::clone(read), granted, connection: connection.clone(), charged, deposit: 0 }
    }

    /// Opens the channel for frames once earlier grants of the link are paid for, and then grants what was read at the
    /// link's rate.
    pub(super) async fn run(&mut self) -> Infallible {
        meter(&self.connection);
        self.deposit = window(self.rate);
        // The window is granted before it is paid for; the next grant of the link is not.
        sleep_until(self.charge(self.deposit).start).await;
        grant(&self.connection, self.deposit);
        admit_streams(&self.connection, STREAMS);
        let most = self.rate.bytes_in(TURN).max(TURN_BYTES_MIN);
        loop {
            tokio::time::sleep(TICK).await;
            let bytes = most.min(self.read.load(Ordering::Relaxed) - self.granted);
            if bytes > 0 {
                self.granted += bytes;
                let packets = self.uncharged();
                sleep_until(self.charge(packets).end).await;
                grant(&self.connection, bytes);
            }
        }
    }

    /// Returns the bytes of packets that have arrived since the last call.
    fn uncharged(&mut self) -> u64 {
        let arrived = arrived(&self.connection);
        arrived - std::mem::replace(&mut self.charged, arrived)
    }

    fn charge(&self, bytes: u64) -> Range<Instant> {
        self.link.incoming_rate.charge(self.rate, bytes, Instant::now())
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let packets = self.uncharged();
        self.charge(packets);
        self.link.incoming_rate.refund(self.rate, self.deposit);
    }
}

/// Returns the IP bytes that have arrived on a connection.
fn arrived(connection: &Connection) -> u64 {
    let udp = connection.stats().udp_rx;
    let headers = if connection.remote_address().is_ipv4() { 28 } else { 48 };
    udp.bytes + headers * udp.datagrams
}
