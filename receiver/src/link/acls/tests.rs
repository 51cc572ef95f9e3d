//! Rounds against a target in memory.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use kafka::KafkaError;
use kafka::catalog::{Answers, Catalog, NewTopic, TopicDescription};
use service::lock::Lock;
use service::topics::{TopicFilter, TopicPattern};
use wire::acl::{Acl, AclOperation, AclPattern, AclPermission, AclResource};

use super::board::AclState;
use super::follower::{Follower, Round};
use super::plan::Carried;
use super::snapshot::Snapshot;
use crate::config::Rename;
use crate::config::principals::{AclRules, FollowAcls};
use crate::link::LinkSettings;
use crate::link::own_store::{OwnStore, OwnStores};
use crate::target::{StateEntry, TargetError};

/// Target in memory: its rules, and the ledger's topic.
#[derive(Default)]
struct Target {
    rules: Lock<BTreeSet<Acl>>,
    stored: Lock<BTreeMap<Vec<u8>, StateEntry>>,
    /// Every change, in order.
    changes: Lock<Vec<String>>,
    fault: Lock<Option<Fault>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The receiver is killed before its first rule is made.
    KilledBeforeMaking,
    /// It is killed after its first call that made rules.
    KilledAfterMaking,
    /// Rules that deny are refused.
    RefusesDenials,
    /// The user may neither read nor change rules; the client does not tell.
    NoRights,
}

impl Target {
    fn is(&self, fault: Fault) -> bool {
        *self.fault.lock() == Some(fault)
    }

    fn has(&self, rules: &[Acl]) {
        let rules: BTreeSet<_> = rules.iter().cloned().collect();
        assert_eq!(*self.rules.lock(), rules);
    }
}

fn refused<T>() -> Result<T, KafkaError> {
    Err(KafkaError::misused("change", "not authorized"))
}

fn killed<T>() -> Result<T, KafkaError> {
    refused()
}

impl Catalog for Target {
    fn describe(&self, names: &[String]) -> Answers<TopicDescription> {
        Ok(names.iter().map(|name| Err(KafkaError::unknown_topic(name.as_str()))).collect())
    }

    fn create(&self, topics: &[NewTopic]) -> Answers<()> {
        Ok(topics.iter().map(|_| Ok(())).collect())
    }

    fn bounds(
        &self,
        _: &[wire::partition::Partition],
        _: kafka::catalog::Isolation,
    ) -> Answers<kafka::catalog::Bounds> {
        Ok(Vec::new())
    }

    fn acls(&self) -> Result<Option<Vec<Acl>>, KafkaError> {
        let rules: Vec<_> = self.rules.lock().iter().cloned().collect();
        Ok((!rules.is_empty() && !self.is(Fault::NoRights)).then_some(rules))
    }

    fn create_acls(&self, acls: &[Acl]) -> Answers<()> {
        if self.is(Fault::KilledBeforeMaking) {
            return killed();
        }
        let create = |rule: &Acl| {
            if rule.permission == AclPermission::Deny && self.is(Fault::RefusesDenials) {
                return refused();
            }
            self.rules.lock().insert(rule.clone());
            self.changes.lock().push(format!("make {rule}"));
            Ok(())
        };
        let answers = acls.iter().map(create).collect();
        if self.is(Fault::KilledAfterMaking) { killed() } else { Ok(answers) }
    }

    fn delete_acls(&self, acls: &[Acl]) -> Answers<()> {
        if self.is(Fault::NoRights) {
            return Ok(acls.iter().map(|_| refused()).collect());
        }
        let delete = |rule: &Acl| {
            if self.rules.lock().remove(rule) {
                self.changes.lock().push(format!("take {rule}"));
            }
            Ok(())
        };
        Ok(acls.iter().map(delete).collect())
    }
}

struct Stores(Arc<Target>);

impl OwnStores for Stores {
    fn open(&self, _: &str, _: &StateEntry) -> Result<(Box<dyn OwnStore>, Vec<StateEntry>), TargetError> {
        let stored = self.0.stored.lock().values().cloned().collect();
        Ok((Box::new(Store(Arc::clone(&self.0))), stored))
    }
}

struct Store(Arc<Target>);

impl OwnStore for Store {
    fn write(&mut self, entries: &[StateEntry]) -> Result<(), TargetError> {
        let mut stored = self.0.stored.lock();
        for entry in entries {
            match entry.value {
                Some(_) => stored.insert(entry.key.clone(), entry.clone()),
                None => stored.remove(&entry.key),
            };
        }
        Ok(())
    }
}

