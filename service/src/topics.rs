//! The topics of a link, as an operator writes them: exact names and patterns.

use regex::Regex;
use toml::de::DeValue;
use wire::limits::TOPIC_NAME_MAX;

use crate::config::value::text;
use crate::config::{ReadField, Rejection, Reported, Setting, Table};

/// An entry of a topic list. Text that could be a topic's name (`A-Z a-z 0-9 . _ -`) is that name and
/// nothing else; any other text is a regular expression that must match a name from end to end.
#[derive(Debug, Clone)]
pub struct TopicPattern {
    written: String,
    regex: Option<Regex>,
}

/// A topic list with its exceptions.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicFilter {
    topics: Vec<TopicPattern>,
    exclude: Vec<TopicPattern>,
    forward: Vec<TopicPattern>,
}

/// Checks that Kafka takes a text for the name of a topic.
/// Error: a sentence that says why not.
pub fn check_kafka_name(name: &str) -> Result<(), String> {
    if name.len() > TOPIC_NAME_MAX {
        return Err(format!("a name has {} characters, Kafka allows {TOPIC_NAME_MAX}: {name}", name.len()));
    }
    if name.is_empty() || matches!(name, "." | "..") || !name.bytes().all(is_name_byte) {
        return Err(format!("Kafka allows names of `a-z A-Z 0-9 . _ -`, and neither \".\" nor \"..\": {name:?}"));
    }
    Ok(())
}

impl TopicPattern {
    /// Parses one entry; the error says what is wrong with it.
    pub fn parse(written: &str) -> Result<Self, String> {
        if let Some(fault) = list_in_one_entry(written) {
            return Err(fault);
        }
        let is_name = written.bytes().all(is_name_byte);
        if is_name && (written.len() > TOPIC_NAME_MAX || matches!(written, "." | "..")) {
            return Err(format!(
                "\"{written}\" cannot be a topic: names have at most {TOPIC_NAME_MAX} characters and are not \".\" or \"..\""
            ));
        }
        if is_name && written.starts_with("__") {
            return Err(format!(
                "\"{written}\" is internal to its cluster; topics that begin with `__` are not carried"
            ));
        }
        let regex = (!is_name).then(|| Regex::new(&format!("^(?:{written})$"))).transpose();
        let regex = regex.map_err(|error| format!("\"{written}\" is no regular expression: {}", reason(&error)))?;
        Ok(Self { written: written.to_owned(), regex })
    }

    pub fn matches(&self, topic: &str) -> bool {
        self.regex.as_ref().map_or_else(|| self.written == topic, |regex| regex.is_match(topic))
    }

    /// The name, if the entry is not a regular expression.
    pub fn exact(&self) -> Option<&str> {
        self.regex.is_none().then_some(self.written.as_str())
    }

    /// The entry as the operator wrote it.
    pub fn as_str(&self) -> &str {
        &self.written
    }
}

impl TopicFilter {
    /// The topics that `topics` matches and `exclude` does not.
    pub fn new(topics: Vec<TopicPattern>, exclude: Vec<TopicPattern>) -> Self {
        Self { topics, exclude, forward: Vec::new() }
    }

    /// Adds topics that are carried on although another link brought them.
    #[must_use]
    pub fn forwarding(self, forward: Vec<TopicPattern>) -> Self {
        Self { forward, ..self }
    }

    /// True if `topic` is carried. Names that begin with `__` never are: they belong to their cluster.
    pub fn matches(&self, topic: &str) -> bool {
        let any = |patterns: &[TopicPattern]| patterns.iter().any(|pattern| pattern.matches(topic));
        !topic.starts_with("__") && any(&self.topics) && !any(&self.exclude)
    }

    /// True if `topic`, which another link brought, is carried on.
    pub fn forwards(&self, topic: &str) -> bool {
        self.forward.iter().any(|pattern| pattern.matches(topic))
    }

    /// The filter as text, without the order and the repetition of its entries. Its hash shows whether a filter changed.
    pub fn canonical(&self) -> String {
        let sorted = |mark: char, patterns: &[TopicPattern]| {
            let mut lines = patterns.iter().map(|pattern| format!("{mark}{}\n", pattern.written)).collect::<Vec<_>>();
            lines.sort_unstable();
            lines.dedup();
            lines.concat()
        };
        sorted('+', &self.topics) + &sorted('-', &self.exclude) + &sorted('>', &self.forward)
    }

