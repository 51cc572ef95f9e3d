//! `causeway check FILE`: shows the settings of a file and tests its cluster and its peer. Changes nothing.

mod cluster;
mod findings;
mod receiver_checks;
mod sender_checks;

use std::path::Path;
use std::time::Duration;

use kafka::Properties;
use service::config::{Configuration, Effective, Section, effective};
use service::tls::{Credentials, TlsError};
use wire::units::display_duration;

use crate::exit::Failure;
use crate::process::properties;
use crate::reload::usable;
use crate::role::{self, Role};
use cluster::Cluster;
use findings::Findings;

/// Round trips for which derived rates are shown: across a continent, an ocean, the world.
const ROUND_TRIPS: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(300)];

/// A configuration that can be checked.
trait Checked: Configuration {
    /// Name of the Kafka cluster in messages: `source` or `target`.
    const CLUSTER: &'static str;

    /// The process in words, for the first line.
    fn title(&self) -> String;

    /// Values that follow from the settings, each with its name.
    fn derived(&self) -> Vec<(String, String)>;

    /// The rates that the settings allow at this round trip, in words.
    fn rates_at(&self, rtt: Duration) -> String;

    fn check_cluster(&self, findings: &mut Findings, cluster: &Cluster, properties: &Properties);

    /// Checks what only the process that runs with `file` knows, if one does.
    fn check_running(&self, findings: &mut Findings, file: &Path) {
        let _ = (findings, file);
    }

    /// Checks the other end of the link, if this one can dial it. `cluster_id` is that of this end's cluster, if it
    /// answered.
    fn check_peer(
        &self,
        findings: &mut Findings,
        credentials: &Credentials,
        cluster_id: Option<String>,
    ) -> Result<(), Failure> {
        let _ = (findings, credentials, cluster_id);
        Ok(())
    }
}

/// Shows the settings of `file`, then tests its cluster and its peer.
pub(crate) fn run(file: &Path) -> Result<(), Failure> {
    match Role::of_file(file)? {
        (Role::Sender, text) => check::<sender::config::Config>(file, &text),
        (Role::Receiver, text) => check::<receiver::config::Config>(file, &text),
    }
}

fn check<C: Checked>(file: &Path, text: &str) -> Result<(), Failure> {
    let config: C = role::load(file)?;
    println!("{}: {}", file.display(), config.title());
    show_settings(text, &config);
    println!("\nderived");
    let at = |rtt| (format!("at a {} round trip", display_duration(rtt)), config.rates_at(rtt));
    for (what, words) in config.derived().into_iter().chain(ROUND_TRIPS.map(at)) {
        println!("  {what:<22} {words}");
    }
    println!("\nchecks");
    let properties = properties(&config)?;
    let mut findings = Findings::default();
    let credentials = credentials(&mut findings, &config);
    let mut cluster_id = None;
    if let Some(cluster) = Cluster::reach(&mut findings, C::CLUSTER, &config, &properties)? {
        let what = format!("{} cluster", C::CLUSTER);
        if let Some(id) = cluster.ask(&mut findings, &what, |catalog| catalog.cluster_id()) {
            findings.ok(&what, &id);
            cluster_id = Some(id);
            config.check_cluster(&mut findings, &cluster, &properties);
        }
    }
    config.check_running(&mut findings, file);
    if let Some(credentials) = credentials {
        config.check_peer(&mut findings, &credentials, cluster_id)?;
    }
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

/// Checks our own certificate and key: that they are valid, a pair, and usable for the role.
fn credentials(findings: &mut Findings, config: &impl Configuration) -> Option<Credentials> {
    match usable(config) {
        Ok(credentials) => {
            findings.ok("certificate", format!("{} fits its key", config.process().tls.certificate.display()));
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
