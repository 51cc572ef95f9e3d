//! What a process shows of its credentials: the certificates in use, and changed files that it cannot use.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::FileSet;
use super::expiry::{Named, Validity};
use super::warnings;
use crate::lock::Lock;
use crate::status::CertificateStatus;
use crate::tls::PeerIdentity;

/// Board of this process.
pub static BOARD: Board = Board {
    inner: Lock::new(Inner { own: Vec::new(), kafka: Vec::new(), peers: BTreeMap::new(), faults: BTreeMap::new() }),
    renewed: [const { AtomicU64::new(0) }; FileSet::ALL.len()],
    shown: AtomicU64::new(0),
};

/// Certificates in use, and faults of changed files.
#[derive(Debug)]
pub struct Board {
    inner: Lock<Inner>,
    /// Times that changed files of each set were taken up.
    renewed: [AtomicU64; FileSet::ALL.len()],
    /// Number of peers that were ever shown.
    shown: AtomicU64,
}

#[derive(Debug)]
struct Inner {
    own: Named,
    kafka: Named,
    /// Certificates of the peers with a session, with the link of each.
    peers: BTreeMap<u64, (String, Validity)>,
    faults: BTreeMap<FileSet, String>,
}

/// Certificate of a peer, which is shown until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct ShownPeer(u64);

impl Board {
    /// Shows the certificates of `[tls]` that are in use.
    pub fn show_own(&self, certificates: Named) {
        self.inner.lock().own = certificates;
    }

    /// Shows the certificates of the Kafka clients.
    pub fn show_kafka(&self, certificates: Named) {
        self.inner.lock().kafka = certificates;
    }

    /// Shows the certificate of the peer of a link's session.
    pub fn show_peer(&self, link: &str, peer: Option<PeerIdentity>) -> ShownPeer {
        let place = self.shown.fetch_add(1, Ordering::Relaxed);
        if let Some(validity) = peer.and_then(|peer| peer.validity()) {
            self.inner.lock().peers.insert(place, (link.to_owned(), validity));
        }
        ShownPeer(place)
    }

    /// Counts files that were taken up.
    pub fn count_renewed(&self, set: FileSet) {
        self.renewed[set as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Shows why changed files cannot be used, or that there are none.
    pub fn show_fault(&self, set: FileSet, reason: Option<&str>) {
        let faults = &mut self.inner.lock().faults;
        match reason {
            Some(reason) => drop(faults.insert(set, reason.to_owned())),
            None => drop(faults.remove(&set)),
        }
    }

    /// Returns every certificate in use by its name; a process may have many peers.
    pub fn certificates(&self) -> Vec<(String, Validity)> {
        let inner = self.inner.lock();
        let named = inner.own.iter().chain(&inner.kafka).map(|(name, validity)| ((*name).to_owned(), validity.clone()));
        named.chain(inner.peers.values().map(|(_, validity)| ("peer".to_owned(), validity.clone()))).collect()
    }

    /// Returns the certificates in use, as the status shows them.
    pub fn status(&self) -> Vec<CertificateStatus> {
        let inner = self.inner.lock();
        let row = |name: &str, link: Option<&String>, validity: &Validity| CertificateStatus {
            certificate: name.to_owned(),
            link: link.cloned(),
            serial: validity.serial.clone(),
            expires: validity.end(),
        };
        let own = inner.own.iter().chain(&inner.kafka).map(|(name, validity)| row(name, None, validity));
        own.chain(inner.peers.values().map(|(link, validity)| row("peer", Some(link), validity))).collect()
    }

    /// Returns the end of each certificate's validity in seconds since 1970, by name: of several peers the first.
    pub fn expiries(&self) -> Vec<(String, f64)> {
        let mut first = BTreeMap::new();
        for (name, validity) in self.certificates() {
            let until = first.entry(name).or_insert(validity.until);
            *until = validity.until.min(*until);
        }
        first.into_iter().map(|(name, until)| (name, until as f64)).collect()
    }

    /// Returns how often changed files of each set were taken up.
    pub fn renewals(&self) -> Vec<(String, u64)> {
        let count = |set: FileSet| (set.name().to_owned(), self.renewed[set as usize].load(Ordering::Relaxed));
        FileSet::ALL.into_iter().map(count).collect()
    }

    /// Returns 1 for each set whose changed files cannot be used, else 0.
    pub fn unusable(&self) -> Vec<(String, f64)> {
        let inner = self.inner.lock();
        let flag = |set: FileSet| (set.name().to_owned(), f64::from(u8::from(inner.faults.contains_key(&set))));
        FileSet::ALL.into_iter().map(flag).collect()
    }

    /// Returns the problems, in sentences.
    pub fn trouble(&self) -> Vec<String> {
        let now = jiff::Timestamp::now().as_second();
        let expiring = self.certificates();
        let expiring = expiring.iter().filter_map(|(name, validity)| warnings::sentence(now, name, validity));
        let inner = self.inner.lock();
        let faults = inner.faults.iter().map(|(set, reason)| unusable(*set, reason));
        faults.chain(expiring).collect()
    }
}

/// Returns the sentence about changed files that cannot be used.
pub fn unusable(set: FileSet, reason: &str) -> String {
    format!("{}: changed files cannot be used, those from before stay in use: {reason}", set.name())
}

impl Drop for ShownPeer {
    fn drop(&mut self) {
        BOARD.inner.lock().peers.remove(&self.0);
    }
}
