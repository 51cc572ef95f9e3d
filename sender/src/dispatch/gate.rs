//! The scheduler in front of the session's channels, shared by the lanes' threads: a lane asks when its frame is
//! due, and whoever is next is rung.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use service::bell::Bell;
use wire::ids::LaneId;
use wire::lanes::ClassTable;
use wire::units::Rate;

use crate::dispatch::channels::Urgency;
use crate::dispatch::classes::Classes;
use crate::dispatch::scheduler::{ClassView, Scheduler};

/// [`Scheduler`] behind a lock, with a bell per lane.
#[derive(Debug)]
pub struct Gate {
    scheduler: Mutex<Scheduler>,
    table: ClassTable,
    bells: Vec<Bell>,
}

/// Why a lane may not send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Its bell rings when it may.
    ForBell,
    /// Its class is at its ceiling for so long.
    For(Duration),
}

impl Gate {
    /// For the lanes of `table`, which sleep on `bells`.
    pub fn new(table: ClassTable, classes: &Classes, rate: Option<Rate>, frame_bytes: u64, bells: Vec<Bell>) -> Self {
        let scheduler = Scheduler::new(&table, classes, rate, frame_bytes, Instant::now());
        Self { scheduler: Mutex::new(scheduler), table, bells }
    }

    /// Other shares and ceilings hold from now on.
    pub fn set(&self, classes: &Classes, rate: Option<Rate>) {
        let now = Instant::now();
        let mut scheduler = self.lock();
        scheduler.set(&self.table, classes, rate, now);
        self.ring_next(&scheduler, now);
    }

    /// Ceilings that are a part of the rate follow it.
    pub fn follow(&self, rate: Option<Rate>) {
        let now = Instant::now();
        let mut scheduler = self.lock();
        if scheduler.rate() != rate {
            scheduler.set_rate(rate, now);
            self.ring_next(&scheduler, now);
        }
    }

    /// What `room` gives, which is told how urgent the lane's frames are, if it is this lane's turn. Its frame is due
    /// and has `bytes` at most.
    pub fn enter<R>(
        &self,
        lane: LaneId,
        bytes: u64,
        now: Instant,
        room: impl FnOnce(Urgency) -> Option<R>,
    ) -> Result<R, Wait> {
        let mut scheduler = self.lock();
        scheduler.handle_due(lane);
        match scheduler.next(now) {
            Some(next) if next == lane => {
                let urgency = if scheduler.is_strict(lane) { Urgency::Strict } else { Urgency::Common };
                let room = room(urgency).ok_or(Wait::ForBell)?;
                scheduler.handle_taken(lane, bytes, now);
                // The next may make its frame while this one is compressed.
                self.ring_next(&scheduler, now);
                Ok(room)
            }
            next => {
                // It may have been asleep when this one came.
                next.and_then(|next| self.bells.get(usize::from(next.0))).into_iter().for_each(Bell::ring);
                let opens = scheduler.opens(lane, now);
                Err(opens.map_or(Wait::ForBell, |opens| Wait::For(opens.saturating_duration_since(now))))
            }
        }
    }

    /// A lane that entered with `taken` bytes has made its frame, of `bytes`.
    pub fn handle_made(&self, lane: LaneId, taken: u64, bytes: usize, now: Instant) {
        let mut scheduler = self.lock();
        scheduler.handle_made(lane, taken, bytes as u64, now);
        self.ring_next(&scheduler, now);
    }

    /// A lane has nothing to send any more.
    pub fn leave(&self, lane: LaneId) {
        let mut scheduler = self.lock();
        scheduler.handle_idle(lane);
        self.ring_next(&scheduler, Instant::now());
    }

    /// Whether a lane's class goes before others.
    pub fn is_strict(&self, lane: LaneId) -> bool {
        self.lock().is_strict(lane)
    }

    /// Every class as it is now, in the table's order.
    pub fn view(&self) -> Vec<ClassView> {
        self.lock().view(Instant::now())
    }

    /// The lanes of every class.
    pub fn table(&self) -> &ClassTable {
        &self.table
    }

    fn ring_next(&self, scheduler: &Scheduler, now: Instant) {
        let next = scheduler.next(now).and_then(|next| self.bells.get(usize::from(next.0)));
        next.into_iter().for_each(Bell::ring);
    }

    fn lock(&self) -> MutexGuard<'_, Scheduler> {
        self.scheduler.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_that_is_not_next_wakes_the_one_that_is_and_is_woken_once_that_has_sent() {
        let bells = vec![Bell::default(), Bell::default()];
        let gate = Gate::new(ClassTable::new(2), &Classes::default(), None, 1000, bells.clone());
        let now = Instant::now();
        assert_eq!(gate.enter(LaneId(0), 10, now, |_| None::<()>), Err(Wait::ForBell), "the channels are full");
        assert_eq!(gate.enter(LaneId(1), 10, now, |_| Some(())), Err(Wait::ForBell), "first come, first served");
        // Rung, or this would wait for ever.
        bells[0].wait(Duration::from_secs(3600));
        assert_eq!(gate.enter(LaneId(0), 10, now, |_| Some(())), Ok(()));
        bells[1].wait(Duration::from_secs(3600));
        assert_eq!(gate.enter(LaneId(1), 10, now, |_| Some(())), Ok(()), "the first is not made yet");
    }
}
