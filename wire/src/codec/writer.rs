//! Writer of values to a buffer that the caller owns.

use super::zigzag;

/// Writer at the end of a buffer.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

macro_rules! little_endian {
    ($($number:ident),*) => {$(
        /// Writes a number, little endian.
        pub fn $number(&mut self, value: $number) {
            self.bytes(&value.to_le_bytes());
        }
    )*};
}

impl<'a> Writer<'a> {
    /// Makes a writer that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Number of bytes in the buffer.
    pub fn position(&self) -> usize {
        self.out.len()
    }

    little_endian!(u8, u16, u32, u64);

    /// Writes bytes unchanged.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Writes an unsigned LEB128 number.
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    /// Writes a signed number, encoded by zigzag.
    pub fn zigzag(&mut self, value: i64) {
        self.varint(zigzag(value));
    }
}