/// A link `fra` that carries `orders` and `bills`, and a group.
struct World {
    target: Arc<Target>,
    follower: Follower,
    rules: AclRules,
    carried: Carried,
}

impl World {
    fn new() -> Self {
        Self::with(AclRules::of(FollowAcls::On, &["User:app-{name} -> User:{name}", "User:{name}"], &["User:admin"]))
    }

    fn with(rules: AclRules) -> Self {
        let target = Arc::new(Target::default());
        // Another's rule.
        target.rules.lock().insert(other());
        let carried = Carried {
            switched_over: HashSet::new(),
            is_promoted: false,
            topics: ["orders", "bills"].map(str::to_owned).into(),
            groups: ["billing"].map(str::to_owned).into(),
        };
        Self { follower: follower(&target, &rules), target, rules, carried }
    }

    /// Another receiver process takes the link.
    fn restart(&mut self) {
        self.follower = follower(&self.target, &self.rules);
    }

    fn round(&mut self, rules: &[Acl]) -> Result<Round, String> {
        let snapshot = Snapshot {
            rules: rules.to_vec(),
            topics: ["orders", "bills", "later"].map(str::to_owned).into(),
            groups: vec!["billing".to_owned()],
        };
        self.follower.round(&snapshot, &self.carried)
    }

    /// Makes a round, and returns the state of each entry.
    fn states(&mut self, rules: &[Acl]) -> Vec<(Option<String>, AclState)> {
        let round = self.round(rules).expect("a round");
        round.plan.into_iter().map(|entry| (entry.target, entry.state)).collect()
    }

    fn count(&mut self, rules: &[Acl], state: AclState) -> usize {
        self.states(rules).into_iter().filter(|(_, found)| *found == state).count()
    }
}

fn follower(target: &Arc<Target>, rules: &AclRules) -> Follower {
    let settings = LinkSettings {
        name: "fra".to_owned(),
        topics: TopicFilter::new(vec![TopicPattern::parse(".*").unwrap()], vec![]),
        rename: Rename::prefix("fra."),
        acls: rules.clone(),
        ..LinkSettings::default()
    };
    let catalog: Arc<dyn Catalog> = Arc::<Target>::clone(target);
    Follower::new(Arc::new(settings), catalog, Arc::new(Stores(Arc::clone(target))))
}

fn rule(principal: &str, operation: AclOperation, name: &str) -> Acl {
    Acl {
        resource: AclResource::Topic,
        pattern: AclPattern::Literal,
        name: name.to_owned(),
        principal: principal.to_owned(),
        host: "*".to_owned(),
        operation,
        permission: AclPermission::Allow,
    }
}

fn denied(rule: Acl) -> Acl {
    Acl { permission: AclPermission::Deny, ..rule }
}

fn prefixed(rule: Acl) -> Acl {
    Acl { pattern: AclPattern::Prefixed, ..rule }
}

fn read(principal: &str, name: &str) -> Acl {
    rule(principal, AclOperation::Read, name)
}

fn other() -> Acl {
    read("User:other", "fra.orders")
}

#[test]
fn a_reader_gets_the_right_under_the_targets_names_and_loses_it() {
    let mut world = World::new();
    let group = Acl { resource: AclResource::Group, ..read("User:app-alice", "billing") };
    let source = [read("User:app-alice", "orders"), group.clone()];
    assert_eq!(world.count(&source, AclState::Made), 2);
    let made = [read("User:alice", "fra.orders"), Acl { principal: "User:alice".to_owned(), ..group }];
    world.target.has(&[made[0].clone(), made[1].clone(), other()]);
    assert_eq!(world.count(&source[..1], AclState::Made), 1);
    world.target.has(&[made[0].clone(), other()]);
    world.restart();
    world.round(&[]).unwrap();
    world.target.has(&[other()]);
    assert!(world.target.stored.lock().is_empty(), "the ledger forgets what is gone");
}

#[test]
fn group_rules_need_consent_and_outlive_their_offsets() {
    let group = Acl { resource: AclResource::Group, ..read("User:alice", "billing") };
    let mut closed = World::new();
    closed.rules.groups.clear();
    closed.restart();
    assert_eq!(closed.count(std::slice::from_ref(&group), AclState::NotFollowed), 1);
    closed.target.has(&[other()]);

    // The application has moved, and its offsets have expired at the source.
    let mut world = World::new();
    assert_eq!(world.count(std::slice::from_ref(&group), AclState::Made), 1);
    let without = Snapshot { rules: vec![group.clone()], topics: vec![], groups: vec![] };
    world.follower.round(&without, &world.carried).unwrap();
    world.target.has(&[group, other()]);
}

