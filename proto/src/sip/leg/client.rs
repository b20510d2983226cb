//! Requests of our own as transactions of a call: what is kept of each, and what its responses do.
//! RFC 3261 12.2.1, 13.2.2.4, 14.1, 17.1.

use std::hash::Hasher as _;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use super::Leg;
use crate::base::flow::Flow;
use crate::base::time::Instant;
use crate::sip::dialog::offer::Open;
use crate::sip::dialog::{has_sdp, is_session_refresh, next_hop, sdp_of};
use crate::sip::effect::{Cause, Class, Effect, Event, Outgoing, OwnRequestId, What};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::transaction::Action;
use crate::sip::transaction::client_invite::ClientInvite;
use crate::sip::transaction::client_other::{ClientOther, State};
use crate::sip::transaction::key::ClientKey;
use crate::sip::write::{RequestBuilder, ack_of};

/// A client transaction's machine.
#[derive(Clone, Debug)]
pub(super) enum Client {
    Invite(ClientInvite),
    Other(ClientOther),
}

impl Client {
    pub(super) fn is_terminated(&self) -> bool {
        match self {
            Self::Invite(machine) => machine.is_terminated(),
            Self::Other(machine) => machine.is_terminated(),
        }
    }

    /// Whether no final response has come.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Invite(machine) => machine.is_open(),
            Self::Other(machine) => {
                matches!(machine.state(), State::Trying(_) | State::Proceeding(_))
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::Invite(machine) => machine.next_deadline(),
            Self::Other(machine) => machine.next_deadline(),
        }
    }

    pub(super) fn on_timeout(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match self {
            Self::Invite(machine) => machine.on_timeout(now, actions),
            Self::Other(machine) => machine.on_timeout(now, actions),
        }
    }
}

/// On whose behalf a request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// The application's, which hears of the outcome.
    App,
    /// Our own, to tell the peer where the call is.
    Refresh,
    /// Our own, to acknowledge a provisional: its outcome is nobody's.
    Prack,
    /// Of a subscription: its outcome is the subscription's.
    Notify,
    /// The INVITE that began the leg.
    Dial,
    /// Our own, to take that INVITE back: its outcome is nobody's, the INVITE's decides.
    Cancel,
}

/// The ACK of a 2xx, kept for the 2xx's repetitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ack {
    pub(super) flow: Flow,
    pub(super) bytes: Bytes,
}

#[derive(Clone, Debug)]
pub(super) struct ClientTx {
    pub(super) id: OwnRequestId,
    pub(super) key: ClientKey,
    pub(super) method: Method,
    pub(super) flow: Flow,
    pub(super) request: Bytes,
    pub(super) purpose: Purpose,
    /// What the application called it.
    pub(super) mark: u32,
    /// The branch that the ACK of a 2xx gets (RFC 3261 13.2.2.4); of an INVITE only.
    pub(super) ack_branch: Option<Box<str>>,
    pub(super) ack: Option<Ack>,
    /// The ACK was let out.
    pub(super) acked: bool,
    /// Nobody waits for its outcome any longer.
    pub(super) given_up: bool,
    /// Of an INVITE: the RSeq of its newest reliable provisional (RFC 3262 4).
    pub(super) rseq: Option<u32>,
    /// Of an INVITE: its ACK has an answer, and waits for it.
    pub(super) ack_due: bool,
    /// None until it is let out.
    pub(super) machine: Option<Client>,
}

impl ClientTx {
    /// A request that is not let out yet.
    pub(super) fn new(
        id: OwnRequestId,
        branch: &str,
        method: Method,
        flow: Flow,
        request: Bytes,
        purpose: Purpose,
    ) -> Self {
        Self {
            id,
            key: ClientKey::new(branch, method.as_str()),
            method,
            flow,
            request,
            purpose,
            mark: 0,
            ack_branch: None,
            ack: None,
            acked: false,
            given_up: false,
            rseq: None,
            ack_due: false,
            machine: None,
        }
    }

    /// An INVITE of ours that has no final response.
    pub(super) fn is_open_invite(&self) -> bool {
        self.method == Method::Invite && self.is_open()
    }

    /// An INVITE of ours that a 2xx has answered, of those that a record can hold: one that is over
    /// is there only for the ACK that it owes (`sweep`).
    pub(super) fn is_accepted(&self) -> bool {
        match &self.machine {
            Some(Client::Invite(machine)) => machine.is_accepted() || machine.is_terminated(),
            Some(Client::Other(_)) | None => false,
        }
    }

