//! `causeway status`: asks a running process on its admin port.

mod table;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::args;
use crate::exit::Failure;

/// Where a sender and a receiver answer unless configured otherwise.
const DEFAULTS: [&str; 2] = ["127.0.0.1:7401", "127.0.0.1:7402"];

/// The slowest part of an answer is a process that is busy.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What a process answers, by its role.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "lowercase")]
enum Answer {
    Sender(Box<sender::status::Status>),
    Receiver(receiver::status::Status),
}

/// Asks and prints.
pub(crate) fn run(asked: &args::Status) -> Result<(), Failure> {
    let one = asked.address.as_deref().or(asked.admin.as_deref());
    let addresses = one.map_or_else(|| DEFAULTS.to_vec(), |address| vec![address]);
    let (mut silent, mut printed) = (Vec::new(), 0);
    for address in addresses {
        match ask(address) {
            Ok(body) => {
                if printed > 0 && !asked.json {
                    println!();
                }
                print(address, &body, asked.json)?;
                printed += 1;
            }
            Err(reason) => silent.push(format!("{address}: {reason}")),
        }
    }
    if printed > 0 {
        return Ok(());
    }
    let remedy = "is a sender or receiver running, and is this the `listen` of its [admin]?";
    Err(Failure::Failed(format!("nobody answers; {remedy}\n  {}", silent.join("\n  "))))
}

fn ask(address: &str) -> Result<String, String> {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).build().into();
    let answer = agent.get(format!("http://{address}/status")).call();
    let mut answer = answer.map_err(|error| match error {
        ureq::Error::StatusCode(code) => format!("answers HTTP {code}: something else listens there"),
        ureq::Error::Timeout(_) => format!("no answer within {} s", TIMEOUT.as_secs()),
        ureq::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    })?;
    answer.body_mut().read_to_string().map_err(|error| error.to_string())
}

fn print(address: &str, body: &str, json: bool) -> Result<(), Failure> {
    let unreadable =
        |error: serde_json::Error| Failure::Failed(format!("{address} answers, but not as we know it: {error}"));
    if json {
        // As it came: a newer process may say more than this version knows.
        let value: serde_json::Value = serde_json::from_str(body).map_err(unreadable)?;
        println!("{value}");
        return Ok(());
    }
    match serde_json::from_str(body).map_err(unreadable)? {
        Answer::Sender(status) => print!("{}", table::sender(address, &status)),
        Answer::Receiver(status) => print!("{}", table::receiver(address, &status)),
    }
    Ok(())
}
