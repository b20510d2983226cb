//! Requests of the peer and our answers to them. RFC 3261 8.2, 9.2, 12.2.2, 13.3, 14.2, 15.1.2.

use super::client::{ClientTx, chance_of};
use super::reply::Reply;
use super::{Answer, Server, ServerTx, SipCall, reply_flow, server_key};
use crate::base::flow::Flow;
use crate::base::limits::SERVER_TRANSACTIONS_PER_CALL_MAX;
use crate::base::time::Instant;
use crate::sip::dialog::session_timer::{MIN_SE, is_too_small};
use crate::sip::dialog::{Dialog, Order, Stage, is_target_refresh};
use crate::sip::effect::{Cause, Class, Effect, Event, RequestId};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::reception::unsupported;
use crate::sip::transaction::key::TransactionKey;
use crate::sip::transaction::server_invite::ServerInvite;
use crate::sip::transaction::server_other::ServerOther;
use crate::sip::write::ResponseBuilder;

impl SipCall {
    /// The call that an INVITE without To tag begins; `local_tag` is its sealed locator.
    #[must_use]
    pub fn incoming(invite: Message, flow: &Flow, local_tag: &str, now: Instant) -> Self {
        let mut call = Self {
            dialog: Dialog::incoming(&invite, local_tag, flow),
            servers: Vec::new(),
            clients: Vec::new(),
            unacked: None,
            bye_after_ack: false,
            refresh: None,
            timer: None,
            ended: None,
            end_shared: false,
            next_id: 0,
            changed: false,
            effects: Vec::new(),
        };
        call.open(invite, flow, now, true);
        call
    }

    /// A request for this call: inside its dialog, or of a transaction it has.
    pub fn on_request(&mut self, request: Message, flow: &Flow, now: Instant) {
        let key = server_key(&request);
        if self.repeated(&request, &key, flow, now) {
            return;
        }
        match request.method() {
            Method::Ack => self.on_ack(&request, now),
            Method::Cancel => self.on_cancel(&request, &key, flow, now),
            _ if !self.dialog.matches(&request) => self.refuse_now(&request, flow, 481),
            // Two BYEs that cross: both ends want the same, so both are told that it is so.
            Method::Bye if self.ended == Some(Cause::OwnBye) => {
                self.refuse_now(&request, flow, 200);
            }
            _ if self.ended.is_some() => self.refuse_now(&request, flow, 481),
            _ => self.on_fresh(request, flow, now),
        }
    }

    /// A request that a transaction of ours has seen, or the ACK that ends one.
    fn repeated(
        &mut self,
        request: &Message,
        key: &TransactionKey,
        flow: &Flow,
        now: Instant,
    ) -> bool {
        let Some(server) = self.servers.iter_mut().find(|server| server.key == *key) else {
            return false;
        };
        let mut actions = Vec::new();
        match (&mut server.machine, request.method()) {
            (Server::Invite(machine), Method::Ack) => {
                if matches!(
                    machine.state(),
                    crate::sip::transaction::server_invite::State::Accepted { .. }
                ) {
                    return false; // a peer of RFC 2543: the ACK of a 2xx with the INVITE's branch
                }
                machine.on_ack(now, &mut actions);
            }
            (Server::Invite(machine), _) => machine.on_request(&mut actions),
            (Server::Other(machine), _) => machine.on_request(&mut actions),
        }
        // The repetition may have come another way; its answer goes back that way.
        server.reply = reply_flow(request, flow);
        let reply = server.reply.clone();
        // SIP.md S3.7: behind a takeover the machine may be in Accepted while no ACK has come; a
        // repeated INVITE is then answered with the 2xx that was let out.
        let replay = match (&server.machine, request.method(), &self.unacked) {
            (Server::Invite(machine), Method::Invite, Some(unacked))
                if machine.is_answered() && actions.is_empty() =>
            {
                unacked.machine.response().cloned()
            }
            _ => None,
        };
        self.act(&reply, actions);
        if let Some(bytes) = replay {
            self.effects.push(Effect::Send { flow: reply, bytes });
        }
        self.sweep();
        true
    }

    fn on_fresh(&mut self, request: Message, flow: &Flow, now: Instant) {
        if self.dialog.order(&request) == Order::Stale {
            return self.refuse_now(&request, flow, 500); // RFC 3261 12.2.2
        }
        if let Some(unknown) = unsupported(&request) {
            self.dialog.remote_seq = Some(request.cseq_number());
            self.changed = true;
            let fields = [("Unsupported", unknown.as_str())];
            return self.refuse_with(&request, flow, 420, &fields); // RFC 3261 8.2.2.3
        }
        if is_target_refresh(request.method()) && is_too_small(&request) {
            self.dialog.remote_seq = Some(request.cseq_number());
            self.changed = true;
            let least = MIN_SE.to_string();
            return self.refuse_with(&request, flow, 422, &[("Min-SE", &least)]); // RFC 4028 9
        }
        let open_invite = self.servers.iter().any(|server| {
            server.method == Method::Invite && matches!(server.answer, Answer::Open(_))
        });
        let ours_open = self.clients.iter().any(ClientTx::is_open_invite);
        match request.method() {
            // RFC 3261 14.2 and RFC 3311 5.2: their offer meets one of ours.
            Method::Invite | Method::Update if ours_open && brings_offer(&request) => {
                self.dialog.remote_seq = Some(request.cseq_number());
                self.changed = true;
                self.refuse_now(&request, flow, 491);
            }
            // RFC 3261 14.2: one INVITE at a time.
            Method::Invite | Method::Update if open_invite && self.dialog.stage != Stage::Early => {
                self.dialog.remote_seq = Some(request.cseq_number());
                self.changed = true;
                // RFC 3261 14.2: 0 to 10 s, by chance; the peer's branch is as good as any.
                let pause = (chance_of(request.branch().unwrap_or_default()) % 11).to_string();
                self.refuse_with(&request, flow, 500, &[("Retry-After", &pause)]);
            }
            Method::Bye => self.on_bye(request, flow, now),
            Method::Invite | Method::Info | Method::Update | Method::Options => {
                self.dialog.on_request(&request, flow);
                self.dialog.set_contact(flow);
                self.changed = true;
                self.open(request, flow, now, false);
            }
            _ => {
                self.dialog.remote_seq = Some(request.cseq_number());
                self.changed = true;
                self.refuse_now(&request, flow, 405);
            }
        }
    }

