//! How much a channel may buffer and have unacknowledged by QUIC: what the path holds, a few times over, and not
//! more. Too little, and a lost packet stops the pipe; too much, and what is urgent waits behind seconds of bulk.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use wire::units::Rate;

use super::{Dialled, EndpointSettings};
use crate::congestion::FlowReport;

/// Below this a send window cannot hold one frame of records and its successor.
pub(super) const SEND_WINDOW_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// Data behind a lost packet counts until that is repaired: with less than 2.5 times what the path holds, 2 % of
/// loss cost a tenth of the rate and more.
const TIMES_THE_PATH: u64 = 3;

/// How often the path is looked at. QUIC's probes of a dark path would come twice as late each time.
const TICK: Duration = Duration::from_millis(200);

/// The send window is left alone while it is within this part of what it should be.
const CLOSE_ENOUGH: f64 = 0.1;

impl EndpointSettings {
    /// The send window of one of `channels` channels, for so many bytes per second over a round trip of `rtt`: three
    /// times what the path holds, within 4 MiB and the channel's part of half of the memory. One channel may carry
    /// up to twice its part of the rate, since others may be dead or behind.
    pub fn send_window_for(&self, rate: Rate, rtt: Duration, channels: usize) -> u64 {
        let channels = channels.max(1) as u64;
        let most = (self.memory.bytes() / 2 / channels).max(SEND_WINDOW_BYTES_MIN);
        let share = rate.bytes_in(rtt).saturating_mul(TIMES_THE_PATH * channels.min(2)) / channels;
        share.clamp(SEND_WINDOW_BYTES_MIN, most)
    }

    /// The same by what a flow has found, once it knows the path.
    fn send_window_found(&self, found: &FlowReport) -> Option<u64> {
        let rate = found.budget.unwrap_or_else(|| found.allowed.max(found.delivery));
        Some(self.send_window_for(rate, found.base_rtt?.max(found.smoothed_rtt?), found.channels))
    }
}

impl Dialled {
    /// Adapts the channel's send window to the path and the rate, as they change, and lets the flow know the time. To
    /// be run beside whatever uses the channel; ends with it.
    pub async fn keep_windows(&self) -> Infallible {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut set = None::<u64>;
        loop {
            tick.tick().await;
            let Some(flow) = &self.flow else { continue };
            flow.handle_tick(tokio::time::Instant::now().into_std());
            let report = flow.report();
            let window =
                self.settings.send_window_found(&report).or(set).unwrap_or_else(|| self.settings.send_window());
            let close = set.is_some_and(|set| window.abs_diff(set) as f64 <= set as f64 * CLOSE_ENOUGH);
            // Setting it also makes QUIC look at its window again, which on a dark path has grown by a probe.
            if !close || report.mode == crate::congestion::Mode::Dark {
                self.connection.set_send_window(window);
                set = Some(window);
            }
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
    fn the_send_window_is_three_times_what_the_path_holds_and_follows_it() {
        let rtt = Duration::from_millis(200);
        assert_eq!(settings(1 << 30).send_window_for(mbit(500), rtt, 1), 3 * 12_500_000);
        assert_eq!(settings(1 << 30).send_window_for(mbit(500), rtt / 2, 1), 3 * 6_250_000);
        assert_eq!(settings(1 << 30).send_window_for(mbit(250), rtt, 1), 3 * 6_250_000);
        assert_eq!(settings(1 << 30).send_window_for(mbit(500), rtt, 4), 2 * 3 * 12_500_000 / 4);
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
}
