//! Requests of our own inside the call's dialog, and the answers to them. RFC 3261 12.2.1, 15.1.1.

use bytes::Bytes;

use super::client::{ClientTx, Purpose};
use super::{ALLOW, Answer, CallError, Leg, SUPPORTED_VALUE, ServerTx};
use crate::base::flow::Flow;
use crate::sip::dialog::offer::Open;
use crate::sip::dialog::{Orientation, Stage};
use crate::sip::dialog::{is_sdp, is_session_refresh, is_target_refresh, next_hop};
use crate::sip::effect::{Cause, Class, Effect, Event, Outgoing, OwnRequestId, RequestId, What};
use crate::sip::header::HeaderName;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::write::RequestBuilder;

/// What a request of ours needs from outside the call.
#[derive(Clone, Debug)]
pub struct Egress {
    /// The listener it leaves by; its remote address is the fallback if the next hop is a name.
    pub flow: Flow,
    /// Its branch: a sealed locator.
    pub branch: Box<str>,
    /// The branch of an INVITE's ACK, if it is one.
    pub ack_branch: Option<Box<str>>,
    /// Own CSeq numbers start above this (PROTOCOL.md rule 23).
    pub cseq_floor: u32,
}

/// A request of a dead owner's that is to be sent again, with a number of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Again {
    method: Method,
    headers: Vec<(String, String)>,
    body: Option<(String, Bytes)>,
    purpose: Purpose,
    mark: u32,
}

impl Again {
    pub(super) fn of(client: &ClientTx) -> Option<Self> {
        let request = Message::parse(client.request.clone()).ok()?;
        // What `write_request` writes by itself.
        let own = |name: HeaderName| {
            matches!(
                name,
                HeaderName::Via
                    | HeaderName::MaxForwards
                    | HeaderName::Route
                    | HeaderName::From
                    | HeaderName::To
                    | HeaderName::CallId
                    | HeaderName::CSeq
                    | HeaderName::Contact
                    | HeaderName::Allow
                    | HeaderName::Supported
                    | HeaderName::ContentType
                    | HeaderName::ContentLength
            )
        };
        let fields = request.fields().filter(|field| !own(field.name));
        let kind = request.content_type().map(str::to_owned);
        Some(Self {
            method: client.method.clone(),
            headers: fields
                .map(|field| (field.name_text.to_owned(), field.value.to_owned()))
                .collect(),
            body: kind.map(|kind| (kind, Bytes::copy_from_slice(request.body()))),
            purpose: client.purpose,
            mark: client.mark,
        })
    }

    /// With another value of a field that it has once at most.
    pub(super) fn replace(&mut self, name: &str, value: &str) {
        self.headers
            .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
    }
}

impl Leg {
    /// Begins a request inside the dialog, called `mark`. It is put to the policy table like any
    /// output.
    ///
    /// # Errors
    /// [`CallError`] if the call has ended or the request can't be written.
    pub fn request(
        &mut self,
        method: Method,
        headers: &[(String, String)],
        body: Option<(&str, &[u8])>,
        mark: u32,
        egress: Egress,
    ) -> Result<OwnRequestId, CallError> {
        if self.dialog.stage == Stage::Ended {
            return Err(CallError::Ended);
        }
        if !self.may_request(&method, body.is_some_and(|(kind, _)| is_sdp(kind))) {
            return Err(CallError::Busy);
        }
        let id = self.write_request(method, headers, body, egress, Purpose::App)?;
        self.mark(id, mark);
        Ok(id)
    }

    /// The request is called so by the application.
    fn mark(&mut self, id: OwnRequestId, mark: u32) {
        if let Some(client) = self.clients.iter_mut().find(|client| client.id == id) {
            client.mark = mark;
        }
    }

    /// Whether a request of ours may go now: RFC 3261 14.1 and RFC 3311 5.1 for what makes an offer
    /// (`described`) or asks for one.
    #[must_use]
    pub fn may_request(&self, method: &Method, described: bool) -> bool {
        if !self.dialog.is_established() {
            return false;
        }
        let confirmed = self.dialog.stage == Stage::Confirmed;
        let offers = self.negotiation.may_offer(confirmed) && !self.provisionals.is_described();
        match method {
            Method::Invite => {
                let theirs = |(_, open): &(_, Method)| *open == Method::Invite;
                let open = self.clients.iter().any(ClientTx::is_open_invite);
                let open = open || self.open_requests().iter().any(theirs);
                confirmed && offers && !open && !self.is_unacked()
            }
            Method::Update if described => offers,
            _ => true,
        }
    }

    /// The description that a request of ours offers, as it may be said.
    fn offer(&mut self, method: &Method, body: Option<(&str, &[u8])>, cseq: u32) -> Option<Bytes> {
        let offer = body.filter(|(kind, body)| is_sdp(kind) && !body.is_empty());
        let (_, offer) = offer.filter(|_| is_session_refresh(method))?;
        self.negotiation.on_our_offer(cseq);
        Some(self.follow(offer))
    }

