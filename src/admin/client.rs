//! The HTTP client of the admin interface, for the command line, tests and tools. Plain HTTP/1.1,
//! one connection per request; blocking, with the asynchronous form beside it.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::api::Refusal;

/// A node asks its members for a second, its shards for two; more is no answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer taken.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why a request brought nothing. One line, for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The URL is none of an admin interface.
    #[error("\"{0}\" is no admin URL; it looks like http://127.0.0.1:8060")]
    Url(String),
    /// Nobody answered.
    #[error("no answer from {url}: {reason}; is the node running, is --admin right?")]
    NoAnswer {
        /// Where nobody answered.
        url: String,
        /// What happened instead.
        reason: String,
    },
    /// The node refused or failed.
    #[error("{text}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Why.
        text: String,
    },
}

/// A client of one node.
#[derive(Clone, Debug)]
pub struct Client {
    authority: String,
}

impl Client {
    /// A client of the node whose admin interface is at `url`.
    ///
    /// # Errors
    /// If the URL is not `http://HOST:PORT`.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        let bad = || ClientError::Url(url.escape_debug().to_string());
        let parsed: Uri = url.parse().map_err(|_| bad())?;
        let plain = parsed.scheme_str() == Some("http") && matches!(parsed.path(), "/" | "");
        match parsed.authority() {
            Some(authority) if plain && parsed.query().is_none() => Ok(Self {
                authority: match authority.port() {
                    Some(_) => authority.to_string(),
                    None => format!("{authority}:80"),
                },
            }),
            _ => Err(bad()),
        }
    }

    /// Asks. Blocks; not for use on an asynchronous runtime.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.decode(self.block(Method::GET, path, Bytes::new())?)
    }

    /// Tells. Blocks; not for use on an asynchronous runtime.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn post<T: DeserializeOwned>(&self, path: &str, json: Bytes) -> Result<T, ClientError> {
        self.decode(self.block(Method::POST, path, json)?)
    }

    /// Asks, on an asynchronous runtime.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get_async<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.decode(self.request(Method::GET, path, Bytes::new()).await?)
    }

    /// Tells, on an asynchronous runtime.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn post_async<T: DeserializeOwned>(
        &self,
        path: &str,
        json: Bytes,
    ) -> Result<T, ClientError> {
        self.decode(self.request(Method::POST, path, json).await?)
    }

    fn block(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| self.no_answer(error.to_string()))?;
        runtime.block_on(self.request(method, path, body))
    }

    async fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        match timeout(TIMEOUT, self.exchange(method, path, body)).await {
            Ok(result) => result,
            Err(_) => Err(self.no_answer(format!("nothing within {} s", TIMEOUT.as_secs()))),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes, ClientError> {
        let failed = |error: &dyn std::fmt::Display| self.no_answer(error.to_string());
        let stream = TcpStream::connect(&self.authority)
            .await
            .map_err(|error| failed(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| failed(&error))?;
        let asked = async {
            let response = sender
                .send_request(request)
                .await
                .map_err(|error| failed(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await;
            let body = body.map_err(|error| failed(&error))?;
            Ok((status, body.to_bytes()))
        };
        // The connection moves bytes while the answer is waited for, and ends with it.
        tokio::pin!(asked, connection);
        let (status, body) = tokio::select! {
            answer = &mut asked => answer?,
            _ = &mut connection => asked.await?,
        };
        if status.is_success() {
            return Ok(body);
        }
        Err(refused(status, &body))
    }

    fn decode<T: DeserializeOwned>(&self, body: Bytes) -> Result<T, ClientError> {
        serde_json::from_slice(&body)
            .map_err(|error| self.no_answer(format!("not what a callring node says ({error})")))
    }

    fn no_answer(&self, reason: String) -> ClientError {
        ClientError::NoAnswer {
            url: format!("http://{}", self.authority),
            reason,
        }
    }
}

fn refused(status: StatusCode, body: &[u8]) -> ClientError {
    let text = match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.error,
        Err(_) => format!("the node answered {status}"),
    };
    ClientError::Refused {
        status: status.as_u16(),
        text,
    }
}

/// A path's parameter or query value, with everything escaped that is not plainly harmless.
#[must_use]
pub(crate) fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
        escaped
    })
}

impl Client {
    /// `path?name=value&..` of those parameters that have a value.
    #[must_use]
    pub fn path(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
        let mut full = path.to_owned();
        for (name, value) in parameters {
            if let Some(value) = value {
                full.push(if full.contains('?') { '&' } else { '?' });
                full.push_str(name);
                full.push('=');
                full.push_str(&escape(value));
            }
        }
        full
    }
}
