//! Writing: messages are built once, into one block of their exact size, and nothing that could
//! end a line early gets into them.
//!
//! Must not know: transactions, sockets. RFC 3261 7, 8.1.1, 8.2.6, 18.2; RFC 3581.

mod request;
mod response;

use std::borrow::Cow;
use std::net::SocketAddr;

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
            match HeaderName::from_bytes(name.as_bytes()) {
                owned @ (HeaderName::ContentLength
                | HeaderName::CSeq
                | HeaderName::CallId
                | HeaderName::From
                | HeaderName::To) => return Err(Refused::Owned(owned.as_str())),
                HeaderName::Other if !scan::is_token(name) => {
                    return Err(Refused::NotAToken("a header field's name"));
                }
                _ => check_value("a header field", value)?,
            }
        }
        check_value(
            "Content-Type",
            self.content_type.as_deref().unwrap_or_default(),
        )
    }

    fn write(&self, out: &mut impl Sink) {
        for (name, value) in &self.fields {
            line(out, name, value);
        }
        if let Some(content_type) = &self.content_type {
            line(out, "Content-Type", content_type);
        }
        out.put("Content-Length: ");
        out.number(self.body.len());
        out.put("\r\n\r\n");
    }
}

/// What a head is written into: a count first, then a block of that size.
trait Sink {
    fn bytes(&mut self, bytes: &[u8]);

    #[inline]
    fn put(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// A decimal number.
    fn number(&mut self, number: usize) {
        let mut digits = [b'0'; 20];
        let mut rest = number;
        let mut used = 0_usize;
        for digit in digits.iter_mut().rev() {
            *digit = b'0'.saturating_add(u8::try_from(rest % 10).unwrap_or_default());
            rest /= 10;
            used = used.saturating_add(1);
            if rest == 0 {
                break;
            }
        }
        let from = digits.len().saturating_sub(used);
        self.bytes(digits.get(from..).unwrap_or_default());
    }
}

fn check_value(what: &'static str, value: &str) -> Result<(), Refused> {
    if memchr::memchr3(b'\r', b'\n', 0, value.as_bytes()).is_some() {
        return Err(Refused::LineBreak(what));
    }
    Ok(())
}

fn line(out: &mut impl Sink, name: &str, value: &str) {
    copied(out, name, value.as_bytes());
}

/// A field whose value was received.
fn copied(out: &mut impl Sink, name: &str, value: &[u8]) {
    out.put(name);
    out.put(": ");
    out.bytes(value);
    out.put("\r\n");
}

/// Writes `$head` twice: once to learn the size, once into a block of that size. So the result is
/// one allocation, shared without another.
macro_rules! render {
    ($out:ident => $head:expr, $body:expr) => {{
        let mut size = $crate::sip::write::Size($body.len());
        {
            let $out = &mut size;
            $head;
        }
        if size.0 > $crate::base::limits::SIP_MESSAGE_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        let mut bytes = Vec::with_capacity(size.0);
        {
            let $out = &mut bytes;
            $head;
        }
        bytes.extend_from_slice($body);
        Ok(Bytes::from(bytes))
    }};
}
use render;

struct Size(usize);

impl Sink for Size {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.0 = self.0.saturating_add(bytes.len());
    }
}

impl Sink for Vec<u8> {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests;
