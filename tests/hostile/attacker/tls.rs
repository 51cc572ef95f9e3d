//! An authority that issues certificates of any kind, and TLS clients that show them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Certificate and key of a peer.
#[derive(Debug)]
pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

/// Authority with files in a directory of its own, `ca.pem` and those of [`Authority::write`].
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
}

impl Authority {
    /// Makes an authority, and its directory with `ca.pem`.
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, dir.display().to_string());
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        fs::create_dir_all(dir)?;
        fs::write(dir.join("ca.pem"), issuer.pem())?;
        Ok(Self { issuer, dir: dir.to_owned() })
    }

    /// Directory of its files.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Issues a certificate for both ends of a connection that is valid today.
    pub(crate) fn issue(&self, names: &[&str]) -> Result<Identity> {
        self.issue_with(names, |_| {})
    }

    /// Issues a certificate with changes, such as another validity.
    pub(crate) fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Result<Identity> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = (SystemTime::now() - DAY).into();
        params.not_after = (SystemTime::now() + 30 * DAY).into();
        change(&mut params);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity { certificate: certificate.der().clone(), pem: certificate.pem(), key })
    }

    /// Issues a certificate and writes it with its key, as `NAME.pem` and `NAME.key`.
    pub(crate) fn write(&self, name: &str, names: &[&str]) -> Result<()> {
        let identity = self.issue(names)?;
        fs::write(self.dir.join(format!("{name}.pem")), &identity.pem)?;
        let key = self.dir.join(format!("{name}.key"));
        fs::write(&key, identity.key.serialize_pem())?;
        Ok(fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?)
    }

    /// Makes a TLS client that trusts this authority and shows `identity`, or no certificate.
    pub(crate) fn client(&self, identity: Option<&Identity>, alpn: &[u8]) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13])?;
        let builder = builder.with_root_certificates(roots);
        let mut config = match identity {
            Some(Identity { certificate, key, .. }) => {
                let key = PrivatePkcs8KeyDer::from(key.serialize_der());
                builder.with_client_auth_cert(vec![certificate.clone()], key.into())?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = if alpn.is_empty() { Vec::new() } else { vec![alpn.to_vec()] };
        Ok(config)
    }

    /// Makes a TLS server that shows `identity` and asks for no certificate.
    pub(crate) fn server(&self, identity: &Identity, alpn: &[u8]) -> Result<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13])?;
        let key = PrivatePkcs8KeyDer::from(identity.key.serialize_der());
        let builder = builder.with_no_client_auth();
        let mut config = builder.with_single_cert(vec![identity.certificate.clone()], key.into())?;
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(config)
    }
}
