//! Target positions of consumer groups: the source position of the next record, translated.

use wire::ids::Position;
use wire::partition::Partition;

use crate::target::TargetPartition;

/// Source position to translate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SourcePosition {
    pub(crate) partition: Partition,
    pub(crate) position: Position,
}

/// Target position where a consumer continues that has consumed everything before a source position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Aim {
    At(TargetPosition),
    /// The link has carried no record of the partition that its map knows: the end of the target partition
    /// counts, if it is read before a second answer of this kind.
    Empty {
        target: TargetPartition,
        is_exact: bool,
        own: Position,
    },
    /// The map does not go back so far.
    BeforeMap,
    /// The link has not carried such a partition.
    NotCarried,
}

/// Position in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetPosition {
    pub(crate) partition: TargetPartition,
    pub(crate) position: Position,
    /// False if the link has not carried everything before the source position: this is where it has come to.
    pub(crate) is_exact: bool,
    /// Position before which the partition has no record of the link, as far as its record tells.
    pub(crate) own: Position,
}
