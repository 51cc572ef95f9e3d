//! Number of a state: how many blocks it has seen, and a check over them.

use crate::error::DecodeError;
use crate::scan::load_some;
use crate::stream::key_of_pair;
use crate::varint::{Reader, put};

/// Number of a state. Both ends have the same after the same blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number {
    /// Blocks since the state began.
    blocks: u64,
    fingerprint: u64,
}

impl Number {
    /// Number of a state that begins, with a bound of its memory.
    pub(super) const fn first(bound: usize) -> Self {
        Self { blocks: 0, fingerprint: bound as u64 }
    }

    /// Number behind a block, after which the columns that it uses have these last values.
    pub(super) fn next(self, block: &[u8], last: impl Iterator<Item = i64>) -> Self {
        let words = block.chunks(8).map(|word| load_some(word, 0, word.len()) as i64);
        let values = [block.len() as i64].into_iter().chain(words).chain(last);
        let fingerprint = values.fold(self.fingerprint, |sum, value| key_of_pair(sum as i64, value));
        Self { blocks: self.blocks + 1, fingerprint }
    }

    const fn check(self) -> u32 {
        self.fingerprint as u32
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        put(out, self.blocks);
        out.extend(self.check().to_le_bytes());
    }

    /// Checks that a block has this number.
    pub(super) fn expect(self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let blocks = reader.number("the number of a state")?;
        let check = reader.array("the check of a state")?;
        if (blocks, u32::from_le_bytes(check)) == (self.blocks, self.check()) {
            return Ok(());
        }
        Err(DecodeError::OtherState { needed: blocks, found: self.blocks })
    }
}
