//! What a lane's thread spends its time on: the evidence for what limits the link. Sans-IO.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a lane does, or waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// It packs, compresses, or obeys.
    Works,
    /// It has no credit for another frame.
    WaitsForCredit,
    /// A frame is due, and the transport has no room for it.
    WaitsForRoom,
    /// Nothing is there to be read, or it waits for company.
    Idles,
}

/// How long a lane spent on each, since its start or between two looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// See [`Activity::Works`].
    pub works: Duration,
    /// See [`Activity::WaitsForCredit`].
    pub waits_for_credit: Duration,
    /// See [`Activity::WaitsForRoom`].
    pub waits_for_room: Duration,
    /// See [`Activity::Idles`].
    pub idles: Duration,
}

/// One lane's time, written by its thread and read by anybody.
#[derive(Debug, Default)]
pub struct ActivityMeter(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    spent: Spent,
    now: Option<(Activity, Instant)>,
}

impl ActivityMeter {
    /// From `now` on the lane does something else.
    pub fn turn_to(&self, activity: Activity, now: Instant) {
        let mut inner = self.lock();
        inner.spent = inner.spent_until(now);
        inner.now = Some((activity, now));
    }

    /// Until `now`, what it does at present included.
    pub fn spent(&self, now: Instant) -> Spent {
        self.lock().spent_until(now)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn spent_until(&self, now: Instant) -> Spent {
        let mut spent = self.spent;
        if let Some((activity, since)) = self.now {
            let on = match activity {
                Activity::Works => &mut spent.works,
                Activity::WaitsForCredit => &mut spent.waits_for_credit,
                Activity::WaitsForRoom => &mut spent.waits_for_room,
                Activity::Idles => &mut spent.idles,
            };
            *on += now.saturating_duration_since(since);
        }
        spent
    }
}

impl Spent {
    /// What came after `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            works: self.works.saturating_sub(earlier.works),
            waits_for_credit: self.waits_for_credit.saturating_sub(earlier.waits_for_credit),
            waits_for_room: self.waits_for_room.saturating_sub(earlier.waits_for_room),
            idles: self.idles.saturating_sub(earlier.idles),
        }
    }

    /// All of it but idling.
    pub fn wanted(self) -> Duration {
        self.works + self.waits_for_credit + self.waits_for_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_is_counted_once_and_what_lasts_is_counted_already() {
        let (meter, start, ms) = (ActivityMeter::default(), Instant::now(), Duration::from_millis);
        assert_eq!(meter.spent(start), Spent::default());
        let story =
            [Activity::Idles, Activity::Works, Activity::WaitsForRoom, Activity::Works, Activity::WaitsForCredit];
        for (number, activity) in (0..).zip(story) {
            meter.turn_to(activity, start + ms(10 * number));
        }
        let spent = meter.spent(start + ms(1000));
        let expected = Spent { works: ms(20), waits_for_credit: ms(960), waits_for_room: ms(10), idles: ms(10) };
        assert_eq!(spent, expected);
        assert_eq!(spent.since(meter.spent(start + ms(900))), Spent { waits_for_credit: ms(100), ..Spent::default() });
        assert_eq!(spent.wanted(), ms(990));
    }
}
