//! Access control lists of the source: the rules that apply to carried topics and groups, and the messages with them.

use std::collections::{BTreeMap, BTreeSet};

use service::topics::TopicFilter;
use wire::acl::{Acl, AclPattern, AclPermission, AclResource};
use wire::control::Control;
use wire::limits::{ACL_NAMES_MAX, ACLS_MAX, CONTROL_BYTES_MAX, STRING_MAX};

/// Most rules of one reading.
const RULES_MAX: usize = 10_000;
/// Most bytes of the texts of one reading.
const BYTES_MAX: usize = 4 << 20;
/// Bytes of a message up to which more is added to it. A rule has at most three texts of 1 KiB.
const MESSAGE_BYTES: usize = CONTROL_BYTES_MAX / 4;
/// Bytes of a rule or a name besides its texts, at most.
const NUMBERS_BYTES: usize = 20;

/// Answer of a cluster that states no rule about anything.
pub(crate) const NONE_STATED: &str = "the source states no access control lists at all: its authorizer is off, or the \
    sender's user lacks Describe on the cluster; nothing is taken away in the target meanwhile";

/// Topics and groups whose rules are carried.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Topics that are carried now.
    pub(crate) topics: BTreeSet<String>,
    /// Topics that match, and are not carried: another link brought them.
    pub(crate) left_out: BTreeSet<String>,
    pub(crate) filter: TopicFilter,
    pub(crate) groups: BTreeSet<String>,
}

/// Rules of the source at one moment, with the topics and groups to which they apply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) rules: BTreeSet<Acl>,
    pub(crate) topics: BTreeSet<String>,
    pub(crate) groups: BTreeSet<String>,
}

impl Reading {
    /// Chooses the rules that apply to what is carried. A topic of the reading `before` that still matches is kept: the
    /// source hides topics that one may no longer read.
    /// Error: a sentence; nothing of it may be sent.
    pub(crate) fn choose(stated: Option<Vec<Acl>>, wanted: &Wanted, before: Option<&Self>) -> Result<Self, String> {
        let stated = stated.ok_or(NONE_STATED)?;
        let known = before.into_iter().flat_map(|before| &before.topics).filter(|topic| wanted.may_carry(topic));
        let topics: BTreeSet<String> = wanted.topics.iter().chain(known).cloned().collect();
        let mut reading = Self::default();
        let mut bytes = 0;
        for rule in stated {
            let names = match rule.resource {
                AclResource::Topic => wanted.topics_of(&rule, &topics),
                AclResource::Group => names_of(&rule, &wanted.groups),
            };
            if names.is_empty() {
                continue;
            }
            if rule.name.len().max(rule.principal.len()).max(rule.host.len()) > STRING_MAX {
                return Err(format!("a rule has a text of more than {STRING_MAX} bytes"));
            }
            bytes += rule.text_bytes();
            let known = match rule.resource {
                AclResource::Topic => &mut reading.topics,
                AclResource::Group => &mut reading.groups,
            };
            // One that allows something to all names is not followed: the names are not needed.
            let is_open = rule.is_about_all() && rule.permission == AclPermission::Allow;
            for name in names.into_iter().filter(|_| !is_open) {
                let length = name.len();
                bytes += if known.insert(name) { length } else { 0 };
            }
            reading.rules.insert(rule);
        }
        let count = reading.rules.len();
        if count > RULES_MAX || bytes > BYTES_MAX {
            let limit = format!("{RULES_MAX} rules, {} MiB", BYTES_MAX >> 20);
            return Err(format!(
                "{count} rules of {} KiB apply to what is carried, above the limit of {limit}: none of them is followed",
                bytes >> 10
            ));
        }
        Ok(reading)
    }

    /// Returns the messages with the whole reading.
    pub(crate) fn messages(&self) -> Vec<Control> {
        let mut messages = Messages::default();
        self.rules.iter().for_each(|rule| messages.add(Part::Rule(rule.clone())));
        self.topics.iter().for_each(|topic| messages.add(Part::Topic(topic.clone())));
        self.groups.iter().for_each(|group| messages.add(Part::Group(group.clone())));
        messages.finish()
    }

    /// Returns the number of rules of each kind of resource.
    pub(crate) fn counts(&self) -> BTreeMap<AclResource, usize> {
        let mut counts = BTreeMap::new();
        self.rules.iter().for_each(|rule| *counts.entry(rule.resource).or_default() += 1);
        counts
    }
}

impl Wanted {
    fn may_carry(&self, topic: &str) -> bool {
        self.filter.matches(topic) && !self.left_out.contains(topic)
    }

    /// Returns the topics among these to which a rule applies. A topic that the rule itself names needs not be seen.
    fn topics_of(&self, rule: &Acl, topics: &BTreeSet<String>) -> Vec<String> {
        if rule.pattern == AclPattern::Literal && !rule.is_about_all() {
            return self.may_carry(&rule.name).then(|| rule.name.clone()).into_iter().collect();
        }
        names_of(rule, topics)
    }
}

/// Returns the names among these to which a rule applies.
fn names_of(rule: &Acl, names: &BTreeSet<String>) -> Vec<String> {
    names.iter().filter(|name| rule.applies_to(name)).cloned().collect()
}

enum Part {
    Rule(Acl),
    Topic(String),
    Group(String),
}

#[derive(Default)]
struct Messages {
    full: Vec<Control>,
    rules: Vec<Acl>,
    topics: Vec<String>,
    groups: Vec<String>,
    bytes: usize,
}

