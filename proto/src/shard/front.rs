//! The way in for SIP: whose message is it? Decided by the sealed locator, never by a host name
//! (SIP.md S1.4), and at constant cost for what is not ours.

use bytes::Bytes;

use super::Shard;
use super::counts::label;
use super::tagless::Came;
use crate::base::flow::Flow;
use crate::base::ids::CallId;
use crate::base::limits::HELD_OUTPUTS_PER_CALL_MAX;
use crate::base::time::Instant;
use crate::io::{Input, Output};
use crate::sip::call::Reception;
use crate::sip::leg::reply_flow;
use crate::sip::locator::{Locator, is_stateless_tag};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::reception::stateless_parts;
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
        if self.is_joining(now) {
            return self.counts.rejected.count("joining");
        }
        if !message.is_request() {
            self.on_response(flow, bytes, message, now);
        } else if let Some(tag) = message.to_tag() {
            let found = self.sealer.open_tag(message.call_id().as_bytes(), tag);
            match found {
                Some(locator) => self.on_located(locator, flow, bytes, message, now),
                None => self.on_foreign_tag(&message, &flow),
            }
        } else {
            let came = Came {
                flow,
                bytes,
                request: message,
                hops: 0,
            };
            self.on_tagless(came, now);
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
                fresh: false,
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
            // What repeats, acknowledges or ends is taken all the same.
            let ends = matches!(message.method(), Method::Ack | Method::Cancel | Method::Bye);
            let fresh = !ends && !call.sip.has_transaction(&message);
            if fresh && self.cluster.held(key) >= HELD_OUTPUTS_PER_CALL_MAX {
                self.counts.rejected.count("held_outputs");
                let retry = [("Retry-After", "1")];
                return self.answer_bare(&message, flow, 500, None, &retry);
            }
            if let Some(unsure) = &mut call.unsure {
                unsure.remember(flow, &message);
            }
            call.sip.on_request(message, flow, now);
        } else {
            let reception = call.sip.on_response(&message, now);
            if reception == Reception::Unwanted {
                self.bid_farewell(key, flow, &message);
            }
        }
        self.settle(key, false, now);
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
            Ok(bytes) => {
                // Where another member submitted the request, that shard of it waits for this.
                let position = self.sealer.position(request.call_id().as_bytes());
                let key = CallId { position, nonce: 0 };
                self.send_sip(Some(key), reply_flow(request, flow), bytes);
            }
            Err(error) => tracing::debug!(%error, "request can't be answered"),
        }
    }
}
