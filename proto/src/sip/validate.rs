//! What makes a message whole: mandatory fields, single where they must be, readable, in bounds.
//!
//! Must not know: extensions, schemes that can be routed, dialogs. RFC 3261 8.1.1, 8.2.2, 20.

use super::header::{CSeq, HeaderName, NameAddr, Via};
use super::message::{Message, StartLine};
use super::method::Method;
use super::parse::{Fault, bad};
use super::scan::{self, ListValues, Span, SyntaxError};
use super::uri::Uri;
use crate::base::limits;

type Check = fn(&mut Message) -> Result<(), Fault>;

/// The outcome: what is wrong first, and whether it can be answered all the same.
pub(super) struct Validity {
    pub(super) fault: Option<Fault>,
    pub(super) answerable: bool,
}

impl From<SyntaxError> for Fault {
    fn from(error: SyntaxError) -> Self {
        bad(error.reason)
    }
}

/// Checks `message` and notes what it found on the way: CSeq, tags, branch.
pub(super) fn validate(message: &mut Message) -> Validity {
    let checks: [Check; 6] = [single, call_id, cseq, addresses, request_line, lists];
    let vias = via(message);
    // RFC 3261 17.1.1.3: nobody waits for an answer to an ACK.
    let answerable = message.is_request()
        && message.method != Method::Ack
        && (vias.is_ok() || message.top_via().is_ok());
    // Each check runs, so that an answer to a partial request has all that could be read.
    let fault = checks
        .into_iter()
        .fold(vias.err(), |first, check| first.or(check(message).err()));
    Validity { fault, answerable }
}

fn span(message: &Message, part: &str) -> Span {
    Span::of(&message.bytes, part)
}

/// RFC 3261 20.42.
fn via(message: &mut Message) -> Result<(), Fault> {
    let mut branch = None;
    let checked = check_vias(message, &mut branch);
    message.known.branch = branch;
    checked
}

fn check_vias(message: &Message, top_branch: &mut Option<Span>) -> Result<(), Fault> {
    let mut hops = 0_usize;
    for value in message.values(HeaderName::Via) {
        let via = Via::parse(value)?;
        if hops == 0 {
            let branch = via.branch.filter(|branch| !branch.is_empty());
            *top_branch = branch.map(|branch| span(message, branch));
        }
        if !via.params.is_well_formed() {
            return Err(bad("a Via's parameters are torn"));
        }
        if via
            .branch
            .is_some_and(|branch| branch.len() > limits::SIP_TOKEN_BYTES_MAX)
        {
            return Err(bad("a branch is too long"));
        }
        hops = hops.saturating_add(1);
        if hops > limits::SIP_HOPS_MAX {
            return Err(bad("there are too many Vias"));
        }
    }
    if hops == 0 {
        Err(bad("Via is missing"))
    } else {
        Ok(())
    }
}

/// RFC 3261 7.3.1: only a list may stand on several lines.
fn single(message: &mut Message) -> Result<(), Fault> {
    let mut seen = 0_u128;
    for field in message.fields.iter().filter(|field| field.name.is_single()) {
        let bit = 1_u128
            .checked_shl(u32::from(field.name as u8))
            .unwrap_or_default();
        if seen & bit != 0 {
            return Err(bad("a header field that must be single is not"));
        }
        seen |= bit;
    }
    Ok(())
}

fn call_id(message: &mut Message) -> Result<(), Fault> {
    match message.header(HeaderName::CallId) {
        None | Some("") => Err(bad("Call-ID is missing")),
        Some(id) if id.len() > limits::SIP_TOKEN_BYTES_MAX => Err(bad("Call-ID is too long")),
        Some(id) if id.contains([' ', '\t', '\0']) => Err(bad("Call-ID is more than one word")),
        Some(_) => Ok(()),
    }
}

/// RFC 3261 8.1.1.5 and 20.16.
fn cseq(message: &mut Message) -> Result<(), Fault> {
    let cseq = CSeq::parse(
        message
            .header(HeaderName::CSeq)
            .ok_or(bad("CSeq is missing"))?,
    )?;
    message.known.cseq = cseq.number;
    if !message.is_request() {
        message.method = cseq.method;
    } else if message.method != cseq.method {
        return Err(bad("CSeq names another method"));
    }
    Ok(())
}

fn addresses(message: &mut Message) -> Result<(), Fault> {
    let missing = bad("From or To is missing");
    let from = tag(message.header(HeaderName::From).ok_or(missing)?)?;
    let from_tag = from.map(|tag| span(message, tag));
    let to = tag(message.header(HeaderName::To).ok_or(missing)?)?;
    let to_tag = to.map(|tag| span(message, tag));
    (message.known.from_tag, message.known.to_tag) = (from_tag, to_tag);
    Ok(())
}

fn tag(value: &str) -> Result<Option<&str>, Fault> {
    match NameAddr::parse(value)?.tag() {
        Some("") => Err(bad("a tag is empty")),
        Some(tag) if tag.len() > limits::SIP_TOKEN_BYTES_MAX => Err(bad("a tag is too long")),
        tag => Ok(tag),
    }
}

fn request_line(message: &mut Message) -> Result<(), Fault> {
    let StartLine::Request { uri } = message.start else {
        return Ok(());
    };
    let uri = Uri::parse(message.text(uri))?;
    // RFC 3261 19.1.1: a Request-URI has no headers.
    if uri.is_sip() && uri.has_headers() {
        return Err(bad("the Request-URI has headers"));
    }
    match message.header(HeaderName::MaxForwards).map(scan::number) {
        Some(None) => Err(bad("Max-Forwards is no number")),
        _ => Ok(()),
    }
}

/// What a request is routed by, and what a dialog would remember. A response is not dropped for
/// these: who needs one of them finds that it cannot be read.
fn lists(message: &mut Message) -> Result<(), Fault> {
    if !message.is_request() {
        return Ok(());
    }
    let (mut routes, mut recorded) = (0_usize, 0_usize);
    for field in &message.fields {
        let count = match field.name {
            HeaderName::Route => &mut routes,
            HeaderName::RecordRoute => &mut recorded,
            HeaderName::Contact => &mut 0,
            _ => continue,
        };
        for value in ListValues::new(message.text(field.value)) {
            // RFC 3261 10.2.2: a REGISTER's Contact may be a star.
            if field.name != HeaderName::Contact || value != "*" {
                NameAddr::parse(value)?;
            }
            *count = count.saturating_add(1);
            if *count > limits::SIP_HOPS_MAX {
                return Err(bad("there are too many routes or contacts"));
            }
        }
    }
    Ok(())
}
