//! The log: one line per event on standard error, for people or for machines.

use std::io::IsTerminal;

use toml::de::DeValue;
use tracing_subscriber::EnvFilter;

use crate::config::value::choice;
use crate::config::{Rejection, Setting};

crate::settings! {
    /// The log on standard error. Payloads and secrets are never written.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct LogSettings: Table "log" {
        /// The level of Causeway's own messages; the libraries below it log from `warn` on. The environment variable
        /// `RUST_LOG` overrides it.
        level: Level = default(r#""info""#), "`error`, `warn`, `info`, `debug` or `trace`", live;
        /// The form of the log: lines for people, or one JSON object per line.
        format: Format = default(r#""text""#), "`text` or `json`";
    }
}

wire::words! {
    /// The severity from which on events are logged.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Level {
        /// Events that need an operator to act.
        Error = "error",
        /// Events that an operator should look at.
        Warn = "warn",
        /// Changes of the process's state.
        Info = "info",
        /// Single steps of the work.
        Debug = "debug",
        /// All events, also those of each packet or record.
        Trace = "trace",
    }
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines of text for people.
    Text,
    /// A JSON object per line, for machines.
    Json,
}

/// The crates whose messages are logged at `log.level`: every crate of this workspace that a process runs.
const CRATES: [&str; 7] = ["causeway", "kafka", "receiver", "sender", "service", "transport", "wire"];
type ChangeFilter = Box<dyn Fn(EnvFilter) + Send + Sync>;

/// The running log of this process.
pub struct Logging {
    /// The handle that changes the level; `None` if RUST_LOG decides.
    change: Option<ChangeFilter>,
}

impl Logging {
    /// Changes the level to that of `settings`; returns `false` if RUST_LOG decides.
    pub fn set_level(&self, settings: LogSettings) -> bool {
        let Some(change) = &self.change else { return false };
        change(settings.level_filter());
        true
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// RUST_LOG is not a valid filter.
    #[error("RUST_LOG=`{written}` is not a log filter: {source}")]
    Filter { written: String, source: tracing_subscriber::filter::ParseError },
    /// Logging was started before in this process.
    #[error("logging is set up already")]
    Twice,
}

impl LogSettings {
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

    /// The filter that logs our crates at the level, and libraries from `warn` on.
    fn level_filter(self) -> EnvFilter {
        let ours = CRATES.map(|name| format!(",{name}={}", self.level.word()));
        EnvFilter::new(format!("warn{}", ours.concat()))
    }
}

impl Setting for Level {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        let levels: Vec<_> = Self::ALL.iter().map(|level| (level.word(), *level)).collect();
        choice(value, &levels)
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
    use crate::config::{ReadSection, Section, Shape, parse_with};

    const TOP: Section = Section { path: "", shape: Shape::Table, doc: "", fields: &[] };

    fn read(text: &str) -> Result<LogSettings, String> {
        let read = parse_with(text, "a.toml", &[TOP, LogSettings::SECTION], |_| None, |document| document.read());
        read.map_err(|problems| problems.to_string())
    }

    #[test]
    fn level_and_format_have_defaults() {
        assert_eq!(read("").unwrap(), LogSettings { level: Level::Info, format: Format::Text });
        let json = read("[log]\nlevel = \"debug\"\nformat = \"json\"").unwrap();
        assert_eq!(json, LogSettings { level: Level::Debug, format: Format::Json });
        assert!(read("[log]\nlevel = \"inof\"").unwrap_err().contains("did you mean \"info\"?"));
    }

    #[test]
    fn our_crates_log_at_the_level_and_libraries_at_warn() {
        let settings = LogSettings { level: Level::Debug, format: Format::Text };
        let filter = settings.filter(None).unwrap().to_string();
        for name in CRATES {
            assert!(filter.split(',').any(|directive| directive == format!("{name}=debug")), "{filter}");
        }
        assert!(filter.split(',').any(|directive| directive == "warn"), "{filter}");
        // The target of a message begins with the name of its crate.
        assert!(module_path!().starts_with("service::"));
        assert_eq!(settings.filter(Some("quinn=trace")).unwrap().to_string(), "quinn=trace");
        let error = settings.filter(Some("a=b=c")).unwrap_err().to_string();
        assert!(error.starts_with("RUST_LOG=`a=b=c` is not a log filter: "), "{error}");
    }
}
