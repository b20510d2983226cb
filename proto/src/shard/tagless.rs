//! Requests that carry nothing of ours: they begin a call, belong to an INVITE transaction of this
//! member or another, are given to the member that is to serve them, or are answered without state
//! (SIP.md S3).

use bytes::Bytes;

use super::Shard;
use super::births::{Newborn, retry_after};
use crate::base::flow::Flow;
use crate::base::ids::{CallId, shard_of};
use crate::base::time::{Duration, Instant};
use crate::cluster::view::MemberInfo;
use crate::io::{Input, Output};
use crate::sip::leg::server_key;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::reception::{Verdict, screen};
use crate::sip::transaction::key::TransactionKey;
use crate::wire::{self, Submit};

/// Members that a request may be submitted to, one after the other: views differ for a moment.
const HOPS_MAX: u8 = 2;

/// So long after its start a node may not have met everybody.
const MEET: Duration = Duration::from_secs(2);

/// A request and the way it came.
pub(super) struct Came {
    pub(super) flow: Flow,
    pub(super) bytes: Bytes,
    pub(super) request: Message,
    /// Members that submitted it to another.
    pub(super) hops: u8,
}

impl Shard {
    pub(super) fn on_tagless(&mut self, came: Came, now: Instant) {
        let position = self.sealer.position(came.request.call_id().as_bytes());
        let shard = shard_of(position, self.shards);
        if shard != self.shard {
            let (flow, bytes) = (came.flow, came.bytes);
            let input = Input::Sip { flow, bytes };
            let fresh = came.request.method().may_begin();
            self.outputs.push_back(Output::Forward {
                shard,
                input,
                fresh,
            });
            return;
        }
        let own = server_key(&came.request);
        let invite = own.cancelled_invite().unwrap_or(own);
        if let Some(key) = self.invites.get(&invite).copied() {
            return self.deliver_sip(key, came.request, &came.flow, now);
        }
        match came.request.method() {
            Method::Ack | Method::Cancel => self.seek_invite(position, &invite, came, now),
            method if method.may_begin() => {
                let hash = self.transaction_hash(&invite);
                match self.cluster.birth_of(hash) {
                    Some((key, owner)) => {
                        let message = (came.flow, came.bytes);
                        self.cluster.bring_invite(hash, (key, owner), message, now);
                    }
                    None => self.on_fresh(position, invite, came, now),
                }
            }
            _ => self.on_fresh(position, invite, came, now),
        }
    }

    /// A CANCEL or ACK whose INVITE came to another member.
    fn seek_invite(&mut self, position: u64, invite: &TransactionKey, came: Came, now: Instant) {
        let hash = self.transaction_hash(invite);
        let Came {
            flow, bytes, hops, ..
        } = came;
        if let Some(member) = self.cluster.submitted_to(hash, position) {
            let submit = Submit { hops, flow, bytes };
            self.cluster.pass_on(position, member, submit);
        } else {
            let message = wire::Message::Sip { flow, bytes };
            self.cluster.seek(position, hash, message, now);
        }
    }

    /// Nobody who could know has seen the INVITE.
    pub(super) fn on_nowhere(&mut self, message: wire::Message) {
        if let wire::Message::Sip { flow, bytes } = message
            && let Ok(request) = Message::parse(bytes)
        {
            // RFC 3261 9.2. An ACK is never answered.
            self.answer_bare(&request, &flow, 481, None, &[]);
        }
    }

    fn on_fresh(&mut self, position: u64, transaction: TransactionKey, came: Came, now: Instant) {
        match screen(&came.request, self.app.events()) {
            Verdict::Call => self.begin(position, transaction, came, None, now),
            Verdict::Answer { status, headers } => {
                if status >= 300 {
                    self.counts.rejected.count("screened");
                }
                let fields: Vec<(&str, &str)> = headers
                    .iter()
                    .map(|(name, value)| (*name, value.as_str()))
                    .collect();
                self.answer_bare(&came.request, &came.flow, status, None, &fields);
            }
        }
    }

