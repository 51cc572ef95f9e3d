//! When the certificates that this process uses expire, for its metrics.

use rustls::pki_types::CertificateDer;
use x509_parser::parse_x509_certificate;

use super::Credentials;
use crate::lock::Lock;

/// The end of each certificate's validity in seconds since 1970, by the name that its metric has.
pub type Expiries = Vec<(&'static str, f64)>;

/// Those of the credentials that were taken up last.
pub static IN_USE: Lock<Expiries> = Lock::new(Vec::new());

impl Credentials {
    /// Returns when our certificate, the first of those between it and an authority, and the last of the authorities expire.
    /// Authorities that follow each other are in one file while they are exchanged.
    pub fn expiries(&self) -> Expiries {
        let [leaf, between @ ..] = &self.chain[..] else { return Vec::new() };
        let leaf = expiry(leaf).map(|at| ("own", at));
        let between = between.iter().filter_map(expiry).min_by(f64::total_cmp).map(|at| ("chain", at));
        let authority = self.authorities.iter().filter_map(expiry).max_by(f64::total_cmp).map(|at| ("ca", at));
        [leaf, between, authority].into_iter().flatten().collect()
    }
}

/// `None` for a certificate that the parser does not know; those in use have been checked before.
fn expiry(certificate: &CertificateDer<'_>) -> Option<f64> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp() as f64)
}
