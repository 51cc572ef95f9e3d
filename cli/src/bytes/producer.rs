//! Batches of a Kafka producer, version 2: what a replicator carries that keeps them as they are.

use std::fmt;

use wire::codec::{Writer, varint_len, zigzag};
use wire::compress::{Codec, compress};

use super::method::Measured;
use super::sample::Sample;

/// Bytes of a batch's header.
const HEADER: usize = 61;
/// Bytes that lz4's frame format adds to each of its blocks of 64 KiB, and to a frame.
const LZ4_BLOCK: usize = 4;
const LZ4_FRAME: usize = 15;
const LZ4_BLOCK_BYTES: usize = 64 << 10;

/// Codec and batch size of a producer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Producer {
    codec: Codec,
    /// Bytes of a batch before compression.
    batch: usize,
}

impl Producer {
    /// Kafka's own codecs at their default levels, in batches of `batch.size` 16 KB (the default) and 100 KB.
    pub(super) const ALL: [Self; 4] = [
        Self { codec: Codec::Lz4, batch: 16_384 },
        Self { codec: Codec::Zstd(3), batch: 16_384 },
        Self { codec: Codec::Lz4, batch: 100_000 },
        Self { codec: Codec::Zstd(3), batch: 100_000 },
    ];

    pub(super) fn measure(self, sample: &Sample) -> Measured {
        let mut bytes = 0;
        let mut batch = Vec::new();
        let mut count = 0;
        for value in sample.records() {
            if !batch.is_empty() && HEADER + batch.len() + value.len() > self.batch {
                bytes += self.close(&mut batch);
                count = 0;
            }
            put(&mut batch, count, value);
            count += 1;
        }
        bytes += self.close(&mut batch);
        Measured { bytes, encode: None, decode: None }
    }

    /// Returns the bytes of a batch, and empties it.
    fn close(self, batch: &mut Vec<u8>) -> usize {
        let excess = match self.codec {
            Codec::Lz4 => LZ4_FRAME + batch.len().div_ceil(LZ4_BLOCK_BYTES) * LZ4_BLOCK,
            _ => 0,
        };
        let packed = compress(self.codec, batch).map_or(batch.len(), |packed| packed.len() + excess);
        batch.clear();
        HEADER + packed
    }
}

impl fmt::Display for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codec = if self.codec == Codec::Lz4 { "lz4" } else { "zstd" };
        write!(f, "Kafka, {codec}, {} KB batches", self.batch / 1_000)
    }
}

/// Appends a record without key and headers, a millisecond after the one before.
fn put(batch: &mut Vec<u8>, number: i64, value: &[u8]) {
    const NULL: i64 = -1;
    let length = 1 + 2 * varint_len(zigzag(number)) + 2 + varint_len(zigzag(value.len() as i64)) + value.len();
    let mut record = Writer::new(batch);
    record.zigzag(length as i64);
    record.u8(0);
    record.zigzag(number);
    record.zigzag(number);
    record.zigzag(NULL);
    record.zigzag(value.len() as i64);
    record.bytes(value);
    record.zigzag(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_kafkas_layout() {
        let mut batch = Vec::new();
        put(&mut batch, 1, b"abc");
        // Length, attributes, timestamp, offset, null key, value, no headers.
        assert_eq!(batch, [2 * 9, 0, 2, 2, 1, 6, b'a', b'b', b'c', 0]);
    }
}
