//! Topics of the present session whose target topics cannot be used at all, for `status`: their halts are not stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use service::lock::Lock;
use service::log_limit::LogLimit;
use wire::halt::HaltReason;

use crate::target::state::HaltRecord;

/// Most topics of a link that status names as refused.
const NAMED_MAX: usize = 100;

/// Source topics whose target topics the cluster refuses, each with the reason.
#[derive(Debug, Default)]
pub struct RefusedTopics(Lock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    topics: BTreeMap<String, String>,
    lines: LogLimit,
}

impl RefusedTopics {
    /// Begins a session, in which every topic is decided again.
    pub(crate) fn begun(self: &Arc<Self>) -> Arc<Self> {
        self.0.lock().topics.clear();
        Arc::clone(self)
    }

    /// Notes the decision about a partition of a topic: its halt, or `None`.
    pub(crate) fn note(&self, topic: &str, halt: Option<&HaltRecord>) {
        let mut inner = self.0.lock();
        let Some(halt) = halt.filter(|halt| halt.reason == HaltReason::TargetRefused.word()) else {
            inner.topics.remove(topic);
            return;
        };
        if inner.topics.len() < NAMED_MAX
            && inner.topics.insert(topic.to_owned(), halt.detail.clone()).is_none()
            && let Some(left_out) = inner.lines.poll(Instant::now())
        {
            let HaltRecord { reason, detail } = halt;
            tracing::error!(topic, reason, detail, left_out, "the target refuses a topic; the others continue");
        }
    }

    /// Returns a sentence for each topic, in order.
    pub fn sentences(&self) -> Vec<String> {
        let inner = self.0.lock();
        inner.topics.iter().map(|(topic, detail)| format!("target-refused: {topic}: {detail}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_topic_is_named_until_it_can_be_used() {
        let refused = Arc::new(RefusedTopics::default());
        let halt = HaltRecord::new(HaltReason::TargetRefused, "a policy");
        refused.note("a", Some(&halt));
        refused.note("b", Some(&HaltRecord::new(HaltReason::TargetNotEmpty, "9 records")));
        assert_eq!(refused.sentences(), ["target-refused: a: a policy"]);
        refused.note("a", None);
        assert!(refused.sentences().is_empty());
        (0..1000).for_each(|number| refused.note(&format!("t{number}"), Some(&halt)));
        assert_eq!(refused.sentences().len(), NAMED_MAX);
        assert!(refused.begun().sentences().is_empty());
    }
}
