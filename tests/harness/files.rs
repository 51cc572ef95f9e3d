//! Files that a link is started with: certificates and the two configuration files, in a directory of their own.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::admin::Admin;
use crate::broker::free_ports;
use crate::cluster::Cluster;
use crate::pki::{SENDER_NAME, issue, make_pki};
use crate::process::{Process, binary};
use crate::scratch::Scratch;
use crate::secure::Secure;

/// Files of a link. Dropping this removes them, so it must outlive the processes.
#[derive(Debug)]
pub struct LinkFiles {
    /// Configuration of `causeway send`.
    pub sender: Side,
    /// Configuration of `causeway receive`.
    pub receiver: Side,
    scratch: Scratch,
}

impl LinkFiles {
    /// Makes certificates, and files with the settings that have no default; [`Side::set`] adds others. Link names must
    /// be unique per target cluster.
    pub fn new(link: &str, source: &Cluster, target: &Cluster, topics: &[&str]) -> Result<Self> {
        let scratch = Scratch::new("link")?;
        let pki = scratch.path().join("pki");
        make_pki(&pki, link)?;
        let port = free_ports(1)?[0];

        let mut sender = Side::new("send", "sender", &scratch)?;
        sender.set("", "link", &quoted(link)).set("", "instance", &quoted("sender"));
        sender.set("source", "bootstrap_servers", &list(&source.addresses()));
        sender.set("source", "topics", &list(topics));
        sender.set("wan", "receiver", &quoted(&format!("127.0.0.1:{port}")));
        sender.tls(&pki, "sender");

        let mut receiver = Side::new("receive", "receiver", &scratch)?;
        receiver.set("", "listen", &quoted(&format!("127.0.0.1:{port}")));
        receiver.set("", "instance", &quoted("receiver"));
        receiver.set("target", "bootstrap_servers", &list(&target.addresses()));
        receiver.set("[links]", "name", &quoted(link));
        receiver.set("[links]", "senders", &list(&[SENDER_NAME]));
        receiver.set("[links]", "topics", &list(topics));
        receiver.tls(&pki, "receiver");

        Ok(Self { sender, receiver, scratch })
    }

    /// Starts the receiver, then the sender. Returns without waiting for them.
    pub fn start(&self) -> Result<(Process, Process)> {
        let receiver = self.receiver.start()?;
        let sender = self.sender.start()?;
        Ok((receiver, sender))
    }

    /// Directory of the certificates.
    pub fn pki(&self) -> PathBuf {
        self.scratch.path().join("pki")
    }

    /// Makes a second sender of the same link, with another instance name.
    pub fn another_sender(&self, instance: &str) -> Result<Side> {
        let mut side = self.sender.twin(instance, &self.scratch)?;
        side.set("", "instance", &quoted(instance));
        Ok(side)
    }

    /// Makes the sender of a further link of the same receiver, with a certificate of its own.
    pub fn sender_of_another_link(&mut self, link: &str, topics: &[&str]) -> Result<Side> {
        let dns_name = format!("{link}.test");
        issue(&self.pki(), link, &dns_name)?;
        let table = format!("[links]#{link}");
        for (key, value) in [("name", quoted(link)), ("senders", list(&[&dns_name])), ("topics", list(topics))] {
            self.receiver.set(&table, key, &value);
        }
        let mut side = self.another_sender(link)?;
        side.set("", "link", &quoted(link)).set("source", "topics", &list(topics));
        side.tls(&self.pki(), link);
        Ok(side)
    }

    /// Makes a second receiver of the same link and a sender that dials it, as an operator might by mistake.
    pub fn twin(&self, instance: &str) -> Result<Self> {
        let scratch = Scratch::new("twin")?;
        let name = instance.replace(' ', "-");
        let mut receiver = self.receiver.twin(&format!("{name}-receiver"), &scratch)?;
        let listen = quoted(&format!("127.0.0.1:{}", free_ports(1)?[0]));
        receiver.set("", "listen", &listen).set("", "instance", &quoted(&format!("{name}-receiver")));
        let mut sender = self.sender.twin(&format!("{name}-sender"), &scratch)?;
        sender.set("wan", "receiver", &listen).set("", "instance", &quoted(&format!("{name}-sender")));
        // Both are written to the new directory, which is removed with the twin.
        receiver.dir = scratch.path().to_owned();
        sender.dir = scratch.path().to_owned();
        Ok(Self { sender, receiver, scratch })
    }

    /// Makes a second receiver of the same link, on a port of its own, as an operator might by mistake.
    pub fn another_receiver(&self, instance: &str) -> Result<Side> {
        let mut side = self.receiver.twin(instance, &self.scratch)?;
        side.set("", "instance", &quoted(instance));
        side.set("", "listen", &quoted(&format!("127.0.0.1:{}", free_ports(1)?[0])));
        Ok(side)
    }
}

