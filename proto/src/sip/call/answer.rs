//! Our answers to the peer's requests: from an application's verb, or our own, to a response that
//! its transaction repeats. RFC 3261 8.2.6, 12.1.1, 13.3.1, 14.2.

use super::reply::{Reply, write_reply};
use super::{ALLOW, Answer, CallError, Server, SipCall, Unacked, reply_flow};
use crate::base::flow::Flow;
use crate::base::time::Instant;
use crate::sip::dialog::session_timer::SessionTimer;
use crate::sip::dialog::{Stage, is_target_refresh};
use crate::sip::effect::{Cause, Class, Effect, Outgoing, RequestId, What};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::transaction::success::UnackedSuccess;
use crate::sip::write::ResponseBuilder;

impl SipCall {
    /// Answers without a transaction: the same request would be answered the same again.
    pub(super) fn refuse_now(&mut self, request: &Message, flow: &Flow, status: u16) {
        let allow: &[(&str, &str)] = if status == 405 {
            &[("Allow", ALLOW)]
        } else {
            &[]
        };
        self.refuse_with(request, flow, status, allow);
    }

    pub(super) fn refuse_with(
        &mut self,
        request: &Message,
        flow: &Flow,
        status: u16,
        fields: &[(&str, &str)],
    ) {
        self.answer_bare(request, flow, status, Class::Refusal, fields);
    }

    pub(super) fn answer_bare(
        &mut self,
        request: &Message,
        flow: &Flow,
        status: u16,
        class: Class,
        fields: &[(&str, &str)],
    ) {
        let mut builder = ResponseBuilder::new(request, status)
            .source(flow.remote)
            .to_tag(self.dialog.local_tag.as_str());
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
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
        let local_tag = self.dialog.local_tag.clone();
        let contact = self.dialog.contact.clone();
        let initial = self.dialog.stage == Stage::Early;
        let server = self.servers.iter_mut().find(|server| server.id == id);
        let server = server.ok_or(CallError::Answered)?;
        let Answer::Open(request) = &server.answer else {
            return Err(CallError::Answered);
        };
        let accepted = (200..300).contains(&reply.status);
        let refresh = is_target_refresh(&server.method) && reply.status < 300;
        let timer = (refresh && accepted)
            .then(|| SessionTimer::answer(request))
            .flatten();
        let flow = &server.reply;
        let contact = refresh.then_some(contact);
        let bytes = write_reply(
            request,
            reply,
            flow,
            &local_tag,
            contact,
            initial,
            timer.as_ref(),
        )?;
        if reply.status < 200 {
            let what = What::Provisional(id, bytes);
            self.effects.push(Effect::Ready(Outgoing {
                class: Class::Provisional,
                what,
            }));
            return Ok(());
        }
        server.answer = Answer::Decided(reply.status, bytes);
        let invite = server.method == Method::Invite;
        let class = if invite && initial && !accepted {
            Class::End
        } else {
            Class::Answer
        };
        self.changed |= class == Class::Answer;
        if accepted && let Some((_, body)) = &reply.body {
            self.dialog.session.local = body.clone();
        }
        if invite && initial && accepted {
            self.dialog.stage = Stage::Confirmed;
        }
        if refresh {
            // Its Contact is the word that an heir would have sent, and it is a sign of life.
            self.refresh = None;
            self.timer = timer;
        }
        self.effects.push(Effect::Ready(Outgoing {
            class,
            what: What::Final(id),
        }));
        if class == Class::End {
            self.end(Cause::Refused);
        }
        Ok(())
    }

    pub(super) fn answer_quietly(&mut self, id: RequestId, reply: &Reply) {
        let Some(server) = self.servers.iter_mut().find(|server| server.id == id) else {
            return;
        };
        let Answer::Open(request) = &server.answer else {
            return;
        };
        let tag = &self.dialog.local_tag;
        let Ok(bytes) = write_reply(request, reply, &server.reply, tag, None, false, None) else {
            return;
        };
        server.answer = Answer::Decided(reply.status, bytes);
        let class = if self.dialog.stage == Stage::Early {
            Class::End
        } else {
            Class::Answer
        };
        self.effects.push(Effect::Ready(Outgoing {
            class,
            what: What::Final(id),
        }));
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
        let refreshed = is_target_refresh(&server.method) && status < 300;
        self.act(&flow, actions);
        if refreshed {
            self.start_session(now);
        }
        self.sweep();
    }
}