    /// A new call: here, or at a member that takes calls.
    fn begin(
        &mut self,
        position: u64,
        transaction: TransactionKey,
        came: Came,
        instead: Option<CallId>,
        now: Instant,
    ) {
        let hash = self.transaction_hash(&transaction);
        // What was given to somebody before is not to be refused as well.
        let given = self.cluster.submitted_to(hash, position).is_some();
        if self.overloaded && !given && !self.cluster.may_still_answer(hash) {
            return self.turn_away(&came, "overloaded");
        }
        let chosen = if self.takes_calls() || came.hops >= HOPS_MAX {
            None
        } else {
            let before = self.cluster.submitted_to(hash, position);
            before.or_else(|| self.cluster.place(position))
        };
        match chosen {
            Some(member) => {
                let Came {
                    flow, bytes, hops, ..
                } = came;
                let submit = Submit { hops, flow, bytes };
                self.cluster.submit(hash, position, member, submit, now);
            }
            None if self.cluster.may_still_answer(hash) => {}
            None if self.takes_calls() || self.cluster.must_serve() => {
                let newborn = Newborn {
                    transaction,
                    flow: came.flow,
                    invite: came.request,
                    instead,
                };
                self.on_invite(newborn, now);
            }
            // Who has just come has not heard yet what the others are: the INVITE comes again
            // within T1, and a 503 would turn a caller away that they would serve.
            None if came.hops == 0 && self.awaits_members(now) => {
                self.counts.rejected.count("members_unknown");
            }
            None => self.turn_away(&came, "nobody_serves"),
        }
    }

    /// RFC 3261 21.5.4.
    fn turn_away(&mut self, came: &Came, why: &'static str) {
        self.counts.rejected.count(why);
        let pause = retry_after(&came.request);
        let retry = [("Retry-After", pause.as_str())];
        self.answer_bare(&came.request, &came.flow, 503, None, &retry);
    }

    /// Whether somebody is there of whom nothing more is known yet, or this node is so young that
    /// it may not have met or heard everybody.
    fn awaits_members(&self, now: Instant) -> bool {
        let mut others = self.view.live().filter(|info| info.id != self.view.me);
        others.any(|info| !info.known) || now.since(Instant::from_nanos(0)) < MEET
    }

    /// Neither an edge nor about to go.
    fn takes_calls(&self) -> bool {
        let me = self.view.node(self.view.me.node);
        me.is_none_or(MemberInfo::takes_calls)
    }

    /// A request comes another time: from the member that chose this one to serve it (`hops` says
    /// how often that happened before), or because whoever was to serve it has fallen silent
    /// (SIP.md S3.6; no hops).
    pub(super) fn on_brought(&mut self, flow: Flow, bytes: Bytes, hops: u8, now: Instant) {
        let Ok(request) = Message::parse(bytes.clone()) else {
            return;
        };
        let came = Came {
            flow,
            bytes,
            request,
            hops,
        };
        self.on_tagless(came, now);
    }

    /// Nobody has the call that an INVITE's transaction belonged to: its owner died before there
    /// was a record. Another call takes its place. Whether `request` was such an INVITE.
    pub(super) fn begin_instead(
        &mut self,
        key: CallId,
        flow: &Flow,
        request: &Message,
        now: Instant,
    ) -> bool {
        if !request.method().may_begin() || request.to_tag().is_some() {
            return false;
        }
        let transaction = server_key(request);
        if let Some(here) = self.invites.get(&transaction).copied() {
            self.deliver_sip(here, request.clone(), flow, now);
            return true;
        }
        let came = Came {
            flow: flow.clone(),
            bytes: request.bytes().clone(),
            request: request.clone(),
            hops: 0,
        };
        self.begin(key.position, transaction, came, Some(key), now);
        true
    }
}
