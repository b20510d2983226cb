//! What the cluster room wants done: releases, deliveries, calls brought to life and given up.

use super::Shard;
use super::live::LiveCall;
use crate::app::{Event, Reply, Signal};
use crate::base::flow::Flow;
use crate::base::ids::{Ballot, CallId, MemberId};
use crate::base::time::{Duration, Instant};
use crate::cluster::effect::Effect;
use crate::io::Output;
use crate::sip::dialog::Stage;
use crate::sip::effect::{LegId, RequestId};
use crate::sip::leg::Again;
use crate::sip::locator::{Locator, owner_hint};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::orphan::farewell;
use crate::sip::transaction::key::{Rfc2543Fields, TransactionKey};
use crate::wire::{self, Submit};

impl Shard {
    pub(super) fn on_effect(&mut self, effect: Effect<super::Held>, now: Instant) {
        match effect {
            Effect::Frame { to, address, frame } => {
                let version = self.wires.get(&to).copied().unwrap_or(wire::VERSION_MIN);
                if let Some(bytes) = wire::encode(address, &frame, version) {
                    self.outputs.push_back(Output::Frame { to, bytes });
                }
            }
            Effect::Release { key, output, .. } => self.emit(key, output, now),
            Effect::Drop { .. } => {}
            Effect::Deliver { key, message } => self.on_deliver(key, message, now),
            Effect::Activated {
                key,
                record,
                cseq_floor,
                asked,
            } => {
                self.on_activated(key, &record, cseq_floor, asked, now);
            }
            Effect::Yielded { key } => self.drop_call(key),
            Effect::EndedHere { key, ballot } => self.tell_winner(key, ballot, now),
            Effect::NotFound { key, message } => self.on_not_found(key, message, now),
            Effect::Judged { key, judgement } => self.on_judged(key, judgement, now),
            Effect::Expose { key } => self.expose(key, now),
            Effect::End { key, end } => self.on_end(key, &end),
            Effect::Nowhere { message } => self.on_nowhere(message),
            Effect::Submitted(Submit { hops, flow, bytes }) => {
                self.on_brought(flow, bytes, hops.saturating_add(1), now);
            }
            Effect::Again { flow, bytes } => self.on_brought(flow, bytes, 0, now),
            Effect::Egress(egress) => {
                // The owner counted it; here it only leaves.
                self.note_answer(&egress.bytes);
                self.outputs.push_back(Output::Sip {
                    flow: egress.flow,
                    bytes: egress.bytes,
                });
            }
            Effect::SignalAnswer(answer) => {
                self.answer_ask(answer.ask, answer.refusal.map_or(Ok(()), Err));
            }
        }
    }

    /// A final response passes through on its way out: the request it answers, if we brought it to
    /// the owner, is done with. Brought again to an heir it would be a new request there.
    fn note_answer(&mut self, bytes: &bytes::Bytes) {
        let Ok(response) = Message::parse(bytes.clone()) else {
            return;
        };
        if response.status().is_none_or(|status| status < 200) {
            return;
        }
        if response.cseq().method.may_begin() {
            let hash = self.transaction_hash(&answered_invite(&response));
            self.cluster.kept_answered(hash);
        }
        let tag = response.to_tag().unwrap_or_default();
        let locator = self.sealer.open_tag(response.call_id().as_bytes(), tag);
        let Some(key) = locator.map(|locator| locator.call) else {
            return;
        };
        self.cluster.answered(key, |brought| match brought {
            wire::Message::Sip { bytes, .. } => {
                Message::parse(bytes.clone()).is_ok_and(|request| {
                    request.is_request()
                        && request.branch() == response.branch()
                        && request.cseq() == response.cseq()
                })
            }
            wire::Message::Signal { .. } => false,
        });
    }

    fn on_deliver(&mut self, key: CallId, message: wire::Message, now: Instant) {
        // Several inputs may be taken before effects are looked at: the call was fenced by a later
        // one, and whoever has it now will answer.
        if self.calls.contains_key(&key) && !self.cluster.is_active(key) {
            return self.cluster.bring(key, None, message, now);
        }
        match message {
            wire::Message::Sip { flow, bytes } => {
                let Ok(message) = Message::parse(bytes) else {
                    return;
                };
                if self.calls.contains_key(&key) {
                    self.deliver_sip(key, message, &flow, now);
                } else if message.is_request() {
                    self.answer_bare(&message, &flow, 481, None, &[]);
                }
            }
            wire::Message::Signal {
                asker,
                shard,
                ask,
                body,
            } => {
                let refusal = self.signal(key, body, now).err();
                self.tell_asker(asker, shard, wire::SignalAnswer { ask, refusal });
            }
        }
    }

