//! Intact frame: one whose header, length and checksum are correct.

use bytes::Bytes;

use super::decode::Frame;
use super::header::FrameHeader;
use super::remembered::Remembered;
use crate::error::DecodeError;

/// Bytes of a frame whose header is within the limits, and whose length and checksum are correct. Its body has not been
/// checked.
#[derive(Clone)]
pub struct IntactFrame {
    header: FrameHeader,
    bytes: Bytes,
}

impl IntactFrame {
    /// Checks a frame that has arrived.
    pub fn check(bytes: Bytes) -> Result<Self, DecodeError> {
        FrameHeader::check(&bytes).map(|header| Self { header, bytes })
    }

    /// Checks the body and expands it, with what the frames before it have left behind.
    pub(super) fn decode_with(&self, remembered: &mut Remembered) -> Result<Frame, DecodeError> {
        Frame::expand(self.header, &self.bytes, remembered)
    }

    /// Returns the frame's header.
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }
}

impl std::fmt::Debug for IntactFrame {
    /// Shows the frame without payloads.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IntactFrame").field("header", &self.header).finish_non_exhaustive()
    }
}
