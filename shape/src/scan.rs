//! Searches in bytes, eight at a time.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;
pub(crate) const ZEROS_TEXT: u64 = 0x3030_3030_3030_3030;

/// Eight bytes from `at`, the first in the lowest bits.
pub(crate) fn load(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map(|chunk| u64::from_le_bytes(*chunk))
}

/// The first `len` bytes from `at`, at most 8, with zeros behind them.
pub(crate) fn load_some(bytes: &[u8], at: usize, len: usize) -> u64 {
    let len = len.min(8);
    match load(bytes, at) {
        Some(chunk) if len == 8 => chunk,
        Some(chunk) => chunk & ((1 << (8 * len)) - 1),
        None => bytes.iter().skip(at).take(len).rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

const fn first_marked(marks: u64) -> usize {
    marks.trailing_zeros() as usize / 8
}

/// Marks the high bit of each byte that is no digit. `word` is already without the ASCII zeros.
pub(crate) const fn not_digits(word: u64) -> u64 {
    ((word & !HIGHS).wrapping_add(0x7676_7676_7676_7676) | word) & HIGHS
}

/// First place of `wanted` within `at..end`, or `end`.
pub(crate) fn find(bytes: &[u8], mut at: usize, end: usize, wanted: u8) -> usize {
    let pattern = ONES * u64::from(wanted);
    while at < end {
        let Some(chunk) = load(bytes, at) else {
            return bytes[at..end].iter().position(|byte| *byte == wanted).map_or(end, |found| at + found);
        };
        let differences = chunk ^ pattern;
        let found = differences.wrapping_sub(ONES) & !differences & HIGHS;
        if found != 0 {
            return (at + first_marked(found)).min(end);
        }
        at += 8;
    }
    end
}

/// End of the JSON string that begins at `at`: its closing quote, or `end`.
pub(crate) fn string_end(bytes: &[u8], start: usize, end: usize) -> usize {
    let mut at = start;
    loop {
        let quote = find(bytes, at, end, b'"');
        if quote == end || quote == start || bytes[quote - 1] != b'\\' {
            return quote;
        }
        let backslashes = bytes[start..quote].iter().rev().take_while(|byte| **byte == b'\\').count();
        if backslashes % 2 == 0 {
            return quote;
        }
        at = quote + 1;
    }
}

/// End of the digits from `at`.
pub(crate) fn digits_end(bytes: &[u8], mut at: usize, end: usize) -> usize {
    while at < end {
        let Some(chunk) = load(bytes, at) else {
            return bytes[at..end].iter().position(|byte| !byte.is_ascii_digit()).map_or(end, |found| at + found);
        };
        let marks = not_digits(chunk ^ ZEROS_TEXT);
        if marks != 0 {
            return (at + first_marked(marks)).min(end);
        }
        at += 8;
    }
    end
}

/// End of the characters of JSON numbers from `at`.
pub(crate) fn number_end(bytes: &[u8], mut at: usize, end: usize) -> usize {
    loop {
        at = digits_end(bytes, at, end);
        if at >= end || !matches!(bytes[at], b'.' | b'-' | b'+' | b'e' | b'E') {
            return at;
        }
        at += 1;
    }
}

/// Characters between the words of a line of text.
const BETWEEN_WORDS: [bool; 256] = {
    let mut set = [false; 256];
    let marks = b" \t\r\n\"'[](){}<>,;=|";
    let mut at = 0;
    while at < marks.len() {
        set[marks[at] as usize] = true;
        at += 1;
    }
    set
};

pub(crate) const fn is_between_words(byte: u8) -> bool {
    BETWEEN_WORDS[byte as usize]
}

/// End of the word from `at`.
pub(crate) fn word_end(bytes: &[u8], at: usize, end: usize) -> usize {
    bytes[at..end].iter().position(|byte| is_between_words(*byte)).map_or(end, |found| at + found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_find_the_first_place() {
        let text = b"0123456789012\"x\\\"y\"12.5e-3,";
        assert_eq!(find(text, 0, text.len(), b'"'), 13);
        assert_eq!(find(text, 0, 12, b'"'), 12);
        assert_eq!(digits_end(text, 0, text.len()), 13);
        assert_eq!(digits_end(text, 2, 9), 9);
        assert_eq!(string_end(text, 14, text.len()), 18);
        assert_eq!(number_end(text, 19, text.len()), 26);
        assert_eq!(load_some(text, 25, 8), u64::from(b'3') | u64::from(b',') << 8);
    }

    #[test]
    fn every_byte_is_a_digit_or_not() {
        for byte in 0..=255_u8 {
            let text = [byte; 9];
            assert_eq!(digits_end(&text, 0, 9) > 0, byte.is_ascii_digit(), "{byte}");
        }
    }
}
