//! A config file as written, read section by section. Nothing stops at the first problem: each read
//! answers with a value or with [`Reported`], which proves that a problem is on the list.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::io;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::effective::entry_at;
use super::field::{Absent, Field, Section, Shape};
use super::problem::{Place, Problems};
use super::settings::Settings;
use super::value::{Rejection, Setting, nearest, text};
use crate::private_file;

/// Proof that a problem was put on the list; made by the readers alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reported(());

/// A parsed file and what has been found wrong with it so far.
#[derive(Debug)]
pub struct Document<'t> {
    text: &'t str,
    root: DeTable<'t>,
    sections: &'static [Section],
    files: Option<PathBuf>,
    problems: RefCell<Problems>,
}

/// One section of a document, ready to be read by its table of fields.
#[derive(Debug, Clone, Copy)]
pub struct Table<'d> {
    document: &'d Document<'d>,
    section: &'static Section,
    entries: Option<&'d DeTable<'d>>,
    /// Where in the text a missing key is reported.
    head: usize,
}

impl<'t> Document<'t> {
    /// Parses `text` and reports what is not TOML, and every key that `sections` does not know.
    pub fn parse(name: &str, text: &'t str, sections: &'static [Section]) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        let root = root.into_inner();
        let problems = RefCell::new(Problems::none(name));
        let document = Self { text, root, sections, files: None, problems };
        for error in errors {
            let at = error.span().map_or(text.len(), |span| span.start);
            document.report(at, error.message().to_owned());
        }
        document.report_unknown("", &document.root);
        document
    }

    /// Lets reads look at the files that the config names; relative paths start at `base`.
    pub fn with_files(mut self, base: &Path) -> Self {
        self.files = Some(base.to_owned());
        self
    }

    /// The one section at `path`; empty for the top level. A section left out reads as an empty one.
    pub fn table(&self, path: &str) -> Table<'_> {
        let section = self.section(path);
        let (mut entries, mut head) = (Some(&self.root), self.text.len());
        for name in path.split('.').filter(|name| !name.is_empty()) {
            let entry = entries.and_then(|entries| entries.get_key_value(name));
            head = entry.map_or(self.text.len(), |(key, _)| key.span().start);
            entries = entry.and_then(|(_, value)| value.get_ref().as_table());
        }
        Table { document: self, section, entries, head }
    }

    /// Every `[[path]]`, in the order written.
    pub fn tables(&self, path: &str) -> Vec<Table<'_>> {
        let section = self.section(path);
        let array = entry_at(&self.root, path).and_then(DeValue::as_array);
        let tables = array.into_iter().flat_map(|array| array.iter());
        tables
            .map(|value| Table {
                document: self,
                section,
                entries: value.get_ref().as_table(),
                head: value.span().start,
            })
            .collect()
    }

    /// Puts a problem that belongs to no single key on the list, at the end of the file.
    pub fn refuse(&self, message: impl Into<String>) -> Reported {
        self.report(self.text.len(), message.into())
    }

    /// The converted config, or every problem.
    pub fn finish<T>(self, config: Result<T, Reported>) -> Result<T, Problems> {
        let problems = self.problems.into_inner();
        match config {
            Ok(config) if problems.is_empty() => Ok(config),
            _ => Err(problems),
        }
    }

    /// Every setting as it holds, for telling later what another file changes.
    pub fn settings(&self) -> Settings {
        Settings::of(&self.root, self.sections)
    }

    pub(crate) fn report(&self, offset: usize, message: String) -> Reported {
        self.problems.borrow_mut().push(Place::of(self.text, offset), message);
        Reported(())
    }

    /// Where relative paths start; `None` while the document must not look at files.
    pub(crate) fn files(&self) -> Option<&Path> {
        self.files.as_deref()
    }

    fn section(&self, path: &str) -> &'static Section {
        self.sections.iter().find(|section| section.path == path).expect("only sections of the table are read")
    }

    fn report_unknown(&self, path: &str, entries: &DeTable<'_>) {
        let Some(section) = self.sections.iter().find(|section| section.path == path) else {
            return;
        };
        for (key, value) in entries {
            let dotted = section.dotted(key.get_ref());
            if section.field(key.get_ref()).is_some() {
                continue;
            }
            let Some(child) = self.sections.iter().find(|child| child.path == dotted) else {
                self.report(key.span().start, self.unknown(section, key.get_ref()));
                continue;
            };
            match (child.shape, value.get_ref()) {
                (Shape::Table, DeValue::Table(entries)) => self.report_unknown(&dotted, entries),
                (Shape::Properties, DeValue::Table(_)) => {}
                (Shape::Repeated, DeValue::Array(tables)) if tables.iter().all(|t| t.get_ref().is_table()) => {
                    for entries in tables.iter().filter_map(|table| table.get_ref().as_table()) {
                        self.report_unknown(&dotted, entries);
                    }
                }
                _ => {
                    let message = format!("`{dotted}` is a section; write it as {}", child.title());
                    self.report(key.span().start, message);
                }
            }
        }
    }

    fn unknown(&self, section: &Section, key: &str) -> String {
        let found = format!("unknown key `{key}`");
        let fields = section.fields.iter().map(|field| field.name);
        let children = self.sections.iter().filter_map(|child| child_name(section, child));
        if let Some(name) = nearest(key, fields.chain(children)) {
            return format!("{found}; did you mean `{name}`?");
        }
        if let Some(home) = self.sections.iter().find(|other| other.field(key).is_some()) {
            return format!("{found} here; it belongs to {}", home.title());
        }
        let known = section.fields.iter().map(|field| format!("`{}`", field.name)).collect::<Vec<_>>();
        format!("{found}; {} has {}", section.title(), known.join(", "))
    }
}

