//! Steps from what the target has to what a plan requires, and the state of each entry. Sans-IO.

use std::collections::{BTreeSet, HashMap, HashSet};

use wire::acl::{Acl, AclPermission, AclResource};

use super::board::AclState;
use super::ledger::AclLedger;
use super::plan::{Entry, OF_TOPIC_READERS, Verdict};

/// Steps in their order: at no moment is anything allowed that the source denies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Steps {
    /// Allowances of the link that nothing requires any more.
    pub(crate) take_allowances: Vec<Acl>,
    pub(crate) make_denials: Vec<Acl>,
    pub(crate) make_allowances: Vec<Acl>,
    pub(crate) take_denials: Vec<Acl>,
}

/// What the target refused, with the reasons.
pub(crate) type Failures = HashMap<Acl, String>;

impl Steps {
    /// Decides what has to be done. `groups` has the groups of the reading, by their names in the target: of others nothing
    /// is known, such as of one whose members have moved, so that its offsets have expired at the source. What was made for
    /// them stays.
    pub(crate) fn decide(plan: &[Entry], ledger: &AclLedger, target: &HashSet<Acl>, groups: &HashSet<String>) -> Self {
        let with = |verdicts: &[Verdict]| -> BTreeSet<&Acl> {
            let some = plan.iter().filter(|entry| verdicts.contains(&entry.verdict));
            some.filter_map(|entry| entry.target.as_ref()).collect()
        };
        let wanted = with(&[Verdict::Wanted]);
        let kept = with(&[Verdict::Wanted, Verdict::NotCarried]);
        let mut steps = Self::default();
        for &rule in wanted.iter().filter(|rule| !target.contains(**rule)) {
            match rule.permission {
                AclPermission::Deny => steps.make_denials.push(rule.clone()),
                AclPermission::Allow => steps.make_allowances.push(rule.clone()),
            }
        }
        let is_unknown = |rule: &&Acl| rule.resource == AclResource::Group && !groups.contains(&rule.name);
        // Those that the target does not show are taken away, too: a broker may show what was true a moment ago.
        for rule in ledger.rules().filter(|rule| !kept.contains(rule) && !is_unknown(rule)) {
            match rule.permission {
                AclPermission::Deny => steps.take_denials.push(rule.clone()),
                AclPermission::Allow => steps.take_allowances.push(rule.clone()),
            }
        }
        steps
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Leaves topics alone on which the link has made a right to write, or any other that readers do not need: they were given
    /// to their applications. What is denied at the source from then on is not denied to them.
    pub(crate) fn leave_given(&mut self, ledger: &AclLedger) {
        let given: HashSet<&str> =
            ledger.rules().filter(|rule| is_given(rule)).map(|rule| rule.name.as_str()).collect();
        let is_left = |rule: &Acl| rule.resource == AclResource::Topic && given.contains(rule.name.as_str());
        for rules in [&mut self.take_allowances, &mut self.take_denials, &mut self.make_denials] {
            rules.retain(|rule| !is_left(rule));
        }
    }

    /// Returns the rules to be made.
    pub(crate) fn made(&self) -> impl Iterator<Item = &Acl> {
        self.make_denials.iter().chain(&self.make_allowances)
    }

    /// Removes the allowances about names whose denials could not be made, and returns them.
    pub(crate) fn hold_undenied(&mut self, failures: &Failures) -> Vec<Acl> {
        let named = undenied(failures);
        let allowances = std::mem::take(&mut self.make_allowances);
        let (held, others) =
            allowances.into_iter().partition(|rule| named.contains(&(rule.resource, rule.name.as_str())));
        self.make_allowances = others;
        held
    }
}

/// Returns whether a rule allows to change a topic: the link makes it only when the topic is given to its applications.
fn is_given(rule: &Acl) -> bool {
    let is_allowed = rule.permission == AclPermission::Allow && rule.resource == AclResource::Topic;
    is_allowed && !OF_TOPIC_READERS.contains(&rule.operation)
}

/// Returns the names whose denials could not be made.
fn undenied(failures: &Failures) -> HashSet<(AclResource, &str)> {
    let denials = failures.keys().filter(|rule| rule.permission == AclPermission::Deny);
    denials.map(|rule| (rule.resource, rule.name.as_str())).collect()
}

/// Returns what the link has allowed about names whose denials could not be made.
pub(crate) fn allowed_undenied(ledger: &AclLedger, failures: &Failures) -> Vec<Acl> {
    let named = undenied(failures);
    let allowances = ledger.rules().filter(|rule| rule.permission == AclPermission::Allow);
    allowances.filter(|rule| named.contains(&(rule.resource, rule.name.as_str()))).cloned().collect()
}

/// Returns the state of an entry, and the reason where there is one.
pub(crate) fn state_of(
    entry: &Entry,
    ledger: &AclLedger,
    target: &HashSet<Acl>,
    failures: &Failures,
) -> (AclState, Option<String>) {
    let rule = match (&entry.verdict, &entry.target) {
        (Verdict::NotFollowed(reason), _) => return (AclState::NotFollowed, Some((*reason).to_owned())),
        (Verdict::HeldBack, _) => return (AclState::HeldBack, Some("it is made when the link is promoted".to_owned())),
        (_, Some(rule)) => rule,
        (_, None) => return (AclState::NotCarried, None),
    };
    match (target.contains(rule), ledger.has(rule), failures.get(rule)) {
        (true, true, _) => (AclState::Made, None),
        (true, false, _) => (AclState::Exists, None),
        _ if entry.verdict == Verdict::NotCarried => (AclState::NotCarried, None),
        (false, _, Some(reason)) => (AclState::Failed, Some(reason.clone())),
        (false, _, None) => (AclState::ToMake, None),
    }
}
