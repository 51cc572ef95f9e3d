//! A session's channels: the product's striping at the sender and its ledger at the receiver, with channels that die
//! under their frames and others that join.

use std::time::Duration;

use bytes::Bytes;
use receiver::session::ledger::{Admission, Ledger};
use sender::dispatch::striping::{Again, ChannelId, FrameId, Striping};
use transport::endpoint::Reading;
use wire::control::Control;
use wire::frame::{FrameHead, FrameHeader};
use wire::limits::CHANNELS_MAX;

use crate::bugs::Bug;
use crate::dice::Dice;
use crate::path::Path;
use crate::scenario::Scenario;

/// Nothing ever waits inside these channels.
const RATE: u64 = u64::MAX / 1_000_000;

/// A frame on its way over a channel.
#[derive(Debug, Clone)]
pub(crate) struct Carried {
    pub(crate) channel: ChannelId,
    pub(crate) id: FrameId,
    pub(crate) frame: Bytes,
}

/// One session's.
pub(crate) struct Stripes {
    striping: Striping,
    ledger: Ledger,
    next: ChannelId,
    /// Those that carry frames, channel 0 first.
    open: Vec<ChannelId>,
    bug: Option<Bug>,
    dice: Dice,
    /// Frames that went out once more.
    pub(crate) resent: u64,
    /// Of those, the ones that the receiver had already.
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

    /// A channel joins.
    pub(crate) fn join(&mut self) {
        if self.open.len() >= usize::from(CHANNELS_MAX) {
            return;
        }
        self.striping.open(self.next);
        self.striping.handle_gauge(self.next, Reading { rate: RATE, ..Reading::default() });
        self.open.push(self.next);
        self.next += 1;
    }

    /// Sends a frame over whichever channel has room.
    pub(crate) fn send(&mut self, now: Duration, frame: Bytes, path: &mut Path) {
        self.send_again(now, path);
        let channel = self.striping.poll_room(false).expect("nothing waits in any channel");
        let id = self.striping.hand(channel, frame.clone()).expect("the channel is open");
        path.send_frame(now, Carried { channel, id, frame });
    }

    /// A further channel dies, if there is one; the sender finds out, or the receiver does.
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

    /// A message of the sender about a channel; what the receiver answers.
    pub(crate) fn handle_at_receiver(&mut self, message: &Control, path: &mut Path) -> Result<Option<Control>, String> {
        match message {
            Control::ChannelClosed { channel, .. } => self.end_at_receiver(*channel, path).map(Some),
            _ => Ok(None),
        }
    }

    /// A message of the receiver about a channel.
    pub(crate) fn handle_at_sender(&mut self, message: &Control, now: Duration, path: &mut Path) {
        if let Control::ChannelClosed { channel, .. } = message {
            if self.bug != Some(Bug::CopiesForgotten) {
                self.striping.handle_closed(*channel);
            }
            self.send_again(now, path);
        }
    }

    /// The receiver tells the sender something: what that means for what it holds.
    pub(crate) fn note_reply(&mut self, reply: &Control) {
        match reply {
            Control::LaneOpen { lane, epoch } => self.ledger.open_lane(*lane, *epoch),
            Control::LaneClosed { lane, .. } => self.ledger.close_lane(*lane),
            Control::Ack { lane, sequence, .. } => self.ledger.handle_ack(*lane, *sequence),
            _ => {}
        }
    }

    /// A frame has arrived in full; the receiver holds it, or has it already. Whether the sender hears of that is
    /// another matter.
    pub(crate) fn arrive(&mut self, carried: &Carried) -> Result<bool, String> {
        let held = self.admit(&carried.frame)?.1 == Admission::Hold;
        self.dropped += u64::from(!held);
        if self.dice.chance(700) {
            self.striping.handle_delivered(carried.channel, carried.id);
        }
        Ok(held)
    }

    /// Bytes charged to the sender.
    pub(crate) fn charged(&self) -> u64 {
        self.ledger.held()
    }

    /// The receiver takes what has arrived of a channel, and forgets what has arrived in part.
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