#[test]
fn texts_that_would_fill_the_clients_stack_are_not_followed() {
    let mut world = World::new();
    let long = Acl { host: "h".repeat(65), ..read("User:alice", "orders") };
    let source = [long, read(&format!("User:{}", "n".repeat(256)), "orders")];
    assert_eq!(world.count(&source, AclState::NotFollowed), 2);
    world.target.has(&[other()]);
}

#[test]
fn rights_to_change_are_held_back() {
    use AclOperation::{All, Alter, AlterConfigs, Create, Delete, Describe, DescribeConfigs, Read, Write};
    let mut world = World::new();
    let source = [Write, Create, Delete, Alter, AlterConfigs].map(|operation| rule("User:alice", operation, "orders"));
    assert_eq!(world.count(&source, AclState::HeldBack), source.len());
    world.target.has(&[other()]);
    // Everything is what readers need, and the rest is held back.
    let all = [rule("User:alice", All, "orders")];
    assert_eq!((world.count(&all, AclState::Made), world.count(&all, AclState::HeldBack)), (3, 1));
    let made = [Read, Describe, DescribeConfigs].map(|operation| rule("User:alice", operation, "fra.orders"));
    let [first, second, third] = made;
    world.target.has(&[first.clone(), second.clone(), third.clone(), other()]);

    // The link is promoted.
    world.target.changes.lock().clear();
    world.carried.is_promoted = true;
    assert_eq!((world.count(&all, AclState::Made), world.count(&all, AclState::HeldBack)), (4, 0));
    world.target.has(&[first, second, third, rule("User:alice", All, "fra.orders"), other()]);
    assert!(world.target.changes.lock().iter().all(|change| !change.starts_with("take")), "readers lose nothing");
}

#[test]
fn a_topic_that_is_switched_over_gets_its_rights_for_good() {
    let mut world = World::new();
    let write = |name| rule("User:alice", AclOperation::Write, name);
    let source = [write("orders"), rule("User:alice", AclOperation::Delete, "orders")];
    assert_eq!(world.count(&source, AclState::HeldBack), 2);
    world.carried.switched_over = HashSet::from(["orders".to_owned()]);
    assert_eq!(world.count(&source, AclState::Made), 2);
    // The source's topic loses them, also while lanes are not open; the target's belongs to its applications.
    let given = [write("fra.orders"), rule("User:alice", AclOperation::Delete, "fra.orders"), other()];
    world.restart();
    world.carried.switched_over.clear();
    world.round(&source).unwrap();
    world.target.has(&given);
    world.carried.switched_over = HashSet::from(["orders".to_owned()]);
    let locked = Acl { permission: AclPermission::Deny, ..write("orders") };
    world.round(&[locked]).unwrap();
    world.target.has(&given);
}

#[test]
fn a_prefix_becomes_the_carried_names_only() {
    let mut world = World::new();
    let source = [prefixed(read("User:alice", "o"))];
    assert_eq!(world.count(&source, AclState::Made), 1);
    world.target.has(&[read("User:alice", "fra.orders"), other()]);
    // A topic that is named and has no position yet waits.
    let all = [prefixed(read("User:alice", "l"))];
    assert_eq!(
        world.states(&all),
        [(Some("allow User:alice Read on topic fra.later".to_owned()), AclState::NotCarried)]
    );
    assert!(world.round(&all).unwrap().waits);
    world.target.has(&[other()]);
}

#[test]
fn what_would_reach_others_is_not_followed() {
    let mut world = World::new();
    let group = |name: &str| Acl { resource: AclResource::Group, ..read("User:alice", name) };
    let source = [read("User:alice", "*"), group("*"), read("User:admin", "orders"), read("User:*", "orders")];
    assert_eq!(world.count(&source, AclState::NotFollowed), 4);
    // A sender can invent names: one that stands for all groups, and one that a terminal obeys.
    let invented = Snapshot {
        rules: vec![prefixed(group("*")), prefixed(group("\u{1b}"))],
        topics: vec![],
        groups: vec!["*".to_owned(), "\u{1b}[2J".to_owned()],
    };
    world.carried.groups.extend(invented.groups.iter().cloned());
    let round = world.follower.round(&invented, &world.carried).unwrap();
    assert!(round.plan.iter().all(|entry| entry.state == AclState::NotFollowed) && round.plan.len() == 2);
    assert!(!round.plan.iter().any(|entry| format!("{entry:?}").contains("\\u{1b}")));
    world.target.has(&[other()]);
}

