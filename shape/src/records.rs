//! Records as one run of bytes with the end of each, borrowed and owned.

use crate::limits::{BYTES_MAX, RECORDS_MAX};

/// Place of a token in a run of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) at: u32,
    pub(crate) len: u32,
}

/// Mark of a span in bytes that are kept from block to block.
const KEPT: u32 = 1 << 31;

impl Span {
    /// Marks the span as one in bytes that are kept.
    #[must_use]
    pub(crate) const fn kept(self) -> Self {
        Self { at: self.at | KEPT, len: self.len }
    }

    pub(crate) const fn is_kept(self) -> bool {
        self.at & KEPT != 0
    }

    /// The span without the mark.
    #[must_use]
    pub(crate) const fn place(self) -> Self {
        Self { at: self.at & !KEPT, len: self.len }
    }

    pub(crate) const fn new(at: usize, end: usize) -> Self {
        Self { at: at as u32, len: (end - at) as u32 }
    }

    pub(crate) const fn end(self) -> usize {
        self.at as usize + self.len as usize
    }

    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.at as usize..self.end()]
    }
}

/// Records of one kind, such as the values of a run: any byte strings, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Records<'a> {
    bytes: &'a [u8],
    ends: &'a [u32],
}

impl<'a> Records<'a> {
    /// Records that end at `ends`, the last of them at the end of `bytes`. `None` if the ends do not ascend, or for more
    /// than [`BYTES_MAX`] bytes or [`RECORDS_MAX`] records.
    pub fn new(bytes: &'a [u8], ends: &'a [u32]) -> Option<Self> {
        let last = ends.last().map_or(0, |end| *end as usize);
        let fits = bytes.len() <= BYTES_MAX && ends.len() <= RECORDS_MAX;
        (fits && ends.is_sorted() && last == bytes.len()).then_some(Self { bytes, ends })
    }

    /// Number of records.
    pub const fn len(self) -> usize {
        self.ends.len()
    }

    /// Returns whether there are no records.
    pub const fn is_empty(self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all records, one after the other.
    pub const fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// End of each record in [`Self::bytes`].
    pub const fn ends(self) -> &'a [u32] {
        self.ends
    }

    /// Returns a record by its number.
    pub fn get(self, number: usize) -> Option<&'a [u8]> {
        self.slice(number, 1)
    }

    /// Bytes of `count` records from a number on, one after the other.
    pub fn slice(self, from: usize, count: usize) -> Option<&'a [u8]> {
        let end_of = |count: usize| count.checked_sub(1).map_or(Some(0), |last| self.ends.get(last).copied());
        let start = end_of(from)?;
        let end = end_of(from.checked_add(count)?)?;
        Some(&self.bytes[start as usize..end as usize])
    }

    /// Returns the records in order.
    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(self.ends).map(move |(start, end)| &self.bytes[start as usize..*end as usize])
    }

    /// The first records, of about `bytes` bytes together.
    #[must_use]
    pub fn first(self, bytes: usize) -> Self {
        let count = self.ends.partition_point(|end| *end as usize <= bytes).max(self.len().min(1));
        let ends = &self.ends[..count];
        let len = ends.last().map_or(0, |end| *end as usize);
        Self { bytes: &self.bytes[..len], ends }
    }
}

/// Records that own their bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordsBuf {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ends: Vec<u32>,
}

impl RecordsBuf {
    /// Adds a record; returns false, and adds nothing, if it would exceed the limits of a block.
    pub fn push(&mut self, record: &[u8]) -> bool {
        let fits = self.bytes.len() + record.len() <= BYTES_MAX && self.ends.len() < RECORDS_MAX;
        if fits {
            self.bytes.extend_from_slice(record);
            self.ends.push(self.bytes.len() as u32);
        }
        fits
    }

    /// Adds records until there are more than `most` bytes.
    pub(crate) fn extend(&mut self, records: Records<'_>, most: usize) {
        for record in records.iter() {
            if self.bytes.len() > most || !self.push(record) {
                break;
            }
        }
    }

    /// Removes all records and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Borrows the records.
    pub fn as_records(&self) -> Records<'_> {
        Records { bytes: &self.bytes, ends: &self.ends }
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for RecordsBuf {
    /// Collects records as far as they fit into a block.
    fn from_iter<I: IntoIterator<Item = T>>(records: I) -> Self {
        let mut buffer = Self::default();
        for record in records {
            if !buffer.push(record.as_ref()) {
                break;
            }
        }
        buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_what_was_pushed() {
        let records: RecordsBuf = ["a", "", "bcd"].iter().collect();
        assert!(records.as_records().iter().eq([&b"a"[..], b"", b"bcd"]));
        assert_eq!(records.as_records().first(2).len(), 2);
        assert_eq!(records.as_records().first(0).len(), 1);
    }

    #[test]
    fn ends_must_ascend_to_the_end() {
        assert!(Records::new(b"abc", &[1, 1, 3]).is_some());
        for wrong in [&[2, 1, 3][..], &[1, 2], &[], &[4]] {
            assert!(Records::new(b"abc", wrong).is_none(), "{wrong:?}");
        }
    }
}
