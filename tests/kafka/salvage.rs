//! Salvage: what a promoted link never carried is copied next to it, each record once, and nothing else.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::cluster::Cluster;
use harness::command::{Exit, run, run_at};
use harness::files::LinkFiles;
use harness::journal::{self, Load};
use harness::pair::Pair;
use harness::process::binary;
use harness::reader::read_copies;
use harness::record::{Contents, Entry, small};
use harness::scratch::Scratch;
use harness::wait::until_ok;
use harness::{topics, wait};
use rdkafka::producer::Producer as _;
use serde_json::Value;

use crate::failback::{back, digests};
use crate::failover::{PARTITIONS, wait_for_commits};

const PATIENCE: Duration = Duration::from_secs(60);
/// Kills of the command, each so long after its start.
const KILLS: [Duration; 3] = [Duration::from_millis(400), Duration::from_millis(900), Duration::from_millis(1_500)];

/// A statement of loss in a file.
pub(crate) struct Stated {
    statement: Value,
    scratch: Scratch,
}

impl Stated {
    pub(crate) fn new(printed: &str) -> Result<Self> {
        let line = printed.lines().find(|line| line.starts_with('{')).context("no statement")?;
        let scratch = Scratch::new("salvage")?;
        fs::write(scratch.path().join("loss.json"), line)?;
        Ok(Self { statement: serde_json::from_str(line)?, scratch })
    }

    /// Returns the arguments of a command that copies.
    fn command(&self, files: &LinkFiles, options: &[&str]) -> Result<Vec<String>> {
        let statement = self.scratch.path().join("loss.json").display().to_string();
        let config = files.sender.write()?.display().to_string();
        let all = ["salvage", &statement, "--config", &config].into_iter().chain(options.iter().copied());
        Ok(all.map(str::to_owned).collect())
    }

    pub(crate) fn salvage(&self, files: &LinkFiles, options: &[&str]) -> Result<Exit> {
        let command = self.command(files, options)?;
        run(&command.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Returns the records that the statement says were not carried, by what was written to the source until then.
    fn lost(&self, topic: &str, written: &Contents) -> Result<Vec<Vec<Entry>>> {
        let mut lost = vec![Vec::new(); PARTITIONS as usize];
        for stated in self.statement["partitions"].as_array().context("no partitions")? {
            let partition = stated["partition"].as_i64().context("no number")? as i32;
            let carried_to = stated["carried_to"].as_i64().context("not carried")?;
            let behind = written.partition(topic, partition).iter().filter(|one| one.offset >= carried_to);
            lost[partition as usize].extend(behind.cloned());
        }
        Ok(lost)
    }
}

/// Returns the copies in a topic, by partition, with their offsets at the source.
pub(crate) fn copies(cluster: &Cluster, topic: &str) -> Result<Vec<Vec<Entry>>> {
    let copies = read_copies(cluster, topic)?;
    Ok((0..PARTITIONS).map(|partition| copies.partition(topic, partition).to_vec()).collect())
}

#[test]
fn what_was_never_carried_is_copied_once_with_its_place() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "left", PARTITIONS)?;
    let link = topics::unique("left");
    let files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic])?;
    let load = Load::new(&topic, PARTITIONS).rate(2_000).value_max(1_000);
    let loads = [load.clone().start(&pair.source)?, load.seed(9).transactional(20).start(&pair.source)?];
    let (receiver, mut sender) = files.start()?;
    wait_for_commits(&receiver, 1_000)?;
    let dry = Stated::new(&run_at(&receiver, &["failover", "--link", &link, "--dry-run", "--json"])?.printed)?;
    dry.salvage(&files, &[])?.expect(2, "the statement is of a dry run")?;
    sender.kill();
    let stated = Stated::new(&run_at(&receiver, &["failover", "--link", &link, "--json"])?.printed)?;
    wait::through(Duration::from_secs(3), || Ok(()))?;
    let [first, second] = loads;
    let mut written = first.stop()?.written;
    written.merge(&second.stop()?.written);
    let lost = stated.lost(&topic, &written)?;
    let count: usize = lost.iter().map(Vec::len).sum();
    ensure!(count > 2_000, "only {count} records were left behind");

    let open = journal::leave_open(&pair.source, &topic)?;
    let exit = stated.salvage(&files, &["--dry-run"])?;
    exit.expect(1, "offsets would be copied into")?;
    ensure!(exit.printed.contains("open transaction"), "{}", exit.printed);
    open.abort_transaction(PATIENCE)?;
    // A process that is killed within a transaction leaves it open: the next one ends it.
    for after in KILLS {
        let mut killed = Command::new(binary()?);
        let mut killed =
            killed.args(stated.command(&files, &[])?).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        wait::through(after, || Ok(()))?;
        killed.kill()?;
        killed.wait()?;
    }
    until_ok("the open transaction to end", PATIENCE, || {
        let exit = stated.salvage(&files, &[])?;
        println!("{}", exit.printed);
        Ok((exit.code == 0).then_some(()))
    })?;
    let diverged = format!("{topic}.diverged");
    ensure!(copies(&pair.source, &diverged)? == lost, "the copies are not what was left behind");
    stated.salvage(&files, &["--topic", &topic])?.expect(0, "0 records copied")?;
    stated.salvage(&files, &["--topic", "bills"])?.expect(2, "no topic bills")?;

    // What comes back is not copied, also where nothing is copied yet.
    journal::write(&pair.target, &topic, 0, &small(0..500))?;
    let own = digests(&pair.source, &topic)?;
    let way_back = back(&topics::unique("back"), &link, &pair.target, &pair.source, &topic)?;
    let _ends = way_back.start()?;
    until_ok("the records to come back", PATIENCE, || {
        Ok((digests(&pair.source, &topic)?[0].len() == own[0].len() + 500).then_some(()))
    })?;
    stated.salvage(&files, &[])?.expect(0, "0 records copied")?;
    stated.salvage(&files, &["--suffix", ".again"])?.expect(0, "records copied into")?;
    ensure!(copies(&pair.source, &format!("{topic}.again"))? == lost, "other records than before the way back");
    journal::write(&pair.source, &diverged, 0, &small(0..1))?;
    topics::delete(&pair.source, &format!("{topic}.again"))?;
    let foreign = stated.salvage(&files, &[])?;
    foreign.expect(1, "another program wrote to")
}
