//! The front desk: what a request outside any dialog is answered when no call is needed for it.
//! Stateless: the same request gets the same answer, tag included (RFC 3261 8.2.7).
//!
//! RFC 3261 8.2.1 to 8.2.3 in their order: method, URI scheme, extensions, content.

use super::dialog::session_timer::{MIN_SE, is_too_small};
use super::header::HeaderName;
use super::leg::{ALLOW, EVENTS, SUPPORTED, package};
use super::message::Message;
use super::method::Method;
use super::uri::Scheme;

/// What is to be done with a request that belongs to no call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may begin a call.
    Call,
    /// Answer it so, without keeping anything.
    Answer {
        /// The status.
        status: u16,
        /// Further header fields.
        headers: Vec<(&'static str, String)>,
    },
}

impl Verdict {
    fn bare(status: u16) -> Self {
        Self::Answer {
            status,
            headers: Vec::new(),
        }
    }

    fn with(status: u16, name: &'static str, value: impl Into<String>) -> Self {
        Self::Answer {
            status,
            headers: vec![(name, value.into())],
        }
    }
}

/// Screens a request without To tag; `events`: packages that can be subscribed to outside a call.
#[must_use]
pub fn screen(request: &Message, events: &[&str]) -> Verdict {
    // RFC 3261 8.2.1.
    match request.method() {
        Method::Invite | Method::Options | Method::Subscribe => {}
        Method::Ext(_) => return Verdict::with(501, "Allow", ALLOW),
        Method::Bye | Method::Info | Method::Update | Method::Prack | Method::Notify => {
            return Verdict::bare(481);
        }
        Method::Cancel => return Verdict::bare(481),
        // RFC 3515 2.4.2: nothing is referred to outside a call.
        Method::Refer => return Verdict::bare(403),
        _ => return Verdict::with(405, "Allow", ALLOW),
    }
    // RFC 3261 8.2.2.1.
    let scheme = request.uri().map(|uri| uri.scheme);
    if !matches!(
        scheme,
        Ok(Scheme::Sip | Scheme::Sips | Scheme::Tel | Scheme::Urn)
    ) {
        return Verdict::bare(416);
    }
    // RFC 3261 8.2.2.3.
    if let Some(unknown) = unsupported(request) {
        return Verdict::with(420, "Unsupported", unknown);
    }
    // RFC 3261 8.1.1.8: without a target of its own nobody could ever be asked to hang up.
    if request.method().may_begin() && request.contact().is_none() {
        return Verdict::bare(400);
    }
    if *request.method() == Method::Subscribe {
        return screen_subscribe(request, events);
    }
    // RFC 4028 9.
    if *request.method() == Method::Invite && is_too_small(request) {
        return Verdict::with(422, "Min-SE", MIN_SE.to_string());
    }
    if *request.method() == Method::Options {
        return Verdict::Answer {
            status: 200,
            headers: vec![
                ("Allow", ALLOW.to_owned()),
                ("Accept", "application/sdp".to_owned()),
                ("Supported", SUPPORTED.join(", ")),
            ],
        };
    }
    screen_content(request)
}

/// RFC 6665 4.2.1.1 and 8.3.2: a package that nobody here knows.
fn screen_subscribe(request: &Message, events: &[&str]) -> Verdict {
    let asked = package(request.header(HeaderName::Event).unwrap_or_default());
    if events.iter().any(|one| one.eq_ignore_ascii_case(asked)) {
        return Verdict::Call;
    }
    let known: Vec<&str> = [EVENTS].iter().chain(events).copied().collect();
    Verdict::with(489, "Allow-Events", known.join(", "))
}

/// RFC 3261 8.2.2.3: the extensions that a request requires and nobody here knows.
#[must_use]
pub fn unsupported(request: &Message) -> Option<String> {
    let known = |tag: &&str| SUPPORTED.iter().any(|one| one.eq_ignore_ascii_case(tag));
    let unknown: Vec<&str> = request.require().filter(|tag| !known(tag)).collect();
    (!unknown.is_empty()).then(|| unknown.join(", "))
}

/// RFC 3261 8.2.3 and 21.4.7.
fn screen_content(invite: &Message) -> Verdict {
    let kind = invite.content_type().unwrap_or_default();
    let kind = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let optional = invite
        .header_named("Content-Disposition")
        .is_some_and(|value| value.to_ascii_lowercase().contains("handling=optional"));
    let known = matches!(kind.as_str(), "" | "application/sdp") || invite.body().is_empty();
    if !known && !optional {
        return Verdict::with(415, "Accept", "application/sdp");
    }
    let encoded = invite.header(HeaderName::ContentEncoding).map(str::trim);
    if encoded.is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Verdict::Answer {
            status: 415,
            headers: vec![
                ("Accept", "application/sdp".to_owned()),
                ("Accept-Encoding", "identity".to_owned()),
            ],
        };
    }
    let accepts = invite.header(HeaderName::Accept);
    let sdp_accepted = accepts.is_none_or(|_| {
        invite.values(HeaderName::Accept).any(|range| {
            let range = range
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_ascii_lowercase();
            matches!(range.as_str(), "application/sdp" | "application/*" | "*/*")
        })
    });
    if !sdp_accepted {
        return Verdict::bare(406);
    }
    Verdict::Call
}

/// The parts of a request that its stateless answer's tag is a function of: what its ACK repeats.
#[must_use]
pub fn stateless_parts(request: &Message) -> [String; 4] {
    let via = request.top_via().ok();
    [
        request.branch().unwrap_or_default().to_owned(),
        via.map(|via| format!("{}:{}", via.host, via.port.unwrap_or(0)))
            .unwrap_or_default(),
        request.from_tag().unwrap_or_default().to_owned(),
        request.call_id().to_owned(),
    ]
}
