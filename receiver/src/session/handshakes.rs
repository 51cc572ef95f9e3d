//! Handshakes of strangers: none before the address is validated, and a bounded number at the same time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, Endpoint, Incoming};
use service::places::{Place, Places, WhenFull};
use service::shutdown::{Phase, Shutdown};

use super::refusals::{HandshakeFailure, Refusals};

/// Handshakes in progress: about 90 KiB each. At a round trip of 300 ms they let 400 senders per second in.
const HANDSHAKES_MAX: usize = 128;
/// Handshakes in progress of one address. A sender has up to 16 channels.
const HANDSHAKES_PER_ADDRESS_MAX: usize = 32;
/// Time limit of a handshake. Its last flight is repeated twice within this time.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Time for which QUIC remembers a connection that has failed: three times its probe time-out.
const REMEMBERED: Duration = Duration::from_millis(1_500);
/// Addresses that are asked to validate themselves before other tasks have their turn.
const RETRIES_PER_TURN: u32 = 32;

/// Places for handshakes.
pub(super) struct Handshakes {
    places: Arc<Places>,
    refusals: Arc<Refusals>,
}

/// Handshake that has a place.
pub(super) struct Handshake {
    incoming: Incoming,
    place: Place,
    refusals: Arc<Refusals>,
}

impl Handshakes {
    pub(super) fn new(refusals: Arc<Refusals>) -> Self {
        let places = Places::new(HANDSHAKES_MAX, HANDSHAKES_PER_ADDRESS_MAX, WhenFull::Refuse);
        Self { places, refusals }
    }

    /// Returns the next handshake from a validated address; `None` once the endpoint is closed. Any other address gets
    /// a Retry, which is shorter than its packet, and nothing about it is kept. Cancel-safe.
    pub(super) async fn next(&self, endpoint: &Endpoint) -> Option<Handshake> {
        let mut retries = 0;
        loop {
            let incoming = endpoint.accept().await?;
            if !incoming.remote_address_validated() {
                let _ = incoming.retry();
                retries += 1;
                if retries % RETRIES_PER_TURN == 0 {
                    tokio::task::yield_now().await;
                }
                continue;
            }
            let refusals = Arc::clone(&self.refusals);
            match self.places.enter(incoming.remote_address().ip()) {
                Some(place) => return Some(Handshake { incoming, place, refusals }),
                None => {
                    refusals.fail(incoming.remote_address(), &HandshakeFailure::Limit);
                    // The peer repeats its packet, with the address still validated.
                    incoming.ignore();
                }
            }
        }
    }
}

impl Handshake {
    pub(super) fn remote(&self) -> SocketAddr {
        self.incoming.remote_address()
    }

    /// Finishes the handshake; `None` if it fails, takes too long, loses its place or the process stops.
    pub(super) async fn finish(self, shutdown: &Shutdown) -> Option<Connection> {
        let remote = self.remote();
        let Self { incoming, mut place, refusals } = self;
        let failure = tokio::select! {
            ended = incoming.into_future() => match ended {
                Ok(connection) => return Some(connection),
                Err(error) => HandshakeFailure::Ended(error),
            },
            () = tokio::time::sleep(HANDSHAKE_WITHIN) => HandshakeFailure::TimedOut,
            () = place.lost() => HandshakeFailure::Limit,
            () = shutdown.reached(Phase::Drain) => return None,
        };
        refusals.fail(remote, &failure);
        tokio::select! {
            () = tokio::time::sleep(REMEMBERED) => {}
            () = place.lost() => {}
            () = shutdown.reached(Phase::Drain) => {}
        }
        None
    }
}
