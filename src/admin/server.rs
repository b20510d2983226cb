//! The HTTP side of the desk: routes, and the guards before them.
//!
//! It listens on loopback only, yet a browser on the same machine is not trusted: the Host must be
//! a loopback name (DNS rebinding), a foreign Origin is refused, and what changes a call needs a
//! JSON content type or an `X-Callring` header, neither of which a foreign page can send unasked.

use std::collections::HashMap;
use std::net::IpAddr;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::header::{CONTENT_TYPE, HOST, HeaderMap, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use callring_proto::base::ids::{CallId, NodeId};
use callring_proto::io::CallFilter;
use tokio::net::TcpListener;

use super::api::Refusal;
use super::desk::{CALLS_MAX, Desk};
use super::metrics;

/// Largest request body: a signal for an application, not a file.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Calls in a list if no limit is given.
const CALLS_DEFAULT: usize = 100;

/// Serves the desk until `stop` ends; requests in progress are finished.
///
/// # Errors
/// If the listener breaks.
pub async fn serve(
    listener: TcpListener,
    desk: Desk,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(desk))
        .with_graceful_shutdown(stop)
        .await
}

pub(crate) fn router(desk: Desk) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .route("/v1/status", get(status))
        .route("/v1/members", get(members))
        .route("/v1/drain", get(drain_state).post(drain))
        .route("/v1/undrain", post(undrain))
        .route("/v1/leave", post(leave))
        .route("/v1/safe-to-stop", get(safe_to_stop))
        .route("/v1/ring", get(ring))
        .route("/v1/calls", get(calls))
        .route("/v1/calls/{key}", get(call))
        .route("/v1/calls/{key}/hangup", post(hangup))
        .route("/v1/calls/{key}/signal", post(signal))
        .fallback(async || Failure(StatusCode::NOT_FOUND, "no such path".into()))
        .method_not_allowed_fallback(async || {
            Failure(
                StatusCode::METHOD_NOT_ALLOWED,
                "not with this method".into(),
            )
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(guard))
        .with_state(desk)
}

/// A refusal with its status.
struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(Refusal { error: self.1 })).into_response()
    }
}

