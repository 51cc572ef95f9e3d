//! The admin port: health, metrics, status and commands over HTTP, by the table `ENDPOINTS`, and a page for people.
//!
//! The port listens on loopback unless configured otherwise; on other addresses it requires TLS and a token. A process
//! that cannot answer says why with 409. A web page that is open on this machine gets no answer, whichever name its server
//! gives to this port: without a token, a request's `Host` must be a loopback address or `localhost`, and its `Origin`, if
//! any, the port itself. Only the probes of an orchestrator are answered to everybody, with nothing but the status code.

pub mod access;
mod connections;
mod page;
mod sessions;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use toml::de::DeValue;

use crate::config::{Rejection, Setting};
use crate::metrics::PROCESS;
pub use access::{Access, AdminSettings};
pub use page::Page;

/// Address of the admin port; `None` for `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

/// The result of a request that changes something: a sentence either way.
pub type Outcome = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;
/// The result of a request that takes a while: JSON, or why there is none.
pub type Answer = Pin<Box<dyn Future<Output = Result<serde_json::Value, String>> + Send>>;
/// Reads the configuration again. Returns what changed, or why the file was refused; may block on the disk.
pub type Reload = Arc<dyn Fn() -> Result<serde_json::Value, String> + Send + Sync>;

/// The process behind an admin port, asked for each request. The default answers name the process to ask instead.
pub trait Admin: Send + Sync + 'static {
    /// True if the process does its work; if not, the reason.
    fn ready(&self) -> Result<(), String>;
    /// The state of the process.
    fn status(&self) -> serde_json::Value;

    fn topics(&self) -> Result<serde_json::Value, String> {
        Err(ASK_SENDER.to_owned())
    }

    fn partitions(&self, topic: &str) -> Result<serde_json::Value, String> {
        let _ = topic;
        Err(ASK_SENDER.to_owned())
    }

    /// What each topic takes on the wire.
    fn cost(&self) -> Result<serde_json::Value, String> {
        Err(COUNTED_BY_SENDER.to_owned())
    }

    /// The consumer groups whose offsets are carried.
    fn groups(&self) -> Result<serde_json::Value, String>;

    /// The newest jumps of stored positions.
    fn jumps(&self) -> Result<serde_json::Value, String> {
        Err(ASK_RECEIVER.to_owned())
    }

    /// What access control lists of the source become in the target.
    fn acls(&self) -> Result<serde_json::Value, String> {
        Err(ACLS_OF_RECEIVER.to_owned())
    }

    /// Translates offsets between source and target.
    fn translate(&self, request: serde_json::Value) -> Answer {
        let _ = request;
        Box::pin(std::future::ready(Err(TRANSLATED_BY_RECEIVER.to_owned())))
    }

    /// Promotes a link, or states what would be lost.
    fn failover(&self, request: serde_json::Value) -> Answer {
        let _ = request;
        Box::pin(std::future::ready(Err(FAILOVER_OF_RECEIVER.to_owned())))
    }

    /// Promotes a link once everything of its source is carried.
    fn switch_over(&self, request: serde_json::Value) -> Answer {
        let _ = request;
        Box::pin(std::future::ready(Err(FAILOVER_OF_RECEIVER.to_owned())))
    }

    fn resume(&self, request: serde_json::Value) -> Outcome;
    /// Drops the positions of a topic that is not carried.
    fn forget(&self, topic: String) -> Outcome;
    fn rate(&self, request: serde_json::Value) -> Result<String, String>;
}

const ASK_SENDER: &str = "this is a receiver; the sender of the link knows the source's logs: ask it";
const COUNTED_BY_SENDER: &str = "this is a receiver; the sender of the link counts what it sends: ask it";
const ASK_RECEIVER: &str = "this is a sender; the receiver of the link keeps the log of jumps: ask it";
const ACLS_OF_RECEIVER: &str = "this is a sender; the receiver of the link follows access control lists: ask it";
const TRANSLATED_BY_RECEIVER: &str = "this is a sender; the receiver of the link knows where each record went: ask it";

const FAILOVER_OF_RECEIVER: &str = "this is a sender; a link is promoted by its receiver, next to the target: ask it";

