//! How much a channel may buffer and have unacknowledged by QUIC: what the path holds, a few times over, and not
//! more. Too little, and a lost packet stops the pipe; too much, and what is urgent waits behind seconds of bulk.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use wire::units::Rate;

use super::{Dialled, EndpointSettings};
use crate::congestion::{FlowReport, Mode};

/// Below this a send window cannot hold one frame of records and its successor.
pub(super) const SEND_WINDOW_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// A frame counts as a whole until the last of its packets is acknowledged, and of the 700 of 1 MiB some are lost twice:
/// that takes 2.3 round trips in the mean at 2 % of loss and 2.8 at 5 %, and one more at times. Measured at 2 % and
/// 200 ms: three times what the path holds leave 91 % of what is possible, five times 99 %.
pub const TIMES_THE_PATH: u64 = 5;

/// How often the path is looked at. QUIC's probes of a dark path would come twice as late each time.
const TICK: Duration = Duration::from_millis(200);

/// The send window is left alone while it is within this part of what it should be.
const CLOSE_ENOUGH: f64 = 0.1;

impl EndpointSettings {
    /// The send window of one of `channels` channels, for so many bytes per second over a round trip of `rtt`: five
    /// times what the path holds, within 4 MiB and the channel's part of half of the memory. One channel may carry
    /// up to twice its part of the rate, since others may be dead or behind.
    pub fn send_window_for(&self, rate: Rate, rtt: Duration, channels: usize) -> u64 {
        let channels = channels.max(1) as u64;
        let most = (self.memory.bytes() / 2 / channels).max(SEND_WINDOW_BYTES_MIN);
        let share = rate.bytes_in(rtt).saturating_mul(TIMES_THE_PATH * channels.min(2)) / channels;
        share.clamp(SEND_WINDOW_BYTES_MIN, most)
    }

    /// The same by what a flow has found, once it knows the path; a part of what the facts say before.
    fn send_window_found(&self, found: Option<&FlowReport>, channels: usize) -> u64 {
        let by_path = found.and_then(|found| {
            let rate = found.budget.unwrap_or_else(|| found.allowed.max(found.delivery));
            Some(self.send_window_for(rate, found.base_rtt?.max(found.smoothed_rtt?), found.channels))
        });
        by_path.unwrap_or_else(|| (self.send_window() / channels.max(1) as u64).max(SEND_WINDOW_BYTES_MIN))
    }
}

/// Adapts the send windows of the channels of one flow to the path, the rate and each other, as they change, and lets
/// the flow know the time. To be run beside whatever uses them; `open` tells which stand.
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
        let (window, set) = (self.settings.send_window_found(found, channels), self.window.load(Ordering::Relaxed));
        let close = window.abs_diff(set) as f64 <= set as f64 * CLOSE_ENOUGH;
        // Setting it also makes QUIC look at its window again, which on a dark path has grown by a probe.
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
    fn the_send_window_is_five_times_what_the_path_holds_and_follows_it() {
        let rtt = Duration::from_millis(200);
        assert_eq!(settings(1 << 30).send_window_for(mbit(500), rtt, 1), 5 * 12_500_000);
        assert_eq!(settings(1 << 30).send_window_for(mbit(500), rtt / 2, 1), 5 * 6_250_000);
        assert_eq!(settings(1 << 30).send_window_for(mbit(250), rtt, 1), 5 * 6_250_000);
        assert_eq!(settings(1 << 30).send_window_for(mbit(500), rtt, 4), 2 * 5 * 12_500_000 / 4);
    }

    #[test]
    fn all_channels_windows_stay_within_half_of_the_memory() {
        let (rtt, memory) = (Duration::from_secs(1), 256 << 20);
        for channels in 1..=16 {
            let windows = settings(memory).send_window_for(mbit(10_000), rtt, channels) * channels as u64;
            assert!(windows <= memory / 2, "{channels} channels: {windows}");
        }
        assert_eq!(settings(0).send_window_for(mbit(1), rtt, 4), SEND_WINDOW_BYTES_MIN);
    }

    #[test]
    fn until_the_path_is_known_channels_share_what_one_alone_would_have() {
        let settings = settings(256 << 20);
        assert_eq!(settings.send_window_found(None, 1), settings.send_window());
        assert_eq!(settings.send_window_found(None, 4), settings.send_window() / 4);
        assert_eq!(settings.send_window_found(None, 1000), SEND_WINDOW_BYTES_MIN);
    }
}
