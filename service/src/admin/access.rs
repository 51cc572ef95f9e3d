//! Access to the admin port: from this machine, or over TLS with the token.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ring::hmac;
use rustls::ServerConfig;

use super::Listen;
use super::sessions::{LIFETIME, Sessions};
use crate::config::{Absent, Document, Field, ReadSection, Reported, Table};
use crate::credentials::board::BOARD;
use crate::lock::Lock;
use crate::private_file;
use crate::tls::{Credentials, TlsError};

/// Minimum length of a token in bytes. A shorter one could be guessed.
const TOKEN_BYTES_MIN: usize = 16;

crate::settings! {
    /// The admin port shows the state of this process and takes requests of operators, as docs/operate.md lists. On
    /// another address than loopback it requires TLS and a token.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct AdminSettings: Table "admin" {
        /// The address of the admin port.
        listen: Listen = default(r#""127.0.0.1:7401""#), "an IP address and a port, such as `127.0.0.1:7401`, or `off`";
        /// The file with the token that every request must show (`Authorization: Bearer …`), at least 16 bytes; only
        /// its owner may read it. Required where `listen` is not on loopback; there the port speaks TLS, with the
        /// certificate of `[tls]`.
        token: Option<PathBuf> as read_token_file = otherwise("none is required"), "the path of a file", live;
    }
}

impl AdminSettings {
    /// `[admin]` of a role whose port listens at `address` by default, in TOML.
    pub const fn fields(address: &'static str) -> [Field; 2] {
        let [listen, token] = Self::SECTION.fields else { panic!("two fields") };
        [Field { absent: Absent::Default(address), ..*listen }, *token]
    }

    /// Reads `[admin]`. An address that other machines reach requires a token.
    pub fn read(document: &Document<'_>) -> Result<Self, Reported> {
        let settings: Self = document.read()?;
        match settings.listen.0 {
            Some(address) if settings.is_tls() && settings.token.is_none() => {
                let message = format!(
                    "`admin.listen` is {address}, which other machines may reach, and there is no `admin.token`; set it to \
                     a file with a token, or listen on 127.0.0.1"
                );
                Err(document.table(Self::SECTION.path).refuse("listen", message))
            }
            _ => Ok(settings),
        }
    }

    pub fn is_tls(&self) -> bool {
        self.listen.0.is_some_and(|address| !is_loopback(address))
    }
}

fn read_token_file(table: &Table<'_>, name: &str) -> Result<Option<PathBuf>, Reported> {
    let file = table.states(name).then(|| table.read_private_file(name)).transpose()?;
    if let Some(file) = file.as_deref().filter(|_| table.document().files().is_some()) {
        read_token(file).map_err(|reason| table.refuse(name, format!("`admin.token`: {reason}")))?;
    }
    Ok(file)
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

/// The access rules of the port; a reload renews them.
pub struct Access {
    is_tls: bool,
    /// Name of the cookie with a session's id. It has the port: cookies of a host are shared by all its ports.
    cookie: String,
    now: RwLock<Now>,
    sessions: Lock<Sessions>,
}

#[derive(Default)]
struct Now {
    token: Option<hmac::Key>,
    tls: Option<Arc<ServerConfig>>,
}

impl Now {
    fn is_token(&self, shown: &[u8]) -> bool {
        self.token.as_ref().is_some_and(|token| hmac::verify(token, PROOF, proof(shown).as_ref()).is_ok())
    }

    /// Returns whether the token is that of `other`.
    fn has_token_of(&self, other: &Self) -> bool {
        match (&self.token, &other.token) {
            (Some(own), Some(other)) => hmac::verify(own, PROOF, hmac::sign(other, PROOF).as_ref()).is_ok(),
            (own, other) => own.is_none() && other.is_none(),
        }
    }
}

/// The error of a port that cannot be opened as configured.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The file of the token cannot be used.
    #[error("admin.token: {0}")]
    Token(String),
    /// The certificates cannot be used.
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
}

impl Access {
    pub fn new(settings: &AdminSettings, credentials: &Credentials) -> Result<Self, AccessError> {
        let is_tls = settings.is_tls();
        // A browser takes a name with this prefix only with `Secure`, and from this host only.
        let prefix = if is_tls { "__Host-" } else { "" };
        let port = settings.listen.0.map_or(0, |address| address.port());
        let cookie = format!("{prefix}causeway-{port}");
        let access = Self { is_tls, cookie, now: RwLock::default(), sessions: Lock::default() };
        access.renew(settings, credentials)?;
        Ok(access)
    }

    /// Replaces the token and the certificates.
    pub fn renew(&self, settings: &AdminSettings, credentials: &Credentials) -> Result<(), AccessError> {
        // The address changes only with a restart.
        if self.is_tls && settings.token.is_none() {
            return Err(AccessError::Token("other machines may reach this port, so it needs one".to_owned()));
        }
        let now = Now {
            token: settings.token.as_deref().map(key).transpose()?,
            tls: if self.is_tls { Some(credentials.https()?) } else { None },
        };
        // Under the lock, so that no login by the old token comes between.
        let mut present = self.now.write().unwrap_or_else(PoisonError::into_inner);
        if !now.has_token_of(&present) {
            self.sessions.lock().clear();
        }
        *present = now;
        drop(present);
        BOARD.show_own(credentials.validities());
        Ok(())
    }

