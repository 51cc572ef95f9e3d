//! Rounds that lead the target to the plan. All of it blocks.

use std::collections::HashSet;
use std::sync::Arc;

use kafka::catalog::{Catalog, only};
use wire::acl::{Acl, AclOperation, AclPattern, AclPermission, AclResource};

use super::board::{AclState, AclStatus};
use super::ledger::{self, AclLedger};
use super::plan::{self, Carried, Entry, Verdict};
use super::snapshot::Snapshot;
use super::steps::{Failures, Steps, allowed_undenied, state_of};
use crate::config::principals::FollowAcls;
use crate::link::LinkSettings;
use crate::link::own_store::{OwnStore, OwnStores, prepare};
use crate::target::{StateEntry, TargetError};

/// Follower of one session.
pub(crate) struct Follower {
    settings: Arc<LinkSettings>,
    catalog: Arc<dyn Catalog>,
    stores: Arc<dyn OwnStores>,
    /// Open store, while no other receiver has the link and no write has failed.
    store: Option<Box<dyn OwnStore>>,
    ledger: AclLedger,
}

/// Result of a round.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) plan: Vec<AclStatus>,
    /// What the operator must know, in a sentence.
    pub(crate) trouble: Option<String>,
    /// True if something of it waits for what the link does not carry yet.
    pub(crate) waits: bool,
}

/// The rules that the target has.
struct Present {
    rules: HashSet<Acl>,
    /// What that is worth, if it is in doubt.
    doubt: Option<String>,
}

impl Follower {
    pub(crate) fn new(settings: Arc<LinkSettings>, catalog: Arc<dyn Catalog>, stores: Arc<dyn OwnStores>) -> Self {
        Self { settings, catalog, stores, store: None, ledger: AclLedger::default() }
    }

    /// Makes a round. Error: a sentence; the next round begins with what the target has then.
    pub(crate) fn round(&mut self, snapshot: &Snapshot, carried: &Carried) -> Result<Round, String> {
        let plan = plan::make(&self.settings, snapshot, carried)?;
        let is_on = self.settings.acls.follow == FollowAcls::On;
        if is_on {
            self.open_store().map_err(|error| self.named(&error))?;
            if self.ledger.is_promoted && !carried.is_promoted {
                return Err("the link is promoted: the rules in the target belong to its applications".to_owned());
            }
            if carried.is_promoted && !self.ledger.is_promoted {
                // Before the first rule: another receiver that knows nothing of it would take them away.
                self.write(&[ledger::promoted()])?;
                self.ledger.is_promoted = true;
            }
        }
        let mut present = self.present(is_on)?;
        let mut failures = Failures::new();
        let groups = snapshot.groups.iter().map(|group| self.settings.rename_groups.apply(group)).collect();
        let mut steps = Steps::decide(&plan, &self.ledger, &present.rules, &groups);
        steps.leave_given(&self.ledger);
        if carried.is_promoted {
            // What the last session said may be old: nothing is taken away by it.
            steps.take_allowances.clear();
            steps.take_denials.clear();
        }
        if is_on && !steps.is_empty() {
            self.carry_out(steps, &mut present.rules, &mut failures)?;
        }
        let trouble = failures
            .values()
            .next()
            .map(|first| format!("{} rules cannot be made or taken away in the target: {first}", failures.len()));
        Ok(Round {
            waits: plan.iter().any(|entry| entry.verdict == Verdict::NotCarried),
            plan: self.statuses(&plan, &present.rules, &failures),
            trouble: trouble.or(present.doubt),
        })
    }

    fn named(&self, error: &TargetError) -> String {
        format!("{}: {error}", ledger::topic(&self.settings.name))
    }

    fn open_store(&mut self) -> Result<(), TargetError> {
        if self.store.as_ref().is_some_and(|store| !store.is_outdated()) {
            return Ok(());
        }
        let topic = ledger::topic(&self.settings.name);
        prepare(&*self.catalog, &topic, self.settings.replication)?;
        let (store, stored) = self.stores.open(&topic, &ledger::barrier())?;
        let ledger = AclLedger::fold(&stored);
        let refused = |error| TargetError::OwnTopic { topic, reason: format!("a record of access control {error}") };
        self.ledger = ledger.map_err(refused)?;
        self.store = Some(store);
        Ok(())
    }

    fn write(&mut self, entries: &[StateEntry]) -> Result<(), String> {
        let mut store = self.store.take().ok_or("the ledger is not open")?;
        store.write(entries).map_err(|error| self.named(&error))?;
        self.store = Some(store);
        Ok(())
    }

    /// Reads what the target has. A target that states nothing may have refused to answer, and another's rules would look
    /// like missing ones: it must prove that it lets this receiver change rules, which includes seeing them.
    fn present(&self, is_on: bool) -> Result<Present, String> {
        let read = || self.catalog.acls().map_err(|error| error.to_string());
        if let Some(rules) = read()? {
            return Ok(Present { rules: rules.into_iter().collect(), doubt: None });
        }
        let doubt = "the target states no access control lists at all";
        if !is_on {
            let doubt = format!("{doubt}: its authorizer is off, or the receiver's user lacks Describe on the cluster");
            return Ok(Present { rules: HashSet::new(), doubt: Some(doubt) });
        }
        only(self.catalog.delete_acls(&[self.probe()]))
            .map_err(|error| format!("{doubt}, and refuses to change them: {}", error.reason))?;
        Ok(Present { rules: read()?.into_iter().flatten().collect(), doubt: None })
    }

