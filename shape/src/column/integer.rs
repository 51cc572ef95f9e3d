//! Integers as JSON writes them, and numbers with leading zeros up to a width.

use super::{Numeric, digits};
use crate::records::Span;

/// Integers with at least `width` digits. With 1 they have no leading zeros; otherwise they are not negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Integer {
    pub(crate) width: u8,
}

impl Numeric for Integer {
    const SLOT: usize = 32;

    fn parse(&self, bytes: &[u8], token: Span) -> Option<i64> {
        let at = token.at as usize;
        let len = token.len as usize;
        let width = usize::from(self.width);
        if len > width && bytes[at] == b'0' || len < width {
            return None;
        }
        if width == 1 && bytes[at] == b'-' {
            let magnitude = digits::read(bytes, at + 1, len - 1)?;
            return (bytes[at + 1] != b'0').then_some(-(magnitude as i64));
        }
        digits::read(bytes, at, len).map(|value| value as i64)
    }

    fn render(&self, value: i64, slot: &mut [u8]) -> Option<usize> {
        let width = usize::from(self.width);
        if value >= 0 {
            return digits::write(value as u64, width, slot);
        }
        *slot.first_mut()? = b'-';
        Some(1 + digits::write(value.unsigned_abs(), width, slot.get_mut(1..)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(width: u8, text: &str) -> Option<i64> {
        Integer { width }.parse(text.as_bytes(), Span::new(0, text.len()))
    }

    #[test]
    fn only_what_is_rendered_again_is_an_integer() {
        for text in ["", "-", "-0", "00", "01", "+1", "1e3", "1.0", " 1", "1234567890123456789"] {
            assert_eq!(parsed(1, text), None, "{text}");
        }
        for (width, text, value) in [(1, "0", 0), (1, "-17", -17), (4, "0042", 42), (4, "12345", 12_345)] {
            assert_eq!(parsed(width, text), Some(value));
            let mut slot = [0; Integer::SLOT];
            let len = Integer { width }.render(value, &mut slot).unwrap();
            assert_eq!(&slot[..len], text.as_bytes());
        }
        for text in ["042", "01234", "-123"] {
            assert_eq!(parsed(4, text), None, "{text}");
        }
    }

    #[test]
    fn every_value_is_rendered() {
        for value in [i64::MIN, i64::MAX, 0] {
            for width in 0..=18 {
                let mut slot = [0; Integer::SLOT];
                assert!(Integer { width }.render(value, &mut slot).is_some());
            }
        }
    }
}
