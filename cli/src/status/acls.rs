//! Access control lists, as the pages of both ends show them.

use service::format::{duration, grouped};

/// What a receiver has made.
pub(super) fn followed(acls: &receiver::AclsStatus) -> String {
    let Some(age) = acls.age_seconds else { return format!("{}; no plan yet", acls.follow) };
    let counts = acls.rules.counts();
    let some = counts.iter().filter(|(_, count)| *count > 0);
    let words: Vec<_> = some.map(|(state, count)| format!("{} {state}", grouped(*count))).collect();
    let words = if words.is_empty() { "no rules".to_owned() } else { words.join(", ") };
    format!("{}: {words}, compared {} ago", acls.follow, duration(age))
}

/// What a sender has read.
pub(super) fn read(acls: &sender::AclsStatus) -> String {
    let (Some(topics), Some(groups), Some(age)) = (acls.topic_rules, acls.group_rules, acls.age_seconds) else {
        return "unknown: they have not been read yet".to_owned();
    };
    format!("{topics} rules for topics, {groups} for groups, read {} ago", duration(age))
}
