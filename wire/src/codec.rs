//! Codecs: a reader that cannot read past its field, a writer, and the envelope of control messages. Only this module
//! uses bincode.

mod bounds;
mod control;
mod reader;
mod stored;
mod writer;

pub use control::{KINDS, Kind, RESERVED, control_length, control_name, decode_control, encode_control};
pub use reader::Reader;
pub use stored::{from_bytes, to_bytes};
pub use writer::Writer;

/// Maps a signed number to an unsigned one, so that small numbers of either sign stay small: 0, −1, 1, −2 → 0, 1, 2, 3.
pub const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The inverse of [`zigzag`].
pub const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Returns the number of bytes of `value` as a varint: 1 to 10.
pub const fn varint_len(value: u64) -> usize {
    ((63 - (value | 1).leading_zeros()) / 7 + 1) as usize
}

#[cfg(test)]
mod tests;
