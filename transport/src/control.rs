//! The control stream over QUIC: whole messages in, whole messages out.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quinn::{ReadExactError, RecvStream, SendStream, WriteError};
use tokio::sync::mpsc;
use wire::close::CloseCode;
use wire::codec;
use wire::control::Control;
use wire::error::DecodeError;

/// Above every frame: control is never behind data.
const CONTROL_PRIORITY: i32 = 100;

/// Why no further control message came.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The stream or its connection ended.
    #[error("control stream ended: {0}")]
    Ended(#[from] ReadExactError),
    /// The bytes are no control message.
    #[error("control message: {0}")]
    Bytes(#[from] DecodeError),
}

/// Reads control messages.
#[derive(Debug)]
pub struct ControlReader(RecvStream);

/// Writes control messages.
#[derive(Debug)]
pub struct ControlWriter(SendStream);

impl ControlReader {
    /// Reads from the receiving half of a control stream.
    pub fn new(stream: RecvStream) -> Self {
        Self(stream)
    }

    /// The next message. Not cancel-safe: keep it in a task of its own.
    pub async fn next(&mut self) -> Result<Control, ControlError> {
        let mut prefix = [0; 4];
        self.0.read_exact(&mut prefix).await?;
        let mut body = vec![0; codec::control_length(prefix)?];
        self.0.read_exact(&mut body).await?;
        Ok(codec::decode_control(&body)?)
    }

    /// Hands every message to `into` until the stream ends or nobody listens; says if it ended with bytes that
    /// are no message.
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

/// This machine's clock as [`Control::Clock`] carries it, ns since the Unix epoch.
pub fn clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

impl ControlWriter {
    /// Writes to the sending half of a control stream, before everything else on its connection.
    pub fn new(stream: SendStream) -> Self {
        // Fails only on a closed stream, which the first write reports.
        let _ = stream.set_priority(CONTROL_PRIORITY);
        Self(stream)
    }

    /// Sends one message.
    pub async fn send(&mut self, message: &Control) -> Result<(), WriteError> {
        self.0.write_all(&codec::encode_control(message)).await
    }

    /// Sends what comes from `from` until that ends, then finishes the stream.
    pub async fn run(mut self, mut from: mpsc::Receiver<Control>) {
        while let Some(message) = from.recv().await {
            if self.send(&message).await.is_err() {
                return;
            }
        }
        self.finish().await;
    }

    /// Tells the other end why the session is over, within a second: one that does not listen learns it from
    /// the channel's end.
    pub async fn close(mut self, code: CloseCode, detail: &str) {
        let close = Control::Close { code, detail: detail.to_owned() };
        let said = async {
            if self.send(&close).await.is_ok() {
                self.finish().await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), said).await;
    }

    /// Says that nothing more comes, and waits until the other end has it all.
    pub async fn finish(mut self) {
        if self.0.finish().is_ok() {
            let _ = self.0.stopped().await;
        }
    }
}
