//! A timeline of the path's counters, and the time until a rate was reached.

use serde::{Deserialize, Serialize};

use crate::wan::cell::{ExpectedRate, MeasuredAt, NEVER};

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// Seconds since the warm-up's end.
    pub(crate) at: f64,
    /// Bytes of whole packets that have entered the path at the source.
    pub(crate) offered: u64,
    /// Bytes of whole packets that have left it at the target.
    pub(crate) delivered: u64,
    /// Bytes of record values that were committed at the sink.
    pub(crate) goodput: u64,
}

/// Seconds over which a rate is measured to compare it with the expected one: long enough for about a hundred packets at
/// 5 Mbit/s, short enough for a bound of 1 s.
pub(crate) const WINDOW: f64 = 0.5;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Timeline(pub(crate) Vec<Point>);

impl Timeline {
    /// Returns the seconds from `since` until the rate was as expected for a whole [`WINDOW`], the window included. Returns
    /// [`NEVER`] if it was not before `until`.
    pub(crate) fn time_to_reach(&self, expected: &ExpectedRate, since: f64, until: f64) -> f64 {
        let bytes = |point: &Point| match expected.at {
            MeasuredAt::Offered => point.offered,
            MeasuredAt::Delivered => point.delivered,
        };
        let rate = expected.rate.bits_per_second() as f64;
        let after: Vec<&Point> = self.0.iter().filter(|point| (since..=until).contains(&point.at)).collect();
        for (index, first) in after.iter().enumerate() {
            let Some(last) = after[index..].iter().find(|point| point.at - first.at >= WINDOW) else { break };
            let measured = (bytes(last) - bytes(first)) as f64 * 8.0 / (last.at - first.at);
            if expected.within.contains(&(measured / rate)) {
                return last.at - since;
            }
        }
        NEVER
    }
}

#[cfg(test)]
mod tests {
    use wire::units::Rate;

    use super::*;

    /// Returns 100 bytes per tenth of a second, and twice that from 3 s on.
    fn timeline() -> Timeline {
        let mut offered = 0;
        let mut point = |tenth: i32| {
            let at = f64::from(tenth) / 10.0;
            offered += if at > 3.0 { 200 } else { 100 };
            Point { at, offered, ..Point::default() }
        };
        Timeline((0..100).map(&mut point).collect())
    }

    fn expected(bits: u64) -> ExpectedRate {
        ExpectedRate { at: MeasuredAt::Offered, rate: Rate::from_bits_per_second(bits), within: 0.9..=1.1 }
    }

    #[test]
    fn a_rate_is_reached_at_the_end_of_its_first_window() {
        let time = timeline().time_to_reach(&expected(16_000), 2.0, 10.0);
        assert!((1.35..1.65).contains(&time), "{time}");
        assert!(timeline().time_to_reach(&expected(8_000), 1.0, 10.0) <= WINDOW + 0.1);
    }

    #[test]
    fn a_rate_that_never_occurs_is_never_reached() {
        assert_eq!(timeline().time_to_reach(&expected(16_000), 0.0, 2.5), NEVER);
        assert_eq!(timeline().time_to_reach(&expected(90_000), 0.0, 10.0), NEVER);
        assert_eq!(Timeline::default().time_to_reach(&expected(1), 0.0, 1.0), NEVER);
    }
}
