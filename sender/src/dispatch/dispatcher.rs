//! Frames onto the session's channels: one unidirectional stream per frame, so that a lost packet delays
//! only its own frame.
//!
//! The transport says when it has room; a lane closes its frame only then. Which channel carries a frame is the
//! decision of [`striping`], which of them is dead that of [`health`]; this shell moves the bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quinn::Connection;
use service::bell::Bell;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use transport::endpoint::Dialled;
use wire::ids::LaneId;

use crate::dispatch::health::Vital;
use crate::dispatch::striping::{ChannelId, FrameId, Striping};

/// Frames of one urgency before their order begins anew: far more than QUIC ever has at once.
const ORDERED: u64 = 1 << 28;

/// Which frames leave first of those that one channel has. All are behind control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Those of most classes.
    Common,
    /// Those of a strict class.
    Strict,
    /// What a dead channel held: lanes wait for it, whatever their class.
    Again,
}

impl Urgency {
    /// The priority of a frame's stream. QUIC chooses a stream for each packet, so that a frame that has begun to
    /// leave holds up no other that is more urgent; those that are equally so would share the packets, and each be
    /// whole later than need be, if they did not go in their order.
    fn priority(self, frame: FrameId) -> i32 {
        let first = match self {
            Self::Again => 0,
            Self::Strict => -(ORDERED as i32),
            Self::Common => -(2 * ORDERED as i32),
        };
        first - (frame % ORDERED) as i32
    }
}

/// The channels of one session.
#[derive(Debug, Clone)]
pub struct Channels(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    bells: Box<[Bell]>,
    runtime: Handle,
    /// The receiver has answered for a channel.
    answers: Notify,
}

#[derive(Debug, Default)]
struct State {
    striping: Striping,
    open: BTreeMap<ChannelId, Open>,
    /// Lanes that found no room, and are to be woken. No other is: of many lanes only the one whose turn it is asks.
    wanting: BTreeSet<LaneId>,
}

#[derive(Debug)]
struct Open {
    dialled: Dialled,
    /// It was given a frame, or one of its frames is settled.
    stirred: Arc<Notify>,
    watching: AbortHandle,
}

/// Called when QUIC has taken a frame's last byte.
pub type WhenTaken = Box<dyn FnOnce() + Send>;

/// Room for one frame; dropped unused, it is given back.
#[derive(Debug)]
pub struct Room {
    channels: Channels,
    channel: ChannelId,
    urgency: Urgency,
    taken: bool,
}