    fn signal(&mut self, key: CallId, body: bytes::Bytes, now: Instant) -> Result<(), String> {
        let Some(call) = self.calls.get_mut(&key) else {
            return Err("no such call".to_owned());
        };
        if call.sip.ended().is_some() {
            return Err("the call has ended".to_owned());
        }
        match Signal::read(body) {
            Signal::HangUp => {
                call.sip.hang_up_all();
            }
            Signal::EndedElsewhere => call.sip.ended_elsewhere(),
            Signal::App(body) => {
                let leg = call.sip.first_name();
                self.tell_app(key, leg, Event::Signal(body), now);
                self.touch(key, now);
            }
        }
        self.settle(key, false, now);
        Ok(())
    }

    /// PROTOCOL.md rule 22: whoever owns the call at a higher ballot does not know that a phone
    /// ended it here.
    fn tell_winner(&mut self, key: CallId, ballot: Ballot, now: Instant) {
        let message = wire::Message::Signal {
            asker: self.view.me,
            shard: self.shard,
            ask: 0, // nobody waits for the answer
            body: bytes::Bytes::from_static(Signal::ENDED_ELSEWHERE),
        };
        self.cluster.bring_to(key, ballot, message, now);
    }

    fn tell_asker(&mut self, asker: MemberId, shard: u16, answer: wire::SignalAnswer) {
        if asker == self.view.me && shard == self.shard {
            self.answer_ask(answer.ask, answer.refusal.map_or(Ok(()), Err));
        } else {
            self.cluster.answer_signal(asker, shard, answer);
        }
    }

    /// SIP.md S4: what the heir does with what the dead owner left.
    fn on_activated(
        &mut self,
        key: CallId,
        record: &wire::Record,
        cseq_floor: u32,
        asked: Option<Instant>,
        now: Instant,
    ) {
        let age = Duration::from_millis(u64::from(record.age_ms));
        let mut call = match LiveCall::decode(&record.state, age, &self.app, now) {
            Ok(call) => call,
            Err(error) => {
                // The record stays where it is; a member that can read it may still take it.
                tracing::error!(?key, %error, "call can't be brought to life");
                return;
            }
        };
        tracing::debug!(?key, epoch = record.ballot.epoch, "adopted");
        call.cseq_floor = cseq_floor;
        call.asked = asked;
        if let Some(invite) = call.sip.invite_key().cloned() {
            self.invites.insert(invite.clone(), key);
            call.invite = Some(invite);
        }
        let ended = call.sip.ended().is_some();
        let mut left: Vec<Left> = Vec::new();
        for id in call.sip.names() {
            let Some(leg) = call.sip.leg_mut(id) else {
                continue;
            };
            left.push(Left {
                id,
                unanswered: leg.take_unanswered(),
                unsettled: leg.give_up_invites(),
                rings: leg.dialog().stage == Stage::Early,
                open: leg.open_requests(),
            });
        }
        let first = call.sip.first_name();
        self.put_call(key, call);
        self.adopt_dials(key);
        for leg in &left {
            self.readdress(key, leg.id);
            self.plan_refresh(key, leg.id, leg.unsettled, now);
            self.repeat_bye(key, leg.id);
        }
        for leg in &left {
            self.ask_again(key, leg);
        }
        if !ended {
            self.tell_app(key, first, Event::Adopted, now);
        }
        let call = self.calls.get_mut(&key);
        let kept = call.map(|call| std::mem::take(&mut call.kept));
        for leg in &left {
            self.answer_unresumed(key, leg, kept.as_deref().unwrap_or_default());
        }
        self.settle(key, false, now);
    }

