//! Numbers of distinct tokens, in order of their first appearance.

use crate::records::Span;
use crate::scan::load_some;

/// Distinct tokens of one run of bytes.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    /// Number of the token + 1; 0 for a free slot.
    slots: Vec<u32>,
    entries: Vec<Entry>,
}

/// Token with its first and last 8 bytes. For tokens of up to 16 bytes they are all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    head: u64,
    tail: u64,
    token: Span,
}

impl Dictionary {
    /// Forgets all tokens and makes room for `most`.
    pub(super) fn reset(&mut self, most: usize) {
        self.entries.clear();
        self.slots.clear();
        self.slots.resize((most * 2).next_power_of_two().max(16), 0);
    }

    /// Returns the number of a token.
    pub(super) fn number(&mut self, bytes: &[u8], token: Span) -> usize {
        let len = token.len as usize;
        let at = token.at as usize;
        let head = load_some(bytes, at, len);
        let tail = if len > 8 { load_some(bytes, token.end() - 8, 8) } else { 0 };
        let mask = self.slots.len() - 1;
        let mixed = (head ^ tail.rotate_left(29) ^ (len as u64) << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut slot = (mixed ^ mixed >> 32) as usize & mask;
        loop {
            let Some(number) = self.slots[slot].checked_sub(1) else {
                self.entries.push(Entry { head, tail, token });
                self.slots[slot] = self.entries.len() as u32;
                return self.entries.len() - 1;
            };
            let entry = &self.entries[number as usize];
            let is_same = entry.head == head && entry.tail == tail && entry.token.len == token.len;
            if is_same && (len <= 16 || entry.token.of(bytes) == token.of(bytes)) {
                return number as usize;
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Returns the distinct tokens in order of their numbers.
    pub(super) fn tokens(&self) -> impl Iterator<Item = Span> {
        self.entries.iter().map(|entry| entry.token)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_tokens_have_one_number() {
        let text = b"ab,abc,ab,0123456789abcdefgh,0123456789abcdXfgh,0123456789abcdefgh,,";
        let mut dictionary = Dictionary::default();
        dictionary.reset(4);
        let mut numbers = Vec::new();
        let mut at = 0;
        for token in text.split(|byte| *byte == b',') {
            numbers.push(dictionary.number(text, Span::new(at, at + token.len())));
            at += token.len() + 1;
        }
        assert_eq!(numbers, [0, 1, 0, 2, 3, 2, 4, 4]);
        assert_eq!(dictionary.len(), 5);
    }
}