/// The answers of an admin port: those of its process, and its reload.
#[derive(Clone)]
pub struct Views {
    /// The process that answers.
    pub admin: Arc<dyn Admin>,
    /// The page for people.
    pub page: Arc<dyn Page>,
    pub metrics: Arc<Registry>,
    pub reload: Reload,
}

/// An endpoint of the admin port. Where the port has a token, every request must show it, but for [`PROBES`].
struct Endpoint {
    /// Method and path; a GET may have a query after it.
    request: &'static str,
    /// Answer in Markdown, for `docs/operate.md`.
    answer: &'static str,
    route: fn() -> MethodRouter<Views>,
}

const fn endpoint(request: &'static str, answer: &'static str, route: fn() -> MethodRouter<Views>) -> Endpoint {
    Endpoint { request, answer, route }
}

/// All endpoints, from which the router is made and `docs/operate.md` is printed.
const ENDPOINTS: [Endpoint; 17] = [
    endpoint("GET /live", "200 while the process runs; restart it if this fails", || get(|| async { "live\n" })),
    endpoint("GET /ready", "200, or 503 and the reason", || get(ready)),
    endpoint("GET /metrics", "[metrics](reference/metrics.md) as OpenMetrics text", || get(metrics)),
    endpoint("GET /status", "what `causeway status --json` prints", || answered(|admin| Ok(admin.status()))),
    endpoint("GET /topics", "sender: what `status --topics --json` prints", || answered(|admin| admin.topics())),
    endpoint("GET /partitions?topic=T", "sender: what `status --topic T --json` prints", || get(partitions)),
    endpoint("GET /cost", "sender: what `status --cost --json` prints", || answered(|admin| admin.cost())),
    endpoint("GET /groups", "what `status --groups --json` prints", || answered(|admin| admin.groups())),
    endpoint("GET /jumps", "receiver: what `causeway jumps` prints", || answered(|admin| admin.jumps())),
    endpoint("GET /acls", "receiver: what `causeway acls --json` prints", || answered(|admin| admin.acls())),
    endpoint("POST /translate", "receiver: what `causeway translate --json` prints, as an array", || post(translate)),
    endpoint("POST /failover", "receiver: what `causeway failover` asks for", || post(failover)),
    endpoint("POST /switch-over", "receiver: what `causeway switch-over` asks for", || post(switch_over)),
    endpoint("POST /reload", "[reads the configuration again](#change-settings-without-a-restart)", || post(reload)),
    endpoint("POST /rate", "sender: what `causeway rate` does", || post(rate)),
    endpoint("POST /resume", "sender: what `causeway resume` and `adopt` do", || post(resume)),
    endpoint("POST /forget", "sender: what `causeway forget` does", || post(forget)),
];

/// Paths that are answered to everybody, with the status code alone: kubelets and load balancers have no token, and call
/// this port by its address.
const PROBES: [&str; 2] = ["/live", "/ready"];

/// Prints all endpoints in Markdown.
pub fn reference() -> String {
    let row = |endpoint: &Endpoint| format!("- `{}`: {}\n", endpoint.request, endpoint.answer);
    "- `GET /`: [a page to look at](page.md)\n".to_owned() + &ENDPOINTS.iter().map(row).collect::<String>()
}

impl Endpoint {
    /// Path of the endpoint, without a query.
    fn path(&self) -> &'static str {
        let target = self.request.split_once(' ').map_or(self.request, |(_, target)| target);
        target.split_once('?').map_or(target, |(path, _)| path)
    }
}

impl Setting for Listen {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        if value.as_str() == Some("off") {
            return Ok(Self(None));
        }
        SocketAddr::from_toml(value).map(|address| Self(Some(address)))
    }
}

/// Answers requests on `listener` until `shutdown`, then finishes those in progress, each within 10 s.
pub async fn serve(listener: TcpListener, views: Views, access: Arc<Access>, shutdown: impl Future<Output = ()>) {
    let page = page::router(views.clone(), Arc::clone(&access));
    let router = ENDPOINTS
        .iter()
        .fold(Router::new(), |router, endpoint| router.route(endpoint.path(), (endpoint.route)()))
        .with_state(views)
        .layer(middleware::from_fn_with_state(Arc::clone(&access), authorise))
        .merge(page);
    connections::serve(listener, router, access, shutdown).await;
}

