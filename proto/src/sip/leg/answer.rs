//! Our answers to the peer's requests: from an application's verb, or our own, to a response that
//! its transaction repeats. RFC 3261 8.2.6, 12.1.1, 13.3.1, 14.2.

use std::borrow::Cow;

use bytes::Bytes;

use super::client::chance_of;
use super::reply::{Reliability, Reply, Setting, write_reply};
use super::{Answer, CallError, Leg, Server, Unacked, reply_flow};
use crate::base::flow::Flow;
use crate::base::time::Instant;
use crate::sip::dialog::session_timer::SessionTimer;
use crate::sip::dialog::{Stage, following, has_sdp, is_session_refresh};
use crate::sip::effect::{Cause, Class, Effect, Outgoing, RequestId, What};
use crate::sip::header::HeaderName;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::transaction::success::UnackedSuccess;
use crate::sip::write::ResponseBuilder;

const SDP: &str = "application/sdp";

impl Leg {
    /// Refuses a request of the dialog: its number counts, and its repetitions get the same answer.
    pub(super) fn refuse(
        &mut self,
        request: Message,
        flow: &Flow,
        now: Instant,
        status: u16,
        fields: &[(&str, &str)],
    ) {
        self.dialog.remote_seq = Some(request.cseq_number());
        self.changed = true;
        let mut reply = Reply::new(status);
        for (name, value) in fields {
            reply = reply.header(name, value);
        }
        let id = self.open_quietly(request, flow, now);
        self.decide(id, &reply, Class::Refusal);
    }

    /// Answers without a transaction: the same request would be answered the same again.
    pub(super) fn refuse_now(&mut self, request: &Message, flow: &Flow, status: u16) {
        self.answer_bare(request, flow, status, Class::Refusal);
    }

    pub(super) fn answer_bare(
        &mut self,
        request: &Message,
        flow: &Flow,
        status: u16,
        class: Class,
    ) {
        let builder = ResponseBuilder::new(request, status)
            .source(flow.remote)
            .to_tag(self.dialog.local_tag.as_str());
        if let Ok(bytes) = builder.build() {
            // It may tell of a state that is not safe yet (an end, say): behind what is held.
            let what = What::Bare(Box::new(reply_flow(request, flow)), bytes);
            self.effects.push(Effect::Ready(Outgoing { class, what }));
        }
    }

    /// Answers a request. A provisional may be followed by others, a final by nothing.
    ///
    /// # Errors
    /// [`CallError`] if it was answered before or the response can't be written.
    pub fn respond(&mut self, id: RequestId, reply: &Reply) -> Result<(), CallError> {
        let server = self.servers.iter().find(|server| server.id == id);
        let server = server.ok_or(CallError::Answered)?;
        let Answer::Open(request) = &server.answer else {
            return Err(CallError::Answered);
        };
        if self.provisionals.is_held(server.cseq) {
            return Err(CallError::Answered);
        }
        let (request, flow) = (Message::clone(request), server.reply.clone());
        if reply.status < 200 {
            return self.respond_provisionally(id, &request, reply, &flow);
        }
        let (invite, cseq) = (server.method == Method::Invite, server.cseq);
        if invite && reply.is_accepting() && self.must_wait(cseq) {
            // RFC 3262 3: no 2xx while a description of ours is not acknowledged.
            self.provisionals.held = Some((cseq, reply.clone()));
            self.changed = true;
            return Ok(());
        }
        self.respond_finally(id, &request, reply, &flow)
    }

