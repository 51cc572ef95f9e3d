//! Rules for the principals of access control lists: which are followed, and what they are called in the target.

use std::sync::Arc;

use service::config::value::{choice, text};
use service::config::{DeValue, Rejection, Setting};
use service::topics::TopicPattern;

/// The place of any text in a rule.
const PLACE: &str = "{name}";

/// What a receiver does about access control lists of the source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FollowAcls {
    /// Nothing; what was made stays.
    #[default]
    Off,
    /// Only a plan.
    DryRun,
    /// Makes them in the target.
    On,
}

/// Principals of the source, such as `User:app-{name}`. `{name}` stands for any text except `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrincipalPattern {
    before: String,
    after: Option<String>,
}

/// Rule that makes a principal of the target from one of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrincipalRule {
    /// The rule as the operator wrote it.
    pub(crate) written: Arc<str>,
    from: PrincipalPattern,
    to: PrincipalPattern,
}

/// Settings of a link about access control lists.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AclRules {
    pub(crate) follow: FollowAcls,
    pub(crate) principals: Vec<PrincipalRule>,
    pub(crate) exclude: Vec<PrincipalPattern>,
    /// Groups of the source whose rules are followed.
    pub(crate) groups: Vec<TopicPattern>,
}

impl FollowAcls {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::DryRun => "dry-run",
            Self::On => "on",
        }
    }
}

impl AclRules {
    /// Returns the principal of the target with the rule that names it; `None` if this one is not followed.
    pub(crate) fn apply(&self, principal: &str) -> Option<(String, Arc<str>)> {
        let is_excluded = |principal: &str| self.exclude.iter().any(|pattern| pattern.matched(principal).is_some());
        if is_excluded(principal) {
            return None;
        }
        let named = |rule: &PrincipalRule| Some((rule.apply(principal)?, Arc::clone(&rule.written)));
        self.principals.iter().find_map(named).filter(|(target, _)| !is_excluded(target))
    }

    /// Returns whether the rules of this group of the source may be followed.
    pub(crate) fn names_group(&self, group: &str) -> bool {
        self.groups.iter().any(|pattern| pattern.matches(group))
    }
}

impl PrincipalPattern {
    fn parse(written: &str) -> Option<Self> {
        let (kind, name) = written.split_once(':')?;
        let is_word = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let is_clean = !name.is_empty() && !written.contains(char::is_control);
        let pattern = match written.split_once(PLACE) {
            Some((before, after)) => Self { before: before.to_owned(), after: Some(after.to_owned()) },
            None => Self { before: written.to_owned(), after: None },
        };
        let has_one = pattern.after.as_ref().is_none_or(|after| !after.contains(PLACE));
        (is_word && is_clean && has_one).then_some(pattern)
    }

    /// Returns the text at the place in a principal that matches, and nothing for a pattern without a place.
    fn matched<'p>(&self, principal: &'p str) -> Option<&'p str> {
        match &self.after {
            None => (principal == self.before).then_some(""),
            // Everyone is no name: only a rule that says so may mean everyone.
            Some(after) => {
                let name = principal.strip_prefix(self.before.as_str())?.strip_suffix(after.as_str())?;
                (!name.is_empty() && name != "*").then_some(name)
            }
        }
    }

    fn fill(&self, name: &str) -> String {
        match &self.after {
            None => self.before.clone(),
            Some(after) => format!("{}{name}{after}", self.before),
        }
    }
}

impl PrincipalRule {
    fn parse(written: &str) -> Option<Self> {
        let (from, to) = written.split_once(" -> ").unwrap_or((written, written));
        let from = PrincipalPattern::parse(from.trim())?;
        let to = PrincipalPattern::parse(to.trim())?;
        let is_whole = to.after.is_none() || from.after.is_some();
        is_whole.then(|| Self { written: written.into(), from, to })
    }

    fn apply(&self, principal: &str) -> Option<String> {
        self.from.matched(principal).map(|name| self.to.fill(name))
    }
}

impl Setting for FollowAcls {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        choice(value, &[("off", Self::Off), ("dry-run", Self::DryRun), ("on", Self::On)])
    }
}

impl Setting for PrincipalRule {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        let written = text(value)?;
        let hint = "is no rule for principals; write it like \"User:{name}\" or \"User:fra-{name} -> User:{name}\"";
        Self::parse(written).ok_or_else(|| Rejection::because(format!("\"{written}\" {hint}")))
    }
}

impl Setting for PrincipalPattern {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        let written = text(value)?;
        let hint = "is no principal; write it like \"User:admin\" or \"User:ops-{name}\"";
        Self::parse(written).ok_or_else(|| Rejection::because(format!("\"{written}\" {hint}")))
    }
}

#[cfg(test)]
impl AclRules {
    /// Makes rules of these texts.
    pub(crate) fn of(follow: FollowAcls, principals: &[&str], exclude: &[&str]) -> Self {
        Self {
            follow,
            principals: principals.iter().map(|rule| PrincipalRule::parse(rule).expect("a rule")).collect(),
            exclude: exclude.iter().map(|pattern| PrincipalPattern::parse(pattern).expect("a pattern")).collect(),
            groups: vec![TopicPattern::parse(".*").expect("a pattern")],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_matches_names_the_principal() {
        let rules = AclRules::of(
            FollowAcls::On,
            &["User:boss -> User:chief", "User:fra-{name} -> User:{name}.eu", "User:{name}"],
            &["User:admin", "User:ops-{name}"],
        );
        let named = |principal: &str| rules.apply(principal).map(|(name, _)| name);
        assert_eq!(named("User:boss").as_deref(), Some("User:chief"));
        assert_eq!(named("User:fra-app").as_deref(), Some("User:app.eu"));
        assert_eq!(named("User:fra-").as_deref(), Some("User:fra-"), "no name is left for the second rule");
        assert_eq!(named("User:alice").as_deref(), Some("User:alice"));
        for other in ["User:admin", "User:ops-1", "Group:devs", "User:*"] {
            assert_eq!(named(other), None, "{other}");
        }
        assert_eq!(&*rules.apply("User:boss").unwrap().1, "User:boss -> User:chief");
    }

    #[test]
    fn everyone_is_followed_only_if_a_rule_says_so() {
        let rules = AclRules::of(FollowAcls::On, &["User:*"], &[]);
        assert_eq!(rules.apply("User:*").unwrap().0, "User:*");
        assert_eq!(rules.apply("User:alice"), None);
    }

    #[test]
    fn a_rule_that_makes_no_principal_is_refused() {
        for wrong in
            ["alice", "User:", ":a", "User:a -> b", "User:a -> User:{name}", "User:{name}{name}", "User:a\u{1b}"]
        {
            assert!(PrincipalRule::parse(wrong).is_none(), "{wrong}");
        }
    }
}
