//! `[[classes]]`: the form of entries, and which of them contradict each other.

use service::config::document::collected;
use service::config::value::choice;
use service::config::{DeValue, Document, ReadSection, Rejection, Reported, Setting, Table};
use service::topics::TopicFilter;
use wire::share::Share;
use wire::units::Rate;

use crate::dispatch::classes::{Ceiling, Class, ClassTerms, Classes, check_name};

service::settings! {
    /// Classes of topics, each with its own lanes and its own part of the rate. The first class that matches a topic
    /// applies; topics that match none are in the class `default`, which has `lanes.count` lanes and the part of the rate
    /// that the others leave. A topic that changes its class is moved, exactly once and in order.
    #[derive(Debug, Clone)]
    pub struct ClassEntry: Repeated "classes" {
        /// Name of the class. Its lanes are stored in the target under this name, also after the class is removed from
        /// the file; its topics are then in the class `default`.
        name: String = required, "a name of `a-z 0-9 . _ -`, at most 64 characters";
        /// Topics of the link that are in the class. It adds none to `source.topics`.
        topics: TopicFilter = required, "a list of topic names and patterns", live;
        /// The priority of the class. A `strict` class goes before every class that is not, and starves them if it has
        /// enough to send: give it a `ceiling`.
        priority: Priority = default(r#""shared""#), "`shared` or `strict`", live;
        /// The share guaranteed to the class of what strict classes leave, while it has enough to send. Other classes
        /// use what it does not. All shares together are at most 100 %.
        share: Option<Share> = otherwise("its part of what the other shares leave"), "a share, such as `30 %`",
            [r#""1 %""#, r#""100 %""#], live;
        /// The rate that the class never exceeds, also when the path is idle. It counts the bytes of frames; the
        /// overhead of packets, about 4 %, and retransmissions come on top.
        ceiling: Option<Ceiling> = otherwise("none"),
            "a rate, such as `20 Mbit/s`, or a share of `wan.rate`, such as `50 %`", live;
        /// Number of lanes, fixed for the life of the link, as `lanes.count` is. All classes together have at most 64,
        /// including those removed from the file.
        lanes: u16 = default("2"), "a count", ["1", "63"];
    }
}

/// Reads every entry. A ceiling may be a share of `wan.rate`.
pub(super) fn read_classes(document: &Document<'_>) -> Result<Classes, Reported> {
    let rate: Option<Rate> = document.table("wan").read("rate").unwrap_or(None);
    let tables = document.tables(ClassEntry::SECTION.path);
    let classes = collected(tables.iter().map(|table| read_class(table, rate)))?;
    for (index, class) in classes.iter().enumerate() {
        if classes[..index].iter().any(|other| other.name == class.name) {
            return Err(tables[index].refuse("name", format!("two classes are called \"{}\"; rename one", class.name)));
        }
    }
    let shares: f64 = classes.iter().filter_map(|class| class.terms.share).map(Share::part).sum();
    if shares > 1.0 + 1e-9 {
        let last = classes.iter().rposition(|class| class.terms.share.is_some()).unwrap_or(0);
        let message = format!("the shares of all classes are {:.2} %, above 100 %; lower some", shares * 100.0);
        return Err(tables[last].refuse("share", message));
    }
    Ok(Classes(classes))
}

fn read_class(table: &Table<'_>, rate: Option<Rate>) -> Result<Class, Reported> {
    let ClassEntry { name, topics, priority, share, ceiling, lanes } = ReadSection::read_section(table)?;
    check_name(&name).map_err(|why| table.refuse("name", why))?;
    let strict = priority == Priority::Strict;
    if strict && share.is_some() {
        let message = format!("class \"{name}\" is strict: it goes before all others and needs no share; remove one");
        return Err(table.refuse("share", message));
    }
    match ceiling {
        Some(Ceiling::Share(part)) if rate.is_none() => {
            let message = format!("{part} of no rate; state `wan.rate`, or the ceiling as a rate");
            Err(table.refuse("ceiling", message))
        }
        Some(Ceiling::Share(Share::NONE)) => {
            Err(table.refuse("ceiling", "a ceiling of 0 % stops the class; take its topics out of `source.topics`"))
        }
        Some(Ceiling::Share(part)) if share.is_some_and(|share| share > part) => {
            let message =
                format!("the ceiling of {part} is below the share that is guaranteed; raise it or lower `share`");
            Err(table.refuse("ceiling", message))
        }
        _ => Ok(Class { name, topics, lanes, terms: ClassTerms { strict, share, ceiling } }),
    }
}

/// The priority of a class over others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// The class goes before all others.
    Strict,
    /// The class shares what strict classes leave.
    Shared,
}

impl Setting for Priority {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        choice(value, &[("strict", Self::Strict), ("shared", Self::Shared)])
    }
}

impl Setting for Ceiling {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        match value.as_str() {
            Some(text) if text.ends_with('%') => Share::from_toml(value).map(Self::Share),
            _ => Rate::from_toml(value).map(Self::Rate),
        }
    }
}
