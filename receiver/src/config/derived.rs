//! Values derived from a receiver's configuration: shares of the memory for credit, decoded records and clients, and the
//! rate that the credit allows. The receiver uses them and `causeway check` prints them.

use std::time::Duration;

use transport::endpoint::EndpointSettings;
use wire::control::CreditTerms;
use wire::limits::FRAME_RAW_TARGET;
use wire::units::{Rate, Size};

use crate::config::{Config, LinkConfig};
use crate::link::limits::LinkLimits;

/// Frames of a sender that may be in flight, each on its own stream; the receiver reads all of them.
pub const STREAMS: u32 = 1024;
/// Room in a reserve for the header and the run table of a frame.
const RESERVE_SLACK: u64 = 64 << 10;
/// The least reserve: a frame below this is mostly overhead.
const RESERVE_MIN: u64 = 16 << 10;
/// The least memory for what the sender of a link announces: several offers.
const ANNOUNCED_BYTES_MIN: u64 = 2 << 20;
/// Time of a commit on a healthy target, where 4 to 10 ms were measured.
const COMMIT_TIME: Duration = Duration::from_millis(10);

/// The windows of each channel before its session has the link.
pub fn endpoint(config: &Config) -> EndpointSettings {
    EndpointSettings::guarded(config.memory)
}

/// The part of the memory that a link has: its own setting, or an equal part of what such settings leave.
pub fn link_memory(config: &Config, link: &LinkConfig) -> u64 {
    let stated: u64 = config.links.iter().filter_map(|link| link.memory).map(Size::bytes).sum();
    let others = config.links.iter().filter(|link| link.memory.is_none()).count().max(1) as u64;
    link.memory.map_or_else(|| config.memory.bytes().saturating_sub(stated) / others, Size::bytes)
}

/// The credit of a link in bytes: half of its memory, which holds compressed frames.
pub fn credit_bytes(config: &Config, link: &LinkConfig) -> u64 {
    link_memory(config, link) / 2
}

/// The memory for decoded records in bytes, over all links: a quarter of the memory.
pub fn decode_bytes(memory: Size) -> u64 {
    memory.bytes() / 4
}

/// The limits of a link. It may use half of the memory for decoded records, or all of it without other links.
pub fn limits(config: &Config, link: &LinkConfig) -> LinkLimits {
    let shared = if config.links.len() > 1 { 2 } else { 1 };
    LinkLimits {
        topics: link.topics_max.into(),
        partitions: link.partitions_max.into(),
        standbys: link.standbys_max,
        announced_bytes: (link_memory(config, link) / 8).max(ANNOUNCED_BYTES_MIN),
        decode_bytes: decode_bytes(link.memory.unwrap_or_else(|| Size::from_bytes(config.memory.bytes() / shared))),
        rate: link.rate,
    }
}

/// Divides `bytes` of credit for a session with `lanes` lanes: a reserve for each, and a pool of the rest.
pub fn credit_terms(bytes: u64, lanes: u16) -> CreditTerms {
    let lanes = u64::from(lanes.max(1));
    let reserve = (FRAME_RAW_TARGET as u64 + RESERVE_SLACK).min(bytes / 2 / lanes).max(RESERVE_MIN);
    CreditTerms { reserve, pool: bytes.saturating_sub(reserve * lanes).max(RESERVE_MIN) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RatesAllowed {
    pub one_lane: Rate,
    pub all_lanes: Rate,
}

/// The rates that `terms` sustain on a path with this round trip. A byte uses credit until its ack is back: after repairs
/// (3 round trips in all), the lane's turn to commit at `transactions_per_second`, and the commit.
pub fn rates_allowed(terms: CreditTerms, lanes: u16, transactions_per_second: u32, rtt: Duration) -> RatesAllowed {
    let turn = |lanes: f64| lanes / f64::from(transactions_per_second.max(1));
    let rate = |bytes: u64, turn: f64| {
        let seconds = 3.0 * rtt.as_secs_f64() + turn + COMMIT_TIME.as_secs_f64();
        Rate::from_bits_per_second((bytes as f64 * 8.0 / seconds) as u64)
    };
    let all = terms.reserve * u64::from(lanes) + terms.pool;
    RatesAllowed {
        one_lane: rate(terms.reserve + terms.pool / 2, turn(1.0)),
        all_lanes: rate(all, turn(f64::from(lanes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use service::config::parse;

    use crate::config::EXAMPLE;

    #[test]
    fn credit_and_decoding_leave_a_quarter_of_the_memory() {
        let config: Config = parse(EXAMPLE, "a.toml", |_| None).unwrap();
        let [link] = &config.links[..] else { panic!("one link") };
        assert_eq!((credit_bytes(&config, link), decode_bytes(config.memory)), (256 << 20, 128 << 20));
    }

    #[test]
    fn a_link_has_its_own_memory_or_an_equal_part_of_the_rest() {
        let links = |memory: &[&str]| {
            let links = memory
                .iter()
                .enumerate()
                .map(|(n, memory)| format!("[[links]]\nname = \"l{n}\"\nsenders = [\"s\"]\n{memory}\n"));
            let config: Config = parse(&(EXAMPLE.to_owned() + &links.collect::<String>()), "a.toml", |_| None).unwrap();
            config.links.iter().map(|link| link_memory(&config, link) >> 20).collect::<Vec<_>>()
        };
        assert_eq!(links(&[]), [512]);
        assert_eq!(links(&["", "", ""]), [128; 4]);
        assert_eq!(links(&["memory = \"256 MiB\"", ""]), [128, 256, 128]);
    }

    #[test]
    fn one_of_several_links_decodes_in_half_of_the_memory_at_most() {
        let two = format!("{EXAMPLE}[[links]]\nname = \"b\"\nsenders = [\"s\"]\n");
        for (text, bytes) in [(EXAMPLE, 128 << 20), (&two, 64 << 20)] {
            let config: Config = parse(text, "a.toml", |_| None).unwrap();
            let limits = limits(&config, &config.links[0]);
            assert_eq!(limits.decode_bytes, bytes);
        }
    }

    #[test]
    fn reserves_take_at_most_half_of_the_credit() {
        for (bytes, lanes) in [(256 << 20, 8), (32 << 20, 64), (1 << 20, 1)] {
            let terms = credit_terms(bytes, lanes);
            assert!(terms.reserve * u64::from(lanes) <= bytes / 2);
            assert_eq!(terms.reserve * u64::from(lanes) + terms.pool, bytes);
        }
    }

    #[test]
    fn one_hot_lane_fills_500_megabits_with_default_memory() {
        let rates = rates_allowed(credit_terms(256 << 20, 8), 8, 40, Duration::from_millis(300));
        assert!(rates.one_lane.bits_per_second() > 500_000_000 && rates.all_lanes > rates.one_lane, "{rates:?}");
    }
}
