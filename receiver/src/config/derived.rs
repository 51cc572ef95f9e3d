//! Values derived from a receiver's configuration: shares of the memory for credit, decoded records and clients, and the
//! rate that the credit allows. The receiver uses them and `causeway check` prints them.

use std::time::Duration;

use transport::endpoint::EndpointSettings;
use wire::control::CreditTerms;
use wire::limits::FRAME_RAW_TARGET;
use wire::units::Rate;

use crate::config::Config;

/// Frames of a sender that may be in flight, each on its own stream; the receiver reads all of them.
const STREAMS: u32 = 1024;
/// Room in a reserve for the header and the run table of a frame.
const RESERVE_SLACK: u64 = 64 << 10;
/// The least reserve: a frame below this is mostly overhead.
const RESERVE_MIN: u64 = 16 << 10;
/// Time of a commit on a healthy target, where 4 to 10 ms were measured.
const COMMIT_TIME: Duration = Duration::from_millis(10);

/// The windows of each channel. Credit is smaller and stops a sender first.
pub fn endpoint(config: &Config) -> EndpointSettings {
    EndpointSettings::new(config.memory, STREAMS)
}

/// The credit of each link in bytes: its share of half of the memory, which holds compressed frames.
pub fn credit_bytes(config: &Config) -> u64 {
    config.memory.bytes() / 2 / config.links.len().max(1) as u64
}

/// The memory for decoded records in bytes: a quarter of it.
pub fn decode_bytes(config: &Config) -> u64 {
    config.memory.bytes() / 4
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
        assert_eq!((credit_bytes(&config), decode_bytes(&config)), (256 << 20, 128 << 20));
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
