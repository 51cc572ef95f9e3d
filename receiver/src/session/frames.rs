//! Frames of a channel: each has a stream of its own, is charged from its first byte on, checked, and passed to its
//! lane. The receiver always reads, behind gaps too: credit stops a sender. QUIC's flow control never does, except for a
//! while on a link that has a rate ([`metering`](super::metering)).

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quinn::{Connection, RecvStream};
use service::lock::Lock;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use transport::clock::Clock;
use transport::endpoint::FIRST_WINDOW_BYTES;
use wire::close::{Close, CloseCode};
use wire::error::{DecodeError, PeerMisbehaved};
use wire::frame::{FrameHeader, IntactFrame};
use wire::units::Rate;

use super::assembly::Assembly;
use super::ledger::{Admission, Ledger};
use super::metering::{FrameChannel, Meter};
use crate::config::derived::STREAMS;
use crate::lane::handle::{Command, LaneHandle};
use crate::link::ServedLink;
use crate::link::arbiter::SessionId;

#[derive(Clone)]
pub(super) struct Intake {
    pub(super) session: SessionId,
    pub(super) lanes: Vec<LaneHandle>,
    pub(super) ledger: Arc<Lock<Ledger>>,
    pub(super) clock: Clock,
    pub(super) link: Arc<ServedLink>,
    /// Bandwidth that the link's senders may use.
    pub(super) rate: Option<Rate>,
}

/// Reads frames until the channel ends, and then those that had arrived in full. The first invalid one is reported
/// to `faults` and ends the session.
pub(super) async fn receive(channel: FrameChannel, intake: Intake, faults: mpsc::Sender<Close>) {
    let mut meter = intake.rate.map(|rate| Meter::new(Arc::clone(&intake.link), rate, &channel));
    let FrameChannel { connection, read } = channel;
    let mut admitting = pin!(async {
        match &mut meter {
            Some(meter) => match meter.run().await {},
            None => intake.admit(&connection),
        }
        std::future::pending::<()>().await
    });
    // QUIC bounds the number of streams that the sender may have open.
    let mut reading = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept_uni() => match stream {
                Ok(stream) => {
                    let intake = intake.clone();
                    let faults = faults.clone();
                    let stream = FrameStream { stream, read: Arc::clone(&read) };
                    reading.spawn(async move {
                        if let Err(close) = intake.frame(stream).await {
                            let _ = faults.try_send(close);
                        }
                    });
                }
                Err(_) => break,
            },
            Some(_) = reading.join_next(), if !reading.is_empty() => {}
            () = &mut admitting => {}
        }
    }
    while reading.join_next().await.is_some() {}
}

impl Intake {
    /// Opens a channel's windows for frames: as many bytes as the session may hold, because any channel may carry all of
    /// them. The ledger bounds the sum.
    fn admit(&self, connection: &Connection) {
        let window = self.ledger.lock().limit() + u64::from(FIRST_WINDOW_BYTES);
        transport::endpoint::admit(connection, window, STREAMS);
    }

    async fn frame(&self, mut stream: FrameStream) -> Result<(), Close> {
        let mut assembly = Assembly::default();
        let mut arriving = Arriving { ledger: &self.ledger, charged: None };
        arriving.handle(0)?;
        let stated = loop {
            match stream.read_into(&mut assembly).await? {
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
            if self.rate.is_some() {
                stream.discard().await;
            }
            return Ok(());
        }
        assembly.expect(stated.frame_len())?;
        loop {
            match stream.read_into(&mut assembly).await? {
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

/// Stream of one frame.
struct FrameStream {
    stream: RecvStream,
    /// Bytes that were read from all streams of the channel.
    read: Arc<AtomicU64>,
}

impl FrameStream {
    /// Reads what has arrived, behind gaps too.
    async fn read_into(&mut self, assembly: &mut Assembly) -> Result<Progress, DecodeError> {
        match self.stream.read_chunk(usize::MAX, false).await {
            Ok(Some(chunk)) => {
                self.read.fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
                assembly.handle_bytes(chunk.offset, &chunk.bytes).map(|()| Progress::More)
            }
            Ok(None) => Ok(Progress::End),
            Err(_) => Ok(Progress::Lost),
        }
    }

    /// Reads the rest, so that it counts. A stream that is dropped is stopped, and QUIC does not tell how much had arrived.
    async fn discard(&mut self) {
        while let Ok(Some(chunk)) = self.stream.read_chunk(usize::MAX, false).await {
            self.read.fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
        }
    }
}
