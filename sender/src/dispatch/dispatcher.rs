//! Decides which lane sends its next frame and over which channel, and hands the frame to QUIC.
//!
//! The threads of all lanes share one dispatcher. Behind one lock it has the session's [`Credit`], the [`Scheduler`] of
//! the classes and the [`Striping`] of frames over channels. A lane closes its frame only when the dispatcher gives it
//! [`Room`], so that records wait in the lane and not in QUIC. The dispatcher wakes a lane only for what that lane
//! asked for: granted credit, its turn, or room on a channel.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use bytes::Bytes;
use quinn::Connection;
use service::bell::Bell;
use service::lock::Lock;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use transport::endpoint::Dialled;
use wire::control::CreditTerms;
use wire::ids::LaneId;
use wire::lanes::ClassTable;
use wire::units::Rate;

use super::classes::Classes;
use super::credit::Credit;
use super::health::Vital;
use super::scheduler::{ClassView, Scheduler};
use super::stream::{Outgoing, Urgency, WhenTaken};
use super::striping::{ChannelId, RoomAt, Striping};

#[derive(Debug, Clone)]
pub struct Dispatcher(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Lock<State>,
    table: ClassTable,
    bells: Box<[Bell]>,
    /// Signal that the receiver has answered for a channel.
    answers: Notify,
}

#[derive(Debug)]
struct State {
    credit: Credit,
    /// Credit that was granted and that the lane has not taken yet, by lane.
    granted: Vec<Option<u64>>,
    scheduler: Scheduler,
    striping: Striping,
    open: BTreeMap<ChannelId, Open>,
    /// Lanes that found no room and are to be woken. Of many lanes only the one whose turn it is asks for room.
    roomless: BTreeSet<LaneId>,
}

#[derive(Debug)]
struct Open {
    dialled: Dialled,
    runtime: Handle,
    /// Signal that the channel was given a frame, or that one of its frames was delivered.
    changed: Arc<Notify>,
    watching: AbortHandle,
}

/// Answer to a lane whose frame is due.
#[derive(Debug)]
pub enum Turn {
    /// The lane may close its frame and send it.
    Send(Room),
    /// The lane must wait until its bell wakes it, or until this time where its class is at its ceiling.
    Wait(Option<Instant>),
}

/// Room for one frame of one lane. It is given back when it is dropped unused.
#[derive(Debug)]
pub struct Room {
    dispatcher: Dispatcher,
    lane: LaneId,
    /// Upper bound of the frame's size, which the lane's class was charged.
    bound: u64,
    channel: ChannelId,
    urgency: Urgency,
    is_used: bool,
}

/// Credit of a session at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreditUsage {
    /// Bytes in use by frames that are being packed or are not acked.
    pub used: u64,
    /// Bytes that the receiver grants in all.
    pub total: u64,
}

impl Dispatcher {
    /// Creates the dispatcher of a session without channels yet. The lanes of `table` sleep on `bells`. Frames have at
    /// most `frame_bytes`, except for a record that is larger.
    pub fn new(
        table: ClassTable,
        classes: &Classes,
        rate: Option<Rate>,
        frame_bytes: u64,
        credit: CreditTerms,
        bells: Vec<Bell>,
    ) -> Self {
        let mut state = State {
            credit: Credit::new(credit, bells.len() as u16),
            granted: vec![None; bells.len()],
            scheduler: Scheduler::new(&table, classes, rate, frame_bytes, Instant::now()),
            striping: Striping::default(),
            open: BTreeMap::new(),
            roomless: BTreeSet::new(),
        };
        state.prefer_strict_lanes();
        let answers = Notify::new();
        Self(Arc::new(Shared { state: Lock::new(state), table, bells: bells.into(), answers }))
    }

    /// Applies other shares, ceilings and priorities of the classes.
    pub fn set_classes(&self, classes: &Classes, rate: Option<Rate>) {
        let now = Instant::now();
        let mut state = self.state();
        state.scheduler.set(&self.0.table, classes, rate, now);
        state.prefer_strict_lanes();
        self.wake_granted(&mut state);
        self.wake_next(&state, now);
    }

