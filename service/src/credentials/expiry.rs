//! When certificates expire.

use rustls::pki_types::CertificateDer;
use x509_parser::parse_x509_certificate;

use crate::config::Properties;
use crate::tls::{Credentials, PeerIdentity, certificates};

/// Facts of one certificate, for the log and the reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validity {
    /// Serial number in hexadecimal digits.
    pub serial: String,
    /// Begin and end in seconds since 1970.
    pub since: i64,
    pub until: i64,
}

/// The certificates of one use, by the names that the metric has for them: an end's own, those between it and an authority,
/// and the authorities.
pub type Named = Vec<(&'static str, Validity)>;

impl Validity {
    /// `None` for a certificate that the parser does not know; those in use have been checked before.
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = parse_x509_certificate(certificate).ok()?;
        let validity = certificate.validity();
        Some(Self {
            serial: certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
            since: validity.not_before.timestamp(),
            until: validity.not_after.timestamp(),
        })
    }

    /// Returns the end as text.
    pub fn end(&self) -> String {
        jiff::Timestamp::from_second(self.until).map_or_else(|_| self.until.to_string(), |time| time.to_string())
    }
}

impl Credentials {
    /// Returns the validity of our certificate, of the first to expire between it and an authority, and of the last of the
    /// authorities. Authorities that follow each other are in one file while they are exchanged.
    pub fn validities(&self) -> Named {
        let (chain, authorities) = self.public();
        let own = of_chain(["own", "chain"], chain);
        own.into_iter().chain(last(authorities).map(|last| ("ca", last))).collect()
    }
}

impl PeerIdentity {
    /// Returns the validity of the peer's certificate.
    pub fn validity(&self) -> Option<Validity> {
        Validity::of(self.leaf())
    }
}

/// Returns the validities of a Kafka client's certificates, which are in PEM files; those in another form are left out.
pub fn of_kafka(client: &Properties) -> Named {
    let read = |names: [&str; 2]| {
        let file = names.into_iter().find_map(|name| client.file(name)).filter(|file| file.is_file());
        file.and_then(|file| certificates(&file).ok()).unwrap_or_default()
    };
    let own = of_chain(["kafka", "kafka-chain"], &read(["ssl.certificate.location", "ssl.certificate.pem"]));
    let authorities = read(["ssl.ca.location", "ssl.ca.pem"]);
    own.into_iter().chain(last(&authorities).map(|last| ("kafka-ca", last))).collect()
}

fn of_chain(names: [&'static str; 2], chain: &[CertificateDer<'_>]) -> Named {
    let [leaf, between @ ..] = chain else { return Vec::new() };
    let between = between.iter().filter_map(Validity::of).min_by_key(|validity| validity.until);
    names
        .into_iter()
        .zip([Validity::of(leaf), between])
        .filter_map(|(name, validity)| Some((name, validity?)))
        .collect()
}

fn last(authorities: &[CertificateDer<'_>]) -> Option<Validity> {
    authorities.iter().filter_map(Validity::of).max_by_key(|validity| validity.until)
}
