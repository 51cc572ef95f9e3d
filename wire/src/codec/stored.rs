//! The same bincode for what is stored rather than sent: state records in the target.

use bincode::{Decode, Encode};

use crate::error::DecodeError;

/// No stored record is larger: a topic name is ≤ 249 bytes, everything else in one is smaller.
const STORED_BYTES_MAX: usize = 64 * 1024;

const STORED: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<STORED_BYTES_MAX>,
> = bincode::config::standard().with_limit::<STORED_BYTES_MAX>();

/// The bytes of `record`.
pub fn to_bytes(record: &impl Encode) -> Vec<u8> {
    bincode::encode_to_vec(record, STORED).expect("memory takes every byte")
}

/// The record that `bytes` hold, all of them.
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