    pub(super) fn write_request(
        &mut self,
        method: Method,
        headers: &[(String, String)],
        body: Option<(&str, &[u8])>,
        egress: Egress,
        purpose: Purpose,
    ) -> Result<OwnRequestId, CallError> {
        let hop = next_hop(&self.dialog);
        let mut flow = egress.flow;
        // SIP.md S6: a next hop that is a name is reached by the way the peer's last request came.
        flow.remote = hop.address.unwrap_or(self.dialog.flow.remote);
        let cseq = self.dialog.next_seq(egress.cseq_floor);
        let offer = self.offer(&method, body, cseq);
        if is_target_refresh(&method) {
            self.dialog.set_contact(&flow);
        }
        let dialog = &self.dialog;
        let mut builder = RequestBuilder::new(method.clone(), hop.uri)
            .via(
                flow.transport,
                flow.advertise.as_ref(),
                egress.branch.as_ref(),
            )
            .from(dialog.local_value())
            .to(dialog.remote_value())
            .call_id(dialog.call_id.as_str())
            .cseq(cseq)
            .max_forwards(self.max_forwards(purpose))
            .routes(hop.routes);
        if is_target_refresh(&method) {
            builder = builder.contact(dialog.contact.as_str());
        }
        if is_session_refresh(&method) {
            builder = builder
                .header("Allow", ALLOW)
                .header("Supported", SUPPORTED_VALUE);
        }
        for (name, value) in headers {
            builder = builder.header(name.as_str(), value.as_str());
        }
        if let Some((kind, body)) = body {
            builder = builder.body(kind, offer.as_deref().unwrap_or(body));
        }
        let request: Bytes = builder.build()?;
        let id = OwnRequestId(self.new_id());
        let client = ClientTx::new(id, &egress.branch, method, flow, request, purpose);
        self.clients.push(ClientTx {
            ack_branch: egress.ack_branch,
            ..client
        });
        self.changed = true;
        let what = What::Request(id);
        self.effects.push(Effect::Ready(Outgoing {
            class: Class::Request,
            what,
        }));
        Ok(id)
    }

    /// Asks for the leg's end: BYE in a confirmed dialog, before that 480 or CANCEL; after a 2xx
    /// without ACK the BYE waits for it (RFC 3261 15). Returns whether a BYE must be sent now.
    pub fn hang_up(&mut self) -> bool {
        match self.dialog.stage {
            Stage::Ended => false,
            Stage::Early if self.dialog.orientation == Orientation::Uac => {
                self.cancel();
                false
            }
            Stage::Early => {
                self.provisionals.held = None; // a 2xx that waits is not said any more
                let open = |one: &&ServerTx| {
                    one.method.may_begin() && matches!(one.answer, Answer::Open(_))
                };
                let open: Option<RequestId> = self.servers.iter().find(open).map(|one| one.id);
                if let Some(id) = open {
                    // Its own faults are impossible here: the request is open and the reply bare.
                    let _ = self.respond(id, &super::Reply::new(480));
                }
                false
            }
            Stage::Confirmed if self.is_subscription() => {
                self.end_subscription();
                false
            }
            Stage::Confirmed => {
                self.answer_waits = false; // RFC 3261 13.2.2.4: ACK first, then BYE
                self.changed |= !self.bye_after_ack;
                self.bye_after_ack = true;
                self.owes_bye()
            }
        }
    }

    /// Sends our BYE and ends the call. RFC 3261 15.1.1: the call is over when the BYE is passed on.
    /// It is over too if the BYE can't be written: nothing can be said to that peer, ever.
    ///
    /// # Errors
    /// [`CallError`] if the call has ended or the BYE can't be written.
    pub fn bye(&mut self, egress: Egress) -> Result<(), CallError> {
        if self.dialog.stage == Stage::Ended {
            return Err(CallError::Ended);
        }
        self.bye_after_ack = false;
        let sent = self.write_request(Method::Bye, &[], None, egress, Purpose::App);
        self.changed = true;
        self.end(Cause::OwnBye);
        sent.map(|_| ())
    }

    /// The peer ended the call with another member (PROTOCOL.md rule 22): nothing need be said to it.
    pub fn ended_elsewhere(&mut self) {
        self.end(Cause::PeerBye);
    }

    /// What an heir must send anew, because its answer would go to a dead member's address: taken
    /// out of the call, to be asked for again with a new number (SIP.md S4). An INVITE stays, for a
    /// 2xx to it may still come and has to be acknowledged; a BYE stays for
    /// [`Leg::repeat_bye`]; a refresh is the heir's own business.
    pub fn take_unanswered(&mut self) -> Vec<Again> {
        self.take_unanswered_state();
        let mut again = Vec::new();
        for client in std::mem::take(&mut self.clients) {
            match client.method {
                Method::Invite => self.clients.push(client),
                Method::Cancel => self.clients.push(client), // it is of use as it stands only
                Method::Bye if client.is_open() => self.clients.push(client),
                // One that was answered only waits for repetitions of its answer.
                _ if !client.is_open() || client.purpose == Purpose::Refresh => {}
                _ => again.extend(Again::of(&client)),
            }
        }
        if let Some(Open::Ours(_)) = self.negotiation.open()
            && !self.clients.iter().any(ClientTx::is_open_invite)
        {
            self.negotiation.forget_ours(); // it is made anew
        }
        again
    }

