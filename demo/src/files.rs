//! The files of the demo's link, certificates and configurations, in a directory that is removed with the demo.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Result;
use service::pki::{self, Request};
use tempfile::TempDir;

use super::record::TOPICS;
use super::wan::Wan;

const LINK: &str = "demo";
const SENDER_NAME: &str = "sender.demo";

#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) sender: PathBuf,
    pub(crate) receiver: PathBuf,
    pub(crate) listen: SocketAddr,
    dial: SocketAddr,
    _dir: TempDir,
}

impl Files {
    /// Makes certificates and writes the smallest files: everything else has the product's default.
    pub(crate) fn write(source: &str, target: &str, wan: &Wan) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("causeway-demo-").tempdir()?;
        let sender = [SENDER_NAME.to_owned()];
        let receiver = [Ipv4Addr::LOCALHOST.to_string()];
        pki::init(&dir.path().join("pki"), &Request { link: LINK, sender: &sender, receiver: &receiver })?;
        let files = Self {
            sender: dir.path().join("sender.toml"),
            receiver: dir.path().join("receiver.toml"),
            listen: wan.receiver,
            dial: wan.relay.address,
            _dir: dir,
        };
        fs::write(&files.sender, files.sender_toml(source) + &end("sender"))?;
        fs::write(&files.receiver, files.receiver_toml(target) + &end("receiver"))?;
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
"#,
            self.dial
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
"#,
            self.listen
        )
    }
}

/// The part of a file that both ends have.
fn end(role: &str) -> String {
    format!(
        "[tls]\nca = \"pki/ca.pem\"\ncertificate = \"pki/{role}.pem\"\nkey = \"pki/{role}.key\"\n[admin]\nlisten = \"off\"\n"
    )
}
