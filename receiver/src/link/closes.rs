//! Counts of ended sessions, by close code.

use std::collections::BTreeMap;
use std::sync::Mutex;

use wire::close::CloseCode;

use crate::lock::lock;

/// Counts of close codes; the table of codes bounds them.
#[derive(Debug, Default)]
pub struct CloseTally(Mutex<BTreeMap<&'static str, u64>>);

impl CloseTally {
    /// Counts one more session that ended with `code`.
    pub fn add(&self, code: CloseCode) {
        *lock(&self.0).entry(code.name()).or_default() += 1;
    }

    pub fn counts(&self) -> BTreeMap<String, u64> {
        let counts = lock(&self.0);
        counts.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect()
    }
}
