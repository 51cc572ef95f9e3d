//! The channels of a session: the product's striping at the sender and its ledger at the receiver, with channels that
//! die with frames in flight, and others that join.

use std::time::Duration;

use bytes::Bytes;
use receiver::{Admission, Ledger};
use sender::{Again, ChannelId, Striping};
use transport::endpoint::Reading;
use wire::control::Control;
use wire::frame::{FrameHead, FrameHeader};
use wire::limits::CHANNELS_MAX;

use crate::bugs::Bug;
use crate::dice::Dice;
use crate::path::{Carried, Path};
use crate::scenario::Scenario;

/// Rate of a channel, in bytes per second: so high that nothing waits inside a channel.
const RATE: u64 = u64::MAX / 1_000_000;

/// Channels of one session.
pub(crate) struct Stripes {
    striping: Striping,
    ledger: Ledger,
    next: ChannelId,
    /// Open channels, channel 0 first.
    open: Vec<ChannelId>,
    bug: Option<Bug>,
    dice: Dice,
    /// Number of frames that were sent again.
    pub(crate) resent: u64,
    /// Number of those that the receiver already had.
    pub(crate) dropped: u64,
}

impl Stripes {
    pub(crate) fn new(scenario: &Scenario, dice: &Dice) -> Self {
        let mut stripes = Self {
            striping: Striping::default(),
            ledger: Ledger::new(scenario.credit(), scenario.lanes()),
            next: 0,
            open: Vec::new(),
            bug: scenario.bug,
            dice: dice.clone(),
            resent: 0,
            dropped: 0,
        };
        (0..scenario.channels).for_each(|_| stripes.join());
        stripes
    }

    /// Adds a channel to the session.
    pub(crate) fn join(&mut self) {
        if self.open.len() >= usize::from(CHANNELS_MAX) {
            return;
        }
        self.striping.open(self.next);
        self.striping.handle_gauge(self.next, Reading { rate: RATE, ..Reading::default() });
        self.open.push(self.next);
        self.next += 1;
    }

    /// Sends a frame on a channel that has room.
    pub(crate) fn send(&mut self, now: Duration, frame: Bytes, path: &mut Path) {
        self.send_again(now, path);
        let channel = self.striping.poll_room(false).expect("nothing waits in any channel");
        let id = self.striping.hand(channel, frame.clone()).expect("the channel is open");
        path.send_frame(now, Carried { channel, id, frame });
    }

    /// Kills an extra channel, if there is one. Either the sender or the receiver notices.
    pub(crate) fn kill_one(&mut self, now: Duration, path: &mut Path) -> Option<ChannelId> {
        if self.open.len() < 2 {
            return None;
        }
        let channel = self.open.remove(self.dice.within(1, self.open.len() as u64 - 1) as usize);
        let closed = Control::ChannelClosed { channel, detail: "simulated".to_owned() };
        if self.dice.chance(500) {
            self.striping.abandon(channel);
            path.send_to_receiver(now, closed);
        } else if let Ok(answer) = self.end_at_receiver(channel, path) {
            path.send_to_sender(now, answer);
        }
        Some(channel)
    }

    /// Handles a message of the sender about a channel; returns the receiver's reply.
    pub(crate) fn handle_at_receiver(&mut self, message: &Control, path: &mut Path) -> Result<Option<Control>, String> {
        match message {
            Control::ChannelClosed { channel, .. } => self.end_at_receiver(*channel, path).map(Some),
            _ => Ok(None),
        }
    }

    /// Handles a message of the receiver about a channel.
    pub(crate) fn handle_at_sender(&mut self, message: &Control, now: Duration, path: &mut Path) {
        if let Control::ChannelClosed { channel, .. } = message {
            if self.bug != Some(Bug::CopiesForgotten) {
                self.striping.handle_closed(*channel);
            }
            self.send_again(now, path);
        }
    }

    /// Updates the ledger for a message from the receiver to the sender.
    pub(crate) fn note_reply(&mut self, reply: &Control) {
        match reply {
            Control::LaneOpen { lane, epoch } => self.ledger.open_lane(*lane, *epoch),
            Control::LaneClosed { lane, .. } => self.ledger.close_lane(*lane),
            Control::Ack { lane, sequence, .. } => self.ledger.handle_ack(*lane, *sequence),
            _ => {}
        }
    }

    /// Handles a frame that has arrived in full. Returns whether the receiver did not have it yet. The sender may or
    /// may not learn that it arrived.
    pub(crate) fn handle_arrival(&mut self, carried: &Carried) -> Result<bool, String> {
        let held = self.admit(&carried.frame)?.1 == Admission::Hold;
        self.dropped += u64::from(!held);
        if self.dice.chance(700) {
            self.striping.handle_delivered(carried.channel, carried.id);
        }
        Ok(held)
    }

    /// Returns the bytes charged to the sender.
    pub(crate) fn charged(&self) -> u64 {
        self.ledger.held()
    }

    /// Ends a channel at the receiver, which discards frames that have arrived in part.
    fn end_at_receiver(&mut self, channel: ChannelId, path: &mut Path) -> Result<Control, String> {
        for cut in path.cut(channel) {
            if self.dice.chance(500) {
                let (head, admission) = self.admit(&cut.frame)?;
                if admission == Admission::Hold && self.bug != Some(Bug::PartsStayCharged) {
                    self.ledger.handle_lost(&head);
                }
            }
        }
        Ok(Control::ChannelClosed { channel, detail: "simulated".to_owned() })
    }

    fn admit(&mut self, frame: &Bytes) -> Result<(FrameHead, Admission), String> {
        let head = FrameHeader::check(frame).map_err(|error| error.to_string())?.head;
        let admission = self.ledger.handle_frame(&head, frame.len()).map_err(|error| error.to_string())?;
        Ok((head, admission))
    }

    fn send_again(&mut self, now: Duration, path: &mut Path) {
        while let Some(Again { channel, id, bytes: frame }) = self.striping.poll_again() {
            self.resent += 1;
            path.send_frame(now, Carried { channel, id, frame });
        }
    }
}
