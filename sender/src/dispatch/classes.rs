//! Classes of topics, as they are configured: the topics of each, and its part of the rate.

use std::fmt;

use service::config::AdoptLive;
use service::names::is_class_name;
use service::topics::TopicFilter;
use wire::lanes::{ClassRequest, ClassTable, DEFAULT_CLASS};
use wire::share::Share;
use wire::units::Rate;

use crate::partitions::router::Router;

/// All classes except the default one, in the order written: the first that matches a topic counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Classes(pub Vec<Class>);

/// Class as an entry of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Class {
    pub name: String,
    pub topics: TopicFilter,
    /// Number of its lanes, fixed for the life of the link.
    pub lanes: u16,
    pub terms: ClassTerms,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ClassTerms {
    /// Priority: true if the class goes before every class that is not strict.
    pub strict: bool,
    /// Share that is guaranteed while the class has enough to send.
    pub share: Option<Share>,
    pub ceiling: Option<Ceiling>,
}

/// Largest rate of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ceiling {
    /// Fixed rate, whichever the current one is.
    Rate(Rate),
    /// Part of the current rate.
    Share(Share),
}

impl Ceiling {
    /// Returns the ceiling in bytes per second; `None` for a part of an unlimited rate.
    pub fn bytes_per_second(self, rate: Option<Rate>) -> Option<u64> {
        match self {
            Self::Rate(ceiling) => Some(ceiling.bytes_per_second()),
            Self::Share(share) => Some((rate?.bytes_per_second() as f64 * share.part()) as u64),
        }
    }
}

impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate(rate) => write!(f, "{rate}"),
            Self::Share(share) => write!(f, "{share} of the rate"),
        }
    }
}

impl Classes {
    pub fn lanes(&self) -> u32 {
        self.0.iter().map(|class| u32::from(class.lanes)).sum()
    }

    pub fn requests(&self) -> Vec<ClassRequest> {
        let request =
            |class: &Class| ClassRequest { name: class.name.clone(), lanes: class.lanes, strict: class.terms.strict };
        self.0.iter().map(request).collect()
    }

    /// Creates the router over the lanes that the receiver has stored.
    pub fn router(&self, table: ClassTable) -> Router {
        Router::new(table, self.0.iter().map(|class| (class.name.as_str(), &class.topics)))
    }

    /// Returns the terms of a class. The default class, and one no longer configured, share what the others leave.
    pub fn terms(&self, name: &str) -> ClassTerms {
        self.0.iter().find(|class| class.name == name).map(|class| class.terms).unwrap_or_default()
    }

    /// Returns the part of the rate without a guarantee, 0 to 1.
    pub fn unshared(&self) -> f64 {
        (1.0 - self.0.iter().filter_map(|class| class.terms.share).map(Share::part).sum::<f64>()).max(0.0)
    }

    /// Returns whether `new` has other topics, lanes or priorities, which the receiver learns only in a new session.
    pub fn routes_differ(&self, new: &Self) -> bool {
        let route = |class: &Class| (class.name.clone(), class.topics.canonical(), class.lanes, class.terms.strict);
        !self.0.iter().map(route).eq(new.0.iter().map(route))
    }
}

impl AdoptLive for Classes {
    /// Applies `new`, except for the number of lanes of a known class.
    fn adopt_live(&mut self, new: Self) {
        let known = std::mem::replace(self, new);
        for class in &mut self.0 {
            if let Some(known) = known.0.iter().find(|known| known.name == class.name) {
                class.lanes = known.lanes;
            }
        }
    }
}

/// Checks the name of a class.
/// Error: a sentence that says what is wrong with it.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if name == DEFAULT_CLASS {
        return Err(format!("`{DEFAULT_CLASS}` is the class of all topics that no other matches"));
    }
    if !is_class_name(name) {
        return Err(format!("\"{name}\" is not a class name: use 1 to 64 of a-z, 0-9, `.`, `_` and `-`"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use service::topics::TopicPattern;

    fn class(name: &str, topics: &str, lanes: u16) -> Class {
        let topics = TopicFilter::new(vec![TopicPattern::parse(topics).unwrap()], Vec::new());
        Class { name: name.into(), topics, lanes, terms: ClassTerms::default() }
    }

    #[test]
    fn a_ceiling_may_follow_the_rate() {
        let rate = Rate::from_bits_per_second(8_000_000);
        let quarter = Ceiling::Share(Share::of_one(0.25));
        assert_eq!(quarter.bytes_per_second(Some(rate)), Some(250_000));
        assert_eq!(quarter.bytes_per_second(None), None);
        assert_eq!(Ceiling::Rate(rate).bytes_per_second(None), Some(1_000_000));
    }

    #[test]
    fn only_another_route_requires_a_new_session() {
        let classes = Classes(vec![class("bulk", "clicks", 2)]);
        let mut faster = classes.clone();
        faster.0[0].terms.ceiling = Some(Ceiling::Share(Share::of_one(0.1)));
        assert!(!classes.routes_differ(&faster));
        assert!(classes.routes_differ(&Classes(vec![class("bulk", "clicks.*", 2)])));
        assert!(classes.routes_differ(&Classes::default()));
    }

    #[test]
    fn a_running_sender_keeps_the_lanes_of_a_class() {
        let mut classes = Classes(vec![class("bulk", "clicks", 2)]);
        classes.adopt_live(Classes(vec![class("new", "a", 3), class("bulk", "clicks.*", 4)]));
        assert_eq!(classes.0.iter().map(|class| class.lanes).collect::<Vec<_>>(), [3, 2]);
        assert_eq!(classes.0[1].topics.canonical(), "+clicks.*\n");
    }
}
