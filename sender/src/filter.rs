//! Which topics of the source a link carries: exact names and regular expressions, less excludes.

use regex::Regex;
use xxhash_rust::xxh3::xxh3_64;

/// A topic filter.
#[derive(Debug, Clone)]
pub struct Filter {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

/// An exact name, or a regular expression that must match the whole name.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// Only this topic.
    Exact(String),
    /// Every topic whose whole name matches.
    Regex(Regex),
}

impl Pattern {
    /// An entry made only of characters that topic names may have is an exact name; anything else is a
    /// regular expression.
    pub fn parse(text: &str) -> Result<Self, regex::Error> {
        if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
            return Ok(Self::Exact(text.to_owned()));
        }
        Regex::new(&format!("^(?:{text})$")).map(Self::Regex)
    }

    /// Whether `topic` is meant.
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            Self::Exact(name) => name == topic,
            Self::Regex(regex) => regex.is_match(topic),
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Exact(name) => name,
            Self::Regex(regex) => regex.as_str(),
        }
    }
}

impl Filter {
    /// Topics that match any of `include` and none of `exclude`.
    pub fn new(include: Vec<Pattern>, exclude: Vec<Pattern>) -> Self {
        Self { include, exclude }
    }

    /// Whether the link carries `topic`. Names that begin with two underscores are a cluster's own and are
    /// never carried.
    pub fn matches(&self, topic: &str) -> bool {
        !topic.starts_with("__")
            && self.include.iter().any(|pattern| pattern.matches(topic))
            && !self.exclude.iter().any(|pattern| pattern.matches(topic))
    }

    /// Tells one filter from another, whatever order its entries are written in.
    pub fn hash(&self) -> u64 {
        let side = |name: &str, patterns: &[Pattern]| {
            let mut texts: Vec<_> = patterns.iter().map(Pattern::text).collect();
            texts.sort_unstable();
            format!("{name}\n{}\n", texts.join("\n"))
        };
        xxh3_64((side("include", &self.include) + &side("exclude", &self.exclude)).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> Filter {
        let parse = |texts: &[&str]| texts.iter().map(|text| Pattern::parse(text).expect("valid")).collect();
        Filter::new(parse(include), parse(exclude))
    }

    #[test]
    fn exact_names_regexes_and_excludes_decide_together() {
        let filter = filter(&["orders", "payments.*"], &[".*-internal"]);
        assert!(filter.matches("orders"));
        assert!(!filter.matches("orders-2"), "an exact name is the whole name");
        assert!(filter.matches("payments.eu"));
        assert!(!filter.matches("payments.eu-internal"));
        assert!(!filter.matches("my-payments.eu"), "a regex must match the whole name");
    }

    #[test]
    fn a_clusters_own_topics_are_never_carried() {
        assert!(!filter(&[".*", "__consumer_offsets"], &[]).matches("__consumer_offsets"));
    }

    #[test]
    fn the_hash_changes_with_the_filter_and_not_with_its_order() {
        let base = filter(&["a", "b"], &["c"]).hash();
        assert_eq!(base, filter(&["b", "a"], &["c"]).hash());
        assert_ne!(base, filter(&["a"], &["b", "c"]).hash());
        assert_ne!(base, filter(&["a", "b", "c"], &[]).hash());
    }
}
