//! How many connections stand per certificate: a peer that proved who it is may still be one too many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections of one certificate. A sender has up to 16 channels, and as many more while the old ones are not yet
/// known to be gone; senders that share a certificate serve or stand by for a few links: eight times that.
pub const PEER_CONNECTIONS_MAX: usize = 256;

/// Connections that stand, by a hash of the certificate shown.
#[derive(Debug, Default)]
pub struct Peers(Mutex<HashMap<[u8; 32], usize>>);

/// One connection's place; dropping it makes room.
#[derive(Debug)]
pub struct Place {
    peers: Arc<Peers>,
    peer: [u8; 32],
}

impl Peers {
    /// A place for one more connection of `peer`, if there is room.
    pub fn enter(self: &Arc<Self>, peer: [u8; 32]) -> Option<Place> {
        let mut standing = self.lock();
        let count = standing.entry(peer).or_default();
        if *count >= PEER_CONNECTIONS_MAX {
            return None;
        }
        *count += 1;
        Some(Place { peers: Arc::clone(self), peer })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut standing = self.peers.lock();
        if let Some(count) = standing.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                standing.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_has_so_many_places_and_another_has_its_own() {
        let peers = Arc::new(Peers::default());
        let mut places: Vec<_> = (0..PEER_CONNECTIONS_MAX).map(|_| peers.enter([1; 32]).unwrap()).collect();
        assert!(peers.enter([1; 32]).is_none() && peers.enter([2; 32]).is_some());
        places.pop();
        assert!(peers.enter([1; 32]).is_some());
        places.clear();
        assert!(peers.lock().is_empty(), "who is gone is forgotten");
    }
}
