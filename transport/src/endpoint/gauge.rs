//! Gauge of a channel: bytes that have left it and bytes that have arrived, which quinn does not report.
//!
//! A congestion controller sees both. The one here counts them and passes every call to the real one. The sender uses the
//! counts to keep few bytes waiting inside QUIC, because those can neither be reordered nor move to another channel.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics};
use quinn_proto::RttEstimator;
use tokio::sync::Notify;

/// Bytes of a full packet that are not stream data: short header, stream frame header and authentication tag, rounded up.
/// If it is too large, less seems to have left than has, and the count is corrected each time nothing waits. If it were
/// too small, the error would grow.
const OVERHEAD: u64 = 44;

/// Counts of one channel, written under quinn's lock.
#[derive(Debug, Default)]
pub struct Gauge {
    sent: AtomicU64,
    left: AtomicU64,
    acked: AtomicU64,
    dry_at: AtomicU64,
    window: AtomicU64,
    rtt_nanos: AtomicU64,
    wake_at: AtomicU64,
    moved: Notify,
}

/// Counts of a gauge at one moment. Only differences between readings have a meaning.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Bytes sent, including retransmissions.
    pub sent: u64,
    /// Stream bytes that have left, estimated from packets. Lost bytes are subtracted, so that it may fall.
    pub left: u64,
    /// Value of `sent` when the channel last had nothing waiting.
    pub dry_at: u64,
    /// Bytes per second that the congestion controller allows; 0 before the first answer.
    pub rate: u64,
}

impl Gauge {
    pub fn reading(&self) -> Reading {
        // `dry_at` is read first: bytes sent after it mean that the channel is no longer dry.
        let dry_at = self.dry_at.load(Ordering::Acquire);
        let sent = self.sent.load(Ordering::Acquire);
        let left = self.left.load(Ordering::Acquire);
        Reading { sent, left, dry_at, rate: self.rate() }
    }

    /// Returns the bytes of packets that were acknowledged.
    pub fn acked(&self) -> u64 {
        self.acked.load(Ordering::Acquire)
    }

    fn rate(&self) -> u64 {
        let rtt = self.rtt_nanos.load(Ordering::Acquire);
        let bytes = u128::from(self.window.load(Ordering::Acquire)) * 1_000_000_000;
        bytes.checked_div(u128::from(rtt)).map_or(0, |rate| u64::try_from(rate).unwrap_or(u64::MAX))
    }

    /// Waits until `left` bytes have left, or until nothing waits after `sent` bytes were sent.
    pub async fn has_left(&self, left: u64, sent: u64) {
        self.wake_at.store(left, Ordering::Release);
        while self.left.load(Ordering::Acquire) < left && self.dry_at.load(Ordering::Acquire) <= sent {
            self.moved.notified().await;
        }
    }

    fn handle_sent(&self, bytes: u64, payload: u64) {
        self.sent.fetch_add(bytes, Ordering::AcqRel);
        let left = self.left.fetch_add(payload, Ordering::AcqRel) + payload;
        if left >= self.wake_at.load(Ordering::Acquire) {
            self.moved.notify_one();
        }
    }

    fn handle_lost(&self, bytes: u64) {
        let _ = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| Some(left.saturating_sub(bytes)));
    }

    fn handle_acks(&self, dry: bool, window: u64) {
        self.window.store(window, Ordering::Release);
        let sent = self.sent.load(Ordering::Acquire);
        if dry && self.dry_at.swap(sent, Ordering::AcqRel) < sent {
            self.moved.notify_one();
        }
    }
}

/// Factory of controllers that update a gauge.
pub(super) struct Gauged {
    pub(super) inner: Arc<dyn ControllerFactory + Send + Sync>,
    pub(super) gauge: Arc<Gauge>,
}

struct Watched {
    inner: Box<dyn Controller>,
    gauge: Arc<Gauge>,
    mtu: u64,
}

impl ControllerFactory for Gauged {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let inner = Arc::clone(&self.inner).build(now, current_mtu);
        Box::new(Watched { inner, gauge: Arc::clone(&self.gauge), mtu: current_mtu.into() })
    }
}

impl Watched {
    /// Returns the stream bytes in so many bytes of packets.
    fn payload(&self, bytes: u64) -> u64 {
        bytes.saturating_sub(bytes.div_ceil(self.mtu.max(1)) * OVERHEAD)
    }
}

impl Controller for Watched {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.gauge.handle_sent(bytes, self.payload(bytes));
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.gauge.acked.fetch_add(bytes, Ordering::AcqRel);
        let nanos = u64::try_from(rtt.get().max(Duration::from_nanos(1)).as_nanos()).unwrap_or(u64::MAX);
        self.gauge.rtt_nanos.store(nanos, Ordering::Release);
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest: Option<u64>) {
        self.inner.on_end_acks(now, in_flight, app_limited, largest);
        self.gauge.handle_acks(app_limited, self.inner.window());
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, persistent: bool, lost_bytes: u64) {
        self.gauge.handle_lost(self.payload(lost_bytes));
        self.inner.on_congestion_event(now, sent, persistent, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu.into();
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.inner.window()
    }
    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }
    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { inner: self.inner.clone_box(), gauge: Arc::clone(&self.gauge), mtu: self.mtu })
    }
    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self.inner.into_any()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lost_bytes_have_not_left_and_waiters_are_woken() {
        let gauge = Gauge::default();
        gauge.handle_sent(1100, 1000);
        gauge.handle_lost(400);
        assert_eq!(gauge.reading(), Reading { sent: 1100, left: 600, dry_at: 0, rate: 0 });
        gauge.has_left(600, 0).await;
        let waiting = gauge.has_left(1000, 0);
        tokio::pin!(waiting);
        assert!(is_pending(waiting.as_mut()).await, "400 are still to leave");
        gauge.handle_sent(440, 400);
        waiting.await;
        let dry = gauge.has_left(u64::MAX, 1540);
        tokio::pin!(dry);
        gauge.handle_acks(true, 10);
        assert!(is_pending(dry.as_mut()).await, "that was dry before anything was sent");
        gauge.handle_sent(10, 0);
        gauge.handle_acks(true, 10);
        dry.await;
    }

    async fn is_pending(mut future: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
        std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_pending())).await
    }
}
