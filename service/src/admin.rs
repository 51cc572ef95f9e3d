//! The admin port: health, metrics, status and commands over HTTP, by the table `ENDPOINTS`.
//!
//! The port listens on loopback unless configured otherwise; on other addresses it requires TLS and a token. A process
//! that cannot answer says why with 409. A web page that is open on this machine gets no answer, whichever name its server
//! gives to this port: without a token, a request's `Host` must be a loopback address or `localhost`, and its `Origin`, if
//! any, the port itself. Only the probes of an orchestrator are answered to everybody, with nothing but the status code.

pub mod access;
mod connections;

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

    fn resume(&self, request: serde_json::Value) -> Outcome;
    /// Drops the positions of a topic that is not carried.
    fn forget(&self, topic: String) -> Outcome;
    fn rate(&self, request: serde_json::Value) -> Result<String, String>;
}

const ASK_SENDER: &str = "this is a receiver; the sender of the link knows the source's logs: ask it";
const ASK_RECEIVER: &str = "this is a sender; the receiver of the link keeps the log of jumps: ask it";
const ACLS_OF_RECEIVER: &str = "this is a sender; the receiver of the link follows access control lists: ask it";
const TRANSLATED_BY_RECEIVER: &str = "this is a sender; the receiver of the link knows where each record went: ask it";

const FAILOVER_OF_RECEIVER: &str = "this is a sender; a link is promoted by its receiver, next to the target: ask it";

