//! What crossed the path as time passed, and how soon it was what it should be.

use serde::{Deserialize, Serialize};

use super::cell::{Expect, Flow, NEVER};

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// Seconds since the warm-up's end.
    pub(crate) at: f64,
    /// Bytes of whole packets that have entered the path at the source.
    pub(crate) offered: u64,
    /// That have left it at the target.
    pub(crate) delivered: u64,
    /// Of record values at the sink.
    pub(crate) goodput: u64,
}

/// Over how long a rate is taken when the question is whether it is what it should be: long enough for some hundred
/// packets at 5 Mbit/s, short enough for a bound of 1 s.
pub(crate) const WINDOW: f64 = 0.5;

/// Points in the order of their times.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Timeline(pub(crate) Vec<Point>);

impl Timeline {
    /// Seconds from `since` until `expect` was met for a whole [`WINDOW`], the window included; [`NEVER`] if it was
    /// not before `until`.
    pub(crate) fn settled(&self, expect: &Expect, since: f64, until: f64) -> f64 {
        let bytes = |point: &Point| match expect.flow {
            Flow::Offered => point.offered,
            Flow::Delivered => point.delivered,
        };
        let rate = expect.rate.bits_per_second() as f64;
        let (low, high) = (expect.within.0 * rate, expect.within.1 * rate);
        let after: Vec<&Point> = self.0.iter().filter(|point| (since..=until).contains(&point.at)).collect();
        for (index, first) in after.iter().enumerate() {
            let Some(last) = after[index..].iter().find(|point| point.at - first.at >= WINDOW) else { break };
            let found = (bytes(last) - bytes(first)) as f64 * 8.0 / (last.at - first.at);
            if (low..=high).contains(&found) {
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

    /// 100 bytes in a tenth of a second, and from 3 s on twice that.
    fn timeline() -> Timeline {
        let mut offered = 0;
        let mut point = |tenth: i32| {
            let at = f64::from(tenth) / 10.0;
            offered += if at > 3.0 { 200 } else { 100 };
            Point { at, offered, ..Point::default() }
        };
        Timeline((0..100).map(&mut point).collect())
    }

    fn expect(bits: u64) -> Expect {
        Expect { flow: Flow::Offered, rate: Rate::from_bits_per_second(bits), within: (0.9, 1.1) }
    }

    #[test]
    fn a_rate_is_settled_at_the_end_of_the_first_window_that_has_it() {
        let settled = timeline().settled(&expect(16_000), 2.0, 10.0);
        assert!((1.35..1.65).contains(&settled), "{settled}");
        assert!(timeline().settled(&expect(8_000), 1.0, 10.0) <= WINDOW + 0.1);
    }

    #[test]
    fn a_rate_that_does_not_come_is_never_settled() {
        assert_eq!(timeline().settled(&expect(16_000), 0.0, 2.5), NEVER);
        assert_eq!(timeline().settled(&expect(90_000), 0.0, 10.0), NEVER);
        assert_eq!(Timeline::default().settled(&expect(1), 0.0, 1.0), NEVER);
    }
}
