//! Kinds of columns and their form in a header.

use super::around::place;
use super::decimal::Decimal;
use super::hex::HexPattern;
use super::integer::Integer;
use super::time::TimePattern;
use crate::error::{DecodeError, ensure};
use crate::limits::{COLUMNS_MAX, DIGITS_MAX, PATTERN_MAX};
use crate::varint::{Reader, put_len};

/// Coding of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Lengths and bytes of each token.
    Raw,
    Integer(Integer),
    Decimal(Decimal),
    Time(TimePattern),
    Hex(HexPattern),
    /// Numbers of distinct tokens.
    Dictionary,
    /// Numbers of the distinct texts around the tokens of this column.
    Around(usize),
}

impl Kind {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Raw => out.push(0),
            Self::Integer(integer) => out.extend([1, integer.width]),
            Self::Decimal(decimal) => out.extend([2, decimal.scale, decimal.least]),
            Self::Time(pattern) => {
                out.push(3);
                put_len(out, pattern.text().len());
                out.extend_from_slice(pattern.text());
            }
            Self::Hex(pattern) => {
                out.push(4);
                pattern.put(out);
            }
            Self::Dictionary => out.push(5),
            Self::Around(inner) => {
                out.push(6);
                put_len(out, *inner);
            }
        }
    }

    pub(crate) fn read(header: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match header.byte("a kind of column")? {
            0 => Ok(Self::Raw),
            1 => {
                let width = header.byte("a width of integers")?;
                ensure((1..=DIGITS_MAX).contains(&usize::from(width)), "integers have a width of 1 to 18")?;
                Ok(Self::Integer(Integer { width }))
            }
            2 => {
                let scale = header.byte("a scale of decimals")?;
                let least = header.byte("a least number of decimals")?;
                ensure(least <= scale && usize::from(scale) <= DIGITS_MAX, "decimals have a scale of at most 18")?;
                Ok(Self::Decimal(Decimal { scale, least }))
            }
            3 => {
                let len = header.count("bytes of a pattern", PATTERN_MAX)?;
                TimePattern::new(header.take(len, "the pattern of a time")?.to_vec()).map(Self::Time)
            }
            4 => HexPattern::read(header).map(Self::Hex),
            5 => Ok(Self::Dictionary),
            6 => header.count("a parent", COLUMNS_MAX).map(Self::Around),
            _ => Err(DecodeError::Malformed("an unknown kind of column")),
        }
    }

    /// Returns whether the texts in front of the values are distinct tokens or frames, not exceptions.
    pub(crate) const fn has_entries(&self) -> bool {
        matches!(self, Self::Dictionary | Self::Around(_))
    }

    /// Returns whether the column has values that predictors can use.
    pub(crate) const fn has_values(&self) -> bool {
        !matches!(self, Self::Hex(_))
    }

    /// Returns whether tokens of this kind often contain those of another column: whether nearly all of the first do.
    pub(crate) fn contains<'a>(tokens: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> bool {
        let mut misses = 0;
        let mut count = 0;
        for (token, inner) in tokens {
            misses += usize::from(place(token, inner).is_none());
            count += 1;
            if misses > 8 {
                return false;
            }
        }
        misses * 8 <= count
    }

    /// Kinds that nearly all of the tokens fit, most specific first. [`Self::Raw`] and [`Self::Dictionary`] are not
    /// among them: they fit any tokens.
    pub(crate) fn candidates<'a>(tokens: impl Iterator<Item = &'a [u8]> + Clone) -> Vec<Self> {
        let count = tokens.clone().count();
        let Some(sample) = tokens.clone().find(|token| !token.is_empty()) else { return Vec::new() };
        let mut kinds = Vec::new();
        let enough = count - count / 8;
        let are = |fits: &dyn Fn(&&[u8]) -> bool| tokens.clone().filter(fits).count() >= enough;
        let numbers = || tokens.clone().filter(|token| is_number(token));
        if are(&|token| is_number(token) && !token.contains(&b'.')) {
            let has_zeros = |token: &[u8]| token.len() > 1 && token[0] == b'0';
            let padded = tokens.clone().filter(|token| has_zeros(token)).count();
            let width = if padded > 0 { numbers().map(<[u8]>::len).min().unwrap_or(1) } else { 1 };
            kinds.push(Self::Integer(Integer { width: width.clamp(1, DIGITS_MAX) as u8 }));
        } else if are(&|token| is_number(token)) {
            let decimals = |token: &[u8]| token.iter().rev().position(|byte| *byte == b'.').unwrap_or(0);
            let most = numbers().map(decimals).max().unwrap_or(0).min(DIGITS_MAX - 1);
            let least = numbers().map(decimals).min().unwrap_or(0).min(most);
            kinds.push(Self::Decimal(Decimal { scale: most as u8, least: least as u8 }));
        }
        if let Some(pattern) = TimePattern::infer(sample)
            && are(&|token| token.len() == sample.len())
        {
            kinds.push(Self::Time(pattern));
        }
        if let Some(pattern) = HexPattern::infer(sample)
            && are(&|token| token.len() == sample.len() && token.iter().all(|byte| b"0123456789abcdef-".contains(byte)))
        {
            kinds.push(Self::Hex(pattern));
        }
        kinds
    }
}

/// Returns whether the token is a number without exponent, and short enough.
fn is_number(token: &[u8]) -> bool {
    let digits = token.strip_prefix(b"-").unwrap_or(token);
    let points = digits.iter().filter(|byte| **byte == b'.').count();
    let only_digits = digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    (1..=DIGITS_MAX + 1).contains(&digits.len()) && points <= 1 && only_digits && digits != b"."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(tokens: &[&str]) -> Option<Kind> {
        Kind::candidates(tokens.iter().map(|token| token.as_bytes())).into_iter().next()
    }

    #[test]
    fn kinds_are_inferred_and_survive_a_header() {
        let integer = |width| Some(Kind::Integer(Integer { width }));
        let decimal = |scale, least| Some(Kind::Decimal(Decimal { scale, least }));
        for (tokens, kind) in [
            (&["12", "-7", "0"][..], integer(1)),
            (&["0012", "0700", "1234"], integer(4)),
            (&["1.5", "12.25", "3"], decimal(2, 0)),
            (&["1.5", "12.25", "3.0"], decimal(2, 1)),
            (&["", "JFK"], None),
        ] {
            assert_eq!(first(tokens), kind, "{tokens:?}");
        }
        for token in ["2013-01-01", "00ff00ff-77", "17", "1.5"] {
            let kind = first(&[token]).unwrap();
            let mut header = Vec::new();
            kind.put(&mut header);
            assert_eq!(Kind::read(&mut Reader::new(&header)), Ok(kind));
        }
    }
}
