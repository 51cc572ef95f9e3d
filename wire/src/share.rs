//! Share of packets or of a rate, as an operator writes it (`0.1 %`).

use std::fmt;
use std::str::FromStr;

/// Share between 0 % and 100 %, in parts per billion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Share(u32);

/// Error in a written share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a share between 0 % and 100 %, in steps of 0.0000001 %; write it like `0.1 %`")]
pub struct ShareError {
    found: String,
}

impl Share {
    /// Parts of 100 %.
    const WHOLE: u32 = 1_000_000_000;
    /// Decimals that a percentage may have.
    const DECIMALS: usize = 7;

    /// The share of 0 %.
    pub const NONE: Self = Self(0);
    /// The share of 100 %.
    pub const ALL: Self = Self(Self::WHOLE);

    /// Returns the share nearest to `part`, which is cut to the range from 0 to 1.
    pub fn of_one(part: f64) -> Self {
        // The conversion to an integer saturates, so that even a NaN is a valid share.
        Self(((part * f64::from(Self::WHOLE)).round() as u32).min(Self::WHOLE))
    }

    /// Returns the share as a number from 0 to 1.
    pub fn part(self) -> f64 {
        f64::from(self.0) / f64::from(Self::WHOLE)
    }

    /// Returns the rest up to 100 %.
    #[must_use]
    pub const fn rest(self) -> Self {
        Self(Self::WHOLE - self.0)
    }

    /// Returns whether a uniformly random `die` falls into this share.
    pub fn hit(self, die: u64) -> bool {
        (u128::from(die) * u128::from(Self::WHOLE)) >> 64 < u128::from(self.0)
    }
}

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        let parse = || {
            let (whole, fraction) = {
                let number = text.trim().strip_suffix('%')?.trim_end();
                number.split_once('.').unwrap_or((number, "0"))
            };
            let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            if !digits(whole) || !digits(fraction) || fraction.len() > Self::DECIMALS {
                return None;
            }
            let parts: u32 = format!("{whole}{fraction:0<7}").parse().ok()?;
            (parts <= Self::WHOLE).then_some(Self(parts))
        };
        parse().ok_or_else(|| ShareError { found: text.trim().to_owned() })
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_cent = Self::WHOLE / 100;
        let whole = self.0 / per_cent;
        let fraction = self.0 % per_cent;
        match fraction {
            0 => write!(f, "{whole} %"),
            _ => write!(f, "{whole}.{} %", format!("{fraction:07}").trim_end_matches('0')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_read_as_shown() {
        for (text, part) in [("0 %", 0.0), ("100 %", 1.0), ("2%", 0.02), ("0.1 %", 0.001), ("0.0000001 %", 1e-9)] {
            let share: Share = text.parse().unwrap();
            assert!((share.part() - part).abs() < 1e-12, "{text}");
            assert_eq!(share.to_string().parse(), Ok(share));
        }
        for wrong in ["", "%", "2", "101 %", "-1 %", "0.00000001 %", "1e2 %", ". %"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn zero_is_never_hit_and_all_is_always_hit() {
        for die in [0, 1, u64::MAX / 2, u64::MAX] {
            assert!(!Share::NONE.hit(die));
            assert!(Share::ALL.hit(die));
        }
        assert!(Share::of_one(0.5).hit(u64::MAX / 2 - 1_000_000_000_000));
        assert!(!Share::of_one(0.5).hit(u64::MAX / 2 + 1_000_000_000_000));
    }
}
