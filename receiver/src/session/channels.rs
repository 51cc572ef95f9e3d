//! The further channels of a session: they join, carry frames, and end without ending the session.

use std::collections::HashMap;
use std::sync::Arc;

use quinn::Connection;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use wire::close::CloseCode;
use wire::control::Control;
use wire::limits::CHANNELS_MAX;

use super::{Ending, frames};
use crate::link::ServedLink;
use crate::session::joinable::{Further, Registration};

/// The channels of one session beside channel 0.
pub(super) struct FurtherChannels {
    link: Arc<ServedLink>,
    session: u64,
    intake: frames::Intake,
    bad: mpsc::Sender<Ending>,
    /// Where the token is known, and who comes by it; nothing where the sender has but one channel.
    door: Option<(Registration, mpsc::Receiver<Further>)>,
    standing: HashMap<u32, Connection>,
    serving: JoinSet<u32>,
}

impl FurtherChannels {
    pub(super) fn new(
        link: Arc<ServedLink>,
        session: u64,
        intake: frames::Intake,
        bad: mpsc::Sender<Ending>,
        door: Option<(Registration, mpsc::Receiver<Further>)>,
    ) -> Self {
        link.set_channels(1);
        Self { link, session, intake, bad, door, standing: HashMap::new(), serving: JoinSet::new() }
    }

    /// Takes in who joins, until a channel has ended; what the sender is to be told of it. Every frame that it
    /// brought in full has been taken by then, and what was charged for others is free. Cancel-safe.
    pub(super) async fn ended(&mut self) -> Control {
        loop {
            tokio::select! {
                Some(further) = next(&mut self.door) => self.join(further),
                Some(Ok(channel)) = self.serving.join_next(), if !self.serving.is_empty() => {
                    if let Some(message) = self.leave(channel) {
                        return message;
                    }
                }
                else => std::future::pending().await,
            }
        }
    }

    /// The sender gives a channel up.
    pub(super) fn give_up(&self, channel: u32, detail: &str) {
        // One that is not there has been answered for.
        if let Some(connection) = self.standing.get(&channel) {
            tracing::warn!(session = self.session, channel, detail, "sender gives a channel up");
            connection.close(u32::from(CloseCode::Normal.number()).into(), b"given up");
        }
    }

    /// Ends all of them with the session.
    pub(super) fn end(&mut self, ending: &Ending) {
        for connection in self.standing.values() {
            connection.close(u32::from(ending.code.number()).into(), ending.detail.as_bytes());
        }
        self.serving.abort_all();
        self.link.set_channels(0);
    }

    fn join(&mut self, further: Further) {
        let Further { channel, connection, control: (reader, writer), place } = further;
        let refusal = if self.standing.contains_key(&channel) {
            Some((CloseCode::Misbehaved, format!("channel {channel} has joined already")))
        } else if self.standing.len() + 1 >= usize::from(CHANNELS_MAX) {
            Some((CloseCode::Busy, format!("the session has {CHANNELS_MAX} channels already, which is the limit")))
        } else {
            None
        };
        if let Some((code, detail)) = refusal {
            tracing::warn!(session = self.session, channel, peer = %connection.remote_address(), code = code.name(), detail, "channel refused");
            self.serving.spawn(async move {
                writer.close(code, &detail).await;
                connection.close(u32::from(code.number()).into(), detail.as_bytes());
                drop((reader, place));
                NOBODY
            });
            return;
        }
        tracing::info!(session = self.session, channel, peer = %connection.remote_address(), "channel joined");
        self.standing.insert(channel, connection.clone());
        self.link.set_channels(self.standing.len() + 1);
        let (intake, bad) = (self.intake.clone(), self.bad.clone());
        self.serving.spawn(async move {
            let mut writer = writer;
            // One that cannot be told has ended, as the intake will find.
            let _ = writer.send(&Control::ChannelOpen { channel }).await;
            frames::receive(connection, intake, bad).await;
            drop((reader, writer, place));
            channel
        });
    }

    fn leave(&mut self, channel: u32) -> Option<Control> {
        let connection = self.standing.remove(&channel)?;
        self.link.set_channels(self.standing.len() + 1);
        self.link.count_channel_end();
        let detail = connection.close_reason().map_or_else(|| "ended".to_owned(), |reason| reason.to_string());
        tracing::info!(session = self.session, channel, detail, "channel ended; the session goes on");
        Some(Control::ChannelClosed { channel, detail })
    }
}

/// The number of no further channel: one that was refused under whatever number.
const NOBODY: u32 = 0;

async fn next(door: &mut Option<(Registration, mpsc::Receiver<Further>)>) -> Option<Further> {
    match door {
        Some((_, joins)) => joins.recv().await,
        None => std::future::pending().await,
    }
}
