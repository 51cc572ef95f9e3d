//! Decoder of the frames of a lane. They are decoded in order, each once, so that both ends remember the same.

use super::decode::Frame;
use super::intact::IntactFrame;
use super::remembered::Remembered;
use super::state_bound::StateBound;
use crate::error::PeerMisbehaved;

/// Decoder of a lane's frames within one epoch, in the order of their sequences, each once.
#[derive(Debug)]
pub struct LaneDecoder {
    remembered: Remembered,
    /// Why a frame could not be decoded: nothing that follows can be trusted.
    failed: Option<PeerMisbehaved>,
}

impl LaneDecoder {
    /// Decoder of an epoch. Frames may refer to others within a state of at most `most`, or not at all.
    pub const fn new(most: Option<StateBound>) -> Self {
        Self { remembered: Remembered::new(most), failed: None }
    }

    /// Bytes that the decoder may remember of the frames so far; 0 before the first one that is to be remembered.
    pub fn bytes(&self) -> usize {
        self.remembered.bytes()
    }

    /// Checks and expands the next frame.
    ///
    /// # Errors
    /// Any rule that the frame breaks, and again the same error for each frame behind it.
    pub fn decode(&mut self, frame: &IntactFrame) -> Result<Frame, PeerMisbehaved> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let header = frame.header();
        let decoded = frame.decode_with(&mut self.remembered).map_err(|error| {
            let is_state = self.remembered.is_agreed() && header.has_state();
            let sequence = header.head.sequence;
            if is_state { PeerMisbehaved::State { sequence, error } } else { PeerMisbehaved::Bytes(error) }
        });
        self.failed = decoded.as_ref().err().copied();
        decoded
    }
}