    fn respond_finally(
        &mut self,
        id: RequestId,
        request: &Message,
        reply: &Reply,
        flow: &Flow,
    ) -> Result<(), CallError> {
        let method = request.method();
        let invite = *method == Method::Invite;
        let initial = self.dialog.stage == Stage::Early;
        let accepted = reply.is_accepting();
        let refresh = is_session_refresh(method) && reply.status < 300;
        let subscribes = *method == Method::Subscribe;
        let creates = initial && (invite || subscribes);
        let timer = (refresh && accepted)
            .then(|| SessionTimer::answer(request))
            .flatten();
        let mut reply = self.described(request, reply);
        if *method == Method::Refer && accepted {
            self.on_referred(request, reply.to_mut());
        }
        if subscribes && accepted {
            self.on_subscribed(request, reply.to_mut());
        }
        let setting = Setting {
            local_tag: &self.dialog.local_tag,
            contact: (refresh || subscribes && accepted).then(|| self.dialog.contact.clone()),
            initial,
            timer,
            rseq: None,
        };
        let bytes = write_reply(request, &reply, flow, setting)?;
        let class = if creates && !accepted {
            Class::End
        } else {
            Class::Answer
        };
        self.changed |= class == Class::Answer;
        self.on_decided(request, &reply);
        if creates && accepted {
            self.dialog.stage = Stage::Confirmed;
        }
        if refresh {
            // Its Contact is the word that an heir would have sent, and it is a sign of life.
            self.refresh = None;
            self.timer = timer;
        }
        self.settle_answer(id, reply.status, bytes, class);
        if class == Class::End {
            self.end(Cause::Refused);
        }
        if !invite {
            self.release_success();
        }
        Ok(())
    }

    fn respond_provisionally(
        &mut self,
        id: RequestId,
        request: &Message,
        reply: &Reply,
        flow: &Flow,
    ) -> Result<(), CallError> {
        let invite = *request.method() == Method::Invite;
        let forced = request.lists(HeaderName::Require, "100rel");
        let able = forced || request.lists(HeaderName::Supported, "100rel");
        if invite && !able && reply.reliability == Reliability::Needed {
            // RFC 3261 21.4.16.
            return self.respond(id, &Reply::new(421).header("Require", "100rel"));
        }
        let wanted = forced || reply.reliability != Reliability::Plain;
        let reliable = invite && able && wanted && reply.status > 100;
        let cseq = request.cseq_number();
        let rseq = if reliable {
            let chance = chance_of(request.branch().unwrap_or_default());
            let drawn = self.draw_rseq(cseq, chance);
            Some(drawn.ok_or(CallError::TooMany)?)
        } else {
            None
        };
        let reply = if reliable {
            self.described(request, reply)
        } else {
            Cow::Borrowed(reply)
        };
        let refresh = is_session_refresh(request.method());
        let setting = Setting {
            local_tag: &self.dialog.local_tag,
            contact: refresh.then(|| self.dialog.contact.clone()),
            initial: self.dialog.stage == Stage::Early,
            timer: None,
            rseq,
        };
        let bytes = write_reply(request, &reply, flow, setting)?;
        if let Some(rseq) = rseq {
            self.queue_reliable((cseq, rseq), reply.is_described(), bytes);
            return Ok(());
        }
        let what = What::Provisional(id, bytes);
        let class = Class::Provisional;
        self.effects.push(Effect::Ready(Outgoing { class, what }));
        Ok(())
    }

