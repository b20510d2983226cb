//! Our reliable provisionals until their PRACK, and the 2xx that waits for it. RFC 3262 3, 5.
//!
//! One is out at a time, so they come in order; the others wait, written and numbered. What an heir
//! needs lies in the record: the last RSeq, what is out, what waits.

use bytes::Bytes;

use super::reply::Reply;
use super::{Answer, Leg, Server};
use crate::base::flow::Flow;
use crate::base::limits::RELIABLES_PER_CALL_MAX;
use crate::base::time::Instant;
use crate::sip::dialog::has_sdp;
use crate::sip::dialog::offer::{Admission, Open};
use crate::sip::effect::{Class, Effect, Outgoing, RequestId, What};
use crate::sip::header::{HeaderName, RAck};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::transaction::reliable::UnackedProvisional;
use crate::sip::transaction::{Action, Failure};

/// How far a reliable provisional has come.
#[derive(Clone, Debug)]
pub(super) enum Progress {
    /// Another one is out.
    Queued,
    /// Its turn has come; it is not let out yet.
    Decided,
    /// Let out, and sent again until its PRACK.
    Out(UnackedProvisional),
    /// The INVITE was answered meanwhile: not sent again, its PRACK is still expected.
    Late,
}

#[derive(Clone, Debug)]
pub(super) struct Reliable {
    /// The INVITE's number.
    pub(super) cseq: u32,
    pub(super) rseq: u32,
    /// It has a session description.
    pub(super) described: bool,
    pub(super) response: Bytes,
    pub(super) progress: Progress,
}

/// The reliable provisionals of a call's open INVITE.
#[derive(Clone, Debug, Default)]
pub(super) struct Provisionals {
    /// The INVITE's number, and the RSeq it had last.
    pub(super) last: Option<(u32, u32)>,
    pub(super) list: Vec<Reliable>,
    /// The INVITE's number, and its 2xx, which must not leave before a PRACK (RFC 3262 3) or before
    /// the answer to another offer.
    pub(super) held: Option<(u32, Reply)>,
}

impl Provisionals {
    /// RFC 3262 3: the first is drawn from 1 to 2^31-1, each further one is one more.
    fn next_rseq(&mut self, cseq: u32, chance: u64) -> u32 {
        let rseq = match self.last {
            Some((invite, rseq)) if invite == cseq => rseq.saturating_add(1),
            _ => u32::try_from(chance % 0x7fff_fffe)
                .unwrap_or(0)
                .saturating_add(1),
        };
        self.last = Some((cseq, rseq));
        rseq
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let out = self.list.iter().filter_map(|one| match &one.progress {
            Progress::Out(machine) => machine.next_deadline(),
            Progress::Queued | Progress::Decided | Progress::Late => None,
        });
        out.min()
    }

    pub(super) fn is_held(&self, cseq: u32) -> bool {
        self.held
            .as_ref()
            .is_some_and(|(invite, _)| *invite == cseq)
    }

    /// Whether a description of ours waits for its PRACK.
    pub(super) fn is_described(&self) -> bool {
        let waits = |one: &&Reliable| one.described && !matches!(one.progress, Progress::Late);
        self.list.iter().any(|one| waits(&one))
    }

    /// RFC 3262 3: with a final response to the INVITE, what is out is not sent again, and what
    /// waits never is.
    pub(super) fn on_final(&mut self, cseq: u32) {
        self.held.take_if(|(invite, _)| *invite == cseq);
        let queued = |one: &Reliable| matches!(one.progress, Progress::Queued);
        self.list.retain(|one| one.cseq != cseq || !queued(one));
        for one in self.list.iter_mut().filter(|one| one.cseq == cseq) {
            if matches!(one.progress, Progress::Out(_)) {
                one.progress = Progress::Late;
            }
        }
    }

    /// What has not been acknowledged says something else from now on.
    pub(super) fn rewrite(&mut self, with: impl Fn(&Bytes) -> Option<Bytes>) {
        for one in &mut self.list {
            if let Some(response) = with(&one.response) {
                one.response = response;
            }
            if let Progress::Out(machine) = &mut one.progress {
                machine.rewrite(&with);
            }
        }
    }

    /// Takes the provisional that a PRACK names; whether there was one.
    fn acknowledge(&mut self, rack: &RAck) -> bool {
        let found = self.list.iter().position(|one| {
            let sent = matches!(one.progress, Progress::Out(_) | Progress::Late);
            sent && one.rseq == rack.rseq && one.cseq == rack.cseq.number
        });
        let known = rack.cseq.method == Method::Invite;
        found
            .filter(|_| known)
            .map(|at| self.list.remove(at))
            .is_some()
    }
}

impl Leg {
    /// A provisional response to an INVITE that goes reliably: numbered, and its turn waited for.
    pub(super) fn queue_reliable(
        &mut self,
        (cseq, rseq): (u32, u32),
        described: bool,
        response: Bytes,
    ) {
        self.provisionals.list.push(Reliable {
            cseq,
            rseq,
            described,
            response,
            progress: Progress::Queued,
        });
        self.changed = true;
        self.next_reliable();
    }

    /// The RSeq of the next reliable provisional; none if too many wait.
    pub(super) fn draw_rseq(&mut self, cseq: u32, chance: u64) -> Option<u32> {
        (self.provisionals.list.len() < RELIABLES_PER_CALL_MAX)
            .then(|| self.provisionals.next_rseq(cseq, chance))
    }

