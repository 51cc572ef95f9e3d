//! Decides which channel carries a frame, and what happens to the frames of a channel that ended. Sans-IO.
//!
//! A frame goes to a channel with little data waiting inside QUIC, so that frames are packed late and a slow channel
//! is given less. A copy is kept until QUIC knows that the whole frame is at the receiver. When a channel is
//! abandoned, its copies wait until the receiver has said that it takes none of them from there; then they go
//! before everything else (wire-format.md#join-channel). Invariants: a frame that was handed over is with exactly one
//! channel, or waits to be sent again, or is delivered; nothing is sent again while a channel could still bring it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use transport::endpoint::Reading;
use wire::units::Rate;

use crate::config::derived;

/// Number of a channel; 0 is the channel of the handshake.
pub type ChannelId = u32;
/// Number of a frame among all that were handed over in a session.
pub type FrameId = u64;
/// Time that data waiting inside QUIC may take to leave: enough for a thread to wake and compress.
pub(crate) const WAITING: Duration = Duration::from_millis(15);
/// Frames that lanes may be closing for the channels at the same time.
const CLOSING_TOGETHER: usize = 4;

/// Frames and channels of one session.
#[derive(Debug, Default)]
pub struct Striping {
    open: BTreeMap<ChannelId, Load>,
    /// Frames of channels that were abandoned and that the receiver has not answered for.
    abandoned: BTreeMap<ChannelId, Vec<Bytes>>,
    again: VecDeque<Bytes>,
    next: FrameId,
}

/// Frame that is to be sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    pub channel: ChannelId,
    pub id: FrameId,
    pub bytes: Bytes,
}

/// Moment at which a channel has room again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomAt {
    /// The channel is not open.
    Never,
    Now,
    /// The gauge of the channel shows that this much has left, or that nothing waits after this much was sent.
    Once {
        left: u64,
        /// Bytes sent, as the gauge showed them when the last frame was given.
        sent: u64,
    },
}

#[derive(Debug, Default)]
struct Load {
    frames: BTreeMap<FrameId, Bytes>,
    /// Bytes of all frames that the channel was ever given.
    given: u64,
    /// Bytes of them that have left.
    left: u64,
    /// Bytes of the frames that are not delivered.
    undelivered: u64,
    /// Bytes by which the gauge shows more than `left`.
    offset: i128,
    reading: Reading,
    /// Bytes that the gauge showed as sent when the last frame was given.
    sent_before: u64,
    /// Frames that are being closed for the channel.
    promised: usize,
}

impl Load {
    /// Returns the bytes that wait inside QUIC. A delivered frame does not wait, even if the gauge says so.
    fn waiting(&self) -> u64 {
        (self.given - self.left).min(self.undelivered)
    }

    /// Returns the bytes that may wait.
    fn allowed(&self) -> u64 {
        u64::try_from(u128::from(self.reading.rate) * WAITING.as_millis() / 1000).unwrap_or(u64::MAX)
    }

    /// Returns the bytes that may wait so that a frame of a strict class still follows. It leaves before all waiting
    /// frames of other classes: the frames that those can have closed at the same time make no difference to it.
    fn allowed_strict(&self) -> u64 {
        let frame = derived::frame_bytes(Some(Rate::from_bits_per_second(self.reading.rate.saturating_mul(8))));
        self.allowed().saturating_add(frame * (CLOSING_TOGETHER as u64 + 1))
    }

    fn has_room(&self, promises: usize, strict: bool) -> bool {
        if strict {
            self.promised <= promises && self.waiting() <= self.allowed_strict()
        } else {
            self.promised < promises && self.waiting() <= self.allowed()
        }
    }

    /// Returns the time until the waiting bytes have left, in µs, plus one for each frame that is promised.
    fn delay(&self) -> u128 {
        u128::from(self.waiting()) * 1_000_000 / u128::from(self.reading.rate.max(1)) + self.promised as u128
    }
}

impl Striping {
    pub fn open(&mut self, channel: ChannelId) {
        self.open.insert(channel, Load::default());
    }

    /// Returns the channel that the next frame of a lane is to be closed for, if one has room. The room is promised
    /// until the frame is handed over or declined. Frames of strict classes wait for no other.
    pub fn poll_room(&mut self, strict: bool) -> Option<ChannelId> {
        if !self.again.is_empty() {
            return None;
        }
        let channel = self.roomy(strict)?;
        self.open.get_mut(&channel)?.promised += 1;
        Some(channel)
    }

