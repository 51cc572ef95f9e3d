//! Control stream: whole control messages on a QUIC stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quinn::{ApplicationClose, Connection, ReadExactError, RecvStream, SendStream, WriteError};
use tokio::sync::mpsc;
use wire::close::{Close, CloseCode};
use wire::codec;
use wire::control::Control;
use wire::error::DecodeError;
use wire::limits::CONTROL_BYTES_MAX;
use wire::text::{CLOSE_TEXT_MAX, shorten};

/// Priority of the control stream, above every frame: control messages never wait behind data.
const CONTROL_PRIORITY: i32 = 100;

/// Bytes of the first message of a channel. The longest is a hello with 64 classes, of 64 B names each.
const FIRST_MESSAGE_BYTES_MAX: usize = 32 * 1024;

/// Closes a connection with a code and a sentence for the other end.
pub fn close(connection: &Connection, close: &Close) {
    connection.close(u32::from(close.code.number()).into(), close.detail.as_bytes());
}

/// Returns the code and the sentence with which the other end closed a connection.
pub fn received_close(close: &ApplicationClose) -> Close {
    // A code beyond 16 bits is none of this protocol.
    let code = CloseCode::from(u16::try_from(u64::from(close.error_code)).unwrap_or(u16::MAX));
    let mut detail = String::from_utf8_lossy(&close.reason).into_owned();
    shorten(&mut detail, CLOSE_TEXT_MAX);
    Close::new(code, detail)
}

/// Reason why no further control message was read.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("control stream ended: {0}")]
    Ended(#[from] ReadExactError),
    #[error("invalid control message: {0}")]
    Bytes(#[from] DecodeError),
}

#[derive(Debug)]
pub struct ControlReader {
    stream: RecvStream,
    /// Bytes that were read.
    read: Arc<AtomicU64>,
}

#[derive(Debug)]
pub struct ControlWriter(SendStream);

impl ControlReader {
    pub fn new(stream: RecvStream) -> Self {
        Self { stream, read: Arc::default() }
    }

    /// Returns the count of the bytes that were read. Other readers of the channel may add theirs.
    pub fn read_bytes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.read)
    }

    /// Reads the next message, with its texts for operators shortened. It is not cancel-safe: keep it in a task of its own.
    pub async fn next(&mut self) -> Result<Control, ControlError> {
        self.next_within(CONTROL_BYTES_MAX).await
    }

    /// Reads the first message of a channel, which is short.
    pub async fn first(&mut self) -> Result<Control, ControlError> {
        self.next_within(FIRST_MESSAGE_BYTES_MAX).await
    }

    /// Reads a message of at most `max` bytes. It takes memory only for those that have arrived.
    async fn next_within(&mut self, max: usize) -> Result<Control, ControlError> {
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix).await?;
        self.read.fetch_add(prefix.len() as u64, Ordering::Relaxed);
        let len = codec::control_length(prefix)?;
        if len > max {
            let limit = max as u64;
            return Err(DecodeError::OverLimit { field: "first message", found: len as u64, limit }.into());
        }
        let mut body = Vec::new();
        while body.len() < len {
            let chunk = self.stream.read_chunk(len - body.len(), true).await.map_err(ReadExactError::ReadError)?;
            let chunk = chunk.ok_or(ReadExactError::FinishedEarly(body.len()))?;
            self.read.fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
            body.extend_from_slice(&chunk.bytes);
        }
        Ok(codec::decode_control(&body)?.shortened())
    }

    /// Waits for bytes on a stream that carries no further message. Returns their number.
    pub async fn excess(mut self) -> usize {
        match self.stream.read_chunk(usize::MAX, true).await {
            Ok(Some(chunk)) => chunk.bytes.len(),
            _ => std::future::pending().await,
        }
    }

    /// Passes every message to `into` until the stream ends or the receiver of `into` is dropped.
    pub async fn run(mut self, into: mpsc::Sender<Control>) -> Result<(), DecodeError> {
        loop {
            match self.next().await {
                Ok(message) => {
                    if into.send(message).await.is_err() {
                        return Ok(());
                    }
                }
                Err(ControlError::Ended(error)) => {
                    tracing::debug!(%error, "control stream ended");
                    return Ok(());
                }
                Err(ControlError::Bytes(error)) => return Err(error),
            }
        }
    }
}

impl ControlWriter {
    /// Makes a writer to the sending half of a control stream, with priority over all other streams.
    pub fn new(stream: SendStream) -> Self {
        // It fails only on a closed stream, which the first write reports.
        let _ = stream.set_priority(CONTROL_PRIORITY);
        Self(stream)
    }

    pub async fn send(&mut self, message: &Control) -> Result<(), WriteError> {
        self.0.write_all(&codec::encode_control(message)).await
    }

    /// Sends every message from `from` until it ends, then finishes the stream.
    pub async fn run(mut self, mut from: mpsc::Receiver<Control>) {
        while let Some(message) = from.recv().await {
            if self.send(&message).await.is_err() {
                return;
            }
        }
        self.finish().await;
    }

    /// Sends the reason for the session's end, within one second. A peer that does not read it gets the reason when the
    /// channel is closed.
    pub async fn close(mut self, close: Close) {
        let sent = async {
            if self.send(&Control::Close(close)).await.is_ok() {
                self.finish().await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), sent).await;
    }

    /// Finishes the stream, and waits until the other end has received all of it.
    pub async fn finish(mut self) {
        if self.0.finish().is_ok() {
            let _ = self.0.stopped().await;
        }
    }
}
