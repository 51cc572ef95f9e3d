//! Users of a secure cluster and their rights, and the table of rights in the documents.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result, bail};

use crate::cluster::Cluster;
use crate::jars::Kafka;

/// Right of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// User that has the right.
    pub user: String,
    /// Type of the resource: `topic`, `group`, `transactional_id` or `cluster`.
    pub resource: String,
    /// Prefix of the resource's name; `kafka-cluster` for the cluster.
    pub prefix: String,
    /// Operation, such as `Read`, `Write` or `Create`.
    pub operation: String,
}

/// Rule for a name or a prefix, as `ClusterAdmin.java` takes it: `alice topic literal orders Read`; with ` deny` at the end
/// it denies.
pub type Rule = str;

/// Admin client that grants and revokes rights on one cluster. It is a Java process, which ends when its stdin ends.
pub struct Rights {
    java: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Rights {
    /// Starts the admin client of `cluster`.
    pub fn of(cluster: &Cluster) -> Result<Self> {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/harness/ClusterAdmin.java");
        let mut java = Kafka::get()?.java(&[], source);
        java.arg(cluster.bootstrap()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut java = java.spawn().context("cannot start java")?;
        let input = java.stdin.take().context("java has no stdin")?;
        let output = BufReader::new(java.stdout.take().context("java has no stdout")?);
        Ok(Self { java, input, output })
    }

    /// Creates a SCRAM user.
    pub fn add_user(&mut self, user: &str, password: &str) -> Result<()> {
        self.send(&format!("user {user} {password}"))
    }

    /// Grants a right to its user.
    pub fn grant(&mut self, right: &Right) -> Result<()> {
        self.send(&format!("grant {}", words(right)))
    }

    /// Revokes a right of its user.
    pub fn revoke(&mut self, right: &Right) -> Result<()> {
        self.send(&format!("revoke {}", words(right)))
    }

    /// Makes a rule.
    pub fn make(&mut self, rule: &Rule) -> Result<()> {
        self.send(&format!("grant {rule}"))
    }

    /// Takes a rule away.
    pub fn take(&mut self, rule: &Rule) -> Result<()> {
        self.send(&format!("revoke {rule}"))
    }

    /// Returns the rules about all names that begin with this one, in order, such as
    /// `ALLOW User:alice READ TOPIC LITERAL orders`.
    pub fn rules(&mut self, name: &str) -> Result<Vec<String>> {
        let answer = self.ask(&format!("rules {name}"))?;
        Ok(answer.split(';').map(str::trim).filter(|rule| !rule.is_empty()).map(str::to_owned).collect())
    }

    /// Removes a stopped node from the cluster, until it starts again: new topics can then have fewer replicas.
    pub fn unregister(&mut self, node: u32) -> Result<()> {
        self.send(&format!("unregister {node}"))
    }

    /// Limits what clients of this client id may write, in bytes per second.
    pub fn limit_writes(&mut self, client_id: &str, bytes_per_second: u64) -> Result<()> {
        self.send(&format!("quota {client_id} {bytes_per_second}"))
    }

    fn send(&mut self, line: &str) -> Result<()> {
        self.ask(line).map(drop)
    }

    /// Returns what follows `ok` in the answer.
    fn ask(&mut self, line: &str) -> Result<String> {
        writeln!(self.input, "{line}")?;
        self.input.flush()?;
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        let told = answer.trim().strip_prefix("ok").with_context(|| format!("{line}: {answer}"))?;
        Ok(told.to_owned())
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        let _ = self.java.kill();
        let _ = self.java.wait();
    }
}

fn words(right: &Right) -> String {
    let Right { user, resource, prefix, operation } = right;
    let pattern = if resource == "cluster" { "literal" } else { "prefixed" };
    format!("{user} {resource} {pattern} {prefix} {operation}")
}

/// Right as `docs/security.md` lists it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// True for a right at the source, false for one at the target.
    pub source: bool,
    /// Right that the row of the table describes.
    pub right: Right,
    /// Sentence that is logged if the right is missing.
    pub sentence: String,
}

/// Returns the table of rights, for links, topics and ids that begin with `prefix`. The sender's user is `sender`, the
/// receiver's is `receiver`.
pub fn listed(prefix: &str) -> Result<Vec<Listed>> {
    let page = include_str!("../../docs/security.md");
    let (_, table) = page.split_once("<!-- rights -->").context("no table of rights")?;
    let (table, _) = table.split_once("<!-- /rights -->").context("no end of the table")?;
    let rows = table.lines().filter(|line| line.starts_with("| source") || line.starts_with("| target"));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [cluster, resource, name, operation, _, sentence] = cells[..] else { bail!("{row}") };
        let quoted = sentence.split('`').nth(1).with_context(|| format!("no sentence: {row}"))?;
        let source = cluster == "source";
        let prefix = match name {
            name if name.starts_with("topics ") || name.starts_with("groups ") => prefix.to_owned(),
            name if name.starts_with("`__causeway.") => format!("__causeway.{prefix}"),
            "the cluster" => "kafka-cluster".to_owned(),
            name if name.starts_with("`causeway.") => format!("causeway.{prefix}"),
            _ => bail!("{row}"),
        };
        let user = if source { "sender" } else { "receiver" }.to_owned();
        let right = Right { user, resource: resource.to_owned(), prefix, operation: operation.to_owned() };
        Ok(Listed { source, right, sentence: quoted.to_owned() })
    })
    .collect()
}
