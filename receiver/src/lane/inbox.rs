//! The inbox of a lane: its frames by sequence, from those not yet committed to those that arrived early. Sans-IO.
//!
//! A frame stays, compressed, until it is committed, so that it is replayed from here after a failure of the target
//! and does not cross the WAN twice. One that refers to earlier frames stays decoded too: it can be decoded only once.
//! Credit bounds the inbox: the session refuses a sender that exceeds it before a frame gets here.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::frame::{Frame, IntactFrame};
use wire::ids::Sequence;

use super::memory::Lease;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The frame is kept until its turn.
    Held,
    /// The frame is dropped: it is here or committed already.
    Duplicate,
}

/// Decoded frame with its memory.
#[derive(Debug, Clone)]
pub struct Decoded {
    pub frame: Arc<Frame>,
    pub lease: Arc<Lease>,
}

#[derive(Debug)]
struct Held {
    frame: IntactFrame,
    decoded: Option<Decoded>,
}

/// Frames of a lane within one epoch.
#[derive(Debug, Default)]
pub struct Inbox {
    held: BTreeMap<Sequence, Held>,
    /// Every frame below this one is committed.
    committed: Sequence,
    /// The next frame to be decoded; `committed <= next`.
    next: Sequence,
    bytes: u64,
    /// Decoded bytes of the frames that stay decoded.
    kept: u64,
}

impl Inbox {
    pub fn handle_frame(&mut self, frame: IntactFrame) -> Arrival {
        let sequence = frame.header().head.sequence;
        if sequence < self.committed || self.held.contains_key(&sequence) {
            return Arrival::Duplicate;
        }
        self.bytes += frame.header().frame_len() as u64;
        self.held.insert(sequence, Held { frame, decoded: None });
        Arrival::Held
    }

    pub fn peek(&self) -> Option<&IntactFrame> {
        self.held.get(&self.next).map(|held| &held.frame)
    }

    /// Returns the peeked frame, decoded before, if that was kept.
    pub fn decoded(&self) -> Option<Decoded> {
        self.held.get(&self.next)?.decoded.clone()
    }

    /// Keeps the peeked frame decoded until it is committed.
    pub fn keep(&mut self, decoded: Decoded) {
        if let Some(held) = self.held.get_mut(&self.next) {
            self.kept += held.frame.header().raw_len as u64;
            held.decoded = Some(decoded);
        }
    }

    /// Decoded bytes of the frames that stay decoded.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// Moves to the frame after the one last peeked, which stays here until it is committed.
    pub fn advance(&mut self) {
        assert!(self.held.contains_key(&self.next), "only a peeked frame is passed");
        self.next = self.next.next();
    }

    /// Frees every frame that was passed, because it is committed. Returns the newest of them.
    pub fn commit(&mut self) -> Option<Sequence> {
        if self.committed == self.next {
            return None;
        }
        let rest = self.held.split_off(&self.next);
        for Held { frame, decoded } in self.held.values() {
            self.bytes -= frame.header().frame_len() as u64;
            self.kept -= decoded.as_ref().map_or(0, |_| frame.header().raw_len as u64);
        }
        self.held = rest;
        self.committed = self.next;
        Some(Sequence(self.next.0 - 1))
    }

    /// Moves back to the first frame that is not committed.
    pub fn rewind(&mut self) {
        self.next = self.committed;
    }

    /// Compressed bytes of all frames in the inbox.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of frames in the inbox, in order or not.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use wire::compress::Codec;
    use wire::frame::{FrameBuilder, FrameHead};
    use wire::ids::{Epoch, LaneId, Position, Slot};

    use super::*;

    fn frame(sequence: u64) -> IntactFrame {
        let mut builder = FrameBuilder::new();
        builder.advance(Slot(0), Position(0), Position(1));
        let head = FrameHead { lane: LaneId(0), epoch: Epoch(1), sequence: Sequence(sequence) };
        IntactFrame::check(builder.finish(head, Codec::None)).unwrap()
    }

    #[test]
    fn frames_are_taken_in_sequence() {
        let mut inbox = Inbox::default();
        assert_eq!(inbox.handle_frame(frame(1)), Arrival::Held);
        assert!(inbox.peek().is_none(), "0 is missing");
        inbox.handle_frame(frame(0));
        assert_eq!(inbox.peek().map(|frame| frame.header().head.sequence), Some(Sequence(0)));
        inbox.advance();
        assert_eq!(inbox.peek().map(|frame| frame.header().head.sequence), Some(Sequence(1)));
    }

    #[test]
    fn a_duplicate_frame_is_dropped() {
        let mut inbox = Inbox::default();
        inbox.handle_frame(frame(0));
        assert_eq!(inbox.handle_frame(frame(0)), Arrival::Duplicate);
        inbox.advance();
        assert_eq!(inbox.handle_frame(frame(0)), Arrival::Duplicate, "passed, not yet committed");
        assert_eq!(inbox.commit(), Some(Sequence(0)));
        assert_eq!(inbox.handle_frame(frame(0)), Arrival::Duplicate, "committed");
        assert_eq!(inbox.bytes(), 0);
    }

    #[test]
    fn a_rewind_replays_the_uncommitted_frames() {
        let mut inbox = Inbox::default();
        for sequence in 0..3 {
            inbox.handle_frame(frame(sequence));
        }
        inbox.advance();
        inbox.commit();
        inbox.advance();
        inbox.rewind();
        assert_eq!(inbox.peek().map(|frame| frame.header().head.sequence), Some(Sequence(1)));
        assert_eq!(inbox.commit(), None, "nothing was passed since");
        assert_eq!(inbox.len(), 2);
    }
}
