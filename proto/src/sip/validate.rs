//! What makes a message whole: mandatory fields, single where they must be, readable, in bounds.
//! One look at each field, in order.
//!
//! Must not know: extensions, schemes that can be routed, dialogs. RFC 3261 8.1.1, 8.2.2, 20.

use super::header::{CSeq, HeaderName, NameAddr, Via};
use super::message::{FieldSpan, StartLine, TopVia};
use super::method::Method;
use super::parse::{Draft, Fault, bad};
use super::scan::{self, ListValues, Span, SyntaxError};
use super::uri::Uri;
use super::usual::Usual;
use crate::base::limits;

/// The outcome: what is wrong first, and whether it can be answered all the same.
pub(super) struct Validity {
    pub(super) fault: Option<Fault>,
    pub(super) answerable: bool,
    pub(super) content_length: Declared,
}

/// What Content-Length says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Declared {
    Nothing,
    NoNumber,
    Bytes(usize),
}

impl From<SyntaxError> for Fault {
    fn from(error: SyntaxError) -> Self {
        bad(error.reason)
    }
}

/// What was seen of the fields that a message has to have or may have too many of.
struct Seen {
    single: u128,
    hops: usize,
    routes: usize,
    recorded: usize,
    contacts: usize,
    top_via: bool,
    content_length: Declared,
}

/// Checks `draft` and notes what it found on the way: CSeq, tags, branch. Every field is looked at
/// even behind a fault, so that an answer to a partial request has all that could be read.
pub(super) fn validate(draft: &mut Draft<'_>) -> Validity {
    let mut seen = Seen {
        single: 0,
        hops: 0,
        routes: 0,
        recorded: 0,
        contacts: 0,
        top_via: false,
        content_length: Declared::Nothing,
    };
    let mut fault = None;
    for index in 0..draft.fields.len() {
        let Some(field) = draft.fields.get(index).copied() else {
            break;
        };
        if LOOKED_AT & bit(field.name) == 0 {
            continue;
        }
        if let Err(found) = one(draft, field, &mut seen) {
            fault = fault.or(Some(found));
        }
    }
    fault = fault.or(missing(&seen)).or(request_uri(draft).err());
    Validity {
        fault,
        // RFC 3261 17.1.1.3: nobody waits for an answer to an ACK.
        answerable: draft.is_request() && draft.method != Method::Ack && seen.top_via,
        content_length: seen.content_length,
    }
}

/// The fields that [`one`] has something to say about.
const LOOKED_AT: u128 = {
    let (mut set, mut rest) = (0, HeaderName::KNOWN);
    while let Some((name, more)) = rest.split_first() {
        use HeaderName::{Contact, RecordRoute, Route, Via};
        if name.is_single() || matches!(name, Via | Route | RecordRoute | Contact) {
            set |= bit(*name);
        }
        rest = more;
    }
    set
};

const fn bit(name: HeaderName) -> u128 {
    1 << (name as u8)
}

/// RFC 3261 8.1.1.
fn missing(seen: &Seen) -> Option<Fault> {
    let has = |name| seen.single & bit(name) != 0;
    if seen.hops == 0 {
        Some(bad("Via is missing"))
    } else if !has(HeaderName::CallId) {
        Some(bad("Call-ID is missing"))
    } else if !has(HeaderName::CSeq) {
        Some(bad("CSeq is missing"))
    } else if !has(HeaderName::From) || !has(HeaderName::To) {
        Some(bad("From or To is missing"))
    } else {
        None
    }
}

fn one(draft: &mut Draft<'_>, field: FieldSpan, seen: &mut Seen) -> Result<(), Fault> {
    if field.name.is_single() {
        // RFC 3261 7.3.1: only a list may stand on several lines.
        if seen.single & bit(field.name) != 0 {
            return Err(bad("a header field that must be single is not"));
        }
        seen.single |= bit(field.name);
    }
    let value = draft.text(field.value);
    match field.name {
        HeaderName::Via => vias(draft, field.value, seen),
        HeaderName::CallId => call_id(value),
        HeaderName::CSeq => cseq(draft, field.value),
        HeaderName::From => {
            draft.known.from_tag = tag(draft, field.value)?;
            Ok(())
        }
        HeaderName::To => {
            draft.known.to_tag = tag(draft, field.value)?;
            Ok(())
        }
        HeaderName::ContentLength => {
            let length = scan::number(value);
            seen.content_length = length.map_or(Declared::NoNumber, |length| {
                Declared::Bytes(usize::try_from(length).unwrap_or(usize::MAX))
            });
            Ok(())
        }
        // What a request is routed by, and what a dialog would remember. A response is not dropped
        // for these: who needs one of them finds that it cannot be read.
        _ if !draft.is_request() => Ok(()),
        HeaderName::MaxForwards => scan::number(value)
            .map(|_| ())
            .ok_or(bad("Max-Forwards is no number")),
        HeaderName::Route => addresses(draft, field.value, &mut seen.routes, false),
        HeaderName::RecordRoute => addresses(draft, field.value, &mut seen.recorded, false),
        // RFC 3261 10.2.2: a REGISTER's Contact may be a star.
        HeaderName::Contact => addresses(draft, field.value, &mut seen.contacts, true),
        _ => Ok(()),
    }
}

