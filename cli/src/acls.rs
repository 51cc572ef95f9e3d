//! `causeway acls`: what the access control lists of the source become in the target.

use std::io::Write;
use std::time::Duration;

use receiver::AclStatus;

use crate::admin::{self, AdminPort};
use crate::args;
use crate::exit::Failure;

/// The time for an answer, which may have 10,000 rules.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Prints the plan of each link that follows them.
pub(crate) fn run(arguments: &args::Acls) -> Result<(), Failure> {
    let port = AdminPort::new(&arguments.admin, admin::RECEIVER, TIMEOUT)?;
    let body = port.get("acls")?;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let value: serde_json::Value = serde_json::from_str(&body).map_err(|error| port.failed(error))?;
        return writeln!(out, "{value}").map_err(Failure::failed);
    }
    let plan: Vec<AclStatus> = serde_json::from_str(&body).map_err(|error| port.failed(error))?;
    if plan.is_empty() {
        let words = "no rules: is `links.follow_acls` \"on\" or \"dry-run\", has the sender `acls.follow = true`, and is it \
                     connected? `causeway status` names problems";
        return writeln!(out, "{words}").map_err(Failure::failed);
    }
    plan.iter().try_for_each(|rule| writeln!(out, "{}", line(rule))).map_err(Failure::failed)
}

fn line(rule: &AclStatus) -> String {
    let AclStatus { link, source, by, target, state, reason } = rule;
    let source = source.as_deref().unwrap_or("(gone at the source)");
    let target = target.as_ref().map(|target| format!(" -> {target}")).unwrap_or_default();
    let by = by.as_ref().map(|by| format!(" (by \"{by}\")")).unwrap_or_default();
    let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    // The width of the longest word.
    format!("{:<12} {link}: {source}{by}{target}{reason}", state.word())
}

#[cfg(test)]
mod tests {
    use receiver::AclState;

    use super::*;

    #[test]
    fn every_rule_is_one_line_that_begins_with_its_state() {
        let rule = AclStatus {
            link: "fra".to_owned(),
            source: Some("allow User:app-a Read on topic orders".to_owned()),
            by: Some("User:app-{name} -> User:{name}".to_owned()),
            target: Some("allow User:a Read on topic fra.orders".to_owned()),
            state: AclState::Made,
            reason: None,
        };
        assert_eq!(
            line(&rule),
            "made         fra: allow User:app-a Read on topic orders (by \"User:app-{name} -> User:{name}\") -> \
             allow User:a Read on topic fra.orders"
        );
        let denied = AclStatus {
            by: None,
            target: None,
            state: AclState::NotFollowed,
            reason: Some("no rule".to_owned()),
            ..rule
        };
        assert_eq!(line(&denied), "not-followed fra: allow User:app-a Read on topic orders: no rule");
    }
}
