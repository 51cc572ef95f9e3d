//! TLS 1.3 with certificates on both sides, and the names that a peer has proven.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use ring::{digest, hkdf, hmac};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use webpki::{EndEntityCert, KeyUsage};
use wire::hello::ALPN;

use crate::config::Table;
use crate::private_file;

crate::settings! {
    /// The identity of this process, and the authorities that it trusts. Both sides prove themselves; `causeway pki
    /// init` makes all the files. Relative paths start at the directory of this file.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct TlsFiles: Table "tls" {
        /// Certificates of the authorities that the other side's certificate must come from.
        ca: PathBuf = required, "the path of a PEM file", live;
        /// This side's certificate, followed by intermediate ones if there are any.
        certificate: PathBuf = required, "the path of a PEM file", live;
        /// The private key of `certificate`. Only its owner may read the file (`chmod 600`).
        key: PathBuf as Table::read_private_file = required, "the path of a PEM file", live;
    }
}

/// The end of a QUIC connection that a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The end that dials.
    Client,
    /// The end that listens.
    Server,
}

/// Certificates and key, read and checked.
#[derive(Debug)]
pub struct Credentials {
    roots: Arc<RootCertStore>,
    authorities: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    files: TlsFiles,
}

/// The verified certificate of the other side.
#[derive(Debug, Clone)]
pub struct PeerIdentity {
    leaf: CertificateDer<'static>,
}

/// The error of certificates that cannot be used. It names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file is missing, or not PEM.
    #[error("{}: {source}", file.display())]
    Read { file: PathBuf, source: pem::Error },
    /// The PEM file contains something else.
    #[error("{}: no {wanted} in this file", file.display())]
    Nothing { file: PathBuf, wanted: &'static str },
    /// A certificate that is damaged, out of its time or for another use.
    #[error("{}: {reason}", file.display())]
    Unusable { file: PathBuf, reason: String },
    /// Key and certificate are not a pair, or of an unknown kind.
    #[error("{} does not fit {}: {source}", key.display(), certificate.display())]
    Pair { key: PathBuf, certificate: PathBuf, source: rustls::Error },
}

/// The current time, at which certificates must be valid.
pub fn now() -> UnixTime {
    UnixTime::now()
}

impl Credentials {
    /// Reads the files and checks that `end` can use them at `now`.
    pub fn load(files: &TlsFiles, end: End, now: UnixTime) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        let authorities = certificates(&files.ca)?;
        for certificate in &authorities {
            roots.add(certificate.clone()).map_err(|error| unusable(&files.ca, error.to_string()))?;
        }
        let chain = certificates(&files.certificate)?;
        check_leaf(&chain[0], &roots, end, now).map_err(|reason| unusable(&files.certificate, reason))?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| match source {
            pem::Error::NoItemsFound => TlsError::Nothing { file: files.key.clone(), wanted: "private key" },
            source => TlsError::Read { file: files.key.clone(), source },
        })?;
        private_file::check(&files.key).map_err(|error| unusable(&files.key, error.to_string()))?;
        let credentials = Self { roots: Arc::new(roots), authorities, chain, key, files: files.clone() };
        CertifiedKey::from_der(credentials.chain.clone(), credentials.key.clone_key(), &provider())
            .map_err(|source| credentials.pair(source))?;
        Ok(credentials)
    }

    /// A hash of our certificate and of the trusted authorities, for people to compare.
    pub fn fingerprint(&self) -> String {
        let mut hash = digest::Context::new(&digest::SHA256);
        self.chain.iter().for_each(|certificate| hash.update(certificate));
        for root in &self.roots.roots {
            hash.update(&root.subject);
            hash.update(&root.subject_public_key_info);
        }
        hash.finish().as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The configuration of the end that dials.
    pub fn client(&self) -> Result<QuicClientConfig, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
        let mut config = builder
            .expect("the provider knows TLS 1.3")
            .with_root_certificates(Arc::clone(&self.roots))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|source| self.pair(source))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would skip the certificates; on a link that lives for days it gains nothing.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(QuicClientConfig::try_from(config).expect("the provider has QUIC's initial cipher"))
    }

    /// The configuration of the end that listens.
    pub fn server(&self) -> Result<QuicServerConfig, TlsError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), provider())
            .build()
            .map_err(|error| unusable(&self.files.ca, error.to_string()))?;
        let mut config = self.listening(verifier, ALPN)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(QuicServerConfig::try_from(config).expect("the provider has QUIC's initial cipher"))
    }

    /// The configuration of an HTTPS port, whose clients show no certificate.
    pub fn https(&self) -> Result<Arc<ServerConfig>, TlsError> {
        self.listening(WebPkiClientVerifier::no_client_auth(), b"http/1.1").map(Arc::new)
    }

    fn listening(&self, clients: Arc<dyn ClientCertVerifier>, protocol: &[u8]) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
        let mut config = builder
            .expect("the provider knows TLS 1.3")
            .with_client_cert_verifier(clients)
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|source| self.pair(source))?;
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(config)
    }

    /// A key that only processes with this private key can derive, a different one for each `purpose`.
    pub fn derive_key(&self, purpose: &str) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.derive(purpose).as_ref())
    }

    /// A key like that of [`Self::derive_key`], from which others are derived in turn.
    pub fn derive_keys(&self, purpose: &str) -> hkdf::Prk {
        hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(self.derive(purpose).as_ref())
    }

    /// Up to 32 bytes, derived like the key of [`Self::derive_key`].
    pub fn derive_bytes<const N: usize>(&self, purpose: &str) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.derive(purpose).as_ref()[..N]);
        bytes
    }

    fn derive(&self, purpose: &str) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, self.key.secret_der()), purpose.as_bytes())
    }

    /// The certificates: our chain, and the authorities.
    pub(crate) fn public(&self) -> (&[CertificateDer<'static>], &[CertificateDer<'static>]) {
        (&self.chain, &self.authorities)
    }

    fn pair(&self, source: rustls::Error) -> TlsError {
        TlsError::Pair { key: self.files.key.clone(), certificate: self.files.certificate.clone(), source }
    }
}

