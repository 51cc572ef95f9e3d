//! Reader of untrusted bytes. Every method fails with [`DecodeError::Truncated`] instead of reading past the end.

use super::unzigzag;
use crate::error::DecodeError;

/// A view of bytes that shrinks from the front.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

macro_rules! little_endian {
    ($($number:ident),*) => {$(
        /// Reads a number, little endian.
        pub fn $number(&mut self) -> Result<$number, DecodeError> {
            self.array().map($number::from_le_bytes)
        }
    )*};
}

impl<'a> Reader<'a> {
    /// Reads `bytes` and nothing else.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Reads the next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let missing = len.saturating_sub(self.bytes.len());
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(DecodeError::Truncated { missing })?;
        self.bytes = rest;
        Ok(taken)
    }

    /// Returns a reader of the next `len` bytes, and continues after them.
    pub fn sub(&mut self, len: usize) -> Result<Self, DecodeError> {
        self.take(len).map(Self::new)
    }

    /// Ends the field, which must be read completely.
    ///
    /// # Errors
    /// [`DecodeError::TrailingBytes`] if bytes are left.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.bytes.len() {
            0 => Ok(()),
            left => Err(DecodeError::TrailingBytes(left)),
        }
    }

    little_endian!(u8, u16, u32, u64);

    /// Reads the next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let missing = N.saturating_sub(self.bytes.len());
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(DecodeError::Truncated { missing })?;
        self.bytes = rest;
        Ok(*taken)
    }

    /// Reads an unsigned LEB128 number. Only its shortest form is allowed, so that a value has one encoding.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] if it is overlong or wider than 64 bits.
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if bits.leading_zeros() < shift {
                return Err(DecodeError::Malformed("varint wider than 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(DecodeError::Malformed("overlong varint"));
                }
                return Ok(value);
            }
        }
        Err(DecodeError::Malformed("varint wider than 64 bits"))
    }

    /// Reads the bytes of `count` varints, whose forms are not checked.
    pub(crate) fn take_varints(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let ends = self.bytes.iter().enumerate().filter(|(_, byte)| **byte < 0x80);
        let len = match count.checked_sub(1) {
            None => 0,
            Some(last) => ends.map(|(at, _)| at + 1).nth(last).ok_or(DecodeError::Truncated { missing: 1 })?,
        };
        self.take(len)
    }

    /// Reads a varint that is at most `limit`.
    ///
    /// # Errors
    /// As [`Reader::varint`], and [`DecodeError::OverLimit`] naming `field`.
    pub fn varint_to(&mut self, field: &'static str, limit: u64) -> Result<u64, DecodeError> {
        match self.varint()? {
            found if found > limit => Err(DecodeError::OverLimit { field, found, limit }),
            found => Ok(found),
        }
    }

    /// Reads a signed number, encoded by zigzag.
    pub fn zigzag(&mut self) -> Result<i64, DecodeError> {
        self.varint().map(unzigzag)
    }
}
