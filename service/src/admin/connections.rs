//! Connections of the admin port. Silent ones have little time and make room for others, so that a probe is answered
//! while someone holds hundreds of them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::Access;
use crate::places::{Place, Places, WhenFull};

/// Connections at the same time, over all addresses and of each one. The oldest silent one makes room for another.
const CONNECTIONS_MAX: usize = 256;
const CONNECTIONS_PER_ADDRESS_MAX: usize = 128;
/// Time limit until a request's line and headers are there, TLS included.
pub(super) const HEAD_WITHIN: Duration = Duration::from_secs(2);
/// Time limit of a request after its headers, including a slow sender of its body and a slow reader of the answer.
const REQUEST_WITHIN: Duration = Duration::from_secs(8);
/// Limit of a request's line and headers, in bytes.
pub(super) const REQUEST_BYTES_MAX: usize = 16 * 1024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Accepts until `shutdown`, then closes silent connections and finishes requests.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    access: Arc<Access>,
    shutdown: impl Future<Output = ()>,
) {
    let places = Places::new(CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, WhenFull::OldestGoes);
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let (stream, address) = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = accept(&listener) => accepted,
        };
        let Some(place) = places.enter(address) else { continue };
        let connection =
            Connection { place, router: router.clone(), heard: Arc::default(), stopping: stopping.clone() };
        let tls = access.tls();
        connections.spawn(async move {
            match tls {
                None => connection.run(async { Ok(stream) }).await,
                Some(tls) => connection.run(async { Ok(TlsAcceptor::from(tls).accept(stream).await?) }).await,
            }
        });
        // Each has a turn to read its request before others may displace it.
        tokio::task::yield_now().await;
    }
    drop(listener);
    stop.send_replace(true);
    while connections.join_next().await.is_some() {}
}

/// Accepts the next connection. Cancel-safe: no connection is lost.
async fn accept(listener: &TcpListener) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer.ip()),
            Err(error) => {
                // Out of file descriptors, most likely: a tight loop would make it worse.
                debug!(%error, "admin port cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Connection that carries one request.
struct Connection {
    place: Place,
    router: Router,
    /// Signal that the request's headers are there.
    heard: Arc<Notify>,
    stopping: watch::Receiver<bool>,
}

impl Connection {
    async fn run<S>(self, stream: impl Future<Output = Result<S, Failure>>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { place, router, heard, stopping } = self;
        let done = tokio::select! {
            done = answer(stream, router, Arc::clone(&heard)) => done,
            reason = end_of(place, &heard, stopping) => Err(reason.into()),
        };
        if let Err(error) = done {
            debug!(%error, "admin request failed");
        }
    }
}

/// Waits until a connection must end, and returns why.
async fn end_of(mut place: Place, heard: &Notify, mut stopping: watch::Receiver<bool>) -> &'static str {
    let stopped = async { drop(stopping.wait_for(|stopping| *stopping).await) };
    tokio::select! {
        () = heard.notified() => place.heard(),
        () = tokio::time::sleep(HEAD_WITHIN) => return "it sent no request in time",
        () = place.lost() => return "it made room for another one",
        () = stopped => return "the process stops",
    }
    tokio::select! {
        () = tokio::time::sleep(REQUEST_WITHIN) => "it took too long",
        () = place.lost() => "it made room for another one",
    }
}

/// Reads one request from a stream and answers it.
async fn answer<S>(
    stream: impl Future<Output = Result<S, Failure>>,
    router: Router,
    heard: Arc<Notify>,
) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(REQUEST_BYTES_MAX).header_read_timeout(None);
    let router = router.layer(middleware::from_fn_with_state(heard, hear));
    Ok(http.serve_connection(TokioIo::new(stream.await?), TowerToHyperService::new(router)).await?)
}

async fn hear(State(heard): State<Arc<Notify>>, request: Request, next: Next) -> Response {
    heard.notify_one();
    next.run(request).await
}
