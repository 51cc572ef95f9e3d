//! Header of a frame (wire-format.md#frame): fields to route the frame and to bound it without expanding its body, and a
//! checksum over the whole frame.

use xxhash_rust::xxh3::Xxh3Default;

use crate::codec::{Reader, Writer};
use crate::compress::id;
use crate::error::{DecodeError, ensure, within};
use crate::ids::{Epoch, LaneId, Sequence};
use crate::limits::{
    FRAME_BODY_MAX, FRAME_HEADER_BYTES, FRAME_RAW_TARGET, LANES_MAX, RECORD_BYTES_MIN, RECORDS_MAX, RUN_BYTES_MIN,
    RUNS_MAX, STATE_EXCESS_MAX,
};

/// Identity of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameHead {
    /// Lane of the frame.
    pub lane: LaneId,
    /// Epoch of the lane.
    pub epoch: Epoch,
    /// Number of the frame within the epoch.
    pub sequence: Sequence,
}

/// Header of a frame, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Identity of the frame.
    pub head: FrameHead,
    /// Codec of the body: one of [`crate::compress::id`].
    pub codec_id: u8,
    /// Number of runs, at least 1.
    pub run_count: u32,
    /// Number of records over all runs; may be 0.
    pub record_count: u32,
    /// Bytes of the expanded body.
    pub raw_len: usize,
    /// Bytes of the body on the wire.
    pub body_len: usize,
}

/// Offset, size and name of each field: the specification's table.
pub const FIELDS: &[(usize, usize, &str)] = &[
    (0, 3, "magic"),
    (3, 1, "kind"),
    (4, 1, "codec"),
    (5, 1, "reserved"),
    (6, 2, "flags"),
    (8, 2, "lane"),
    (10, 2, "reserved"),
    (12, 4, "dictionary"),
    (16, 8, "epoch"),
    (24, 8, "sequence"),
    (32, 4, "runs"),
    (36, 4, "records"),
    (40, 4, "raw length"),
    (44, 4, "body length"),
    (48, 8, "checksum"),
];

const MAGIC: [u8; 3] = *b"CWF";
const KIND_RECORDS: u8 = 1;

/// Reserved: each run carries a hash of its records.
const FLAG_RUN_HASHES: u16 = 1 << 0;

const CHECKSUM_AT: usize = FRAME_HEADER_BYTES - 8;

impl FrameHeader {
    /// Checks a whole frame: header, limits, exact length and checksum. It allocates nothing and does not expand the body.
    pub fn check(frame: &[u8]) -> Result<Self, DecodeError> {
        let header = Self::read(&mut Reader::new(frame))?;
        let stated = FRAME_HEADER_BYTES + header.body_len;
        if frame.len() < stated {
            return Err(DecodeError::Truncated { missing: stated - frame.len() });
        }
        if frame.len() > stated {
            return Err(DecodeError::TrailingBytes(frame.len() - stated));
        }
        let (fixed, body) = frame.split_at(FRAME_HEADER_BYTES);
        if fixed[CHECKSUM_AT..] != checksum(fixed, body) {
            return Err(DecodeError::Checksum);
        }
        Ok(header)
    }

    /// Reads a header before its body has arrived, so that its size can be refused before it takes memory. It does not
    /// check the checksum: use [`FrameHeader::check`] for the whole frame.
    pub fn peek(header: &[u8; FRAME_HEADER_BYTES]) -> Result<Self, DecodeError> {
        Self::read(&mut Reader::new(header))
    }

    /// Returns whether the frame's blocks may refer to those of earlier frames.
    pub const fn has_state(&self) -> bool {
        self.codec_id == id::STATE
    }

