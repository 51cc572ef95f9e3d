//! `causeway check FILE`: what a file means, and whether what it names is there. Changes nothing.

mod cluster;
mod findings;
mod receiver_checks;
mod sender_checks;

use std::path::Path;
use std::time::Duration;

use service::config::{Effective, Properties, Section, effective};
use service::tls::{Credentials, End, TlsFiles};

use crate::exit::Failure;
use crate::role::Role;
use crate::{receive, send};
use findings::Findings;

/// The round trips that derived rates are shown for: across a continent, an ocean, the world.
const ROUND_TRIPS: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(300)];

/// Shows what `file` means, then asks its cluster and its peer.
pub(crate) fn run(file: &Path) -> Result<(), Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::Config(format!("{} cannot be read: {error}", file.display())))?;
    let findings = match Role::of_file(file, &text)? {
        Role::Sender => {
            let config = send::load(file)?;
            println!("{}: a sender of link {}", file.display(), &*config.link);
            show_settings(&text, sender::config::SECTIONS, &config.source.client);
            sender_checks::show_derived(&config);
            sender_checks::ask(&config, &send::properties(&config)?)?
        }
        Role::Receiver => {
            let config = receive::load(file)?;
            println!("{}: a receiver", file.display());
            show_settings(&text, receiver::config::SECTIONS, &config.target.client);
            receiver_checks::show_derived(&config);
            receiver_checks::ask(&config, &receive::properties(&config)?)?
        }
    };
    findings.verdict()
}

/// Every setting that holds; those that the file states are marked.
fn show_settings(text: &str, sections: &'static [Section], client: &Properties) {
    println!("\nsettings (* stated in the file, the others are defaults)");
    let mut section = String::new();
    for Effective { section: head, key, value, written } in effective(text, sections) {
        let head = if head.is_empty() { head } else { format!("{head} ") };
        if head != section {
            section = head;
            println!("  {}", section.trim_end());
        }
        println!("  {} {key} = {value}", if written { '*' } else { ' ' });
    }
    let mut client = client.iter().peekable();
    if client.peek().is_some() {
        let section = sections.iter().find(|section| section.path.ends_with(".client"));
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

/// Our own certificate and key.
fn credentials(findings: &mut Findings, files: &TlsFiles, end: End) -> Option<Credentials> {
    match Credentials::load(files, end, service::tls::now()) {
        Ok(credentials) => {
            findings.ok("certificate", format!("{} fits its key", files.certificate.display()));
            Some(credentials)
        }
        Err(error) => {
            findings.failed("certificate", error, "`causeway pki init` makes all that both sides need");
            None
        }
    }
}
