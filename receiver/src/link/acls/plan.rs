//! Plan of a link: what each rule of the source becomes in the target, and why it does not. Sans-IO.
//!
//! A rule for one name stays one rule. A rule for a prefix becomes one for each carried name, because a prefix would reach
//! other names of the target too. What changes a topic or a group is held back until the link is promoted: before, it is the
//! only one to write there.

use std::collections::HashSet;
use std::sync::Arc;

use wire::acl::{Acl, AclOperation, AclPattern, AclPermission, AclResource};

use super::snapshot::Snapshot;
use crate::link::LinkSettings;

/// Most entries of a plan.
const ENTRIES_MAX: usize = 10_000;
/// Most bytes of their texts. librdkafka 2.12.1 has all principals and hosts of an answer on the stack of its thread, which
/// has 8 MiB: a target with more of them would end every process that reads them.
const BYTES_MAX: usize = 1 << 20;
/// Longest principal and host of a rule that is followed, in bytes.
const PRINCIPAL_MAX: usize = 256;
const HOST_MAX: usize = 64;
/// Reason of an allowance that is not followed.
const DENIED: &str = "the source also denies it by a rule that is not followed";
/// Operations on topics that readers need, and that change nothing.
pub(super) const OF_TOPIC_READERS: &[AclOperation] =
    &[AclOperation::Read, AclOperation::Describe, AclOperation::DescribeConfigs];
/// Operations on groups that readers need.
const OF_GROUP_READERS: &[AclOperation] = &[AclOperation::Read, AclOperation::Describe];

/// Topics and groups that the link carries.
#[derive(Debug, Clone, Default)]
pub(crate) struct Carried {
    /// Topics with a stored position, by their names at the source.
    pub(crate) topics: HashSet<String>,
    /// Groups with offsets that the link has committed, by their names in the target.
    pub(crate) groups: HashSet<String>,
    /// Those of the topics that were switched over alone: applications write to them.
    pub(crate) switched_over: HashSet<String>,
    /// The link is promoted: applications write to what it carried, so that nothing is held back.
    pub(crate) is_promoted: bool,
}

/// What a rule of the source becomes in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) source: Arc<Acl>,
    /// Rule for principals that applies.
    pub(crate) by: Option<Arc<str>>,
    /// Rule in the target; `None` if there can be none.
    pub(crate) target: Option<Acl>,
    pub(crate) verdict: Verdict,
}

/// Decision about an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The target shall have it.
    Wanted,
    /// The link does not carry its topic or group yet. What was made of it stays.
    NotCarried,
    /// The target does not get it while the link writes there.
    HeldBack,
    /// The target does not get it, for this reason.
    NotFollowed(&'static str),
}

/// Plan under construction.
struct Planner<'a> {
    settings: &'a LinkSettings,
    carried: &'a Carried,
    snapshot: &'a Snapshot,
    entries: Vec<Entry>,
    bytes: usize,
}

/// Makes the plan of a reading.
/// Error: a sentence; nothing may be made or taken away then.
pub(crate) fn make(settings: &LinkSettings, snapshot: &Snapshot, carried: &Carried) -> Result<Vec<Entry>, String> {
    let mut planner = Planner { settings, carried, snapshot, entries: Vec::new(), bytes: 0 };
    // Denials first: an allowance depends on them.
    let denials = || snapshot.rules.iter().filter(|rule| rule.permission == AclPermission::Deny);
    let unmade: Vec<&Acl> = denials().filter(|rule| planner.principal(rule).is_err()).collect();
    for rule in denials() {
        planner.add_rule(rule, &[])?;
    }
    for rule in snapshot.rules.iter().filter(|rule| rule.permission == AclPermission::Allow) {
        planner.add_rule(rule, &unmade)?;
    }
    Ok(planner.entries)
}

