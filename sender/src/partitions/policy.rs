//! What is done about a halt without asking anybody: by topic, as configured.

use service::topics::TopicFilter;
use wire::halt::{HaltReason, Skip};

/// What to do about halts of a topic; the default stops until a human acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Nothing.
    Stop,
    /// Leave out what cannot be carried.
    Skip,
    /// Carry a topic that was made again, from its start.
    NewIncarnation,
}

/// One entry of the configuration.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Which topics.
    pub topics: TopicFilter,
    /// What to do about their halts.
    pub policy: Vec<Policy>,
}

/// Every entry, in the order written: the first that matches a topic counts.
#[derive(Debug, Clone, Default)]
pub struct Policies(pub Vec<Rule>);

impl Policies {
    /// The policy that skips what a halt of `topic` is about; `None` if a human must act.
    pub fn skips(&self, topic: &str, reason: HaltReason) -> Option<&'static str> {
        let rule = self.0.iter().find(|rule| rule.topics.matches(topic))?;
        let (needed, why) = match reason.skip() {
            Skip::OneRecord | Skip::LogStart | Skip::LogEnd => (Policy::Skip, "policy: skip"),
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
    fn the_first_entry_that_matches_counts_and_does_only_what_it_says() {
        let policies = Policies(vec![
            rule("clicks.audit", &[Policy::Stop]),
            rule("clicks.*", &[Policy::Skip]),
            rule("cache", &[Policy::Skip, Policy::NewIncarnation]),
        ]);
        let (lost, again) = (HaltReason::RetentionOvertook, HaltReason::TopicRecreated);
        assert_eq!(policies.skips("clicks.web", lost), Some("policy: skip"));
        assert_eq!(policies.skips("clicks.web", HaltReason::RecordRejected), Some("policy: skip"));
        assert_eq!(policies.skips("clicks.web", again), None);
        assert_eq!(policies.skips("clicks.audit", lost), None);
        assert_eq!(policies.skips("cache", again), Some("policy: new-incarnation"));
        assert_eq!(policies.skips("orders", lost), None, "stop is the default");
        assert_eq!(policies.skips("cache", HaltReason::TargetReplaced), None, "there is nothing to skip");
    }
}
