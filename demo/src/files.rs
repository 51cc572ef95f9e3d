//! What the link of the demo is started with: real certificates and the two configuration files, in a
//! directory that goes away with the demo.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::Result;
use service::pki::{self, Request};
use tempfile::TempDir;

use super::record::TOPICS;
use super::wan::Wan;

const LINK: &str = "demo";
const SENDER_NAME: &str = "sender.demo";

/// The link's files. Removed when dropped.
#[derive(Debug)]
pub(crate) struct Files {
    /// For `causeway send`.
    pub(crate) sender: PathBuf,
    /// For `causeway receive`.
    pub(crate) receiver: PathBuf,
    /// Where the receiver listens, UDP.
    pub(crate) listen: SocketAddr,
    /// Where the sender finds it.
    dial: SocketAddr,
    /// Where to ask the sender's process, if it has one.
    pub(crate) sender_admin: SocketAddr,
    /// Where to ask the receiver's process, if it has one.
    pub(crate) receiver_admin: SocketAddr,
    _dir: TempDir,
}

impl Files {
    /// Makes certificates and writes files that say no more than they must: everything else has the
    /// product's default.
    pub(crate) fn write(source: &str, target: &str, wan: &Wan) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("causeway-demo-").tempdir()?;
        let (sender, receiver) = ([SENDER_NAME.to_owned()], [Ipv4Addr::LOCALHOST.to_string()]);
        pki::init(&dir.path().join("pki"), &Request { link: LINK, sender: &sender, receiver: &receiver })?;
        let files = Self {
            sender: dir.path().join("sender.toml"),
            receiver: dir.path().join("receiver.toml"),
            listen: wan.far_end(),
            dial: wan.near_end(),
            sender_admin: free_tcp_port()?,
            receiver_admin: free_tcp_port()?,
            _dir: dir,
        };
        fs::write(&files.sender, files.sender_toml(source))?;
        fs::write(&files.receiver, files.receiver_toml(target))?;
        Ok(files)
    }

    fn sender_toml(&self, source: &str) -> String {
        let topics = TOPICS.map(|(name, _)| format!("{name:?}")).join(", ");
        format!(
            r#"link = "{LINK}"
instance = "demo-sender"
[source]
bootstrap_servers = ["{source}"]
topics = [{topics}]
[wan]
receiver = "{}"
[tls]
ca = "pki/ca.pem"
certificate = "pki/sender.pem"
key = "pki/sender.key"
[admin]
listen = "{}"
"#,
            self.dial, self.sender_admin
        )
    }

    fn receiver_toml(&self, target: &str) -> String {
        format!(
            r#"listen = "{}"
instance = "demo-receiver"
[target]
bootstrap_servers = ["{target}"]
[[links]]
name = "{LINK}"
senders = ["{SENDER_NAME}"]
[tls]
ca = "pki/ca.pem"
certificate = "pki/receiver.pem"
key = "pki/receiver.key"
[admin]
listen = "{}"
"#,
            self.listen, self.receiver_admin
        )
    }
}

/// A loopback port that nobody listened on a moment ago.
pub(crate) fn free_tcp_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
