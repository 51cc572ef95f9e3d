//! A small certificate authority: `causeway pki init` makes all that both sides of a link need, `causeway pki issue` a
//! further certificate, for another sender of a hub or before one expires.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

/// Lifetime of the authority in days. Renewing it touches every peer, so it is rare.
pub const CA_DAYS: u32 = 3_650;
/// Lifetime of a side's own certificate in days.
pub const LEAF_DAYS: u32 = 365;
/// Time that a certificate is valid before it is made: the clocks of two data centres differ.
const CLOCK_SKEW: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// The names for which an authority and its certificates are made.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Name of the link; it appears in the subjects of the certificates.
    pub link: &'a str,
    /// DNS names or IP addresses of the sender, which the receiver authorises.
    pub sender: &'a [String],
    /// DNS names or IP addresses of the receiver, which the sender dials.
    pub receiver: &'a [String],
}

/// The files that were written. The `Display` text says which file goes where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Directory of the files.
    pub dir: PathBuf,
    pub sender: Vec<String>,
    pub receiver: Vec<String>,
}

/// The error of [`init`].
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file exists already; keys are never overwritten.
    #[error("{} exists; certificates and keys are not overwritten: choose another directory or move it away", .0.display())]
    Exists(PathBuf),
    /// A name is missing, or a certificate cannot bear it.
    #[error("{side}: {reason}")]
    Names { side: String, reason: String },
    /// A file could not be written.
    #[error("{}: {source}", file.display())]
    Write { file: PathBuf, source: io::Error },
    /// A file of the authority could not be read.
    #[error("{}: {source}; it must be the file that `causeway pki init` made", file.display())]
    Read { file: PathBuf, source: io::Error },
    /// The authority's files are not what `causeway pki init` makes.
    #[error("{}: {source}; it must be the file that `causeway pki init` made", file.display())]
    Authority { file: PathBuf, source: rcgen::Error },
    /// A file name would be outside the directory, or hidden.
    #[error("`{0}` is not a file name of letters, digits, `.`, `-` and `_`, beginning with a letter or digit")]
    FileName(String),
    /// The certificate library refused a certificate.
    #[error("certificate for {name}: {source}")]
    Certificate { name: String, source: rcgen::Error },
}

/// Makes an authority, a certificate for the sender and one for the receiver, and writes six new PEM files to `dir`:
/// `ca.pem`, `sender.pem`, `receiver.pem` and a `.key` for each, readable by the owner only.
pub fn init(dir: &Path, request: &Request<'_>) -> Result<Written, PkiError> {
    init_as_of(dir, request, SystemTime::now())
}

/// Makes certificates as of `now`, otherwise like [`init`]: for tests of expiry.
pub fn init_as_of(dir: &Path, request: &Request<'_>, now: SystemTime) -> Result<Written, PkiError> {
    let files =
        ["ca", "sender", "receiver"].map(|name| (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key"))));
    if let Some(file) = files.iter().flat_map(|(pem, key)| [pem, key]).find(|file| file.exists()) {
        return Err(PkiError::Exists(file.clone()));
    }
    let ca = authority(request.link, now)?;
    let sender = leaf(&ca, "sender", request.sender, now)?;
    let receiver = leaf(&ca, "receiver", request.receiver, now)?;
    let pairs = [(ca.pem(), ca.key().serialize_pem()), sender, receiver];

    fs::create_dir_all(dir).map_err(|source| PkiError::Write { file: dir.to_owned(), source })?;
    for ((pem_file, key_file), (pem, key)) in files.iter().zip(&pairs) {
        write(pem_file, pem, 0o644)?;
        write(key_file, key, 0o600)?;
    }
    Ok(Written { dir: dir.to_owned(), sender: request.sender.to_vec(), receiver: request.receiver.to_vec() })
}

/// Makes a certificate for these DNS names or IP addresses, signed by the authority in `dir`, and writes it there as
/// `<name>.pem` and `<name>.key`.
pub fn issue(dir: &Path, name: &str, names: &[String]) -> Result<Issued, PkiError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(is_plain) {
        return Err(PkiError::FileName(name.to_owned()));
    }
    let pem_file = dir.join(format!("{name}.pem"));
    let key_file = dir.join(format!("{name}.key"));
    if let Some(file) = [&pem_file, &key_file].into_iter().find(|file| file.exists()) {
        return Err(PkiError::Exists(file.clone()));
    }
    let read =
        |file: &PathBuf| fs::read_to_string(file).map_err(|source| PkiError::Read { file: file.clone(), source });
    let ca_pem = dir.join("ca.pem");
    let ca_key = dir.join("ca.key");
    let key = KeyPair::from_pem(&read(&ca_key)?).map_err(|source| PkiError::Authority { file: ca_key, source })?;
    let ca = Issuer::from_ca_cert_pem(&read(&ca_pem)?, key)
        .map_err(|source| PkiError::Authority { file: ca_pem, source })?;
    let (pem, key) = leaf(&ca, name, names, SystemTime::now())?;
    write(&pem_file, &pem, 0o644)?;
    write(&key_file, &key, 0o600)?;
    Ok(Issued { pem: pem_file, key: key_file, names: names.to_vec() })
}

/// A certificate that was made for further names. The `Display` text says what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    pub pem: PathBuf,
    pub key: PathBuf,
    /// DNS names or IP addresses in it.
    pub names: Vec<String>,
}

