//! One record, borrowed: from the Kafka client on the way into a frame, from a frame on the way out.

use std::fmt;

use crate::codec::{Reader, Writer, varint_len};
use crate::error::DecodeError;
use crate::ids::Offset;
use crate::limits::{RECORD_BYTES_MAX, RUN_BYTES_MAX};

/// The most a record adds to its columns besides its own bytes: offset 9, timestamp 10, key length 4,
/// value length 4, header count 4, header length 4.
const COLUMNS_BYTES_MAX: usize = 35;

/// A record as both clusters hold it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Where it is in the source partition.
    pub offset: Offset,
    /// Milliseconds since the Unix epoch; −1 for none.
    pub timestamp: i64,
    /// Null and empty are different keys.
    pub key: Option<&'a [u8]>,
    /// Null (a tombstone) and empty are different values.
    pub value: Option<&'a [u8]>,
    /// In order, duplicates kept.
    pub headers: Headers<'a>,
}

impl RecordRef<'_> {
    /// The most bytes that this record adds to a frame before compression, the run it may begin
    /// included. At most [`RECORD_BYTES_MAX`] for a record that can be sent.
    pub fn raw_len(&self) -> usize {
        let bytes = |field: Option<&[u8]>| field.map_or(0, <[u8]>::len);
        RUN_BYTES_MAX + COLUMNS_BYTES_MAX + bytes(self.key) + bytes(self.value) + self.headers.entries.len()
    }
}

impl fmt::Debug for RecordRef<'_> {
    /// Lengths alone: payloads are never logged.
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

/// The headers of one record, encoded and known to be well-formed: per header the key's length, the key,
/// the value's length + 1 (0 for null), the value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a> {
    count: u32,
    entries: &'a [u8],
}

impl<'a> Headers<'a> {
    /// No headers.
    pub const EMPTY: Self = Self { count: 0, entries: &[] };

    /// Key and value of each, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let mut reader = Reader::new(self.entries);
        (0..self.count).map(move |_| entry(&mut reader).expect("headers are checked where they are made"))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Bytes of the encoded entries, without their count.
    pub(super) fn entries(&self) -> &'a [u8] {
        self.entries
    }

    /// Takes `count` entries that must fill `entries` exactly.
    pub(super) fn check(count: u32, entries: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(entries);
        for _ in 0..count {
            entry(&mut reader)?;
        }
        reader.finish()?;
        Ok(Self { count, entries })
    }

    /// As [`Headers::check`] for entries that passed it before.
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

/// Encodes the headers of one record after the other into one buffer.
#[derive(Debug, Clone, Default)]
pub struct HeaderBlock {
    count: u32,
    entries: Vec<u8>,
}

impl HeaderBlock {
    /// Forgets the last record's headers.
    pub fn clear(&mut self) {
        self.count = 0;
        self.entries.clear();
    }

    /// Adds a header after the others.
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