#[test]
fn nothing_is_allowed_that_the_source_denies() {
    let mut world = World::new();
    let source = [read("User:alice", "orders"), denied(rule("User:alice", AclOperation::All, "*"))];
    assert_eq!(world.count(&source, AclState::Made), 1 + 2 * 3, "a denial for all topics becomes one for each");
    let changes = world.target.changes.lock().clone();
    assert!(changes[..6].iter().all(|change| change.starts_with("make deny")), "{changes:?}");
    // Both go: what is allowed goes first.
    world.target.changes.lock().clear();
    world.round(&[]).unwrap();
    assert!(world.target.changes.lock()[0].starts_with("take allow"));
    world.target.has(&[other()]);

    // A denial that is not followed takes the allowance with it.
    for principal in ["User:*", "Group:devs"] {
        let source = [read("User:alice", "orders"), denied(prefixed(read(principal, "ord")))];
        assert_eq!(world.count(&source, AclState::NotFollowed), 2, "{principal}");
    }
    let from_far = Acl { host: "h".repeat(65), ..read("User:alice", "orders") };
    let source = [read("User:alice", "orders"), denied(from_far)];
    assert_eq!(world.count(&source, AclState::NotFollowed), 2, "nor does one whose text is too long");
    let source = [read("User:alice", "orders"), denied(read("User:admin", "orders"))];
    assert_eq!(world.count(&source, AclState::Made), 1, "another user's denial is no concern of hers");
    world.round(&[]).unwrap();

    // So does one that the target refuses.
    *world.target.fault.lock() = Some(Fault::RefusesDenials);
    let source = [read("User:alice", "orders"), denied(read("User:alice", "orders"))];
    assert_eq!(world.count(&source, AclState::Failed), 2);
    assert!(world.round(&source).unwrap().trouble.unwrap().starts_with("2 rules cannot be made"));
    world.target.has(&[other()]);
}

#[test]
fn anothers_rule_is_never_taken_away() {
    let mut world = World::new();
    let source = [read("User:other", "orders")];
    assert_eq!(world.count(&source, AclState::Exists), 1);
    world.round(&[]).unwrap();
    world.target.has(&[other()]);
}

#[test]
fn a_kill_between_remembering_and_making_forgets_nothing() {
    for fault in [Fault::KilledBeforeMaking, Fault::KilledAfterMaking] {
        let mut world = World::new();
        let source = [read("User:alice", "orders")];
        *world.target.fault.lock() = Some(fault);
        world.round(&source).unwrap_err();
        *world.target.fault.lock() = None;
        world.restart();
        // The source has taken it back meanwhile.
        world.round(&[]).unwrap();
        world.target.has(&[other()]);
        assert!(world.target.stored.lock().is_empty());
    }
}

#[test]
fn a_dry_run_changes_nothing() {
    let mut world = World::with(AclRules::of(FollowAcls::DryRun, &["User:{name}"], &[]));
    let source = [read("User:alice", "orders"), read("User:other", "orders")];
    let states: Vec<_> = world.states(&source).into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, [AclState::ToMake, AclState::Exists]);
    world.target.has(&[other()]);
    assert!(world.target.stored.lock().is_empty());
}

#[test]
fn a_target_that_does_not_answer_is_not_one_without_rules() {
    let mut world = World::new();
    *world.target.fault.lock() = Some(Fault::NoRights);
    let refused = world.round(&[read("User:other", "orders")]).unwrap_err();
    assert!(refused.contains("states no access control lists at all, and refuses to change them"), "{refused}");
    assert!(world.target.stored.lock().is_empty(), "another's rule is not taken for the link's");
    // One that has none and proves it is served.
    *world.target.fault.lock() = None;
    world.target.rules.lock().clear();
    assert_eq!(world.count(&[read("User:alice", "orders")], AclState::Made), 1);
}

#[test]
fn what_is_not_carried_for_now_keeps_its_rights() {
    let mut world = World::new();
    let source = [read("User:alice", "orders")];
    world.round(&source).unwrap();
    world.restart();
    world.carried = Carried::default();
    assert_eq!(world.count(&source, AclState::Made), 1, "lanes that do not answer take nothing away");
}

#[test]
fn a_plan_that_is_too_large_changes_nothing() {
    let mut world = World::new();
    world.round(&[read("User:alice", "orders")]).unwrap();
    let many: Vec<_> = (0..6_000).map(|n| prefixed(read(&format!("User:{n}"), ""))).collect();
    let refused = world.round(&many).unwrap_err();
    assert!(refused.contains("more than 10000"), "{refused}");
    world.target.has(&[read("User:alice", "fra.orders"), other()]);
}