    /// RFC 3262 3: another one follows when the one before it is acknowledged.
    fn next_reliable(&mut self) {
        let list = &mut self.provisionals.list;
        let busy = |one: &Reliable| matches!(one.progress, Progress::Decided | Progress::Out(_));
        if list.iter().any(busy) {
            return;
        }
        let queued = |one: &&mut Reliable| matches!(one.progress, Progress::Queued);
        if let Some(next) = list.iter_mut().find(queued) {
            next.progress = Progress::Decided;
            let what = What::Reliable(next.rseq);
            let class = Class::Reliable;
            self.effects.push(Effect::Ready(Outgoing { class, what }));
        }
    }

    pub(super) fn emit_reliable(&mut self, rseq: u32, now: Instant) {
        let mut list = self.provisionals.list.iter_mut();
        let found = list.find(|one| one.rseq == rseq && matches!(one.progress, Progress::Decided));
        let Some(one) = found else {
            return;
        };
        let mut servers = self.servers.iter_mut();
        let invite =
            servers.find(|server| server.method == Method::Invite && server.cseq == one.cseq);
        let Some(server) = invite else {
            return;
        };
        let open = matches!(server.answer, Answer::Open(_));
        one.progress = if open {
            Progress::Out(UnackedProvisional::new(one.response.clone(), now))
        } else {
            Progress::Late
        };
        let mut actions = Vec::new();
        if let Server::Invite(machine) = &mut server.machine {
            machine.provisional(one.response.clone(), &mut actions);
        }
        let flow = server.reply.clone();
        self.act(&flow, actions);
    }

    pub(super) fn on_provisional_timeout(&mut self, now: Instant) {
        let mut given_up = None;
        for index in 0..self.provisionals.list.len() {
            let mut actions = Vec::new();
            let Some(one) = self.provisionals.list.get_mut(index) else {
                break;
            };
            let Progress::Out(machine) = &mut one.progress else {
                continue;
            };
            machine.on_timeout(now, &mut actions);
            let cseq = one.cseq;
            if actions.contains(&Action::Failed(Failure::Timeout)) {
                given_up = Some(cseq);
            }
            if let Some(flow) = self.invite_by(cseq).map(|(_, flow)| flow) {
                self.act(&flow, actions);
            }
        }
        let id = given_up
            .and_then(|cseq| self.invite_by(cseq))
            .map(|(id, _)| id);
        if let (Some(id), Some(cseq)) = (id, given_up) {
            // RFC 3262 3: the INVITE is rejected with a 5xx.
            self.provisionals
                .held
                .take_if(|(invite, _)| *invite == cseq);
            // Its own faults are impossible here: the request is open and the reply bare.
            let _ = self.respond(id, &Reply::new(504));
        }
    }

    fn invite_by(&self, cseq: u32) -> Option<(RequestId, Flow)> {
        let mut servers = self.servers.iter();
        let found = servers.find(|one| one.method == Method::Invite && one.cseq == cseq);
        found.map(|server| (server.id, server.reply.clone()))
    }

    /// RFC 3262 3: a PRACK that names what is out is answered with 2xx; one that doesn't, 481.
    pub(super) fn on_prack(&mut self, request: Message, flow: &Flow, now: Instant) {
        let rack = request.header(HeaderName::RAck).map(RAck::parse);
        let Some(Ok(rack)) = rack else {
            return self.refuse(request, flow, now, 400, &[]);
        };
        if !self.provisionals.acknowledge(&rack) {
            return self.refuse(request, flow, now, 481, &[]);
        }
        self.dialog.on_request(&request, flow);
        self.changed = true;
        let described = has_sdp(&request);
        let answered = self.negotiation.on_their_ack(rack.cseq.number);
        let number = request.cseq_number();
        match self.negotiation.admits() {
            // RFC 3262 5: an offer of the peer's own, which our 2xx answers.
            Admission::Take if described && !answered => {
                self.negotiation.on_their_offer(number);
                self.open(request, flow, now, false);
            }
            Admission::Glare | Admission::Busy if described && !answered => {
                let pause = super::pause(&request);
                self.refuse(request, flow, now, 500, &[("Retry-After", &pause)]);
            }
            Admission::Take | Admission::Glare | Admission::Busy => {
                let id = self.open_quietly(request, flow, now);
                self.answer_quietly(id, &Reply::new(200));
            }
        }
        self.next_reliable();
        self.release_success();
    }

    /// Whether the 2xx to the peer's INVITE must wait.
    pub(super) fn must_wait(&self, cseq: u32) -> bool {
        let other = matches!(self.negotiation.open(), Some(Open::Theirs(open)) if open != cseq);
        other || self.provisionals.is_described()
    }

    /// Decides on a 2xx that had to wait, if it needn't any more.
    pub(super) fn release_success(&mut self) {
        let ready = |(cseq, _): &(u32, Reply)| !self.must_wait(*cseq);
        if !self.provisionals.held.as_ref().is_some_and(ready) {
            return;
        }
        if let Some((cseq, reply)) = self.provisionals.held.take()
            && let Some((id, _)) = self.invite_by(cseq)
        {
            // It was an application's, and the request is open still.
            let _ = self.respond(id, &reply);
        }
    }
}
