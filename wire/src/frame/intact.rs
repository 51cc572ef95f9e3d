//! A frame as it travels, once it has been found whole.

use bytes::Bytes;

use super::decode::Frame;
use super::header::FrameHeader;
use crate::error::DecodeError;

/// The bytes of a frame whose header keeps the limits and whose length and checksum are right. Its body has not been
/// looked into.
#[derive(Clone)]
pub struct IntactFrame {
    header: FrameHeader,
    bytes: Bytes,
}

impl IntactFrame {
    /// Checks a frame as it arrived.
    ///
    /// # Errors
    /// As [`FrameHeader::check`].
    pub fn check(bytes: Bytes) -> Result<Self, DecodeError> {
        FrameHeader::check(&bytes).map(|header| Self { header, bytes })
    }

    /// Checks the body and expands it.
    ///
    /// # Errors
    /// As [`Frame::decode`].
    pub fn decode(&self) -> Result<Frame, DecodeError> {
        Frame::expand(self.header, &self.bytes)
    }

    /// What the frame says of itself.
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }
}

impl std::fmt::Debug for IntactFrame {
    /// Without payloads.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IntactFrame").field("header", &self.header).finish_non_exhaustive()
    }
}
