//! Address tokens (RFC 9000, section 8.1.3): a listening end gives them to peers that it has authenticated, and a peer that
//! comes back from the same IP address with one saves the round trip of a Retry.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use quinn::{TokenLog, TokenMemoryCache, TokenReuseError, ValidationTokenConfig};

/// Tokens that a peer gets with each channel: one for its next dial, and one for a dial that fails.
const TOKENS_PER_CHANNEL: u32 = 2;
/// Time for which a token may be used. A peer that stays away for longer pays the round trip.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Used tokens that a listening end remembers, in each of two periods: 32 bytes each. Beyond them, it asks for a Retry.
const USED_MAX: usize = 16 * 1024;
/// Receivers whose tokens a dialling end keeps, and tokens of each: two for every channel of a session.
const RECEIVERS_MAX: u32 = 16;
const TOKENS_KEPT: usize = 32;

/// Returns the settings of a listening end.
pub(super) fn issued() -> ValidationTokenConfig {
    let mut tokens = ValidationTokenConfig::default();
    tokens.sent(TOKENS_PER_CHANNEL).lifetime(LIFETIME).log(Arc::new(UsedTokens::default()));
    tokens
}

/// Makes the store of a dialling end.
pub(super) fn kept() -> Arc<TokenMemoryCache> {
    Arc::new(TokenMemoryCache::new(RECEIVERS_MAX, TOKENS_KEPT))
}

/// Tokens that were used, in this period and the one before. A token that is remembered for a whole period has expired.
#[derive(Debug, Default)]
struct UsedTokens(Mutex<Periods>);

#[derive(Debug, Default)]
struct Periods {
    present: HashSet<u128>,
    before: HashSet<u128>,
    /// Begin of the present period.
    began: Option<Instant>,
}

impl Periods {
    /// Returns whether a token may be used, which it may once.
    fn take(&mut self, token: u128, lifetime: Duration, now: Instant) -> bool {
        let began = *self.began.get_or_insert(now);
        if now.saturating_duration_since(began) >= lifetime {
            self.before = std::mem::take(&mut self.present);
            self.began = Some(now);
        }
        self.present.len() < USED_MAX && !self.before.contains(&token) && self.present.insert(token)
    }
}

impl TokenLog for UsedTokens {
    fn check_and_insert(&self, nonce: u128, _: SystemTime, lifetime: Duration) -> Result<(), TokenReuseError> {
        let mut periods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if periods.take(nonce, lifetime, Instant::now()) { Ok(()) } else { Err(TokenReuseError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_counts_once_while_it_is_valid() {
        let mut periods = Periods::default();
        let start = Instant::now();
        let hours = |hours: u64| start + Duration::from_secs(hours * 3600);
        assert!(periods.take(1, LIFETIME, hours(0)) && !periods.take(1, LIFETIME, hours(23)));
        assert!(periods.take(2, LIFETIME, hours(23)));
        assert!(!periods.take(2, LIFETIME, hours(25)), "used two hours ago");
        assert!(periods.take(3, LIFETIME, hours(49)) && periods.before.len() < 2, "expired ones are forgotten");
    }

    #[test]
    fn used_tokens_take_bounded_memory() {
        let mut periods = Periods::default();
        let now = Instant::now();
        let taken = (0..100_000).filter(|token| periods.take(*token, LIFETIME, now)).count();
        assert_eq!(taken, USED_MAX);
        assert!(periods.take(200_000, LIFETIME, now + LIFETIME), "others get a place later");
    }
}
