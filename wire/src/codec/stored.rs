//! Encoding of stored records: the state in the target. It uses the same bincode as control messages.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{Decode, Encode};

use crate::error::DecodeError;

/// Limit of a stored record in bytes: a topic name has at most 249, and the rest is smaller.
const STORED_BYTES_MAX: usize = 64 * 1024;

/// bincode with integers of variable length, for values of at most `N` bytes.
pub(super) type Limited<const N: usize> = Configuration<LittleEndian, Varint, Limit<N>>;

const STORED: Limited<STORED_BYTES_MAX> = bincode::config::standard().with_limit();

/// Encodes a record.
pub fn to_bytes(record: &impl Encode) -> Vec<u8> {
    bincode::encode_to_vec(record, STORED).expect("memory takes every byte")
}

/// Decodes a record that takes all of `bytes`.
pub fn from_bytes<T: Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (record, read) = bincode::decode_from_slice(bytes, STORED).map_err(|error| match error {
        bincode::error::DecodeError::UnexpectedEnd { additional } => DecodeError::Truncated { missing: additional },
        _ => DecodeError::Malformed("stored record"),
    })?;
    match bytes.len() - read {
        0 => Ok(record),
        left => Err(DecodeError::TrailingBytes(left)),
    }
}