fn usual<'a>(draft: &Draft<'a>, value: Span) -> Usual<'a> {
    Usual::new(draft.head.as_bytes(), value)
}

fn span(draft: &Draft<'_>, part: &str) -> Span {
    Span::of(draft.head.as_bytes(), part)
}

/// RFC 3261 20.42.
fn vias(draft: &mut Draft<'_>, value: Span, seen: &mut Seen) -> Result<(), Fault> {
    if seen.hops == 0
        && let Some(via) = usual(draft, value).via()
        && via
            .branch
            .is_none_or(|branch| branch.len() <= limits::SIP_TOKEN_BYTES_MAX)
    {
        (seen.hops, seen.top_via) = (1, true);
        draft.known.via = Some(via);
        return Ok(());
    }
    for value in ListValues::new(draft.text(value)) {
        let first = seen.hops == 0;
        seen.hops = seen.hops.saturating_add(1);
        let (via, well_formed) = Via::read(value)?;
        if first {
            seen.top_via = true;
            draft.known.via = Some(TopVia::of(draft.head.as_bytes(), &via));
        }
        if !well_formed {
            return Err(bad("a Via's parameters are torn"));
        }
        if via
            .branch
            .is_some_and(|branch| branch.len() > limits::SIP_TOKEN_BYTES_MAX)
        {
            return Err(bad("a branch is too long"));
        }
        if seen.hops > limits::SIP_HOPS_MAX {
            return Err(bad("there are too many Vias"));
        }
    }
    Ok(())
}

fn call_id(value: &str) -> Result<(), Fault> {
    if value.is_empty() {
        return Err(bad("Call-ID is missing"));
    }
    if value.len() > limits::SIP_TOKEN_BYTES_MAX {
        return Err(bad("Call-ID is too long"));
    }
    scan::scanned(value.len());
    if memchr::memchr3(b' ', b'\t', 0, value.as_bytes()).is_some() {
        return Err(bad("Call-ID is more than one word"));
    }
    Ok(())
}

/// RFC 3261 8.1.1.5 and 20.16.
fn cseq(draft: &mut Draft<'_>, value: Span) -> Result<(), Fault> {
    if let Some((number, method)) = usual(draft, value).cseq() {
        let invites = !draft.is_request() && method == b"INVITE";
        if invites || draft.is_request() && method == draft.method.as_str().as_bytes() {
            draft.known.cseq = number;
            return Ok(());
        }
    }
    let cseq = CSeq::parse(draft.text(value))?;
    draft.known.cseq = cseq.number;
    if !draft.is_request() {
        draft.method = cseq.method;
    } else if draft.method != cseq.method {
        return Err(bad("CSeq names another method"));
    }
    Ok(())
}

fn tag(draft: &Draft<'_>, value: Span) -> Result<Option<Span>, Fault> {
    let mut usual = usual(draft, value);
    if let Some(tag) = usual.address().filter(|_| usual.is_done())
        && tag.is_none_or(|tag| tag.len() <= limits::SIP_TOKEN_BYTES_MAX)
    {
        return Ok(tag);
    }
    match NameAddr::read(draft.text(value))?.1 {
        Some("") => Err(bad("a tag is empty")),
        Some(tag) if tag.len() > limits::SIP_TOKEN_BYTES_MAX => Err(bad("a tag is too long")),
        tag => Ok(tag.map(|tag| span(draft, tag))),
    }
}

fn request_uri(draft: &Draft<'_>) -> Result<(), Fault> {
    let StartLine::Request { uri } = draft.start else {
        return Ok(());
    };
    let mut usual = usual(draft, uri);
    if usual.uri().is_some() && usual.is_done() {
        return Ok(());
    }
    let uri = Uri::parse(draft.text(uri))?;
    // RFC 3261 19.1.1: a Request-URI has no headers.
    if uri.is_sip() && uri.has_headers() {
        return Err(bad("the Request-URI has headers"));
    }
    Ok(())
}

fn addresses(draft: &Draft<'_>, value: Span, count: &mut usize, star: bool) -> Result<(), Fault> {
    let mut usual = usual(draft, value);
    if *count < limits::SIP_HOPS_MAX && usual.address().is_some() && usual.is_done() {
        *count = count.saturating_add(1);
        return Ok(());
    }
    for value in ListValues::new(draft.text(value)) {
        if !star || value != "*" {
            NameAddr::parse(value)?;
        }
        *count = count.saturating_add(1);
        if *count > limits::SIP_HOPS_MAX {
            return Err(bad("there are too many routes or contacts"));
        }
    }
    Ok(())
}
