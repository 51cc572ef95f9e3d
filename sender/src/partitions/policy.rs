//! Policies by topic: halts that are lifted, and deleted topics that are forgotten, without an operator.

use std::time::Duration;

use service::topics::TopicFilter;
use wire::halt::{HaltReason, Skip};

/// Policy for the halts of a topic; the default waits for an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Wait for an operator.
    Stop,
    /// Skip records that cannot be carried.
    Skip,
    /// Carry a recreated topic from its start.
    NewIncarnation,
}

/// Entry of the configuration.
#[derive(Debug, Clone)]
pub struct Rule {
    pub topics: TopicFilter,
    pub policy: Vec<Policy>,
    /// Time after which a topic that the source deleted is forgotten.
    pub forget_after: Option<Duration>,
}

/// Entries of the configuration, in the order written: the first that matches a topic counts.
#[derive(Debug, Clone, Default)]
pub struct Policies(pub Vec<Rule>);

impl Policies {
    /// Returns the policy that lifts this halt of `topic`; `None` if an operator must act.
    pub fn skips(&self, topic: &str, reason: HaltReason) -> Option<&'static str> {
        let rule = self.0.iter().find(|rule| rule.topics.matches(topic))?;
        let (needed, why) = match reason.skip() {
            Skip::OneRecord | Skip::LogStart | Skip::LogEnd | Skip::InPlace => (Policy::Skip, "policy: skip"),
            Skip::NewIncarnation => (Policy::NewIncarnation, "policy: new-incarnation"),
            Skip::Nowhere => return None,
        };
        rule.policy.contains(&needed).then_some(why)
    }

    /// Returns the time after which a deleted topic is forgotten; `None` if an operator must do it.
    pub fn forget_after(&self, topic: &str) -> Option<Duration> {
        self.0.iter().find(|rule| rule.topics.matches(topic))?.forget_after
    }

    /// Returns whether any topic is forgotten without an operator.
    pub fn forget_any(&self) -> bool {
        self.0.iter().any(|rule| rule.forget_after.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use service::topics::TopicPattern;

    fn rule(topics: &str, policy: &[Policy]) -> Rule {
        let topics = TopicFilter::new(vec![TopicPattern::parse(topics).unwrap()], Vec::new());
        Rule { topics, policy: policy.to_vec(), forget_after: None }
    }

    #[test]
    fn the_first_matching_entry_counts_and_does_only_its_part() {
        let policies = Policies(vec![
            rule("clicks.audit", &[Policy::Stop]),
            rule("clicks.*", &[Policy::Skip]),
            rule("cache", &[Policy::Skip, Policy::NewIncarnation]),
        ]);
        let lost = HaltReason::RetentionOvertook;
        let again = HaltReason::TopicRecreated;
        assert_eq!(policies.skips("clicks.web", lost), Some("policy: skip"));
        assert_eq!(policies.skips("clicks.web", HaltReason::RecordRejected), Some("policy: skip"));
        assert_eq!(policies.skips("clicks.web", HaltReason::DeletesLost), Some("policy: skip"));
        assert_eq!(policies.skips("clicks.web", again), None);
        assert_eq!(policies.skips("clicks.audit", lost), None);
        assert_eq!(policies.skips("cache", again), Some("policy: new-incarnation"));
        assert_eq!(policies.skips("orders", lost), None, "stop is the default");
        assert_eq!(policies.skips("cache", HaltReason::TargetReplaced), None, "there is nothing to skip");
    }
}
