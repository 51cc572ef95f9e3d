//! Quantities in the form in which an operator writes them: `500 Mbit/s`, `64 MiB`, `5 ms`. One spelling per unit, no bare
//! numbers, exact arithmetic: what is displayed parses back to the same value.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Rate in bits per second. A parsed rate is never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u64);

/// Size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

/// Error in a written quantity: the text that was written, and its fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` {fault}")]
pub struct UnitError {
    found: String,
    pub fault: UnitFault,
}

/// Fault of a written quantity, with an example of a correct value or with the smallest unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnitFault {
    /// The unit is missing or unknown.
    #[error("has no unit we know; write it like `{0}`")]
    Unit(&'static str),
    /// The text does not begin with a plain decimal number.
    #[error("does not begin with a number like 500 or 1.5; write it like `{0}`")]
    Number(&'static str),
    /// The value is not a multiple of the smallest unit.
    #[error("is not a whole number of {0}")]
    Fraction(&'static str),
    /// The value is too large.
    #[error("is too large; the limit is {limit} {0}", limit = u64::MAX)]
    TooLarge(&'static str),
    /// The value is zero, which has no meaning here.
    #[error("is zero; leave the key out or write it like `{0}`")]
    Zero(&'static str),
}

/// Notation of one kind of quantity. Units ascend; values are counted in the first.
struct Scale {
    units: &'static [(&'static str, u64)],
    example: &'static str,
}

const RATE: Scale = Scale {
    units: &[("bit/s", 1), ("kbit/s", 1_000), ("Mbit/s", 1_000_000), ("Gbit/s", 1_000_000_000)],
    example: "500 Mbit/s",
};

const SIZE: Scale = Scale {
    units: &[
        ("B", 1),
        ("kB", 1_000),
        ("KiB", 1 << 10),
        ("MB", 1_000_000),
        ("MiB", 1 << 20),
        ("GB", 1_000_000_000),
        ("GiB", 1 << 30),
    ],
    example: "64 MiB",
};

/// Sizes are displayed in binary units alone.
const SIZE_SHOWN: Scale =
    Scale { units: &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)], example: SIZE.example };

const SPAN: Scale = Scale {
    units: &[
        ("ns", 1),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("min", 60_000_000_000),
        ("h", 3_600_000_000_000),
        ("d", 86_400_000_000_000),
    ],
    example: "30 s",
};

impl Rate {
    /// Makes a rate of `bits` per second.
    pub const fn from_bits_per_second(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the rate in bits per second.
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }

    /// Returns the rate in whole bytes per second.
    pub const fn bytes_per_second(self) -> u64 {
        self.0 / 8
    }

    /// Returns the whole bytes in `duration`, at most `u64::MAX`.
    pub fn bytes_in(self, duration: Duration) -> u64 {
        const BIT_NANOS_PER_BYTE: u128 = 8 * 1_000_000_000;
        let bytes = u128::from(self.0).saturating_mul(duration.as_nanos()) / BIT_NANOS_PER_BYTE;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

impl Size {
    /// Makes a size of `bytes`.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Returns the size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        match RATE.parse(text)? {
            0 => Err(UnitError { found: text.to_owned(), fault: UnitFault::Zero(RATE.example) }),
            bits => Ok(Self(bits)),
        }
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        SIZE.parse(text).map(Self)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        RATE.show(self.0.into(), f)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SIZE_SHOWN.show(self.0.into(), f)
    }
}

/// Parses `5 ms`, `30 s`, `2 min`, `1 h`, `7 d`; also `us` and `ns`.
///
/// # Errors
/// A missing or unknown unit, a text that is not a number, or more than `u64` nanoseconds (584 years).
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    SPAN.parse(text).map(Duration::from_nanos)
}

/// Displays a duration so that [`parse_duration`] reads the same one.
pub fn display_duration(duration: Duration) -> impl fmt::Display {
    struct Shown(Duration);
    impl fmt::Display for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            SPAN.show_whole(self.0.as_nanos(), f)
        }
    }
    Shown(duration)
}

impl Scale {
    fn parse(&self, text: &str) -> Result<u64, UnitError> {
        self.value(text.trim()).map_err(|fault| UnitError { found: text.to_owned(), fault })
    }

    fn value(&self, trimmed: &str) -> Result<u64, UnitFault> {
        let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(digits);
        let number = Decimal::parse(number).ok_or(UnitFault::Number(self.example))?;
        let unit = unit.trim_start();
        let known = self.units.iter().find(|(name, _)| *name == unit);
        let &(_, factor) = known.ok_or(UnitFault::Unit(self.example))?;
        let (smallest, _) = self.units[0];
        let product = number.digits.checked_mul(factor.into()).ok_or(UnitFault::TooLarge(smallest))?;
        if product % number.divisor != 0 {
            return Err(UnitFault::Fraction(smallest));
        }
        u64::try_from(product / number.divisor).map_err(|_| UnitFault::TooLarge(smallest))
    }

    /// Displays a value in the largest unit that needs at most three decimals.
    fn show(&self, value: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits =
            |&&(_, factor): &&(&str, u64)| u128::from(factor) <= value && (value * 1000).is_multiple_of(factor.into());
        let &(name, factor) = self.units.iter().rev().find(fits).unwrap_or(&self.units[0]);
        let thousandths = value * 1000 / u128::from(factor);
        let whole = thousandths / 1000;
        let fraction = thousandths % 1000;
        let shown = match fraction {
            0 => whole.to_string(),
            _ => format!("{whole}.{}", format!("{fraction:03}").trim_end_matches('0')),
        };
        f.pad(&format!("{shown} {name}"))
    }

    /// Displays a value in the largest unit that divides it: 90 s, not 1.5 min.
    fn show_whole(&self, value: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |&&(_, factor): &&(&str, u64)| value.is_multiple_of(factor.into());
        // Every unit divides zero, which is displayed as `0 s`.
        let largest = if value == 0 { &self.units[..4] } else { self.units };
        let &(name, factor) = largest.iter().rev().find(fits).unwrap_or(&self.units[0]);
        f.pad(&format!("{} {name}", value / u128::from(factor)))
    }
}

/// A decimal number without its point: `digits / divisor`.
struct Decimal {
    digits: u128,
    divisor: u128,
}

impl Decimal {
    /// Parses digits with at most one point, which has digits on both sides. Numbers too large for a `u128` become
    /// `u128::MAX`.
    fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !plain(whole) || !plain(fraction) {
            return None;
        }
        let fraction = fraction.trim_end_matches('0');
        let divisor = u32::try_from(fraction.len()).ok().and_then(|n| 10_u128.checked_pow(n));
        let digits = format!("{whole}{fraction}").parse().unwrap_or(u128::MAX);
        Some(Self { digits, divisor: divisor.unwrap_or(u128::MAX) })
    }
}

#[cfg(test)]
#[path = "units/tests.rs"]
mod tests;
