//! Requests of our own inside the call's dialog, and the answers to them. RFC 3261 12.2.1, 15.1.1.

use bytes::Bytes;

use super::{CallError, ClientTx, SipCall};
use crate::base::flow::Flow;
use crate::base::time::Instant;
use crate::sip::dialog::{Stage, is_target_refresh, next_hop};
use crate::sip::effect::{Cause, Class, Effect, Outgoing, OwnRequestId, RequestId, What};
use crate::sip::header::with_tag;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::transaction::Action;
use crate::sip::transaction::client_other::{ClientOther, State};
use crate::sip::transaction::key::ClientKey;
use crate::sip::write::RequestBuilder;

/// What a request of ours needs from outside the call.
#[derive(Clone, Debug)]
pub struct Egress {
    /// The listener it leaves by; its remote address is the fallback if the next hop is a name.
    pub flow: Flow,
    /// Its branch: a sealed locator.
    pub branch: Box<str>,
    /// Own CSeq numbers start above this (PROTOCOL.md rule 23).
    pub cseq_floor: u32,
}

impl SipCall {
    /// Begins a request inside the dialog. It is put to the policy table like any output.
    ///
    /// # Errors
    /// [`CallError`] if the call has ended or the request can't be written.
    pub fn request(
        &mut self,
        method: Method,
        headers: &[(String, String)],
        body: Option<(&str, &[u8])>,
        egress: Egress,
    ) -> Result<OwnRequestId, CallError> {
        if self.dialog.stage == Stage::Ended {
            return Err(CallError::Ended);
        }
        self.write_request(method, headers, body, egress)
    }

    fn write_request(
        &mut self,
        method: Method,
        headers: &[(String, String)],
        body: Option<(&str, &[u8])>,
        egress: Egress,
    ) -> Result<OwnRequestId, CallError> {
        let hop = next_hop(&self.dialog);
        let mut flow = egress.flow;
        // SIP.md S6: a next hop that is a name is reached by the way the peer's last request came.
        flow.remote = hop.address.unwrap_or(self.dialog.flow.remote);
        let cseq = self.dialog.next_seq(egress.cseq_floor);
        let dialog = &self.dialog;
        let to = if dialog.remote_tag.is_empty() {
            dialog.remote_uri.clone()
        } else {
            with_tag(&dialog.remote_uri, &dialog.remote_tag)
        };
        let mut builder = RequestBuilder::new(method.clone(), hop.uri)
            .via(
                flow.transport,
                flow.advertise.as_ref(),
                egress.branch.as_ref(),
            )
            .from(with_tag(&dialog.local_uri, &dialog.local_tag))
            .to(to)
            .call_id(dialog.call_id.as_str())
            .cseq(cseq)
            .routes(hop.routes);
        if is_target_refresh(&method) {
            builder = builder.contact(dialog.contact.as_str());
        }
        for (name, value) in headers {
            builder = builder.header(name.as_str(), value.as_str());
        }
        if let Some((kind, body)) = body {
            builder = builder.body(kind, body);
        }
        let request: Bytes = builder.build()?;
        let id = OwnRequestId(self.new_id());
        let key = ClientKey::new(&egress.branch, method.as_str());
        self.clients.push(ClientTx {
            id,
            key,
            method,
            flow,
            request,
            machine: None,
        });
        self.changed = true;
        let what = What::Request(id);
        self.effects.push(Effect::Ready(Outgoing {
            class: Class::Request,
            what,
        }));
        Ok(id)
    }

    /// Asks for the call's end: BYE in a confirmed dialog, 480 before, and after a 2xx without ACK
    /// the BYE waits for it (RFC 3261 15). Returns whether a BYE must be sent now.
    pub fn hang_up(&mut self) -> bool {
        match self.dialog.stage {
            Stage::Ended => false,
            Stage::Early => {
                let open: Option<RequestId> = self.open_requests().first().map(|(id, _)| *id);
                if let Some(id) = open {
                    // Its own faults are impossible here: the request is open and the reply bare.
                    let _ = self.respond(id, &super::Reply::new(480));
                }
                false
            }
            Stage::Confirmed => {
                self.changed |= !self.bye_after_ack;
                self.bye_after_ack = true;
                self.owes_bye()
            }
        }
    }

    /// Sends our BYE and ends the call. RFC 3261 15.1.1: the call is over when the BYE is passed on.
    ///
    /// # Errors
    /// [`CallError`] if the call has ended or the BYE can't be written.
    pub fn bye(&mut self, egress: Egress) -> Result<(), CallError> {
        if self.dialog.stage == Stage::Ended {
            return Err(CallError::Ended);
        }
        self.bye_after_ack = false;
        self.write_request(Method::Bye, &[], None, egress)?;
        self.end(Cause::OwnBye);
        Ok(())
    }

    /// The peer ended the call with another member (PROTOCOL.md rule 22): nothing need be said to it.
    pub fn ended_elsewhere(&mut self) {
        self.end(Cause::PeerBye);
    }

    /// What an heir must send anew, because its answer would go to a dead member's address: taken
    /// out of the call, to be asked for again with a new number (SIP.md S4).
    pub fn take_unanswered(&mut self) -> Vec<Method> {
        // One that was answered only waits for repetitions of its answer.
        let waits = |client: &ClientTx| {
            client.machine.as_ref().is_none_or(|machine| {
                matches!(machine.state(), State::Trying(_) | State::Proceeding(_))
            })
        };
        let taken = std::mem::take(&mut self.clients);
        taken
            .into_iter()
            .filter(waits)
            .map(|client| client.method)
            .collect()
    }

    /// Sends a request anew that [`SipCall::take_unanswered`] named.
    ///
    /// # Errors
    /// [`CallError`] if it can't be written.
    pub fn again(&mut self, method: Method, egress: Egress) -> Result<(), CallError> {
        self.write_request(method, &[], None, egress).map(|_| ())
    }

    pub(super) fn emit_request(&mut self, id: OwnRequestId, now: Instant) {
        let Some(client) = self.clients.iter_mut().find(|client| client.id == id) else {
            return;
        };
        let mut actions = Vec::new();
        let reliable = client.flow.transport.is_reliable();
        let request = client.request.clone();
        client.machine = Some(ClientOther::new(reliable, request, now, &mut actions));
        let flow = client.flow.clone();
        self.act(&flow, actions);
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
        let mut actions = Vec::new();
        machine.on_response(status, now, &mut actions);
        let (id, method, flow) = (client.id, client.method.clone(), client.flow.clone());
        let final_one = status >= 200 && actions.contains(&Action::Deliver);
        self.act(&flow, actions);
        if final_one {
            self.own_request_done(id, &method, Some(response.clone()));
        }
        self.sweep();
    }
}