    /// RFC 3261 15.1.2.
    fn on_bye(&mut self, request: Message, flow: &Flow, now: Instant) {
        self.dialog.on_request(&request, flow);
        let open: Vec<RequestId> = self
            .servers
            .iter()
            .filter(|server| matches!(server.answer, Answer::Open(_)))
            .map(|server| server.id)
            .collect();
        let id = self.open_quietly(request, flow, now);
        for pending in open {
            self.answer_quietly(pending, &Reply::new(487));
        }
        self.answer_quietly(id, &Reply::new(200));
        self.end(Cause::PeerBye);
    }

    /// RFC 3261 9.2: a CANCEL is answered for itself, and the INVITE, if still open, with 487.
    fn on_cancel(&mut self, cancel: &Message, key: &TransactionKey, flow: &Flow, _now: Instant) {
        let invite = key.cancelled_invite();
        let found = self
            .servers
            .iter()
            .find(|server| Some(&server.key) == invite.as_ref());
        let Some((id, open)) =
            found.map(|server| (server.id, matches!(server.answer, Answer::Open(_))))
        else {
            return self.refuse_now(cancel, flow, 481);
        };
        // Where members know of the call, whoever takes it over must know that it was cancelled.
        let class = if open && self.dialog.stage == Stage::Early {
            Class::End
        } else {
            Class::Refusal
        };
        self.answer_bare(cancel, flow, 200, class, &[]);
        if open {
            self.answer_quietly(id, &Reply::new(487));
            if self.dialog.stage == Stage::Early {
                self.end(Cause::Cancelled);
            }
        }
    }

    fn on_ack(&mut self, ack: &Message, _now: Instant) {
        // RFC 3261 13.3.1.4: the ACK of a 2xx has the INVITE's number and no transaction.
        let awaited = self
            .unacked
            .as_ref()
            .is_some_and(|one| one.cseq == ack.cseq_number());
        if awaited && self.dialog.matches(ack) {
            self.unacked = None;
            self.dialog.take_remote_session(ack);
            self.changed = true;
            self.tell(Event::Ack {
                message: ack.clone(),
            });
        }
    }

    fn open(&mut self, request: Message, flow: &Flow, now: Instant, initial: bool) {
        let message = request.clone();
        let id = self.open_quietly(request, flow, now);
        self.tell(Event::Request {
            id,
            message,
            initial,
        });
    }

    fn open_quietly(&mut self, request: Message, flow: &Flow, now: Instant) -> RequestId {
        let reliable = flow.transport.is_reliable();
        let reply = reply_flow(&request, flow);
        let mut actions = Vec::new();
        let machine = if *request.method() == Method::Invite {
            let trying = ResponseBuilder::new(&request, 100)
                .source(flow.remote)
                .build();
            let trying = trying.unwrap_or_default();
            Server::Invite(ServerInvite::new(reliable, trying, now, &mut actions))
        } else {
            Server::Other(ServerOther::new(reliable, now))
        };
        let id = RequestId(self.new_id());
        if self.servers.len() >= SERVER_TRANSACTIONS_PER_CALL_MAX {
            let oldest = self
                .servers
                .iter()
                .position(|one| matches!(one.answer, Answer::Out));
            if let Some(oldest) = oldest {
                self.servers.remove(oldest);
            }
        }
        self.servers.push(ServerTx {
            id,
            key: server_key(&request),
            method: request.method().clone(),
            cseq: request.cseq_number(),
            reply: Flow {
                remote: reply.remote,
                ..flow.clone()
            },
            machine,
            answer: Answer::Open(Box::new(request)),
        });
        self.act(&reply, actions);
        id
    }

    /// Requests that nobody has answered: what an heir finds when the application won't resume them.
    #[must_use]
    pub fn open_requests(&self) -> Vec<(RequestId, Method)> {
        let open = self
            .servers
            .iter()
            .filter(|one| matches!(one.answer, Answer::Open(_)));
        open.map(|server| (server.id, server.method.clone()))
            .collect()
    }

    /// The INVITE that nobody has answered finally.
    #[must_use]
    pub fn open_invite(&self) -> Option<(RequestId, Message)> {
        self.servers.iter().find_map(|server| match &server.answer {
            Answer::Open(request) if server.method == Method::Invite => {
                Some((server.id, Message::clone(request)))
            }
            _ => None,
        })
    }
}

/// A re-INVITE without a body asks for an offer, which is as much; an UPDATE without one is none.
fn brings_offer(request: &Message) -> bool {
    *request.method() == Method::Invite || !request.body().is_empty()
}
