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

impl Entry {
    fn new(bytes: &[u8], token: Span) -> Self {
        let len = token.len as usize;
        let head = load_some(bytes, token.at as usize, len);
        let tail = if len > 8 { load_some(bytes, token.end() - 8, 8) } else { 0 };
        Self { head, tail, token }
    }

    fn hash(&self) -> usize {
        let mixed = self.head ^ self.tail.rotate_left(29) ^ u64::from(self.token.len) << 56;
        let mixed = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 32) as usize
    }

    /// Returns whether the tokens are equal as far as their ends and lengths tell, and whether these tell all.
    const fn compare(&self, other: &Self) -> (bool, bool) {
        let is_same = self.head == other.head && self.tail == other.tail && self.token.len == other.token.len;
        (is_same, self.token.len <= 16)
    }
}

impl Dictionary {
    /// Forgets all tokens and makes room for `most`.
    pub(super) fn reset(&mut self, most: usize) {
        self.entries.clear();
        self.reset_slots(most);
    }

    fn reset_slots(&mut self, most: usize) {
        self.slots.clear();
        self.slots.resize((most * 2).next_power_of_two().max(16), 0);
    }

    /// Returns the number of a token.
    pub(super) fn number(&mut self, bytes: &[u8], token: Span) -> usize {
        let entry = Entry::new(bytes, token);
        match self.find(&entry, |known| known.of(bytes) == token.of(bytes)) {
            Ok(number) => number,
            Err(slot) => self.add(entry, slot),
        }
    }

    /// Returns the number of a token. New tokens are added to `kept`, where all tokens of the dictionary are.
    pub(super) fn number_kept(&mut self, kept: &mut Vec<u8>, bytes: &[u8], token: Span) -> usize {
        if self.entries.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let mut entry = Entry::new(bytes, token);
        match self.find(&entry, |known| known.of(kept) == token.of(bytes)) {
            Ok(number) => number,
            Err(slot) => {
                let start = kept.len();
                kept.extend_from_slice(token.of(bytes));
                entry.token = Span::new(start, kept.len());
                self.add(entry, slot)
            }
        }
    }

    /// Forgets the last tokens, so that `len` are left.
    pub(super) fn truncate(&mut self, len: usize) {
        let mask = self.slots.len().wrapping_sub(1);
        for (number, entry) in self.entries.iter().enumerate().skip(len).rev() {
            // Nothing was added behind the last entry, so that no other one is looked for beyond its slot.
            let mut slot = entry.hash() & mask;
            while self.slots[slot] != number as u32 + 1 {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = 0;
        }
        self.entries.truncate(len);
    }

    /// Finds the number of an equal token, or the slot for a new one.
    fn find(&self, entry: &Entry, is_equal: impl Fn(Span) -> bool) -> Result<usize, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = entry.hash() & mask;
        loop {
            let Some(number) = self.slots[slot].checked_sub(1) else { return Err(slot) };
            let known = &self.entries[number as usize];
            let (is_same, is_all) = known.compare(entry);
            if is_same && (is_all || is_equal(known.token)) {
                return Ok(number as usize);
            }
            slot = (slot + 1) & mask;
        }
    }

    fn add(&mut self, entry: Entry, slot: usize) -> usize {
        self.entries.push(entry);
        self.slots[slot] = self.entries.len() as u32;
        self.entries.len() - 1
    }

    fn grow(&mut self) {
        self.reset_slots(self.entries.len() * 2);
        let mask = self.slots.len() - 1;
        for (number, entry) in self.entries.iter().enumerate() {
            let mut slot = entry.hash() & mask;
            while self.slots[slot] != 0 {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = number as u32 + 1;
        }
    }

    /// Returns the distinct tokens in order of their numbers.
    pub(super) fn tokens(&self) -> impl Iterator<Item = Span> + Clone {
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

    #[test]
    fn the_last_tokens_are_forgotten() {
        let mut dictionary = Dictionary::default();
        let mut kept = Vec::new();
        let mut number = |dictionary: &mut Dictionary, value: u64| {
            let token = format!("token with number {value}");
            dictionary.number_kept(&mut kept, token.as_bytes(), Span::new(0, token.len()))
        };
        for value in 0..1_000 {
            assert_eq!(number(&mut dictionary, value), value as usize);
        }
        dictionary.truncate(300);
        for value in (0..300).chain(500..600) {
            number(&mut dictionary, value);
        }
        assert_eq!((number(&mut dictionary, 299), number(&mut dictionary, 599), dictionary.len()), (299, 399, 400));
        dictionary.truncate(0);
        assert_eq!(number(&mut dictionary, 7), 0);
    }
}
