//! What a source topic is called in the target.

use std::fmt;

/// A rename rule such as `{topic}` or `fra.{topic}`: text around the source topic's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    before: String,
    after: String,
}

const PLACE: &str = "{topic}";

impl Rename {
    /// Reads a rule; the error says what is wrong with it.
    pub fn parse(rule: &str) -> Result<Self, String> {
        let Some((before, after)) = rule.split_once(PLACE) else {
            return Err(format!("`{rule}` does not contain `{PLACE}`; write it like `fra.{PLACE}`"));
        };
        let strange = |text: &str| text.chars().find(|c| !(c.is_ascii_alphanumeric() || "._-".contains(*c)));
        match strange(before).or_else(|| strange(after)) {
            Some(found) => Err(format!("`{rule}` has `{found}`, which no topic name may have")),
            None if before.starts_with("__") => Err(format!("`{rule}` would make topics that belong to the cluster itself")),
            None => Ok(Self { before: before.to_owned(), after: after.to_owned() }),
        }
    }

    /// The target topic of `topic`.
    pub fn apply(&self, topic: &str) -> String {
        format!("{}{topic}{}", self.before, self.after)
    }
}

impl fmt::Display for Rename {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{PLACE}{}", self.before, self.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_puts_text_around_the_name() {
        assert_eq!(Rename::parse("fra.{topic}").map(|rule| rule.apply("orders")), Ok("fra.orders".to_owned()));
        assert_eq!(Rename::parse("{topic}").map(|rule| rule.apply("orders")), Ok("orders".to_owned()));
    }

    #[test]
    fn a_rule_that_would_merge_or_break_topics_is_refused() {
        for rule in ["mirror", "a b{topic}", "{topic}{topic}", "__{topic}"] {
            assert!(Rename::parse(rule).is_err(), "{rule}");
        }
    }
}
