//! Policies for halts, by topic: halts that are lifted without an operator.

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
}

#[cfg(test)]
mod tests {
    use super::*;
    use service::topics::TopicPattern;

    fn rule(topics: &str, policy: &[Policy]) -> Rule {
        let topics = TopicFilter::new(vec![TopicPattern::parse(topics).unwrap()], Vec::new());
        Rule { topics, policy: policy.to_vec() }
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
