//! Time use of a lane's thread, as evidence for what limits the link. Sans-IO.

use std::time::{Duration, Instant};

use service::lock::Lock;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// The thread packs, compresses, or handles commands.
    Works,
    /// The lane has no credit for another frame.
    WaitsForCredit,
    /// A frame is due, and the transport has no room for it.
    WaitsForRoom,
    /// Nothing is there to be read, or the lane lingers for more records.
    Idles,
}

/// Time that a lane spent on each activity, since its start or between two samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    pub works: Duration,
    pub waits_for_credit: Duration,
    pub waits_for_room: Duration,
    pub idles: Duration,
}

/// Meter of one lane's time, written by its thread and read by reports.
#[derive(Debug, Default)]
pub struct ActivityMeter(Lock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    spent: Spent,
    now: Option<(Activity, Instant)>,
}

impl ActivityMeter {
    pub fn turn_to(&self, activity: Activity, now: Instant) {
        let mut inner = self.0.lock();
        inner.spent = inner.spent_until(now);
        inner.now = Some((activity, now));
    }

    /// Returns the time spent until `now`, the present activity included.
    pub fn spent(&self, now: Instant) -> Spent {
        self.0.lock().spent_until(now)
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
    pub fn since(self, earlier: Self) -> Self {
        Self {
            works: self.works.saturating_sub(earlier.works),
            waits_for_credit: self.waits_for_credit.saturating_sub(earlier.waits_for_credit),
            waits_for_room: self.waits_for_room.saturating_sub(earlier.waits_for_room),
            idles: self.idles.saturating_sub(earlier.idles),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_is_counted_once_as_it_passes() {
        let meter = ActivityMeter::default();
        let start = Instant::now();
        let ms = Duration::from_millis;
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
    }
}