    /// The reply with its session description as it may be said: with the right version, and only
    /// where offer and answer have a place for it.
    fn described<'r>(&mut self, request: &Message, reply: &'r Reply) -> Cow<'r, Reply> {
        if reply.status >= 300 {
            return Cow::Borrowed(reply);
        }
        let invite = *request.method() == Method::Invite;
        let mut reply = Cow::Borrowed(reply);
        let local = &self.dialog.session.local;
        // RFC 3261 14.2: what asks for an offer gets the last description at least.
        if invite && reply.is_accepting() && reply.body.is_none() && !has_sdp(request) {
            let body = (!local.is_empty()).then(|| (SDP.to_owned(), local.clone()));
            reply.to_mut().body = body;
        }
        if !reply.is_described() {
            return reply;
        }
        let cseq = request.cseq_number();
        if invite && !self.negotiation.on_our_response(cseq) {
            reply.to_mut().body = None; // RFC 3261 13.2.1: it was said reliably before
            return reply;
        }
        if let Some((_, body)) = &mut reply.to_mut().body {
            *body = self.follow(body);
        }
        if !invite {
            self.negotiation.on_our_answer(cseq);
        }
        self.settle_local();
        reply
    }

    /// A description of ours as it follows the one before it (RFC 3264 8).
    pub(super) fn follow(&mut self, body: &[u8]) -> Bytes {
        let agreed = &self.dialog.session.local;
        let sent = self.negotiation.sent();
        let last = if sent.is_empty() { agreed } else { sent };
        let body = following(last, body);
        self.negotiation.sends(&body, agreed);
        body
    }

    /// What we sent last is agreed on now.
    pub(super) fn settle_local(&mut self) {
        if let Some(sent) = self.negotiation.settle_sent() {
            self.dialog.session.local = sent;
        }
    }

    /// A final response was decided on: what hangs on its request is over.
    fn on_decided(&mut self, request: &Message, reply: &Reply) {
        let cseq = request.cseq_number();
        if *request.method() == Method::Invite {
            self.provisionals.on_final(cseq);
        }
        if !reply.is_accepting() {
            self.negotiation.on_our_response_lost(cseq);
        }
        self.negotiation.on_their_request_done(cseq);
    }

    fn settle_answer(&mut self, id: RequestId, status: u16, bytes: Bytes, class: Class) {
        if let Some(server) = self.servers.iter_mut().find(|server| server.id == id) {
            server.answer = Answer::Decided(status, bytes);
        }
        let what = What::Final(id);
        self.effects.push(Effect::Ready(Outgoing { class, what }));
    }

    pub(super) fn answer_quietly(&mut self, id: RequestId, reply: &Reply) {
        let class = if self.dialog.stage == Stage::Early {
            Class::End
        } else {
            Class::Answer
        };
        self.decide(id, reply, class);
    }

    fn decide(&mut self, id: RequestId, reply: &Reply, class: Class) {
        let Some(server) = self.servers.iter().find(|server| server.id == id) else {
            return;
        };
        let Answer::Open(request) = &server.answer else {
            return;
        };
        let (request, flow) = (Message::clone(request), server.reply.clone());
        let setting = Setting {
            local_tag: &self.dialog.local_tag,
            ..Setting::default()
        };
        let Ok(bytes) = write_reply(&request, reply, &flow, setting) else {
            return;
        };
        self.on_decided(&request, reply);
        self.settle_answer(id, reply.status, bytes, class);
    }

    /// Lets an output out: its transaction sends it, and its timers start now.
    pub fn emit(&mut self, outgoing: Outgoing, now: Instant) {
        match outgoing.what {
            What::Bare(flow, bytes) => self.effects.push(Effect::Send { flow: *flow, bytes }),
            What::Provisional(id, bytes) => {
                let Some(server) = self.servers.iter_mut().find(|server| server.id == id) else {
                    return;
                };
                let mut actions = Vec::new();
                match &mut server.machine {
                    Server::Invite(machine) => machine.provisional(bytes, &mut actions),
                    Server::Other(machine) => machine.provisional(bytes, &mut actions),
                }
                let flow = server.reply.clone();
                self.act(&flow, actions);
            }
            What::Reliable(rseq) => self.emit_reliable(rseq, now),
            What::Final(id) => self.emit_final(id, now),
            What::Request(id) => self.emit_request(id, now),
            What::Ack(id) => self.emit_ack(id),
        }
    }

    fn emit_final(&mut self, id: RequestId, now: Instant) {
        let Some(server) = self.servers.iter_mut().find(|server| server.id == id) else {
            return;
        };
        let Answer::Decided(status, bytes) = std::mem::replace(&mut server.answer, Answer::Out)
        else {
            return;
        };
        let mut actions = Vec::new();
        server
            .machine
            .finish(status, bytes.clone(), now, &mut actions);
        let flow = server.reply.clone();
        if server.method == Method::Invite && status < 300 && self.ended.is_none() {
            let machine = UnackedSuccess::new(bytes, now);
            self.unacked = Some(Unacked {
                cseq: server.cseq,
                flow: flow.clone(),
                machine,
            });
        }
        let refreshed = is_session_refresh(&server.method) && status < 300;
        let referred = (server.method == Method::Refer && status < 300).then_some(server.cseq);
        let subscribed = server.method == Method::Subscribe && status < 300;
        self.act(&flow, actions);
        if subscribed {
            self.start_notifier(now);
        }
        if refreshed {
            self.start_session(now);
        }
        if let Some(refer) = referred {
            self.start_subscription(refer, now);
        }
        self.sweep();
    }
}
