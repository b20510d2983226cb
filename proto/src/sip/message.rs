//! A received message: the bytes as they came, and an index of where its header fields lie.
//! Typed views are made when they are asked for; a clone shares the bytes.
//!
//! Must not know: transactions, transports. RFC 3261 7.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

use super::header::{CSeq, HeaderName, NameAddr, Params, Via};
use super::method::Method;
use super::scan::{self, ListValues, Span, SyntaxError};
use super::uri::{Host, Uri};

/// A SIP message that was received and found whole: its mandatory fields exist and can be read.
///
/// The one exception is [`Malformed::partial`](super::Malformed::partial), which is good for an
/// answer only: there, accessors of what is missing give empty values.
///
/// In the head, line folds are white space of the same length, and bytes that are no UTF-8 are `?`.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    pub(super) bytes: Bytes,
    pub(super) start: StartLine,
    pub(super) method: Method,
    pub(super) fields: SmallVec<[FieldSpan; 24]>,
    pub(super) body_start: usize,
    pub(super) known: Known,
}

/// What the start line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StartLine {
    Request { uri: Span },
    Response { status: u16, reason: Span },
}

/// What every message is asked for, found while it was validated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) cseq: u32,
    pub(super) from_tag: Option<Span>,
    pub(super) to_tag: Option<Span>,
    pub(super) via: Option<TopVia>,
}

/// Where the parts of the first Via lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TopVia {
    pub(super) raw: Span,
    pub(super) transport: Span,
    pub(super) host: Span,
    pub(super) params: Span,
    pub(super) branch: Option<Span>,
    pub(super) received: Option<Span>,
    pub(super) maddr: Option<Span>,
    pub(super) port: Option<u16>,
    pub(super) rport: Option<Option<u16>>,
}

impl TopVia {
    /// The places in `head` of a `via` that was read from it.
    pub(super) fn of(head: &[u8], via: &Via<'_>) -> Self {
        let span = |part| Span::of(head, part);
        Self {
            raw: span(via.raw),
            transport: span(via.transport),
            host: span(via.host.as_str()),
            params: span(via.params.as_str()),
            branch: via.branch.map(span),
            received: via.received.map(span),
            maddr: via.maddr.map(span),
            port: via.port,
            rport: via.rport,
        }
    }

    /// The value again, of which `raw` is the text.
    pub(super) fn on(self, raw: &str) -> Via<'_> {
        let text = |span: Span| raw.get(span.within(self.raw)).unwrap_or_default();
        Via {
            transport: text(self.transport),
            host: Host::new(text(self.host)),
            port: self.port,
            branch: self.branch.map(text),
            received: self.received.map(text),
            rport: self.rport,
            maddr: self.maddr.map(text),
            params: Params::new(text(self.params)),
            raw,
        }
    }
}

/// Where a header field lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FieldSpan {
    pub(super) name: HeaderName,
    pub(super) name_text: Span,
    pub(super) value: Span,
}

/// One header field, for passing on what this room does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Which one it is.
    pub name: HeaderName,
    /// Its name, as received.
    pub name_text: &'a str,
    /// Its value, trimmed, unfolded.
    pub value: &'a str,
}

impl Message {
    /// Whether it is a request.
    #[must_use]
    pub const fn is_request(&self) -> bool {
        matches!(self.start, StartLine::Request { .. })
    }

    /// The request's method; of a response, the method its CSeq names.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// The Request-URI as received; empty in a response.
    #[must_use]
    pub fn request_uri(&self) -> &str {
        match self.start {
            StartLine::Request { uri } => self.text(uri),
            StartLine::Response { .. } => "",
        }
    }

