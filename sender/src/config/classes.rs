//! `[[classes]]`: how entries are written, and which cannot stand side by side.

use service::config::value::choice;
use service::config::{DeValue, Document, Rejection, Reported, Setting, Table};
use service::topics::TopicFilter;
use wire::share::Share;
use wire::units::Rate;

use crate::dispatch::classes::{Ceiling, Class, ClassTerms, Classes, check_name};

/// Reads every entry. A ceiling may be a part of `rate`.
pub(super) fn read_classes(document: &Document<'_>, rate: Option<Rate>) -> Result<Classes, Reported> {
    let tables = document.tables("classes");
    let classes: Vec<_> = tables.iter().map(|table| read_class(table, rate)).collect();
    let classes = classes.into_iter().collect::<Result<Vec<_>, _>>()?;
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
    let (name, topics, lanes) = (table.read::<String>("name"), table.read_list("topics"), table.read::<u32>("lanes"));
    let (share, ceiling) = (table.read_optional("share"), table.read_optional("ceiling"));
    let priority = table.read::<Priority>("priority");
    let name = name?;
    check_name(&name).map_err(|why| table.refuse("name", why))?;
    let strict = priority? == Priority::Strict;
    let (share, ceiling) = (share?, ceiling?);
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
        _ => {
            let topics = TopicFilter::new(topics?, Vec::new());
            // The field's bounds end at 63.
            let lanes = u16::try_from(lanes?).unwrap_or(u16::MAX);
            Ok(Class { name, topics, lanes, terms: ClassTerms { strict, share, ceiling } })
        }
    }
}

/// How a class stands to the others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Priority {
    Strict,
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
