//! The way in for SIP: whose message is it? Decided by the sealed locator, never by a host name
//! (SIP.md S1.4), and at constant cost for what is not ours.

use std::hash::{BuildHasher as _, Hasher as _};

use bytes::Bytes;
use rand::Rng as _;

use super::Shard;
use super::counts::label;
use super::live::LiveCall;
use crate::base::flow::Flow;
use crate::base::ids::{CallId, shard_of};
use crate::base::time::Instant;
use crate::cluster::policy::AlonePolicy;
use crate::io::{Input, Output};
use crate::sip::call::{SipCall, reply_flow, server_key};
use crate::sip::locator::{Locator, is_stateless_tag, owner_hint};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::reception::{Verdict, screen, stateless_parts};
use crate::sip::write::ResponseBuilder;
use crate::wire;

impl Shard {
    pub(super) fn on_sip(&mut self, flow: Flow, bytes: Bytes, now: Instant) {
        let message = match Message::parse(bytes.clone()) {
            Ok(message) => message,
            Err(bad) => {
                if !bad.is_keep_alive() {
                    self.counts.rejected.count("malformed");
                    if let Some(request) = bad.partial {
                        self.answer_bare(&request, &flow, bad.status, Some(bad.reason), &[]);
                    }
                }
                return;
            }
        };
        self.counts.sip_in.count(label(&bytes));
        if !message.is_request() {
            self.on_response(flow, bytes, message, now);
        } else if let Some(tag) = message.to_tag() {
            let found = self.sealer.open_tag(message.call_id().as_bytes(), tag);
            match found {
                Some(locator) => self.on_located(locator, flow, bytes, message, now),
                None => self.on_foreign_tag(&message, &flow),
            }
        } else {
            self.on_tagless(flow, bytes, message, now);
        }
    }

    /// SIP.md S2.3: constant cost, no traffic to other members.
    fn on_foreign_tag(&mut self, request: &Message, flow: &Flow) {
        if *request.method() == Method::Ack {
            // The ACK of a stateless refusal, or noise: an ACK is never answered.
            if !request.to_tag().is_some_and(is_stateless_tag) {
                self.counts.rejected.count("foreign_tag");
            }
            return;
        }
        self.counts.rejected.count("foreign_tag");
        self.answer_bare(request, flow, 481, None, &[]);
    }

    fn on_response(&mut self, flow: Flow, bytes: Bytes, response: Message, now: Instant) {
        let branch = response.branch().unwrap_or_default();
        match self
            .sealer
            .open_branch(response.call_id().as_bytes(), branch)
        {
            Some(locator) => self.on_located(locator, flow, bytes, response, now),
            None => self.counts.rejected.count("stray_response"),
        }
    }

    /// A message whose call id is known: here, in another shard, or at another member.
    fn on_located(
        &mut self,
        locator: Locator,
        flow: Flow,
        bytes: Bytes,
        message: Message,
        now: Instant,
    ) {
        let key = locator.call;
        let shard = key.shard(self.shards);
        if shard != self.shard {
            self.outputs.push_back(Output::Forward {
                shard,
                input: Input::Sip { flow, bytes },
            });
        } else if self.calls.contains_key(&key) && self.cluster.is_active(key) {
            self.deliver_sip(key, message, &flow, now);
        } else {
            let message = wire::Message::Sip { flow, bytes };
            self.cluster.bring(key, Some(locator.hint), message, now);
        }
    }

    /// Hands a message to the call that runs here.
    pub(super) fn deliver_sip(&mut self, key: CallId, message: Message, flow: &Flow, now: Instant) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        if message.is_request() {
            call.sip.on_request(message, flow, now);
        } else {
            call.sip.on_response(&message, now);
        }
        self.settle(key, false, now);
    }

    /// A request that carries nothing of ours: it begins a call, belongs to an INVITE transaction of
    /// this member, or is answered without state.
    fn on_tagless(&mut self, flow: Flow, bytes: Bytes, request: Message, now: Instant) {
        let position = self.sealer.position(request.call_id().as_bytes());
        let shard = shard_of(position, self.shards);
        if shard != self.shard {
            self.outputs.push_back(Output::Forward {
                shard,
                input: Input::Sip { flow, bytes },
            });
            return;
        }
        let transaction = server_key(&request);
        let invite = transaction
            .cancelled_invite()
            .unwrap_or_else(|| transaction.clone());
        if let Some(key) = self.invites.get(&invite).copied() {
            return self.deliver_sip(key, request, &flow, now);
        }
        if *request.method() == Method::Ack {
            return;
        }
        match screen(&request) {
            Verdict::Call => self.on_invite(position, flow, request, now),
            Verdict::Answer { status, headers } => {
                if status >= 300 {
                    self.counts.rejected.count("screened");
                }
                let fields: Vec<(&str, &str)> = headers
                    .iter()
                    .map(|(name, value)| (*name, value.as_str()))
                    .collect();
                self.answer_bare(&request, &flow, status, None, &fields);
            }
        }
    }

    fn on_invite(&mut self, position: u64, flow: Flow, invite: Message, now: Instant) {
        let merge = self.merge_hash(&invite);
        if self.merges.contains_key(&merge) {
            // RFC 3261 8.2.2.2: the same request by two ways.
            self.counts.rejected.count("merged");
            return self.answer_bare(&invite, &flow, 482, None, &[]);
        }
        let key = CallId {
            position,
            nonce: self.rng.next_u64(),
        };
        if self.policy.alone == AlonePolicy::Refuse && self.cluster.is_alone(key) {
            self.counts.rejected.count("alone");
            let retry = [("Retry-After", "5")];
            return self.answer_bare(&invite, &flow, 503, None, &retry);
        }
        let locator = Locator {
            call: key,
            hint: owner_hint(self.view.me.node),
        };
        let tag = self
            .sealer
            .seal_tag(invite.call_id().as_bytes(), locator, &mut self.rng);
        let transaction = server_key(&invite);
        self.invites.insert(transaction.clone(), key);
        self.merges.insert(merge, key);
        self.cluster.born(key, now);
        let sip = SipCall::incoming(invite, &flow, &tag, now);
        let mut call = LiveCall::new(sip, std::sync::Arc::clone(&self.app), now);
        call.invite = Some((transaction, Some(merge)));
        self.calls.insert(key, call);
        self.settle(key, false, now);
    }

    fn merge_hash(&self, invite: &Message) -> u64 {
        let mut hash = self.hasher.build_hasher();
        for part in [
            invite.call_id(),
            invite.from_tag().unwrap_or_default(),
            invite.request_uri(),
        ] {
            hash.write(part.as_bytes());
            hash.write_u8(0xff);
        }
        hash.write_u32(invite.cseq_number());
        hash.finish()
    }

    /// Answers without keeping anything; the tag is a function of the request (RFC 3261 8.2.7).
    pub(super) fn answer_bare(
        &mut self,
        request: &Message,
        flow: &Flow,
        status: u16,
        reason: Option<&str>,
        fields: &[(&str, &str)],
    ) {
        if *request.method() == Method::Ack {
            return;
        }
        let parts = stateless_parts(request);
        let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
        let tag = self.sealer.stateless_tag(&parts);
        let mut builder = ResponseBuilder::new(request, status)
            .source(flow.remote)
            .to_tag(tag.as_ref());
        if let Some(reason) = reason {
            builder = builder.reason(reason);
        }
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        match builder.build() {
            Ok(bytes) => self.send_sip(None, reply_flow(request, flow), bytes),
            Err(error) => tracing::debug!(%error, "request can't be answered"),
        }
    }
}
