//! Frames onto the session's channels: one unidirectional stream per frame, so that a lost packet delays
//! only its own frame.
//!
//! The transport says when it has room; a lane closes its frame only then. Room is a small number of
//! frames being handed to QUIC at once: a frame counts until QUIC has taken all of its bytes, which the
//! send window bounds.

use std::sync::Arc;

use bytes::Bytes;
use link::bell::Bell;
use quinn::Connection;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Frames that may be on their way into QUIC at once, over all lanes of a channel: enough to keep it busy
/// while one waits for stream credit, few enough that packing stays late.
const FRAMES_AT_ONCE: usize = 4;

/// The channels of one session. One today; a frame takes whichever has room, and the receiver orders by
/// lane and sequence, so that more need no change here but in [`Channels::room`].
#[derive(Debug, Clone)]
pub struct Channels {
    channel: Connection,
    room: Arc<Semaphore>,
    /// For strict classes, which wait for no frame of another: QUIC sends theirs first.
    strict_room: Arc<Semaphore>,
    bells: Arc<[Bell]>,
    runtime: Handle,
}

/// Room for one frame.
#[derive(Debug)]
pub struct Room {
    permit: OwnedSemaphorePermit,
    channel: Connection,
}

impl Channels {
    /// The session's first channel; `bells` are rung when there is room again.
    pub fn new(channel: Connection, bells: Vec<Bell>) -> Self {
        Self {
            channel,
            room: Arc::new(Semaphore::new(FRAMES_AT_ONCE)),
            strict_room: Arc::new(Semaphore::new(FRAMES_AT_ONCE)),
            bells: bells.into(),
            runtime: Handle::current(),
        }
    }

    /// Room for one frame, of a strict class or of another, if there is any now.
    pub fn room(&self, strict: bool) -> Option<Room> {
        let room = if strict { &self.strict_room } else { &self.room };
        let permit = Arc::clone(room).try_acquire_owned().ok()?;
        Some(Room { permit, channel: self.channel.clone() })
    }

    /// Sends a frame, before frames of a lower priority that QUIC has and has not sent. Errors are the channel's, and
    /// end its session there.
    pub fn send(&self, room: Room, frame: Bytes, priority: i32) {
        let bells = Arc::clone(&self.bells);
        self.runtime.spawn(async move {
            let Room { permit, channel } = room;
            if let Err(error) = send_frame(&channel, frame, priority).await {
                tracing::debug!(%error, "frame was not sent");
            }
            drop(permit);
            bells.iter().for_each(Bell::ring);
        });
    }
}

async fn send_frame(channel: &Connection, frame: Bytes, priority: i32) -> Result<(), quinn::WriteError> {
    let mut stream = channel.open_uni().await?;
    // Fails only on a closed stream, which the write reports.
    let _ = stream.set_priority(priority);
    stream.write_chunk(frame).await?;
    // The receiver needs the whole stream; QUIC delivers the end with the last byte.
    let _ = stream.finish();
    Ok(())
}
