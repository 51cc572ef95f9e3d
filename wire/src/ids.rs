//! Ids and positions that both ends use. Each has its own type, so that they cannot be confused.

use std::fmt;

use bincode::{Decode, Encode};

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

numbers! {
    /// Offset of a record in its partition. Offsets ascend with gaps (compaction, transaction markers).
    Offset(i64);
    /// Offset of the next record to read: at position 5, offsets 0 to 4 have been read.
    Position(i64);
    /// Number of a lane, which is also its partition in the state topic.
    LaneId(u16);
    /// Number of times that a lane was opened, stored in the target; 0 means never.
    Epoch(u64);
    /// Number of a partition within one epoch of its lane; never reused within that epoch.
    Slot(u32);
    /// Number of a frame on its lane; starts at 0 with each epoch.
    Sequence(u64);
}

impl Position {
    /// Returns the position after the record at `offset`.
    pub fn after(offset: Offset) -> Self {
        Self(offset.0 + 1)
    }
}

impl Sequence {
    /// Returns the sequence of the next frame.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Epoch {
    /// Returns the next epoch.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Kafka's topic id (KIP-516): a topic that was deleted and created again has another id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// Returns whether the two are certainly of different topics. An unknown id says nothing.
    #[must_use]
    pub fn differs(self, other: Self) -> bool {
        self != other && self != Self::UNKNOWN && other != Self::UNKNOWN
    }

    /// Id for a cluster that does not state topic ids; no real topic has it.
    pub const UNKNOWN: Self = Self([0; 16]);
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
