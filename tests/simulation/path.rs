//! The path between a sender and a receiver. Control messages arrive in order, frames in any order. Both are lost with
//! the session, but frames that were in flight may still arrive long after.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use sender::{ChannelId, FrameId};
use wire::control::Control;

use crate::dice::Dice;

/// Frame in flight on a channel.
#[derive(Debug, Clone)]
pub(crate) struct Carried {
    pub(crate) channel: ChannelId,
    pub(crate) id: FrameId,
    pub(crate) frame: Bytes,
}

/// Path of one session at a time.
pub(crate) struct Path {
    dice: Dice,
    frames: Vec<(Duration, Carried)>,
    to_receiver: VecDeque<(Duration, Control)>,
    to_sender: VecDeque<(Duration, Control)>,
    strays: Vec<(Duration, Bytes)>,
    /// Longest delay of a message or frame, in milliseconds.
    delay_max: u64,
    pub(crate) frames_sent: u64,
}

impl Path {
    pub(crate) fn new(dice: Dice) -> Self {
        let delay_max = [1, 20, 300][dice.below(3) as usize];
        Self {
            dice,
            frames: Vec::new(),
            to_receiver: VecDeque::new(),
            to_sender: VecDeque::new(),
            strays: Vec::new(),
            delay_max,
            frames_sent: 0,
        }
    }

    pub(crate) fn send_frame(&mut self, now: Duration, frame: Carried) {
        self.frames_sent += 1;
        self.frames.push((now + self.delay(), frame));
    }

    pub(crate) fn send_to_receiver(&mut self, now: Duration, message: Control) {
        let at = now + self.delay();
        self.to_receiver.push_back((at, message));
    }

    pub(crate) fn send_to_sender(&mut self, now: Duration, message: Control) {
        let at = now + self.delay();
        self.to_sender.push_back((at, message));
    }

    /// Returns a frame that arrives now.
    pub(crate) fn poll_frame(&mut self, now: Duration) -> Option<Carried> {
        let index = self.frames.iter().position(|(at, _)| *at <= now)?;
        Some(self.frames.swap_remove(index).1)
    }

    /// Returns a frame of an earlier session that arrives now.
    pub(crate) fn poll_stray(&mut self, now: Duration) -> Option<Bytes> {
        let index = self.strays.iter().position(|(at, _)| *at <= now)?;
        Some(self.strays.swap_remove(index).1)
    }

    pub(crate) fn poll_to_receiver(&mut self, now: Duration) -> Option<Control> {
        due(&mut self.to_receiver, now)
    }

    pub(crate) fn poll_to_sender(&mut self, now: Duration) -> Option<Control> {
        due(&mut self.to_sender, now)
    }

    /// Ends a channel: returns its frames in flight, which never arrive in full.
    pub(crate) fn cut(&mut self, channel: ChannelId) -> Vec<Carried> {
        let (cut, rest) = std::mem::take(&mut self.frames).into_iter().partition(|(_, one)| one.channel == channel);
        self.frames = rest;
        let cut: Vec<(Duration, Carried)> = cut;
        cut.into_iter().map(|(_, carried)| carried).collect()
    }

    /// Ends the session: some frames in flight become strays, everything else is lost.
    pub(crate) fn lose(&mut self, now: Duration) {
        for (_, Carried { frame, .. }) in std::mem::take(&mut self.frames) {
            if self.dice.chance(500) {
                let at = now + Duration::from_millis(self.dice.below(2000));
                self.strays.push((at, frame));
            }
        }
        self.to_receiver.clear();
        self.to_sender.clear();
    }

    fn delay(&self) -> Duration {
        Duration::from_millis(self.dice.below(self.delay_max))
    }
}

fn due(queue: &mut VecDeque<(Duration, Control)>, now: Duration) -> Option<Control> {
    queue.front().filter(|(at, _)| *at <= now)?;
    queue.pop_front().map(|(_, message)| message)
}