impl fmt::Display for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pem, key, names } = self;
        write!(f, "{}, {}   {}; valid {LEAF_DAYS} days", pem.display(), key.display(), names.join(", "))
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dir = self.dir.display();
        writeln!(f, "{dir}/ca.pem                      both sides; valid {CA_DAYS} days")?;
        writeln!(f, "{dir}/ca.key                      keep it offline: it can make further certificates")?;
        let sides = [("sender", &self.sender), ("receiver", &self.receiver)];
        for (index, (side, names)) in sides.into_iter().enumerate() {
            let end = if index == 0 { "\n" } else { "" };
            let files = format!("{side}.pem, {side}.key");
            write!(f, "{dir}/{files:<28}{}; valid {LEAF_DAYS} days{end}", names.join(", "))?;
        }
        Ok(())
    }
}

fn authority(link: &str, now: SystemTime) -> Result<CertifiedIssuer<'static, KeyPair>, PkiError> {
    let name = format!("Causeway link {link}");
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(&name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + DAY * CA_DAYS).into();
    let made = KeyPair::generate().and_then(|key| CertifiedIssuer::self_signed(params, key));
    made.map_err(|source| PkiError::Certificate { name, source })
}

/// Makes a certificate and its key, in PEM.
fn leaf(ca: &Issuer<'_, KeyPair>, side: &str, names: &[String], now: SystemTime) -> Result<(String, String), PkiError> {
    if names.is_empty() {
        return Err(PkiError::Names {
            side: side.to_owned(),
            reason: "needs at least one DNS name or IP address".to_owned(),
        });
    }
    if let Some(name) = names.iter().find(|name| rustls::pki_types::ServerName::try_from(name.as_str()).is_err()) {
        return Err(PkiError::Names {
            side: side.to_owned(),
            reason: format!("`{name}` is not a DNS name or IP address"),
        });
    }
    let certificate = |source| PkiError::Certificate { name: names[0].clone(), source };
    let mut params = CertificateParams::new(names).map_err(certificate)?;
    params.distinguished_name = common_name(side);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Both purposes on both sides: firewalls decide which side dials, and that may change.
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + DAY * LEAF_DAYS).into();
    let key = KeyPair::generate().map_err(certificate)?;
    let signed = params.signed_by(&key, ca).map_err(certificate)?;
    Ok((signed.pem(), key.serialize_pem()))
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn write(file: &Path, text: &str, mode: u32) -> Result<(), PkiError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let written = options.open(file).and_then(|mut opened| {
        opened.write_all(text.as_bytes())?;
        opened.sync_all()
    });
    written.map_err(|source| PkiError::Write { file: file.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, UnixTime};

    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn six_files_are_written_and_keys_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let sender = names(&["sender.fra.example"]);
        let receiver = names(&["link.sin.example", "10.0.0.7"]);
        let request = Request { link: "fra-to-sin", sender: &sender, receiver: &receiver };
        let written = init(&dir.path().join("pki"), &request).unwrap();
        for name in ["ca", "sender", "receiver"] {
            let pem = fs::read_to_string(written.dir.join(format!("{name}.pem"))).unwrap();
            assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"));
            let key = written.dir.join(format!("{name}.key"));
            assert!(fs::read_to_string(&key).unwrap().starts_with("-----BEGIN PRIVATE KEY-----"));
            #[cfg(unix)]
            assert_eq!(
                std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&key).unwrap().permissions()) & 0o777,
                0o600
            );
        }
        let shown = written.to_string();
        assert!(
            shown.contains("receiver.pem, receiver.key") && shown.contains("link.sin.example, 10.0.0.7"),
            "{shown}"
        );
        assert_eq!(shown.lines().count(), 4);
    }

    #[test]
    fn nothing_is_overwritten_or_half_written() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("receiver.key"), "precious").unwrap();
        let sender = names(&["a"]);
        let receiver = names(&["b"]);
        let error = init(dir.path(), &Request { link: "l", sender: &sender, receiver: &receiver }).unwrap_err();
        assert!(error.to_string().contains("receiver.key exists"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_authority_signs_further_certificates() {
        let dir = tempfile::tempdir().unwrap();
        let first = names(&["sender.fra.example"]);
        init(dir.path(), &Request { link: "l", sender: &first, receiver: &first }).unwrap();
        let further = names(&["sender-2.fra.example", "10.0.0.9"]);
        let issued = issue(dir.path(), "sender-2", &further).unwrap();
        assert!(issued.to_string().ends_with("sender-2.fra.example, 10.0.0.9; valid 365 days"), "{issued}");

        let pem = |name: &str| fs::read(dir.path().join(name)).unwrap();
        let certificate = CertificateDer::from_pem_slice(&pem("sender-2.pem")).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
        verifier.unwrap().verify_client_cert(&certificate, &[], UnixTime::now()).unwrap();

        let again = issue(dir.path(), "sender-2", &further).unwrap_err();
        assert!(again.to_string().contains("sender-2.pem exists"), "{again}");
        let outside = issue(dir.path(), "../sender", &further).unwrap_err();
        assert!(matches!(outside, PkiError::FileName(_)), "{outside}");
        fs::remove_file(dir.path().join("ca.key")).unwrap();
        let without_key = issue(dir.path(), "sender-3", &further).unwrap_err();
        assert!(without_key.to_string().contains("ca.key: No such file"), "{without_key}");
    }

    #[test]
    fn names_that_no_certificate_can_bear_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let good = names(&["a"]);
        for (bad, reason) in [(names(&[]), "at least one"), (names(&["a b"]), "`a b` is not a DNS name")] {
            let error = init(dir.path(), &Request { link: "l", sender: &bad, receiver: &good }).unwrap_err();
            assert!(error.to_string().starts_with("sender: ") && error.to_string().contains(reason), "{error}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
