//! The settings in effect: the value of every setting of a file, written or default.

use toml::de::{DeTable, DeValue};

use super::field::{Absent, Field, Section, Shape};

/// A setting and its value in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// Head of the section, such as `[wan]`; empty for the top level.
    pub section: String,
    pub key: &'static str,
    /// Value in TOML, or in words if it is derived.
    pub value: String,
    /// True if the file states it.
    pub written: bool,
}

/// The settings in effect with the valid file `text`, in the order of `sections`, without librdkafka properties.
pub fn effective(text: &str, sections: &[Section]) -> Vec<Effective> {
    let (root, _) = DeTable::parse_recoverable(text);
    let root = root.into_inner();
    let mut list = Vec::new();
    each_table(&root, sections, |section, table| {
        if section.shape != Shape::Properties {
            list.extend(settings(section, table));
        }
    });
    list
}

/// Calls `visit` with each section and its table in the file: `None` if it is missing, several times if it is repeated.
pub(super) fn each_table<'s>(
    root: &DeTable<'_>,
    sections: &'s [Section],
    mut visit: impl FnMut(&'s Section, Option<&DeTable<'_>>),
) {
    for section in sections {
        let entry = entry_at(root, section.path);
        match section.shape {
            Shape::Repeated => {
                let tables = entry.and_then(DeValue::as_array).into_iter().flatten();
                tables.for_each(|table| visit(section, table.get_ref().as_table()));
            }
            _ if section.path.is_empty() => visit(section, Some(root)),
            _ => visit(section, entry.and_then(DeValue::as_table)),
        }
    }
}

/// The keys at the top of `text`, including sections, if it is TOML.
pub fn top_keys(text: &str) -> Vec<String> {
    let (root, _) = DeTable::parse_recoverable(text);
    root.get_ref().keys().map(|key| key.get_ref().to_string()).collect()
}

fn settings<'a>(section: &'a Section, table: Option<&'a DeTable<'_>>) -> impl Iterator<Item = Effective> + 'a {
    section.fields.iter().map(move |field| {
        let written = table.is_some_and(|table| table.contains_key(field.name));
        let head = if section.path.is_empty() { String::new() } else { section.title() };
        Effective { section: head, key: field.name, value: value_of(field, table), written }
    })
}

/// The value at the dotted `path` below `root`.
pub(super) fn entry_at<'r, 't>(root: &'r DeTable<'t>, path: &str) -> Option<&'r DeValue<'t>> {
    let (above, name) = path.rsplit_once('.').map_or((None, path), |(above, name)| (Some(above), name));
    let table = match above {
        Some(above) => entry_at(root, above)?.as_table()?,
        None => root,
    };
    table.get(name).map(|value| value.get_ref())
}

pub(super) fn value_of(field: &Field, table: Option<&DeTable<'_>>) -> String {
    match (table.and_then(|table| table.get(field.name)), field.absent) {
        (Some(value), _) => toml(value.get_ref()),
        (None, Absent::Default(default)) => default.to_owned(),
        (None, Absent::Otherwise(words)) => format!("({words})"),
        (None, Absent::Required) => "(missing)".to_owned(),
    }
}

pub(super) fn toml(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{:?}", &**text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(values) => {
            let values = values.iter().map(|value| toml(value.get_ref())).collect::<Vec<_>>();
            format!("[{}]", values.join(", "))
        }
        DeValue::Table(_) => "{ … }".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTIONS: &[Section] = &[
        Section { path: "", shape: Shape::Table, doc: "", fields: &[field("link", Absent::Required)] },
        Section {
            path: "wan",
            shape: Shape::Table,
            doc: "",
            fields: &[
                field("to", Absent::Required),
                field("linger", Absent::Default("\"5 ms\"")),
                field("rate", Absent::Otherwise("no limit")),
            ],
        },
        Section { path: "links", shape: Shape::Repeated, doc: "", fields: &[field("on", Absent::Default("true"))] },
    ];

    const fn field(name: &'static str, absent: Absent) -> Field {
        Field { name, kind: "", absent, bounds: None, live: false, doc: "" }
    }

    #[test]
    fn written_settings_and_defaults_are_listed() {
        let text = "link = \"a\"\n[wan]\nto = [\"b\", \"c\"]\n[[links]]\n[[links]]\non = false\n";
        let shown: Vec<_> = effective(text, SECTIONS)
            .into_iter()
            .map(|setting| format!("{} {} {} {}", setting.section, setting.key, setting.value, setting.written))
            .collect();
        let expected = [
            " link \"a\" true",
            "[wan] to [\"b\", \"c\"] true",
            "[wan] linger \"5 ms\" false",
            "[wan] rate (no limit) false",
            "[[links]] on true false",
            "[[links]] on false true",
        ];
        assert_eq!(shown, expected);
        assert_eq!(top_keys(text), ["link", "links", "wan"]);
    }
}
