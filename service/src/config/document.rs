//! A configuration file as written, read section by section. Reading does not stop at the first problem: each read
//! returns a value or [`Reported`], which proves that a problem was added to the list.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::io;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Forbidden;
use super::effective::entry_at;
use super::field::{Absent, Field, Section, Shape};
use super::problem::{Place, Problems};
use super::settings::Settings;
use super::value::{Rejection, Setting, nearest, text};
use crate::private_file;

/// Proof that a problem was added to the list. Only the readers make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reported(());

/// A parsed file and the problems found in it so far.
#[derive(Debug)]
pub struct Document<'t> {
    text: &'t str,
    root: DeTable<'t>,
    sections: &'static [Section],
    forbidden: Forbidden,
    files: Option<PathBuf>,
    problems: RefCell<Problems>,
}

/// A section of a document, to be read by its table of fields.
#[derive(Debug, Clone, Copy)]
pub struct Table<'d> {
    document: &'d Document<'d>,
    section: &'static Section,
    entries: Option<&'d DeTable<'d>>,
    /// Place in the text where a missing key is reported.
    head: usize,
}

/// A struct that is read from one section.
pub trait ReadSection: Sized {
    /// The section's path, shape and fields.
    const SECTION: Section;

    /// Reads every field. All problems of the section are reported, not only the first.
    fn read_section(table: &Table<'_>) -> Result<Self, Reported>;
}

/// A field's type, with its own way to read one setting.
pub trait ReadField: Sized {
    /// Reads the setting `name` of `table`, or its default.
    fn read_field(table: &Table<'_>, name: &str) -> Result<Self, Reported>;
}

impl<'t> Document<'t> {
    /// Parses `text`; reports invalid TOML and every key that `sections` does not have.
    pub fn parse(name: &str, text: &'t str, sections: &'static [Section]) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        let root = root.into_inner();
        let problems = RefCell::new(Problems::none(name));
        let document = Self { text, root, sections, forbidden: |_| None, files: None, problems };
        for error in errors {
            let at = error.span().map_or(text.len(), |span| span.start);
            document.report(at, error.message().to_owned());
        }
        document.report_unknown("", &document.root);
        document
    }

    /// Refuses the librdkafka properties for which `forbidden` has a reason.
    pub fn forbidding(mut self, forbidden: Forbidden) -> Self {
        self.forbidden = forbidden;
        self
    }

    /// Opens the files that the configuration names, to test them; relative paths start at `base`.
    pub fn with_files(mut self, base: &Path) -> Self {
        self.files = Some(base.to_owned());
        self
    }

    pub fn read<T: ReadSection>(&self) -> Result<T, Reported> {
        T::read_section(&self.table(T::SECTION.path))
    }

    /// Reads every `[[section]]` of `T`, in the order written.
    pub fn read_all<T: ReadSection>(&self) -> Result<Vec<T>, Reported> {
        collected(self.tables(T::SECTION.path).iter().map(T::read_section))
    }

    /// The section at `path`; an empty path is the top level. A missing section reads like an empty one.
    pub fn table(&self, path: &str) -> Table<'_> {
        let section = self.section(path);
        let mut entries = Some(&self.root);
        let mut head = self.text.len();
        for name in path.split('.').filter(|name| !name.is_empty()) {
            let entry = entries.and_then(|entries| entries.get_key_value(name));
            head = entry.map_or(self.text.len(), |(key, _)| key.span().start);
            entries = entry.and_then(|(_, value)| value.get_ref().as_table());
        }
        Table { document: self, section, entries, head }
    }

    /// The tables `[[path]]`, in the order written.
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

    /// Reports a problem that belongs to no single key, at the end of the file.
    pub fn refuse(&self, message: impl Into<String>) -> Reported {
        self.report(self.text.len(), message.into())
    }

    /// The configuration, or every problem.
    pub fn finish<T>(self, config: Result<T, Reported>) -> Result<T, Problems> {
        let problems = self.problems.into_inner();
        match config {
            Ok(config) if problems.is_empty() => Ok(config),
            _ => Err(problems),
        }
    }

    /// The settings in effect, by name, to compare with another file later.
    pub fn settings(&self) -> Settings {
        Settings::of(&self.root, self.sections)
    }

    pub(crate) fn report(&self, offset: usize, message: String) -> Reported {
        self.problems.borrow_mut().push(Place::of(self.text, offset), message);
        Reported(())
    }

    /// Directory where relative paths start; `None` if the document must not open files.
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

/// The last part of `child`'s path, if it is directly below `section`.
fn child_name(section: &Section, child: &Section) -> Option<&'static str> {
    let below = match section.path {
        "" => child.path,
        path => child.path.strip_prefix(path)?.strip_prefix('.')?,
    };
    (!below.is_empty() && !below.contains('.')).then_some(below)
}

impl<'d> Table<'d> {
    /// The value of the field `name`, or its default, read as the type `T` is read.
    ///
    /// # Panics
    /// The section has no such field, or the field has neither a default nor [`Absent::Required`]: a mistake in the
    /// table that the first test to read it finds.
    pub fn read<T: ReadField>(&self, name: &str) -> Result<T, Reported> {
        T::read_field(self, name)
    }

    /// The value of the field `name` within its bounds, or its default.
    pub fn read_value<T: Setting>(&self, name: &str) -> Result<T, Reported> {
        self.located(name, |field, offset, value| self.bounded(field, offset, value))
    }