    /// The Request-URI's parts.
    ///
    /// # Errors
    /// If this is a response, or a partial request with a Request-URI that is none.
    pub fn uri(&self) -> Result<Uri<'_>, SyntaxError> {
        Uri::parse(self.request_uri())
    }

    /// The status code; none in a request.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self.start {
            StartLine::Request { .. } => None,
            StartLine::Response { status, .. } => Some(status),
        }
    }

    /// The reason phrase as received; empty in a request.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self.start {
            StartLine::Request { .. } => "",
            StartLine::Response { reason, .. } => self.text(reason),
        }
    }

    /// Every header field in order, for passing them on.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> + Clone {
        self.fields.iter().map(|field| Field {
            name: field.name,
            name_text: self.text(field.name_text),
            value: self.text(field.value),
        })
    }

    /// The value of the first field called `name`, unfolded.
    #[must_use]
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers(name).next()
    }

    /// The values of all fields called `name`, one per line, in order.
    pub fn headers(&self, name: HeaderName) -> impl Iterator<Item = &str> + Clone {
        self.fields
            .iter()
            .filter(move |f| f.name == name)
            .map(|f| self.text(f.value))
    }

    /// The values of all fields called `name`, comma lists split, in order. Not for Authorization,
    /// WWW-Authenticate and their kin, nor for Date, where a comma does not separate.
    pub fn values(&self, name: HeaderName) -> impl Iterator<Item = &str> + Clone {
        self.headers(name).flat_map(ListValues::new)
    }

    /// The value of the first field with this name, known to this room or not, in any case.
    #[must_use]
    pub fn header_named(&self, name: &str) -> Option<&str> {
        let known = HeaderName::from_bytes(name.as_bytes());
        let same = |field: &Field<'_>| match known {
            HeaderName::Other => field.name_text.eq_ignore_ascii_case(name),
            known => field.name == known,
        };
        self.fields().find(same).map(|field| field.value)
    }

    /// Whether the list `name` (Require, Supported, Allow, ...) has `token`, in any case.
    #[must_use]
    pub fn lists(&self, name: HeaderName, token: &str) -> bool {
        self.values(name)
            .any(|value| value.eq_ignore_ascii_case(token))
    }

    /// The Call-ID.
    #[must_use]
    pub fn call_id(&self) -> &str {
        self.header(HeaderName::CallId).unwrap_or_default()
    }

    /// The CSeq.
    #[must_use]
    pub fn cseq(&self) -> CSeq {
        CSeq {
            number: self.known.cseq,
            method: self.method.clone(),
        }
    }

    /// The CSeq's number.
    #[must_use]
    pub const fn cseq_number(&self) -> u32 {
        self.known.cseq
    }

    /// From.
    ///
    /// # Errors
    /// Only in a partial message.
    pub fn from(&self) -> Result<NameAddr<'_>, SyntaxError> {
        NameAddr::parse(self.header(HeaderName::From).unwrap_or_default())
    }

    /// To.
    ///
    /// # Errors
    /// Only in a partial message.
    pub fn to(&self) -> Result<NameAddr<'_>, SyntaxError> {
        NameAddr::parse(self.header(HeaderName::To).unwrap_or_default())
    }

    /// From's tag; none in a message of RFC 2543.
    #[must_use]
    pub fn from_tag(&self) -> Option<&str> {
        self.known.from_tag.map(|span| self.text(span))
    }

    /// To's tag.
    #[must_use]
    pub fn to_tag(&self) -> Option<&str> {
        self.known.to_tag.map(|span| self.text(span))
    }

    /// The first Via value.
    ///
    /// # Errors
    /// Never: a message whose first Via cannot be read is neither whole nor answerable.
    pub fn top_via(&self) -> Result<Via<'_>, SyntaxError> {
        match self.known.via {
            Some(via) => Ok(via.on(self.text(via.raw))),
            None => Via::parse(self.values(HeaderName::Via).next().unwrap_or_default()),
        }
    }

    /// The first Via's branch, without reading the rest of it.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        let branch = self.known.via.and_then(|via| via.branch);
        branch
            .map(|span| self.text(span))
            .filter(|branch| !branch.is_empty())
    }

    /// Max-Forwards; more than 255 is 255.
    #[must_use]
    pub fn max_forwards(&self) -> Option<u8> {
        let hops = scan::number(self.header(HeaderName::MaxForwards)?)?;
        Some(u8::try_from(hops).unwrap_or(u8::MAX))
    }

    /// The first Contact with a URI; none if there is none or it is `*`.
    #[must_use]
    pub fn contact(&self) -> Option<NameAddr<'_>> {
        self.values(HeaderName::Contact)
            .next()
            .and_then(|value| NameAddr::parse(value).ok())
    }

    /// Expires in seconds; more than 2^32-1 is that (RFC 3261 20.19).
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        let seconds = scan::number(self.header(HeaderName::Expires)?)?;
        Some(u32::try_from(seconds).unwrap_or(u32::MAX))
    }

    /// The option tags of Require.
    pub fn require(&self) -> impl Iterator<Item = &str> + Clone {
        self.values(HeaderName::Require)
    }

    /// Content-Type, with its parameters.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.header(HeaderName::ContentType)
    }

    /// The declared Content-Length; none if there is none or it is no number.
    #[must_use]
    pub fn content_length(&self) -> Option<usize> {
        let length = scan::number(self.header(HeaderName::ContentLength)?)?;
        usize::try_from(length).ok()
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.bytes.get(self.body_start..).unwrap_or_default()
    }

    /// The body, sharing the message's bytes.
    #[must_use]
    pub fn body_bytes(&self) -> Bytes {
        let mut bytes = self.bytes.clone();
        bytes.split_off(self.body_start.min(self.bytes.len()))
    }

    /// The whole message, from its start line to the end of its body; it reads back as itself.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The value of the first field called `name`, for copying it.
    pub(super) fn raw(&self, name: HeaderName) -> Option<&[u8]> {
        self.raws(name).next()
    }

    /// The values of all fields called `name`, for copying them.
    pub(super) fn raws(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        let values = self.fields.iter().filter(move |field| field.name == name);
        values.map(|field| self.bytes.get(field.value.range()).unwrap_or_default())
    }

    #[inline]
    fn text(&self, span: Span) -> &str {
        let bytes = self.bytes.get(span.range()).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

/// As its bytes: what a record holds of a request is the request.
impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.bytes)
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
        Self::parse(Bytes::from(bytes.into_vec())).map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.start {
            StartLine::Request { .. } => {
                write!(f, "{} {:?}", self.method, self.request_uri())?;
            }
            StartLine::Response { status, .. } => write!(f, "{status}")?,
        }
        write!(f, " cseq {} {}", self.known.cseq, self.method)?;
        write!(
            f,
            " call-id {:?} body {}",
            self.call_id(),
            self.body().len()
        )
    }
}
