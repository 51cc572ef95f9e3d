//! `causeway status`: asks a running process on its admin port.

mod table;

use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::admin::AdminPort;
use crate::args;
use crate::exit::Failure;

/// Where a sender and a receiver answer unless configured otherwise.
const DEFAULTS: [&str; 2] = ["127.0.0.1:7401", "127.0.0.1:7402"];

/// The slowest part of an answer is a process that is busy.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How often `--watch` asks.
const WATCH: Duration = Duration::from_secs(2);

/// What a process answers, by its role.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "lowercase")]
enum Answer {
    Sender(Box<sender::Status>),
    Receiver(receiver::report::status::Status),
}

/// Asks and prints, once or again and again.
pub(crate) fn run(asked: &args::Status) -> Result<(), Failure> {
    if !asked.watch {
        let page = page(asked)?;
        return show(&page).map_err(Failure::failed);
    }
    // Back to the top, and what is left of the page before away: no flicker between the two.
    let (before, after) = if std::io::stdout().is_terminal() { ("\x1b[H", "\x1b[J") } else { ("", "\n") };
    let after = if asked.json { "" } else { after };
    loop {
        // Whoever does not answer now may do so at the next look.
        let page = page(asked).unwrap_or_else(|failure| format!("{failure}\n"));
        let page = if before.is_empty() { page } else { page.replace('\n', "\x1b[K\n") };
        // Whoever read it has seen enough.
        if show(&format!("{before}{page}{after}")).is_err() {
            return Ok(());
        }
        std::thread::sleep(WATCH);
    }
}

fn show(page: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(page.as_bytes())?;
    out.flush()
}

/// What everybody says who answers; a failure if nobody does.
fn page(asked: &args::Status) -> Result<String, Failure> {
    let path = match &asked.topic {
        Some(topic) => format!("partitions?topic={topic}"),
        None if asked.topics => "topics".to_owned(),
        None => "status".to_owned(),
    };
    let one = asked.address.as_deref().or(asked.admin.as_deref());
    let addresses = one.map_or_else(|| DEFAULTS.to_vec(), |address| vec![address]);
    let port = AdminPort::new(&asked.access, TIMEOUT)?;
    let (mut silent, mut answers) = (Vec::new(), Vec::new());
    for address in addresses {
        match port.get(address, &path) {
            Ok(body) => answers.push(shown(address, &body, asked)?),
            Err(reason) => silent.push(format!("{address}: {reason}")),
        }
    }
    if !answers.is_empty() {
        return Ok(answers.join(if asked.json { "" } else { "\n" }));
    }
    let remedy = if path == "status" {
        "is a sender or receiver running, and is this the `listen` of its [admin]?"
    } else {
        "is this the admin port of the sender that holds the link?"
    };
    Err(Failure::Failed(format!("nobody answers; {remedy}\n  {}", silent.join("\n  "))))
}

fn shown(address: &str, body: &str, asked: &args::Status) -> Result<String, Failure> {
    let unreadable =
        |error: serde_json::Error| Failure::Failed(format!("{address} answers, but not as we know it: {error}"));
    if asked.json {
        // As it came: a newer process may say more than this version knows.
        let value: serde_json::Value = serde_json::from_str(body).map_err(unreadable)?;
        return Ok(format!("{value}\n"));
    }
    if asked.topics {
        return Ok(table::topics(address, &serde_json::from_str::<Vec<_>>(body).map_err(unreadable)?));
    }
    if let Some(topic) = &asked.topic {
        return Ok(table::partitions(address, topic, &serde_json::from_str::<Vec<_>>(body).map_err(unreadable)?));
    }
    Ok(match serde_json::from_str(body).map_err(unreadable)? {
        Answer::Sender(status) => table::sender(address, &status),
        Answer::Receiver(status) => table::receiver(address, &status),
    })
}