    /// The value of the field `name`, or its default, converted by `from_toml`. For types of other crates.
    pub fn read_with<T>(
        &self,
        name: &str,
        from_toml: impl FnOnce(&DeValue<'_>) -> Result<T, Rejection>,
    ) -> Result<T, Reported> {
        self.located(name, |field, offset, value| self.converted(field, offset, value, from_toml))
    }

    /// The values of a field that takes a list; a single value is a list of one. Each wrong element is reported at its
    /// own place. A required list must not be empty.
    pub fn read_list<T: Setting>(&self, name: &str) -> Result<Vec<T>, Reported> {
        self.located(name, |field, offset, value| {
            let Some(array) = value.as_array() else {
                return self.bounded(field, offset, value).map(|single| vec![single]);
            };
            if array.is_empty() && field.absent == Absent::Required {
                let message = format!("`{}` is empty; it takes {}", self.section.dotted(name), field.kind);
                return Err(self.document.report(offset, message));
            }
            collected(array.iter().map(|element| self.bounded(field, element.span().start, element.get_ref())))
        })
    }

    /// The path of a file that must be readable, if the document may open files.
    pub fn read_file(&self, name: &str) -> Result<PathBuf, Reported> {
        self.checked_file(name, |path| std::fs::File::open(path).map(drop))
    }

    /// The path of a file that only its owner may read; otherwise like [`Self::read_file`].
    pub fn read_private_file(&self, name: &str) -> Result<PathBuf, Reported> {
        self.checked_file(name, private_file::check)
    }

    fn checked_file(&self, name: &str, check: impl FnOnce(&Path) -> io::Result<()>) -> Result<PathBuf, Reported> {
        let path: String = self.read_value(name)?;
        let Some(base) = &self.document.files else {
            return Ok(PathBuf::from(path));
        };
        let path = base.join(path);
        check(&path).map_err(|error| {
            let message = format!("`{}`: {} cannot be used: {error}", self.section.dotted(name), path.display());
            self.refuse(name, message)
        })?;
        Ok(path)
    }

    pub fn states(&self, name: &str) -> bool {
        self.entry(name).is_some()
    }

    /// Reports a problem with the value of `name` that only several settings together show.
    pub fn refuse(&self, name: &str, message: impl Into<String>) -> Reported {
        let offset = self.entry(name).map_or(self.head, |value| value.span().start);
        self.document.report(offset, message.into())
    }

    pub(crate) fn forbidden(&self, property: &str) -> Option<&'static str> {
        (self.document.forbidden)(property)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'d str, &'d Spanned<DeValue<'d>>)> + use<'d> {
        self.entries.into_iter().flatten().map(|(key, value)| (&**key.get_ref(), value))
    }

    pub(crate) fn section(&self) -> &'static Section {
        self.section
    }

    /// The document that this section is part of.
    pub fn document(&self) -> &'d Document<'d> {
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

    /// Calls `read` with the value of `name`, or with its default, and with the place where problems are reported.
    fn located<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Field, usize, &DeValue<'_>) -> Result<T, Reported>,
    ) -> Result<T, Reported> {
        let field = self.field(name);
        match (self.entry(name), field.absent) {
            (Some(value), _) => read(field, value.span().start, value.get_ref()),
            (None, Absent::Default(default)) => read(field, self.head, &constant(default)),
            (None, _) => Err(self.missing(field)),
        }
    }

    fn converted<T>(
        &self,
        field: &Field,
        offset: usize,
        value: &DeValue<'_>,
        from_toml: impl FnOnce(&DeValue<'_>) -> Result<T, Rejection>,
    ) -> Result<T, Reported> {
        let key = self.section.dotted(field.name);
        from_toml(value).map_err(|rejection| {
            let message = match rejection {
                Rejection::Kind => format!("`{key}` is of type {}; it takes {}", value.type_str(), field.kind),
                Rejection::Content(reason) => format!("`{key}`: {reason}"),
            };
            self.document.report(offset, message)
        })
    }

    fn bounded<T: Setting>(&self, field: &Field, offset: usize, value: &DeValue<'_>) -> Result<T, Reported> {
        let converted = self.converted(field, offset, value, T::from_toml)?;
        let Some((min, max)) = field.bounds else { return Ok(converted) };
        let broken = match converted.compare(&limit(min)) {
            Some(Ordering::Less) => format!("below the minimum of {min}; raise it"),
            _ if converted.compare(&limit(max)) == Some(Ordering::Greater) => {
                format!("above the maximum of {max}; lower it")
            }
            _ => return Ok(converted),
        };
        let key = self.section.dotted(field.name);
        Err(self.document.report(offset, format!("`{key}` is {}, {broken}", shown(value))))
    }
}

/// Every result, or the first error, after all of them were computed: one bad element does not hide the next.
pub fn collected<T>(results: impl Iterator<Item = Result<T, Reported>>) -> Result<Vec<T>, Reported> {
    results.collect::<Vec<_>>().into_iter().collect()
}

/// A value as written in the file.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        value => text(value).map_or_else(|_| value.type_str().to_owned(), |text| format!("\"{text}\"")),
    }
}

fn constant(toml: &'static str) -> DeValue<'static> {
    DeValue::parse(toml).expect("defaults and bounds are TOML values").into_inner()
}

fn limit<T: Setting>(toml: &'static str) -> T {
    T::from_toml(&constant(toml)).expect("bounds are values of their field")
}
