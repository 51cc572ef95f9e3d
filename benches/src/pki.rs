//! The certificates of a run, made for it and gone with it.

use std::path::Path;

use anyhow::Result;
use service::pki::{self, Request};
use service::tls::{End, TlsFiles};

/// What the link of every run is called.
pub(crate) const LINK: &str = "bench";
/// Whom the sender's certificate names.
pub(crate) const SENDER_NAME: &str = "sender.bench";
/// Whom the receiver's certificate names.
pub(crate) const RECEIVER_NAME: &str = "receiver.bench";

/// Makes an authority and both ends' certificates in `dir`.
pub(crate) fn init(dir: &Path) -> Result<()> {
    let (sender, receiver) = ([SENDER_NAME.to_owned()], [RECEIVER_NAME.to_owned()]);
    pki::init(&dir.join("pki"), &Request { link: LINK, sender: &sender, receiver: &receiver })?;
    Ok(())
}

/// Where an end's certificates lie in `dir`.
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
