//! Counts of ended sessions, by close code.

use std::collections::BTreeMap;

use service::lock::Lock;
use wire::close::CloseCode;

/// Counts of close codes; the table of codes bounds them.
#[derive(Debug, Default)]
pub struct CloseTally(Lock<BTreeMap<&'static str, u64>>);

impl CloseTally {
    /// Counts one more session that ended with `code`.
    pub fn add(&self, code: CloseCode) {
        *self.0.lock().entry(code.name()).or_default() += 1;
    }

    pub fn counts(&self) -> BTreeMap<String, u64> {
        let counts = self.0.lock();
        counts.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect()
    }
}