    /// Replaces the certificates alone.
    pub fn renew_certificates(&self, credentials: &Credentials) -> Result<(), AccessError> {
        let tls = if self.is_tls { Some(credentials.https()?) } else { None };
        self.now.write().unwrap_or_else(PoisonError::into_inner).tls = tls;
        BOARD.show_own(credentials.validities());
        Ok(())
    }

    /// Replaces the token alone, and ends the sessions by the former one. Returns whether it is another.
    pub fn renew_token(&self, settings: &AdminSettings) -> Result<bool, AccessError> {
        let token = settings.token.as_deref().map(key).transpose()?;
        // Under the lock, so that no login by the old token comes between.
        let mut present = self.now.write().unwrap_or_else(PoisonError::into_inner);
        let now = Now { token, tls: present.tls.clone() };
        let is_new = !now.has_token_of(&present);
        if is_new {
            self.sessions.lock().clear();
        }
        *present = now;
        Ok(is_new)
    }

    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.now().tls.clone()
    }

    /// Decides whether a request is answered. With a token, the time does not depend on how much of it is right.
    /// Without one, no web page may send the request: neither one that its server calls by a name of this port
    /// (DNS rebinding), nor one of another origin.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), Refused> {
        let headers = request.headers();
        let now = self.now();
        if now.token.is_none() {
            let host = host(request).filter(is_this_machine).ok_or(Refused::Host)?;
            let own = format!("http://{host}");
            return origins_are(headers, &own).then_some(()).ok_or(Refused::Origin);
        }
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        shown.is_some_and(|shown| now.is_token(shown)).then_some(()).ok_or(Refused::Token)
    }

    /// Decides whether a request sees the page: as [`Self::check`], or by a session, which only reads.
    pub(super) fn check_viewer<B>(&self, request: &Request<B>) -> Result<(), Refused> {
        let reads = [Method::GET, Method::HEAD].contains(request.method());
        match self.check(request) {
            Err(Refused::Token) if reads => {
                let id = self.session(request.headers());
                let has = id.is_some_and(|id| self.sessions.lock().has(id, Instant::now()));
                has.then_some(()).ok_or(Refused::Token)
            }
            checked => checked,
        }
    }

    pub(super) fn has_token(&self) -> bool {
        self.now().token.is_some()
    }

    fn now(&self) -> RwLockReadGuard<'_, Now> {
        self.now.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a session for a person who shows the token, and returns its cookie.
    pub(super) fn log_in(&self, token: &str) -> Option<String> {
        let now = self.now();
        // The token cannot change before the session is there to be ended with it.
        let id = now.is_token(token.as_bytes()).then(|| self.sessions.lock().begin(Instant::now()))??;
        drop(now);
        Some(self.set_cookie(&id, LIFETIME.as_secs()))
    }

    /// Ends the session of a request, and returns what makes the browser forget its cookie.
    pub(super) fn log_out(&self, headers: &HeaderMap) -> String {
        if let Some(id) = self.session(headers) {
            self.sessions.lock().end(id);
        }
        self.set_cookie("", 0)
    }

    /// Returns whether a request's `Origin`, if any, is the port that it was sent to.
    pub(super) fn is_own_origin(&self, headers: &HeaderMap) -> bool {
        let scheme = if self.is_tls { "https" } else { "http" };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        host.is_some_and(|host| origins_are(headers, &format!("{scheme}://{host}")))
    }

    fn set_cookie(&self, id: &str, seconds: u64) -> String {
        let secure = if self.is_tls { "; Secure" } else { "" };
        format!("{}={id}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}", self.cookie)
    }

    /// Returns the id of the session that a request's cookies name.
    fn session<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
        let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| *name == self.cookie).map(|(_, id)| id)
    }
}

/// Returns whether every `Origin` of a request is `own`.
fn origins_are(headers: &HeaderMap, own: &str) -> bool {
    let is_own = |origin: &HeaderValue| origin.as_bytes().eq_ignore_ascii_case(own.as_bytes());
    headers.get_all(header::ORIGIN).iter().all(is_own)
}

/// Reason why a request is refused.
#[derive(Debug)]
pub(super) enum Refused {
    Token,
    Host,
    Origin,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Token => {
                let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
                let reason = "this port requires `Authorization: Bearer TOKEN`, with the token of its `admin.token`\n";
                (StatusCode::UNAUTHORIZED, challenge, reason).into_response()
            }
            Self::Host => {
                let reason = "without an `admin.token` this port answers only requests whose `Host` is a loopback address or \
                              `localhost`: use http://127.0.0.1:PORT\n";
                (StatusCode::FORBIDDEN, reason).into_response()
            }
            Self::Origin => {
                (StatusCode::FORBIDDEN, "this port does not answer web pages: the request has an `Origin`\n")
                    .into_response()
            }
        }
    }
}

/// Returns the host that a request names, with its port; `None` if it names none, or two.
fn host<B>(request: &Request<B>) -> Option<Authority> {
    let mut named = request.headers().get_all(header::HOST).iter();
    let host: Authority = named.next()?.to_str().ok()?.parse().ok()?;
    let is_same = request.uri().authority().is_none_or(|authority| authority == &host);
    (named.next().is_none() && is_same).then_some(host)
}

/// True for loopback addresses and `localhost`, with any port.
fn is_this_machine(host: &Authority) -> bool {
    let name = host.host();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// The text that tokens sign. Comparing signatures takes the same time for every token.
const PROOF: &[u8] = b"causeway admin";

fn key(file: &Path) -> Result<hmac::Key, AccessError> {
    let token = read_token(file).map_err(AccessError::Token)?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes()))
}

fn proof(token: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, token), PROOF)
}
