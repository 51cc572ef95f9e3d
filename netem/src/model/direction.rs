//! The two directions of a path.

/// The direction in which a packet travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From the source to the target.
    Forward,
    /// From the target to the source.
    Back,
}

impl Direction {
    /// All directions, forward first.
    pub const BOTH: [Self; 2] = [Self::Forward, Self::Back];

    /// The direction's word in scripts and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Back => "back",
        }
    }
}
