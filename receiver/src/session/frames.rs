//! Frames of a channel: each has a stream of its own, is charged from its first byte on, checked, and passed to its
//! lane. The receiver always reads, behind gaps too: credit stops a sender, never QUIC's flow control.

use std::sync::Arc;

use quinn::{Connection, RecvStream};
use service::lock::Lock;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use transport::clock::Clock;
use transport::endpoint::FIRST_WINDOW_BYTES;
use wire::close::{Close, CloseCode};
use wire::error::{DecodeError, PeerMisbehaved};
use wire::frame::{FrameHeader, IntactFrame};

use super::assembly::Assembly;
use super::ledger::{Admission, Ledger};
use crate::config::derived::STREAMS;
use crate::lane::handle::{Command, LaneHandle};
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
    /// Opens a channel's windows for frames: as many bytes as the session may hold, because any channel may carry all of
    /// them. The ledger bounds the sum.
    pub(super) fn admit(&self, connection: &Connection) {
        let window = self.ledger.lock().limit() + u64::from(FIRST_WINDOW_BYTES);
        transport::endpoint::admit(connection, window, STREAMS);
    }

    async fn frame(&self, mut stream: RecvStream) -> Result<(), Close> {
        let mut assembly = Assembly::default();
        let mut arriving = Arriving { ledger: &self.ledger, charged: None };
        arriving.handle(0)?;
        let stated = loop {
            match read(&mut stream, &mut assembly).await? {
                Progress::More => arriving.handle(assembly.extent())?,
                Progress::End => return assembly.finish().map(drop).map_err(Close::from),
                Progress::Lost => return Ok(()),
            }
            if let Some(header) = assembly.header() {
                break FrameHeader::peek(header)?;
            }
        };
        let lane = stated.head.lane;
        let Some(handle) = self.lanes.get(usize::from(lane.0)) else {
            return Err(PeerMisbehaved::UnknownLane(lane).into());
        };
        drop(arriving);
        if self.ledger.lock().handle_frame(&stated.head, stated.frame_len())? == Admission::Drop {
            return Ok(());
        }
        assembly.expect(stated.frame_len())?;
        loop {
            match read(&mut stream, &mut assembly).await? {
                Progress::More => {}
                Progress::End => break,
                Progress::Lost => {
                    self.ledger.lock().handle_lost(&stated.head);
                    return Ok(());
                }
            }
        }
        let arrived = self.clock.now();
        let frame = IntactFrame::check(assembly.finish()?)?;
        let pushed = handle.mailbox.push(Command::Frame(self.session, frame, arrived));
        pushed.map_err(|_| Close::new(CloseCode::Busy, format!("lane {lane} has too many frames waiting")))
    }
}

/// Charge of a frame whose header has not arrived; dropping it frees the charge.
struct Arriving<'l> {
    ledger: &'l Lock<Ledger>,
    charged: Option<usize>,
}

impl Arriving<'_> {
    fn handle(&mut self, len: usize) -> Result<(), PeerMisbehaved> {
        let before = self.charged.replace(len);
        self.ledger.lock().handle_unknown(before, len)
    }
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        self.ledger.lock().forget_unknown(self.charged);
    }
}

enum Progress {
    More,
    /// The stream has ended, with all of its bytes.
    End,
    /// The channel is gone. The sender repeats incomplete frames, unless the session is gone too.
    Lost,
}

/// Reads what has arrived, behind gaps too.
async fn read(stream: &mut RecvStream, assembly: &mut Assembly) -> Result<Progress, DecodeError> {
    match stream.read_chunk(usize::MAX, false).await {
        Ok(Some(chunk)) => assembly.handle_bytes(chunk.offset, &chunk.bytes).map(|()| Progress::More),
        Ok(None) => Ok(Progress::End),
        Err(_) => Ok(Progress::Lost),
    }
}