    /// A BYE of an owner before this one that nobody has answered goes out again, byte for byte, by
    /// `way`: to a peer that has had it, it is a repetition and no second BYE (RFC 3261 17.2.3),
    /// answered to where it came from (18.2.1). An answer that still goes to the dead owner is no
    /// loss, the call is over.
    ///
    /// One that may never have left goes to the policy table like any output.
    pub fn repeat_bye(&mut self, way: &Flow) {
        let hop = next_hop(&self.dialog);
        let remote = hop.address.unwrap_or(self.dialog.flow.remote);
        let flow = Flow {
            remote,
            ..way.clone()
        };
        for client in &mut self.clients {
            if client.method != Method::Bye || !client.is_open() {
                continue;
            }
            client.flow = flow.clone();
            let (what, bytes) = (What::Request(client.id), client.request.clone());
            self.effects.push(match client.machine {
                Some(_) => Effect::Send {
                    flow: flow.clone(),
                    bytes,
                },
                None => Effect::Ready(Outgoing {
                    class: Class::Request,
                    what,
                }),
            });
        }
    }

    /// Whether an owner before this one has sent an INVITE that nobody has answered finally. From
    /// now on it is not waited for: the heir settles with an offer of its own. While its
    /// transaction lives it is repeated, and a 2xx to it is acknowledged.
    pub fn give_up_invites(&mut self) -> bool {
        let mut lost = Vec::new();
        let open = |one: &&mut ClientTx| one.is_open_invite() && one.purpose != Purpose::Dial;
        for client in self.clients.iter_mut().filter(open) {
            client.given_up = true;
            lost.push((client.mark, client.purpose));
        }
        if !lost.is_empty() {
            self.negotiation.forget_ours();
        }
        for (mark, purpose) in &lost {
            if *purpose == Purpose::App {
                self.tell(Event::Response {
                    mark: *mark,
                    method: Method::Invite,
                    message: None,
                });
            }
        }
        !lost.is_empty()
    }

    /// Sends a request anew that [`Leg::take_unanswered`] named.
    ///
    /// # Errors
    /// [`CallError`] if it can't be written.
    pub fn again(&mut self, again: &Again, egress: Egress) -> Result<(), CallError> {
        let body = again.body.as_ref();
        let body = body.map(|(kind, body)| (kind.as_str(), body.as_ref()));
        let method = again.method.clone();
        let id = self.write_request(method, &again.headers, body, egress, again.purpose)?;
        self.mark(id, again.mark);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Reply;
    use super::*;
    use crate::base::flow::Transport;
    use crate::base::ids::NodeId;
    use crate::base::time::{Duration, Instant};

    const INVITE: &str = "INVITE sip:a@192.0.2.1 SIP/2.0\r\n\
        Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKa\r\nMax-Forwards: 70\r\n\
        From: <sip:b@192.0.2.9>;tag=b\r\nTo: <sip:a@192.0.2.1>\r\nCall-ID: c\r\n\
        CSeq: 1 INVITE\r\nSupported: timer\r\nSession-Expires: 90;refresher=uac\r\n\
        Content-Length: 0\r\n\r\n";

    // Goal: a peer that gave nobody its address is not asked to hang up for ever. Method: the
    // session of such a call runs out.
    #[test]
    fn a_call_ends_whose_bye_cannot_be_written() {
        let flow = Flow {
            transport: Transport::Udp,
            ingress: NodeId(1),
            listener: 0,
            remote: "192.0.2.9:5060".parse().expect("an address"),
            advertise: "192.0.2.1".into(),
        };
        let start = Instant::START;
        let invite = Message::parse(Bytes::from_static(INVITE.as_bytes())).expect("an INVITE");
        let mut call = Leg::incoming(invite, &flow, "us", start);
        let (id, _) = call.open_requests().remove(0);
        assert_eq!(call.respond(id, &Reply::new(200)), Ok(()));
        let mut late = start;
        while !call.owes_bye() {
            for effect in call.take_effects() {
                if let Effect::Ready(outgoing) = effect {
                    call.emit(outgoing, late);
                }
            }
            late += Duration::from_secs(1);
            call.on_timeout(late);
        }
        let egress = Egress {
            flow,
            branch: "z9hG4bKb".into(),
            ack_branch: None,
            cseq_floor: 0,
        };
        assert!(matches!(call.bye(egress), Err(CallError::Write(_))));
        assert_eq!(call.ended(), Some(Cause::OwnBye));
        assert!(!call.owes_bye() && call.take_changed());
        assert!(call.next_deadline().is_none_or(|at| at > late));
    }
}
