//! From bytes to a message: framing of the head, index of its header fields, framing of the body.
//! One pass each, linear in the input's length whatever it holds.
//!
//! Must not know: which fields are mandatory (`validate`), who sent it. RFC 3261 7, 18.3.

use bytes::Bytes;
use memchr::memmem;
use smallvec::SmallVec;

use super::header::HeaderName;
use super::lines::{Lines, straightened};
use super::message::{FieldSpan, Known, Message, StartLine};
use super::method::Method;
use super::scan::{self, Span, SyntaxError};
use super::validate::{self, Declared};
use crate::base::limits;

/// Why a message was refused: the peer's fault; nothing changed here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status} {reason}")]
pub struct Malformed {
    /// The status to answer with.
    pub status: u16,
    /// What was wrong: text of ours, never an echo.
    pub reason: &'static str,
    /// The request, if it can be answered at all (it is no ACK and its first Via can be read);
    /// absent for responses, keep-alives and garbage: those are dropped. Good for a response only.
    pub partial: Option<Box<Message>>,
}

/// A status to answer with, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) status: u16,
    pub(super) reason: &'static str,
}

/// `reason` of a datagram that holds nothing but line ends (RFC 5626 3.5.1).
const KEEP_ALIVE: &str = "keep-alive";

pub(super) const fn bad(reason: &'static str) -> Fault {
    Fault {
        status: 400,
        reason,
    }
}

impl Malformed {
    /// Whether nothing was refused: the datagram held nothing but line ends.
    #[must_use]
    pub fn is_keep_alive(&self) -> bool {
        self.reason == KEEP_ALIVE
    }

    const fn dropped(status: u16, reason: &'static str) -> Self {
        Self {
            status,
            reason,
            partial: None,
        }
    }
}

/// How long the head of the message at the start of `bytes` is, its empty line included; none while
/// that line is not there. For streams, which cut their input before they parse it.
#[must_use]
pub fn head_len(bytes: &[u8]) -> Option<usize> {
    memmem::find(bytes, b"\r\n\r\n").map(|at| at.saturating_add(4))
}

impl Message {
    /// Reads one datagram, or one message that was cut out of a stream.
    ///
    /// # Errors
    /// If it is no message, or one that RFC 3261 lets us refuse. See [`Malformed`].
    pub fn parse(datagram: Bytes) -> Result<Self, Malformed> {
        let bytes = without_blank_lines(datagram);
        let nothing = |byte: &u8| matches!(byte, b'\r' | b'\n' | 0);
        if bytes.iter().all(nothing) {
            return Err(Malformed::dropped(400, KEEP_ALIVE));
        }
        let too_large = bytes.len() > limits::SIP_MESSAGE_BYTES_MAX;
        let scope = bytes.get(..limits::SIP_MESSAGE_BYTES_MAX).unwrap_or(&bytes);
        let found = Lines::find(scope);
        let (bytes, lines, mut fault) = match found {
            Some(lines) => (bytes, lines, None),
            None => straightened(bytes),
        };
        if too_large {
            fault = Some(Fault {
                status: 513,
                reason: "the message is too large",
            });
        }
        read(bytes, &lines, fault)
    }
}

/// RFC 3261 7.5: empty lines before the start line are ignored.
fn without_blank_lines(datagram: Bytes) -> Bytes {
    if !datagram.starts_with(b"\r\n") {
        return datagram;
    }
    let blank = datagram
        .chunks_exact(2)
        .take_while(|pair| *pair == b"\r\n")
        .count();
    let mut bytes = datagram;
    bytes.split_off(blank.saturating_mul(2).min(bytes.len()))
}

/// The Content-Length of a complete head, for streams; no number of it where it has none. Folds,
/// compact forms and case are as in [`Message::parse`].
///
/// # Errors
/// If the head has no start line of SIP, or Content-Length is no number, or there are several that
/// differ: where the next message begins can't be known then.
pub fn declared_length(head: &Bytes) -> Result<Option<usize>, SyntaxError> {
    let (head, lines) = match Lines::find(head) {
        Some(lines) => (head.clone(), lines),
        None => {
            let (head, lines, _) = straightened(head.clone());
            (head, lines)
        }
    };
    let mut copy = head.to_vec();
    replace_invalid(&mut copy, head.len());
    let text = std::str::from_utf8(&copy).unwrap_or_default();
    let (draft, _) = index(text, &lines).map_err(|bad| SyntaxError::new(bad.reason))?;
    let mut found = None;
    for field in &draft.fields {
        if field.name != HeaderName::ContentLength {
            continue;
        }
        let length = scan::number(draft.text(field.value))
            .and_then(|length| usize::try_from(length).ok())
            .ok_or(SyntaxError::new("Content-Length is no number"))?;
        if found.is_some_and(|found| found != length) {
            return Err(SyntaxError::new("there are several Content-Lengths"));
        }
        found = Some(length);
    }
    Ok(found)
}