    /// Requests of the dead owner's, whose answers would go to its address.
    fn ask_again(&mut self, key: CallId, left: &Left) {
        for request in &left.unanswered {
            if let Some(egress) = self.egress(key, left.id)
                && let Some(leg) = self.leg_mut(key, left.id)
                && let Err(error) = leg.again(request, egress)
            {
                tracing::warn!(?key, %error, "own request can't be sent again");
            }
        }
    }

    /// Requests of the peer's that the application did not resume.
    fn answer_unresumed(&mut self, key: CallId, left: &Left, kept: &[(LegId, RequestId)]) {
        for (id, method) in &left.open {
            if kept.contains(&(left.id, *id)) {
                continue;
            }
            // A re-INVITE nobody resumed: the peer tries again by itself (RFC 3261 14.1).
            let invite = *method == Method::Invite;
            if left.rings && invite {
                continue; // it rings on
            }
            let status = if invite { 491 } else { 500 };
            if let Some(leg) = self.leg_mut(key, left.id) {
                let _ = leg.respond(*id, &Reply::new(status)); // the app may have answered it
            }
        }
    }

    fn repeat_bye(&mut self, key: CallId, id: LegId) {
        let flow = self.leg(key, id).map(|leg| &leg.dialog().flow);
        if let Some(way) = flow.and_then(|flow| self.way_out(flow, Some(key)))
            && let Some(leg) = self.leg_mut(key, id)
        {
            leg.repeat_bye(&way);
        }
    }

    /// SIP.md S3.4: a 2xx to an INVITE of ours, by its sealed branch, and nobody has the call.
    pub(super) fn bid_farewell(&mut self, key: CallId, flow: &Flow, response: &Message) {
        let Some(mut way) = self.way_out(flow, Some(key)) else {
            return;
        };
        let locator = Locator {
            call: key,
            hint: owner_hint(self.view.me.node),
        };
        let call_id = response.call_id().as_bytes();
        let branches = [(); 2].map(|()| self.sealer.seal_branch(call_id, locator, &mut self.rng));
        let [ack, bye] = &branches;
        if let Some(farewell) = farewell(response, &way, [ack, bye]) {
            self.counts.rejected.count("orphan_2xx");
            way.remote = farewell.next_hop.unwrap_or(flow.remote);
            self.send_sip(Some(key), way.clone(), farewell.ack);
            self.send_sip(Some(key), way, farewell.bye);
        }
    }

    /// Nobody has the call: requests learn it, and whoever answers an INVITE of ours.
    fn on_not_found(&mut self, key: CallId, message: wire::Message, now: Instant) {
        match message {
            wire::Message::Sip { flow, bytes } => {
                let Ok(message) = Message::parse(bytes) else {
                    return;
                };
                if self.begin_instead(key, &flow, &message, now) {
                    return;
                }
                if message.is_request() {
                    self.counts.rejected.count("no_call");
                    self.answer_bare(&message, &flow, 481, None, &[]);
                } else {
                    self.bid_farewell(key, &flow, &message);
                }
            }
            wire::Message::Signal {
                asker, shard, ask, ..
            } => {
                tracing::debug!(?key, "signal for an unknown call");
                let refusal = Some("no such call".to_owned());
                self.tell_asker(asker, shard, wire::SignalAnswer { ask, refusal });
            }
        }
    }
}

/// What the owner before left open in a leg.
struct Left {
    id: LegId,
    unanswered: Vec<Again>,
    /// An INVITE of ours was not answered.
    unsettled: bool,
    /// The leg is early.
    rings: bool,
    open: Vec<(RequestId, Method)>,
}

/// The transaction of an INVITE, or SUBSCRIBE, that a response answers, by its top Via. Of clients
/// of RFC 2543 not enough comes back; what is kept for them goes by its age.
fn answered_invite(response: &Message) -> TransactionKey {
    let via = response.top_via().ok();
    let host = via
        .as_ref()
        .map(|via| via.host.as_str())
        .unwrap_or_default();
    let port = via.as_ref().and_then(|via| via.port);
    let method = response.cseq().method;
    TransactionKey::server(response.branch(), host, port, method.as_str(), || {
        Rfc2543Fields {
            request_uri: "".into(),
            to_tag: "".into(),
            from_tag: "".into(),
            call_id: response.call_id().into(),
            cseq: 0,
            top_via: "".into(),
        }
    })
}
