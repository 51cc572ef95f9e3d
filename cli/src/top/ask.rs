//! Asks the admin port for all that is shown.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::admin::{self, AdminPort};
use crate::args;
use crate::exit::Failure;
use crate::status::Answer;
use crate::status::lifts::quoted;

/// The time for an answer, even from a busy process.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What a process said, or that it said nothing.
pub(super) enum Said {
    Something {
        /// Admin port that answered.
        port: String,
        /// Options of a command that name it, with a space before them.
        options: String,
        shown: Box<Shown>,
    },
    Nothing {
        /// Admin port that was asked.
        port: String,
        reason: String,
    },
}

/// Answers of one moment.
pub(super) enum Shown {
    Sender {
        status: Box<sender::Status>,
        topics: Result<Vec<sender::TopicStatus>, String>,
        groups: Result<Vec<sender::GroupStatus>, String>,
    },
    Receiver {
        status: Box<receiver::status::Status>,
        groups: Result<Vec<receiver::GroupStatus>, String>,
    },
}

/// The admin ports that may be asked: without an address those of both roles, until one answers.
pub(super) struct Ports {
    ports: Vec<AdminPort>,
    options: String,
}

impl Ports {
    pub(super) fn of(arguments: &args::Top) -> Result<Self, Failure> {
        let mut options = arguments.admin.clone();
        options.admin = options.admin.or_else(|| arguments.address.clone());
        let named = options.admin.is_some() || options.config.is_some();
        let defaults = if named { &[admin::SENDER][..] } else { &[admin::SENDER, admin::RECEIVER] };
        let ports = defaults.iter().map(|default| AdminPort::new(&options, default, TIMEOUT));
        Ok(Self { ports: ports.collect::<Result<_, _>>()?, options: written(&options) })
    }

    /// Name of the port that is asked first.
    pub(super) fn name(&self) -> String {
        self.ports[0].name.clone()
    }

    pub(super) fn ask(&mut self) -> Said {
        let mut reasons = Vec::new();
        for (index, port) in self.ports.iter().enumerate() {
            match shown(port) {
                Ok(shown) => {
                    let port = port.name.clone();
                    self.ports = vec![self.ports.swap_remove(index)];
                    return Said::Something { port, options: self.options.clone(), shown: Box::new(shown) };
                }
                Err(reason) => reasons.push(reason),
            }
        }
        Said::Nothing { port: self.name(), reason: reasons.join("; ") }
    }
}

/// The options as they were given.
fn written(options: &args::AdminOptions) -> String {
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let all = [
        ("--admin", options.admin.clone()),
        ("--config", path(&options.config)),
        ("--ca", path(&options.ca)),
        ("--token", path(&options.token)),
    ];
    let given = all.into_iter().filter_map(|(name, value)| Some(format!(" {name} {}", quoted(&value?))));
    given.collect()
}

fn shown(port: &AdminPort) -> Result<Shown, String> {
    Ok(match get(port, "status")? {
        Answer::Sender(status) => {
            Shown::Sender { status, topics: table(port, "topics"), groups: table(port, "groups") }
        }
        Answer::Receiver(status) => Shown::Receiver { status, groups: table(port, "groups") },
    })
}

fn get<T: DeserializeOwned>(port: &AdminPort, page: &str) -> Result<T, String> {
    let answer = port.get(page).map_err(|failure| failure.to_string())?;
    serde_json::from_str(&answer).map_err(|error| format!("{}: unexpected response: {error}", port.name))
}

/// A table, or the words why there is none, such as those of a standby.
fn table<T: DeserializeOwned>(port: &AdminPort, page: &str) -> Result<T, String> {
    let reason = |words: String| words.strip_prefix(&format!("{}: ", port.name)).map(str::to_owned).unwrap_or(words);
    get(port, page).map_err(reason)
}
