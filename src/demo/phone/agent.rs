//! The phone without its socket: calls, requests and timers as a function of datagrams and time.
//! What it wants to send waits in [`Agent::poll_send`].
//!
//! May touch: the SIP room's messages and builders. Must not know: sockets, threads, clocks. It is
//! deliberately not built on the product's transactions: what tests a thing must not be that thing.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::call::{AckRule, Adopted, Call, CallNo, CallState, End};
use super::exchange::{Exchange, ExchangeNo, GIVE_UP, Outcome, T1};
use super::text;
use crate::proto::sip::{Message, Method};

/// A datagram to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub to: SocketAddr,
    /// What.
    pub bytes: Bytes,
    /// For which call.
    pub call: Option<CallNo>,
}

/// What a deadline is for. Stale ones are harmless: whoever fires looks at the state first.
#[derive(Clone, Debug)]
pub(super) enum Timer {
    /// Timers A and E: the request again.
    Repeat(ExchangeNo),
    /// Timers B and F.
    GiveUp(ExchangeNo),
    /// RFC 3261 13.3.1.4: the 2xx to their re-INVITE again, after this pause, until this time.
    RepeatSuccess(String, Duration, Duration),
}

/// A response of ours, to be replayed when its request comes again.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) call: Option<CallNo>,
    pub(super) to: SocketAddr,
    pub(super) response: Bytes,
    /// The place of the request in its call's list.
    pub(super) incoming: Option<usize>,
    /// A 2xx to an INVITE with this CSeq, whose ACK has not come.
    pub(super) unacked: Option<u32>,
}

/// A phone's calls and requests.
#[derive(Debug)]
pub struct Agent {
    pub(super) local: SocketAddr,
    pub(super) seed: String,
    count: u64,
    pub(super) calls: Vec<Call>,
    pub(super) exchanges: Vec<Exchange>,
    /// By Call-ID: every one of ours is unique.
    pub(super) by_call_id: HashMap<String, CallNo>,
    /// By branch.
    pub(super) clients: HashMap<String, ExchangeNo>,
    /// By branch, sent-by and method.
    pub(super) servers: HashMap<String, Served>,
    timers: BTreeMap<(Duration, u64), Timer>,
    outbox: VecDeque<Outgoing>,
    /// Calls that come are answered.
    pub(super) accepts: bool,
}

impl Agent {
    /// A phone at `local`. `seed` makes its Call-IDs, tags and branches differ from other phones':
    /// letters and digits.
    #[must_use]
    pub fn new(local: SocketAddr, seed: &str) -> Self {
        Self {
            local,
            seed: seed.to_owned(),
            count: 0,
            calls: Vec::new(),
            exchanges: Vec::new(),
            by_call_id: HashMap::new(),
            clients: HashMap::new(),
            servers: HashMap::new(),
            timers: BTreeMap::new(),
            outbox: VecDeque::new(),
            accepts: false,
        }
    }

    /// From now on calls that come are answered at once. Else they get 481, as everything does that
    /// belongs to no call of this phone's.
    pub fn accept_calls(&mut self) {
        self.accepts = true;
    }

    /// Calls `user` at the node `to`.
    pub fn invite(
        &mut self,
        now: Duration,
        to: SocketAddr,
        user: &str,
        ack: AckRule,
    ) -> (CallNo, ExchangeNo) {
        let n = self.next_number();
        let (local, seed) = (self.local, self.seed.clone());
        let local_tag = format!("{seed}t{n}");
        let no = self.add(Call {
            call_id: format!("{seed}-{n}@{}", local.ip()),
            local: format!("<sip:phone@{local}>;tag={local_tag}"),
            local_tag,
            remote: format!("<sip:{user}@{to}>"),
            remote_tag: None,
            target: format!("sip:{user}@{to}"),
            routes: Vec::new(),
            cseq: 0,
            remote_cseq: None,
            sdp_version: 0,
            ack,
            state: CallState::Calling,
            answered: None,
            incoming: Vec::new(),
        });
        (no, self.request(now, no, Method::Invite, to))
    }

    /// Carries on a dialog that another user agent on this address has set up.
    pub fn adopt(&mut self, now: Duration, dialog: Adopted) -> CallNo {
        self.add(Call {
            local_tag: text::tag(&dialog.local).unwrap_or_default(),
            remote_tag: text::tag(&dialog.remote),
            call_id: dialog.call_id,
            local: dialog.local,
            remote: dialog.remote,
            target: dialog.target,
            routes: Vec::new(),
            cseq: dialog.cseq,
            remote_cseq: None,
            sdp_version: 1,
            ack: AckRule::Same,
            state: CallState::Answered,
            answered: Some((now, self.local)),
            incoming: Vec::new(),
        })
    }