impl Planner<'_> {
    fn add_rule(&mut self, rule: &Acl, unmade: &[&Acl]) -> Result<(), String> {
        let source = Arc::new(rule.clone());
        let not_followed = |reason| Entry {
            source: Arc::clone(&source),
            by: None,
            target: None,
            verdict: Verdict::NotFollowed(reason),
        };
        let (principal, by) = match self.principal(rule) {
            Ok(named) => named,
            Err(reason) => return self.push(not_followed(reason)),
        };
        if rule.is_about_all() && rule.permission == AclPermission::Allow {
            return self.push(not_followed("it is about all names, and would reach what the link does not carry"));
        }
        let snapshot = self.snapshot;
        let names = match rule.resource {
            AclResource::Topic => &snapshot.topics,
            AclResource::Group => &snapshot.groups,
        };
        for name in names.iter().filter(|name| rule.applies_to(name)) {
            let verdict = self.verdict_on(rule, name, unmade);
            let held_back = self.verdict_on_held_back(rule, name, unmade, &verdict);
            for (operation, verdict) in operations(rule, &verdict, &held_back) {
                let target = Acl {
                    pattern: AclPattern::Literal,
                    name: self.target_name(rule.resource, name),
                    principal: principal.clone(),
                    operation,
                    ..rule.clone()
                };
                self.push(Entry {
                    source: Arc::clone(&source),
                    by: Some(Arc::clone(&by)),
                    target: Some(target),
                    verdict,
                })?;
            }
        }
        Ok(())
    }

    /// Returns the principal that a rule has in the target, with the rule that names it. An error says why it has none: the
    /// rule is not followed, and if it denies something, what it denies is not allowed either.
    fn principal(&self, rule: &Acl) -> Result<(String, Arc<str>), &'static str> {
        if [&rule.name, &rule.principal, &rule.host].iter().any(|text| text.contains(char::is_control)) {
            return Err("a text of it has control characters");
        }
        let named = self.settings.acls.apply(&rule.principal);
        let (principal, by) = named.ok_or("no rule of `acl_principals` names its principal, or `acl_exclude` does")?;
        if principal.len() > PRINCIPAL_MAX || rule.host.len() > HOST_MAX {
            return Err("its principal has more than 256 bytes, or its host more than 64");
        }
        Ok((principal, by))
    }

    /// Decides about a rule for one name, as far as its operation may be followed.
    fn verdict_on(&self, rule: &Acl, name: &str, unmade: &[&Acl]) -> Verdict {
        let is_carried = match rule.resource {
            AclResource::Topic => {
                if !self.settings.topics.matches(name) {
                    return Verdict::NotFollowed("`links.topics` does not allow the topic");
                }
                self.carried.topics.contains(name)
            }
            AclResource::Group => {
                if !self.settings.acls.names_group(name) {
                    return Verdict::NotFollowed("`links.acl_groups` does not name the group");
                }
                self.carried.groups.contains(&self.target_name(rule.resource, name))
            }
        };
        if name == "*" || name.contains(char::is_control) {
            return Verdict::NotFollowed("its name is none for one resource");
        }
        let is_of_readers =
            |denial: &Acl| denial.operation == AclOperation::All || readers(rule.resource).contains(&denial.operation);
        if unmade.iter().any(|denial| may_deny(denial, rule, name) && is_of_readers(denial)) {
            return Verdict::NotFollowed(DENIED);
        }
        if is_carried { Verdict::Wanted } else { Verdict::NotCarried }
    }

    /// Decides about the part of a rule that readers do not need.
    fn verdict_on_held_back(&self, rule: &Acl, name: &str, unmade: &[&Acl], verdict: &Verdict) -> Verdict {
        match verdict {
            Verdict::NotFollowed(reason) => Verdict::NotFollowed(reason),
            _ if !self.is_given(rule.resource, name) => Verdict::HeldBack,
            _ if unmade.iter().any(|denial| may_deny(denial, rule, name)) => Verdict::NotFollowed(DENIED),
            verdict => verdict.clone(),
        }
    }

    /// Returns whether applications may write to a topic, or change a group: the link does not any more.
    fn is_given(&self, resource: AclResource, name: &str) -> bool {
        self.carried.is_promoted || resource == AclResource::Topic && self.carried.switched_over.contains(name)
    }

    fn target_name(&self, resource: AclResource, name: &str) -> String {
        match resource {
            AclResource::Topic => self.settings.rename.apply(name),
            AclResource::Group => self.settings.rename_groups.apply(name),
        }
    }

    fn push(&mut self, entry: Entry) -> Result<(), String> {
        self.bytes += entry.target.as_ref().map_or(0, Acl::text_bytes);
        if self.entries.len() >= ENTRIES_MAX || self.bytes > BYTES_MAX {
            return Err(format!(
                "the rules of the source become more than {ENTRIES_MAX} in the target, or {} MiB: none of them is \
                 followed; exclude principals with `acl_exclude`",
                BYTES_MAX >> 20
            ));
        }
        self.entries.push(entry);
        Ok(())
    }
}

fn readers(resource: AclResource) -> &'static [AclOperation] {
    match resource {
        AclResource::Topic => OF_TOPIC_READERS,
        AclResource::Group => OF_GROUP_READERS,
    }
}

/// Returns the operations that a rule becomes, each with its verdict. What readers need of `All` stays when the link is
/// promoted: they shall not be without it for a moment.
fn operations(rule: &Acl, verdict: &Verdict, held_back: &Verdict) -> Vec<(AclOperation, Verdict)> {
    let readers = readers(rule.resource);
    if readers.contains(&rule.operation) {
        return vec![(rule.operation, verdict.clone())];
    }
    let parts = readers.iter().filter(|_| rule.operation == AclOperation::All);
    let parts = parts.map(|&operation| (operation, verdict.clone()));
    parts.chain([(rule.operation, held_back.clone())]).collect()
}

/// Returns whether a denial may be about what a rule allows for a name, but for its operation.
fn may_deny(denial: &Acl, rule: &Acl, name: &str) -> bool {
    denial.resource == rule.resource && denial.applies_to(name) && may_be_the_same(&denial.principal, &rule.principal)
}

/// Returns whether two principals may be one user's: equal ones, everyone, and those of different types, such as a group.
fn may_be_the_same(one: &str, other: &str) -> bool {
    let of = |principal: &str| principal.split_once(':').map(|(kind, name)| (kind.to_owned(), name == "*"));
    match (of(one), of(other)) {
        (Some((kind, false)), Some((other_kind, false))) if kind == other_kind => one == other,
        _ => true,
    }
}
