//! Frames of a channel: each has a stream of its own, is charged before its body takes memory, checked, and passed
//! to its lane. The receiver always reads: credit stops a sender, never QUIC's flow control.

use std::sync::Arc;

use bytes::Bytes;
use quinn::{Connection, ReadExactError, RecvStream};
use service::lock::Lock;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use transport::clock::Clock;
use wire::close::{Close, CloseCode};
use wire::error::{DecodeError, PeerMisbehaved};
use wire::frame::{FrameHeader, IntactFrame};
use wire::limits::FRAME_HEADER_BYTES;

use super::ledger::{Admission, Ledger};
use crate::lane::thread::{Command, LaneHandle};
use crate::link::arbiter::SessionId;

#[derive(Clone)]
pub(super) struct Intake {
    pub(super) session: SessionId,
    pub(super) lanes: Vec<LaneHandle>,
    pub(super) ledger: Arc<Lock<Ledger>>,
    pub(super) clock: Clock,
}

/// Reads frames until the channel ends, and then those that had arrived in full. The first invalid one is reported
/// to `faults` and ends the session.
pub(super) async fn receive(connection: Connection, intake: Intake, faults: mpsc::Sender<Close>) {
    // QUIC bounds the number of streams that the sender may have open.
    let mut reading = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept_uni() => match stream {
                Ok(stream) => {
                    let intake = intake.clone();
                    let faults = faults.clone();
                    reading.spawn(async move {
                        if let Err(close) = intake.frame(stream).await {
                            let _ = faults.try_send(close);
                        }
                    });
                }
                Err(_) => break,
            },
            Some(_) = reading.join_next(), if !reading.is_empty() => {}
        }
    }
    while reading.join_next().await.is_some() {}
}

impl Intake {
    async fn frame(&self, mut stream: RecvStream) -> Result<(), Close> {
        let mut header = [0; FRAME_HEADER_BYTES];
        match stream.read_exact(&mut header).await {
            Ok(()) => {}
            Err(ReadExactError::FinishedEarly(read)) => {
                return Err(DecodeError::Truncated { missing: FRAME_HEADER_BYTES - read }.into());
            }
            // The channel is gone. The sender repeats incomplete frames, unless the session is gone too.
            Err(ReadExactError::ReadError(_)) => return Ok(()),
        }
        let stated = FrameHeader::peek(&header)?;
        let lane = stated.head.lane;
        let Some(handle) = self.lanes.get(usize::from(lane.0)) else {
            return Err(PeerMisbehaved::UnknownLane(lane).into());
        };
        if self.ledger.lock().handle_frame(&stated.head, stated.frame_len())? == Admission::Drop {
            return Ok(());
        }
        let Some(frame) = body(&mut stream, &header, stated.frame_len()).await? else {
            self.ledger.lock().handle_lost(&stated.head);
            return Ok(());
        };
        let arrived = self.clock.now();
        let frame = IntactFrame::check(frame)?;
        let pushed = handle.mailbox.push(Command::Frame(self.session, frame, arrived));
        pushed.map_err(|_| Close::new(CloseCode::Busy, format!("lane {lane} has too many frames waiting")))
    }
}

/// Reads the whole frame; `None` if the channel ended first.
async fn body(stream: &mut RecvStream, header: &[u8], len: usize) -> Result<Option<Bytes>, Close> {
    let mut frame = Vec::with_capacity(len);
    frame.extend_from_slice(header);
    while let Ok(chunk) = stream.read_chunk(usize::MAX, true).await {
        let Some(chunk) = chunk else {
            let missing = len - frame.len();
            return if missing == 0 { Ok(Some(frame.into())) } else { Err(DecodeError::Truncated { missing }.into()) };
        };
        if frame.len() + chunk.bytes.len() > len {
            return Err(DecodeError::TrailingBytes(frame.len() + chunk.bytes.len() - len).into());
        }
        frame.extend_from_slice(&chunk.bytes);
    }
    Ok(None)
}
