//! `causeway status`: asks a running process on its admin port what it is doing.

mod acls;
pub(crate) mod cost;
mod foreign_writes;
pub(crate) mod lifts;
mod promotion;
pub(crate) mod sentences;
mod table;

use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::admin::{self, AdminPort};
use crate::args;
use crate::exit::Failure;

/// The time for an answer, even from a busy process.
const TIMEOUT: Duration = Duration::from_secs(5);
const WATCH: Duration = Duration::from_secs(2);

/// What a process says of itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub(crate) enum Answer {
    Sender(Box<sender::Status>),
    Receiver(Box<receiver::status::Status>),
}

pub(crate) fn run(arguments: &args::Status) -> Result<(), Failure> {
    if !arguments.watch {
        print!("{}", page(arguments)?);
        return Ok(());
    }
    let terminal = std::io::stdout().is_terminal();
    loop {
        // A process that does not answer now may answer 2 s later.
        let page = page(arguments).unwrap_or_else(|failure| format!("{failure}\n"));
        let page = match terminal {
            // To the top, and clear the rest of each line and of the screen: no flicker between two pages.
            true => format!("\x1b[H{}\x1b[J", page.replace('\n', "\x1b[K\n")),
            false if arguments.json => page,
            false => page + "\n",
        };
        // The reader of this output has closed it.
        let mut out = std::io::stdout();
        if out.write_all(page.as_bytes()).and_then(|()| out.flush()).is_err() {
            return Ok(());
        }
        std::thread::sleep(WATCH);
    }
}

/// The answers of every process asked; a failure if none answers.
fn page(arguments: &args::Status) -> Result<String, Failure> {
    let path = match &arguments.topic {
        Some(topic) => format!("partitions?topic={topic}"),
        None if arguments.topics => "topics".to_owned(),
        None if arguments.groups => "groups".to_owned(),
        None if arguments.cost => "cost".to_owned(),
        None => "status".to_owned(),
    };
    let mut options = arguments.admin.clone();
    options.admin = options.admin.or_else(|| arguments.address.clone());
    let named = options.admin.is_some() || options.config.is_some();
    let defaults = if named { &[admin::SENDER][..] } else { &[admin::SENDER, admin::RECEIVER] };
    let mut answers = Vec::new();
    let mut failures = Vec::new();
    for default in defaults {
        let port = AdminPort::new(&options, default, TIMEOUT)?;
        match port.get(&path) {
            Ok(body) => answers.push(shown(&port, &body, arguments)?),
            Err(failure) => failures.push(failure.to_string()),
        }
    }
    if !answers.is_empty() {
        return Ok(answers.join(if arguments.json { "" } else { "\n" }));
    }
    let remedy = if path == "status" || arguments.groups {
        "is Causeway running, and does this match `listen` in its [admin]?"
    } else {
        "is this the admin port of the sender that holds the link?"
    };
    Err(Failure::Failed(format!("no response; {remedy}\n  {}", failures.join("\n  "))))
}

fn shown(port: &AdminPort, body: &str, arguments: &args::Status) -> Result<String, Failure> {
    let unexpected = |error: serde_json::Error| port.failed(format!("unexpected response: {error}"));
    if arguments.json {
        // Every field that came, also those of a newer version.
        let value: serde_json::Value = serde_json::from_str(body).map_err(unexpected)?;
        return Ok(format!("{value}\n"));
    }
    let address = &port.name;
    if arguments.topics {
        return Ok(table::topics(address, &serde_json::from_str::<Vec<_>>(body).map_err(unexpected)?));
    }
    if arguments.groups {
        return Ok(table::groups(address, &serde_json::from_str::<Vec<_>>(body).map_err(unexpected)?));
    }
    if arguments.cost {
        return Ok(cost::page(address, &serde_json::from_str(body).map_err(unexpected)?));
    }
    if let Some(topic) = &arguments.topic {
        return Ok(table::partitions(address, topic, &serde_json::from_str::<Vec<_>>(body).map_err(unexpected)?));
    }
    Ok(match serde_json::from_str(body).map_err(unexpected)? {
        Answer::Sender(status) => table::sender(address, &status),
        Answer::Receiver(status) => table::receiver(address, &status),
    })
}
