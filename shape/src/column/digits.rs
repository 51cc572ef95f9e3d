//! Decimal digits, eight at a time.

use crate::limits::DIGITS_MAX;
use crate::scan::{ZEROS_TEXT, load_some, not_digits};

/// 10 to the power of 0 to 18.
pub(super) const POWERS: [u64; DIGITS_MAX + 1] = {
    let mut powers = [1; DIGITS_MAX + 1];
    let mut at = 1;
    while at <= DIGITS_MAX {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// Value of the `len` digits from `at`, at most 18; `None` if they are not digits.
pub(super) fn read(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    if len <= 8 {
        return read_eight(bytes, at, len);
    }
    if len > DIGITS_MAX {
        return None;
    }
    let head = read(bytes, at, len - 8)?;
    Some(head * POWERS[8] + read_eight(bytes, at + len - 8, 8)?)
}

fn read_eight(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    if len == 0 {
        return None;
    }
    let word = load_some(bytes, at, len);
    // Zeros in front of the digits.
    let shift = 64 - 8 * len as u32;
    let digits = (word << shift) ^ (ZEROS_TEXT << shift);
    if not_digits(digits) != 0 {
        return None;
    }
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let high = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let low = (pairs >> 16 & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    Some(high.wrapping_add(low) >> 32)
}

/// Eight digits of a number below 10⁸, the first in the lowest byte, each as 0 to 9.
const fn eight(value: u64) -> u64 {
    let merged = (value / 10_000) | ((value % 10_000) << 32);
    let top = (merged * 10_486) >> 20 & 0x0000_007f_0000_007f;
    let hundreds = ((merged - 100 * top) << 16) + top;
    let tens = (hundreds * 103) >> 10 & 0x000f_000f_000f_000f;
    tens + ((hundreds - 10 * tens) << 8)
}

/// Numbers below 1,000 as text without leading zeros, with the length behind it.
const SMALL: [[u8; 4]; 1_000] = {
    let mut small = [[0; 4]; 1_000];
    let mut value = 0;
    while value < 1_000 {
        let digits = [(value / 100) as u8 + b'0', (value / 10 % 10) as u8 + b'0', (value % 10) as u8 + b'0'];
        let len = if value >= 100 {
            3
        } else if value >= 10 {
            2
        } else {
            1
        };
        let mut at = 0;
        while at < len {
            small[value][at] = digits[3 - len + at];
            at += 1;
        }
        small[value][3] = len as u8;
        value += 1;
    }
    small
};

/// Writes a number with at least `width` digits, at least one, and returns their number. `out` has 24 bytes or more.
pub(super) fn write(value: u64, width: usize, out: &mut [u8]) -> Option<usize> {
    if value < 1_000 && width <= 1 {
        let text = SMALL[value as usize];
        *out.first_chunk_mut()? = text;
        return Some(usize::from(text[3]));
    }
    if value >= POWERS[8] {
        let head = write(value / POWERS[8], width.saturating_sub(8), out)?;
        return Some(head + write(value % POWERS[8], 8, out.get_mut(head..)?)?);
    }
    if width > 8 {
        let head = write(0, width - 8, out)?;
        return Some(head + write(value, 8, out.get_mut(head..)?)?);
    }
    let digits = eight(value);
    let skipped = (digits.trailing_zeros() as usize / 8).min(8 - width.max(1));
    let text = (digits | ZEROS_TEXT) >> (8 * skipped);
    *out.first_chunk_mut()? = text.to_le_bytes();
    Some(8 - skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_with_any_width() {
        let mut out = [0; 32];
        for value in [0, 7, 10, 99, 1_234, 99_999_999, 100_000_000, 123_456_789_012, POWERS[18] - 1] {
            for width in 0..=18 {
                let len = write(value, width, &mut out).unwrap();
                assert_eq!(str::from_utf8(&out[..len]).unwrap(), format!("{value:0width$}"));
                assert_eq!(read(&out, 0, len), Some(value));
            }
        }
        let len = write(u64::MAX, 0, &mut out).unwrap();
        assert_eq!(&out[..len], u64::MAX.to_string().as_bytes());
    }

    #[test]
    fn only_digits_are_read() {
        for text in ["", "12a", "-1", "1.5", "123456789x", "/", ":", "1234567890123456789"] {
            assert_eq!(read(text.as_bytes(), 0, text.len()), None, "{text}");
        }
    }
}
