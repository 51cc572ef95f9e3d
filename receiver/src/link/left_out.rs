//! Settings that the created topics of a link lack, for `status`.

use std::collections::BTreeMap;

use service::lock::Lock;

/// Most topics of a link that status names as created without a setting.
const NAMED_MAX: usize = 100;

/// Settings that created topics of a link do not have because the target refused them, by target topic.
#[derive(Debug, Default)]
pub struct LeftOut(Lock<BTreeMap<String, Vec<String>>>);

impl LeftOut {
    pub(crate) fn record(&self, topic: &str, settings: Vec<String>) {
        let mut topics = self.0.lock();
        if topics.len() < NAMED_MAX {
            topics.insert(topic.to_owned(), settings);
        }
    }

    /// Returns a sentence for each topic, in order.
    pub fn sentences(&self) -> Vec<String> {
        let topics = self.0.lock();
        topics.iter().map(|(topic, settings)| format!("{topic}: {}", settings.join(", "))).collect()
    }
}
