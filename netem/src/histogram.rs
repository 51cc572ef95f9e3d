//! A histogram of times, with two significant digits.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Upper end of the histogram, in nanoseconds: one minute. Longer times count as one minute.
const LONGEST_NANOS: u64 = 60_000_000_000;

/// A count of times by their length.
#[derive(Debug, Clone)]
pub struct TimeHistogram(Histogram<u64>);

impl Default for TimeHistogram {
    fn default() -> Self {
        let histogram = Histogram::new_with_max(LONGEST_NANOS, 2);
        Self(histogram.expect("a range and 2 significant digits that the histogram accepts"))
    }
}

impl TimeHistogram {
    pub(crate) fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Returns the time at `quantile`; zero where nothing was recorded.
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(quantile))
    }

    /// Returns the times recorded after `earlier`, a copy of this same histogram.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut between = self.0.clone();
        between.subtract(&earlier.0).expect("an earlier copy has the same range and no larger counts");
        Self(between)
    }
}
