//! Limit on the open connections of each certificate: an authenticated peer may still open too many.

use std::collections::HashMap;
use std::sync::Arc;

use service::lock::Lock;

/// Limit on the connections of one certificate. A sender has up to 16 channels, and as many more until the loss of
/// the old ones is noticed; the limit leaves room for eight senders that share a certificate.
pub const PEER_CONNECTIONS_MAX: usize = 256;

/// Open connections, by a hash of the certificate.
#[derive(Debug, Default)]
pub struct Peers(Lock<HashMap<[u8; 32], usize>>);

/// Place of one connection; dropping it makes room for another.
#[derive(Debug)]
pub struct Place {
    peers: Arc<Peers>,
    peer: [u8; 32],
}

impl Peers {
    /// Returns a place for one more connection of `peer`, if there is room.
    pub fn enter(self: &Arc<Self>, peer: [u8; 32]) -> Option<Place> {
        let mut open = self.0.lock();
        let count = open.entry(peer).or_default();
        if *count >= PEER_CONNECTIONS_MAX {
            return None;
        }
        *count += 1;
        Some(Place { peers: Arc::clone(self), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.peers.0.lock();
        if let Some(count) = open.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_certificate_has_a_limited_number_of_places() {
        let peers = Arc::new(Peers::default());
        let mut places: Vec<_> = (0..PEER_CONNECTIONS_MAX).map(|_| peers.enter([1; 32]).unwrap()).collect();
        assert!(peers.enter([1; 32]).is_none() && peers.enter([2; 32]).is_some());
        places.pop();
        assert!(peers.enter([1; 32]).is_some());
        places.clear();
        assert!(peers.0.lock().is_empty(), "a closed connection is forgotten");
    }
}