    /// Applies another rate to the ceilings that are a part of it.
    pub fn set_rate(&self, rate: Option<Rate>) {
        let now = Instant::now();
        let mut state = self.state();
        if state.scheduler.rate() != rate {
            state.scheduler.set_rate(rate, now);
            self.wake_next(&state, now);
        }
    }

    /// Returns the current state of every class, in the order of the table.
    pub fn classes(&self) -> Vec<ClassView> {
        self.state().scheduler.view(Instant::now())
    }

    pub fn table(&self) -> &ClassTable {
        &self.0.table
    }

    /// Requests credit for a lane, if `request` has an amount, and returns what was granted since the last call. The
    /// lane's bell wakes it when a later grant is there.
    pub fn credit(&self, lane: LaneId, request: Option<u64>) -> Option<u64> {
        let mut state = self.state();
        if let Some(bytes) = request {
            state.credit.request(lane, bytes);
            self.wake_granted(&mut state);
        }
        state.granted[usize::from(lane.0)].take()
    }

    /// Frees credit that is not needed, or whose frames are acked.
    pub fn free(&self, lane: LaneId, bytes: u64) {
        if bytes > 0 {
            let mut state = self.state();
            state.credit.free(lane, bytes);
            self.wake_granted(&mut state);
        }
    }

    pub fn close_lane(&self, lane: LaneId) {
        let mut state = self.state();
        state.credit.close_lane(lane);
        self.wake_granted(&mut state);
        state.granted[usize::from(lane.0)] = None;
    }

    /// Returns the most that one request for credit may ask for, in bytes.
    pub fn request_max(&self) -> u64 {
        self.state().credit.request_max()
    }

    pub fn credit_usage(&self) -> CreditUsage {
        let state = self.state();
        CreditUsage { used: state.credit.used(), total: state.credit.total() }
    }

    /// Returns room for the frame of a lane, at most `bytes`, if it is the lane's turn and a channel has room.
    pub fn poll(&self, lane: LaneId, bytes: u64, now: Instant) -> Turn {
        let mut state = self.state();
        state.scheduler.handle_due(lane);
        let next = state.scheduler.next(now);
        if next != Some(lane) {
            // The next lane may have been asleep when this one came.
            self.wake(next);
            return Turn::Wait(state.scheduler.opens(lane, now));
        }
        let urgency = if state.scheduler.is_strict(lane) { Urgency::Strict } else { Urgency::Common };
        state.read_gauges();
        let Some(channel) = state.striping.poll_room(urgency == Urgency::Strict) else {
            state.roomless.insert(lane);
            return Turn::Wait(None);
        };
        state.scheduler.handle_taken(lane, bytes, now);
        // The next lane may make its frame while this one is compressed.
        self.wake_next(&state, now);
        Turn::Send(Room { dispatcher: self.clone(), lane, bound: bytes, channel, urgency, is_used: false })
    }

    /// Removes a lane that has nothing to send from the schedule.
    pub fn leave(&self, lane: LaneId) {
        let mut state = self.state();
        state.scheduler.handle_idle(lane);
        self.wake_next(&state, Instant::now());
    }

    /// Sends a frame into `room`, before less urgent ones. `when_taken` is called once QUIC has its last byte.
    pub fn send(&self, mut room: Room, bytes: Bytes, when_taken: WhenTaken, now: Instant) {
        room.is_used = true;
        let mut state = self.state();
        state.scheduler.handle_made(room.lane, room.bound, bytes.len() as u64, now);
        state.read_gauges();
        let handed = state.striping.hand(room.channel, bytes.clone());
        self.wake_next(&state, now);
        match handed.zip(state.open.get(&room.channel)) {
            Some((id, open)) => {
                self.start(room.channel, open, Outgoing { id, bytes, urgency: room.urgency, when_taken });
            }
            None => {
                drop(state);
                self.use_room();
            }
        }
    }

