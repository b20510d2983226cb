//! The phone as a server: it says 200 to what comes in its dialogs, and to calls if it was told to
//! answer them, 481 to all else, and replays its response when a request comes again.
//!
//! Must not know: sockets. RFC 3261 12.2.2, 13.3.1.4, 15.1.2, 17.2.

use std::net::SocketAddr;
use std::time::Duration;

use super::agent::{Agent, Served, Timer};
use super::call::{AckRule, Call, CallNo, CallState, End, Incoming};
use super::exchange::{GIVE_UP, T1, T2};
use super::text;
use crate::proto::sip::write::response_target;
use crate::proto::sip::{HeaderName, Message, Method};

impl Agent {
    pub(super) fn on_request(
        &mut self,
        now: Duration,
        source: SocketAddr,
        request: &Message,
    ) -> Option<CallNo> {
        let call = self.call_of(request);
        if *request.method() == Method::Ack {
            return self.on_ack(now, source, request, call);
        }
        let via = request.top_via().ok()?;
        let branch = via.branch.unwrap_or_default();
        let key = format!(
            "{branch} {} {} {}",
            via.host,
            via.sent_by_port(),
            request.method()
        );
        if let Some(served) = self.servers.get(&key) {
            let (to, response, call) = (served.to, served.response.clone(), served.call);
            if let (Some(call), Some(at)) = (call, served.incoming) {
                self.calls[call.0].incoming[at].repeats += 1;
            }
            self.send(to, response, call);
            return call;
        }
        let call = call.or_else(|| self.accepted(now, source, request));
        let to = response_target(&via, source);
        let status = call.map_or(481, |no| self.judge(no, request));
        let incoming = call.map(|no| self.note(now, no, source, request, status));
        let offers = status == 200
            && (*request.method() == Method::Invite
                || (*request.method() == Method::Update && !request.body().is_empty()));
        let tag = match call {
            Some(no) => self.calls[no.0].local_tag.clone(),
            None => format!("{}x", self.seed),
        };
        let answer = call.filter(|_| offers).map(|no| {
            let call = &mut self.calls[no.0];
            call.sdp_version += 1;
            &*call
        });
        let response = text::response(self.local, request, source, status, &tag, answer);
        let repeats = status == 200 && *request.method() == Method::Invite;
        self.servers.insert(
            key.clone(),
            Served {
                call,
                to,
                response: response.clone(),
                incoming,
                unacked: repeats.then(|| request.cseq_number()),
            },
        );
        self.send(to, response, call);
        if repeats {
            self.arm(now + T1, Timer::RepeatSuccess(key, T1, now + GIVE_UP));
        }
        call
    }

    /// The call that an INVITE begins, if such are answered here.
    fn accepted(&mut self, now: Duration, source: SocketAddr, invite: &Message) -> Option<CallNo> {
        let fresh = *invite.method() == Method::Invite && invite.to_tag().is_none();
        if !self.accepts || !fresh {
            return None;
        }
        let n = self.next_number();
        let local_tag = format!("{}t{n}", self.seed);
        let value = |name| invite.values(name).next().map(str::to_owned);
        let routes = invite.values(HeaderName::RecordRoute);
        let call = Call {
            call_id: invite.call_id().to_owned(),
            local: format!("{};tag={local_tag}", value(HeaderName::To)?),
            local_tag,
            remote: value(HeaderName::From)?,
            remote_tag: invite.from_tag().map(str::to_owned),
            target: invite.contact()?.uri.as_str().to_owned(),
            routes: routes.map(str::to_owned).collect(),
            cseq: 0,
            remote_cseq: None,
            sdp_version: 0,
            ack: AckRule::Same,
            state: CallState::Answered,
            answered: Some((now, source)),
            incoming: Vec::new(),
        };
        Some(self.add(call))
    }

    pub(super) fn repeat_success(
        &mut self,
        now: Duration,
        key: String,
        pause: Duration,
        until: Duration,
    ) {
        let Some(served) = self.servers.get(&key) else {
            return;
        };
        if served.unacked.is_none() || now >= until {
            return;
        }
        let (to, response, call) = (served.to, served.response.clone(), served.call);
        self.send(to, response, call);
        let pause = (pause * 2).min(T2);
        self.arm(now + pause, Timer::RepeatSuccess(key, pause, until));
    }

    /// The call whose dialog the request names: Call-ID and both tags.
    fn call_of(&self, request: &Message) -> Option<CallNo> {
        let no = *self.by_call_id.get(request.call_id())?;
        let call = &self.calls[no.0];
        let ours = request.to_tag() == Some(call.local_tag.as_str());
        let theirs = call.remote_tag.is_some() && request.from_tag() == call.remote_tag.as_deref();
        (ours && theirs).then_some(no)
    }

    /// The status that a request in a dialog gets.
    fn judge(&self, no: CallNo, request: &Message) -> u16 {
        let call = &self.calls[no.0];
        if matches!(call.state, CallState::Ended(_)) {
            return 481;
        }
        // RFC 3261 12.2.2.
        if call
            .remote_cseq
            .is_some_and(|last| request.cseq_number() <= last)
        {
            return 500;
        }
        200
    }

    fn note(
        &mut self,
        now: Duration,
        no: CallNo,
        source: SocketAddr,
        request: &Message,
        status: u16,
    ) -> usize {
        let call = &mut self.calls[no.0];
        if status == 200 {
            call.remote_cseq = Some(request.cseq_number());
            match request.method() {
                Method::Bye => call.state = CallState::Ended(End::Remote),
                Method::Invite | Method::Update => {
                    if let Some(contact) = request.contact() {
                        contact.uri.as_str().clone_into(&mut call.target);
                    }
                }
                _ => {}
            }
        }
        call.incoming.push(Incoming {
            at: now,
            method: request.method().clone(),
            cseq: request.cseq_number(),
            source,
            answered: status,
            repeats: 0,
        });
        call.incoming.len() - 1
    }

    fn on_ack(
        &mut self,
        now: Duration,
        source: SocketAddr,
        request: &Message,
        call: Option<CallNo>,
    ) -> Option<CallNo> {
        let no = call?;
        let number = request.cseq_number();
        for served in self.servers.values_mut() {
            if served.call == call && served.unacked == Some(number) {
                served.unacked = None;
            }
        }
        self.calls[no.0].incoming.push(Incoming {
            at: now,
            method: Method::Ack,
            cseq: number,
            source,
            answered: 0,
            repeats: 0,
        });
        Some(no)
    }
}
