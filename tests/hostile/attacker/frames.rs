//! Frames as bytes, from the specification: a header of 56 bytes and a body.

use xxhash_rust::xxh3::Xxh3Default;

/// Length of a frame's header, and place of its checksum, in bytes.
const HEADER: usize = 56;
const CHECKSUM: usize = 48;

/// Frame of one run of records without keys and headers. Every field may be changed.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) lane: u16,
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
    pub(crate) slot: u64,
    /// Position of the first record.
    pub(crate) from: u64,
    pub(crate) values: Vec<Vec<u8>>,
}

impl Frame {
    /// Makes the frame with this sequence of an epoch of lane 0, with one record for slot 0.
    pub(crate) fn new(epoch: u64, sequence: u64, from: u64, value: &[u8]) -> Self {
        Self { lane: 0, epoch, sequence, slot: 0, from, values: vec![value.to_vec()] }
    }

    /// Returns the body: the run table, columns, and values.
    pub(crate) fn body(&self) -> Vec<u8> {
        let count = self.values.len() as u64;
        let mut body = Vec::new();
        // Slot, from, positions covered, records, leader epoch −1, shape 0.
        for number in [self.slot, self.from, count, count, 1, 0] {
            put(&mut body, number);
        }
        // Each record follows the one before it; all have one timestamp, 1 ms; no keys; no headers.
        self.values.iter().for_each(|_| put(&mut body, 0));
        (0..count).for_each(|index| put(&mut body, if index == 0 { 2 } else { 0 }));
        self.values.iter().for_each(|_| put(&mut body, 0));
        self.values.iter().for_each(|value| put(&mut body, value.len() as u64 + 1));
        self.values.iter().for_each(|_| put(&mut body, 0));
        self.values.iter().for_each(|value| body.extend(value));
        body
    }

    /// Returns the frame, not compressed.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let body = self.body();
        let length = body.len() as u32;
        self.with_body(0, length, &body)
    }

    /// Returns the frame with a body in any codec (0 none, 1 lz4, 2 zstd), which claims to expand to `raw` bytes.
    pub(crate) fn with_body(&self, codec: u8, raw: u32, body: &[u8]) -> Vec<u8> {
        let mut frame = vec![b'C', b'W', b'F', 1, codec, 0, 0, 0];
        frame.extend(self.lane.to_le_bytes());
        frame.extend([0; 6]);
        frame.extend(self.epoch.to_le_bytes());
        frame.extend(self.sequence.to_le_bytes());
        frame.extend(1u32.to_le_bytes());
        frame.extend((self.values.len() as u32).to_le_bytes());
        frame.extend(raw.to_le_bytes());
        frame.extend((body.len() as u32).to_le_bytes());
        frame.extend([0; 8]);
        frame.extend(body);
        seal(&mut frame);
        frame
    }
}

/// Writes the checksum of a changed frame.
pub(crate) fn seal(frame: &mut [u8]) {
    let mut hash = Xxh3Default::new();
    hash.update(&frame[..CHECKSUM]);
    hash.update(&frame[HEADER..]);
    frame[CHECKSUM..HEADER].copy_from_slice(&hash.digest().to_le_bytes());
}

/// Writes a number in LEB128.
fn put(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}
