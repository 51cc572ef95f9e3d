//! Ledger of the rules that a link has made in the target: `__causeway.<link>.acls`. A rule that is not in it is another's,
//! and is never taken away.
//!
//! An entry is stored before its rule is made, and dropped after the rule was taken away: so a crash at any moment leaves no
//! rule that no one remembers.

use std::collections::BTreeSet;

use bincode::{Decode, Encode};
use wire::acl::Acl;
use wire::origin::{self, StoredError};

use crate::target::StateEntry;

/// Key of a record in the topic.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
enum AclKey {
    /// Rule that the link has made, or is about to make.
    Made(Acl),
    /// Key of a tombstone: never an entry.
    Barrier,
    /// The link is promoted: its rules are the applications' from then on.
    Promoted,
}

/// All entries of a link.
#[derive(Debug, Default)]
pub(crate) struct AclLedger {
    made: BTreeSet<Acl>,
    /// The link is promoted: no rule is taken away any more.
    pub(crate) is_promoted: bool,
}

impl AclLedger {
    /// Folds what is stored.
    pub(crate) fn fold(stored: &[StateEntry]) -> Result<Self, StoredError> {
        let mut ledger = Self::default();
        for StateEntry { key, value, .. } in stored {
            match origin::decode(key)? {
                AclKey::Made(rule) if value.is_some() => drop(ledger.made.insert(rule)),
                AclKey::Made(rule) => drop(ledger.made.remove(&rule)),
                AclKey::Promoted => ledger.is_promoted = value.is_some(),
                AclKey::Barrier => {}
            }
        }
        Ok(ledger)
    }

    pub(crate) fn has(&self, rule: &Acl) -> bool {
        self.made.contains(rule)
    }

    pub(crate) fn rules(&self) -> impl Iterator<Item = &Acl> {
        self.made.iter()
    }

    /// Adds rules that are about to be made. Returns the records to store first.
    pub(crate) fn remember(&mut self, rules: &[Acl]) -> Vec<StateEntry> {
        self.made.extend(rules.iter().cloned());
        rules.iter().map(|rule| StateEntry::new(key(rule), Some(origin::encode(&true)))).collect()
    }

    /// Drops rules that the target does not have any more. Returns the records to store.
    pub(crate) fn forget(&mut self, rules: &[Acl]) -> Vec<StateEntry> {
        for rule in rules {
            self.made.remove(rule);
        }
        rules.iter().map(|rule| StateEntry::new(key(rule), None)).collect()
    }
}

fn key(rule: &Acl) -> Vec<u8> {
    origin::encode(&AclKey::Made(rule.clone()))
}

/// Returns the record whose commit proves that no other receiver has the link.
pub(crate) fn barrier() -> StateEntry {
    StateEntry::new(origin::encode(&AclKey::Barrier), None)
}

/// Returns the record that says that the link is promoted.
pub(crate) fn promoted() -> StateEntry {
    StateEntry::new(origin::encode(&AclKey::Promoted), Some(origin::encode(&true)))
}

/// Returns the topic of a link's ledger.
pub(crate) fn topic(link: &str) -> String {
    format!("__causeway.{link}.acls")
}

#[cfg(test)]
mod tests {
    use wire::acl::{AclOperation, AclPattern, AclPermission, AclResource};

    use super::*;

    fn rule(name: &str) -> Acl {
        Acl {
            resource: AclResource::Topic,
            pattern: AclPattern::Literal,
            name: name.to_owned(),
            principal: "User:alice".to_owned(),
            host: "*".to_owned(),
            operation: AclOperation::Read,
            permission: AclPermission::Allow,
        }
    }

    /// Bytes of the lines of the fixture, which later versions must read.
    fn fixture() -> Vec<Vec<u8>> {
        let text = include_str!("../../../fixtures/acls-1.hex");
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let byte = |line: &str, at: usize| u8::from_str_radix(&line[at..at + 2], 16).expect("hex");
        lines.map(|line| (0..line.len()).step_by(2).map(|at| byte(line, at)).collect()).collect()
    }

    #[test]
    fn what_an_earlier_version_stored_is_read_and_written_alike() {
        let [key, value, end] = fixture().try_into().expect("three lines");
        let stored = [StateEntry::new(key, Some(value)), StateEntry::new(end.clone(), None)];
        let ledger = AclLedger::fold(&stored).unwrap();
        assert!(ledger.has(&rule("fra.orders")) && ledger.rules().count() == 1);
        assert_eq!(AclLedger::default().remember(&[rule("fra.orders")]), stored[..1]);
        assert_eq!(barrier().key, end);
        assert!(AclLedger::fold(&[StateEntry::new(vec![2], None)]).is_err());
    }

    #[test]
    fn what_is_remembered_and_forgotten_survives() {
        let mut ledger = AclLedger::default();
        let mut stored = ledger.remember(&[rule("a"), rule("b")]);
        stored.extend(ledger.forget(&[rule("a")]));
        stored.extend([barrier(), promoted()]);
        assert!(!ledger.is_promoted && AclLedger::fold(&stored).unwrap().is_promoted);
        let read = AclLedger::fold(&stored).unwrap();
        assert!(!read.has(&rule("a")) && read.has(&rule("b")) && !ledger.has(&rule("a")));
    }
}
