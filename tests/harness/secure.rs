//! Clusters with authentication and authorisation: a listener with TLS and SCRAM, users and their rights.
//!
//! The harness uses the plain listener, as a super user; the link uses the secure one.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::cluster::Cluster;
use crate::files::{Side, make_pki};
use crate::jars::Kafka;

/// Secure listener of a node.
#[derive(Debug, Clone)]
pub struct Secure {
    /// Port of the listener, on loopback.
    pub port: u16,
    /// Directory of its certificates; its clients trust `ca.pem`.
    pub pki: PathBuf,
}

impl Secure {
    /// Makes the certificates of a listener at `port` in `pki`.
    pub fn make(port: u16, pki: &Path) -> Result<Self> {
        make_pki(pki, "kafka")?;
        let key = fs::read_to_string(pki.join("receiver.key"))?;
        let chain = fs::read_to_string(pki.join("receiver.pem"))?;
        fs::write(pki.join("keystore.pem"), key + &chain)?;
        Ok(Self { port, pki: pki.to_owned() })
    }

    /// Returns the properties that a secure node has in addition to those of a plain one.
    pub(crate) fn properties(&self, port: u16, controller_port: u16) -> String {
        let secure = self.port;
        format!(
            "listeners=PLAINTEXT://127.0.0.1:{port},SECURE://127.0.0.1:{secure},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SECURE://127.0.0.1:{secure}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
",
            keystore = self.pki.join("keystore.pem").display()
        )
    }

    /// Configures `side` to use this listener as `user`. Writes the password to a file next to the certificates.
    pub fn admit(&self, side: &mut Side, cluster: &str, user: &str, password: &str) -> Result<()> {
        let file = self.pki.join(format!("{user}.password"));
        fs::write(&file, password)?;
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        side.set(cluster, "bootstrap_servers", &format!("[\"127.0.0.1:{}\"]", self.port));
        let client = format!("{cluster}.client");
        let ca = self.pki.join("ca.pem");
        for (name, value) in [
            ("security.protocol", "\"SASL_SSL\"".to_owned()),
            ("sasl.mechanism", "\"SCRAM-SHA-512\"".to_owned()),
            ("sasl.username", format!("{user:?}")),
            ("sasl.password", format!("{{ file = {:?} }}", file.display().to_string())),
            ("ssl.ca.location", format!("{:?}", ca.display().to_string())),
        ] {
            side.set(&client, &format!("{name:?}"), &value);
        }
        Ok(())
    }
}

/// Right of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// User that has the right.
    pub user: String,
    /// Type of the resource: `topic`, `transactional_id` or `cluster`.
    pub resource: String,
    /// Prefix of the resource's name.
    pub prefix: String,
    /// Operation, such as `Read`, `Write` or `Create`.
    pub operation: String,
}

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

    fn send(&mut self, line: &str) -> Result<()> {
        writeln!(self.input, "{line}")?;
        self.input.flush()?;
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        ensure!(answer.trim() == "ok", "{line}: {answer}");
        Ok(())
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
    format!("{user} {resource} prefixed {prefix} {operation}")
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
            name if name.starts_with("topics ") => prefix.to_owned(),
            name if name.starts_with("`__causeway.") => format!("__causeway.{prefix}"),
            name if name.starts_with("`causeway.") => format!("causeway.{prefix}"),
            _ => bail!("{row}"),
        };
        let user = if source { "sender" } else { "receiver" }.to_owned();
        let right = Right { user, resource: resource.to_owned(), prefix, operation: operation.to_owned() };
        Ok(Listed { source, right, sentence: quoted.to_owned() })
    })
    .collect()
}
