//! The messages the phone writes: its requests, its responses, its session description.
//!
//! Must not know: timers, sockets, what a message is an answer to beyond its bytes.

use std::net::SocketAddr;

use bytes::Bytes;

use super::call::Call;
use crate::proto::base::flow::Transport;
use crate::proto::sip::{HeaderName, Message, Method, NameAddr, RequestBuilder, ResponseBuilder};

const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE";
const SDP: &str = "application/sdp";

/// A session description: one audio stream. No media is ever sent.
pub(super) fn sdp(local: SocketAddr, version: u32) -> String {
    let ip = local.ip();
    let family = if ip.is_ipv6() { "IP6" } else { "IP4" };
    format!(
        "v=0\r\no=phone 1 {version} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
         m=audio 40000 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
    )
}

fn contact(local: SocketAddr) -> String {
    format!("<sip:phone@{local}>")
}

/// A request in `call`, or the one that starts it.
pub(super) fn request(
    local: SocketAddr,
    call: &Call,
    method: &Method,
    cseq: u32,
    branch: &str,
) -> Bytes {
    let mut builder = RequestBuilder::new(method.clone(), call.target.as_str())
        .via(Transport::Udp, local.to_string(), branch)
        .from(call.local.as_str())
        .to(call.remote.as_str())
        .call_id(call.call_id.as_str())
        .cseq(cseq)
        .routes(call.routes.iter().map(String::as_str));
    match method {
        Method::Invite => {
            builder = builder
                .contact(contact(local))
                .header("Allow", ALLOW)
                .body(SDP, sdp(local, call.sdp_version).into_bytes());
        }
        Method::Update => builder = builder.contact(contact(local)),
        Method::Info => {
            builder = builder.body("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n");
        }
        _ => {}
    }
    builder
        .build()
        .expect("the phone's own parts of a message and a dialog that was read from one")
}

/// The answer to a request of the other side; with `call`, one that has a session description.
pub(super) fn response(
    local: SocketAddr,
    request: &Message,
    source: SocketAddr,
    status: u16,
    stray_tag: &str,
    offer_answer: Option<&Call>,
) -> Bytes {
    let mut builder = ResponseBuilder::new(request, status)
        .source(source)
        .to_tag(stray_tag);
    if matches!(request.method(), Method::Invite | Method::Update) && status < 300 {
        builder = builder.contact(contact(local));
    }
    if *request.method() == Method::Options {
        builder = builder.header("Allow", ALLOW).header("Accept", SDP);
    }
    if let Some(call) = offer_answer {
        builder = builder.body(SDP, sdp(local, call.sdp_version).into_bytes());
    }
    builder
        .build()
        .expect("a response repeats what was read from a message")
}

/// RFC 3261 12.1.2: the route set of the side that sent the INVITE is Record-Route, reversed.
pub(super) fn routes(response: &Message) -> Vec<String> {
    let mut routes: Vec<String> = response
        .values(HeaderName::RecordRoute)
        .map(str::to_owned)
        .collect();
    routes.reverse();
    routes
}

/// The tag of a From or To value.
pub(super) fn tag(value: &str) -> Option<String> {
    NameAddr::parse(value).ok()?.tag().map(str::to_owned)
}
