//! Errors of a decoder. Every one of them is the fault of the bytes.

/// Reason why a block cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The block ends within a field.
    #[error("the block ends within {0}")]
    Truncated(&'static str),
    /// Bytes follow after the end of the block.
    #[error("{0} bytes left over")]
    TrailingBytes(usize),
    /// A number exceeds its limit.
    #[error("{what}: {found}, and at most {most} are allowed")]
    Limit {
        /// Name of the number.
        what: &'static str,
        /// The number in the block.
        found: u64,
        /// Its limit.
        most: u64,
    },
    /// A rule of the format is broken; the text names it.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// The block needs another state than the decoder has: blocks were lost, repeated or reordered.
    #[error("the block needs the state after {needed} blocks, and the decoder's is another one, after {found}")]
    OtherState {
        /// Blocks before it, since the state began.
        needed: u64,
        /// Blocks that the decoder has seen since then.
        found: u64,
    },
    /// The state is unknown since a block that could not be decoded; a block that begins the state repairs it.
    #[error("the state is lost since a block that could not be decoded")]
    StateLost,
    /// The compressed bytes cannot be expanded.
    #[error("the compressed bytes are damaged")]
    Decompress,
}

/// Checks a rule of the format.
pub(crate) fn ensure(holds: bool, rule: &'static str) -> Result<(), DecodeError> {
    if holds { Ok(()) } else { Err(DecodeError::Malformed(rule)) }
}

/// Checks a number against its limit.
pub(crate) fn within(what: &'static str, found: usize, most: usize) -> Result<usize, DecodeError> {
    if found <= most { Ok(found) } else { Err(DecodeError::Limit { what, found: found as u64, most: most as u64 }) }
}
