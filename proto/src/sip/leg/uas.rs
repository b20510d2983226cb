//! Requests of the peer and our answers to them. RFC 3261 8.2, 9.2, 12.2.2, 13.3, 14.2, 15.1.2.

use super::astray::Astray;
use super::client::ClientTx;
use super::notifier::Notifier;
use super::reply::Reply;
use super::{ALLOW, Answer, Leg, Server, ServerTx, pause, reply_flow, server_key};
use crate::base::flow::Flow;
use crate::base::limits::SERVER_TRANSACTIONS_PER_CALL_MAX;
use crate::base::time::Instant;
use crate::sip::dialog::offer::Admission;
use crate::sip::dialog::session_timer::{MIN_SE, is_too_small};
use crate::sip::dialog::{Dialog, Order, Stage, has_sdp, is_session_refresh};
use crate::sip::effect::{Cause, Class, Effect, Event, RequestId};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::reception::unsupported;
use crate::sip::transaction::key::TransactionKey;
use crate::sip::transaction::server_invite::ServerInvite;
use crate::sip::transaction::server_other::ServerOther;
use crate::sip::write::ResponseBuilder;

impl Leg {
    /// The call that an INVITE without To tag begins, or a SUBSCRIBE; `local_tag` is its sealed
    /// locator.
    #[must_use]
    pub fn incoming(invite: Message, flow: &Flow, local_tag: &str, now: Instant) -> Self {
        let mut call = Self::of(Dialog::incoming(&invite, local_tag, flow));
        if *invite.method() == Method::Subscribe {
            call.notifier = Some(Notifier::of(&invite));
        } else if has_sdp(&invite) {
            call.negotiation.on_their_offer(invite.cseq_number());
        }
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
            let fields = [("Unsupported", unknown.as_str())];
            return self.refuse(request, flow, now, 420, &fields); // RFC 3261 8.2.2.3
        }
        if is_session_refresh(request.method()) && is_too_small(&request) {
            let least = MIN_SE.to_string();
            return self.refuse(request, flow, now, 422, &[("Min-SE", &least)]); // RFC 4028 9
        }
        if self.is_subscription() {
            return self.on_fresh_of_subscription(request, flow, now);
        }
        match request.method() {
            Method::Bye => self.on_bye(request, flow, now),
            Method::Prack => self.on_prack(request, flow, now),
            Method::Invite | Method::Update => match self.admits(&request) {
                Admission::Take => self.take(request, flow, now),
                Admission::Glare => self.refuse(request, flow, now, 491, &[]),
                Admission::Busy => {
                    let pause = pause(&request);
                    self.refuse(request, flow, now, 500, &[("Retry-After", &pause)]);
                }
            },
            Method::Info | Method::Options => self.take(request, flow, now),
            Method::Refer => self.on_refer(request, flow, now),
            Method::Subscribe => self.on_subscribe(request, flow, now),
            Method::Notify => self.on_notify(request, flow, now),
            _ => self.refuse(request, flow, now, 405, &[("Allow", ALLOW)]),
        }
    }

    pub(super) fn take(&mut self, request: Message, flow: &Flow, now: Instant) {
        self.dialog.on_request(&request, flow);
        self.dialog.set_contact(flow);
        self.changed = true;
        if *request.method() == Method::Invite {
            self.session_is_known(); // RFC 3261 14.1: it has had our 2xx
        }
        if is_session_refresh(request.method()) && has_sdp(&request) {
            self.negotiation.on_their_offer(request.cseq_number());
        }
        self.open(request, flow, now, false);
    }

    /// What may change the session meets what is under way.
    fn admits(&self, request: &Message) -> Admission {
        let method = request.method();
        let invite = *method == Method::Invite;
        let unanswered = |server: &ServerTx| {
            server.method == *method && matches!(server.answer, Answer::Open(_))
        };
        // RFC 3261 14.2: their INVITE meets one of ours.
        if invite && self.clients.iter().any(ClientTx::is_open_invite) {
            Admission::Glare
        // RFC 3261 14.2, RFC 3311 5.2: one at a time.
        } else if self.servers.iter().any(unanswered) {
            Admission::Busy
        } else if invite || has_sdp(request) {
            self.negotiation.admits()
        } else {
            Admission::Take
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
        self.answer_bare(cancel, flow, 200, class);
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
            self.astray = Astray::No;
            self.dialog.take_remote_session(ack);
            self.negotiation.on_their_ack(ack.cseq_number());
            self.changed = true;
            self.tell(Event::Ack {
                message: ack.clone(),
            });
        }
    }

    pub(super) fn open(&mut self, request: Message, flow: &Flow, now: Instant, initial: bool) {
        let message = request.clone();
        let id = self.open_quietly(request, flow, now);
        self.tell(Event::Request {
            id,
            message,
            initial,
        });
    }

    pub(super) fn open_quietly(
        &mut self,
        request: Message,
        flow: &Flow,
        now: Instant,
    ) -> RequestId {
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
        let id = self.new_request();
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
        let open = self.servers.iter().filter(|one| {
            matches!(one.answer, Answer::Open(_)) && !self.provisionals.is_held(one.cseq)
        });
        open.map(|server| (server.id, server.method.clone()))
            .collect()
    }

    /// The INVITE that nobody has answered finally.
    #[must_use]
    pub fn open_invite(&self) -> Option<(RequestId, Message)> {
        self.servers.iter().find_map(|server| match &server.answer {
            Answer::Open(request)
                if server.method == Method::Invite && !self.provisionals.is_held(server.cseq) =>
            {
                Some((server.id, Message::clone(request)))
            }
            _ => None,
        })
    }
}
