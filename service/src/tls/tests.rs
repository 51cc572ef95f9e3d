//! Tests of certificates that can be used, and of the errors of those that cannot.

use std::fs;
use std::time::Duration;

use super::*;
use crate::pki;

/// The files of an authority, in a temporary directory.
struct Made(tempfile::TempDir);

impl Made {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sender = ["sender.example".to_owned()];
        let receiver = ["link.example".to_owned(), "127.0.0.1".to_owned()];
        pki::init(dir.path(), &pki::Request { link: "test", sender: &sender, receiver: &receiver }).unwrap();
        Self(dir)
    }

    fn files(&self, side: &str) -> TlsFiles {
        let path = |name: String| self.0.path().join(name);
        TlsFiles {
            ca: path("ca.pem".into()),
            certificate: path(format!("{side}.pem")),
            key: path(format!("{side}.key")),
        }
    }

    fn identity(&self, side: &str) -> PeerIdentity {
        PeerIdentity::of_file(&self.files(side).certificate).unwrap()
    }
}

fn refused(files: &TlsFiles, now: UnixTime) -> String {
    Credentials::load(files, End::Client, now).unwrap_err().to_string()
}

fn days_from_now(days: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs() + days * 86_400))
}

#[test]
fn fresh_files_serve_both_ends() {
    let made = Made::new();
    Credentials::load(&made.files("sender"), End::Client, UnixTime::now()).unwrap().client().unwrap();
    Credentials::load(&made.files("receiver"), End::Server, UnixTime::now()).unwrap().server().unwrap();
}

#[test]
fn a_missing_or_other_file_is_named() {
    let made = Made::new();
    let mut files = made.files("sender");
    files.certificate = made.0.path().join("none.pem");
    assert!(refused(&files, UnixTime::now()).contains("none.pem: "));
    files.certificate = files.key.clone();
    assert!(refused(&files, UnixTime::now()).ends_with("sender.key: no certificate in this file"));
    let mut files = made.files("sender");
    files.key = files.ca.clone();
    assert!(refused(&files, UnixTime::now()).ends_with("ca.pem: no private key in this file"));
    fs::write(&files.ca, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(refused(&files, UnixTime::now()).contains("ca.pem: "));
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let made = Made::new();
    let files = TlsFiles { key: made.files("receiver").key, ..made.files("sender") };
    let error = refused(&files, UnixTime::now());
    assert!(error.contains("receiver.key does not fit") && error.contains("sender.pem: "), "{error}");
}

#[cfg(unix)]
#[test]
fn a_key_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let made = Made::new();
    let files = made.files("sender");
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).unwrap();
    let error = refused(&files, UnixTime::now());
    let remedy = format!("others may read or change it (its mode is 644); run `chmod 600 {}`", files.key.display());
    assert!(error.ends_with(&remedy), "{error}");
}

#[test]
fn an_expired_certificate_is_refused_with_the_date() {
    let files = Made::new();
    let expired = refused(&files.files("sender"), days_from_now(u64::from(pki::LEAF_DAYS) + 1));
    assert!(expired.contains("sender.pem: certificate expired at 20"), "{expired}");
    let early = refused(&files.files("sender"), UnixTime::since_unix_epoch(Duration::from_secs(0)));
    assert!(early.contains("sender.pem: certificate is not valid before 20"), "{early}");
}

#[test]
fn a_certificate_without_the_purpose_is_refused() {
    let made = Made::new();
    let files = made.files("sender");
    let mut params = rcgen::CertificateParams::new(["sender.example".to_owned()]).unwrap();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let key = rcgen::KeyPair::generate().unwrap();
    fs::write(&files.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
    let error = refused(&files, UnixTime::now());
    assert!(error.ends_with("certificate is not made to dial with (extended key usage clientAuth)"), "{error}");
}

#[test]
fn an_identity_has_the_names_of_its_certificate() {
    let made = Made::new();
    let receiver = made.identity("receiver");
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(receiver.names_any(&names(&["other.example", "link.example"])), Some("link.example"));
    assert_eq!(receiver.names_any(&names(&["127.0.0.1"])), Some("127.0.0.1"));
    assert_eq!(receiver.names_any(&names(&["receiver", "sub.link.example", "example", ""])), None);
    assert_eq!(receiver.names_any(&names(&[])), None);
    assert_eq!(made.identity("sender").dns_names(), ["sender.example"]);
}

#[test]
fn each_certificate_in_use_has_the_end_of_its_validity() {
    let made = Made::new();
    let credentials = Credentials::load(&made.files("sender"), End::Client, UnixTime::now()).unwrap();
    let days: Vec<_> = credentials
        .validities()
        .into_iter()
        .map(|(name, validity)| {
            (name, ((validity.until as f64 - UnixTime::now().as_secs() as f64) / 86_400.0).round() as u32)
        })
        .collect();
    assert_eq!(days, [("own", pki::LEAF_DAYS), ("ca", pki::CA_DAYS)]);
}
