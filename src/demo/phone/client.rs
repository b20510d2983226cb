//! The phone as a client: what a response does to a request and to its call, and the ACKs.
//!
//! Must not know: sockets. RFC 3261 12.1.2, 12.2.1.2, 13.2.2.4, 17.1.

use std::net::SocketAddr;
use std::time::Duration;

use super::agent::Agent;
use super::call::{AckRule, CallNo, CallState, End};
use super::exchange::{ExchangeNo, Final, Outcome};
use super::text;
use crate::proto::sip::write::ack_of;
use crate::proto::sip::{HeaderName, Message, Method};

impl Agent {
    pub(super) fn on_response(
        &mut self,
        now: Duration,
        source: SocketAddr,
        status: u16,
        message: Message,
    ) -> Option<CallNo> {
        let found = message.branch().and_then(|branch| self.clients.get(branch));
        let Some(&no) = found else {
            return self.by_call_id.get(message.call_id()).copied();
        };
        let exchange = &mut self.exchanges[no.0];
        let call = exchange.call;
        if exchange.method != *message.method() {
            return Some(call);
        }
        if status < 200 {
            if exchange.outcome.is_none() {
                exchange.provisional.push((now, status));
                self.on_provisional(call, &message);
            }
            return Some(call);
        }
        let first = !matches!(exchange.outcome, Some(Outcome::Answered(_)));
        if first {
            exchange.outcome = Some(Outcome::Answered(Box::new(Final {
                at: now,
                source,
                status,
                message: message.clone(),
            })));
            self.on_final(now, source, no, status, &message);
        } else if exchange.method == Method::Invite {
            // RFC 3261 13.2.2.4 and 17.1.1.2: each repetition gets its ACK.
            let ack = exchange.ack.clone();
            if let Some((to, bytes)) = ack {
                let follows = status < 300 && self.calls[call.0].ack == AckRule::Source;
                let to = if follows { source } else { to };
                self.send(to, bytes, Some(call));
            }
        }
        Some(call)
    }

    fn on_provisional(&mut self, no: CallNo, message: &Message) {
        let call = &mut self.calls[no.0];
        if message.to_tag().is_some() && call.state == CallState::Calling {
            call.state = CallState::Ringing;
        }
    }

    fn on_final(
        &mut self,
        now: Duration,
        source: SocketAddr,
        no: ExchangeNo,
        status: u16,
        message: &Message,
    ) {
        let (call_no, method) = {
            let exchange = &self.exchanges[no.0];
            (exchange.call, exchange.method.clone())
        };
        let call = &mut self.calls[call_no.0];
        let starts = matches!(call.state, CallState::Calling | CallState::Ringing);
        if status < 300 {
            if method == Method::Invite && starts {
                call.state = CallState::Answered;
                call.answered = Some((now, source));
                call.remote_tag = message.to_tag().map(str::to_owned);
                call.remote = message
                    .header(HeaderName::To)
                    .unwrap_or_default()
                    .to_owned();
                call.routes = text::routes(message);
            }
            // RFC 3261 12.2.1.2 and RFC 3311 5.1: target refreshes.
            if matches!(method, Method::Invite | Method::Update)
                && let Some(contact) = message.contact()
            {
                contact.uri.as_str().clone_into(&mut call.target);
            }
            if method == Method::Bye {
                call.state = CallState::Ended(End::Local);
            }
            if method == Method::Invite && call.ack != AckRule::Wait {
                self.ack_success(no, source);
            }
            return;
        }
        if method == Method::Invite {
            self.ack_failure(no, message);
        }
        let call = &mut self.calls[call_no.0];
        if starts && method == Method::Invite {
            call.state = CallState::Ended(End::Refused(status));
        } else if matches!(status, 408 | 481) && call.state == CallState::Answered {
            // RFC 3261 12.2.1.2.
            call.state = CallState::Ended(End::Lost(status));
        }
    }

    /// RFC 3261 13.2.2.4: a request of its own in the dialog, with the INVITE's CSeq number.
    pub(super) fn ack_success(&mut self, no: ExchangeNo, source: SocketAddr) {
        let branch = self.new_branch();
        let exchange = &mut self.exchanges[no.0];
        let call = &self.calls[exchange.call.0];
        let to = match call.ack {
            AckRule::Same => exchange.to,
            AckRule::To(to) => to,
            AckRule::Source => source,
            AckRule::Wait => return,
        };
        let bytes = text::request(self.local, call, &Method::Ack, exchange.cseq, &branch);
        exchange.ack = Some((to, bytes.clone()));
        let call = exchange.call;
        self.send(to, bytes, Some(call));
    }

    /// RFC 3261 17.1.1.3: in the INVITE's own transaction, to where the INVITE went.
    fn ack_failure(&mut self, no: ExchangeNo, response: &Message) {
        let exchange = &mut self.exchanges[no.0];
        let invite = Message::parse(exchange.request.clone()).expect("our own INVITE can be read");
        let bytes = ack_of(&invite, response)
            .build()
            .expect("an ACK repeats what was read from messages");
        exchange.ack = Some((exchange.to, bytes.clone()));
        let (to, call) = (exchange.to, exchange.call);
        self.send(to, bytes, Some(call));
    }
}
