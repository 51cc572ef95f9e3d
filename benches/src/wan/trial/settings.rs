//! The product's configuration files for a cell.

use std::fs;
use std::path::Path;

use anyhow::Result;
use netem::tun::ADDRESSES;
use wire::units::Rate;

use crate::end::product::{RECEIVER_FILE, SENDER_FILE};
use crate::end::source::{BULK, TRICKLE};
use crate::pki::{LINK, RECEIVER_NAME, SENDER_NAME};
use crate::wan::cell::Cell;

const PORT: u16 = 7443;

/// Configuration lines that the user adds, to try settings.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExtraLines {
    /// Lines of the sender's top level.
    pub(crate) sender: Vec<String>,
    /// Lines of the sender's `[wan]`.
    pub(crate) wan: Vec<String>,
    /// Lines of the receiver's top level.
    pub(crate) receiver: Vec<String>,
}

pub(crate) fn write(dir: &Path, cell: &Cell, extra: &ExtraLines) -> Result<()> {
    write_sender(dir, cell, cell.budget, extra)?;
    Ok(fs::write(dir.join(RECEIVER_FILE), receiver(extra))?)
}

/// Writes the sender's configuration file with another budget than the cell's.
pub(crate) fn write_sender(dir: &Path, cell: &Cell, budget: Rate, extra: &ExtraLines) -> Result<()> {
    Ok(fs::write(dir.join(SENDER_FILE), sender(cell, budget, extra))?)
}

/// Returns the sender's configuration. Memory defaults to what 500 Mbit/s over 300 ms need.
fn sender(cell: &Cell, budget: Rate, extra: &ExtraLines) -> String {
    let memory = default_memory(&extra.sender, "512 MiB");
    let top = extra.sender.join("\n");
    let own = cell.wan.join("\n");
    let more = extra.wan.join("\n");
    let target = ADDRESSES[1];
    format!(
        r#"link = "{LINK}"
instance = "bench-sender"
{memory}
{top}
[source]
bootstrap_servers = ["nowhere.invalid:9092"]
topics = ["{BULK}", "{TRICKLE}"]
[wan]
receiver = "{target}:{PORT}"
server_name = "{RECEIVER_NAME}"
rate = "{budget}"
compression = "none"
{own}
{more}
[tls]
ca = "pki/ca.pem"
certificate = "pki/sender.pem"
key = "pki/sender.key"
{}
"#,
        cell.tables
    )
}

fn receiver(extra: &ExtraLines) -> String {
    let memory = default_memory(&extra.receiver, "1 GiB");
    let top = extra.receiver.join("\n");
    let target = ADDRESSES[1];
    format!(
        r#"listen = "{target}:{PORT}"
instance = "bench-receiver"
{memory}
{top}
[target]
bootstrap_servers = ["nowhere.invalid:9092"]
[[links]]
name = "{LINK}"
senders = ["{SENDER_NAME}"]
[tls]
ca = "pki/ca.pem"
certificate = "pki/receiver.pem"
key = "pki/receiver.key"
"#
    )
}

fn default_memory(lines: &[String], memory: &str) -> String {
    let given = lines.iter().any(|line| line.split('=').next().is_some_and(|name| name.trim() == "memory"));
    if given { String::new() } else { format!("memory = \"{memory}\"") }
}

#[cfg(test)]
mod tests {
    use kafka::properties::forbidden;

    use super::*;
    use crate::wan::{plan, short};

    #[test]
    fn the_product_accepts_the_files_of_every_cell() {
        let extra = ExtraLines::default();
        for cell in plan::all().iter().chain(&short::all()) {
            let config = service::config::parse::<sender::config::Config>(
                &sender(cell, cell.budget, &extra),
                "sender.toml",
                forbidden,
            )
            .unwrap();
            assert_eq!(config.wan.rate, Some(cell.budget), "{}", cell.name);
            assert_eq!(config.memory.bytes(), 512 << 20);
        }
        service::config::parse::<receiver::config::Config>(&receiver(&extra), "receiver.toml", forbidden).unwrap();
    }

    #[test]
    fn extra_lines_are_written_to_their_sections() {
        let extra = ExtraLines {
            sender: vec!["memory = \"1 GiB\"".to_owned()],
            wan: vec!["linger = \"1 ms\"".to_owned()],
            receiver: Vec::new(),
        };
        let text = sender(&plan::all()[0], plan::all()[0].budget, &extra);
        let config = service::config::parse::<sender::config::Config>(&text, "sender.toml", forbidden).unwrap();
        assert_eq!((config.memory.bytes(), config.wan.linger.as_millis()), (1 << 30, 1));
    }
}
