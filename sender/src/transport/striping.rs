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
    /// What the gauge shows more than `left`.
    offset: i128,
    /// Bytes per second; 0 while not known.
    rate: u64,
    /// Frames that are being closed for it.
    promised: usize,
}

impl Load {
    fn waiting(&self) -> u64 {
        self.given - self.left
    }

    fn has_room(&self, promises: usize) -> bool {
        let allowed = u128::from(self.rate) * WAITING.as_millis() / 1000;
        self.promised < promises && u128::from(self.waiting()) <= allowed
    }

    /// How long until what waits has left, in µs; what is promised counts as something.
    fn delay(&self) -> u128 {
        u128::from(self.waiting()) * 1_000_000 / u128::from(self.rate.max(1)) + self.promised as u128
    }
}

impl Striping {
    /// A channel may carry frames.
    pub fn open(&mut self, channel: ChannelId) {
        self.open.insert(channel, Load::default());
    }

    /// The channel that the next frame of a lane is to be closed for, if it is time; a promise until it is handed
    /// over, or taken back.
    pub fn poll_room(&mut self) -> Option<ChannelId> {
        if !self.again.is_empty() {
            return None;
        }
        let channel = self.roomy()?;
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
        let channel = self.roomy()?;
        let frame = self.again.pop_front()?;
        self.resent += 1;
        Some((channel, self.give(channel, frame.clone()), frame))
    }

    /// The whole frame is known to be at the receiver, or the receiver wants nothing of it.
    pub fn handle_settled(&mut self, channel: ChannelId, frame: FrameId) {
        if let Some(load) = self.open.get_mut(&channel) {
            load.frames.remove(&frame);
        }
    }

    /// What a channel's gauge shows: bytes that have left in all, whether all had, and bytes per second.
    pub fn handle_gauge(&mut self, channel: ChannelId, left: u64, dry: bool, rate: u64) {
        let Some(load) = self.open.get_mut(&channel) else { return };
        load.rate = rate;
        let shown = i128::from(left) - load.offset;
        load.left = if dry { load.given } else { u64::try_from(shown.max(0)).unwrap_or(u64::MAX).min(load.given) };
        load.offset = i128::from(left) - i128::from(load.left);
    }

    /// What the gauge shows when the channel has room again; `None` for one that is not open.
    pub fn room_at(&self, channel: ChannelId) -> Option<u64> {
        let load = self.open.get(&channel)?;
        let allowed = u128::from(load.rate) * WAITING.as_millis() / 1000;
        let left = load.given.saturating_sub(u64::try_from(allowed).unwrap_or(u64::MAX));
        Some(u64::try_from(i128::from(left) + load.offset).unwrap_or(0))
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
    fn roomy(&self) -> Option<ChannelId> {
        let promises = (CLOSING_AT_ONCE / self.open.len().max(1)).max(1);
        let open = self.open.iter().filter(|(_, load)| load.has_room(promises));
        open.min_by_key(|(_, load)| (load.delay(), load.frames.len())).map(|(&channel, _)| channel)
    }

    fn give(&mut self, channel: ChannelId, frame: Bytes) -> FrameId {
        let id = self.next;
        self.next += 1;
        if let Some(load) = self.open.get_mut(&channel) {
            load.given += frame.len() as u64;
            load.frames.insert(id, frame);
        }
        id
    }
}

#[cfg(test)]
mod tests;
