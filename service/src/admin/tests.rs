//! Tests of the admin port: who gets which answer.

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

struct TestPage;

impl Page for TestPage {
    fn document(&self, has_login: bool) -> String {
        if has_login { "a document, log out" } else { "a document" }.to_owned()
    }

    fn live(&self, _: bool) -> String {
        "now".to_owned()
    }

    fn file(&self, name: &str) -> Option<(&'static str, &'static str)> {
        (name == "style.css").then_some(("text/css", "a style"))
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
    let views = Views { admin: Arc::new(process), page: Arc::new(TestPage), metrics: Arc::new(registry), reload };
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
            let head = format!("host: localhost\r\ncontent-type: application/json\r\ncontent-length: {}", body.len());
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
            let is_known = ENDPOINTS.iter().any(|endpoint| endpoint.request == request);
            assert!(is_known || request == "GET /", "{page} names {request}");
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
        for host in ["127.0.0.1:7401", "127.8.9.1", "localhost:7401", "LOCALHOST", "[::1]:7401", "[::ffff:127.0.0.1]"] {
            let own = format!("host: {host}\r\norigin: http://{host}\r\n");
            for headers in [format!("host: {host}\r\n"), own] {
                let (code, body) = status_of(with(target, &headers)).await;
                assert!(code != "403" && code != "400", "{request} {headers}: {code} {body}");
            }
        }
    }
}

/// Sends a request with these header lines to a port with the token `0123456789abcdef`.
async fn ask_page(address: SocketAddr, request: &str, headers: &str, body: &str) -> (String, String) {
    let length = body.len();
    let head = format!("{request} HTTP/1.1\r\nhost: a.example:7401\r\ncontent-length: {length}\r\n{headers}\r\n");
    ask(address, &(head + body)).await
}

async fn port_with_token(dir: &Path) -> Port {
    let file = dir.join("token");
    std::fs::write(&file, "0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    port_for(access(Some(file)).unwrap()).await
}

const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";

#[tokio::test]
async fn the_page_needs_no_login_where_there_is_no_token() {
    let port = port().await;
    let (head, body) = get(port.address, "/").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && body == "a document", "{head}");
    for header in [
        "content-security-policy: default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'\r\n",
        "x-content-type-options: nosniff\r\n",
        "referrer-policy: same-origin\r\n",
        "cache-control: no-store\r\n",
    ] {
        assert!(head.contains(header), "{header}{head}");
    }
    assert_eq!(get(port.address, "/page/live").await.1, "now");
    assert_eq!(get(port.address, "/page/file/style.css").await.1, "a style");
    assert!(get(port.address, "/page/file/other").await.0.starts_with("HTTP/1.1 404 "));
    let (head, _) = get(port.address, "/login").await;
    assert!(head.starts_with("HTTP/1.1 303 ") && head.contains("location: /\r\n"), "{head}");
    for path in ["/", "/page/live", "/page/file/style.css", "/login"] {
        let (head, _) = ask(port.address, &format!("GET {path} HTTP/1.1\r\nhost: evil.example\r\n\r\n")).await;
        assert!(head.starts_with("HTTP/1.1 403 "), "{path}: {head}");
    }
}