    /// The session description that it offers.
    pub(super) fn offer(&self) -> Option<Bytes> {
        let request = Message::parse(self.request.clone()).ok()?;
        has_sdp(&request).then(|| sdp_of(&request))
    }

    pub(super) fn is_described(&self) -> bool {
        Message::parse(self.request.clone()).is_ok_and(|request| has_sdp(&request))
    }

    /// A request of ours that has no final response, let out or not.
    pub(super) fn is_open(&self) -> bool {
        !self.given_up && self.machine.as_ref().is_none_or(Client::is_open)
    }
}

/// A number out of a branch: different for each transaction, and the same for its repetitions.
#[must_use]
pub fn chance_of(branch: &str) -> u64 {
    let mut hash = SipHasher13::new();
    hash.write(branch.as_bytes());
    hash.finish()
}

impl Leg {
    pub(super) fn emit_request(&mut self, id: OwnRequestId, now: Instant) {
        let Some(client) = self.clients.iter_mut().find(|client| client.id == id) else {
            return;
        };
        let mut actions = Vec::new();
        let reliable = client.flow.transport.is_reliable();
        let request = client.request.clone();
        client.machine = Some(if client.method == Method::Invite {
            Client::Invite(ClientInvite::new(reliable, request, now, &mut actions))
        } else {
            Client::Other(ClientOther::new(reliable, request, now, &mut actions))
        });
        let (flow, purpose) = (client.flow.clone(), client.purpose);
        self.act(&flow, actions);
        self.on_dial_let_out(purpose, now);
    }

    pub(super) fn emit_ack(&mut self, id: OwnRequestId) {
        let Some(client) = self.clients.iter_mut().find(|client| client.id == id) else {
            return;
        };
        client.acked = true;
        if let Some(Ack { flow, bytes }) = client.ack.clone() {
            self.effects.push(Effect::Send { flow, bytes });
        }
    }

    /// A response whose branch is ours.
    pub fn on_response(&mut self, response: &Message, now: Instant) {
        let Some(branch) = response.branch() else {
            return;
        };
        let key = ClientKey::new(branch, response.method().as_str());
        let status = response.status().unwrap_or(500);
        let Some(client) = self.clients.iter_mut().find(|client| client.key == key) else {
            return;
        };
        let Some(machine) = client.machine.as_mut() else {
            return;
        };
        let open = machine.is_open();
        let mut actions = Vec::new();
        match machine {
            Client::Invite(machine) => {
                let request = client.request.clone();
                let ack = || write_ack_of(request, response);
                machine.on_response(status, ack, now, &mut actions);
            }
            Client::Other(machine) => machine.on_response(status, now, &mut actions),
        }
        let (id, method, flow) = (client.id, client.method.clone(), client.flow.clone());
        let delivered = status >= 200 && actions.contains(&Action::Deliver);
        self.act(&flow, actions);
        if status < 200 && open && method == Method::Invite {
            self.send_wanted_cancel();
        }
        if status > 100 && status < 200 && open && method == Method::Invite {
            self.on_provisional(id, response, now);
        } else if delivered && open {
            self.on_final(id, &method, response, now);
        } else if delivered {
            self.on_repeated_success(id);
        }
        self.sweep();
    }

    fn on_final(&mut self, id: OwnRequestId, method: &Method, response: &Message, now: Instant) {
        let accepted = response.status().is_some_and(|status| status < 300);
        let cseq = response.cseq_number();
        let client = self.clients.iter().find(|client| client.id == id);
        if accepted && client.is_some_and(|client| client.purpose == Purpose::Dial) {
            self.on_picked_up(response, now);
        }
        if accepted && is_session_refresh(method) {
            self.dialog.on_accepted(response);
            self.on_answered(id, response);
        }
        if accepted && *method == Method::Invite {
            // An offer in a 2xx is the application's to answer; otherwise nothing is waited for.
            let owed = self.negotiation.open() == Some(Open::TheirsInResponse(cseq));
            let client = self.clients.iter_mut().find(|client| client.id == id);
            match client.filter(|_| owed) {
                Some(client) => client.ack_due = true,
                None => self.acknowledge(id),
            }
        }
        self.own_request_done(id, method, Some(response.clone()), now);
    }

