//! Strings of lower-case hexadecimal digits with fixed length and fixed dashes, such as UUIDs, as bytes.

use crate::error::{DecodeError, ensure};
use crate::limits::HEX_MAX;
use crate::varint::{Reader, put_len};

/// Digits of a value, or 0xff for a byte that is none.
const VALUES: [u8; 256] = {
    let mut values = [0xff; 256];
    let digits = b"0123456789abcdef";
    let mut at = 0;
    while at < digits.len() {
        values[digits[at] as usize] = at as u8;
        at += 1;
    }
    values
};

/// Least length of strings that are worth it.
const LEAST: usize = 8;

/// Length of the strings and the places of their dashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HexPattern {
    len: usize,
    dashes: Vec<usize>,
}

impl HexPattern {
    pub(super) fn infer(token: &[u8]) -> Option<Self> {
        let dashes: Vec<usize> = (0..token.len()).filter(|at| token[*at] == b'-').collect();
        let pattern = Self { len: token.len(), dashes };
        let fits = (LEAST..=HEX_MAX).contains(&token.len()) && pattern.dashes.len() * 2 < token.len();
        let mut digits = vec![0; pattern.bytes()];
        (fits && pattern.parse(token, &mut digits)).then_some(pattern)
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_len(out, self.len);
        put_len(out, self.dashes.len());
        self.dashes.iter().for_each(|dash| put_len(out, *dash));
    }

    pub(super) fn read(header: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let len = header.count("digits", HEX_MAX)?;
        let dashes = header.count("dashes", len)?;
        let dashes: Vec<usize> =
            (0..dashes).map(|_| header.count("the place of a dash", HEX_MAX)).collect::<Result<_, _>>()?;
        let ascend = dashes.windows(2).all(|pair| pair[0] < pair[1]) && dashes.last().is_none_or(|last| *last < len);
        ensure(ascend, "places of dashes ascend")?;
        Ok(Self { len, dashes })
    }

    /// Length of the strings.
    pub(crate) const fn text_len(&self) -> usize {
        self.len
    }

    /// Bytes that hold the digits of a string.
    pub(crate) const fn bytes(&self) -> usize {
        (self.len - self.dashes.len()).div_ceil(2)
    }

    /// Writes the digits of a token to `out`; returns false, with `out` in any state, if it does not fit the pattern.
    pub(crate) fn parse(&self, token: &[u8], out: &mut [u8]) -> bool {
        if token.len() != self.len {
            return false;
        }
        let mut dashes = self.dashes.iter().copied().peekable();
        let mut nibble = 0;
        out.fill(0);
        for (at, byte) in token.iter().enumerate() {
            if dashes.next_if_eq(&at).is_some() {
                if *byte != b'-' {
                    return false;
                }
                continue;
            }
            let value = VALUES[usize::from(*byte)];
            if value > 15 {
                return false;
            }
            out[nibble / 2] |= value << (4 * (1 - nibble % 2));
            nibble += 1;
        }
        true
    }

    /// Appends the string whose digits are `bytes`.
    pub(crate) fn render(&self, bytes: impl Iterator<Item = u8>, out: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut dashes = self.dashes.iter().copied().peekable();
        let digits = bytes.flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        let mut at = 0;
        for digit in digits {
            while dashes.next_if_eq(&at).is_some() {
                out.push(b'-');
                at += 1;
            }
            if at < self.len {
                out.push(digit);
                at += 1;
            }
        }
        while at < self.len {
            out.push(b'-');
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_survive_in_their_pattern() {
        for text in ["123e4567-e89b-42d3-a456-426614174000", "00ff00ff0", "-1234567-", "0123456789abcdef01"] {
            let pattern = HexPattern::infer(text.as_bytes()).unwrap();
            let mut bytes = vec![0; pattern.bytes()];
            assert!(pattern.parse(text.as_bytes(), &mut bytes));
            let mut out = Vec::new();
            pattern.render(bytes.into_iter(), &mut out);
            assert_eq!(str::from_utf8(&out), Ok(text));
        }
        for text in ["0123", "0123456789ABCDEF", "0123456g", "--------", ""] {
            assert_eq!(HexPattern::infer(text.as_bytes()), None, "{text}");
        }
    }
}
