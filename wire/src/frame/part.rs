//! Parts of records that a block of a frame can hold.

use crate::error::{DecodeError, ensure};

/// Forms of the remainder behind blocks with state.
pub(super) const REMAINDER_PLAIN: u8 = 0;
/// See [`REMAINDER_PLAIN`].
pub(super) const REMAINDER_PACKED: u8 = 1;

/// Part of the records of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Values,
    Keys,
    Headers,
}

impl Part {
    /// All parts, in the order of their blocks.
    pub(super) const ALL: [Self; 3] = [Self::Values, Self::Keys, Self::Headers];

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Set of parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Parts(u8);

impl Parts {
    pub(super) const fn contain(self, part: Part) -> bool {
        self.0 & part.bit() != 0
    }

    pub(super) const fn add(&mut self, part: Part) {
        self.0 |= part.bit();
    }

    /// The set as a byte in a frame.
    pub(super) const fn byte(self) -> u8 {
        self.0
    }

    /// Reads a set, which must not be empty.
    pub(super) fn read(byte: u8) -> Result<Self, DecodeError> {
        ensure((1..1 << Part::ALL.len()).contains(&byte), "unknown parts of a group")?;
        Ok(Self(byte))
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Part> {
        Part::ALL.into_iter().filter(move |part| self.contain(*part))
    }
}
