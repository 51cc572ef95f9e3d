//! Who may ask on the admin port: anybody on this machine, or whoever shows the token over TLS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::{HeaderMap, header};
use ring::hmac;
use rustls::ServerConfig;

use super::Listen;
use crate::config::{Absent, Document, Field, Reported};
use crate::private_file;
use crate::tls::{Credentials, TlsError};

/// A token shorter than this could be guessed.
const TOKEN_BYTES_MIN: usize = 16;

/// `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSettings {
    /// Where it listens.
    pub listen: Listen,
    /// The file of the token that every request must show.
    pub token: Option<PathBuf>,
}

/// The token's field of `[admin]`.
pub const TOKEN: Field = Field {
    name: "token",
    kind: "the path of a file",
    absent: Absent::Otherwise("none is asked for"),
    bounds: None,
    live: true,
    doc: "What every request must show (`Authorization: Bearer …`), at least 16 bytes; nobody but the file's owner may \
          read it. Required where `listen` is not on loopback; there the port speaks TLS, with the certificate of \
          [tls].",
};

impl AdminSettings {
    /// Reads `[admin]`; refuses to be asked from elsewhere without a token.
    pub fn read(document: &Document<'_>) -> Result<Self, Reported> {
        let table = document.table("admin");
        let listen = table.read("listen");
        let token = if table.states("token") { table.read_private_file("token").map(Some) } else { Ok(None) };
        let (listen, token): (Listen, _) = (listen?, token?);
        match (listen.0, &token) {
            (Some(address), None) if !is_loopback(address) => {
                let message = format!(
                    "`admin.listen` is {address}, which other machines may reach, and there is no `admin.token`; set it to \
                     a file with a token, or listen on 127.0.0.1"
                );
                return Err(table.refuse("listen", message));
            }
            _ => {}
        }
        if let Some(file) = token.as_deref().filter(|_| document.files().is_some()) {
            read_token(file).map_err(|reason| table.refuse("token", format!("`admin.token`: {reason}")))?;
        }
        Ok(Self { listen, token })
    }

    /// Whether the port speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.listen.0.is_some_and(|address| !is_loopback(address))
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn read_token(file: &Path) -> Result<String, String> {
    let token = private_file::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    match token.len() {
        0..TOKEN_BYTES_MIN => Err(format!(
            "{}: {} bytes, below the minimum of {TOKEN_BYTES_MIN}; make one with `openssl rand -hex 32`",
            file.display(),
            token.len()
        )),
        _ => Ok(token),
    }
}

/// What the port asks of whoever comes; renewed when the configuration is read again.
pub struct Access {
    is_tls: bool,
    now: RwLock<Now>,
}

#[derive(Default)]
struct Now {
    token: Option<hmac::Key>,
    tls: Option<Arc<ServerConfig>>,
}

/// Why a port cannot be opened as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The token's file cannot be used.
    #[error("admin.token: {0}")]
    Token(String),
    /// The certificates cannot be used.
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
}

impl Access {
    /// As `settings` say, with the certificate that `credentials` would show.
    pub fn new(settings: &AdminSettings, credentials: &Credentials) -> Result<Self, AccessError> {
        let access = Self { is_tls: settings.is_tls(), now: RwLock::default() };
        access.renew(settings, credentials)?;
        Ok(access)
    }

    /// Takes over a new token and new certificates; the old ones count no more.
    pub fn renew(&self, settings: &AdminSettings, credentials: &Credentials) -> Result<(), AccessError> {
        // The address changes only with a restart.
        if self.is_tls && settings.token.is_none() {
            return Err(AccessError::Token("other machines may reach this port, so it needs one".to_owned()));
        }
        let now = Now {
            token: settings.token.as_deref().map(key).transpose()?,
            tls: if self.is_tls { Some(credentials.https()?) } else { None },
        };
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(())
    }

    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).tls.clone()
    }

    /// Whether a request with these headers is answered. Takes as long for a token that is nearly right.
    pub(super) fn allows(&self, headers: &HeaderMap) -> bool {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        let Some(token) = &now.token else { return true };
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        shown.is_some_and(|shown| hmac::verify(token, PROOF, proof(shown).as_ref()).is_ok())
    }
}

/// Tokens are compared by what they sign, so that the time it takes says nothing about them.
const PROOF: &[u8] = b"causeway admin";

fn key(file: &Path) -> Result<hmac::Key, AccessError> {
    let token = read_token(file).map_err(AccessError::Token)?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes()))
}

fn proof(token: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, token), PROOF)
}
