//! What follows from a receiver's configuration: how its memory is shared between credit, decoded records
//! and clients, and what rate the credit allows. The receiver works by it and `causeway check` prints it.

use std::time::Duration;

use transport::endpoint::EndpointSettings;
use wire::control::CreditTerms;
use wire::limits::FRAME_RAW_TARGET;
use wire::units::Rate;

use crate::config::Config;

/// Frames that a sender may have on their way at once, each on its stream; the receiver reads them all.
const STREAMS: u32 = 1024;

/// Room in a reserve beside a frame's body: header and run table.
const RESERVE_SLACK: u64 = 64 << 10;

/// The least reserve: a frame below this is mostly overhead.
const RESERVE_MIN: u64 = 16 << 10;

/// What a commit takes on a target that is well: 4 to 10 ms were measured.
const COMMIT_TIME: Duration = Duration::from_millis(10);

/// The windows of each channel; credit, which is less, is what stops a sender.
pub fn endpoint(config: &Config) -> EndpointSettings {
    EndpointSettings::new(config.memory, STREAMS)
}

/// Half of the memory holds compressed frames; the links share it.
pub fn credit_bytes(config: &Config) -> u64 {
    config.memory.bytes() / 2 / config.links.len().max(1) as u64
}

/// A quarter of the memory holds what is decoded.
pub fn decode_bytes(config: &Config) -> u64 {
    config.memory.bytes() / 4
}

/// `bytes` of credit as a session with `lanes` lanes gets them: a reserve each, and a pool of what is left.
pub fn credit_terms(bytes: u64, lanes: u16) -> CreditTerms {
    let lanes = u64::from(lanes.max(1));
    let reserve = (FRAME_RAW_TARGET as u64 + RESERVE_SLACK).min(bytes / 2 / lanes).max(RESERVE_MIN);
    CreditTerms { reserve, pool: bytes.saturating_sub(reserve * lanes).max(RESERVE_MIN) }
}

/// The rates that `terms` sustain on a path of this round trip, for one hot lane and for all `lanes`
/// together: a byte is charged until its ack is back, after repairs (3 round trips in all), the lane's turn
/// to commit at `transactions_per_second`, and the commit.
pub fn rates_allowed(terms: CreditTerms, lanes: u16, transactions_per_second: u32, rtt: Duration) -> (Rate, Rate) {
    let turn = |lanes: f64| lanes / f64::from(transactions_per_second.max(1));
    let rate = |bytes: u64, turn: f64| {
        let seconds = 3.0 * rtt.as_secs_f64() + turn + COMMIT_TIME.as_secs_f64();
        Rate::from_bits_per_second((bytes as f64 * 8.0 / seconds) as u64)
    };
    let all = terms.reserve * u64::from(lanes) + terms.pool;
    (rate(terms.reserve + terms.pool / 2, turn(1.0)), rate(all, turn(f64::from(lanes))))
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
        let (one, all) = rates_allowed(credit_terms(256 << 20, 8), 8, 40, Duration::from_millis(300));
        assert!(one.bits_per_second() > 500_000_000 && all > one, "{one} {all}");
    }
}
