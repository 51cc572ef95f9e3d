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

/// Meter of one channel. When it is dropped, the link need not pay for what the channel was granted and did not use.
pub(super) struct Meter {
    link: Arc<ServedLink>,
    rate: Rate,
    /// Bytes that were read from all streams of the channel.
    read: Arc<AtomicU64>,
    /// Bytes that were charged, in addition to those that were read before.
    charged: u64,
    /// Bytes that were read before, and those that were charged again since.
    seen: u64,
}

impl Meter {
    pub(super) fn new(link: Arc<ServedLink>, rate: Rate, read: Arc<AtomicU64>) -> Self {
        let seen = read.load(Ordering::Relaxed);
        Self { link, rate, read, charged: seen, seen }
    }

    /// Opens the channel for frames once its window is paid for, and then grants what was read at the link's rate.
    pub(super) async fn run(&mut self, connection: &Connection) -> Infallible {
        meter(connection);
        let first = window(self.rate);
        // The window of a channel is granted before it is paid for; the next grant of the link is not.
        sleep_until(self.charge(first).start).await;
        grant(connection, first);
        admit_streams(connection, STREAMS);
        let most = self.rate.bytes_in(TURN).max(TURN_BYTES_MIN);
        loop {
            tokio::time::sleep(TICK).await;
            let bytes = most.min(self.read.load(Ordering::Relaxed) - self.seen);
            if bytes > 0 {
                self.seen += bytes;
                sleep_until(self.charge(bytes).end).await;
                grant(connection, bytes);
            }
        }
    }

    fn charge(&mut self, bytes: u64) -> Range<Instant> {
        self.charged += bytes;
        self.link.incoming_rate.charge(self.rate, bytes, Instant::now())
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let unused = self.charged.saturating_sub(self.read.load(Ordering::Relaxed));
        self.link.incoming_rate.refund(self.rate, unused);
    }
}
