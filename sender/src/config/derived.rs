//! What follows from a sender's configuration: how its memory is shared and how frames are packed. The
//! sender works by it and `causeway check` prints it.

use std::time::Duration;

use kafka::consumer::ConsumerMemory;
use transport::congestion::FlowSettings;
use transport::endpoint::{EndpointSettings, TIMES_THE_PATH};
use wire::limits::{CHANNELS_MAX, FRAME_RAW_TARGET, LANES_MAX};
use wire::units::{Rate, Size};

use crate::config::{Config, MEMORY_PER_CHANNEL};
use crate::lane::Packing;

/// How long a frame may take on the wire at the rate of the moment: what waits behind it waits this long.
const FRAME_TIME: Duration = Duration::from_millis(100);

/// Channels of a session whose rate is neither high nor low: one that dies takes a quarter.
const CHANNELS: u64 = 4;

/// What one channel carries on any path.
const CHANNEL_BITS_PER_SECOND: u64 = 125_000_000;

/// Below this, the frames that wait in four channels would hold up what is behind them.
const THIN_BITS_PER_SECOND: u64 = 20_000_000;

/// The smallest frame worth its overhead.
const FRAME_BYTES_MIN: u64 = 16 << 10;

/// The lanes of all classes that are configured.
pub fn lanes(config: &Config) -> u16 {
    u16::try_from(u32::from(config.lanes) + config.classes.lanes()).unwrap_or(LANES_MAX)
}

/// A quarter of the memory may be read ahead of the lanes.
pub fn prefetch(config: &Config) -> ConsumerMemory {
    // A class that is added to a running sender has as much for each of its lanes.
    ConsumerMemory { bytes: config.memory.bytes() / 4, lanes: lanes(config) }
}

/// The channel's windows come out of half of the memory.
pub fn endpoint(config: &Config) -> EndpointSettings {
    EndpointSettings {
        rate: config.wan.highest_rate(),
        path_mtu: config.wan.path_mtu,
        segmentation_offload: config.wan.segmentation_offload,
        // The receiver opens no streams towards a sender.
        ..EndpointSettings::new(Size::from_bytes(config.memory.bytes() / 2), 0)
    }
}

/// How the link shares the path. The rate is the highest that the schedule has; the flow is told the one of the moment.
pub fn flow(config: &Config) -> FlowSettings {
    FlowSettings {
        rate: config.wan.highest_rate(),
        policy: config.wan.policy,
        floor: config.wan.floor,
        loss_tolerance: config.wan.loss_tolerance,
        queue_target: config.wan.queue_target,
    }
}

/// How many channels a session has: as many as are stated; else 4, and above 500 Mbit/s one per 125, which is what the
/// limits that QUIC counts in packets leave room for on a path that reorders. On a thin path 2, not one alone, whose
/// end would be the session's. No more than the memory holds windows for.
pub fn channels(config: &Config) -> u16 {
    let by_rate = config.wan.highest_rate().map_or(CHANNELS, |rate| match rate.bits_per_second() {
        thin if thin < THIN_BITS_PER_SECOND => 2,
        bits => bits.div_ceil(CHANNEL_BITS_PER_SECOND).max(CHANNELS),
    });
    let by_memory = config.memory.bytes() / MEMORY_PER_CHANNEL.bytes();
    let derived = by_rate.min(by_memory).clamp(1, u64::from(CHANNELS_MAX)) as u16;
    config.wan.channels.unwrap_or(derived)
}

/// Raw bytes at which a frame is full at this rate.
pub fn frame_bytes(rate: Option<Rate>) -> u64 {
    let by_rate = rate.map_or(u64::MAX, |rate| rate.bytes_in(FRAME_TIME).max(FRAME_BYTES_MIN));
    by_rate.min(FRAME_RAW_TARGET as u64)
}

/// How frames are packed at whatever rate, before the receiver has stated its credit. A quarter of the memory is for
/// the largest record.
pub fn packing(config: &Config) -> Packing {
    Packing {
        codec: config.wan.compression,
        frame_bytes: FRAME_RAW_TARGET as u64,
        linger: config.wan.linger,
        credit_max: config.memory.bytes() / 4,
    }
}

/// The rate that the send window sustains on a path of this round trip: what is behind a lost packet
/// counts until that is repaired, which takes up to four round trips more.
pub fn rate_allowed(config: &Config, rtt: Duration) -> Rate {
    let bytes_per_second = endpoint(config).send_window() as f64 / (TIMES_THE_PATH as f64 * rtt.as_secs_f64());
    Rate::from_bits_per_second((bytes_per_second * 8.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EXAMPLE;

    fn config(more: &str) -> Config {
        let text = EXAMPLE.replace("[wan]", &format!("[wan]\n{more}"));
        service::config::parse(&text, "a.toml", |_| None).unwrap()
    }

    #[test]
    fn the_shares_are_no_more_than_the_memory() {
        let config = config("");
        let shares = prefetch(&config).bytes + endpoint(&config).memory.bytes() + packing(&config).credit_max;
        assert!(shares <= config.memory.bytes());
    }

    #[test]
    fn a_frame_takes_at_most_100_ms_at_the_stated_rate() {
        let at = |rate: &str| frame_bytes(Some(rate.parse().unwrap()));
        assert_eq!((frame_bytes(None), at("1 Gbit/s")), (FRAME_RAW_TARGET as u64, FRAME_RAW_TARGET as u64));
        assert_eq!((at("8 Mbit/s"), at("100 kbit/s")), (100_000, FRAME_BYTES_MIN));
    }

    #[test]
    fn channels_follow_the_rate() {
        assert_eq!(channels(&config("")), 4);
        for (rate, count) in [("1 Mbit/s", 2), ("20 Mbit/s", 4), ("500 Mbit/s", 4), ("501 Mbit/s", 5), ("9 Gbit/s", 16)]
        {
            assert_eq!(channels(&config(&format!("rate = \"{rate}\""))), count, "{rate}");
        }
        assert_eq!(channels(&config("channels = 7\nrate = \"1 Mbit/s\"")), 7);
    }

    #[test]
    fn a_stated_rate_is_allowed_between_continents() {
        for rate in ["100 Mbit/s", "350 Mbit/s"] {
            let config = config(&format!("rate = \"{rate}\""));
            assert!(rate_allowed(&config, Duration::from_millis(300)) >= config.wan.rate.unwrap());
        }
    }
}