    pub fn topics(&self) -> &[TopicPattern] {
        &self.topics
    }

    pub fn exclude(&self) -> &[TopicPattern] {
        &self.exclude
    }
}

impl Setting for TopicPattern {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        Self::parse(text(value)?).map_err(Rejection::because)
    }
}

/// A filter with a list of topics and no exceptions.
impl ReadField for TopicFilter {
    fn read_field(table: &Table<'_>, name: &str) -> Result<Self, Reported> {
        Ok(Self::new(table.read_list(name)?, Vec::new()))
    }
}

/// Patterns are equal if they are written equally.
impl PartialEq for TopicPattern {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

/// Says what is wrong with an entry that no topic can match, because it is empty or has a separator of lists in it. A comma
/// within braces belongs to a regular expression's repetition.
fn list_in_one_entry(written: &str) -> Option<String> {
    let mut in_braces = false;
    let is_separator = |c: char| {
        in_braces = c == '{' || (in_braces && c != '}');
        c.is_whitespace() || (c == ',' && !in_braces)
    };
    let parts: Vec<&str> = written.split(is_separator).collect();
    if parts.len() == 1 && !written.is_empty() {
        return None;
    }
    let names: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).map(|part| format!("{part:?}")).collect();
    let remedy = if names.is_empty() { "remove the entry".to_owned() } else { format!("write [{}]", names.join(", ")) };
    Some(format!("{written:?} can match no topic: a name is not empty and has no comma and no blank; {remedy}"))
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

/// The last line of a regex error, which names the error; the lines before it repeat the pattern.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(written: &str) -> TopicPattern {
        TopicPattern::parse(written).unwrap()
    }

    #[test]
    fn a_name_is_exact_and_all_else_is_a_regex() {
        assert!(pattern("a.b").matches("a.b") && !pattern("a.b").matches("axb"));
        assert_eq!(pattern("a.b").exact(), Some("a.b"));
        assert!(pattern("payments.*").matches("payments.eu") && !pattern("payments.*").matches("my.payments.eu"));
        assert!(!pattern("a|b").matches("ab") && pattern("a|b").matches("b"));
        assert_eq!(pattern("a|b").exact(), None);
    }

    #[test]
    fn excludes_win_and_internal_topics_are_left_out() {
        let filter = TopicFilter::new(vec![pattern(".*")], vec![pattern("tmp-.*"), pattern("scratch")]);
        assert!(filter.matches("orders"));
        for left_out in ["tmp-1", "scratch", "__consumer_offsets"] {
            assert!(!filter.matches(left_out), "{left_out}");
        }
        assert!(TopicPattern::parse("__consumer_offsets").unwrap_err().contains("internal"));
    }

    #[test]
    fn a_broken_entry_says_what_is_wrong() {
        assert!(TopicPattern::parse("a(").unwrap_err().ends_with("unclosed group"));
        assert!(TopicPattern::parse(&"a".repeat(250)).unwrap_err().contains("at most 249 characters"));
        assert!(TopicPattern::parse("..").is_err());
        assert!(TopicPattern::parse(&"a".repeat(249)).is_ok());
    }

    #[test]
    fn an_entry_that_is_a_list_shows_the_list() {
        for (written, list) in [
            ("orders,payments", "write [\"orders\", \"payments\"]"),
            ("orders.*, payments.*", "write [\"orders.*\", \"payments.*\"]"),
            ("orders ", "write [\"orders\"]"),
            ("", "remove the entry"),
            (" ", "remove the entry"),
        ] {
            let said = TopicPattern::parse(written).unwrap_err();
            assert!(said.ends_with(list), "{said}");
        }
        assert!(pattern("orders-[0-9]{2,4}").matches("orders-123"));
    }

    #[test]
    fn the_canonical_text_ignores_order_and_repetition() {
        let one = TopicFilter::new(vec![pattern("b"), pattern("a"), pattern("b")], vec![pattern("c")]);
        let two = TopicFilter::new(vec![pattern("a"), pattern("b")], vec![pattern("c")]);
        let other = TopicFilter::new(vec![pattern("a"), pattern("b"), pattern("c")], vec![]);
        assert_eq!(one.canonical(), two.canonical());
        assert_ne!(one.canonical(), other.canonical());
        assert_ne!(one.canonical(), one.clone().forwarding(vec![pattern("a")]).canonical());
    }
}
