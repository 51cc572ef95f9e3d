//! The extra channels of a session: they join, carry frames, and end without ending the session.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use quinn::Connection;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use wire::close::{Close, CloseCode};
use wire::control::Control;
use wire::error::DecodeError;
use wire::limits::CHANNELS_MAX;

use super::frames::{self, Intake};
use super::joinable::{ExtraChannel, JoinListener};
use super::metering::FrameChannel;
use super::refusal::Refusal;
use crate::link::ServedLink;

/// The channels of one session other than channel 0.
pub(super) struct ExtraChannels {
    link: Arc<ServedLink>,
    intake: Intake,
    /// The session's queue of faults.
    faults: mpsc::Sender<Close>,
    /// The channels that join; `None` where the sender has one channel only.
    listener: Option<JoinListener>,
    open: HashMap<u32, Connection>,
    /// Returns the number of a channel that has ended, or `None` for one that was refused.
    serving: JoinSet<Option<u32>>,
}

impl ExtraChannels {
    pub(super) fn new(
        link: Arc<ServedLink>,
        intake: Intake,
        faults: mpsc::Sender<Close>,
        listener: Option<JoinListener>,
    ) -> Self {
        link.counts.channels.store(1, Ordering::Relaxed);
        Self { link, intake, faults, listener, open: HashMap::new(), serving: JoinSet::new() }
    }

    /// Serves channels until one has ended, and returns the message about it for the sender. Every frame that the
    /// channel brought in full has been taken by then, and the credit of the others is free. Cancel-safe.
    pub(super) async fn ended(&mut self) -> Control {
        loop {
            tokio::select! {
                Some(extra) = next(&mut self.listener) => self.join(extra),
                Some(Ok(channel)) = self.serving.join_next(), if !self.serving.is_empty() => {
                    if let Some(message) = channel.and_then(|channel| self.leave(channel)) {
                        return message;
                    }
                }
                else => std::future::pending().await,
            }
        }
    }

    /// Closes a channel that the sender has abandoned; one that is not open was answered before.
    pub(super) fn abandon(&self, channel: u32, detail: &str) {
        if let Some(connection) = self.open.get(&channel) {
            tracing::warn!(session = self.intake.session, channel, detail, "sender has abandoned a channel");
            transport::control::close(connection, &Close::normal("abandoned by the sender"));
        }
    }

    pub(super) fn end(&mut self, close: &Close) {
        for connection in self.open.values() {
            transport::control::close(connection, close);
        }
        self.serving.abort_all();
        self.link.counts.channels.store(0, Ordering::Relaxed);
    }

    fn join(&mut self, extra: ExtraChannel) {
        let session = self.intake.session;
        let ExtraChannel { channel, connection, reader, mut writer, place } = extra;
        let peer = connection.remote_address();
        let refusal = if self.open.contains_key(&channel) {
            Some(Close::new(CloseCode::Misbehaved, format!("channel {channel} has joined already")))
        } else if self.open.len() + 1 >= usize::from(CHANNELS_MAX) {
            let detail = format!("the session has {CHANNELS_MAX} channels already, which is the limit");
            Some(Close::new(CloseCode::Busy, detail))
        } else {
            None
        };
        if let Some(close) = refusal {
            tracing::warn!(session, channel, %peer, code = close.code.name(), detail = close.detail, "channel refused");
            self.serving.spawn(async move {
                Refusal::new(close, writer).send(&connection).await;
                drop((reader, place));
                None
            });
            return;
        }
        tracing::info!(session, channel, %peer, "channel joined");
        self.open.insert(channel, connection.clone());
        self.link.counts.channels.store(self.open.len() + 1, Ordering::Relaxed);
        let intake = self.intake.clone();
        let faults = self.faults.clone();
        let frames = FrameChannel { connection, read: reader.read_bytes() };
        self.serving.spawn(async move {
            // If this fails, the channel has ended, which the next line finds.
            let _ = writer.send(&Control::ChannelOpen { channel }).await;
            // A sender writes nothing more on it.
            let excess = reader.excess();
            tokio::select! {
                () = frames::receive(frames, intake, faults.clone()) => {}
                bytes = excess => drop(faults.try_send(DecodeError::TrailingBytes(bytes).into())),
            }
            drop((writer, place));
            Some(channel)
        });
    }

    fn leave(&mut self, channel: u32) -> Option<Control> {
        let connection = self.open.remove(&channel)?;
        self.link.counts.channels.store(self.open.len() + 1, Ordering::Relaxed);
        self.link.counts.channel_ends.fetch_add(1, Ordering::Relaxed);
        let detail = connection.close_reason().map_or_else(|| "ended".to_owned(), |reason| reason.to_string());
        tracing::info!(session = self.intake.session, channel, detail, "channel ended; the session continues");
        Some(Control::ChannelClosed { channel, detail })
    }
}

async fn next(listener: &mut Option<JoinListener>) -> Option<ExtraChannel> {
    match listener {
        Some(listener) => listener.joins.recv().await,
        None => std::future::pending().await,
    }
}