    /// The 2xx to a target refresh of ours: the answer to its offer, or an offer.
    fn on_answered(&mut self, id: OwnRequestId, response: &Message) {
        let cseq = response.cseq_number();
        let client = self.clients.iter().find(|client| client.id == id);
        if client.is_some_and(ClientTx::is_described) {
            self.on_answer(cseq, id);
        } else if has_sdp(response) && client.is_some_and(|client| client.rseq.is_none()) {
            self.negotiation.on_offer_in_response(cseq);
        }
    }

    /// RFC 3261 13.2.2.4: the ACK of a 2xx is a request of its own, in the dialog. It says that the
    /// change is agreed on, so it leaves when the change is safe.
    pub(super) fn acknowledge(&mut self, id: OwnRequestId) {
        let number = self.clients.iter().find(|client| client.id == id);
        let number = number.and_then(|one| Message::parse(one.request.clone()).ok());
        let Some(number) = number.map(|invite| invite.cseq_number()) else {
            return;
        };
        let answer = self.take_answer(number);
        let hop = next_hop(&self.dialog);
        let dialog = &self.dialog;
        let Some(client) = self.clients.iter_mut().find(|client| client.id == id) else {
            return;
        };
        let Some(branch) = &client.ack_branch else {
            return;
        };
        let mut flow = client.flow.clone();
        flow.remote = hop.address.unwrap_or(dialog.flow.remote);
        let mut ack = RequestBuilder::new(Method::Ack, hop.uri)
            .via(flow.transport, flow.advertise.as_ref(), branch.as_ref())
            .from(dialog.local_value())
            .to(dialog.remote_value())
            .call_id(dialog.call_id.as_str())
            .cseq(number)
            .routes(hop.routes);
        if let Some(answer) = &answer {
            ack = ack.body("application/sdp", answer.as_ref());
        }
        let Ok(bytes) = ack.build() else {
            return;
        };
        client.ack = Some(Ack { flow, bytes });
        self.changed = true;
        self.effects.push(Effect::Ready(Outgoing {
            class: Class::Request,
            what: What::Ack(id),
        }));
    }

    /// The peer has not got our ACK.
    fn on_repeated_success(&mut self, id: OwnRequestId) {
        let found = self.clients.iter().find(|client| client.id == id);
        if found.is_some_and(|client| client.acked) {
            self.emit_ack(id);
        }
    }

    /// The final outcome of a request of ours; no message if there was none in time.
    pub(super) fn own_request_done(
        &mut self,
        id: OwnRequestId,
        method: &Method,
        message: Option<Message>,
        now: Instant,
    ) {
        let status = message.as_ref().and_then(Message::status).unwrap_or(408);
        let client = self.clients.iter().find(|client| client.id == id);
        let purpose = client.map(|client| client.purpose);
        let given_up = client.is_some_and(|client| client.given_up);
        let mark = client.map_or(0, |client| client.mark);
        let number = client.and_then(|one| Message::parse(one.request.clone()).ok());
        if let Some(request) = number {
            self.negotiation
                .on_our_request_done(request.cseq_number(), false);
        }
        self.changed = true;
        if given_up && purpose != Some(Purpose::Dial) {
            return;
        }
        match purpose {
            Some(Purpose::Refresh) => return self.refreshed(id, status, message.as_ref(), now),
            Some(Purpose::Prack | Purpose::Cancel) => return, // the INVITE's own fate decides
            Some(Purpose::Dial) => return self.on_dialled(id, message),
            Some(Purpose::Notify) => {
                return self.on_subscription_outcome(id, status, message.as_ref(), now);
            }
            Some(Purpose::App) | None => {}
        }
        if *method == Method::Bye {
            self.end_shared |= message.is_some();
            return;
        }
        if *method == Method::Refer {
            self.on_subscription_outcome(id, status, message.as_ref(), now);
        }
        self.tell(Event::Response {
            mark,
            method: method.clone(),
            message,
        });
        // RFC 3261 12.2.1.2: 481 and 408 end the dialog.
        if matches!(status, 408 | 481) {
            self.end(Cause::Lost);
        }
    }
}

/// RFC 3261 17.1.1.3.
fn write_ack_of(request: Bytes, response: &Message) -> Bytes {
    let Ok(invite) = Message::parse(request) else {
        return Bytes::new();
    };
    ack_of(&invite, response).build().unwrap_or_default()
}
