//! Send windows: bytes that a channel may buffer and have unacknowledged, a few times as many as the path holds. With
//! fewer, a lost packet would stop the channel; with more, urgent records would wait behind seconds of bulk.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use wire::units::Rate;

use super::{Dialled, EndpointSettings};
use crate::congestion::{FlowReport, Mode};

/// Smallest send window in bytes: room for two frames.
pub(super) const SEND_WINDOW_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// Size of the send window as a multiple of what the path holds. A frame counts until its last packet is acknowledged,
/// and some of the 700 packets of 1 MiB are lost twice: that takes 2.3 round trips on average at 2 % loss, and 2.8 at 5 %.
/// At 2 % loss and 200 ms, a multiple of three reaches 91 % of the possible rate, and five reaches 99 %.
pub const TIMES_THE_PATH: u64 = 5;

/// Interval at which windows are adapted. On an unreachable path, the pause between QUIC's own probes doubles each time.
const TICK: Duration = Duration::from_millis(200);

/// Relative difference from its goal up to which a send window is not changed.
const CLOSE_ENOUGH: f64 = 0.1;

impl EndpointSettings {
    /// Returns the send window of one of `channels` channels for a rate and a round trip: five times what the path holds,
    /// at least 4 MiB, and at most the channel's part of half of the memory. One channel may carry up to twice its part
    /// of the rate, because others may be dead or behind.
    pub fn send_window_for(&self, rate: Rate, rtt: Duration, channels: usize) -> u64 {
        let channels = channels.max(1) as u64;
        let most = (self.memory.bytes() / 2 / channels).max(SEND_WINDOW_BYTES_MIN);
        let share = rate.bytes_in(rtt).saturating_mul(TIMES_THE_PATH * channels.min(2)) / channels;
        share.clamp(SEND_WINDOW_BYTES_MIN, most)
    }

    /// Returns the send window for the path that a flow has found; before that, an equal part of the settings' window.
    fn send_window_found(&self, found: Option<&FlowReport>, channels: usize) -> u64 {
        let by_path = found.and_then(|found| {
            let rate = found.budget.unwrap_or_else(|| found.allowed.max(found.delivery));
            Some(self.send_window_for(rate, found.base_rtt?.max(found.smoothed_rtt?), found.channels))
        });
        by_path.unwrap_or_else(|| (self.send_window() / channels.max(1) as u64).max(SEND_WINDOW_BYTES_MIN))
    }
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
        if !close || found.is_some_and(|found| found.mode == Mode::Dark) {
            self.connection.set_send_window(window);
            self.window.store(window, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::units::Size;

    use super::*;

    fn settings(memory: u64) -> EndpointSettings {
        EndpointSettings::new(Size::from_bytes(memory), 0)
    }

    fn mbit(rate: u64) -> Rate {
        Rate::from_bits_per_second(rate * 1_000_000)
    }

    #[test]
    fn the_send_window_is_five_times_what_the_path_holds() {
        let rtt = Duration::from_millis(200);
        assert_eq!(settings(1 << 30).send_window_for(mbit(500), rtt, 1), 5 * 12_500_000);
        assert_eq!(settings(1 << 30).send_window_for(mbit(500), rtt / 2, 1), 5 * 6_250_000);
        assert_eq!(settings(1 << 30).send_window_for(mbit(250), rtt, 1), 5 * 6_250_000);
        assert_eq!(settings(1 << 30).send_window_for(mbit(500), rtt, 4), 2 * 5 * 12_500_000 / 4);
    }

    #[test]
    fn all_channels_windows_stay_within_half_of_the_memory() {
        let rtt = Duration::from_secs(1);
        let memory = 256 << 20;
        for channels in 1..=16 {
            let windows = settings(memory).send_window_for(mbit(10_000), rtt, channels) * channels as u64;
            assert!(windows <= memory / 2, "{channels} channels: {windows}");
        }
        assert_eq!(settings(0).send_window_for(mbit(1), rtt, 4), SEND_WINDOW_BYTES_MIN);
    }

    #[test]
    fn before_the_path_is_known_channels_share_one_window() {
        let settings = settings(256 << 20);
        assert_eq!(settings.send_window_found(None, 1), settings.send_window());
        assert_eq!(settings.send_window_found(None, 4), settings.send_window() / 4);
        assert_eq!(settings.send_window_found(None, 1000), SEND_WINDOW_BYTES_MIN);
    }
}