impl Messages {
    fn add(&mut self, part: Part) {
        let count = self.rules.len().max(self.topics.len()).max(self.groups.len());
        if self.bytes >= MESSAGE_BYTES || count >= ACLS_MAX.min(ACL_NAMES_MAX) {
            let message = self.close(false);
            self.full.push(message);
        }
        self.bytes += NUMBERS_BYTES;
        match part {
            Part::Rule(rule) => {
                self.bytes += rule.text_bytes();
                self.rules.push(rule);
            }
            Part::Topic(name) => {
                self.bytes += name.len();
                self.topics.push(name);
            }
            Part::Group(name) => {
                self.bytes += name.len();
                self.groups.push(name);
            }
        }
    }

    fn close(&mut self, last: bool) -> Control {
        self.bytes = 0;
        Control::Acls {
            acls: std::mem::take(&mut self.rules),
            topics: std::mem::take(&mut self.topics),
            groups: std::mem::take(&mut self.groups),
            last,
        }
    }

    fn finish(mut self) -> Vec<Control> {
        let last = self.close(true);
        self.full.into_iter().chain([last]).collect()
    }
}

#[cfg(test)]
mod tests {
    use service::topics::TopicPattern;
    use wire::acl::AclOperation;
    use wire::codec::encode_control;

    use super::*;

    fn rule(resource: AclResource, pattern: AclPattern, name: &str) -> Acl {
        Acl {
            resource,
            pattern,
            name: name.to_owned(),
            principal: "User:alice".to_owned(),
            host: "*".to_owned(),
            operation: AclOperation::Read,
            permission: AclPermission::Allow,
        }
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn wanted(topics: &[&str]) -> Wanted {
        let filter = TopicFilter::new(vec![TopicPattern::parse("orders.*").unwrap()], vec![]);
        let groups = names(&["billing", "app-1"]);
        Wanted { topics: names(topics), left_out: names(&["orders-back"]), filter, groups }
    }

    #[test]
    fn only_rules_about_what_is_carried_leave_the_source() {
        use AclPattern::{Literal, Prefixed};
        use AclResource::{Group, Topic};
        let sent = [
            rule(Topic, Literal, "orders-1"),
            rule(Topic, Literal, "orders-hidden"),
            rule(Topic, Prefixed, "ord"),
            rule(Topic, Literal, "*"),
            rule(Group, Literal, "billing"),
            rule(Group, Prefixed, "app-"),
        ];
        let kept = [
            rule(Topic, Literal, "salaries"),
            rule(Topic, Literal, "orders-back"),
            rule(Topic, Prefixed, "sal"),
            rule(Group, Literal, "salaries"),
            rule(Group, Prefixed, "sal"),
        ];
        let stated = sent.iter().chain(&kept).cloned().collect();
        let reading = Reading::choose(Some(stated), &wanted(&["orders-1", "orders-2"]), None).unwrap();
        assert_eq!(reading.rules, sent.into_iter().collect());
        assert_eq!(reading.topics, names(&["orders-1", "orders-2", "orders-hidden"]));
        assert_eq!(reading.groups, names(&["app-1", "billing"]));
    }

    #[test]
    fn a_source_that_states_nothing_is_unknown_and_not_empty() {
        assert!(Reading::choose(None, &wanted(&["orders-1"]), None).unwrap_err().contains("Describe on the cluster"));
        let other = vec![rule(AclResource::Topic, AclPattern::Literal, "salaries")];
        assert_eq!(Reading::choose(Some(other), &wanted(&["orders-1"]), None), Ok(Reading::default()));
    }

    #[test]
    fn a_topic_that_the_source_hides_keeps_its_rules() {
        let prefix = || Some(vec![rule(AclResource::Topic, AclPattern::Prefixed, "orders")]);
        let before = Reading::choose(prefix(), &wanted(&["orders-1", "orders-2"]), None).unwrap();
        let now = Reading::choose(prefix(), &wanted(&["orders-1"]), Some(&before)).unwrap();
        assert_eq!(now, before);
        let mut excluded = wanted(&["orders-1"]);
        excluded.filter = TopicFilter::new(vec![TopicPattern::parse("orders-1").unwrap()], vec![]);
        let now = Reading::choose(prefix(), &excluded, Some(&before)).unwrap();
        assert_eq!(now.topics, names(&["orders-1"]), "the link has left it");
    }

    #[test]
    fn what_is_too_much_is_refused_as_a_whole() {
        let many = (0..=RULES_MAX).map(|n| Acl {
            host: format!("10.0.{}.{}", n >> 8, n & 255),
            ..rule(AclResource::Topic, AclPattern::Literal, "orders-1")
        });
        let refused = Reading::choose(Some(many.collect()), &wanted(&["orders-1"]), None).unwrap_err();
        assert!(refused.starts_with("10001 rules") && refused.contains("limit of 10000 rules, 4 MiB"), "{refused}");
    }

    #[test]
    fn no_message_exceeds_the_limits_of_the_wire() {
        let long = |n: usize| format!("{n:0>1024}");
        let rules = (0..2_500).map(|n| Acl {
            principal: long(n),
            host: long(n),
            ..rule(AclResource::Topic, AclPattern::Literal, &long(n))
        });
        let topics = (0..2_500).map(|n| format!("{n:0>249}")).collect();
        let reading = Reading { rules: rules.collect(), topics, groups: (0..2_500).map(long).collect() };
        let mut found = Reading::default();
        let messages = reading.messages();
        for (at, message) in messages.iter().enumerate() {
            // It asserts the limits.
            drop(encode_control(message));
            let Control::Acls { acls, topics, groups, last } = message.clone() else { panic!("another message") };
            assert_eq!(last, at + 1 == messages.len());
            found.rules.extend(acls);
            found.topics.extend(topics);
            found.groups.extend(groups);
        }
        assert!(found == reading && messages.len() > 10);
        assert_eq!(Reading::default().messages().len(), 1, "that there are none is sent too");
    }
}
