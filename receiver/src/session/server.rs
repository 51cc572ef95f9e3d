//! Accepts channels and gives each a session: a new one, or the one that it joins.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quinn::{Connection, Endpoint};
use service::shutdown::{Phase, Shutdown};
use service::tls::PeerIdentity;
use tokio::task::JoinSet;
use wire::close::{Close, CloseCode};

use super::greeting::{Greeting, Host, greet};
use super::handshakes::{Handshake, Handshakes};
use super::joinable::JoinRequest;
use super::peers::{PEER_CONNECTIONS_MAX, Place};
use super::pending::PendingSession;
use super::refusal::Refusal;

/// Accepts until the shutdown, then waits for the sessions to end.
pub async fn serve(endpoint: Endpoint, host: Arc<Host>, shutdown: Shutdown) {
    let next_session = Arc::new(AtomicU64::new(1));
    let mut sessions = JoinSet::new();
    let handshakes = Handshakes::new(Arc::clone(&host.refusals));
    loop {
        tokio::select! {
            handshake = handshakes.next(&endpoint) => {
                let Some(handshake) = handshake else { break };
                let id = next_session.fetch_add(1, Ordering::Relaxed);
                sessions.spawn(session(handshake, id, Arc::clone(&host), shutdown.clone()));
            }
            Some(_) = sessions.join_next(), if !sessions.is_empty() => {}
            () = shutdown.reached(Phase::Drain) => break,
        }
    }
    let ended = async { while sessions.join_next().await.is_some() {} };
    tokio::select! {
        () = ended => {}
        () = shutdown.reached(Phase::Now) => {}
    }
    // The closes must reach the senders, which would otherwise wait for a time-out.
    let _ = tokio::time::timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
}

async fn session(handshake: Handshake, id: u64, host: Arc<Host>, shutdown: Shutdown) {
    let remote = handshake.remote();
    let Some(connection) = handshake.finish(&shutdown).await else { return };
    let Some(peer) = PeerIdentity::of(&connection) else { return };
    let Some(place) = host.peers.enter(peer.fingerprint()) else {
        let detail = format!("{PEER_CONNECTIONS_MAX} connections with this certificate are open already");
        return refuse(&host, &connection, Refusal::new(Close::new(CloseCode::Busy, detail), None)).await;
    };
    match greet(&connection, &host).await {
        Ok(Greeting::Hello(greeted)) => {
            let began = i64::try_from(host.clock.now() / 1_000_000).unwrap_or(i64::MAX);
            PendingSession { id, connection, host, greeted: *greeted, began }.run(shutdown).await;
            drop(place);
        }
        Ok(Greeting::Join(request)) => {
            if let Err(refusal) = join(&connection, request, place, &host) {
                refuse(&host, &connection, *refusal).await;
            }
        }
        Err(refusal) if refusal.close.code == CloseCode::Normal => {
            tracing::info!(peer = %remote, detail = refusal.close.detail, "peer came without a session");
            refusal.send(&connection).await;
        }
        Err(refusal) => refuse(&host, &connection, refusal).await,
    }
}

/// Passes an extra channel to its session.
fn join(connection: &Connection, request: JoinRequest, place: Place, host: &Host) -> Result<(), Box<Refusal>> {
    if request.receiver == host.process {
        return host.joinable.join(connection, request, place);
    }
    let detail = "another receiver issued the token, or this one before it was restarted";
    Err(Box::new(Refusal::new(Close::new(CloseCode::NoSession, detail), request.writer)))
}

async fn refuse(host: &Host, connection: &Connection, refusal: Refusal) {
    host.refusals.refuse(connection.remote_address(), &refusal.close);
    refusal.send(connection).await;
}
