//! Send windows: bytes that a channel may buffer and have unacknowledged, a few times as many as the path holds. With
//! fewer, a lost packet would stop the channel; with more, urgent records would wait behind seconds of bulk.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quinn::{Connection, VarInt};
use tokio::time::MissedTickBehavior;

use super::dialer::Dialled;
use crate::congestion::{FlowReport, Mode};

/// Interval at which windows are adapted. On an unreachable path, the pause between QUIC's own probes doubles each time.
const TICK: Duration = Duration::from_millis(200);
/// Relative difference from its goal up to which a send window is not changed.
const CLOSE_ENOUGH: f64 = 0.1;
/// Window in bytes of a metered channel without a grant. QUIC announces a window once an eighth of it is free; with none
/// at all, it would announce that with each packet.
const METERED_WINDOW_BYTES: u32 = 8;

/// Opens the windows of a channel that a guarded end has accepted: `bytes` may be unread, and `streams` unidirectional
/// streams open, at the same time.
pub fn admit(connection: &Connection, bytes: u64, streams: u32) {
    connection.set_receive_window(VarInt::from_u64(bytes).unwrap_or(VarInt::MAX));
    admit_streams(connection, streams);
}

/// Stops the receive window of a channel from opening by itself as its bytes are read: from now on [`grant`] opens it.
pub fn meter(connection: &Connection) {
    connection.set_receive_window(VarInt::from_u32(METERED_WINDOW_BYTES));
}

/// Lets the peer send `bytes` more on a channel that is metered.
pub fn grant(connection: &Connection, bytes: u64) {
    let opened = u64::from(METERED_WINDOW_BYTES).saturating_add(bytes);
    connection.set_receive_window(VarInt::from_u64(opened).unwrap_or(VarInt::MAX));
    // A window that shrinks takes back nothing. It stays closed while the granted bytes are read.
    connection.set_receive_window(VarInt::from_u32(METERED_WINDOW_BYTES));
}

/// Allows unidirectional streams on a channel that a guarded end has accepted.
pub fn admit_streams(connection: &Connection, streams: u32) {
    connection.set_max_concurrent_uni_streams(VarInt::from_u32(streams));
}

/// Adapts the send windows of one flow's open channels to the path, the rate and the number of channels, and updates the
/// flow's time. It runs until it is dropped.
pub async fn keep_windows(open: impl Fn() -> Vec<Dialled>) -> Infallible {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let open = open();
        let flow = open.iter().find_map(|dialled| dialled.flow.as_ref());
        let found = flow.map(|flow| {
            flow.handle_tick(tokio::time::Instant::now().into_std());
            flow.report()
        });
        open.iter().for_each(|dialled| dialled.fit_window(found.as_ref(), open.len()));
    }
}

impl Dialled {
    fn fit_window(&self, found: Option<&FlowReport>, channels: usize) {
        let window = self.settings.send_window_found(found, channels);
        let set = self.window.load(Ordering::Relaxed);
        let close = window.abs_diff(set) as f64 <= set as f64 * CLOSE_ENOUGH;
        // Setting it also makes QUIC check its congestion window, which on an unreachable path has grown by a probe.
        if !close || found.is_some_and(|found| found.mode == Mode::Unreachable) {
            self.connection.set_send_window(window);
            self.window.store(window, Ordering::Relaxed);
        }
    }
}
