//! Secure listener of a node, with TLS and SCRAM, and the authorisation of its users.
//!
//! The harness uses the plain listener, as a super user; the link uses the secure one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::pki::make_pki;

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
}
