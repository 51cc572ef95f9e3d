//! The two directions of a path.

/// The direction in which a packet travels. On the command line it is named after the end that the packet leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Direction {
    /// From the source to the target.
    #[value(name = "source", help = "The end that packets leave in the forward direction")]
    Forward,
    /// From the target to the source.
    #[value(name = "target", help = "The end at which they arrive")]
    Back,
}

impl Direction {
    pub const BOTH: [Self; 2] = [Self::Forward, Self::Back];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Back => "back",
        }
    }
}
