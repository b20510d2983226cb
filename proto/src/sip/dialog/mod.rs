//! A dialog: what two user agents agreed on, as plain data. RFC 3261 12.
//!
//! Whether a request fits a dialog and what its next own request looks like is decided here; sending
//! and repeating is the transactions' business, replication nobody's in this room.

pub mod offer;
pub mod origin;
pub mod session_timer;
mod target;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::header::{HeaderName, NameAddr, with_tag, without_tag};
use super::message::Message;
use super::method::Method;
use crate::base::flow::Flow;

pub use origin::{following, version};
pub use target::{next_hop, next_hop_of};

/// Which end of the dialog this is: who sent the INVITE that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Orientation {
    /// The peer did.
    Uas,
    /// We did.
    Uac,
}

/// How far a dialog has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// No 2xx yet (RFC 3261 12.1).
    Early,
    /// A 2xx was decided.
    Confirmed,
    /// Over (RFC 3261 12.3, 15).
    Ended,
}

/// Session descriptions, opaque to this room: kept because an heir must refresh with the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The last description we sent.
    pub local: Bytes,
    /// The last description the peer sent.
    pub remote: Bytes,
}

/// Where a peer's request stands in the dialog's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Newer than everything seen.
    Fresh,
    /// Not newer than what was seen: RFC 3261 12.2.2 wants 500.
    Stale,
}

/// One dialog. Peers' tags and URIs are kept byte for byte (SIP.md S2, S4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dialog {
    /// The leg's Call-ID.
    pub call_id: String,
    /// Who made it.
    pub orientation: Orientation,
    /// How far it has come.
    pub stage: Stage,
    /// Our tag: a sealed locator.
    pub local_tag: String,
    /// The peer's tag; empty for a peer of RFC 2543.
    pub remote_tag: String,
    /// Our From or To value, without its tag.
    pub local_uri: String,
    /// The peer's, without its tag.
    pub remote_uri: String,
    /// The last CSeq number we used; 0 if none.
    pub local_seq: u32,
    /// The last CSeq number the peer used.
    pub remote_seq: Option<u32>,
    /// Route values in the order that our requests carry them (RFC 3261 12.1).
    pub route_set: Vec<String>,
    /// The peer's Contact URI.
    pub remote_target: String,
    /// The INVITE came over TLS to a sips URI (RFC 3261 12.1.1).
    pub secure: bool,
    /// The way the newest request of the peer came.
    pub flow: Flow,
    /// Our Contact as we gave it last.
    pub contact: String,
    /// The peer's Allow.
    pub peer_allow: Option<String>,
    /// The peer's Supported.
    pub peer_supported: Option<String>,
    /// Offer and answer.
    pub session: Session,
}

impl Dialog {
    /// The early dialog that an INVITE asks for; `local_tag` is ours. RFC 3261 12.1.1.
    #[must_use]
    pub fn incoming(invite: &Message, local_tag: &str, flow: &Flow) -> Self {
        let value = |name| invite.header(name).unwrap_or_default();
        let text = |name| invite.header(name).map(str::to_owned);
        let flow = flow.clone();
        Self {
            call_id: invite.call_id().to_owned(),
            orientation: Orientation::Uas,
            stage: Stage::Early,
            local_tag: local_tag.to_owned(),
            remote_tag: invite.from_tag().unwrap_or_default().to_owned(),
            local_uri: without_tag(value(HeaderName::To)).into_owned(),
            remote_uri: without_tag(value(HeaderName::From)).into_owned(),
            local_seq: 0,
            remote_seq: Some(invite.cseq_number()),
            // RFC 3261 12.1.1: as received, in order.
            route_set: invite
                .values(HeaderName::RecordRoute)
                .map(str::to_owned)
                .collect(),
            remote_target: contact_uri(invite).unwrap_or_default(),
            secure: invite.request_uri().starts_with("sips:"),
            contact: contact_value(&flow),
            flow,
            peer_allow: text(HeaderName::Allow),
            peer_supported: text(HeaderName::Supported),
            session: Session {
                local: Bytes::new(),
                remote: sdp_of(invite),
            },
        }
    }

    /// What an INVITE of ours to `target` asks for; it is a dialog once a response has a tag.
    /// `local_uri` and `remote_uri` are From and To without tags, `routes` the Route values of the
    /// INVITE. RFC 3261 8.1.1, 12.1.2.
    #[must_use]
    pub fn outgoing(
        [local_uri, remote_uri, target]: [&str; 3],
        routes: &[String],
        [call_id, local_tag]: [&str; 2],
        flow: &Flow,
    ) -> Self {
        Self {
            call_id: call_id.to_owned(),
            orientation: Orientation::Uac,
            stage: Stage::Early,
            local_tag: local_tag.to_owned(),
            remote_tag: String::new(),
            local_uri: local_uri.to_owned(),
            remote_uri: remote_uri.to_owned(),
            local_seq: 0,
            remote_seq: None,
            route_set: routes.to_vec(),
            remote_target: target.to_owned(),
            secure: target.starts_with("sips:"),
            contact: contact_value(flow),
            flow: flow.clone(),
            peer_allow: None,
            peer_supported: None,
            session: Session::default(),
        }
    }