/// Configuration file of one side, and the command that it is for.
#[derive(Debug, Clone)]
pub struct Side {
    command: &'static str,
    name: String,
    dir: PathBuf,
    admin: Admin,
    /// Keys and values by table; the first table has no name and has the keys above all tables.
    tables: Vec<(String, Vec<(String, String)>)>,
    environment: Vec<(String, String)>,
}

impl Side {
    fn new(command: &'static str, name: &str, scratch: &Scratch) -> Result<Self> {
        let admin = Admin::new(SocketAddr::from((Ipv4Addr::LOCALHOST, free_ports(1)?[0])));
        let mut side = Self {
            command,
            name: name.to_owned(),
            dir: scratch.path().to_owned(),
            admin,
            tables: vec![(String::new(), Vec::new())],
            environment: Vec::new(),
        };
        side.set("admin", "listen", &quoted(&admin.address().to_string()));
        Ok(side)
    }

    fn twin(&self, name: &str, scratch: &Scratch) -> Result<Self> {
        let fresh = Self::new(self.command, name, scratch)?;
        let mut twin = Self { name: fresh.name, admin: fresh.admin, ..self.clone() };
        twin.set("admin", "listen", &quoted(&fresh.admin.address().to_string()));
        Ok(twin)
    }

    fn tls(&mut self, pki: &std::path::Path, name: &str) {
        let path = |file: String| quoted(&pki.join(file).display().to_string());
        self.set("tls", "ca", &path("ca.pem".to_owned()));
        self.set("tls", "certificate", &path(format!("{name}.pem")));
        self.set("tls", "key", &path(format!("{name}.key")));
    }

    /// Sets a key to a TOML value (strings with their quotes). The table is `""` for keys above all tables,
    /// `"[links]"` for a `[[links]]`, `"[links]#2"` for a second one. Takes effect when the file is written.
    pub fn set(&mut self, table: &str, key: &str, value: &str) -> &mut Self {
        let index = self.tables.iter().position(|(name, _)| name == table).unwrap_or_else(|| {
            self.tables.push((table.to_owned(), Vec::new()));
            self.tables.len() - 1
        });
        let entries = &mut self.tables[index].1;
        entries.retain(|(name, _)| name != key);
        entries.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Connects to `cluster`, `source` or `target`, through its secure listener as `user`. Writes the password to a file
    /// next to the listener's certificates.
    pub fn log_in(&mut self, listener: &Secure, cluster: &str, user: &str, password: &str) -> Result<()> {
        let file = listener.pki.join(format!("{user}.password"));
        fs::write(&file, password)?;
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        self.set(cluster, "bootstrap_servers", &format!("[\"127.0.0.1:{}\"]", listener.port));
        let client = format!("{cluster}.client");
        let ca = listener.pki.join("ca.pem");
        for (name, value) in [
            ("security.protocol", "\"SASL_SSL\"".to_owned()),
            ("sasl.mechanism", "\"SCRAM-SHA-512\"".to_owned()),
            ("sasl.username", format!("{user:?}")),
            ("sasl.password", format!("{{ file = {:?} }}", file.display().to_string())),
            ("ssl.ca.location", format!("{:?}", ca.display().to_string())),
        ] {
            self.set(&client, &format!("{name:?}"), &value);
        }
        Ok(())
    }

    /// Sets an environment variable for the process.
    pub fn env(&mut self, key: &str, value: &str) -> &mut Self {
        self.environment.retain(|(name, _)| name != key);
        self.environment.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Returns the TOML value of a key that was set.
    pub fn get(&self, table: &str, key: &str) -> Option<&str> {
        let (_, entries) = self.tables.iter().find(|(name, _)| name == table)?;
        entries.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Returns the text of the file.
    pub fn toml(&self) -> String {
        let mut text = String::new();
        for (table, entries) in &self.tables {
            if !table.is_empty() {
                let (header, _) = table.split_once('#').unwrap_or((table, ""));
                let _ = writeln!(text, "\n[{header}]");
            }
            for (key, value) in entries {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        text
    }

    /// Writes the file and returns its path.
    pub fn write(&self) -> Result<PathBuf> {
        let file = self.dir.join(format!("{}.toml", self.name));
        fs::write(&file, self.toml())?;
        Ok(file)
    }

    /// Writes the file and starts the process. Returns without waiting for it: [`Admin::wait_until_ready`] does.
    pub fn start(&self) -> Result<Process> {
        let mut command = Command::new(binary()?);
        command.arg(self.command).arg(self.write()?);
        self.start_as(&mut command)
    }

    /// Starts another program in place of `causeway`; it must find the file by itself.
    pub fn start_as(&self, command: &mut Command) -> Result<Process> {
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        Process::start(command, &self.dir.join(format!("{}.log", self.name)), self.admin)
    }
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

fn list<S: AsRef<str>>(items: &[S]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item.as_ref())).collect();
    format!("[{}]", items.join(", "))
}
