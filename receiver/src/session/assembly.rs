//! Assembly of a frame from the pieces of its stream, in any order. Sans-IO.
//!
//! QUIC would keep the pieces behind a gap, which no credit counts. Here they are read as they arrive, and the ledger knows
//! each byte.

use std::collections::BTreeMap;

use bytes::Bytes;
use wire::error::DecodeError;
use wire::limits::FRAME_HEADER_BYTES;

/// Separate pieces that a frame may consist of. Losses leave a few; a stream window has room for 1,700 packets.
const PIECES_MAX: usize = 1024;

/// The bytes of one stream that have arrived.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// Bytes up to the last that has arrived; those that are missing are 0.
    bytes: Vec<u8>,
    /// Ends of the pieces, by their starts. No two of them touch.
    pieces: BTreeMap<usize, usize>,
    /// Length that the frame's header states.
    len: Option<usize>,
}

impl Assembly {
    /// Takes bytes that begin at `offset`. No byte comes twice.
    pub(super) fn handle_bytes(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DecodeError> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(bytes.len());
        self.check_extent(end)?;
        if start == self.bytes.len() {
            self.bytes.extend_from_slice(bytes);
        } else {
            if end > self.bytes.len() {
                self.bytes.resize(end, 0);
            }
            self.bytes[start..end].copy_from_slice(bytes);
        }
        self.join(start, end)
    }

    /// Offset after the last byte that has arrived.
    pub(super) fn extent(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the frame's header once it is complete.
    pub(super) fn header(&self) -> Option<&[u8; FRAME_HEADER_BYTES]> {
        self.bytes.first_chunk().filter(|_| self.arrived() >= FRAME_HEADER_BYTES)
    }

    /// Notes the length that the header states.
    pub(super) fn expect(&mut self, len: usize) -> Result<(), DecodeError> {
        self.len = Some(len);
        self.check_extent(self.extent())?;
        self.bytes.reserve_exact(len - self.extent());
        Ok(())
    }

    /// Returns the frame at the end of its stream.
    pub(super) fn finish(self) -> Result<Bytes, DecodeError> {
        let missing = self.len.unwrap_or(FRAME_HEADER_BYTES).saturating_sub(self.arrived());
        if missing > 0 { Err(DecodeError::Truncated { missing }) } else { Ok(self.bytes.into()) }
    }

    /// Bytes that have arrived without a gap before them.
    fn arrived(&self) -> usize {
        self.pieces.get(&0).copied().unwrap_or(0)
    }

    fn check_extent(&self, end: usize) -> Result<(), DecodeError> {
        match self.len {
            Some(len) if end > len => Err(DecodeError::TrailingBytes(end - len)),
            _ => Ok(()),
        }
    }

    fn join(&mut self, start: usize, end: usize) -> Result<(), DecodeError> {
        let end = self.pieces.remove(&end).unwrap_or(end);
        match self.pieces.range_mut(..start).next_back() {
            Some((_, before)) if *before == start => *before = end,
            _ => drop(self.pieces.insert(start, end)),
        }
        if self.pieces.len() > PIECES_MAX {
            return Err(DecodeError::Malformed("a frame in too many pieces"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: [u8; 300] = {
        let mut bytes = [0; 300];
        let mut n = 0;
        while n < 300 {
            bytes[n] = n as u8;
            n += 1;
        }
        bytes
    };

    fn take(assembly: &mut Assembly, range: std::ops::Range<usize>) -> Result<(), DecodeError> {
        assembly.handle_bytes(range.start as u64, &BYTES[range])
    }

    #[test]
    fn pieces_in_any_order_become_the_frame() {
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
            let cuts = [0..20, 20..70, 70..71, 71..300];
            let mut assembly = Assembly::default();
            let mut states = false;
            for piece in order {
                take(&mut assembly, cuts[piece].clone()).unwrap();
                if let Some(header) = assembly.header().filter(|_| !states) {
                    assert_eq!(header[..], BYTES[..FRAME_HEADER_BYTES]);
                    states = true;
                    assembly.expect(300).unwrap();
                }
            }
            assert_eq!(assembly.pieces.len(), 1, "{order:?}");
            assert_eq!(assembly.finish().unwrap()[..], BYTES[..], "{order:?}");
        }
    }

    #[test]
    fn a_frame_with_a_gap_is_truncated() {
        let mut assembly = Assembly::default();
        take(&mut assembly, 1..300).unwrap();
        assert!(assembly.header().is_none());
        assert_eq!(assembly.finish(), Err(DecodeError::Truncated { missing: FRAME_HEADER_BYTES }));
        let mut assembly = Assembly::default();
        take(&mut assembly, 0..100).unwrap();
        assembly.expect(300).unwrap();
        take(&mut assembly, 101..300).unwrap();
        assert_eq!(assembly.finish(), Err(DecodeError::Truncated { missing: 200 }));
    }

    #[test]
    fn bytes_after_the_end_are_refused_before_or_after_the_header() {
        let mut assembly = Assembly::default();
        take(&mut assembly, 200..300).unwrap();
        take(&mut assembly, 0..100).unwrap();
        assert_eq!(assembly.expect(299), Err(DecodeError::TrailingBytes(1)));
        let mut assembly = Assembly::default();
        take(&mut assembly, 0..100).unwrap();
        assembly.expect(150).unwrap();
        assert_eq!(take(&mut assembly, 140..160), Err(DecodeError::TrailingBytes(10)));
        assert!(assembly.handle_bytes(u64::MAX, &[1]).is_err());
    }

    #[test]
    fn a_frame_of_crumbs_is_refused() {
        let mut assembly = Assembly::default();
        let result = (0..).map(|n| assembly.handle_bytes(2 * n, &[1])).position(|result| result.is_err());
        assert_eq!(result, Some(PIECES_MAX));
    }
}