    /// Bytes of the whole frame.
    pub fn frame_len(&self) -> usize {
        FRAME_HEADER_BYTES + self.body_len
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut reader = reader.sub(FRAME_HEADER_BYTES)?;
        ensure(reader.array()? == MAGIC, "not a frame")?;
        match reader.u8()? {
            KIND_RECORDS => {}
            unknown => return Err(DecodeError::UnknownFrame(unknown)),
        }
        let codec_id = reader.u8()?;
        if !matches!(codec_id, id::NONE | id::LZ4 | id::ZSTD | id::SHAPE | id::STATE) {
            return Err(DecodeError::UnknownCodec(codec_id));
        }
        ensure(reader.u8()? == 0, "reserved byte 5 is not zero")?;
        let flags = reader.u16()?;
        ensure(flags & FLAG_RUN_HASHES == 0, "run hashes are not part of this version")?;
        ensure(flags == 0, "unknown flags")?;
        let lane = LaneId(reader.u16()?);
        within("lane", lane.0.into(), usize::from(LANES_MAX) - 1)?;
        ensure(reader.u16()? == 0, "reserved bytes 10 and 11 are not zero")?;
        ensure(reader.u32()? == 0, "dictionaries are not part of this version")?;
        let head = FrameHead { lane, epoch: Epoch(reader.u64()?), sequence: Sequence(reader.u64()?) };
        let run_count = reader.u32()?;
        let record_count = reader.u32()?;
        let raw_len = reader.u32()? as usize;
        let body_len = reader.u32()? as usize;
        let header = Self { head, codec_id, run_count, record_count, raw_len, body_len };
        header.check_limits()?;
        Ok(header)
    }

    fn check_limits(&self) -> Result<(), DecodeError> {
        within("runs", self.run_count as usize, RUNS_MAX as usize)?;
        within("records", self.record_count as usize, RECORDS_MAX as usize)?;
        let raw_max = if matches!(self.codec_id, id::SHAPE | id::STATE) { FRAME_RAW_TARGET } else { FRAME_BODY_MAX };
        within("raw length", self.raw_len, raw_max)?;
        let excess = if self.has_state() { STATE_EXCESS_MAX } else { 0 };
        within("body length", self.body_len, self.raw_len + excess)?;
        ensure(self.run_count > 0, "frame without runs")?;
        if self.codec_id == id::NONE && self.body_len != self.raw_len {
            return Err(DecodeError::RawLength { stated: self.raw_len, found: self.body_len });
        }
        // Counts must fit the body: they cannot claim more memory than its bytes justify.
        let least = self.run_count as usize * RUN_BYTES_MIN + self.record_count as usize * RECORD_BYTES_MIN;
        if least > self.raw_len {
            return Err(DecodeError::Truncated { missing: least - self.raw_len });
        }
        Ok(())
    }

    /// Writes the header, with its checksum, into the space before the frame's body.
    pub(super) fn write_into(&self, frame: &mut [u8]) {
        debug_assert_eq!(self.check_limits(), Ok(()));
        let mut fixed = Vec::with_capacity(FRAME_HEADER_BYTES);
        let mut writer = Writer::new(&mut fixed);
        writer.bytes(&MAGIC);
        writer.u8(KIND_RECORDS);
        writer.u8(self.codec_id);
        writer.u8(0);
        writer.u16(0);
        writer.u16(self.head.lane.0);
        writer.u16(0);
        writer.u32(0);
        writer.u64(self.head.epoch.0);
        writer.u64(self.head.sequence.0);
        writer.u32(self.run_count);
        writer.u32(self.record_count);
        writer.u32(self.raw_len as u32);
        writer.u32(self.body_len as u32);
        writer.u64(0);
        frame[..FRAME_HEADER_BYTES].copy_from_slice(&fixed);
        seal(frame);
    }
}

/// Writes the checksum of an otherwise complete frame; bytes shorter than a header stay unchanged.
pub fn seal(frame: &mut [u8]) {
    if let Some((fixed, body)) = frame.split_first_chunk_mut::<FRAME_HEADER_BYTES>() {
        let sum = checksum(fixed, body);
        fixed[CHECKSUM_AT..].copy_from_slice(&sum);
    }
}

/// Returns the XXH3-64 of a frame without its checksum.
fn checksum(fixed: &[u8], body: &[u8]) -> [u8; 8] {
    let mut hasher = Xxh3Default::new();
    hasher.update(&fixed[..CHECKSUM_AT]);
    hasher.update(body);
    hasher.digest().to_le_bytes()
}
