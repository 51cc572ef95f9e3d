//! Sends one frame on a unidirectional QUIC stream of its own, so that a lost packet delays only its own frame.

use bytes::Bytes;
use quinn::{Connection, ConnectionError, StoppedError, WriteError};

use super::striping::FrameId;

/// Frames of one urgency until their order starts over: far more than QUIC ever has in flight.
const ORDERED: u64 = 1 << 28;

/// Order in which the frames of one channel leave. All come after control messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Frames of most classes.
    Common,
    /// Frames of a strict class.
    Strict,
    /// Frames that a dead channel held: their lanes wait for them, whichever class they have.
    Again,
}

impl Urgency {
    /// Returns the priority of the stream of a frame. QUIC chooses a stream for each packet, so that a frame that has
    /// begun to leave delays no other that is more urgent. Equally urgent frames leave one after the other: if they
    /// shared the packets, each would be complete later than necessary.
    fn priority(self, frame: FrameId) -> i32 {
        let first = match self {
            Self::Again => 0,
            Self::Strict => -(ORDERED as i32),
            Self::Common => -(2 * ORDERED as i32),
        };
        first - (frame % ORDERED) as i32
    }
}

/// Callback for the moment when QUIC has taken the last byte of a frame.
pub(crate) type WhenTaken = Box<dyn FnOnce() + Send>;

/// Frame that a channel was given.
pub(crate) struct Outgoing {
    pub id: FrameId,
    pub bytes: Bytes,
    /// Order among the frames of its channel.
    pub urgency: Urgency,
    pub when_taken: WhenTaken,
}

impl Outgoing {
    /// Sends the frame, and waits until the receiver is known to have all of it, or to need nothing more of it.
    pub(crate) async fn send(self, channel: &Connection) -> Result<(), ConnectionError> {
        let mut stream = channel.open_uni().await?;
        // Fails only on a closed stream, which the write reports.
        let _ = stream.set_priority(self.urgency.priority(self.id));
        match stream.write_chunk(self.bytes).await {
            Ok(()) | Err(WriteError::Stopped(_)) => {}
            Err(WriteError::ConnectionLost(error)) => return Err(error),
            Err(error) => tracing::debug!(%error, "frame was not taken"),
        }
        // The receiver needs the whole stream; QUIC delivers the end with the last byte.
        let _ = stream.finish();
        (self.when_taken)();
        match stream.stopped().await {
            Ok(_) | Err(StoppedError::ZeroRttRejected) => Ok(()),
            Err(StoppedError::ConnectionLost(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_urgent_frames_leave_first_and_equal_ones_in_order() {
        let last = ORDERED - 1;
        assert!(Urgency::Common.priority(0) > Urgency::Common.priority(1));
        assert!(Urgency::Strict.priority(last) > Urgency::Common.priority(0));
        assert!(Urgency::Again.priority(last) > Urgency::Strict.priority(0));
        assert_eq!(Urgency::Common.priority(ORDERED), Urgency::Common.priority(0), "no number is too great");
    }
}
