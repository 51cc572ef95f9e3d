//! The frames a lane holds, by sequence: what has arrived early, what is next, what is not yet committed.
//!
//! A frame stays, compressed, until it is committed, so that a hiccup of the target is replayed from here
//! and nothing crosses the WAN twice. Sans-IO. What bounds it is credit: a sender that exceeds it is refused
//! by the session before a frame gets here.

use std::collections::BTreeMap;

use wire::frame::IntactFrame;
use wire::ids::Sequence;

/// What became of an arriving frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Held until its turn.
    Held,
    /// Already held or committed: dropped.
    Duplicate,
}

/// A lane's frames within one epoch.
#[derive(Debug, Default)]
pub struct Inbox {
    held: BTreeMap<Sequence, IntactFrame>,
    /// Every frame below this one is committed.
    committed: Sequence,
    /// The next frame to be decoded; `committed <= next`.
    next: Sequence,
    bytes: u64,
}

impl Inbox {
    /// Takes a frame that has just arrived.
    pub fn handle_frame(&mut self, frame: IntactFrame) -> Arrival {
        let sequence = frame.header().head.sequence;
        if sequence < self.committed || self.held.contains_key(&sequence) {
            return Arrival::Duplicate;
        }
        self.bytes += frame.header().frame_len() as u64;
        self.held.insert(sequence, frame);
        Arrival::Held
    }

    /// The next frame in order, if it has arrived.
    pub fn peek(&self) -> Option<&IntactFrame> {
        self.held.get(&self.next)
    }

    /// Moves on to the frame after the one last peeked; that one stays held until committed.
    pub fn advance(&mut self) {
        assert!(self.held.contains_key(&self.next), "only a peeked frame is passed");
        self.next = self.next.next();
    }

    /// Frees every frame that was passed: they are committed. Returns the newest, if there was any.
    pub fn commit(&mut self) -> Option<Sequence> {
        if self.committed == self.next {
            return None;
        }
        let rest = self.held.split_off(&self.next);
        self.bytes -= self.held.values().map(|frame| frame.header().frame_len() as u64).sum::<u64>();
        self.held = rest;
        self.committed = self.next;
        Some(Sequence(self.next.0 - 1))
    }

    /// Goes back to the first frame that is not committed.
    pub fn rewind(&mut self) {
        self.next = self.committed;
    }

    /// Compressed bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Frames held, in order or not.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether nothing is held.
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
    fn frames_are_taken_in_sequence_whatever_order_they_arrive_in() {
        let mut inbox = Inbox::default();
        assert_eq!(inbox.handle_frame(frame(1)), Arrival::Held);
        assert!(inbox.peek().is_none(), "0 is missing");
        inbox.handle_frame(frame(0));
        assert_eq!(inbox.peek().map(|frame| frame.header().head.sequence), Some(Sequence(0)));
        inbox.advance();
        assert_eq!(inbox.peek().map(|frame| frame.header().head.sequence), Some(Sequence(1)));
    }

    #[test]
    fn a_frame_held_or_committed_is_dropped() {
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
    fn a_rewind_replays_exactly_what_is_not_committed() {
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
