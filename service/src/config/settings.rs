//! The settings in effect by name, and the changes that another file makes.

use std::collections::BTreeMap;

use serde::Serialize;
use toml::de::{DeTable, DeValue};

use super::effective::{each_table, toml, value_of};
use super::field::{Section, Shape};

/// The settings in effect, by dotted name: `wan.linger`, `links.fra-to-sin.senders`, `source.client.sasl.username`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<String, Held>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    value: String,
    live: bool,
    /// True if the value must not be shown.
    hidden: bool,
    /// Name of its repeated table, which is added and removed as a whole.
    table: Option<String>,
}

/// A setting that another file changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Dotted name of the setting.
    pub setting: String,
    pub from: String,
    /// Value in the new file.
    pub to: String,
    /// True if a running process takes the new value.
    #[serde(skip)]
    pub live: bool,
}

/// Settings of which some change in a running process.
pub trait AdoptLive {
    /// Adopts from `new` the settings that change in a running process.
    fn adopt_live(&mut self, new: Self);
}

impl Settings {
    pub(super) fn of(root: &DeTable<'_>, sections: &[Section]) -> Self {
        let mut settings = Self::default();
        each_table(root, sections, |section, table| match section.shape {
            Shape::Table => settings.add(section, table, None),
            Shape::Repeated => {
                let name = section.fields.first().map(|field| value_of(field, table)).unwrap_or_default();
                let name = settings.unused(format!("{}.{}", section.path, name.trim_matches('"')));
                let live = section.fields.iter().any(|field| field.live);
                let stated = Held { value: "stated".to_owned(), live, hidden: false, table: None };
                settings.0.insert(name.clone(), stated);
                settings.add(section, table, Some(name));
            }
            Shape::Properties => {
                for (key, value) in table.into_iter().flatten() {
                    settings.property(format!("{}.{}", section.path, key.get_ref()), value.get_ref());
                }
            }
        });
        settings
    }

    /// The name, with a number added if another table has it already.
    fn unused(&self, name: String) -> String {
        let numbered = (2..).map(|number| format!("{name}#{number}"));
        let mut names = std::iter::once(name.clone()).chain(numbered);
        names.find(|name| !self.0.contains_key(name)).unwrap_or(name)
    }

    fn add(&mut self, section: &Section, entries: Option<&DeTable<'_>>, table: Option<String>) {
        for field in section.fields {
            let name = match &table {
                Some(table) => format!("{table}.{}", field.name),
                None => section.dotted(field.name),
            };
            let value = value_of(field, entries);
            self.0.insert(name, Held { value, live: field.live, hidden: false, table: table.clone() });
        }
    }

    /// Adds a librdkafka property, written dotted or quoted.
    fn property(&mut self, name: String, value: &DeValue<'_>) {
        match value {
            DeValue::Table(table) => {
                for (key, value) in table {
                    self.property(format!("{name}.{}", key.get_ref()), value.get_ref());
                }
            }
            value => drop(self.0.insert(name, Held { value: toml(value), live: false, hidden: true, table: None })),
        }
    }

    /// The changes that `new` makes, in the order of names.
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        let names: std::collections::BTreeSet<_> = self.0.keys().chain(new.0.keys()).collect();
        names.into_iter().filter_map(|name| self.change(new, name)).collect()
    }

    fn change(&self, new: &Self, name: &str) -> Option<Change> {
        let from = self.0.get(name);
        let to = new.0.get(name);
        if from == to {
            return None;
        }
        let either = from.or(to)?;
        let whole = |table: &String| self.0.contains_key(table) != new.0.contains_key(table);
        if either.table.as_ref().is_some_and(whole) {
            return None;
        }
        let shown = |held: Option<&Held>| match held {
            None => "(none)".to_owned(),
            Some(held) if held.hidden => "(not shown)".to_owned(),
            Some(held) => held.value.clone(),
        };
        Some(Change { setting: name.to_owned(), from: shown(from), to: shown(to), live: either.live })
    }
}

impl AdoptLive for Settings {
    fn adopt_live(&mut self, new: Self) {
        for change in self.changes(&new).into_iter().filter(|change| change.live) {
            let belongs =
                |name: &str, held: &Held| *name == change.setting || held.table.as_ref() == Some(&change.setting);
            self.0.retain(|name, held| !belongs(name, held));
            let taken = new.0.iter().filter(|(name, held)| belongs(name, held));
            self.0.extend(taken.map(|(name, held)| (name.clone(), held.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Absent, Field, parse_with};

    const SECTIONS: &[Section] = &[
        Section { path: "", shape: Shape::Table, doc: "", fields: &[field("memory", false)] },
        Section { path: "log", shape: Shape::Table, doc: "", fields: &[field("level", true)] },
        Section {
            path: "links",
            shape: Shape::Repeated,
            doc: "",
            fields: &[field("name", false), field("senders", true), field("rename", false)],
        },
        Section { path: "source.client", shape: Shape::Properties, doc: "", fields: &[] },
        Section { path: "source", shape: Shape::Table, doc: "", fields: &[] },
    ];

    const fn field(name: &'static str, live: bool) -> Field {
        Field { name, kind: "", absent: Absent::Default("\"-\""), bounds: None, live, doc: "" }
    }

    fn settings(text: &str) -> Settings {
        parse_with(text, "a.toml", SECTIONS, |_| None, |document| Ok(document.settings())).unwrap()
    }

    fn shown(changes: &[Change]) -> Vec<String> {
        let live = |change: &Change| if change.live { "" } else { " (restart)" };
        changes.iter().map(|c| format!("{}: {} -> {}{}", c.setting, c.from, c.to, live(c))).collect()
    }

    const RUNNING: &str = "memory = \"1 GiB\"\n[[links]]\nname = \"a\"\nsenders = [\"x\"]\n[[links]]\nname = \"a.b\"\n\
                           [source.client]\n\"sasl.password\" = { file = \"one\" }\n";

    #[test]
    fn each_change_is_named_and_a_repeated_table_is_one() {
        let new = "memory = \"2 GiB\"\n[log]\nlevel = \"debug\"\n[[links]]\nname = \"a\"\nsenders = [\"y\"]\nrename = \"z\"\n\
                   [[links]]\nname = \"c\"\nsenders = [\"q\"]\n[source.client]\nsasl.password = { file = \"two\" }\n";
        let expected = [
            "links.a.b: stated -> (none)",
            "links.a.rename: \"-\" -> \"z\" (restart)",
            "links.a.senders: [\"x\"] -> [\"y\"]",
            "links.c: (none) -> stated",
            "log.level: \"-\" -> \"debug\"",
            "memory: \"1 GiB\" -> \"2 GiB\" (restart)",
            "source.client.sasl.password.file: (not shown) -> (not shown) (restart)",
        ];
        assert_eq!(shown(&settings(RUNNING).changes(&settings(new))), expected);
        assert_eq!(settings(RUNNING).changes(&settings(RUNNING)), []);
    }

    #[test]
    fn a_change_that_needs_a_restart_is_named_again() {
        let mut running = settings(RUNNING);
        let new = settings(&RUNNING.replace("1 GiB", "2 GiB").replace("\"x\"", "\"y\"").replace("a.b", "c"));
        running.adopt_live(new.clone());
        assert_eq!(shown(&running.changes(&new)), ["memory: \"1 GiB\" -> \"2 GiB\" (restart)"]);
        assert_eq!(running.changes(&settings(&RUNNING.replace("\"x\"", "\"y\"").replace("a.b", "c"))), []);
    }
}
