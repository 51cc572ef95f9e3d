//! Which channel carries a frame, and what becomes of the frames of one that ended. Sans-IO.
//!
//! A frame goes to a channel of which little waits inside QUIC, so that frames are packed late and a slow channel
//! is given less. A copy is kept until QUIC knows the whole frame at the receiver. When a channel is given up, its
//! copies wait until the receiver has said that it takes no more of them from there, and then go before everything
//! else (wire-format.md#join-channel). Invariants: a frame that was handed over is with exactly one channel, or
//! waits to be sent again, or is settled; nothing is sent again while a channel could still bring it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use transport::endpoint::Reading;
use wire::units::Rate;

use crate::config::derived;

/// A channel's number; 0 is the channel of the handshake.
pub type ChannelId = u32;

/// A frame's number among all that were handed over in a session.
pub type FrameId = u64;

/// How long what waits inside QUIC may take to leave: as much as hides that a thread is woken and compresses, and
/// little enough that a lane still packs late.
pub const WAITING: Duration = Duration::from_millis(15);

/// Frames that lanes may be closing for the transport at once.
const CLOSING_AT_ONCE: usize = 4;

/// The frames and channels of one session.
#[derive(Debug, Default)]
pub struct Striping {
    open: BTreeMap<ChannelId, Load>,
    /// Given up, and not yet answered for by the receiver.
    given_up: BTreeMap<ChannelId, Vec<Bytes>>,
    again: VecDeque<Bytes>,
    next: FrameId,
    resent: u64,
}

/// What one channel has been given.
#[derive(Debug, Default)]
struct Load {
    frames: BTreeMap<FrameId, Bytes>,
    /// Bytes of all frames it was ever given.
    given: u64,
    /// How many of them have left.
    left: u64,
    /// Bytes of those that are not settled.
    unsettled: u64,
    /// What the gauge shows more than `left`.
    offset: i128,
    /// What the gauge showed last.
    reading: Reading,
    /// What the gauge showed as sent when the last frame was given.
    sent_before: u64,
    /// Frames that are being closed for it.
    promised: usize,
}

impl Load {
    /// What waits inside QUIC, in bytes. What is settled does not, whatever was counted.
    fn waiting(&self) -> u64 {
        (self.given - self.left).min(self.unsettled)
    }

    /// What may wait.
    fn allowed(&self) -> u64 {
        u64::try_from(u128::from(self.reading.rate) * WAITING.as_millis() / 1000).unwrap_or(u64::MAX)
    }

    /// What may wait so that a frame of a strict class still follows. It leaves before all that waits of others: as much
    /// as they can have closed at once makes no difference to it.
    fn allowed_strict(&self) -> u64 {
        let frame = derived::frame_bytes(Some(Rate::from_bits_per_second(self.reading.rate.saturating_mul(8))));
        self.allowed().saturating_add(frame * (CLOSING_AT_ONCE as u64 + 1))
    }

    fn has_room(&self, promises: usize, strict: bool) -> bool {
        let (promises, allowed) =
            if strict { (promises + 1, self.allowed_strict()) } else { (promises, self.allowed()) };
        self.promised < promises && self.waiting() <= allowed
    }

    /// How long until what waits has left, in µs; what is promised counts as something.
    fn delay(&self) -> u128 {
        u128::from(self.waiting()) * 1_000_000 / u128::from(self.reading.rate.max(1)) + self.promised as u128
    }
}

impl Striping {
    /// A channel may carry frames.
    pub fn open(&mut self, channel: ChannelId) {
        self.open.insert(channel, Load::default());
    }

    /// The channel that the next frame of a lane is to be closed for, if it is time; a promise until it is handed
    /// over, or taken back. Frames of strict classes wait for no other.
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

    /// Gives the promised frame to its channel. Where that was given up meanwhile, it waits to be sent like those
    /// that are sent again.
    pub fn hand(&mut self, channel: ChannelId, frame: Bytes) -> Option<FrameId> {
        self.decline(channel);
        if self.open.contains_key(&channel) {
            return Some(self.give(channel, frame));
        }
        self.again.push_back(frame);
        None
    }

