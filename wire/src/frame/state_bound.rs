//! Bound of the state of a lane's frames, which both ends know (wire-format.md#frame-state).

use crate::control::CreditTerms;
use crate::error::DecodeError;
use crate::limits::{STATE_GRANTED_LOG_MIN, STATE_LOG_MAX, STATE_LOG_MIN};

/// Part of a session's credit whose bytes the states of all lanes together may have: one of so many.
const CREDIT_PART: u64 = 4;

/// Most bytes that either end remembers of a lane's frames: a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StateBound(u8);

impl StateBound {
    /// Returns the largest bound of at most `bytes`; `None` below the least bound.
    pub fn within(bytes: u64) -> Option<Self> {
        let log = bytes.checked_ilog2()?.min(STATE_LOG_MAX.into()) as u8;
        (log >= STATE_LOG_MIN).then_some(Self(log))
    }

    /// Returns the bound that a receiver grants to each of `lanes` lanes with this credit.
    pub fn granted(credit: CreditTerms, lanes: u16) -> Option<Self> {
        let lanes = u64::from(lanes.max(1));
        let whole = credit.pool.saturating_add(credit.reserve.saturating_mul(lanes));
        Self::within(whole / CREDIT_PART / lanes).filter(|bound| bound.0 >= STATE_GRANTED_LOG_MIN)
    }

    /// The bound in bytes.
    pub const fn bytes(self) -> usize {
        1 << self.0
    }

    /// The bound as a byte in a frame.
    pub(super) const fn byte(self) -> u8 {
        self.0
    }

    /// Reads a bound, which must not exceed `most`.
    pub(super) fn read(byte: u8, most: Option<Self>) -> Result<Self, DecodeError> {
        let is_granted = byte >= STATE_LOG_MIN && most.is_some_and(|most| byte <= most.0);
        let most = most.map_or(0, Self::bytes);
        if is_granted { Ok(Self(byte)) } else { Err(DecodeError::StateBound { found: byte, most }) }
    }
}
