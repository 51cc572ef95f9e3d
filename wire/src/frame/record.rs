//! Record, borrowed from the Kafka client on the way into a frame, and from the frame on the way out.

use std::fmt;

use crate::codec::{Reader, Writer, varint_len};
use crate::error::DecodeError;
use crate::ids::Offset;
use crate::limits::{RECORD_BYTES_MAX, RUN_BYTES_MAX};

/// Most bytes that a record adds to its columns in addition to its own: offset 9, timestamp 10, key length 4,
/// value length 4, header count 4, header length 4.
const COLUMNS_BYTES_MAX: usize = 35;

/// A record with all parts that both clusters store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Offset in the source partition.
    pub offset: Offset,
    /// Timestamp in milliseconds since the Unix epoch; −1 for none.
    pub timestamp: i64,
    /// Key; `None` is null, which is not the same as empty.
    pub key: Option<&'a [u8]>,
    /// Value; `None` is null (a tombstone), which is not the same as empty.
    pub value: Option<&'a [u8]>,
    /// Headers in order, including duplicates.
    pub headers: Headers<'a>,
}

impl RecordRef<'_> {
    /// Most bytes that this record adds to a frame before compression, including a run that it may begin. A record that
    /// can be sent has at most [`RECORD_BYTES_MAX`].
    pub fn raw_len(&self) -> usize {
        let bytes = |field: Option<&[u8]>| field.map_or(0, <[u8]>::len);
        RUN_BYTES_MAX + COLUMNS_BYTES_MAX + bytes(self.key) + bytes(self.value) + self.headers.entries.len()
    }
}

impl fmt::Debug for RecordRef<'_> {
    /// Shows lengths alone: payloads are never logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordRef")
            .field("offset", &self.offset.0)
            .field("timestamp", &self.timestamp)
            .field("key_len", &self.key.map(<[u8]>::len))
            .field("value_len", &self.value.map(<[u8]>::len))
            .field("headers", &self.headers)
            .finish()
    }
}

/// Headers of one record, encoded and checked. Each header has the key's length, the key, the value's length + 1 (0 for
/// null) and the value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a> {
    count: u32,
    entries: &'a [u8],
}

impl<'a> Headers<'a> {
    /// Empty headers of a record.
    pub const EMPTY: Self = Self { count: 0, entries: &[] };

    /// Returns key and value of each header, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let mut reader = Reader::new(self.entries);
        (0..self.count).map(move |_| entry(&mut reader).expect("headers are checked where they are made"))
    }

    /// Returns whether there are no headers.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the number of headers.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Bytes of the encoded entries, without their count.
    pub(super) fn entries(&self) -> &'a [u8] {
        self.entries
    }

    /// Checks `count` entries, which must fill `entries` exactly.
    pub(super) fn check(count: u32, entries: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(entries);
        for _ in 0..count {
            entry(&mut reader)?;
        }
        reader.finish()?;
        Ok(Self { count, entries })
    }

    /// Makes headers of entries that have passed [`Headers::check`].
    pub(super) fn checked(count: u32, entries: &'a [u8]) -> Self {
        Self { count, entries }
    }
}

fn entry<'a>(reader: &mut Reader<'a>) -> Result<(&'a [u8], Option<&'a [u8]>), DecodeError> {
    let key_len = reader.varint_to("header key", RECORD_BYTES_MAX as u64)?;
    let key = reader.take(key_len as usize)?;
    let value = match reader.varint_to("header value", RECORD_BYTES_MAX as u64 + 1)? {
        0 => None,
        len => Some(reader.take(len as usize - 1)?),
    };
    Ok((key, value))
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} headers, {} bytes", self.count, self.entries.len())
    }
}

/// Buffer for the encoded headers of one record at a time.
#[derive(Debug, Clone, Default)]
pub struct HeaderBlock {
    count: u32,
    entries: Vec<u8>,
}

impl HeaderBlock {
    /// Removes the last record's headers.
    pub fn clear(&mut self) {
        self.count = 0;
        self.entries.clear();
    }

    /// Appends a header.
    pub fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.entries.reserve(key.len() + value.map_or(0, <[u8]>::len) + 2 * varint_len(RECORD_BYTES_MAX as u64));
        let mut writer = Writer::new(&mut self.entries);
        writer.varint(key.len() as u64);
        writer.bytes(key);
        writer.varint(value.map_or(0, |value| value.len() as u64 + 1));
        writer.bytes(value.unwrap_or_default());
        self.count += 1;
    }

    /// The headers pushed since the last [`HeaderBlock::clear`].
    pub fn as_headers(&self) -> Headers<'_> {
        Headers { count: self.count, entries: &self.entries }
    }
}