    /// Takes a promise back.
    pub fn decline(&mut self, channel: ChannelId) {
        if let Some(load) = self.open.get_mut(&channel) {
            load.promised = load.promised.saturating_sub(1);
        }
    }

    /// Gives the promised frame to its channel. If that was abandoned meanwhile, the frame is sent again elsewhere.
    pub fn hand(&mut self, channel: ChannelId, frame: Bytes) -> Option<FrameId> {
        self.decline(channel);
        if self.open.contains_key(&channel) {
            return Some(self.give(channel, frame));
        }
        self.again.push_back(frame);
        None
    }

    /// Returns the next frame that is to be sent again, if a channel has room for it.
    pub fn poll_again(&mut self) -> Option<Again> {
        self.again.front()?;
        let channel = self.roomy(false)?;
        let bytes = self.again.pop_front()?;
        Some(Again { channel, id: self.give(channel, bytes.clone()), bytes })
    }

    /// Handles the news that the whole frame is at the receiver, or that the receiver needs nothing of it.
    pub fn handle_delivered(&mut self, channel: ChannelId, frame: FrameId) {
        let Some(load) = self.open.get_mut(&channel) else { return };
        if let Some(frame) = load.frames.remove(&frame) {
            load.undelivered -= frame.len() as u64;
        }
    }

    /// Handles a reading of a channel's gauge. It must be recent when the channel is given a frame.
    pub fn handle_gauge(&mut self, channel: ChannelId, reading: Reading) {
        let Some(load) = self.open.get_mut(&channel) else { return };
        load.reading = reading;
        let shown = i128::from(reading.left) - load.offset;
        // The channel has sent something since it was given a frame, and then nothing waited: all bytes have left.
        let dry = reading.dry_at > load.sent_before;
        load.left = if dry { load.given } else { u64::try_from(shown.max(0)).unwrap_or(u64::MAX).min(load.given) };
        load.offset = i128::from(reading.left) - i128::from(load.left);
    }

    /// Returns the reading of the gauge at which a channel has room again.
    pub fn room_at(&self, channel: ChannelId) -> RoomAt {
        let Some(load) = self.open.get(&channel) else { return RoomAt::Never };
        if load.waiting() <= load.allowed() {
            return RoomAt::Now;
        }
        let left = i128::from(load.given.saturating_sub(load.allowed())) + load.offset;
        RoomAt::Once { left: u64::try_from(left).unwrap_or(0), sent: load.sent_before }
    }

    /// Stops using a channel. Returns whether it was open.
    pub fn abandon(&mut self, channel: ChannelId) -> bool {
        let Some(load) = self.open.remove(&channel) else { return false };
        self.abandoned.insert(channel, load.frames.into_values().collect());
        true
    }

    /// Handles the receiver's word that it takes nothing more of a channel: frames that it may lack are sent again.
    pub fn handle_closed(&mut self, channel: ChannelId) {
        self.abandon(channel);
        self.again.extend(self.abandoned.remove(&channel).unwrap_or_default());
    }

    /// Returns whether the receiver has yet to answer for a channel that was abandoned.
    pub fn is_awaited(&self, channel: ChannelId) -> bool {
        self.abandoned.contains_key(&channel)
    }

    /// Returns whether a frame of a channel is not known to have arrived.
    pub fn is_outstanding(&self, channel: ChannelId) -> bool {
        self.open.get(&channel).is_some_and(|load| !load.frames.is_empty())
    }

    /// Returns the open channel with room from which a frame leaves soonest; among equals the one with fewer frames.
    fn roomy(&self, strict: bool) -> Option<ChannelId> {
        let promises = (CLOSING_TOGETHER / self.open.len().max(1)).max(1);
        let open = self.open.iter().filter(|(_, load)| load.has_room(promises, strict));
        open.min_by_key(|(_, load)| (load.delay(), load.frames.len())).map(|(&channel, _)| channel)
    }

    fn give(&mut self, channel: ChannelId, frame: Bytes) -> FrameId {
        let id = self.next;
        self.next += 1;
        if let Some(load) = self.open.get_mut(&channel) {
            load.given += frame.len() as u64;
            load.undelivered += frame.len() as u64;
            load.sent_before = load.reading.sent;
            load.frames.insert(id, frame);
        }
        id
    }
}

#[cfg(test)]
mod tests;