/// The answers of an admin port: those of its process, and its reload.
#[derive(Clone)]
pub struct Views {
    /// The process that answers.
    pub admin: Arc<dyn Admin>,
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
const ENDPOINTS: [Endpoint; 15] = [
    endpoint("GET /live", "200 while the process runs; restart it if this fails", || get(|| async { "live\n" })),
    endpoint("GET /ready", "200, or 503 and the reason", || get(ready)),
    endpoint("GET /metrics", "[metrics](reference/metrics.md) as OpenMetrics text", || get(metrics)),
    endpoint("GET /status", "what `causeway status --json` prints", || answered(|admin| Ok(admin.status()))),
    endpoint("GET /topics", "sender: what `status --topics --json` prints", || answered(|admin| admin.topics())),
    endpoint("GET /partitions?topic=T", "sender: what `status --topic T --json` prints", || get(partitions)),
    endpoint("GET /groups", "what `status --groups --json` prints", || answered(|admin| admin.groups())),
    endpoint("GET /jumps", "receiver: what `causeway jumps` prints", || answered(|admin| admin.jumps())),
    endpoint("GET /acls", "receiver: what `causeway acls --json` prints", || answered(|admin| admin.acls())),
    endpoint("POST /translate", "receiver: what `causeway translate --json` prints, as an array", || post(translate)),
    endpoint("POST /failover", "receiver: what `causeway failover` asks for", || post(failover)),
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
    ENDPOINTS.iter().map(|endpoint| format!("- `{}`: {}\n", endpoint.request, endpoint.answer)).collect()
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
    let router = ENDPOINTS
        .iter()
        .fold(Router::new(), |router, endpoint| router.route(endpoint.path(), (endpoint.route)()))
        .with_state(views)
        .layer(middleware::from_fn_with_state(Arc::clone(&access), authorise));
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

async fn rate(State(views): State<Views>, Json(request): Json<serde_json::Value>) -> Answered<String> {
    sentence(views.admin.rate(request))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::AtomicBool;

    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::access::AccessError;
    use super::connections::{HEAD_WITHIN, REQUEST_BYTES_MAX};
    use super::*;
    use crate::pki;
    use crate::tls::{self, Credentials, End, TlsFiles};

    struct TestProcess {
        caught_up: Arc<AtomicBool>,
    }

    impl Admin for TestProcess {
        fn ready(&self) -> Result<(), String> {
            let caught_up = self.caught_up.load(Ordering::Relaxed);
            caught_up.then_some(()).ok_or_else(|| "no session with link.example:7443".to_owned())
        }

        fn status(&self) -> serde_json::Value {
            serde_json::json!({ "link": "fra-to-sin" })
        }

        fn topics(&self) -> Result<serde_json::Value, String> {
            Ok(serde_json::json!([{ "topic": "orders" }]))
        }

        fn partitions(&self, topic: &str) -> Result<serde_json::Value, String> {
            match topic {
                "orders" => Ok(serde_json::json!([{ "partition": 0 }])),
                other => Err(format!("no topic {other}")),
            }
        }

        fn groups(&self) -> Result<serde_json::Value, String> {
            Ok(serde_json::json!([{ "group": "billing" }]))
        }

        fn resume(&self, request: serde_json::Value) -> Outcome {
            Box::pin(async move {
                let topic = request["topic"].as_str().ok_or("no topic")?;
                Ok(format!("{topic} resumed"))
            })
        }

        fn forget(&self, topic: String) -> Outcome {
            Box::pin(std::future::ready(Ok(format!("{topic} forgotten"))))
        }

        fn rate(&self, _request: serde_json::Value) -> Result<String, String> {
            Err("no rate here".to_owned())
        }
    }

    struct Port {
        address: SocketAddr,
        caught_up: Arc<AtomicBool>,
        stop: oneshot::Sender<()>,
        served: JoinHandle<()>,
    }

    async fn port() -> Port {
        port_for(access(None).unwrap()).await
    }

    fn access(token: Option<PathBuf>) -> Result<Access, AccessError> {
        let dir = tempfile::tempdir().unwrap();
        let names = ["localhost".to_owned()];
        pki::init(dir.path(), &pki::Request { link: "a", sender: &names, receiver: &names }).unwrap();
        let [ca, certificate, key] = ["ca.pem", "sender.pem", "sender.key"].map(|name| dir.path().join(name));
        let credentials = Credentials::load(&TlsFiles { ca, certificate, key }, End::Client, tls::now()).unwrap();
        Access::new(&AdminSettings { listen: Listen(None), token }, &credentials)
    }

    async fn port_for(access: Access) -> Port {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let caught_up = Arc::new(AtomicBool::new(false));
        let counter = Counter::<u64>::default();
        counter.inc_by(3);
        let mut registry = Registry::default();
        registry.register("causeway_test", "Counts in a test", counter);
        let process = TestProcess { caught_up: Arc::clone(&caught_up) };
        let reload: Reload = Arc::new(|| Err("memory: no unit".to_owned()));
        let views = Views { admin: Arc::new(process), metrics: Arc::new(registry), reload };
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(serve(listener, views, Arc::new(access), async move { stopped.await.unwrap() }));
        Port { address, caught_up, stop, served }
    }

    /// Sends a request; returns the head and the body of the answer.
    async fn ask(address: SocketAddr, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    async fn get(address: SocketAddr, path: &str) -> (String, String) {
        ask(address, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await
    }

    async fn post(address: SocketAddr, path: &str, content_type: &str, body: &str) -> (String, String) {
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n", body.len());
        let content_type = match content_type {
            "" => String::new(),
            stated => format!("content-type: {stated}\r\n"),
        };
        ask(address, &format!("{head}{content_type}\r\n{body}")).await
    }

    #[tokio::test]
    async fn every_page_answers() {
        let port = port().await;
        assert_eq!(get(port.address, "/live").await.1, "live\n");
        let (head, body) = get(port.address, "/ready").await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert_eq!(body, "no session with link.example:7443\n");
        port.caught_up.store(true, Ordering::Relaxed);
        assert!(get(port.address, "/ready").await.0.starts_with("HTTP/1.1 200 "));
        let (head, body) = get(port.address, "/metrics").await;
        assert!(head.contains("application/openmetrics-text"), "{head}");
        assert!(body.contains("causeway_test_total 3") && body.ends_with("# EOF\n"), "{body}");
        assert_eq!(get(port.address, "/status").await.1, "{\"link\":\"fra-to-sin\"}");
        assert_eq!(get(port.address, "/topics").await.1, "[{\"topic\":\"orders\"}]");
        assert_eq!(get(port.address, "/partitions?topic=orders").await.1, "[{\"partition\":0}]");
        let (head, body) = get(port.address, "/partitions?topic=bills").await;
        assert!(head.starts_with("HTTP/1.1 409 ") && body == "no topic bills\n", "{head} {body}");
        assert!(get(port.address, "/partitions").await.0.starts_with("HTTP/1.1 400 "));
        assert!(get(port.address, "/other").await.0.starts_with("HTTP/1.1 404 "));
        let (head, body) = post(port.address, "/reload", "application/json", "").await;
        assert!(head.starts_with("HTTP/1.1 422 ") && body == "memory: no unit\n", "{head} {body}");
        assert!(get(port.address, "/reload").await.0.starts_with("HTTP/1.1 405 "));
        let (head, _) = post(port.address, "/status", "application/json", "").await;
        assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
    }

    #[tokio::test]
    async fn a_port_with_a_token_refuses_requests_without_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let write = |token: &str| {
            std::fs::write(&file, token).unwrap();
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        };
        write("short");
        let error = access(Some(file.clone())).err().unwrap().to_string();
        assert!(error.contains("5 bytes, below the minimum of 16"), "{error}");
        write("0123456789abcdef\n");
        let port = port_for(access(Some(file.clone())).unwrap()).await;
        let with = async |path: &str, token: &str| {
            ask(port.address, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{token}\r\n")).await.0
        };
        let guarded = ENDPOINTS.iter().map(Endpoint::path).filter(|path| !PROBES.contains(path));
        for path in guarded.chain(["/partitions?topic=a", "/other", "/live/", "/ready/../status"]) {
            for token in ["", "authorization: Bearer 0123456789abcdeF\r\n", "authorization: 0123456789abcdef\r\n"] {
                assert!(with(path, token).await.starts_with("HTTP/1.1 401 "), "{path} {token}");
            }
        }
        assert!(with("/status", "authorization: Bearer 0123456789abcdef\r\n").await.starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn probes_without_the_token_learn_the_status_code_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let port = port_for(access(Some(file)).unwrap()).await;
        let probe = async |method: &str, path: &str| {
            ask(port.address, &format!("{method} {path} HTTP/1.1\r\nhost: 10.0.0.7:7401\r\n\r\n")).await
        };
        for path in PROBES {
            let ready = path == "/live";
            let (head, body) = probe("GET", path).await;
            assert!(head.starts_with(if ready { "HTTP/1.1 200 " } else { "HTTP/1.1 503 " }), "{path}: {head}");
            assert_eq!(body, "", "{path}");
            assert!(probe("POST", path).await.0.starts_with("HTTP/1.1 401 "), "{path}");
        }
        port.caught_up.store(true, Ordering::Relaxed);
        assert!(probe("GET", "/ready").await.0.starts_with("HTTP/1.1 200 "));
        let with_token = "GET /live HTTP/1.1\r\nhost: a\r\nauthorization: Bearer 0123456789abcdef\r\n\r\n";
        assert_eq!(ask(port.address, with_token).await.1, "live\n");
    }

    #[tokio::test]
    async fn every_endpoint_answers_its_method_only() {
        let port = port().await;
        for Endpoint { request, .. } in &ENDPOINTS {
            let (method, target) = request.split_once(' ').unwrap();
            for other in ["GET", "POST"] {
                let body = r#"{"topic":"orders"}"#;
                let head =
                    format!("host: localhost\r\ncontent-type: application/json\r\ncontent-length: {}", body.len());
                let (head, _) = ask(port.address, &format!("{other} {target} HTTP/1.1\r\n{head}\r\n\r\n{body}")).await;
                let is_answered = !head.starts_with("HTTP/1.1 404 ") && !head.starts_with("HTTP/1.1 405 ");
                assert_eq!(is_answered, other == method, "{other} {target}: {head}");
            }
        }
    }

    #[test]
    fn the_published_endpoints_are_printed_from_the_table() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        crate::metrics::check_page(&docs.join("operate.md"), &[("endpoints", reference())]);
        for page in ["operate.md", "security.md", "troubleshoot.md", "reference/status.md", "reference/metrics.md"] {
            let text = std::fs::read_to_string(docs.join(page)).unwrap();
            let named = text.split('`').filter(|code| code.starts_with("GET /") || code.starts_with("POST /"));
            for request in named {
                assert!(ENDPOINTS.iter().any(|endpoint| endpoint.request == request), "{page} names {request}");
            }
        }
    }

    #[tokio::test]
    async fn a_change_is_answered_with_a_sentence() {
        let port = port().await;
        let (head, body) = post(port.address, "/resume", "application/json", r#"{"topic":"orders"}"#).await;
        assert!(head.starts_with("HTTP/1.1 200 ") && body == "orders resumed\n", "{head} {body}");
        let (head, body) = post(port.address, "/resume", "application/json; charset=utf-8", "{}").await;
        assert!(head.starts_with("HTTP/1.1 409 ") && body == "no topic\n", "{head} {body}");
        let (head, body) = get(port.address, "/jumps").await;
        assert!(head.starts_with("HTTP/1.1 409 ") && body == format!("{ASK_RECEIVER}\n"), "{head} {body}");
    }

    #[tokio::test]
    async fn a_change_from_another_web_origin_is_refused() {
        let port = port().await;
        for path in ["/reload", "/resume", "/forget", "/rate"] {
            // The content types that a form or a script may send without asking the port first.
            for content in ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"] {
                let (head, body) = post(port.address, path, content, r#"{"topic":"orders"}"#).await;
                assert!(head.starts_with("HTTP/1.1 415 "), "{path} {content}: {head}");
                assert!(body.contains("requires the header `content-type: application/json`"), "{body}");
            }
        }
        // The question that a browser asks first for any other content type.
        let preflight = "OPTIONS /reload HTTP/1.1\r\nhost: localhost\r\norigin: http://b\r\n\r\n";
        let (head, _) = ask(port.address, preflight).await;
        assert!(head.starts_with("HTTP/1.1 403 ") && !head.contains("access-control"), "{head}");
    }

    #[tokio::test]
    async fn only_requests_to_this_machine_are_answered_without_a_token() {
        let port = port().await;
        let status_of = async |request: String| {
            let (head, body) = ask(port.address, &request).await;
            (head.split(' ').nth(1).unwrap_or_default().to_owned(), body)
        };
        for Endpoint { request, .. } in &ENDPOINTS {
            let (method, target) = request.split_once(' ').unwrap();
            let with = |target: &str, headers: &str| {
                let json = "content-type: application/json\r\ncontent-length: 18";
                format!("{method} {target} HTTP/1.1\r\n{headers}{json}\r\n\r\n{{\"topic\":\"orders\"}}")
            };
            for (target, headers) in [
                (target.to_owned(), "host: evil.example:7401\r\n"),
                (target.to_owned(), "host: localhost.evil.example\r\n"),
                (target.to_owned(), "host: 10.0.0.1:7401\r\n"),
                (target.to_owned(), "host: 127.0.0.1\r\nhost: evil.example\r\n"),
                (target.to_owned(), ""),
                (target.to_owned(), "host: localhost\r\norigin: http://evil.example\r\n"),
                (target.to_owned(), "host: localhost:7401\r\norigin: http://localhost:3000\r\n"),
                (target.to_owned(), "host: localhost\r\norigin: null\r\n"),
                (format!("http://evil.example{target}"), "host: localhost\r\n"),
            ] {
                let (code, body) = status_of(with(&target, headers)).await;
                // HTTP itself forbids requests without a host, or with two.
                let is_refused = code == "403" || code == "400";
                let is_probed = PROBES.contains(&target.trim_start_matches("http://evil.example")) && body.is_empty();
                assert!(is_refused || is_probed, "{request} {headers}: {code} {body}");
            }
            for host in
                ["127.0.0.1:7401", "127.8.9.1", "localhost:7401", "LOCALHOST", "[::1]:7401", "[::ffff:127.0.0.1]"]
            {
                let own = format!("host: {host}\r\norigin: http://{host}\r\n");
                for headers in [format!("host: {host}\r\n"), own] {
                    let (code, body) = status_of(with(target, &headers)).await;
                    assert!(code != "403" && code != "400", "{request} {headers}: {code} {body}");
                }
            }
        }
    }

    #[tokio::test]
    async fn silent_connections_make_room_for_a_request() {
        let port = port().await;
        let mut silent = Vec::new();
        for _ in 0..300 {
            silent.push(TcpStream::connect(port.address).await.unwrap());
        }
        let asked = std::time::Instant::now();
        assert_eq!(get(port.address, "/live").await.1, "live\n");
        assert!(asked.elapsed() < HEAD_WITHIN / 2, "{:?}", asked.elapsed());
        let mut nothing = [0; 1];
        assert_eq!(silent[0].read(&mut nothing).await.unwrap(), 0, "the oldest silent connection is closed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_has_two_seconds() {
        let port = port().await;
        let mut silent = TcpStream::connect(port.address).await.unwrap();
        silent.write_all(b"GET /live HTTP/1.1\r\n").await.unwrap();
        let opened = tokio::time::Instant::now();
        let mut nothing = Vec::new();
        assert_eq!(silent.read_to_end(&mut nothing).await.unwrap(), 0);
        assert!(opened.elapsed() <= HEAD_WITHIN + std::time::Duration::from_millis(10), "{:?}", opened.elapsed());
    }

    #[tokio::test]
    async fn a_request_beyond_its_size_is_refused() {
        let port = port().await;
        let request = format!("GET /live HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(2 * REQUEST_BYTES_MAX));
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        // The server may close before it has read everything.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!String::from_utf8_lossy(&answer).contains(" 200 "));
        assert_eq!(get(port.address, "/live").await.1, "live\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_does_not_delay_the_shutdown() {
        let port = port().await;
        let mut silent = TcpStream::connect(port.address).await.unwrap();
        assert_eq!(get(port.address, "/live").await.1, "live\n");
        let asked = tokio::time::Instant::now();
        port.stop.send(()).unwrap();
        port.served.await.unwrap();
        assert!(asked.elapsed() < HEAD_WITHIN, "left after {:?}", asked.elapsed());
        let mut nothing = Vec::new();
        assert_eq!(silent.read_to_end(&mut nothing).await.unwrap(), 0);
        TcpStream::connect(port.address).await.unwrap_err();
    }
}
