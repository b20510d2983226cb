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
use crate::sip::effect::Outgoing;
use crate::sip::locator::{Locator, owner_hint};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::orphan::farewell;
use crate::sip::transaction::key::{Rfc2543Fields, TransactionKey};
use crate::wire::{self, Submit};

impl Shard {
    pub(super) fn on_effect(&mut self, effect: Effect<Outgoing>, now: Instant) {
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
        if response.cseq().method == Method::Invite {
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
                call.sip.hang_up();
            }
            Signal::EndedElsewhere => call.sip.ended_elsewhere(),
            Signal::App(body) => {
                self.tell_app(key, Event::Signal(body), now);
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
        let unanswered = call.sip.take_unanswered();
        let unsettled = call.sip.give_up_invites();
        let fresh = call.sip.dialog().stage == Stage::Early;
        let open = call.sip.open_requests();
        self.put_call(key, call);
        self.readdress(key);
        self.plan_refresh(key, unsettled, now);
        self.repeat_bye(key);
        for request in unanswered {
            // Its answer would go to the dead owner's address, so it is asked anew.
            if let Some(egress) = self.egress(key)
                && let Some(call) = self.calls.get_mut(&key)
                && let Err(error) = call.sip.again(&request, egress)
            {
                tracing::warn!(?key, %error, "own request can't be sent again");
            }
        }
        if !ended {
            self.tell_app(key, Event::Adopted, now);
        }
        for (id, method) in open {
            // A re-INVITE nobody resumed: the peer tries again by itself (RFC 3261 14.1).
            if fresh && method == Method::Invite {
                continue; // it rings on
            }
            let status = if method == Method::Invite { 491 } else { 500 };
            if let Some(call) = self.calls.get_mut(&key) {
                let _ = call.sip.respond(id, &Reply::new(status)); // the app may have answered it
            }
        }
        self.settle(key, false, now);
    }

    fn repeat_bye(&mut self, key: CallId) {
        let flow = self.calls.get(&key).map(|call| &call.sip.dialog().flow);
        if let Some(way) = flow.and_then(|flow| self.way_out(flow))
            && let Some(call) = self.calls.get_mut(&key)
        {
            call.sip.repeat_bye(&way);
        }
    }

    /// SIP.md S3.4: a 2xx to an INVITE of ours, by its sealed branch, and nobody has the call.
    fn bid_farewell(&mut self, key: CallId, flow: &Flow, response: &Message) {
        let Some(mut way) = self.way_out(flow) else {
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

/// The INVITE transaction that a response answers, by its top Via. Of clients of RFC 2543 not
/// enough comes back; what is kept for them goes by its age.
fn answered_invite(response: &Message) -> TransactionKey {
    let via = response.top_via().ok();
    let host = via
        .as_ref()
        .map(|via| via.host.as_str())
        .unwrap_or_default();
    let port = via.as_ref().and_then(|via| via.port);
    TransactionKey::server(response.branch(), host, port, "INVITE", || Rfc2543Fields {
        request_uri: "".into(),
        to_tag: "".into(),
        from_tag: "".into(),
        call_id: response.call_id().into(),
        cseq: 0,
        top_via: "".into(),
    })
}
