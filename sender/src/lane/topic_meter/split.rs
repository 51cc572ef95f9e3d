//! Sharing out bytes that were compressed together: by the bytes before compression, times what such bytes of each topic
//! came to so far. Bytes of one topic alone teach its ratio, and so do mixtures that vary.

use std::collections::HashMap;
use std::sync::Arc;

/// Part of the way that ratios move to those that would have given the bytes that were seen. Higher values follow the data
/// sooner, and its noise too.
const STEP: f64 = 0.2;
/// Least ratio.
const RATIO_MIN: f64 = 1e-4;

/// Shares `total` out by `weights`: the sum is exact, and each share is within one byte of its part. Without any weight
/// the shares are equal.
pub(crate) fn split(total: u64, weights: &[f64]) -> Vec<u64> {
    let sum: f64 = weights.iter().sum();
    let is_usable = sum.is_finite() && sum > 0.0;
    let mut reached = 0.0;
    let mut given = 0;
    let share = |(number, weight): (usize, &f64)| {
        reached += if is_usable { weight / sum } else { 1.0 / weights.len() as f64 };
        let is_last = number + 1 == weights.len();
        let until = if is_last { total } else { ((total as f64 * reached) as u64).clamp(given, total) };
        until - std::mem::replace(&mut given, until)
    };
    weights.iter().enumerate().map(share).collect()
}

/// Ratios that were learned of topics: bytes after compression for each one before.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    topics: HashMap<Arc<str>, f64>,
    /// Ratio of all bytes that came last.
    last: Option<f64>,
}

impl Learned {
    /// Shares `total` out among topics with so many bytes before compression each, and learns from it. The sum is exact.
    pub(crate) fn share_out(&mut self, total: u64, parts: &[(&Arc<str>, u64)]) -> Vec<u64> {
        let before: f64 = parts.iter().map(|(_, before)| *before as f64).sum();
        let ratio = total as f64 / before.max(1.0);
        let new = self.last.unwrap_or(ratio);
        let known: Vec<_> = parts.iter().map(|(topic, _)| *self.topics.get(*topic).unwrap_or(&new)).collect();
        let expected: Vec<_> = parts.iter().zip(&known).map(|((_, before), ratio)| *before as f64 * ratio).collect();
        self.last = Some(ratio);
        // Normalised least mean squares: those ratios move most whose topics have most of the bytes.
        let error = total as f64 - expected.iter().sum::<f64>();
        let energy: f64 = parts.iter().map(|(_, before)| (*before as f64).powi(2)).sum();
        for ((topic, before), ratio) in parts.iter().zip(known) {
            let moved = ratio + STEP * error * *before as f64 / energy.max(1.0);
            self.topics.insert(Arc::clone(topic), moved.max(RATIO_MIN));
        }
        split(total, &expected)
    }

    /// Forgets topics that `keeps` does not name.
    pub(crate) fn retain(&mut self, keeps: impl Fn(&str) -> bool) {
        self.topics.retain(|topic, _| keeps(topic));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn shares_add_up_and_are_fair(total in 0_u64..1 << 50, weights in prop::collection::vec(0.0_f64..1e12, 1..40)) {
            let shares = split(total, &weights);
            prop_assert_eq!(shares.iter().sum::<u64>(), total);
            let sum: f64 = weights.iter().sum();
            for (share, weight) in shares.iter().zip(&weights).filter(|_| sum > 0.0) {
                let fair = total as f64 * weight / sum;
                prop_assert!((*share as f64 - fair).abs() <= 2.0 + total as f64 * 1e-9, "{} {}", share, fair);
            }
        }

        #[test]
        fn learned_shares_add_up(frames in prop::collection::vec((0_u64..1 << 24, [0_u64..1 << 24, 0_u64..1 << 24, 0..3]), 1..60)) {
            let names = ["a", "b", "c"].map(Arc::<str>::from);
            let mut learned = Learned::default();
            for (total, before) in frames {
                let parts: Vec<_> = names.iter().zip(before).collect();
                let shares = learned.share_out(total, &parts);
                prop_assert_eq!(shares.iter().sum::<u64>(), total);
            }
        }
    }

    #[test]
    fn without_weights_the_shares_are_equal() {
        assert_eq!(split(10, &[0.0, 0.0]), [5, 5]);
        assert_eq!(split(7, &[f64::NAN]), [7]);
        assert_eq!(split(7, &[]), [0; 0]);
    }

    #[test]
    fn varying_mixtures_teach_what_each_topic_costs() {
        // One topic shrinks to a tenth, the other does not: by bytes before compression each would cost 0.55 per byte.
        let [text, noise] = ["text", "noise"].map(Arc::<str>::from);
        let mut learned = Learned::default();
        let mut costs = [0, 0];
        for frame in 0_u64..400 {
            let before = [(frame * 7_919) % 50_000, (frame * 104_729) % 50_000];
            let total = before[0] / 10 + before[1];
            let shares = learned.share_out(total, &[(&text, before[0]), (&noise, before[1])]);
            if frame >= 200 {
                costs[0] += shares[0].abs_diff(before[0] / 10);
                costs[1] += before[0] / 10;
            }
        }
        let error = costs[0] as f64 / costs[1] as f64;
        assert!(error < 0.2, "{error}");
    }
}
