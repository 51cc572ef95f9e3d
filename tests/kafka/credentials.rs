//! Certificates and passwords that are replaced while records flow, by their files alone: no signal, no restart.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::admin::committed;
use harness::files::LinkFiles;
use harness::journal::Load;
use harness::pair::Pair;
use harness::process::Process;
use harness::wait::until;
use harness::{topics, verify};
use serde_json::Value;

use crate::rights::Secured;

const DELIVERED: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(60);

/// Directory like that of a Secret that Kubernetes mounts: its files are symbolic links through `..data`, which changes all of
/// them at the same moment.
struct Mount {
    dir: PathBuf,
    versions: u32,
}

impl Mount {
    /// Moves the files of `dir` behind symbolic links.
    fn over(dir: &Path) -> Result<Self> {
        let mut mount = Self { dir: dir.to_owned(), versions: 0 };
        let version = mount.next_version();
        fs::rename(dir, &version)?;
        fs::create_dir(dir)?;
        symlink(&version, dir.join("..data"))?;
        for file in fs::read_dir(&version)? {
            let name = file?.file_name();
            symlink(Path::new("..data").join(&name), dir.join(&name))?;
        }
        Ok(mount)
    }

    /// Swaps all files for those of `from`.
    fn swap(&mut self, from: &Path) -> Result<()> {
        let version = self.next_version();
        fs::create_dir(&version)?;
        for file in fs::read_dir(from)? {
            let file = file?;
            fs::copy(file.path(), version.join(file.file_name()))?;
        }
        symlink(&version, self.dir.join("..next"))?;
        Ok(fs::rename(self.dir.join("..next"), self.dir.join("..data"))?)
    }

    fn next_version(&mut self) -> PathBuf {
        self.versions += 1;
        self.dir.with_extension(self.versions.to_string())
    }
}

fn wait_until_active(sender: &Process, sessions: u64) -> Result<Value> {
    let open = |status: &Value| {
        let is_open = status["state"] == "active" && status["lanes_open"] == status["lanes"];
        is_open && status["sessions"] == sessions
    };
    sender.admin.wait_for("the sender to be active", DELIVERED, open)
}

fn wait_for_metric(process: &Process, metric: &str, value: f64) -> Result<()> {
    until(&format!("{metric} {value}"), SOON, || (process.admin.metric(metric).ok()? == value).then_some(()))
}

fn wait_until_renewed(process: &Process, files: &str, times: u32) -> Result<()> {
    wait_for_metric(process, &format!("causeway_credentials_renewed_total{{files={files:?}}}"), f64::from(times))
}

/// Returns the serial number of a certificate that a process uses.
fn serial(process: &Process, certificate: &str) -> Result<String> {
    let status = process.admin.status()?;
    let rows = status["certificates"].as_array().context("no certificates")?;
    let row = rows.iter().find(|row| row["certificate"] == certificate);
    Ok(row.with_context(|| format!("no {certificate}: {status:#}"))?["serial"].to_string())
}

#[test]
fn mounted_certificates_change_at_both_ends_under_load() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "mounted", 2)?;
    let new = || LinkFiles::new("mounted", &pair.source, &pair.target, &[&topic]);
    let files = new()?;
    let mut mount = Mount::over(&files.pki())?;
    let (mut receiver, mut sender) = files.start()?;
    wait_until_active(&sender, 1)?;
    let load = Load::new(&topic, 2).rate(2_000).seed(1).start(&pair.source)?;
    let before = [serial(&sender, "own")?, serial(&sender, "peer")?, serial(&receiver, "own")?];

    // Of another authority, so that each end must have all of its files.
    mount.swap(&new()?.pki())?;
    for process in [&sender, &receiver] {
        wait_until_renewed(process, "tls", 1)?;
    }
    wait_until_active(&sender, 1)?;
    ensure!(serial(&sender, "peer")? == before[1], "the session has another certificate");
    ensure!(serial(&sender, "own")? != before[0] && serial(&receiver, "own")? != before[2], "one is the former one");

    // The running sender shows its new certificate to a receiver that trusts no other.
    receiver.kill();
    let receiver = files.receiver.start()?;
    wait_until_active(&sender, 2)?;
    ensure!(serial(&receiver, "peer")? == serial(&sender, "own")?, "the sender shows another certificate");
    // And the running receiver its own to a sender that trusts no other.
    mount.swap(&new()?.pki())?;
    wait_until_renewed(&receiver, "tls", 1)?;
    sender.kill();
    let sender = files.sender.start()?;
    wait_until_active(&sender, 1)?;
    ensure!(serial(&sender, "peer")? == serial(&receiver, "own")?, "the receiver shows another certificate");
    let written = load.stop()?.written;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&written, &pair.target, "{topic}").map(drop)
}

#[test]
fn kafka_passwords_change_at_both_clusters_under_load() -> Result<()> {
    const NEW: &str = "another-s3cret-1b7d";
    let mut secured = Secured::grant_in(Pair::start_secure(1)?, "turned-", |_| true)?;
    let topic = topics::create_unique(&secured.pair.source, "turned-topic", 4)?;
    let mut files = secured.link("turned-link", &[&topic])?;
    // A producer that has the former password would need this long to notice it.
    files.receiver.set("target", "transaction_timeout", "\"150 s\"");
    let (receiver, sender) = files.start()?;
    wait_until_active(&sender, 1)?;
    let load = Load::new(&topic, 4).rate(1_000).seed(1).start(&secured.pair.source)?;
    let write = |user: &str, secured: &Secured| -> Result<()> {
        let cluster = if user == "sender" { &secured.pair.source } else { &secured.pair.target };
        Ok(fs::write(cluster.secure()?.pki.join(format!("{user}.password")), NEW)?)
    };

    // A password that the cluster does not know changes nothing.
    write("sender", &secured)?;
    wait_for_metric(&sender, "causeway_credentials_unusable{files=\"kafka\"}", 1.0)?;
    let status = sender.admin.status()?;
    let sentence = "kafka: changed files cannot be used, those from before stay in use: the cluster does not answer";
    ensure!(status["trouble"].to_string().contains(sentence), "{status:#}");
    let before = committed(&receiver.admin.status()?);
    receiver.admin.wait_for("records of the former clients", SOON, |status| committed(status) > before)?;

    // Now the clusters know it, and the former one is worth nothing to new connections.
    secured.source.add_user("sender", NEW)?;
    secured.target.add_user("receiver", NEW)?;
    write("receiver", &secured)?;
    for process in [&sender, &receiver] {
        wait_until_renewed(process, "kafka", 1)?;
        wait_for_metric(process, "causeway_credentials_unusable{files=\"kafka\"}", 0.0)?;
    }
    wait_until_active(&sender, 1)?;
    // Every connection is made again, as each client's credentials permit.
    for cluster in [&secured.pair.source, &secured.pair.target] {
        cluster.kill_all();
        cluster.restart_all()?;
    }
    let written = load.stop()?.written;
    verify::wait_until_delivered(&written, &secured.pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&written, &secured.pair.target, "{topic}")?;
    for process in [&sender, &receiver] {
        ensure!(!process.log()?.contains(NEW), "a password is logged");
    }
    Ok(())
}
