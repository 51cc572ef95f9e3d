//! How often sessions ended, by close code.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use wire::close::CloseCode;

/// Counts close codes; their table bounds it.
#[derive(Debug, Default)]
pub struct CloseTally(Mutex<BTreeMap<&'static str, u64>>);

impl CloseTally {
    /// One more ended with `code`.
    pub fn add(&self, code: CloseCode) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(code.name()).or_default() += 1;
    }

    /// Each code that occurred, by its name.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect()
    }
}
