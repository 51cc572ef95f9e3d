//! The product's configuration in a cell, as the files that anybody would write.

use std::fs;
use std::path::Path;

use anyhow::Result;
use netem::tun::ADDRESSES;
use wire::units::Rate;

use super::cell::Cell;
use crate::end::product::{RECEIVER_FILE, SENDER_FILE};
use crate::end::source::{BULK, TRICKLE};
use crate::pki::{LINK, RECEIVER_NAME, SENDER_NAME};

/// Where the receiver listens.
const PORT: u16 = 7443;

/// Lines that whoever runs the bench adds, to try settings.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extra {
    /// Of the sender's top level.
    pub(crate) sender: Vec<String>,
    /// Of the sender's `[wan]`.
    pub(crate) wan: Vec<String>,
    /// Of the receiver's top level.
    pub(crate) receiver: Vec<String>,
}

/// Writes both files into `dir`.
pub(crate) fn write(dir: &Path, cell: &Cell, extra: &Extra) -> Result<()> {
    write_sender(dir, cell, cell.budget, extra)?;
    Ok(fs::write(dir.join(RECEIVER_FILE), receiver(extra))?)
}

/// Writes the sender's file with another budget than the cell begins with.
pub(crate) fn write_sender(dir: &Path, cell: &Cell, budget: Rate, extra: &Extra) -> Result<()> {
    Ok(fs::write(dir.join(SENDER_FILE), sender(cell, budget, extra))?)
}

/// Memory is what 500 Mbit/s over 300 ms need, unless said otherwise:
/// the rest is the product's default.
fn sender(cell: &Cell, budget: Rate, extra: &Extra) -> String {
    let memory = default_memory(&extra.sender, "512 MiB");
    let (top, own) = (extra.sender.join("\n"), cell.wan.join("\n"));
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

fn receiver(extra: &Extra) -> String {
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
    let said = lines.iter().any(|line| line.split('=').next().is_some_and(|name| name.trim() == "memory"));
    if said { String::new() } else { format!("memory = \"{memory}\"") }
}

#[cfg(test)]
mod tests {
    use kafka::properties::forbidden;

    use super::*;
    use crate::wan::{plan, short};

    #[test]
    fn the_product_reads_what_is_written_for_every_cell() {
        let extra = Extra::default();
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
    fn what_is_added_stands_where_it_belongs() {
        let extra = Extra {
            sender: vec!["memory = \"1 GiB\"".to_owned()],
            wan: vec!["linger = \"1 ms\"".to_owned()],
            receiver: Vec::new(),
        };
        let text = sender(&plan::all()[0], plan::all()[0].budget, &extra);
        let config = service::config::parse::<sender::config::Config>(&text, "sender.toml", forbidden).unwrap();
        assert_eq!((config.memory.bytes(), config.wan.linger.as_millis()), (1 << 30, 1));
    }
}