    /// A response to our INVITE makes the dialog, or makes it anew from the 2xx (RFC 3261 12.1.2,
    /// 13.2.2.4).
    pub fn establish(&mut self, response: &Message) {
        let text = |name| response.header(name).map(str::to_owned);
        response
            .to_tag()
            .unwrap_or_default()
            .clone_into(&mut self.remote_tag);
        self.route_set = response
            .values(HeaderName::RecordRoute)
            .map(str::to_owned)
            .collect();
        self.route_set.reverse();
        if let Some(target) = contact_uri(response) {
            self.remote_target = target;
        }
        self.peer_allow = text(HeaderName::Allow).or_else(|| self.peer_allow.take());
        self.peer_supported = text(HeaderName::Supported).or_else(|| self.peer_supported.take());
    }

    /// Whether there is a peer to speak to: an INVITE of ours that nobody has answered with a tag
    /// makes none yet.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.orientation == Orientation::Uas
            || self.stage != Stage::Early
            || !self.remote_tag.is_empty()
    }

    /// Whether the message's tags are this dialog's (RFC 3261 12.2.2). `to_us`: its To names us.
    #[must_use]
    pub fn matches(&self, request: &Message) -> bool {
        let (Some(to), from) = (request.to_tag(), request.from_tag().unwrap_or_default()) else {
            return false;
        };
        request.call_id() == self.call_id
            && to.eq_ignore_ascii_case(&self.local_tag)
            && from.eq_ignore_ascii_case(&self.remote_tag)
    }

    /// RFC 3261 12.2.2: the peer's requests rise; gaps are allowed.
    #[must_use]
    pub fn order(&self, request: &Message) -> Order {
        match self.remote_seq {
            Some(seen) if request.cseq_number() <= seen => Order::Stale,
            _ => Order::Fresh,
        }
    }

    /// Takes what a fresh request tells: number, flow, target, session.
    pub fn on_request(&mut self, request: &Message, flow: &Flow) {
        self.remote_seq = Some(request.cseq_number());
        self.flow = flow.clone();
        if is_target_refresh(request.method()) {
            if let Some(target) = contact_uri(request) {
                self.remote_target = target; // RFC 3261 12.2.2
            }
            if let Some(allow) = request.header(HeaderName::Allow) {
                self.peer_allow = Some(allow.to_owned());
            }
        }
        self.take_remote_session(request);
    }

    /// Takes what the 2xx to a target refresh of ours tells (RFC 3261 12.2.1.2, RFC 3311 5.2).
    pub fn on_accepted(&mut self, response: &Message) {
        if let Some(target) = contact_uri(response) {
            self.remote_target = target;
        }
        if let Some(allow) = response.header(HeaderName::Allow) {
            self.peer_allow = Some(allow.to_owned());
        }
        self.take_remote_session(response);
    }

    /// From of our requests.
    #[must_use]
    pub fn local_value(&self) -> String {
        with_tag(&self.local_uri, &self.local_tag)
    }

    /// To of our requests; a peer of RFC 2543 has no tag.
    #[must_use]
    pub fn remote_value(&self) -> String {
        if self.remote_tag.is_empty() {
            self.remote_uri.clone()
        } else {
            with_tag(&self.remote_uri, &self.remote_tag)
        }
    }

    /// Whether the Contact that the peer has is that of a listener, `advertise` as it stands.
    #[must_use]
    pub fn names(&self, transport: &str, advertise: &str) -> bool {
        self.contact == contact_of(transport, advertise)
    }

    /// An offer or answer of the peer.
    pub fn take_remote_session(&mut self, message: &Message) {
        let sdp = sdp_of(message);
        if !sdp.is_empty() {
            self.session.remote = sdp;
        }
    }

    /// The number of our next request, above `floor` (PROTOCOL.md rule 23).
    pub fn next_seq(&mut self, floor: u32) -> u32 {
        self.local_seq = self.local_seq.max(floor).saturating_add(1);
        self.local_seq
    }

    /// Our Contact for messages that leave by `flow` (SIP.md S1.1).
    pub fn set_contact(&mut self, flow: &Flow) {
        self.contact = contact_value(flow);
    }
}

/// Whether a method refreshes the session: it may bring an offer, and it renews the session's time
/// (RFC 3261 14, RFC 3311 5.1, RFC 4028 4).
#[must_use]
pub fn is_session_refresh(method: &Method) -> bool {
    matches!(method, Method::Invite | Method::Update)
}

/// Whether a method refreshes the remote target, and so names ours in Contact (RFC 3261 12.2, RFC
/// 3311 5.1, RFC 3515 2.2, RFC 6665 8.1).
#[must_use]
pub fn is_target_refresh(method: &Method) -> bool {
    let others = matches!(method, Method::Subscribe | Method::Notify | Method::Refer);
    others || is_session_refresh(method)
}

/// Whether a Content-Type is that of session descriptions.
#[must_use]
pub fn is_sdp(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/sdp")
}

/// Whether a message has a session description.
#[must_use]
pub fn has_sdp(message: &Message) -> bool {
    !message.body().is_empty() && message.content_type().is_some_and(is_sdp)
}

/// The session description in a message, if that is what its body is.
#[must_use]
pub fn sdp_of(message: &Message) -> Bytes {
    if has_sdp(message) {
        // A copy of its own: a slice would keep the whole datagram alive with the call.
        Bytes::copy_from_slice(message.body())
    } else {
        Bytes::new()
    }
}

fn contact_uri(message: &Message) -> Option<String> {
    message
        .contact()
        .map(|contact: NameAddr<'_>| contact.uri.as_str().to_owned())
}

/// The Contact of a message that leaves by `flow` (SIP.md S1.1).
#[must_use]
pub fn contact_value(flow: &Flow) -> String {
    contact_of(flow.transport.uri_name(), &flow.advertise)
}

fn contact_of(transport: &str, advertise: &str) -> String {
    format!("<sip:{advertise};transport={transport}>")
}