async fn guard(request: Request, next: Next) -> Response {
    let mut response = match refusal(request.method(), request.headers()) {
        Some(text) => Failure(StatusCode::FORBIDDEN, text.into()).into_response(),
        None => next.run(request).await,
    };
    let nosniff = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// Why a request is not let in.
fn refusal(method: &Method, headers: &HeaderMap) -> Option<&'static str> {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_ascii_lowercase();
    if !headers
        .get(HOST)
        .map(text)
        .is_some_and(|host| is_loopback(&host))
    {
        return Some("the Host header must name this machine: localhost, 127.0.0.1 or [::1]");
    }
    if let Some(origin) = headers.get(ORIGIN).map(text)
        && !origin.strip_prefix("http://").is_some_and(is_loopback)
    {
        return Some("requests of foreign web pages are refused");
    }
    if method == Method::GET || method == Method::HEAD {
        return None;
    }
    let is_json = |kind: &String| kind.split(';').next().map(str::trim) == Some("application/json");
    let marked = headers.contains_key("x-callring")
        || headers
            .get(CONTENT_TYPE)
            .map(text)
            .as_ref()
            .is_some_and(is_json);
    (!marked).then_some("send Content-Type: application/json, or an X-Callring header")
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

async fn healthz(State(desk): State<Desk>) -> Response {
    match desk.shards_mute().await {
        0 => "ok\n".into_response(),
        mute => {
            let text = format!("shards that do not answer: {mute}\n");
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

async fn readyz(State(desk): State<Desk>) -> Response {
    if desk.draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    healthz(State(desk)).await
}

async fn metrics_text(State(desk): State<Desk>) -> Response {
    let text = metrics::render(&desk.facts().await);
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

async fn status(State(desk): State<Desk>) -> Response {
    Json(desk.status().await).into_response()
}

async fn members(State(desk): State<Desk>) -> Response {
    Json(desk.members().await).into_response()
}

async fn drain_state(State(desk): State<Desk>) -> Response {
    Json(desk.drain_state().await).into_response()
}

async fn drain(State(desk): State<Desk>) -> Response {
    Json(desk.set_draining(true).await).into_response()
}

async fn undrain(State(desk): State<Desk>) -> Response {
    Json(desk.set_draining(false).await).into_response()
}

async fn leave(State(desk): State<Desk>) -> Response {
    Json(desk.leave().await).into_response()
}

async fn safe_to_stop(State(desk): State<Desk>) -> Response {
    Json(desk.safe_to_stop().await).into_response()
}

/// The parameters of a request's query.
type Parameters = Query<HashMap<String, String>>;

async fn ring(State(desk): State<Desk>, Query(mut query): Parameters) -> Result<Response, Failure> {
    let key = query.remove("key").map(|key| parse_key(&key)).transpose()?;
    nothing_left(&query)?;
    Ok(Json(desk.ring(key)).into_response())
}

async fn calls(
    State(desk): State<Desk>,
    Query(mut query): Parameters,
) -> Result<Response, Failure> {
    let limit = match query.remove("limit") {
        None => CALLS_DEFAULT,
        Some(limit) => match limit.parse() {
            Ok(limit) if (1..=CALLS_MAX).contains(&limit) => limit,
            _ => return Err(bad(format!("limit is a number from 1 to {CALLS_MAX}"))),
        },
    };
    let state = match query.remove("state") {
        None => None,
        Some(state) => match serde_json::from_value(serde_json::Value::String(state)) {
            Ok(state) => Some(state),
            Err(_) => return Err(bad("state is early, answered, confirmed or ending")),
        },
    };
    let filter = CallFilter {
        limit,
        state,
        owner: query.remove("owner").map(|name| NodeId::of(&name)),
        from: query.remove("from"),
        to: query.remove("to"),
    };
    nothing_left(&query)?;
    Ok(Json(desk.calls(filter).await).into_response())
}

async fn call(State(desk): State<Desk>, Path(key): Path<String>) -> Result<Response, Failure> {
    let key = parse_key(&key)?;
    match desk.call(key).await {
        Ok(call) => Ok(Json(call).into_response()),
        Err(text) => Err(Failure(StatusCode::NOT_FOUND, text)),
    }
}

async fn hangup(State(desk): State<Desk>, Path(key): Path<String>) -> Result<Response, Failure> {
    let body = Bytes::from_static(b"{\"hangup\":{}}");
    deliver(&desk, &key, body).await
}

async fn signal(
    State(desk): State<Desk>,
    Path(key): Path<String>,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Response, Failure> {
    let body = body.map_err(|error| Failure(error.status(), error.body_text()))?;
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&body) {
        return Err(bad(format!("the body is no JSON: {error}")));
    }
    deliver(&desk, &key, body).await
}

async fn deliver(desk: &Desk, key: &str, body: Bytes) -> Result<Response, Failure> {
    let key = parse_key(key)?;
    match desk.signal(key, body).await {
        Ok(()) => Ok(Json(serde_json::json!({ "key": key.to_string() })).into_response()),
        Err(text) => Err(Failure(StatusCode::CONFLICT, text)),
    }
}

fn parse_key(key: &str) -> Result<CallId, Failure> {
    key.parse().map_err(|error| bad(format!("{error}")))
}

fn nothing_left(query: &HashMap<String, String>) -> Result<(), Failure> {
    match query.keys().min() {
        None => Ok(()),
        Some(name) => Err(bad(format!("unknown parameter {}", name.escape_debug()))),
    }
}

fn bad(text: impl Into<String>) -> Failure {
    Failure(StatusCode::BAD_REQUEST, text.into())
}
