//! Requests of our own as transactions of a call: what is kept of each, and what its responses do.
//! RFC 3261 12.2.1, 13.2.2.4, 14.1, 17.1.

use std::hash::Hasher as _;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use super::SipCall;
use crate::base::flow::Flow;
use crate::base::time::Instant;
use crate::sip::dialog::{is_target_refresh, next_hop, sdp_of};
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
    /// The branch that the ACK of a 2xx gets (RFC 3261 13.2.2.4); of an INVITE only.
    pub(super) ack_branch: Option<Box<str>>,
    pub(super) ack: Option<Ack>,
    /// The ACK was let out.
    pub(super) acked: bool,
    /// Nobody waits for its outcome any longer.
    pub(super) given_up: bool,
    /// None until it is let out.
    pub(super) machine: Option<Client>,
}

impl ClientTx {
    /// An INVITE of ours that has no final response.
    pub(super) fn is_open_invite(&self) -> bool {
        self.method == Method::Invite && self.is_open()
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

impl SipCall {
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
        let flow = client.flow.clone();
        self.act(&flow, actions);
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
        if delivered && open {
            self.on_final(id, &method, response, now);
        } else if delivered {
            self.on_repeated_success(id);
        }
        self.sweep();
    }

    fn on_final(&mut self, id: OwnRequestId, method: &Method, response: &Message, now: Instant) {
        let accepted = response.status().is_some_and(|status| status < 300);
        if accepted && is_target_refresh(method) {
            let client = self.clients.iter().find(|client| client.id == id);
            let request = client.and_then(|one| Message::parse(one.request.clone()).ok());
            if let Some(offer) = request
                .map(|request| sdp_of(&request))
                .filter(|o| !o.is_empty())
            {
                self.dialog.session.local = offer; // RFC 3264 8: now it is agreed on
            }
            self.dialog.on_accepted(response);
        }
        if accepted && *method == Method::Invite {
            self.acknowledge(id);
        }
        self.own_request_done(id, method, Some(response.clone()), now);
    }

    /// RFC 3261 13.2.2.4: the ACK of a 2xx is a request of its own, in the dialog. It says that the
    /// change is agreed on, so it leaves when the change is safe.
    fn acknowledge(&mut self, id: OwnRequestId) {
        let hop = next_hop(&self.dialog);
        let dialog = &self.dialog;
        let Some(client) = self.clients.iter_mut().find(|client| client.id == id) else {
            return;
        };
        let number = Message::parse(client.request.clone()).map(|invite| invite.cseq_number());
        let (Ok(number), Some(branch)) = (number, &client.ack_branch) else {
            return;
        };
        let mut flow = client.flow.clone();
        flow.remote = hop.address.unwrap_or(dialog.flow.remote);
        let ack = RequestBuilder::new(Method::Ack, hop.uri)
            .via(flow.transport, flow.advertise.as_ref(), branch.as_ref())
            .from(dialog.local_value())
            .to(dialog.remote_value())
            .call_id(dialog.call_id.as_str())
            .cseq(number)
            .routes(hop.routes)
            .build();
        let Ok(bytes) = ack else {
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
        self.changed = true;
        if given_up {
            return;
        }
        if purpose == Some(Purpose::Refresh) {
            return self.refreshed(id, status, message.as_ref(), now);
        }
        if *method == Method::Bye {
            self.end_shared |= message.is_some();
            return;
        }
        self.tell(Event::Response {
            id,
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
