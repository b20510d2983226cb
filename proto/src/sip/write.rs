//! Writing: messages are built once, into one block of their exact size, and nothing that could
//! end a line early gets into them.
//!
//! Must not know: transactions, sockets. RFC 3261 7, 8.1.1, 8.2.6, 18.2; RFC 3581.

mod request;
mod response;

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::net::SocketAddr;

use bytes::Bytes;
use smallvec::SmallVec;

use super::header::{HeaderName, Via};
use super::scan;
use crate::base::limits;

pub use request::{RequestBuilder, ack_of, cancel_of};
pub use response::ResponseBuilder;

/// Why a message was not written: the fault of whoever asked for it. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A value has a CR, LF or NUL.
    #[error("a value for {0} has a line break or NUL")]
    LineBreak(&'static str),
    /// A header field's name or a method is no token.
    #[error("{0} is no token")]
    NotAToken(&'static str),
    /// The Request-URI is no URI.
    #[error("the Request-URI is no URI")]
    NotAUri,
    /// A field that the builder writes by itself was given as an extra one.
    #[error("{0} is written by the builder")]
    Owned(&'static str),
    /// A mandatory field was not given.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The status code is not between 100 and 699.
    #[error("a status code is between 100 and 699")]
    BadStatus,
    /// The message would be larger than any that may be sent.
    #[error(
        "the message would be larger than {} bytes",
        limits::SIP_MESSAGE_BYTES_MAX
    )]
    TooLarge,
}

/// Where the response to a request with this top Via goes, over an unreliable transport or a new
/// connection. RFC 3261 18.2.2 and RFC 3581 4. A peer's `maddr` is not obeyed: it would let
/// anybody aim our responses at a third party.
#[must_use]
pub fn response_target(top_via: &Via<'_>, source: SocketAddr) -> SocketAddr {
    match top_via.rport {
        Some(_) => source,
        None => SocketAddr::new(source.ip(), top_via.sent_by_port()),
    }
}

/// Fields beyond those every message has, and the body.
#[derive(Clone, Debug, Default)]
struct Extra<'a> {
    fields: SmallVec<[(Cow<'a, str>, Cow<'a, str>); 8]>,
    content_type: Option<Cow<'a, str>>,
    body: Cow<'a, [u8]>,
}

impl<'a> Extra<'a> {
    fn push(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        self.fields.push((name.into(), value.into()));
    }

    fn check(&self) -> Result<(), Refused> {
        for (name, value) in &self.fields {
            if !scan::is_token(name) {
                return Err(Refused::NotAToken("a header field's name"));
            }
            match HeaderName::from_bytes(name.as_bytes()) {
                owned @ (HeaderName::ContentLength
                | HeaderName::CSeq
                | HeaderName::CallId
                | HeaderName::From
                | HeaderName::To) => return Err(Refused::Owned(owned.as_str())),
                _ => check_value("a header field", value)?,
            }
        }
        check_value(
            "Content-Type",
            self.content_type.as_deref().unwrap_or_default(),
        )
    }

    fn write(&self, out: &mut dyn Write) -> fmt::Result {
        for (name, value) in &self.fields {
            line(out, name, value)?;
        }
        if let Some(content_type) = &self.content_type {
            line(out, "Content-Type", content_type)?;
        }
        write!(out, "Content-Length: {}\r\n\r\n", self.body.len())
    }
}

fn check_value(what: &'static str, value: &str) -> Result<(), Refused> {
    if memchr::memchr3(b'\r', b'\n', 0, value.as_bytes()).is_some() {
        return Err(Refused::LineBreak(what));
    }
    Ok(())
}

fn line(out: &mut dyn Write, name: &str, value: &str) -> fmt::Result {
    out.write_str(name)?;
    out.write_str(": ")?;
    out.write_str(value)?;
    out.write_str("\r\n")
}

/// Writes twice: once to learn the size, once into a block of that size. So the result is one
/// allocation, shared without another.
fn render(head: impl Fn(&mut dyn Write) -> fmt::Result, body: &[u8]) -> Result<Bytes, Refused> {
    let mut size = Size(body.len());
    let counted = head(&mut size);
    if counted.is_err() || size.0 > limits::SIP_MESSAGE_BYTES_MAX {
        return Err(Refused::TooLarge);
    }
    let mut text = String::with_capacity(size.0);
    if head(&mut text).is_err() {
        return Err(Refused::TooLarge);
    }
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    Ok(Bytes::from(bytes))
}

struct Size(usize);

impl Write for Size {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.saturating_add(text.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
