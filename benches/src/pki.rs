//! The certificates of a run, which are created for it and deleted after it.

use std::path::Path;

use anyhow::Result;
use service::pki::{self, Request};
use service::tls::{End, TlsFiles};

pub(crate) const LINK: &str = "bench";
pub(crate) const SENDER_NAME: &str = "sender.bench";
pub(crate) const RECEIVER_NAME: &str = "receiver.bench";

/// Creates an authority and both ends' certificates in `dir`.
pub(crate) fn init(dir: &Path) -> Result<()> {
    let sender = [SENDER_NAME.to_owned()];
    let receiver = [RECEIVER_NAME.to_owned()];
    pki::init(&dir.join("pki"), &Request { link: LINK, sender: &sender, receiver: &receiver })?;
    Ok(())
}

/// Returns the paths of an end's certificate files in `dir`.
pub(crate) fn files(dir: &Path, end: End) -> TlsFiles {
    let name = match end {
        End::Client => "sender",
        End::Server => "receiver",
    };
    let pki = dir.join("pki");
    TlsFiles {
        ca: pki.join("ca.pem"),
        certificate: pki.join(name).with_extension("pem"),
        key: pki.join(name).with_extension("key"),
    }
}
