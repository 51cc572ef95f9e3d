//! `[[classes]]`: the form of entries, and which of them contradict each other.

use service::config::document::collected;
use service::config::value::choice;
use service::config::{DeValue, Document, ReadSection, Rejection, Reported, Setting, Table};
use wire::share::Share;
use wire::units::Rate;

use super::fields::ClassEntry;
use crate::dispatch::classes::{Ceiling, Class, ClassTerms, Classes, check_name};

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
