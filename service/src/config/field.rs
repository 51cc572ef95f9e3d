//! Tables of fields: the names, kinds, defaults and bounds of a configuration file.

/// A setting of a section.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Key in the file.
    pub name: &'static str,
    /// Kind of value, which ends the sentence "it takes …": "a duration, such as `5 ms`".
    pub kind: &'static str,
    /// Value of a missing setting.
    pub absent: Absent,
    /// Smallest and largest value, both allowed, as TOML; for quantities and numbers.
    pub bounds: Option<(&'static str, &'static str)>,
    /// True if a running process takes a new value when it reads its configuration again.
    pub live: bool,
    /// Description for the reference.
    pub doc: &'static str,
}

/// The value of a setting that the file does not state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// There is none: the setting is required.
    Required,
    /// A value in TOML.
    Default(&'static str),
    /// A value derived in code; the text describes it for the reference.
    Otherwise(&'static str),
}

/// A table of a config file.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Dotted path; empty for the top level.
    pub path: &'static str,
    /// Form in the file.
    pub shape: Shape,
    /// Description for the reference.
    pub doc: &'static str,
    pub fields: &'static [Field],
}

/// The form of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `[path]`, at most once.
    Table,
    /// `[[path]]`, any number of times.
    Repeated,
    /// `[path]` with librdkafka properties as keys.
    Properties,
}

impl Section {
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The head of the section as TOML writes it: `[wan]`, `[[links]]`; words for the top level.
    pub fn title(&self) -> String {
        match (self.path, self.shape) {
            ("", _) => "the top level".to_owned(),
            (path, Shape::Repeated) => format!("[[{path}]]"),
            (path, _) => format!("[{path}]"),
        }
    }

    pub(crate) fn dotted(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}