/// The last part of `child`'s path, if it lies directly below `section`.
fn child_name(section: &Section, child: &Section) -> Option<&'static str> {
    let below = match section.path {
        "" => child.path,
        path => child.path.strip_prefix(path)?.strip_prefix('.')?,
    };
    (!below.is_empty() && !below.contains('.')).then_some(below)
}

impl<'d> Table<'d> {
    /// The value of the field called `name`, or its default.
    ///
    /// # Panics
    /// Where the section's table has no such field, or the field neither a default nor
    /// [`Absent::Required`]: a mistake in the table that the first test to read it finds.
    pub fn read<T: Setting>(&self, name: &str) -> Result<T, Reported> {
        let field = self.field(name);
        match (self.entry(name), field.absent) {
            (Some(value), _) => self.convert(field, value.span().start, value.get_ref()),
            (None, Absent::Default(default)) => self.convert(field, self.head, &constant(default)),
            (None, _) => Err(self.missing(field)),
        }
    }

    /// The value of a field that may be left out.
    pub fn read_optional<T: Setting>(&self, name: &str) -> Result<Option<T>, Reported> {
        self.entry(name).map(|_| self.read(name)).transpose()
    }

    /// The values of a field that takes a list; a single value is a list of one. Every element that is
    /// wrong is reported where it stands; a required list may not be empty.
    pub fn read_list<T: Setting>(&self, name: &str) -> Result<Vec<T>, Reported> {
        let field = self.field(name);
        let default;
        let (offset, value) = match (self.entry(name), field.absent) {
            (Some(value), _) => (value.span().start, value.get_ref()),
            (None, Absent::Default(text)) => {
                default = constant(text);
                (self.head, &default)
            }
            (None, _) => return Err(self.missing(field)),
        };
        let Some(array) = value.as_array() else {
            return self.convert(field, offset, value).map(|single| vec![single]);
        };
        if array.is_empty() && field.absent == Absent::Required {
            let message = format!("`{}` is empty; it takes {}", self.section.dotted(name), field.kind);
            return Err(self.document.report(offset, message));
        }
        let elements = array.iter().map(|element| self.convert(field, element.span().start, element.get_ref()));
        // Two steps, so that one bad element does not hide the next.
        elements.collect::<Vec<_>>().into_iter().collect()
    }

