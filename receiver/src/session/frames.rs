//! Frames off a channel: each on a stream of its own, charged before its body takes memory, checked, and
//! handed to its lane. The receiver always reads: what stops a sender is credit, never QUIC.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quinn::{Connection, ReadExactError, RecvStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use transport::clock::Clock;
use wire::close::CloseCode;
use wire::error::{DecodeError, PeerMisbehaved};
use wire::frame::{FrameHeader, IntactFrame};
use wire::limits::FRAME_HEADER_BYTES;

use super::Ending;
use crate::lane::thread::{Command, LaneHandle};
use crate::link::arbiter::SessionId;
use crate::session::ledger::{Admission, Ledger};

/// Where frames go.
#[derive(Clone)]
pub(super) struct Intake {
    pub(super) session: SessionId,
    pub(super) lanes: Vec<LaneHandle>,
    pub(super) ledger: Arc<Mutex<Ledger>>,
    pub(super) clock: Clock,
}

/// Reads frames until the channel ends, and then those that had arrived in full; the first bad one is reported and
/// ends the session.
pub(super) async fn receive(connection: Connection, intake: Intake, bad: mpsc::Sender<Ending>) {
    // Bounded by the streams that QUIC lets the sender have open.
    let mut reading = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept_uni() => match stream {
                Ok(stream) => {
                    let (intake, bad) = (intake.clone(), bad.clone());
                    reading.spawn(async move {
                        if let Err(ending) = intake.frame(stream).await {
                            let _ = bad.try_send(ending);
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
    async fn frame(&self, mut stream: RecvStream) -> Result<(), Ending> {
        let mut header = [0; FRAME_HEADER_BYTES];
        match stream.read_exact(&mut header).await {
            Ok(()) => {}
            Err(ReadExactError::FinishedEarly(read)) => {
                return Err(bytes(DecodeError::Truncated { missing: FRAME_HEADER_BYTES - read }));
            }
            // The channel is gone. What it did not bring in full will come again, unless the session is gone too.
            Err(ReadExactError::ReadError(_)) => return Ok(()),
        }
        let stated = FrameHeader::peek(&header).map_err(bytes)?;
        let Some(lane) = self.lanes.get(usize::from(stated.head.lane.0)) else {
            return Err(PeerMisbehaved::UnexpectedMessage("a frame for a lane that the link has not").into());
        };
        let admitted = self.ledger().handle_frame(&stated.head, stated.frame_len())?;
        if admitted == Admission::Drop {
            return Ok(());
        }
        let Some(frame) = body(&mut stream, &header, stated.frame_len()).await? else {
            self.ledger().handle_lost(&stated.head);
            return Ok(());
        };
        let arrived = self.clock.now();
        let frame = IntactFrame::check(frame).map_err(bytes)?;
        let pushed = lane.mailbox.push(Command::Frame(self.session, frame, arrived));
        pushed
            .map_err(|_| Ending::new(CloseCode::Busy, format!("lane {} has too many frames waiting", stated.head.lane)))
    }
}

impl Intake {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The whole frame; `None` if the channel ended first.
async fn body(stream: &mut RecvStream, header: &[u8], len: usize) -> Result<Option<Bytes>, Ending> {
    let mut frame = Vec::with_capacity(len);
    frame.extend_from_slice(header);
    while let Ok(chunk) = stream.read_chunk(usize::MAX, true).await {
        let Some(chunk) = chunk else {
            let missing = len - frame.len();
            return if missing == 0 { Ok(Some(frame.into())) } else { Err(bytes(DecodeError::Truncated { missing })) };
        };
        if frame.len() + chunk.bytes.len() > len {
            return Err(bytes(DecodeError::TrailingBytes(frame.len() + chunk.bytes.len() - len)));
        }
        frame.extend_from_slice(&chunk.bytes);
    }
    Ok(None)
}

fn bytes(error: DecodeError) -> Ending {
    PeerMisbehaved::Bytes(error).into()
}
