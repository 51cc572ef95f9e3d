//! What may stand in a config file: tables of fields, the only place where names, defaults and bounds
//! are written down.

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its key.
    pub name: &'static str,
    /// What a value looks like, to end the sentence "it takes …": "a duration, such as `5 ms`".
    pub kind: &'static str,
    /// What holds where it is left out.
    pub absent: Absent,
    /// Smallest and largest value, both allowed, as TOML; for quantities and numbers.
    pub bounds: Option<(&'static str, &'static str)>,
    /// Whether a running process takes a new value when it reads its configuration again.
    pub live: bool,
    /// What it is, and what grows when it is raised.
    pub doc: &'static str,
}

/// What holds where a setting is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// It must be written.
    Required,
    /// As if this TOML were written.
    Default(&'static str),
    /// Derived in code; the text says what then, for the reference.
    Otherwise(&'static str),
}

/// One table of a config file.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Its dotted path; empty for the top level.
    pub path: &'static str,
    /// How it is written.
    pub shape: Shape,
    /// What it is about.
    pub doc: &'static str,
    /// What may stand in it.
    pub fields: &'static [Field],
}

/// How a section is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `[path]`, at most once.
    Table,
    /// `[[path]]`, any number of times.
    Repeated,
    /// `[path]` with keys that are not ours: librdkafka properties.
    Properties,
}

impl Section {
    /// The field called `name`, if there is one.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// How people and TOML write its head: `[wan]`, `[[links]]`; words for the top level.
    pub fn title(&self) -> String {
        match (self.path, self.shape) {
            ("", _) => "the top level".to_owned(),
            (path, Shape::Repeated) => format!("[[{path}]]"),
            (path, _) => format!("[{path}]"),
        }
    }

    /// `key` with this section's path before it.
    pub(crate) fn dotted(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}
