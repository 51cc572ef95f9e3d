//! Values derived from a sender's configuration: shares of the memory, windows, frame sizes. The sender uses them and
//! `causeway check` prints them.

use std::time::Duration;

use kafka::consumer::ConsumerMemory;
use transport::congestion::FlowSettings;
use transport::endpoint::{EndpointSettings, TIMES_THE_PATH};
use wire::compress::Codec;
use wire::frame::StateBound;
use wire::hello::FEATURES;
use wire::limits::{CHANNELS_MAX, FRAME_RAW_TARGET, LANES_MAX};
use wire::units::{Rate, Size};

use crate::config::{Config, MEMORY_PER_CHANNEL};
use crate::lane::Packing;

/// Longest time of a frame on the wire at the current rate: a frame delays the next one by this much.
const FRAME_TIME: Duration = Duration::from_millis(100);
/// Channels of a session whose rate is neither high nor low: one that dies takes a quarter.
const CHANNELS: u64 = 4;
/// Rate that one channel sustains on any path.
const CHANNEL_BITS_PER_SECOND: u64 = 125_000_000;
/// Rate below which the frames queued in four channels would delay those behind them.
const THIN_BITS_PER_SECOND: u64 = 20_000_000;
/// Part of the memory for what lanes remember of their frames: one of so many bytes.
const STATE_PART: u64 = 16;
/// Bytes that zstd takes beyond the bound of a lane's state, at most.
const STATE_CODEC_BYTES: u64 = 1 << 20;
/// The smallest frame worth its overhead.
const FRAME_BYTES_MIN: u64 = 16 << 10;

/// The number of lanes of all configured classes.
pub fn lanes(config: &Config) -> u16 {
    u16::try_from(u32::from(config.lanes) + config.classes.lanes()).unwrap_or(LANES_MAX)
}

/// The memory for reading ahead of the lanes: a quarter of it, less the part of what frames with state take.
pub fn prefetch(config: &Config) -> ConsumerMemory {
    let lanes = lanes(config);
    let states = state_bound(config, lanes).map_or(0, |_| config.memory.bytes() / STATE_PART);
    // A class added to a running sender gets the same share for each of its lanes.
    ConsumerMemory { bytes: config.memory.bytes() / 4 - states, lanes }
}

/// Most bytes that each of `lanes` lanes remembers of its frames; `None` if no frame refers to others.
pub fn state_bound(config: &Config, lanes: u16) -> Option<StateBound> {
    let of_lane = config.memory.bytes() / STATE_PART / u64::from(lanes.max(1));
    let bound = StateBound::within(of_lane.saturating_sub(STATE_CODEC_BYTES));
    bound.filter(|_| matches!(config.wan.compression.strongest(), Codec::Shape(_)))
}

/// The settings of the QUIC endpoint. The windows of the channels use half of the memory.
pub fn endpoint(config: &Config) -> EndpointSettings {
    EndpointSettings {
        rate: config.wan.highest_rate(),
        path_mtu: config.wan.path_mtu,
        segmentation_offload: config.wan.segmentation_offload,
        // The receiver opens no streams towards a sender.
        ..EndpointSettings::new(Size::from_bytes(config.memory.bytes() / 2), 0)
    }
}

/// The settings of congestion control. The rate is the highest of the schedule; the flow receives the current one.
pub fn flow(config: &Config) -> FlowSettings {
    FlowSettings {
        rate: config.wan.highest_rate(),
        policy: config.wan.policy,
        floor: config.wan.floor,
        loss_tolerance: config.wan.loss_tolerance,
        queue_target: config.wan.queue_target,
    }
}

/// The number of channels of a session: the configured number; else 4, and above 500 Mbit/s one per 125 Mbit/s, which
/// one channel sustains on a path that reorders packets. On a thin path 2, because the session ends with its only
/// channel. Never more than the memory has windows for.
pub fn channels(config: &Config) -> u16 {
    let by_rate = config.wan.highest_rate().map_or(CHANNELS, |rate| match rate.bits_per_second() {
        thin if thin < THIN_BITS_PER_SECOND => 2,
        bits => bits.div_ceil(CHANNEL_BITS_PER_SECOND).max(CHANNELS),
    });
    let by_memory = config.memory.bytes() / MEMORY_PER_CHANNEL.bytes();
    let derived = by_rate.min(by_memory).clamp(1, u64::from(CHANNELS_MAX)) as u16;
    config.wan.channels.unwrap_or(derived)
}

/// The raw bytes of a full frame at this rate: what it sends in `FRAME_TIME`, within the limits of a frame.
pub fn frame_bytes(rate: Option<Rate>) -> u64 {
    let by_rate = rate.map_or(u64::MAX, |rate| rate.bytes_in(FRAME_TIME).max(FRAME_BYTES_MIN));
    by_rate.min(FRAME_RAW_TARGET as u64)
}

/// The limits of frames at any rate, before the receiver states its credit. A quarter of the memory is for one record.
pub fn packing(config: &Config) -> Packing {
    Packing {
        codec: config.wan.compression.strongest(),
        features: FEATURES,
        frame_bytes: FRAME_RAW_TARGET as u64,
        linger: config.wan.linger,
        credit_max: config.memory.bytes() / 4,
        state: state_bound(config, lanes(config)),
    }
}

/// The rate that the send window sustains on a path with this round trip. Data behind a lost packet counts until the
/// packet is repaired, which takes up to four more round trips.
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
        assert_eq!(packing(&config).state, StateBound::within(1 << 20), "with its codec 2 MiB for each of 8 lanes");
        let states = config.memory.bytes() / STATE_PART;
        let shares = prefetch(&config).bytes + endpoint(&config).memory.bytes() + packing(&config).credit_max;
        assert!(shares + states <= config.memory.bytes());
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
