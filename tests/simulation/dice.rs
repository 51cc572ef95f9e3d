//! The random numbers of a run, which all follow from its seed.

use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Shared random number generator.
#[derive(Clone)]
pub(crate) struct Dice(Arc<Mutex<StdRng>>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// Draws a number below `end`.
    pub(crate) fn below(&self, end: u64) -> u64 {
        self.0.lock().unwrap().random_range(0..end)
    }

    /// Draws a number from `first` to `last`.
    pub(crate) fn within(&self, first: u64, last: u64) -> u64 {
        self.0.lock().unwrap().random_range(first..=last)
    }

    /// Draws `true` with a probability of `per_mille` / 1000.
    pub(crate) fn chance(&self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}