    /// Opens a channel for frames. Panics outside a tokio runtime.
    pub fn open(&self, channel: ChannelId, dialled: Dialled) {
        let changed = Arc::new(Notify::new());
        let runtime = Handle::current();
        let mut state = self.state();
        state.striping.open(channel);
        let watching = runtime.spawn(watch(self.clone(), channel, dialled.clone(), Arc::clone(&changed)));
        let watching = watching.abort_handle();
        state.open.insert(channel, Open { dialled, runtime, changed, watching });
        drop(state);
        self.use_room();
    }

    /// Stops using a channel; its frames wait for the receiver's answer. Returns whether it was open.
    pub fn abandon(&self, channel: ChannelId) -> bool {
        let mut state = self.state();
        let was_open = state.striping.abandon(channel);
        state.forget(channel);
        was_open
    }

    /// Handles the receiver's word that it takes nothing more of a channel: frames that it may lack are sent again.
    pub fn handle_closed(&self, channel: ChannelId) {
        let mut state = self.state();
        state.striping.handle_closed(channel);
        let open = state.forget(channel);
        drop(state);
        if let Some(open) = open {
            open.dialled.connection.close(0u32.into(), b"the receiver has closed it");
        }
        self.0.answers.notify_waiters();
        self.use_room();
    }

    /// Waits until the receiver has answered for a channel that was abandoned.
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

    /// Returns the channels that are open.
    pub fn dialled(&self) -> Vec<Dialled> {
        self.state().open.values().map(|open| open.dialled.clone()).collect()
    }

    pub fn connection(&self, channel: ChannelId) -> Option<Connection> {
        self.state().open.get(&channel).map(|open| open.dialled.connection.clone())
    }

    /// Stops sending. Further channels end; channel 0 still carries the last control messages.
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

    /// Uses room that may be there now: sends frames again that wait for room, and wakes the lanes that do.
    fn use_room(&self) {
        let mut state = self.state();
        state.read_gauges();
        while let Some(again) = state.striping.poll_again() {
            if let Some(open) = state.open.get(&again.channel) {
                // A frame is timed at its first try only.
                let outgoing =
                    Outgoing { id: again.id, bytes: again.bytes, urgency: Urgency::Again, when_taken: Box::new(|| {}) };
                self.start(again.channel, open, outgoing);
            }
        }
        let roomless = std::mem::take(&mut state.roomless);
        drop(state);
        roomless.into_iter().for_each(|lane| self.wake(Some(lane)));
    }

    fn start(&self, channel: ChannelId, open: &Open, outgoing: Outgoing) {
        let dispatcher = self.clone();
        let connection = open.dialled.connection.clone();
        let id = outgoing.id;
        open.changed.notify_one();
        open.runtime.spawn(async move {
            match outgoing.send(&connection).await {
                Ok(()) => {
                    let mut state = dispatcher.state();
                    state.striping.handle_delivered(channel, id);
                    if let Some(open) = state.open.get(&channel) {
                        open.changed.notify_one();
                    }
                }
                // Its channel has ended: the copy of the frame is sent again when the receiver has answered for it.
                Err(error) => tracing::debug!(%error, channel, "frame may not have arrived"),
            }
        });
    }

    fn wake_granted(&self, state: &mut State) {
        while let Some((lane, bytes)) = state.credit.poll_granted() {
            state.granted[usize::from(lane.0)] = Some(bytes);
            self.wake(Some(lane));
        }
    }

    fn wake_next(&self, state: &State, now: Instant) {
        self.wake(state.scheduler.next(now));
    }

    fn wake(&self, lane: Option<LaneId>) {
        lane.and_then(|lane| self.0.bells.get(usize::from(lane.0))).into_iter().for_each(Bell::ring);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }
}

impl State {
    fn prefer_strict_lanes(&mut self) {
        let Self { credit, scheduler, .. } = self;
        credit.set_urgent(|lane| scheduler.is_strict(lane));
    }

