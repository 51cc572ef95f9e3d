//! The numbers that both ends count with, each a type of its own so that none is taken for another.

use std::fmt;

use bincode::{Decode, Encode};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// Where a record is in its partition. Ascending, with holes (compaction, transaction markers).
    Offset(i64)
);
number!(
    /// The offset of the next record to read: at position 5 a reader is done with 0 to 4.
    Position(i64)
);
number!(
    /// A lane's number, which is also its partition in the state topic.
    LaneId(u16)
);
number!(
    /// One opening of a lane, counted in the target; 0 is "never opened".
    Epoch(u64)
);
number!(
    /// A partition's short number within one epoch of its lane; never used twice within it.
    Slot(u32)
);
number!(
    /// A frame's number on its lane; starts at 0 with each epoch.
    Sequence(u64)
);

impl Position {
    /// The position of a reader that has just read the record at `offset`.
    pub fn after(offset: Offset) -> Self {
        Self(offset.0 + 1)
    }
}

impl Sequence {
    /// The sequence of the frame that follows this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Epoch {
    /// The epoch of the next opening.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// One incarnation of a topic, as Kafka names it (KIP-516): a re-created topic has another id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// The id of a cluster that does not state topic ids: equal to no real incarnation.
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