    /// The path of a file that must be readable when the document may look at files.
    pub fn read_file(&self, name: &str) -> Result<PathBuf, Reported> {
        self.checked_file(name, |path| std::fs::File::open(path).map(drop))
    }

    /// As [`Self::read_file`], of a file that nobody but its owner may read.
    pub fn read_private_file(&self, name: &str) -> Result<PathBuf, Reported> {
        self.checked_file(name, private_file::check)
    }

    fn checked_file(&self, name: &str, check: impl FnOnce(&Path) -> io::Result<()>) -> Result<PathBuf, Reported> {
        let path: String = self.read(name)?;
        let Some(base) = &self.document.files else {
            return Ok(PathBuf::from(path));
        };
        let path = base.join(path);
        match check(&path) {
            Ok(()) => Ok(path),
            Err(error) => {
                let message = format!("`{}`: {} cannot be used: {error}", self.section.dotted(name), path.display());
                Err(self.refuse(name, message))
            }
        }
    }

    /// Whether the file states `name`.
    pub fn states(&self, name: &str) -> bool {
        self.entry(name).is_some()
    }

    /// Puts a problem with the value of `name` on the list, for what only several settings together show.
    pub fn refuse(&self, name: &str, message: impl Into<String>) -> Reported {
        let offset = self.entry(name).map_or(self.head, |value| value.span().start);
        self.document.report(offset, message.into())
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'d str, &'d Spanned<DeValue<'d>>)> + use<'d> {
        self.entries.into_iter().flatten().map(|(key, value)| (&**key.get_ref(), value))
    }

    pub(crate) fn section(&self) -> &'static Section {
        self.section
    }

    pub(crate) fn document(&self) -> &'d Document<'d> {
        self.document
    }

    fn field(&self, name: &str) -> &'static Field {
        self.section.field(name).expect("only fields of the table are read")
    }

    fn entry(&self, name: &str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.entries.and_then(|entries| entries.get(name))
    }

    fn missing(&self, field: &Field) -> Reported {
        let message = format!("`{}` is missing; it takes {}", self.section.dotted(field.name), field.kind);
        self.document.report(self.head, message)
    }

    fn convert<T: Setting>(&self, field: &Field, offset: usize, value: &DeValue<'_>) -> Result<T, Reported> {
        let key = self.section.dotted(field.name);
        let report = |message| self.document.report(offset, message);
        let converted = T::from_toml(value).map_err(|rejection| match rejection {
            Rejection::Kind => report(format!("`{key}` is of type {}; it takes {}", value.type_str(), field.kind)),
            Rejection::Content(reason) => report(format!("`{key}`: {reason}")),
        })?;
        let Some((min, max)) = field.bounds else {
            return Ok(converted);
        };
        let (side, bound, remedy) = if converted.compare(&limit(min)) == Some(Ordering::Less) {
            ("below the minimum of", min, "raise")
        } else if converted.compare(&limit(max)) == Some(Ordering::Greater) {
            ("above the maximum of", max, "lower")
        } else {
            return Ok(converted);
        };
        Err(report(format!("`{key}` is {}, {side} {bound}; {remedy} it", shown(value))))
    }
}

/// A value as the operator wrote it.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Integer(number) => number.to_string(),
        value => text(value).map_or_else(|_| value.type_str().to_owned(), |text| format!("\"{text}\"")),
    }
}

fn constant(toml: &'static str) -> DeValue<'static> {
    DeValue::parse(toml).expect("defaults and bounds are TOML values").into_inner()
}

fn limit<T: Setting>(toml: &'static str) -> T {
    T::from_toml(&constant(toml)).expect("bounds are values of their field")
}
