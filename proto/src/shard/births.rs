//! The birth of a call: its INVITE's hashes, its notice, and the time until the notice is known to
//! be the first (SIP.md S3.1 to S3.3). What the notices mean is decided in the cluster room.

use std::net::IpAddr;

use bytes::Bytes;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::Shard;
use super::live::LiveCall;
use crate::base::flow::Flow;
use crate::base::ids::CallId;
use crate::base::limits::HELD_OUTPUTS_MAX;
use crate::base::time::Instant;
use crate::cluster::policy::AlonePolicy;
use crate::sip::call::SipCall;
use crate::sip::leg::{chance_of, reply_flow};
use crate::sip::locator::{Locator, owner_hint};
use crate::sip::message::Message;
use crate::sip::transaction::key::TransactionKey;
use crate::sip::write::ResponseBuilder;
use crate::wire::{self, Birth, Ending, Judgement, Outcome};

/// Requests of a call that is not sure to stand, kept for whoever it belongs to instead.
const LATER_MAX: usize = 4;

/// A call between its birth and the word that it stands.
pub(super) struct Unsure {
    flow: Flow,
    bytes: Bytes,
    /// What it would have said, and whether time alone caused it.
    pub(super) held: Vec<(super::Held, bool)>,
    /// Requests that came meanwhile.
    later: Vec<(Flow, Bytes)>,
}

impl Unsure {
    pub(super) fn remember(&mut self, flow: &Flow, request: &Message) {
        if self.later.len() < LATER_MAX {
            self.later.push((flow.clone(), request.bytes().clone()));
        }
    }
}

/// An INVITE that may begin a call.
pub(super) struct Newborn {
    pub(super) transaction: TransactionKey,
    pub(super) flow: Flow,
    pub(super) invite: Message,
    /// The call that the transaction belonged to, which nobody has any more.
    pub(super) instead: Option<CallId>,
}

/// The end record (SIP.md S3.3): a response and its way.
#[derive(Serialize, Deserialize)]
struct EndRecord {
    flow: Flow,
    bytes: Bytes,
}

impl Shard {
    pub(super) fn transaction_hash(&self, transaction: &TransactionKey) -> u128 {
        match transaction {
            TransactionKey::Rfc3261 {
                branch,
                sent_by,
                method,
            } => self.sealer.fingerprint(&[
                b"transaction",
                branch.as_bytes(),
                sent_by.as_bytes(),
                method.as_bytes(),
            ]),
            TransactionKey::Rfc2543 { fields, method } => self.sealer.fingerprint(&[
                b"transaction 2543",
                fields.request_uri.as_bytes(),
                fields.to_tag.as_bytes(),
                fields.from_tag.as_bytes(),
                fields.call_id.as_bytes(),
                &fields.cseq.to_be_bytes(),
                fields.top_via.as_bytes(),
                method.as_bytes(),
            ]),
        }
    }

    fn birth(&self, key: CallId, newborn: &Newborn, end: Bytes) -> Birth {
        let invite = &newborn.invite;
        let low = |hash: u128| u64::try_from(hash & u128::from(u64::MAX)).unwrap_or_default();
        let attempt = self.sealer.fingerprint(&[
            b"attempt",
            invite.call_id().as_bytes(),
            invite.from_tag().unwrap_or_default().as_bytes(),
            &invite.cseq_number().to_be_bytes(),
        ]);
        let target = [b"target".as_slice(), invite.request_uri().as_bytes()];
        Birth {
            key,
            transaction: self.transaction_hash(&newborn.transaction),
            attempt: low(attempt),
            target: low(self.sealer.fingerprint(&target)),
            instead: newborn.instead,
            end,
        }
    }

    /// A call begins here, unless it must not.
    pub(super) fn on_invite(&mut self, newborn: Newborn, now: Instant) {
        let position = self.sealer.position(newborn.invite.call_id().as_bytes());
        let key = CallId {
            position,
            nonce: self.rng.next_u64(),
        };
        let locator = Locator {
            call: key,
            hint: owner_hint(self.view.me.node),
        };
        let birth = self.birth(key, &newborn, Bytes::new());
        let source = newborn.flow.remote.ip();
        if let Some((status, why)) = self.refusal(&birth, source) {
            self.counts.rejected.count(why);
            let pause = retry_after(&newborn.invite);
            let retry = [("Retry-After", pause.as_str())];
            let fields = if status == 503 { &retry[..] } else { &[] };
            return self.answer_bare(&newborn.invite, &newborn.flow, status, None, fields);
        }
        let call_id = newborn.invite.call_id().as_bytes();
        let tag = self.sealer.seal_tag(call_id, locator, &mut self.rng);
        let Newborn {
            transaction,
            flow,
            invite,
            ..
        } = newborn;
        let end = if self.cluster.has_other_holders(position) {
            end_record(&invite, &flow, &tag)
        } else {
            Bytes::new()
        };
        self.invites.insert(transaction.clone(), key);
        self.cluster.born(key, now);
        self.cluster.post_birth(Birth { end, ..birth }, now);
        let unsure = Unsure {
            flow: flow.clone(),
            bytes: invite.bytes().clone(),
            held: Vec::new(),
            later: Vec::new(),
        };
        let sip = SipCall::incoming(invite, &flow, &tag, now);
        let mut call = LiveCall::new(sip, std::sync::Arc::clone(&self.app), now);
        call.invite = Some(transaction);
        call.unsure = Some(Box::new(unsure));
        call.source = Some(source);
        self.setups.begin(source);
        self.put_call(key, call);
        self.settle(key, false, now);
    }