/// Reads a head that is plain.
fn read(bytes: Bytes, lines: &Lines, fault: Option<Fault>) -> Result<Message, Malformed> {
    let head = bytes.get(..lines.head_len).unwrap_or_default();
    let Ok(text) = std::str::from_utf8(head) else {
        let mut copy = bytes.to_vec();
        replace_invalid(&mut copy, lines.head_len);
        return read(Bytes::from(copy), lines, fault);
    };
    scan::scanned(head.len());
    let (mut draft, faulty) = index(text, lines)?;
    let mut fault = fault.or(faulty);
    let valid = validate::validate(&mut draft);
    let available = bytes.len().saturating_sub(lines.head_len);
    let length = match body_length(valid.content_length, available) {
        Ok(length) => length,
        Err(torn) => {
            fault = fault.or(Some(torn));
            available
        }
    };
    let Draft {
        start,
        method,
        fields,
        known,
        ..
    } = draft;
    let mut bytes = bytes;
    bytes.truncate(lines.head_len.saturating_add(length));
    let message = Message {
        bytes,
        start,
        method,
        fields,
        body_start: lines.head_len,
        known,
    };
    match fault.or(valid.fault) {
        None => Ok(message),
        Some(fault) => Err(Malformed {
            status: fault.status,
            reason: fault.reason,
            partial: valid.answerable.then(|| Box::new(message)),
        }),
    }
}

/// What is no UTF-8 becomes `?`.
fn replace_invalid(bytes: &mut [u8], head_len: usize) {
    let head = bytes.get(..head_len).unwrap_or_default().to_vec();
    let mut at = 0_usize;
    for chunk in head.utf8_chunks() {
        at = at.saturating_add(chunk.valid().len());
        for _ in chunk.invalid() {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = b'?';
            }
            at = at.saturating_add(1);
        }
    }
}

/// A message in the making: what was found in its head.
pub(super) struct Draft<'a> {
    pub(super) head: &'a str,
    pub(super) start: StartLine,
    pub(super) method: Method,
    pub(super) fields: SmallVec<[FieldSpan; 24]>,
    pub(super) known: Known,
}

impl<'a> Draft<'a> {
    pub(super) fn text(&self, span: Span) -> &'a str {
        self.head.get(span.range()).unwrap_or_default()
    }

    pub(super) const fn is_request(&self) -> bool {
        matches!(self.start, StartLine::Request { .. })
    }
}

/// Finds the start line and every header field. What has no start line of SIP is garbage.
fn index<'a>(head: &'a str, lines: &Lines) -> Result<(Draft<'a>, Option<Fault>), Malformed> {
    let mut ends = lines.ends.iter().copied();
    let first = ends.next().map_or(head.len(), usize::from);
    let line = head.get(..first).unwrap_or_default();
    let Some((start, method, mut fault)) = start_line(head.as_bytes(), line) else {
        return Err(Malformed::dropped(400, "this is no start line of SIP"));
    };
    let mut fields = SmallVec::new();
    let mut at = u16::try_from(first).unwrap_or(u16::MAX).saturating_add(2);
    for end in ends {
        if fields.len() >= limits::SIP_HEADERS_MAX {
            fault = fault.or(Some(bad("there are too many header fields")));
            break;
        }
        if let Some(found) = usual_field(head.as_bytes(), at, end) {
            fields.push(found);
        } else {
            match field(head, usize::from(at), usize::from(end)) {
                Ok(found) => fields.push(found),
                Err(reason) => fault = fault.or(Some(bad(reason))),
            }
        }
        at = end.saturating_add(2);
    }
    let draft = Draft {
        head,
        start,
        method,
        fields,
        known: Known::default(),
    };
    Ok((draft, fault))
}

fn field(head: &str, at: usize, end: usize) -> Result<FieldSpan, &'static str> {
    const NO_COLON: &str = "a header field has no colon";
    let line = head.get(at..end).ok_or(NO_COLON)?;
    let bytes = line.as_bytes();
    let mut length = scan::TOKEN.span(bytes);
    let mut colon = length;
    if bytes.get(length) != Some(&b':') {
        // RFC 3261 25.1 HCOLON: white space may stand before the colon.
        colon = scan::find(line, b':').ok_or(NO_COLON)?;
        let name = scan::trim(line.get(..colon).unwrap_or_default());
        if !scan::is_token(name) || !line.starts_with(name) {
            return Err("a header field's name is no token");
        }
        length = name.len();
    }
    let name = bytes.get(..length).unwrap_or_default();
    if name.is_empty() {
        return Err("a header field's name is no token");
    }
    let text = line.get(colon.saturating_add(1)..).unwrap_or_default();
    let value = scan::trim(text.strip_prefix(' ').unwrap_or(text));
    if value.len() > limits::SIP_HEADER_BYTES_MAX {
        return Err("a header field is too long");
    }
    Ok(FieldSpan {
        name: HeaderName::from_bytes(name),
        name_text: Span::new(at..at.saturating_add(length)),
        value: Span::of(head.as_bytes(), value),
    })
}

