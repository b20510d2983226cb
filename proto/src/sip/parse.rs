//! From bytes to a message: framing of the head, index of its header fields, framing of the body.
//! One pass each, linear in the input's length whatever it holds.
//!
//! Must not know: which fields are mandatory (`validate`), who sent it. RFC 3261 7, 18.3.

use bytes::Bytes;
use memchr::{memchr, memchr3_iter, memmem};
use smallvec::SmallVec;

use super::header::HeaderName;
use super::message::{FieldSpan, Known, Message, StartLine};
use super::method::Method;
use super::scan::{self, Span};
use super::validate;
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
        // RFC 3261 7.5: empty lines before the start line are ignored.
        let blank = datagram
            .chunks_exact(2)
            .take_while(|pair| *pair == b"\r\n")
            .count();
        let mut bytes = datagram;
        let skipped = blank.saturating_mul(2).min(bytes.len());
        let bytes = bytes.split_off(skipped);
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Err(Malformed::dropped(400, KEEP_ALIVE));
        }
        let head_scope = bytes.get(..limits::SIP_MESSAGE_BYTES_MAX).unwrap_or(&bytes);
        let (head_len, mut fault) = match head_len(head_scope) {
            Some(len) => (len, None),
            None => (head_scope.len(), Some(bad("the head does not end"))),
        };
        if bytes.len() > limits::SIP_MESSAGE_BYTES_MAX {
            fault = Some(Fault {
                status: 513,
                reason: "the message is too large",
            });
        }
        let (bytes, control) = normalise(bytes, head_len);
        fault = fault.or(control);
        let (mut message, start_fault) = index(bytes, head_len)?;
        fault = fault.or(start_fault);
        fault = fault.or(frame_body(&mut message));
        let valid = validate::validate(&mut message);
        match fault.or(valid.fault) {
            None => Ok(message),
            Some(fault) => Err(Malformed {
                status: fault.status,
                reason: fault.reason,
                partial: valid.answerable.then(|| Box::new(message)),
            }),
        }
    }
}

/// Makes every line of the head one run of UTF-8 without line ends, without moving anything: folds
/// become spaces, stray control characters spaces (and a fault), what is no UTF-8 `?`.
fn normalise(bytes: Bytes, head_len: usize) -> (Bytes, Option<Fault>) {
    let head = bytes.get(..head_len).unwrap_or_default();
    let mut fault = None;
    let mut blanks: SmallVec<[usize; 8]> = SmallVec::new();
    for at in memchr3_iter(b'\r', b'\n', 0, head) {
        let byte_at = |index: Option<usize>| index.and_then(|index| head.get(index)).copied();
        let (before, after) = (byte_at(at.checked_sub(1)), byte_at(at.checked_add(1)));
        let paired = match byte_at(Some(at)) {
            Some(b'\r') => after == Some(b'\n'),
            Some(b'\n') => before == Some(b'\r'),
            // RFC 3261 25.1: a NUL is allowed as a quoted pair, and nowhere else.
            _ => before == Some(b'\\'),
        };
        if !paired {
            fault = Some(bad("a control character stands outside a quoted pair"));
            blanks.push(at);
        } else if before == Some(b'\r') && matches!(after, Some(b' ' | b'\t')) {
            // RFC 3261 7.3.1: a line that begins with white space continues the one before.
            blanks.extend([at.saturating_sub(1), at]);
        }
    }
    let is_text = std::str::from_utf8(head).is_ok();
    if blanks.is_empty() && is_text {
        return (bytes, fault);
    }
    let mut copy = bytes.to_vec();
    for at in blanks {
        if let Some(byte) = copy.get_mut(at) {
            *byte = b' ';
        }
    }
    if !is_text {
        replace_invalid(&mut copy, head_len);
    }
    (Bytes::from(copy), fault)
}

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

/// Finds the start line and every header field. What has no start line of SIP is garbage.
fn index(bytes: Bytes, head_len: usize) -> Result<(Message, Option<Fault>), Malformed> {
    let head = bytes.get(..head_len).unwrap_or_default();
    let first = line_end(head, 0);
    let line = head
        .get(..first)
        .and_then(|line| std::str::from_utf8(line).ok());
    let Some((start, method, mut fault)) = line.and_then(|line| start_line(head, line)) else {
        return Err(Malformed::dropped(400, "this is no start line of SIP"));
    };
    let mut fields = SmallVec::new();
    let mut at = first.saturating_add(2);
    while at < head.len() {
        let end = line_end(head, at);
        if end == at {
            break;
        }
        if fields.len() >= limits::SIP_HEADERS_MAX {
            fault = fault.or(Some(bad("there are too many header fields")));
            break;
        }
        match field(head, at, end) {
            Ok(found) => fields.push(found),
            Err(reason) => fault = fault.or(Some(bad(reason))),
        }
        at = end.saturating_add(2);
    }
    let message = Message {
        bytes,
        start,
        method,
        fields,
        body_start: head_len,
        known: Known::default(),
    };
    Ok((message, fault))
}

/// Where the line that begins at `from` ends: at its CR, or with the head. A CR is always half of a
/// line end here.
fn line_end(head: &[u8], from: usize) -> usize {
    let rest = head.get(from..).unwrap_or_default();
    memchr(b'\r', rest).map_or(head.len(), |at| from.saturating_add(at))
}

fn field(head: &[u8], at: usize, end: usize) -> Result<FieldSpan, &'static str> {
    let line = head
        .get(at..end)
        .and_then(|line| std::str::from_utf8(line).ok());
    let (name, value) = line
        .and_then(|line| scan::cut(line, b':'))
        .ok_or("a header field has no colon")?;
    // RFC 3261 25.1 HCOLON: white space may stand before the colon.
    let name = scan::trim(name);
    if !scan::is_token(name) {
        return Err("a header field's name is no token");
    }
    let value = scan::trim(value);
    if value.len() > limits::SIP_HEADER_BYTES_MAX {
        return Err("a header field is too long");
    }
    Ok(FieldSpan {
        name: HeaderName::from_bytes(name.as_bytes()),
        name_text: Span::of(head, name),
        value: Span::of(head, value),
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
    let (uri, version) = rest.rsplit_once(' ').unwrap_or((rest, ""));
    let fault = request_line_fault(uri, version);
    Some((
        StartLine::Request {
            uri: Span::of(head, uri),
        },
        method,
        fault,
    ))
}

fn request_line_fault(uri: &str, version: &str) -> Option<Fault> {
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
    // RFC 3261 21.4.12.
    if uri.len() > limits::SIP_URI_BYTES_MAX {
        return Some(Fault {
            status: 414,
            reason: "the Request-URI is too long",
        });
    }
    None
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

/// RFC 3261 18.3: cuts what lies beyond Content-Length, refuses what is shorter.
fn frame_body(message: &mut Message) -> Option<Fault> {
    let available = message.bytes.len().saturating_sub(message.body_start);
    let length = message.header(HeaderName::ContentLength)?;
    let length = scan::number(length).map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    match length {
        None => Some(bad("Content-Length is no number")),
        Some(length) if length > available => Some(bad("the body is shorter than Content-Length")),
        Some(length) => {
            message
                .bytes
                .truncate(message.body_start.saturating_add(length));
            None
        }
    }
}