    /// Why a birth must not be: a status and its reason in the counters.
    fn refusal(&self, birth: &Birth, source: IpAddr) -> Option<(u16, &'static str)> {
        let calls = self.positions.get(&birth.key.position).copied();
        if self.cluster.is_merged_here(birth) {
            // RFC 3261 8.2.2.2: the same request by two ways.
            Some((482, "merged"))
        } else if calls.unwrap_or(0) >= self.policy.calls_per_position {
            Some((503, "calls_per_position"))
        } else if self.policy.alone == AlonePolicy::Refuse && self.cluster.is_alone(birth.key) {
            Some((503, "alone"))
        } else if self.cluster.held_in_all() >= HELD_OUTPUTS_MAX {
            // What stands goes first: its requests wait at the gate, new ones are turned away.
            Some((503, "gate"))
        } else {
            self.setups.refusal(source).map(|why| (503, why))
        }
    }

    /// The word on a birth.
    pub(super) fn on_judged(&mut self, key: CallId, judgement: Judgement, now: Instant) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let Some(unsure) = call.unsure.take() else {
            return;
        };
        let Unsure {
            flow,
            bytes,
            held,
            later,
        } = *unsure;
        if judgement == Judgement::First {
            for (outgoing, by_timer) in held {
                self.let_out(key, outgoing, by_timer, now);
            }
            return self.after(key, now);
        }
        let transaction = call.invite.clone();
        self.abandon(key, now);
        match judgement {
            Judgement::Taken { key, owner } => {
                if let Some(transaction) = transaction {
                    let hash = self.transaction_hash(&transaction);
                    self.cluster
                        .bring_invite(hash, (key, owner), (flow, bytes), now);
                }
                for (flow, bytes) in later {
                    let message = wire::Message::Sip { flow, bytes };
                    self.cluster.bring_towards(key, owner, message, now);
                }
            }
            Judgement::Merged => {
                self.counts.rejected.count("merged");
                if let Ok(invite) = Message::parse(bytes) {
                    self.answer_bare(&invite, &flow, 482, None, &[]);
                }
            }
            Judgement::Ended | Judgement::First => {}
        }
    }

    /// A birth that does not stand leaves no trace that a phone could see.
    fn abandon(&mut self, key: CallId, now: Instant) {
        let wire = self.common_wire();
        if self.cluster.is_early(key) {
            self.cluster.forget(key);
        } else if let Some(call) = self.calls.get_mut(&key) {
            // Copies of it are under way: they are told that it is over.
            call.sip.abandon();
            let state = call.encode(wire, call.app_state(), now);
            self.cluster.changed(key, state, Ending::ByPhone, now);
        }
        self.drop_call(key);
    }

    /// Tells the holders of the notice how far the INVITE's transaction has come.
    pub(super) fn tell_outcome(&mut self, key: CallId, now: Instant) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let Some(invite) = &call.invite else {
            return;
        };
        let outcome = call
            .sip
            .outcome_of(invite)
            .map_or(Outcome::Over, |answered| {
                if answered {
                    Outcome::Answered
                } else {
                    Outcome::Refused
                }
            });
        let open = outcome != Outcome::Over && !call.sip.is_invite_answered(invite);
        if open || call.told == Some(outcome) {
            return;
        }
        call.told = Some(outcome);
        self.cluster.settle_birth(key, outcome, now);
        if outcome == Outcome::Over
            && let Some(call) = self.calls.get_mut(&key)
        {
            let invite = call.invite.take();
            self.drop_invite(key, invite);
        }
    }

    /// The owner of a call died before it had a record, and we are to say so.
    pub(super) fn on_end(&mut self, key: CallId, end: &[u8]) {
        let Ok(EndRecord { flow, bytes }) = postcard::from_bytes(end) else {
            return;
        };
        self.send_sip(Some(key), flow, bytes);
    }
}

/// RFC 3261 20.33: not the same for all that are turned away at once.
pub(super) fn retry_after(invite: &Message) -> String {
    let chance = chance_of(invite.branch().unwrap_or_default());
    (chance % 10 + 5).to_string()
}

fn end_record(invite: &Message, flow: &Flow, tag: &str) -> Bytes {
    let response = ResponseBuilder::new(invite, 500)
        .source(flow.remote)
        .to_tag(tag)
        .build();
    let Ok(bytes) = response else {
        return Bytes::new();
    };
    let flow = reply_flow(invite, flow);
    postcard::to_stdvec(&EndRecord { flow, bytes }).map_or_else(|_| Bytes::new(), Bytes::from)
}