/// Refuses requests without the token, those that a web page may have sent, and changes that are not JSON.
async fn authorise(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    if let Err(refused) = access.check(&request) {
        if is_probe(&request) {
            return next.run(request).await.status().into_response();
        }
        PROCESS.admin_refused.fetch_add(1, Ordering::Relaxed);
        return refused.into_response();
    }
    let changes = ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    if changes && !is_json(request.headers()) {
        let reason = "a change requires the header `content-type: application/json`, also without a body\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, reason).into_response();
    }
    next.run(request).await
}

fn is_probe(request: &Request) -> bool {
    [Method::GET, Method::HEAD].contains(request.method()) && PROBES.contains(&request.uri().path())
}

/// True if the content type is JSON. A page of another web origin cannot send it: its browser asks this port first.
fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.and_then(|value| value.split(';').next());
    media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
}

async fn ready(State(views): State<Views>) -> Result<&'static str, (StatusCode, String)> {
    views.admin.ready().map(|()| "ready\n").map_err(|reason| (StatusCode::SERVICE_UNAVAILABLE, reason + "\n"))
}

async fn metrics(State(views): State<Views>) -> Result<Response, Infallible> {
    PROCESS.ready.store(u64::from(views.admin.ready().is_ok()), Ordering::Relaxed);
    let mut text = String::new();
    Ok(match prometheus_client::encoding::text::encode(&mut text, &views.metrics) {
        Ok(()) => {
            let content = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, content)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    })
}

/// The query of `/partitions`, such as `?topic=orders`, and the body of `/forget`.
#[derive(serde::Deserialize)]
struct OfTopic {
    topic: String,
}

/// JSON or a sentence, or the reason why this process has no answer.
type Answered<T> = Result<T, (StatusCode, String)>;

fn json(answer: Result<serde_json::Value, String>) -> Answered<Json<serde_json::Value>> {
    answer.map(Json).map_err(|reason| (StatusCode::CONFLICT, reason + "\n"))
}

fn sentence(outcome: Result<String, String>) -> Answered<String> {
    outcome.map(|done| done + "\n").map_err(|reason| (StatusCode::CONFLICT, reason + "\n"))
}

/// Answers with the JSON that `of` returns.
fn answered(of: fn(&dyn Admin) -> Result<serde_json::Value, String>) -> MethodRouter<Views> {
    get(move |State(views): State<Views>| async move { json(of(&*views.admin)) })
}

async fn partitions(State(views): State<Views>, Query(of): Query<OfTopic>) -> Answered<Json<serde_json::Value>> {
    json(views.admin.partitions(&of.topic))
}

async fn reload(State(views): State<Views>) -> Response {
    match tokio::task::spawn_blocking(move || (views.reload)()).await {
        Ok(Ok(changed)) => Json(changed).into_response(),
        Ok(Err(reason)) => (StatusCode::UNPROCESSABLE_ENTITY, reason + "\n").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn resume(State(views): State<Views>, Json(request): Json<serde_json::Value>) -> Answered<String> {
    sentence(views.admin.resume(request).await)
}

async fn forget(State(views): State<Views>, Json(of): Json<OfTopic>) -> Answered<String> {
    sentence(views.admin.forget(of.topic).await)
}

async fn translate(
    State(views): State<Views>,
    Json(request): Json<serde_json::Value>,
) -> Answered<Json<serde_json::Value>> {
    json(views.admin.translate(request).await)
}

async fn failover(
    State(views): State<Views>,
    Json(request): Json<serde_json::Value>,
) -> Answered<Json<serde_json::Value>> {
    json(views.admin.failover(request).await)
}

async fn switch_over(
    State(views): State<Views>,
    Json(request): Json<serde_json::Value>,
) -> Answered<Json<serde_json::Value>> {
    json(views.admin.switch_over(request).await)
}

async fn rate(State(views): State<Views>, Json(request): Json<serde_json::Value>) -> Answered<String> {
    sentence(views.admin.rate(request))
}

#[cfg(test)]
mod tests;