impl Channels {
    /// No channel yet. Of `bells`, one per lane, that of a lane that found no room is rung when there is some again.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(bells: Vec<Bell>) -> Self {
        let (state, runtime, answers) = (Mutex::default(), Handle::current(), Notify::new());
        Self(Arc::new(Shared { state, bells: bells.into(), runtime, answers }))
    }

    /// A channel may carry frames from now on.
    pub fn open(&self, channel: ChannelId, dialled: Dialled) {
        let stirred = Arc::new(Notify::new());
        let mut state = self.state();
        state.striping.open(channel);
        let watching = watch(self.clone(), channel, dialled.clone(), Arc::clone(&stirred));
        let watching = self.0.runtime.spawn(watching).abort_handle();
        state.open.insert(channel, Open { dialled, stirred, watching });
        drop(state);
        self.stir();
    }

    /// Room for one frame of this urgency, if there is any now; if not, the lane is woken when there is.
    pub fn room(&self, lane: LaneId, urgency: Urgency) -> Option<Room> {
        let mut state = self.state();
        state.look();
        let channel = state.striping.poll_room(urgency == Urgency::Strict);
        if channel.is_none() {
            state.wanting.insert(lane);
        }
        drop(state);
        Some(Room { channels: self.clone(), channel: channel?, urgency, taken: false })
    }

    /// Sends a frame, before the rest of those that QUIC has and that are less urgent; `taken` is called once QUIC has its
    /// last byte. What becomes of its channel is not the lane's concern.
    pub fn send(&self, mut room: Room, frame: Bytes, taken: WhenTaken) {
        room.taken = true;
        let mut state = self.state();
        state.look();
        let handed = state.striping.hand(room.channel, frame.clone());
        match handed.zip(state.open.get(&room.channel)) {
            Some((id, open)) => self.start((room.channel, open), (id, frame), room.urgency, taken),
            None => {
                drop(state);
                self.stir();
            }
        }
    }

    /// A channel carries nothing more; whether it was open. Its frames wait for the receiver's word.
    pub fn give_up(&self, channel: ChannelId) -> bool {
        let mut state = self.state();
        let was_open = state.striping.give_up(channel);
        self.forget(&mut state, channel);
        was_open
    }

    /// The receiver takes nothing more of a channel: what it may lack goes out again.
    pub fn handle_closed(&self, channel: ChannelId) {
        let mut state = self.state();
        state.striping.handle_closed(channel);
        let open = self.forget(&mut state, channel);
        drop(state);
        if let Some(open) = open {
            open.dialled.connection.close(0u32.into(), b"the receiver has closed it");
        }
        self.0.answers.notify_waiters();
        self.stir();
    }

    /// Waits until the receiver has answered for a channel that was given up.
    pub async fn answered(&self, channel: ChannelId) {
        loop {
            let answer = self.0.answers.notified();
            tokio::pin!(answer);
            // From here on no answer is missed.
            answer.as_mut().enable();
            if !self.state().striping.is_awaited(channel) {
                return;
            }
            answer.await;
        }
    }

    /// How each open channel is.
    pub fn vitals(&self) -> Vec<Vital> {
        let state = self.state();
        let vital = |(&channel, open): (&ChannelId, &Open)| Vital {
            channel,
            outstanding: state.striping.is_outstanding(channel),
            arrived: open.dialled.gauge.acked(),
            rtt: open.dialled.connection.rtt(),
        };
        state.open.iter().map(vital).collect()
    }

    /// The channels that are open.
    pub fn dialled(&self) -> Vec<Dialled> {
        self.state().open.values().map(|open| open.dialled.clone()).collect()
    }

    /// The connection of an open channel.
    pub fn connection(&self, channel: ChannelId) -> Option<Connection> {
        self.state().open.get(&channel).map(|open| open.dialled.connection.clone())
    }

    /// Frames that were sent once more because their channel ended.
    pub fn resent(&self) -> u64 {
        self.state().striping.resent()
    }

    /// Nothing more is to be sent. Further channels end; channel 0 still has something to say.
    pub fn close(&self) {
        let mut state = self.state();
        for (channel, open) in std::mem::take(&mut state.open) {
            open.watching.abort();
            if channel > 0 {
                open.dialled.connection.close(0u32.into(), b"the session has ended");
            }
        }
        state.striping = Striping::default();
    }

    fn forget(&self, state: &mut State, channel: ChannelId) -> Option<Open> {
        let open = state.open.remove(&channel)?;
        open.watching.abort();
        Some(open)
    }

    /// Something may have made room: sends again what waits for that, and wakes the lanes that do.
    fn stir(&self) {
        let mut state = self.state();
        state.look();
        while let Some((channel, id, frame)) = state.striping.poll_again() {
            if let Some(open) = state.open.get(&channel) {
                // Its time is told of the first try; a frame that never had one is not timed.
                self.start((channel, open), (id, frame), Urgency::Again, Box::new(|| {}));
            }
        }
        let wanting = std::mem::take(&mut state.wanting);
        drop(state);
        wanting.into_iter().filter_map(|lane| self.0.bells.get(usize::from(lane.0))).for_each(Bell::ring);
    }

    fn start(
        &self,
        (channel, open): (ChannelId, &Open),
        (id, frame): (FrameId, Bytes),
        urgency: Urgency,
        taken: WhenTaken,
    ) {
        let (channels, connection) = (self.clone(), open.dialled.connection.clone());
        open.stirred.notify_one();
        self.0.runtime.spawn(async move {
            match send_frame(&connection, frame, urgency.priority(id), taken).await {
                Ok(()) => channels.settle(channel, id),
                // Its channel has ended: the copy is dealt with when that is.
                Err(error) => tracing::debug!(%error, channel, "frame may not have arrived"),
            }
        });
    }

    fn settle(&self, channel: ChannelId, id: FrameId) {
        let mut state = self.state();
        state.striping.handle_settled(channel, id);
        if let Some(open) = state.open.get(&channel) {
            open.stirred.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Reads every gauge.
    fn look(&mut self) {
        for (&channel, open) in &self.open {
            self.striping.handle_gauge(channel, open.dialled.gauge.reading());
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if !self.taken {
            self.channels.state().striping.decline(self.channel);
            self.channels.stir();
        }
    }
}

/// Wakes the lanes that want room whenever a channel may have some again.
async fn watch(channels: Channels, channel: ChannelId, dialled: Dialled, stirred: Arc<Notify>) {
    let gauge = &dialled.gauge;
    loop {
        channels.stir();
        let room_at = channels.state().striping.room_at(channel);
        match room_at {
            None => return,
            Some(None) => stirred.notified().await,
            Some(Some((left, sent))) => {
                // What is settled may make room as well.
                tokio::select! {
                    () = gauge.has_left(left, sent) => {}
                    () = stirred.notified() => {}
                }
            }
        }
    }
}

/// Sends a frame, and waits until the receiver is known to have all of it, or to want nothing more of it.
async fn send_frame(
    channel: &Connection,
    frame: Bytes,
    priority: i32,
    taken: WhenTaken,
) -> Result<(), quinn::ConnectionError> {
    let mut stream = channel.open_uni().await?;
    // Fails only on a closed stream, which the write reports.
    let _ = stream.set_priority(priority);
    match stream.write_chunk(frame).await {
        Ok(()) | Err(quinn::WriteError::Stopped(_)) => {}
        Err(quinn::WriteError::ConnectionLost(error)) => return Err(error),
        Err(error) => tracing::debug!(%error, "frame was not taken"),
    }
    // The receiver needs the whole stream; QUIC delivers the end with the last byte.
    let _ = stream.finish();
    taken();
    match stream.stopped().await {
        Ok(_) => Ok(()),
        Err(quinn::StoppedError::ConnectionLost(error)) => Err(error),
        Err(quinn::StoppedError::ZeroRttRejected) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn only_a_lane_that_found_no_room_is_woken_for_it_and_once() {
        let bells: Vec<Bell> = (0..3).map(|_| Bell::default()).collect();
        let channels = Channels::new(bells.clone());
        let woken = || bells.iter().map(|bell| bell.wait(Duration::ZERO)).collect::<Vec<_>>();
        assert!(channels.room(LaneId(1), Urgency::Common).is_none(), "no channel is open");
        assert_eq!(woken(), [false, false, false]);
        channels.stir();
        assert_eq!(woken(), [false, true, false]);
        channels.stir();
        assert_eq!(woken(), [false, false, false], "it has not asked again");
    }

    #[test]
    fn a_more_urgent_frame_leaves_first_and_equally_urgent_ones_in_their_order() {
        let last = ORDERED - 1;
        assert!(Urgency::Common.priority(0) > Urgency::Common.priority(1));
        assert!(Urgency::Strict.priority(last) > Urgency::Common.priority(0));
        assert!(Urgency::Again.priority(last) > Urgency::Strict.priority(0));
        assert_eq!(Urgency::Common.priority(ORDERED), Urgency::Common.priority(0), "no number is too great");
    }
}
