//! `causeway check FILE`: shows the settings of a file and tests its cluster and its peer. Changes nothing.

mod cluster;
mod findings;
mod receiver_checks;
mod sender_checks;

use std::path::Path;
use std::time::Duration;

use service::config::{Configuration, Effective, Section, effective};
use service::tls::{Credentials, TlsError};

use crate::exit::Failure;
use crate::reload::usable;
use crate::role::Role;
use findings::Findings;

/// Round trips for which derived rates are shown: across a continent, an ocean, the world.
const ROUND_TRIPS: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(300)];

/// Shows the settings of `file`, then tests its cluster and its peer.
pub(crate) fn run(file: &Path) -> Result<(), Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::Config(format!("{} cannot be read: {error}", file.display())))?;
    let findings = match Role::of_file(file, &text)? {
        Role::Sender => {
            let config: sender::config::Config = Role::Sender.load(file)?;
            println!("{}: a sender of link {}", file.display(), &*config.link);
            show_settings(&text, &config);
            sender_checks::show_derived(&config);
            sender_checks::ask(&config)?
        }
        Role::Receiver => {
            let config: receiver::config::Config = Role::Receiver.load(file)?;
            println!("{}: a receiver", file.display());
            show_settings(&text, &config);
            receiver_checks::show_derived(&config);
            receiver_checks::ask(&config)?
        }
    };
    findings.verdict()
}

/// Prints every setting in effect; those that the file states are marked.
fn show_settings<C: Configuration>(text: &str, config: &C) {
    println!("\nsettings (* stated in the file, the others are defaults)");
    let mut section = String::new();
    for Effective { section: head, key, value, written } in effective(text, C::SECTIONS) {
        let head = if head.is_empty() { head } else { format!("{head} ") };
        if head != section {
            section = head;
            println!("  {}", section.trim_end());
        }
        println!("  {} {key} = {value}", if written { '*' } else { ' ' });
    }
    let mut client = config.client().iter().peekable();
    if client.peek().is_some() {
        let section = C::SECTIONS.iter().find(|section| section.path.ends_with(".client"));
        println!("  {}", section.map_or_else(String::new, Section::title));
        client.for_each(|(name, property)| println!("  * {name} = {property}"));
    }
}

fn show_derived(lines: &[(String, String)]) {
    println!("\nderived");
    for (what, words) in lines {
        println!("  {what:<22} {words}");
    }
    println!("\nchecks");
}

/// Checks our own certificate and key: that they are valid, a pair, and usable for the role.
fn credentials(findings: &mut Findings, config: &impl Configuration) -> Option<Credentials> {
    match usable(config) {
        Ok(credentials) => {
            findings.ok("certificate", format!("{} fits its key", config.tls().certificate.display()));
            Some(credentials)
        }
        Err(error) => {
            let remedy = match error {
                TlsError::Pair { .. } => "set `key` in [tls] to the private key of `certificate`",
                _ => "`causeway pki init` makes all the files that both sides need",
            };
            findings.failed("certificate", error, remedy);
            None
        }
    }
}
