//! Accepts channels and gives each a session: one of its own, or the one it joins.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quinn::{Connection, Endpoint, Incoming};
use service::shutdown::{Phase, Shutdown};
use service::tls::PeerIdentity;
use tokio::task::JoinSet;
use wire::close::CloseCode;

use crate::session::joinable::{JoinRequest, Refused};
use crate::session::peers::{PEER_CONNECTIONS_MAX, Place};
use crate::session::{Ending, Greeting, Host, Refusal, Waiting, greet};

/// Accepts until the shutdown, then waits for the sessions to end.
pub async fn serve(endpoint: Endpoint, host: Arc<Host>, shutdown: Shutdown) {
    let next_session = Arc::new(AtomicU64::new(1));
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            incoming = endpoint.accept() => {
                let Some(incoming) = incoming else { break };
                let id = next_session.fetch_add(1, Ordering::Relaxed);
                sessions.spawn(session(incoming, id, Arc::clone(&host), shutdown.clone()));
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
    // Lets the closes reach the senders, who otherwise wait for a time-out.
    let _ = tokio::time::timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
}

async fn session(incoming: Incoming, id: u64, host: Arc<Host>, shutdown: Shutdown) {
    let remote = incoming.remote_address();
    let connection: Connection = match incoming.await {
        Ok(connection) => connection,
        Err(error) => {
            let fault = transport::endpoint::ChannelFault::of(remote, &error);
            tracing::warn!(peer = %remote, error = %fault, "peer refused before it said anything");
            host.refusals.add(CloseCode::Unauthorized);
            return;
        }
    };
    let Some(peer) = PeerIdentity::of(&connection) else { return };
    let Some(place) = host.peers.enter(peer.fingerprint()) else {
        let detail = format!("{PEER_CONNECTIONS_MAX} connections with this certificate stand already");
        host.refusals.add(CloseCode::Busy);
        return refuse(&connection, Refusal { ending: Ending { code: CloseCode::Busy, detail }, writer: None }).await;
    };
    match greet(&connection, &host).await {
        Ok(Greeting::Join(request)) => join(&connection, request, place, &host).await,
        Ok(Greeting::Hello(greeted)) => {
            let waiting = Waiting {
                id,
                connection,
                link: greeted.link,
                settings: greeted.settings,
                sender: greeted.sender,
                hello: greeted.hello,
                version: greeted.version,
                reader: greeted.reader,
                writer: greeted.writer,
                host,
            };
            waiting.run(shutdown).await;
            drop(place);
        }
        Err(refusal) if refusal.ending.code == CloseCode::Normal => {
            tracing::info!(peer = %remote, "peer looked and left");
        }
        Err(refusal) => {
            host.refusals.add(refusal.ending.code);
            refuse(&connection, refusal).await;
        }
    }
}

/// Hands a further channel to its session, or says why not.
async fn join(connection: &Connection, request: JoinRequest, place: Place, host: &Host) {
    let joined = if request.receiver == host.process {
        host.joinable.join(connection, request, place)
    } else {
        let detail = "the token is of another receiver, or of this one before it was restarted".to_owned();
        let ending = Ending { code: CloseCode::NoSession, detail };
        Err(Box::new(Refused { ending, writer: request.writer }))
    };
    if let Err(refused) = joined {
        let Refused { ending, writer } = *refused;
        host.refusals.add(ending.code);
        refuse(connection, Refusal { ending, writer: Some(writer) }).await;
    }
}

async fn refuse(connection: &Connection, refusal: Refusal) {
    let Refusal { ending, writer } = refusal;
    tracing::warn!(peer = %connection.remote_address(), code = ending.code.name(), detail = ending.detail, "peer refused");
    if let Some(writer) = writer {
        writer.close(ending.code, &ending.detail).await;
    }
    connection.close(u32::from(ending.code.number()).into(), ending.detail.as_bytes());
}