#[tokio::test]
async fn a_session_shows_the_page_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let port = port_with_token(dir.path()).await;
    let (head, _) = ask_page(port.address, "GET /", "", "").await;
    assert!(head.starts_with("HTTP/1.1 303 ") && head.contains("location: /login\r\n"), "{head}");
    assert!(ask_page(port.address, "GET /page/live", "", "").await.0.starts_with("HTTP/1.1 401 "));
    let (head, body) = ask_page(port.address, "GET /login", "", "").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && body.contains("<form method=\"post\" action=\"/login\">"), "{head}");
    assert_eq!(ask_page(port.address, "GET /page/file/style.css", "", "").await.1, "a style");

    let (head, body) = ask_page(port.address, "POST /login", FORM, "token=0123456789abcdeF").await;
    assert!(head.starts_with("HTTP/1.1 401 ") && body.contains("not the token of this port"), "{head}");
    assert!(!head.contains("set-cookie"), "{head}");
    let (head, _) = ask_page(port.address, "POST /login", FORM, "token=0123456789abcdef").await;
    assert!(head.starts_with("HTTP/1.1 303 ") && head.contains("location: /\r\n"), "{head}");
    let set = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(set.starts_with("causeway-0=") && set.contains("; HttpOnly; SameSite=Strict"), "{set}");
    assert!(!set.contains("0123456789abcdef"), "{set}");
    let cookie = format!("cookie: other=1; {}\r\n", set.split(';').next().unwrap());

    assert_eq!(ask_page(port.address, "GET /", &cookie, "").await.1, "a document, log out");
    assert_eq!(ask_page(port.address, "GET /page/live", &cookie, "").await.1, "now");
    for Endpoint { request, .. } in ENDPOINTS.iter().filter(|endpoint| !PROBES.contains(&endpoint.path())) {
        let json = format!("{cookie}content-type: application/json\r\n");
        let (head, _) = ask_page(port.address, request, &json, r#"{"topic":"orders"}"#).await;
        assert!(head.starts_with("HTTP/1.1 401 "), "{request}: {head}");
    }
    let foreign = format!("{cookie}origin: http://evil.example\r\n");
    let (head, _) = ask_page(port.address, "POST /logout", &foreign, "").await;
    assert!(head.starts_with("HTTP/1.1 403 ") && !head.contains("set-cookie"), "{head}");
    let (head, _) = ask_page(port.address, "POST /logout", &cookie, "").await;
    assert!(head.starts_with("HTTP/1.1 303 ") && head.contains("Max-Age=0"), "{head}");
    assert!(ask_page(port.address, "GET /page/live", &cookie, "").await.0.starts_with("HTTP/1.1 401 "));
}

#[tokio::test]
async fn a_login_from_another_web_origin_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let port = port_with_token(dir.path()).await;
    for (origin, code) in
        [("http://a.example:7401", 303), ("http://evil.example", 403), ("null", 403), ("http://a.example:7402", 403)]
    {
        let headers = format!("{FORM}origin: {origin}\r\n");
        let (head, _) = ask_page(port.address, "POST /login", &headers, "token=0123456789abcdef").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {code} ")), "{origin}: {head}");
    }
    let long = format!("token={}", "a".repeat(10_000));
    assert!(ask_page(port.address, "POST /login", FORM, &long).await.0.starts_with("HTTP/1.1 413 "));
}

#[test]
fn sessions_end_when_the_token_changes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let write = |token: &str| {
        std::fs::write(&file, token).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    write("0123456789abcdef\n");
    let names = ["localhost".to_owned()];
    pki::init(dir.path(), &pki::Request { link: "a", sender: &names, receiver: &names }).unwrap();
    let [ca, certificate, key] = ["ca.pem", "sender.pem", "sender.key"].map(|name| dir.path().join(name));
    let credentials = Credentials::load(&TlsFiles { ca, certificate, key }, End::Client, tls::now()).unwrap();
    let settings = AdminSettings { listen: Listen(Some("0.0.0.0:7401".parse().unwrap())), token: Some(file.clone()) };
    let access = Access::new(&settings, &credentials).unwrap();
    let set = access.log_in("0123456789abcdef").unwrap();
    assert!(set.starts_with("__Host-causeway-7401=") && set.ends_with("; Secure"), "{set}");
    let sees = |access: &Access| {
        let cookie = set.split(';').next().unwrap();
        let request = axum::http::Request::get("/").header(header::COOKIE, cookie).body(()).unwrap();
        access.check_viewer(&request).is_ok()
    };
    assert!(sees(&access));
    access.renew(&settings, &credentials).unwrap();
    assert!(sees(&access), "a reload without another token ends no session");
    write("fedcba9876543210\n");
    access.renew(&settings, &credentials).unwrap();
    assert!(!sees(&access));
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
