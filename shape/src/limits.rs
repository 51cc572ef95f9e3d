//! Maxima of a block. Encoders stay within them and decoders refuse what exceeds them.

/// Bytes of all records of a block together.
pub const BYTES_MAX: usize = 64 << 20;
/// Records of a block.
pub const RECORDS_MAX: usize = 262_144;
/// Nodes of a graph.
pub(crate) const NODES_MAX: usize = 4_096;
/// Successors of a node.
pub(crate) const SUCCESSORS_MAX: usize = 256;
/// Columns of a block.
pub(crate) const COLUMNS_MAX: usize = 2_048;
/// Digits of a number that is kept as an integer.
pub(crate) const DIGITS_MAX: usize = 18;
/// Bytes of the pattern of a time.
pub(crate) const PATTERN_MAX: usize = 48;
/// Characters of a hexadecimal string.
pub(crate) const HEX_MAX: usize = 128;

/// Bytes from which a template is learned, at most.
pub(crate) const SAMPLE_MAX: usize = 1 << 20;
/// Growth of the sample that makes it worth learning again.
pub(crate) const SAMPLE_GROWTH: usize = 8;

/// Slots of the table of a column's predictor in a state, as a power of two: least, and most of encoders and decoders.
pub(crate) const SLOTS_BITS_MIN: u32 = 6;
pub(crate) const SLOTS_BITS: u32 = 13;
pub(crate) const SLOTS_BITS_MAX: u32 = 14;
/// Slots of the table of the choices at a node in a state, as a power of two.
pub(crate) const CHOICE_SLOTS_BITS: u32 = 8;
/// Texts of a column that a state keeps, and their bytes: a column with more forgets all of them.
pub(crate) const TEXTS_MAX: usize = 8_192;
pub(crate) const TEXT_BYTES_MAX: usize = 128 << 10;

/// Most bytes that the header and columns of a block may have before compression.
pub(crate) const fn payload_max(bytes: usize) -> usize {
    bytes.saturating_add(bytes / 4).saturating_add(65_536)
}

/// Most bytes that the tokens of a block may be rendered to.
pub(crate) const fn rendered_max(bytes: usize) -> usize {
    bytes.saturating_mul(4).saturating_add(65_536)
}

/// Most nodes that the walk over all records of a block may visit.
pub(crate) const fn steps_max(bytes: usize, records: usize) -> usize {
    (bytes / 2).saturating_add(records.saturating_mul(4))
}

/// What a decoder accepts, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all records together.
    pub bytes: usize,
    /// Number of records.
    pub records: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: BYTES_MAX, records: RECORDS_MAX }
    }
}