    fn read_gauges(&mut self) {
        for (&channel, open) in &self.open {
            self.striping.handle_gauge(channel, open.dialled.gauge.reading());
        }
    }

    fn forget(&mut self, channel: ChannelId) -> Option<Open> {
        let open = self.open.remove(&channel)?;
        open.watching.abort();
        Some(open)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.is_used {
            return;
        }
        let mut state = self.dispatcher.state();
        let now = Instant::now();
        state.striping.decline(self.channel);
        state.scheduler.handle_made(self.lane, self.bound, 0, now);
        self.dispatcher.wake_next(&state, now);
        drop(state);
        self.dispatcher.use_room();
    }
}

/// Uses the room of a channel whenever it may have some again.
async fn watch(dispatcher: Dispatcher, channel: ChannelId, dialled: Dialled, changed: Arc<Notify>) {
    loop {
        dispatcher.use_room();
        let room_at = dispatcher.state().striping.room_at(channel);
        match room_at {
            RoomAt::Never => return,
            RoomAt::Now => changed.notified().await,
            // A delivered frame may make room as well.
            RoomAt::Once { left, sent } => tokio::select! {
                () = dialled.gauge.has_left(left, sent) => {}
                () = changed.notified() => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ENOUGH: CreditTerms = CreditTerms { reserve: 10, pool: 20 };

    fn dispatcher(lanes: u16) -> (Dispatcher, Vec<Bell>) {
        let bells: Vec<Bell> = (0..lanes).map(|_| Bell::default()).collect();
        let table = ClassTable::new(lanes);
        (Dispatcher::new(table, &Classes::default(), None, 1000, ENOUGH, bells.clone()), bells)
    }

    fn may_send(dispatcher: &Dispatcher, lane: u16) -> Option<Room> {
        match dispatcher.poll(LaneId(lane), 10, Instant::now()) {
            Turn::Send(room) => Some(room),
            Turn::Wait(None) => None,
            Turn::Wait(Some(until)) => panic!("no class has a ceiling: {until:?}"),
        }
    }

    #[test]
    fn lanes_take_turns_and_each_wakes_the_next() {
        let (dispatcher, bells) = dispatcher(2);
        assert!(may_send(&dispatcher, 0).is_none(), "the channels are full");
        dispatcher.state().striping.open(0);
        assert!(may_send(&dispatcher, 1).is_none(), "first come, first served");
        // The bell wakes it, or this would wait for an hour.
        bells[0].wait(Duration::from_secs(3600));
        let first = may_send(&dispatcher, 0);
        assert!(first.is_some());
        bells[1].wait(Duration::from_secs(3600));
        assert!(may_send(&dispatcher, 1).is_some(), "the first frame is not made yet");
    }

    #[test]
    fn a_grant_waits_for_the_lane_that_asked() {
        let (dispatcher, _) = dispatcher(2);
        for lane in [0, 0, 1, 1] {
            assert_eq!(dispatcher.credit(LaneId(lane), Some(10)), Some(10));
        }
        assert_eq!(dispatcher.credit(LaneId(0), Some(10)), None);
        dispatcher.close_lane(LaneId(1));
        assert_eq!(dispatcher.credit(LaneId(0), None), None, "at its own cap of 20");
        dispatcher.free(LaneId(0), 10);
        assert_eq!(dispatcher.credit(LaneId(0), None), Some(10));
    }

    #[test]
    fn only_a_lane_that_found_no_room_is_woken_and_once() {
        let (dispatcher, bells) = dispatcher(3);
        let woken = || bells.iter().map(|bell| bell.wait(Duration::ZERO)).collect::<Vec<_>>();
        assert!(may_send(&dispatcher, 1).is_none(), "no channel is open");
        assert_eq!(woken(), [false, false, false]);
        dispatcher.use_room();
        assert_eq!(woken(), [false, true, false]);
        dispatcher.use_room();
        assert_eq!(woken(), [false, false, false], "it has not asked again");
    }
}
