//! What an application answers with, and how that becomes a response. RFC 3261 8.2.6, 12.1.1.

use std::borrow::Cow;

use bytes::Bytes;

use super::ALLOW;
use crate::base::flow::Flow;
use crate::sip::dialog::session_timer::SessionTimer;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::write::{Refused, ResponseBuilder};

/// What an application answers a request with.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// 101 to 699.
    pub status: u16,
    /// Another reason phrase than the registered one.
    pub reason: Option<String>,
    /// Further header fields.
    pub headers: Vec<(String, String)>,
    /// Content-Type and body.
    pub body: Option<(String, Bytes)>,
}

impl Reply {
    /// A bare response.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// With a further header field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = Some((content_type.to_owned(), body.into()));
        self
    }
}

/// Writes the response to `request`; `contact` if it refreshes the target.
pub(super) fn write_reply(
    request: &Message,
    reply: &Reply,
    flow: &Flow,
    local_tag: &str,
    contact: Option<String>,
    initial: bool,
    timer: Option<&SessionTimer>,
) -> Result<Bytes, Refused> {
    let mut builder = ResponseBuilder::new(request, reply.status).to_tag(local_tag);
    builder = builder.source(flow.remote);
    if let Some(reason) = &reply.reason {
        builder = builder.reason(reason.as_str());
    }
    if let Some(contact) = contact {
        builder = builder
            .contact(Cow::Owned::<str>(contact))
            .header("Allow", ALLOW);
        if initial {
            builder = builder.with_record_route(); // RFC 3261 12.1.1
        }
    } else if *request.method() == Method::Options && reply.status < 300 {
        builder = builder
            .header("Allow", ALLOW)
            .header("Accept", "application/sdp");
    }
    if let Some(timer) = timer {
        builder = builder
            .header("Session-Expires", timer.in_response())
            .header("Supported", "timer");
        if !timer.ours {
            builder = builder.header("Require", "timer"); // RFC 4028 9
        }
    }
    for (name, value) in &reply.headers {
        builder = builder.header(name.as_str(), value.as_str());
    }
    if let Some((kind, body)) = &reply.body {
        builder = builder.body(kind.as_str(), body.as_ref());
    }
    builder.build()
}
