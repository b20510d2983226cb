//! What an application answers with, and how that becomes a response. RFC 3261 8.2.6, 12.1.1;
//! RFC 3262 3.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{ALLOW, SUPPORTED_VALUE};
use crate::base::flow::Flow;
use crate::sip::dialog::is_sdp;
use crate::sip::dialog::session_timer::SessionTimer;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::write::{Refused, ResponseBuilder};

/// How a provisional response to INVITE is sent (RFC 3262 3). A caller that requires 100rel gets
/// every one but 100 reliably.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reliability {
    /// As it comes.
    #[default]
    Plain,
    /// Reliably, if the caller can.
    Wanted,
    /// Reliably; a caller that can't is refused with 421.
    Needed,
}

/// What an application answers a request with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// 101 to 699.
    pub status: u16,
    /// Another reason phrase than the registered one.
    pub reason: Option<String>,
    /// Further header fields.
    pub headers: Vec<(String, String)>,
    /// Content-Type and body. The version in a session description's `o=` line is kept in order by
    /// the call: one more when the description changes, and only then (RFC 3264 8).
    pub body: Option<(String, Bytes)>,
    /// Of a provisional: how it is sent.
    pub reliability: Reliability,
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

    /// Sent reliably.
    #[must_use]
    pub fn reliably(mut self, reliability: Reliability) -> Self {
        self.reliability = reliability;
        self
    }

    /// Whether it has a session description.
    #[must_use]
    pub fn is_described(&self) -> bool {
        self.body
            .as_ref()
            .is_some_and(|(kind, body)| is_sdp(kind) && !body.is_empty())
    }

    pub(super) const fn is_accepting(&self) -> bool {
        200 <= self.status && self.status < 300
    }
}

/// What a response says beside its reply.
#[derive(Clone, Debug, Default)]
pub(super) struct Setting<'a> {
    pub(super) local_tag: &'a str,
    /// Our Contact, if the response refreshes the target.
    pub(super) contact: Option<String>,
    /// It makes the dialog.
    pub(super) initial: bool,
    pub(super) timer: Option<SessionTimer>,
    /// Of a reliable provisional.
    pub(super) rseq: Option<u32>,
}

/// Writes the response to `request`.
pub(super) fn write_reply(
    request: &Message,
    reply: &Reply,
    flow: &Flow,
    setting: Setting<'_>,
) -> Result<Bytes, Refused> {
    let mut builder = ResponseBuilder::new(request, reply.status).to_tag(setting.local_tag);
    builder = builder.source(flow.remote);
    if let Some(reason) = &reply.reason {
        builder = builder.reason(reason.as_str());
    }
    if let Some(contact) = setting.contact {
        builder = builder
            .contact(Cow::Owned::<str>(contact))
            .header("Allow", ALLOW)
            .header("Supported", SUPPORTED_VALUE);
        if setting.initial {
            builder = builder.with_record_route(); // RFC 3261 12.1.1
        }
    } else if *request.method() == Method::Options && reply.status < 300 {
        builder = builder
            .header("Allow", ALLOW)
            .header("Supported", SUPPORTED_VALUE)
            .header("Accept", "application/sdp");
    }
    if let Some(timer) = setting.timer {
        builder = builder.header("Session-Expires", timer.in_response());
        if !timer.ours {
            builder = builder.header("Require", "timer"); // RFC 4028 9
        }
    }
    if let Some(rseq) = setting.rseq {
        builder = builder
            .header("Require", "100rel")
            .header("RSeq", rseq.to_string());
    }
    for (name, value) in &reply.headers {
        builder = builder.header(name.as_str(), value.as_str());
    }
    if let Some((kind, body)) = &reply.body {
        builder = builder.body(kind.as_str(), body.as_ref());
    }
    builder.build()
}