impl PeerIdentity {
    pub fn of_file(file: &Path) -> Result<Self, TlsError> {
        Ok(Self { leaf: certificates(file)?.swap_remove(0) })
    }

    /// The identity that `connection`'s handshake has verified; `None` before its end.
    pub fn of(connection: &quinn::Connection) -> Option<Self> {
        let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        chain.into_iter().next().map(|leaf| Self { leaf })
    }

    /// The first of `names` that the certificate is valid for, by the rules for DNS names and IP
    /// addresses in certificates; the subject's common name counts for nothing.
    pub fn names_any<'n>(&self, names: &'n [impl AsRef<str>]) -> Option<&'n str> {
        let certificate = EndEntityCert::try_from(&self.leaf).ok()?;
        let proven = |name: &&str| {
            let name = ServerName::try_from(*name);
            name.is_ok_and(|name| certificate.verify_is_valid_for_subject_name(&name).is_ok())
        };
        names.iter().map(AsRef::as_ref).find(proven)
    }

    pub(crate) fn leaf(&self) -> &CertificateDer<'static> {
        &self.leaf
    }

    /// A hash that distinguishes certificates.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, &self.leaf).as_ref());
        bytes
    }

    pub fn dns_names(&self) -> Vec<String> {
        let certificate = EndEntityCert::try_from(&self.leaf);
        certificate
            .map_or_else(|_| Vec::new(), |certificate| certificate.valid_dns_names().map(str::to_owned).collect())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn unusable(file: &Path, reason: impl Into<String>) -> TlsError {
    TlsError::Unusable { file: file.to_owned(), reason: reason.into() }
}

/// Every certificate of a PEM file, at least one.
pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = |source| TlsError::Read { file: file.to_owned(), source };
    let list = CertificateDer::pem_file_iter(file).map_err(read)?.collect::<Result<Vec<_>, _>>().map_err(read)?;
    if list.is_empty() {
        return Err(TlsError::Nothing { file: file.to_owned(), wanted: "certificate" });
    }
    Ok(list)
}

/// Checks time and purpose, for which the other side would refuse us. Only that side knows which issuers it trusts.
fn check_leaf(leaf: &CertificateDer<'_>, roots: &RootCertStore, end: End, now: UnixTime) -> Result<(), String> {
    let certificate = EndEntityCert::try_from(leaf).map_err(|error| format!("not a usable certificate: {error}"))?;
    let (usage, purpose) = match end {
        End::Client => (KeyUsage::client_auth(), "to dial with (extended key usage clientAuth)"),
        End::Server => (KeyUsage::server_auth(), "to be dialled with (extended key usage serverAuth)"),
    };
    let algorithms = provider().signature_verification_algorithms.all;
    match certificate.verify_for_usage(algorithms, &roots.roots, &[], now, usage, None, None) {
        Err(webpki::Error::CertExpired { not_after, .. }) => Err(format!("certificate expired at {}", date(not_after))),
        Err(webpki::Error::CertNotValidYet { not_before, .. }) => {
            Err(format!("certificate is not valid before {}; is the clock right?", date(not_before)))
        }
        Err(webpki::Error::RequiredEkuNotFoundContext(_)) => Err(format!("certificate is not made {purpose}")),
        _ => Ok(()),
    }
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("Unix second {seconds}"), |time| time.to_string())
}

#[cfg(test)]
mod tests;