    /// Returns a rule that no cluster has.
    fn probe(&self) -> Acl {
        Acl {
            resource: AclResource::Topic,
            pattern: AclPattern::Literal,
            name: ledger::topic(&self.settings.name),
            principal: "User:causeway-probe".to_owned(),
            host: "causeway-probe".to_owned(),
            operation: AclOperation::AlterConfigs,
            permission: AclPermission::Deny,
        }
    }

    /// Carries out the steps, and keeps `present` up to date.
    fn carry_out(
        &mut self,
        mut steps: Steps,
        present: &mut HashSet<Acl>,
        failures: &mut Failures,
    ) -> Result<(), String> {
        let fresh: Vec<Acl> = steps.made().filter(|rule| !self.ledger.has(rule)).cloned().collect();
        let mut entries = self.ledger.remember(&fresh);
        if entries.is_empty() {
            // Its commit proves that no other receiver has the link, which may want what this one takes away.
            entries.push(ledger::barrier());
        }
        self.write(&entries)?;
        let mut gone = self.take(&steps.take_allowances, present, failures)?;
        let mut refused = self.make(&steps.make_denials, present, failures)?;
        gone.extend(self.take(&allowed_undenied(&self.ledger, failures), present, failures)?);
        for held in steps.hold_undenied(failures) {
            failures.insert(held.clone(), "a rule that denies could not be made".to_owned());
            refused.push(held);
        }
        refused.extend(self.make(&steps.make_allowances, present, failures)?);
        gone.extend(self.take(&steps.take_denials, present, failures)?);
        tracing::info!(
            link = self.settings.name,
            made = steps.made().filter(|rule| present.contains(rule)).count(),
            gone = gone.len(),
            failed = failures.len(),
            "access control lists changed in the target"
        );
        gone.extend(refused.into_iter().filter(|rule| fresh.contains(rule)));
        if gone.is_empty() {
            return Ok(());
        }
        let entries = self.ledger.forget(&gone);
        self.write(&entries)
    }

    /// Makes rules. Returns those that the target refused for certain.
    fn make(&self, rules: &[Acl], present: &mut HashSet<Acl>, failures: &mut Failures) -> Result<Vec<Acl>, String> {
        let mut refused = Vec::new();
        if rules.is_empty() {
            return Ok(refused);
        }
        let outcomes = self.catalog.create_acls(rules).map_err(|error| error.to_string())?;
        for (rule, outcome) in rules.iter().zip(outcomes) {
            match outcome {
                Ok(()) => drop(present.insert(rule.clone())),
                Err(error) => {
                    if !error.is_unanswered() {
                        refused.push(rule.clone());
                    }
                    failures.insert(rule.clone(), error.to_string());
                }
            }
        }
        Ok(refused)
    }

    /// Takes rules away. Returns those that are gone.
    fn take(&self, rules: &[Acl], present: &mut HashSet<Acl>, failures: &mut Failures) -> Result<Vec<Acl>, String> {
        let mut gone = Vec::new();
        if rules.is_empty() {
            return Ok(gone);
        }
        let outcomes = self.catalog.delete_acls(rules).map_err(|error| error.to_string())?;
        for (rule, outcome) in rules.iter().zip(outcomes) {
            match outcome {
                Ok(()) => {
                    present.remove(rule);
                    gone.push(rule.clone());
                }
                Err(error) => drop(failures.insert(rule.clone(), error.to_string())),
            }
        }
        Ok(gone)
    }

    fn statuses(&self, plan: &[Entry], present: &HashSet<Acl>, failures: &Failures) -> Vec<AclStatus> {
        let link = &self.settings.name;
        let shown = |entry: &Entry| {
            let (state, reason) = state_of(entry, &self.ledger, present, failures);
            AclStatus {
                link: link.clone(),
                source: Some(printable(&entry.source)),
                by: entry.by.as_ref().map(ToString::to_string),
                target: entry.target.as_ref().map(printable),
                state,
                reason,
            }
        };
        let planned: HashSet<&Acl> = plan.iter().filter_map(|entry| entry.target.as_ref()).collect();
        let left = self.ledger.rules().filter(|rule| present.contains(rule) && !planned.contains(rule));
        let left = left.map(|rule| AclStatus {
            link: link.clone(),
            source: None,
            by: None,
            target: Some(printable(rule)),
            state: if failures.contains_key(rule) { AclState::Failed } else { AclState::ToRemove },
            reason: failures.get(rule).cloned(),
        });
        plan.iter().map(shown).chain(left).collect()
    }
}

/// Returns a rule of the peer for people: texts that are printed on terminals have no control characters.
fn printable(rule: &Acl) -> String {
    let text = rule.to_string();
    if text.contains(char::is_control) { text.replace(char::is_control, " ") } else { text }
}
