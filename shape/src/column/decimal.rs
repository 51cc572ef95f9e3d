//! Decimal fractions: an integer and a number of decimals.

use super::Numeric;
use super::digits::{self, POWERS};
use crate::limits::DIGITS_MAX;
use crate::records::Span;

/// Fractions in units of 10^−`scale`. Zeros at the end are dropped until `least` decimals are left, and the point with
/// the last of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decimal {
    pub(crate) scale: u8,
    pub(crate) least: u8,
}

impl Numeric for Decimal {
    const SLOT: usize = 48;

    fn parse(&self, bytes: &[u8], token: Span) -> Option<i64> {
        let end = token.end();
        let start = token.at as usize;
        let is_negative = bytes[start..end].first() == Some(&b'-');
        let start = start + usize::from(is_negative);
        let scale = usize::from(self.scale);
        let point = bytes[start..end].iter().position(|byte| *byte == b'.').map_or(end, |found| start + found);
        let decimals = end.saturating_sub(point + 1);
        let is_trimmed = decimals == usize::from(self.least) || decimals > 0 && bytes[end - 1] != b'0';
        let has_no_zeros = point == start + 1 || point > start && bytes[start] != b'0';
        let ends_in_point = point + 1 == end;
        if ends_in_point || !is_trimmed || !has_no_zeros || decimals < usize::from(self.least) || decimals > scale {
            return None;
        }
        if point - start + scale > DIGITS_MAX {
            return None;
        }
        let whole = digits::read(bytes, start, point - start)?;
        let fraction = if decimals == 0 { 0 } else { digits::read(bytes, point + 1, decimals)? };
        let magnitude = whole * POWERS[scale] + fraction * POWERS[scale - decimals];
        match (is_negative, magnitude) {
            (true, 0) => None,
            (true, _) => Some(-(magnitude as i64)),
            (false, _) => Some(magnitude as i64),
        }
    }

    fn render(&self, value: i64, slot: &mut [u8]) -> Option<usize> {
        let scale = usize::from(self.scale);
        let magnitude = value.unsigned_abs();
        let power = *POWERS.get(scale)?;
        let mut len = 0;
        if value < 0 {
            *slot.first_mut()? = b'-';
            len = 1;
        }
        len += digits::write(magnitude / power, 1, slot.get_mut(len..)?)?;
        if scale == 0 {
            return Some(len);
        }
        *slot.get_mut(len)? = b'.';
        let mut decimals = digits::write(magnitude % power, scale, slot.get_mut(len + 1..)?)?;
        while decimals > usize::from(self.least) && slot[len + decimals] == b'0' {
            decimals -= 1;
        }
        Some(if decimals == 0 { len } else { len + 1 + decimals })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(scale: u8, least: u8, text: &str) -> Option<i64> {
        Decimal { scale, least }.parse(text.as_bytes(), Span::new(0, text.len()))
    }

    #[test]
    fn only_what_is_rendered_again_is_a_decimal() {
        for text in ["", "-", ".", "1.", ".5", "-0.0", "01.5", "1.50", "1.2345", "1.5e3", "1..5", "--1.5", "0.-5"] {
            assert_eq!(parsed(3, 1, text), None, "{text}");
        }
        for (scale, least, text) in [
            (3, 1, "12.0"),
            (3, 0, "12"),
            (3, 0, "-0.125"),
            (2, 2, "12.50"),
            (16, 0, "0.1234567890123456"),
            (3, 1, "0.5"),
        ] {
            let value = parsed(scale, least, text).unwrap();
            let mut slot = [0; Decimal::SLOT];
            let len = Decimal { scale, least }.render(value, &mut slot).unwrap();
            assert_eq!(str::from_utf8(&slot[..len]), Ok(text));
        }
        assert_eq!(parsed(3, 0, "12.0"), None);
        assert_eq!(parsed(3, 1, "12"), None);
    }

    #[test]
    fn every_value_is_rendered() {
        for value in [i64::MIN, i64::MAX, 0, -1] {
            for scale in 0..=18 {
                let mut slot = [0; Decimal::SLOT];
                assert!(Decimal { scale, least: 0 }.render(value, &mut slot).is_some());
            }
        }
    }
}
