//! Logs: one line per event on standard error, for people or for machines.

use std::io::IsTerminal;

use toml::de::DeValue;
use tracing_subscriber::EnvFilter;

use crate::config::value::choice;
use crate::config::{Absent, Document, Field, Rejection, Reported, Section, Setting, Shape};

/// `[log]`: the same on both sides.
pub const SECTION: Section = Section {
    path: "log",
    shape: Shape::Table,
    doc: "What is written to standard error. Payloads and secrets never are.",
    fields: &[
        Field {
            name: "level",
            kind: "`error`, `warn`, `info`, `debug` or `trace`",
            absent: Absent::Default(r#""info""#),
            bounds: None,
            live: true,
            doc: "How much Causeway says of itself; the libraries below it speak from `warn` on. The environment \
                  variable `RUST_LOG` takes its place where it is set.",
        },
        Field {
            name: "format",
            kind: "`text` or `json`",
            absent: Absent::Default(r#""text""#),
            bounds: None,
            live: false,
            doc: "Lines for people, or one JSON object per line.",
        },
    ],
};

/// How to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// How much.
    pub level: Level,
    /// For whom.
    pub format: Format,
}

/// From which severity on events are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// A human must act.
    Error,
    /// A human should look.
    Warn,
    /// What changes.
    Info,
    /// What happens.
    Debug,
    /// Everything.
    Trace,
}

/// Who reads the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// People.
    Text,
    /// Machines.
    Json,
}

type ChangeFilter = Box<dyn Fn(EnvFilter) + Send + Sync>;

/// The log of this process, once started.
pub struct Logging {
    /// `None` where the environment decides.
    change: Option<ChangeFilter>,
}

impl Logging {
    /// Logs as `settings` say from now on; `false` where RUST_LOG takes the level's place.
    pub fn set_level(&self, settings: LogSettings) -> bool {
        let Some(change) = &self.change else { return false };
        change(settings.level_filter());
        true
    }
}

/// Why logging does not start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The environment asks for something that is no filter.
    #[error("RUST_LOG=`{written}` is not a log filter: {source}")]
    Filter {
        /// What it says.
        written: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// A process logs in one way only.
    #[error("logging is set up already")]
    Twice,
}

impl LogSettings {
    /// Reads `[log]`.
    pub fn read(document: &Document<'_>) -> Result<Self, Reported> {
        let table = document.table(SECTION.path);
        let (level, format) = (table.read("level"), table.read("format"));
        Ok(Self { level: level?, format: format? })
    }

    /// Starts logging; once per process.
    pub fn start(self) -> Result<Logging, LogError> {
        let environment = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
        let builder = tracing_subscriber::fmt()
            .with_env_filter(self.filter(environment.as_deref())?)
            .with_writer(std::io::stderr);
        let change: ChangeFilter;
        let started = match self.format {
            Format::Text => {
                let builder = builder.with_ansi(std::io::stderr().is_terminal()).with_filter_reloading();
                let handle = builder.reload_handle();
                change = Box::new(move |filter| drop(handle.reload(filter)));
                builder.try_init()
            }
            Format::Json => {
                let builder = builder.json().flatten_event(true).with_current_span(false).with_filter_reloading();
                let handle = builder.reload_handle();
                change = Box::new(move |filter| drop(handle.reload(filter)));
                builder.try_init()
            }
        };
        started.map_err(|_| LogError::Twice)?;
        Ok(Logging { change: environment.is_none().then_some(change) })
    }

    fn filter(self, environment: Option<&str>) -> Result<EnvFilter, LogError> {
        if let Some(written) = environment {
            let filter = EnvFilter::try_new(written);
            return filter.map_err(|source| LogError::Filter { written: written.to_owned(), source });
        }
        Ok(self.level_filter())
    }

    /// Every crate of ours begins with this word.
    fn level_filter(self) -> EnvFilter {
        EnvFilter::new(format!("warn,causeway={}", self.level.word()))
    }
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Setting for Level {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        let levels = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];
        choice(value, &levels.map(|level| (level.word(), level)))
    }
}

impl Setting for Format {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        choice(value, &[("text", Self::Text), ("json", Self::Json)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn read(text: &str) -> Result<LogSettings, String> {
        parse(text, "a.toml", &[SECTION_ROOT, SECTION], LogSettings::read).map_err(|problems| problems.to_string())
    }

    const SECTION_ROOT: Section = Section { path: "", shape: Shape::Table, doc: "", fields: &[] };

    #[test]
    fn level_and_format_are_read_with_their_defaults() {
        assert_eq!(read("").unwrap(), LogSettings { level: Level::Info, format: Format::Text });
        let json = read("[log]\nlevel = \"debug\"\nformat = \"json\"").unwrap();
        assert_eq!(json, LogSettings { level: Level::Debug, format: Format::Json });
        assert!(read("[log]\nlevel = \"inof\"").unwrap_err().contains("did you mean \"info\"?"));
    }

    #[test]
    fn our_crates_log_at_the_level_and_libraries_from_warn() {
        let settings = LogSettings { level: Level::Debug, format: Format::Text };
        assert_eq!(settings.filter(None).unwrap().to_string(), "causeway=debug,warn");
        assert_eq!(settings.filter(Some("quinn=trace")).unwrap().to_string(), "quinn=trace");
        let error = settings.filter(Some("a=b=c")).unwrap_err().to_string();
        assert!(error.starts_with("RUST_LOG=`a=b=c` is not a log filter: "), "{error}");
    }
}