    /// The next frame that is to be sent again, and over which channel, if one has room.
    pub fn poll_again(&mut self) -> Option<(ChannelId, FrameId, Bytes)> {
        self.again.front()?;
        let channel = self.roomy(false)?;
        let frame = self.again.pop_front()?;
        self.resent += 1;
        Some((channel, self.give(channel, frame.clone()), frame))
    }

    /// The whole frame is known to be at the receiver, or the receiver wants nothing of it.
    pub fn handle_settled(&mut self, channel: ChannelId, frame: FrameId) {
        let Some(load) = self.open.get_mut(&channel) else { return };
        if let Some(frame) = load.frames.remove(&frame) {
            load.unsettled -= frame.len() as u64;
        }
    }

    /// What a channel's gauge shows now; to be told before it is given a frame.
    pub fn handle_gauge(&mut self, channel: ChannelId, reading: Reading) {
        let Some(load) = self.open.get_mut(&channel) else { return };
        load.reading = reading;
        let shown = i128::from(reading.left) - load.offset;
        // It has sent something since it was given a frame, and then nothing waited: whatever was counted, all has left.
        let dry = reading.dry_at > load.sent_before;
        load.left = if dry { load.given } else { u64::try_from(shown.max(0)).unwrap_or(u64::MAX).min(load.given) };
        load.offset = i128::from(reading.left) - i128::from(load.left);
    }

    /// What the gauge shows when a channel has room again: so much has left, or nothing waits after so much was sent.
    /// Nothing where it has room; `None` for a channel that is not open.
    pub fn room_at(&self, channel: ChannelId) -> Option<Option<(u64, u64)>> {
        let load = self.open.get(&channel)?;
        if load.waiting() <= load.allowed() {
            return Some(None);
        }
        let left = i128::from(load.given.saturating_sub(load.allowed())) + load.offset;
        Some(Some((u64::try_from(left).unwrap_or(0), load.sent_before)))
    }

    /// A channel is to carry nothing more; whether it was open.
    pub fn give_up(&mut self, channel: ChannelId) -> bool {
        let Some(load) = self.open.remove(&channel) else { return false };
        self.given_up.insert(channel, load.frames.into_values().collect());
        true
    }

    /// The receiver takes nothing more of a channel: what it may not have is to be sent again.
    pub fn handle_closed(&mut self, channel: ChannelId) {
        self.give_up(channel);
        self.again.extend(self.given_up.remove(&channel).unwrap_or_default());
    }

    /// Whether the receiver has yet to answer for a channel that was given up.
    pub fn is_awaited(&self, channel: ChannelId) -> bool {
        self.given_up.contains_key(&channel)
    }

    /// Whether something of a channel is not known to have arrived.
    pub fn is_outstanding(&self, channel: ChannelId) -> bool {
        self.open.get(&channel).is_some_and(|load| !load.frames.is_empty())
    }

    /// Frames that were sent once more.
    pub fn resent(&self) -> u64 {
        self.resent
    }

    /// Bytes of copies that are kept.
    pub fn kept(&self) -> u64 {
        let open = self.open.values().flat_map(|load| load.frames.values());
        open.chain(self.given_up.values().flatten()).chain(&self.again).map(|frame| frame.len() as u64).sum()
    }

    /// The open channel with room from which a frame leaves soonest; among equals the one with fewer frames.
    fn roomy(&self, strict: bool) -> Option<ChannelId> {
        let promises = (CLOSING_AT_ONCE / self.open.len().max(1)).max(1);
        let open = self.open.iter().filter(|(_, load)| load.has_room(promises, strict));
        open.min_by_key(|(_, load)| (load.delay(), load.frames.len())).map(|(&channel, _)| channel)
    }

    fn give(&mut self, channel: ChannelId, frame: Bytes) -> FrameId {
        let id = self.next;
        self.next += 1;
        if let Some(load) = self.open.get_mut(&channel) {
            load.given += frame.len() as u64;
            load.unsettled += frame.len() as u64;
            load.sent_before = load.reading.sent;
            load.frames.insert(id, frame);
        }
        id
    }
}

#[cfg(test)]
mod tests;
