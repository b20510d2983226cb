//! A 2xx to an INVITE of ours whose call nobody has (SIP.md S3.4): the peer believes in a dialog,
//! and is told that it is over, by ACK and BYE built from the 2xx alone. Stateless: a repeated 2xx
//! gets both again. RFC 3261 13.2.2.4, 15.1.1.

use std::net::SocketAddr;

use bytes::Bytes;

use super::dialog::next_hop_of;
use super::header::{HeaderName, NameAddr};
use super::message::Message;
use super::method::Method;
use super::write::RequestBuilder;
use crate::base::flow::Flow;

/// ACK and BYE, in the order they are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// The ACK of the 2xx.
    pub ack: Bytes,
    /// The BYE after it.
    pub bye: Bytes,
    /// Where both go if the peer named an address; otherwise where the 2xx came from.
    pub next_hop: Option<SocketAddr>,
}

/// What ends the dialog that `response` has made; none if it is no 2xx to an INVITE, or can't be
/// answered. Both leave by `flow`; each has its own branch.
#[must_use]
pub fn farewell(response: &Message, flow: &Flow, branches: [&str; 2]) -> Option<Farewell> {
    let success = response
        .status()
        .is_some_and(|status| (200..300).contains(&status));
    if !success || response.cseq().method != Method::Invite {
        return None;
    }
    let contact = response.values(HeaderName::Contact).next()?;
    let contact = NameAddr::parse(contact).ok()?;
    // RFC 3261 12.1.2: the route set of a UAC is Record-Route in reverse order.
    let mut routes: Vec<String> = response
        .values(HeaderName::RecordRoute)
        .map(str::to_owned)
        .collect();
    routes.reverse();
    let hop = next_hop_of(contact.uri.as_str(), &routes);
    let number = response.cseq_number();
    let [ack, bye] = branches;
    let write = |method: Method, branch: &str, cseq: u32| {
        RequestBuilder::new(method, hop.uri.as_str())
            .via(flow.transport, flow.advertise.as_ref(), branch)
            .from(response.header(HeaderName::From).unwrap_or_default())
            .to(response.header(HeaderName::To).unwrap_or_default())
            .call_id(response.call_id())
            .cseq(cseq)
            .routes(hop.routes.iter().map(String::as_str))
            .build()
            .ok()
    };
    Some(Farewell {
        ack: write(Method::Ack, ack, number)?,
        bye: write(Method::Bye, bye, number.checked_add(1)?)?,
        next_hop: hop.address,
    })
}