    /// Sends a request in the call to `to`, whatever the Contact says. For everything but ACK and
    /// CANCEL.
    pub fn request(
        &mut self,
        now: Duration,
        no: CallNo,
        method: Method,
        to: SocketAddr,
    ) -> ExchangeNo {
        let branch = self.new_branch();
        let call = &mut self.calls[no.0];
        call.cseq += 1;
        if method == Method::Invite {
            call.sdp_version += 1;
        }
        let cseq = call.cseq;
        let bytes = text::request(self.local, call, &method, cseq, &branch);
        let exchange = ExchangeNo(self.exchanges.len());
        self.exchanges.push(Exchange::new(
            no,
            method,
            cseq,
            to,
            now,
            Bytes::clone(&bytes),
        ));
        self.clients.insert(branch, exchange);
        self.send(to, bytes, Some(no));
        self.arm(now + T1, Timer::Repeat(exchange));
        self.arm(now + GIVE_UP, Timer::GiveUp(exchange));
        exchange
    }

    /// Sends the ACK of the newest answered INVITE of a call that waits for it, and from now on
    /// each time the 2xx comes again.
    pub fn ack(&mut self, no: CallNo, to: SocketAddr) {
        self.calls[no.0].ack = AckRule::To(to);
        let newest = self.exchanges.iter().rposition(|exchange| {
            exchange.call == no
                && exchange.method == Method::Invite
                && exchange.status().is_some_and(|status| status < 300)
        });
        if let Some(at) = newest {
            self.ack_success(ExchangeNo(at), to);
        }
    }

    /// What still waits for an answer from `dead` is from now on repeated to `next`: the address
    /// has moved, or a proxy has chosen another target for the same transaction. How many.
    pub fn reroute(&mut self, dead: SocketAddr, next: SocketAddr) -> usize {
        let waiting = self.exchanges.iter_mut();
        let waiting = waiting.filter(|one| one.outcome.is_none() && one.to == dead);
        waiting.map(|one| one.to = next).count()
    }

    /// Takes what came from the network. Says which call it was for.
    pub fn on_datagram(
        &mut self,
        now: Duration,
        source: SocketAddr,
        bytes: Bytes,
    ) -> Option<CallNo> {
        let message = Message::parse(bytes).ok()?;
        match message.status() {
            Some(status) => self.on_response(now, source, status, message),
            None => self.on_request(now, source, &message),
        }
    }

    /// Fires what is due.
    pub fn on_time(&mut self, now: Duration) {
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= now
        {
            match entry.remove() {
                Timer::Repeat(exchange) => self.repeat(now, exchange),
                Timer::GiveUp(exchange) => self.give_up(now, exchange),
                Timer::RepeatSuccess(key, pause, until) => {
                    self.repeat_success(now, key, pause, until);
                }
            }
        }
    }

    /// When [`Agent::on_time`] is to be called next.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.timers.keys().next().map(|(at, _)| *at)
    }

    /// The next datagram to send.
    pub fn poll_send(&mut self) -> Option<Outgoing> {
        self.outbox.pop_front()
    }

    /// A call.
    #[must_use]
    pub fn call(&self, no: CallNo) -> &Call {
        &self.calls[no.0]
    }

    /// All calls, in the order they were made.
    #[must_use]
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// A request.
    #[must_use]
    pub fn exchange(&self, no: ExchangeNo) -> &Exchange {
        &self.exchanges[no.0]
    }

    /// All requests, in the order they were sent.
    #[must_use]
    pub fn exchanges(&self) -> &[Exchange] {
        &self.exchanges
    }

    pub(super) fn send(&mut self, to: SocketAddr, bytes: Bytes, call: Option<CallNo>) {
        self.outbox.push_back(Outgoing { to, bytes, call });
    }

    pub(super) fn arm(&mut self, at: Duration, timer: Timer) {
        let n = self.next_number();
        self.timers.insert((at, n), timer);
    }

    pub(super) fn new_branch(&mut self) -> String {
        let n = self.next_number();
        format!("z9hG4bK{}b{n}", self.seed)
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    pub(super) fn add(&mut self, call: Call) -> CallNo {
        let no = CallNo(self.calls.len());
        self.by_call_id.insert(call.call_id.clone(), no);
        self.calls.push(call);
        no
    }

    fn repeat(&mut self, now: Duration, no: ExchangeNo) {
        let exchange = &mut self.exchanges[no.0];
        if exchange.is_quiet() {
            return;
        }
        exchange.transmissions += 1;
        exchange.pause = exchange.next_pause();
        let (to, call, pause) = (exchange.to, exchange.call, exchange.pause);
        let request = exchange.request.clone();
        self.send(to, request, Some(call));
        self.arm(now + pause, Timer::Repeat(no));
    }

    fn give_up(&mut self, now: Duration, no: ExchangeNo) {
        let exchange = &mut self.exchanges[no.0];
        // RFC 3261 17.1.1.2: a provisional response ends Timer B as well.
        let waits = exchange.method == Method::Invite && !exchange.provisional.is_empty();
        if exchange.outcome.is_some() || waits {
            return;
        }
        exchange.outcome = Some(Outcome::TimedOut(now));
        let call = &mut self.calls[exchange.call.0];
        call.state = CallState::Ended(match call.state {
            CallState::Calling | CallState::Ringing => End::Unreachable,
            CallState::Answered => End::Lost(408),
            CallState::Ended(end) => end,
        });
    }
}