/// A field of a name that this room knows, written as RFC 3261 writes it, without white space
/// before its colon or at its end: found by looking at its first bytes together.
#[inline]
fn usual_field(head: &[u8], at: u16, end: u16) -> Option<FieldSpan> {
    let window = head.get(usize::from(at)..)?.first_chunk()?;
    let (name, length) = HeaderName::written(window)?;
    scan::scanned(usize::from(length));
    let colon = at.wrapping_add(length);
    let mut start = colon.wrapping_add(1);
    let value = head.get(usize::from(start)..usize::from(end))?;
    let spaced = value.first() == Some(&b' ');
    start = start.wrapping_add(u16::from(spaced));
    let first = value.get(usize::from(spaced))?;
    let trimmed = scan::is_text(first) && scan::is_text(value.last()?);
    (trimmed && value.len() <= limits::SIP_HEADER_BYTES_MAX).then_some(FieldSpan {
        name,
        name_text: Span::between(at, colon),
        value: Span::between(start, end),
    })
}

fn start_line(head: &[u8], line: &str) -> Option<(StartLine, Method, Option<Fault>)> {
    if line
        .get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case("SIP/"))
    {
        return status_line(head, line);
    }
    let (method, rest) = scan::cut(line, b' ')?;
    let method = Method::from_bytes(method.as_bytes())?;
    let (uri, fault) = match rest.strip_suffix(" SIP/2.0") {
        Some(uri) => (uri, uri_fault(uri)),
        None => {
            let (uri, version) = rest.rsplit_once(' ').unwrap_or((rest, ""));
            (uri, version_fault(version).or(uri_fault(uri)))
        }
    };
    Some((
        StartLine::Request {
            uri: Span::of(head, uri),
        },
        method,
        fault,
    ))
}

fn version_fault(version: &str) -> Option<Fault> {
    let number = version
        .get(..4)
        .filter(|name| name.eq_ignore_ascii_case("SIP/"));
    let number = number.and_then(|_| version.get(4..));
    let Some((major, minor)) = number.and_then(|number| number.split_once('.')) else {
        return Some(bad("the request line does not end in a SIP version"));
    };
    if scan::number(major).is_none() || scan::number(minor).is_none() {
        return Some(bad("the request line does not end in a SIP version"));
    }
    // RFC 3261 21.5.6.
    if (major, minor) != ("2", "0") {
        return Some(Fault {
            status: 505,
            reason: "the version of SIP is not 2.0",
        });
    }
    None
}

/// RFC 3261 21.4.12.
fn uri_fault(uri: &str) -> Option<Fault> {
    (uri.len() > limits::SIP_URI_BYTES_MAX).then_some(Fault {
        status: 414,
        reason: "the Request-URI is too long",
    })
}

fn status_line(head: &[u8], line: &str) -> Option<(StartLine, Method, Option<Fault>)> {
    let (version, rest) = scan::cut(line, b' ')?;
    // The space after the code is mandatory, but an empty reason loses it on the way.
    let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    let code = if code.len() == 3 {
        scan::number(code)
    } else {
        None
    };
    let status = code.and_then(|code| u16::try_from(code).ok());
    let fault = if !version.eq_ignore_ascii_case("SIP/2.0") {
        Some(Fault {
            status: 505,
            reason: "the version of SIP is not 2.0",
        })
    } else if !status.is_some_and(|status| (100..700).contains(&status)) {
        Some(bad("the status code is not between 100 and 699"))
    } else {
        None
    };
    let start = StartLine::Response {
        status: status.unwrap_or_default(),
        reason: Span::of(head, reason),
    };
    // Until CSeq is read.
    Some((start, Method::Invite, fault))
}

/// RFC 3261 18.3: what lies beyond Content-Length is cut, what is shorter refused.
fn body_length(declared: Declared, available: usize) -> Result<usize, Fault> {
    match declared {
        Declared::Nothing => Ok(available),
        Declared::NoNumber => Err(bad("Content-Length is no number")),
        Declared::Bytes(length) if length > available => {
            Err(bad("the body is shorter than Content-Length"))
        }
        Declared::Bytes(length) => Ok(length),
    }
}
