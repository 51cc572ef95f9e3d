//! The page of the admin port, for people. Where the port has a token, a form takes it once and a cookie holds the
//! session: the token is never in a URL, and the cookie opens nothing but the page.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Form, Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};

use super::Views;
use super::access::{Access, Refused};
use crate::metrics::PROCESS;

const LOGIN: &str = include_str!("page/login.html");
const LOGIN_PATH: &str = "/login";
const LOGOUT_PATH: &str = "/logout";
/// Folder of the page's files. They are the same for everybody, so they need no session.
const FILES: &str = "/page/file/";
/// Limit of a login's body, in bytes.
const FORM_BYTES_MAX: usize = 4096;

/// Headers of everything on the page: it loads from this port alone, runs no inline script, and is in no frame.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // With `no-referrer` a browser would send the login with the `Origin` `null`.
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// What a process shows to people. Every text from elsewhere is escaped in it.
pub trait Page: Send + Sync + 'static {
    /// The whole document. Where the port has a login, one can log out.
    fn document(&self, has_login: bool) -> String;
    /// The part of the document that changes, with the present values.
    fn live(&self, has_login: bool) -> String;
    /// Media type and contents of a file that the document names.
    fn file(&self, name: &str) -> Option<(&'static str, &'static str)>;
}

/// The routes of the page and of its login.
pub(super) fn router(views: Views, access: Arc<Access>) -> Router {
    let signs = Router::new()
        .route(LOGIN_PATH, get(login_form).post(login))
        .route(LOGOUT_PATH, post(logout))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .with_state(Arc::clone(&access));
    let of_document = Arc::clone(&access);
    let document = |State(views): State<Views>| async move { Html(views.page.document(of_document.has_token())) };
    let of_live = Arc::clone(&access);
    let live = |State(views): State<Views>| async move { Html(views.page.live(of_live.has_token())) };
    Router::new()
        .route("/", get(document))
        .route("/page/live", get(live))
        .route(&format!("{FILES}{{name}}"), get(file))
        .with_state(views)
        .merge(signs)
        .layer(middleware::from_fn_with_state(access, admit))
        .layer(middleware::map_response(with_headers))
}

async fn with_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Lets people with a session or the token see the page; sends others to the form.
async fn admit(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    match access.check_viewer(&request) {
        Ok(()) => next.run(request).await,
        Err(Refused::Token) if is_public(path) => next.run(request).await,
        Err(Refused::Token) if path == "/" => Redirect::to(LOGIN_PATH).into_response(),
        Err(refused) => {
            PROCESS.admin_refused.fetch_add(1, Ordering::Relaxed);
            refused.into_response()
        }
    }
}

/// Paths that need no session.
fn is_public(path: &str) -> bool {
    [LOGIN_PATH, LOGOUT_PATH].contains(&path) || path.starts_with(FILES)
}

async fn file(State(views): State<Views>, Path(name): Path<String>) -> Result<Response, StatusCode> {
    let (kind, contents) = views.page.file(&name).ok_or(StatusCode::NOT_FOUND)?;
    Ok(([(header::CONTENT_TYPE, kind)], contents).into_response())
}

async fn login_form(State(access): State<Arc<Access>>) -> Response {
    if access.has_token() { form("") } else { Redirect::to("/").into_response() }
}

fn form(message: &'static str) -> Response {
    Html(LOGIN.replace("MESSAGE", message)).into_response()
}

#[derive(serde::Deserialize)]
struct Login {
    token: String,
}

async fn login(State(access): State<Arc<Access>>, headers: HeaderMap, Form(login): Form<Login>) -> Response {
    // A page of another origin must not log a browser in or guess tokens through it.
    if !access.is_own_origin(&headers) {
        return foreign();
    }
    match access.log_in(login.token.trim()) {
        Some(cookie) => ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response(),
        None => {
            PROCESS.admin_refused.fetch_add(1, Ordering::Relaxed);
            (StatusCode::UNAUTHORIZED, form("This is not the token of this port.")).into_response()
        }
    }
}

async fn logout(State(access): State<Arc<Access>>, headers: HeaderMap) -> Response {
    if !access.is_own_origin(&headers) {
        return foreign();
    }
    let cookie = access.log_out(&headers);
    ([(header::SET_COOKIE, cookie)], Redirect::to(LOGIN_PATH)).into_response()
}

fn foreign() -> Response {
    PROCESS.admin_refused.fetch_add(1, Ordering::Relaxed);
    Refused::Origin.into_response()
}
