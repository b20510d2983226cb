//! A leg: one dialog and its transactions as one value.
//!
//! The UA core of RFC 3261 8, 12 to 15 for one dialog: messages and application verbs in, effects
//! out. It never sends by itself, never asks the time, and knows neither members nor records. Every
//! step that a record must hold sets `changed`.

mod answer;
mod astray;
mod causes;
mod client;
mod dial;
mod dialing;
mod image;
mod notifier;
mod prack;
mod provisional;
mod refresh;
mod reply;
mod server;
mod subscription;
mod uac;
mod uas;

use bytes::Bytes;

use super::dialog::offer::Negotiation;
use super::dialog::session_timer::SessionTimer;
use super::dialog::{Dialog, Stage};
use super::effect::{Cause, Effect, Event, RequestId};
use super::message::Message;
use super::method::Method;
use super::transaction::key::{Rfc2543Fields, TransactionKey};
use super::transaction::success::UnackedSuccess;
use super::transaction::{Action, Failure};
use super::write::response_target;
use crate::base::flow::Flow;
use crate::base::time::Instant;

use astray::Astray;
pub use client::chance_of;
use client::{Client, ClientTx};
pub use dialing::Dial;
use dialing::Dialing;
pub use image::{LegImage, LegMore};
use notifier::Notifier;
pub use notifier::package;
use prack::OwedPrack;
use provisional::Provisionals;
use refresh::Refresh;
pub use reply::{Reliability, Reply};
use server::{Answer, Server, ServerTx};
pub use subscription::EVENTS;
use subscription::{OwedNotify, Subscription};
pub use uac::{Again, Egress};

/// Methods that a call answers: the value of Allow.
pub const ALLOW: &str =
    "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, PRACK, REFER, SUBSCRIBE, NOTIFY";
/// Option tags that a call knows (RFC 3261 20.37).
pub const SUPPORTED: &[&str] = &["timer", "100rel"];
/// The same as the value of Supported.
pub const SUPPORTED_VALUE: &str = "timer, 100rel";

/// Why an application's verb could not be carried out. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The request is unknown, or was answered before.
    #[error("the request was answered before")]
    Answered,
    /// The call has ended.
    #[error("the call has ended")]
    Ended,
    /// An offer is open, or an INVITE: what was asked for has its time later (RFC 3261 14.1, RFC
    /// 3311 5.1).
    #[error("an offer is open")]
    Busy,
    /// Too many reliable provisionals wait for their PRACK.
    #[error("too many provisional responses wait")]
    TooMany,
    /// A leg's INVITE has nowhere to go: this names no address.
    #[error("{0} has no address that can be reached from here")]
    NoAddress(String),
    /// The message could not be written.
    #[error("the message can't be written: {0}")]
    Write(#[from] super::write::Refused),
}

#[derive(Clone, Debug)]
struct Unacked {
    cseq: u32,
    flow: Flow,
    machine: UnackedSuccess,
}

/// A call and everything SIP about it.
#[derive(Clone, Debug)]
pub struct Leg {
    dialog: Dialog,
    servers: Vec<ServerTx>,
    clients: Vec<ClientTx>,
    unacked: Option<Unacked>,
    /// Reliable provisionals of ours.
    provisionals: Provisionals,
    /// Which offer is open.
    negotiation: Negotiation,
    /// PRACKs that we owe.
    pracks: Vec<OwedPrack>,
    /// What REFERs have begun.
    subscriptions: Vec<Subscription>,
    /// NOTIFYs that we owe.
    notifies: Vec<OwedNotify>,
    /// Of a leg that is a subscription of its own.
    notifier: Option<Notifier>,
    /// NOTIFYs wait until then for a number.
    notify_at: Option<Instant>,
    /// The application's answer to an offer in a response, until it goes out.
    answer: Option<Bytes>,
    /// It comes later, and our ACK with it.
    answer_waits: bool,
    /// What is known of its ACK.
    astray: Astray,
    /// A BYE of ours that must wait for the ACK (RFC 3261 15).
    bye_after_ack: bool,
    /// A word to the peer that is due at some time: that the session lives (RFC 4028), or where the
    /// call is now. Not in the image: what an heir has to say, it knows.
    refresh: Option<Refresh>,
    /// How long the session lives without a refresh.
    timer: Option<SessionTimer>,
    /// Of a leg that an INVITE of ours began: what may still become of that INVITE.
    dialing: Option<Dialing>,
    ended: Option<Cause>,
    /// The peer has said that it is over, or has answered our saying so.
    end_shared: bool,
    next_id: u32,
    /// The name that a request of the peer's was given last; it outlives an owner.
    last_request: u32,
    changed: bool,
    effects: Vec<Effect>,
}

impl Leg {
    /// A call of which nothing is known but its dialog.
    fn of(dialog: Dialog) -> Self {
        Self {
            dialog,
            servers: Vec::new(),
            clients: Vec::new(),
            unacked: None,
            astray: Astray::No,
            provisionals: Provisionals::default(),
            negotiation: Negotiation::default(),
            pracks: Vec::new(),
            subscriptions: Vec::new(),
            notifies: Vec::new(),
            notifier: None,
            notify_at: None,
            answer: None,
            answer_waits: false,
            bye_after_ack: false,
            refresh: None,
            timer: None,
            dialing: None,
            ended: None,
            end_shared: false,
            next_id: 0,
            last_request: 0,
            changed: false,
            effects: Vec::new(),
        }
    }

    /// The call's dialog.
    #[must_use]
    pub fn dialog(&self) -> &Dialog {
        &self.dialog
    }

    /// Whether a record would differ from the one written last; asking resets it.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What the call wants done, in order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Why the call ended, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<Cause> {
        self.ended
    }

    /// Whether the peer has said that the call is over, or has answered our BYE. Not in the image:
    /// the record itself says so.
    #[must_use]
    pub fn is_end_shared(&self) -> bool {
        self.end_shared
    }

    /// Whether a 2xx of ours waits for its ACK, decided or sent.
    #[must_use]
    pub fn is_unacked(&self) -> bool {
        self.unacked.is_some()
            || self.servers.iter().any(|server| {
                server.method == Method::Invite
                    && matches!(server.answer, Answer::Decided(status, _) if status < 300)
            })
    }

    /// Whether nothing is left to do: over, and every transaction has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ended.is_some() && self.servers.is_empty() && self.clients.is_empty()
    }

    /// Whether it has the server transaction `key`.
    #[must_use]
    pub fn has(&self, key: &TransactionKey) -> bool {
        self.servers.iter().any(|server| server.key == *key)
    }

    /// Whether it has nothing to say just now.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.effects.is_empty() && !self.changed
    }

    /// Live transactions.
    #[must_use]
    pub fn transactions(&self) -> usize {
        self.servers.len().saturating_add(self.clients.len())
    }

    /// Ends the call without a word: it has turned out to be somebody else's.
    pub fn abandon(&mut self) {
        self.servers.clear();
        self.unacked = None;
        self.bye_after_ack = false;
        self.end(Cause::Refused);
        self.effects.clear();
    }

    /// Whether a 2xx was let out in the transaction `key` that made the leg, or else a failure or
    /// nothing yet; none once it is over.
    #[must_use]
    pub fn outcome_of(&self, key: &TransactionKey) -> Option<bool> {
        use super::transaction::server_invite::State;
        match self.machine(key)? {
            Server::Invite(machine) => Some(matches!(machine.state(), State::Accepted { .. })),
            Server::Other(_) => {
                let refused = self.ended == Some(Cause::Refused);
                Some(self.dialog.stage != Stage::Early && !refused)
            }
        }
    }

    /// Whether a final response of the transaction `key` was let out.
    #[must_use]
    pub fn is_invite_answered(&self, key: &TransactionKey) -> bool {
        match self.machine(key) {
            Some(Server::Invite(machine)) => machine.is_answered(),
            Some(Server::Other(machine)) => machine.is_answered(),
            None => false,
        }
    }

    fn machine(&self, key: &TransactionKey) -> Option<&Server> {
        let server = self.servers.iter().find(|server| server.key == *key)?;
        Some(&server.machine)
    }

    /// The key of the INVITE that made the call, or the SUBSCRIBE, while its transaction lives.
    #[must_use]
    pub fn invite_key(&self) -> Option<&TransactionKey> {
        let made = if self.notifier.is_some() {
            Method::Subscribe
        } else {
            Method::Invite
        };
        let maker = self.servers.iter().find(|server| server.method == made);
        maker.map(|server| &server.key)
    }

    /// When [`Leg::on_timeout`] is wanted.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let servers = self
            .servers
            .iter()
            .filter_map(|server| server.machine.next_deadline());
        let clients = self
            .clients
            .iter()
            .filter_map(|client| client.machine.as_ref().and_then(Client::next_deadline));
        let unacked = self
            .unacked
            .iter()
            .filter_map(|unacked| unacked.machine.next_deadline());
        let refresh = self.refresh.iter().map(Refresh::at);
        let session = self.session_deadline();
        let provisional = self.provisionals.next_deadline();
        let pracks = self.pracks.iter().map(|owed| owed.at);
        let others = unacked.chain(refresh).chain(session);
        let ends = self.subscriptions.iter().filter_map(|one| one.ends);
        let others = others.chain(provisional).chain(pracks).chain(ends);
        let expiry = self.notifier.as_ref().and_then(Notifier::deadline);
        let others = others.chain(self.notify_at).chain(self.dial_deadline());
        let others = others.chain(expiry);
        servers.chain(clients).chain(others).min()
    }

    /// Lets everything happen that is due.
    pub fn on_timeout(&mut self, now: Instant) {
        for index in 0..self.servers.len() {
            let mut actions = Vec::new();
            let Some(server) = self.servers.get_mut(index) else {
                break;
            };
            server.machine.on_timeout(now, &mut actions);
            let flow = server.reply.clone();
            self.act(&flow, actions);
        }
        let mut lost = Vec::new();
        for index in 0..self.clients.len() {
            let mut actions = Vec::new();
            let Some(client) = self.clients.get_mut(index) else {
                break;
            };
            let Some(machine) = client.machine.as_mut() else {
                continue;
            };
            machine.on_timeout(now, &mut actions);
            if actions
                .iter()
                .any(|action| matches!(action, Action::Failed(_)))
            {
                lost.push((client.id, client.method.clone()));
            }
            let flow = client.flow.clone();
            self.act(&flow, actions);
        }
        for (id, method) in lost {
            self.own_request_done(id, &method, None, now);
        }
        self.on_unacked_timeout(now);
        self.on_provisional_timeout(now);
        self.on_subscription_timeout(now);
        self.on_notifier_timeout(now);
        self.notify_at = self.notify_at.filter(|at| *at > now); // it is asked for until it can go
        self.put_off_refresh(now);
        self.on_session_timeout(now);
        self.on_dial_timeout(now);
        self.sweep();
        self.release_success();
    }

    fn on_unacked_timeout(&mut self, now: Instant) {
        let Some(unacked) = self.unacked.as_mut() else {
            return;
        };
        let mut actions = Vec::new();
        unacked.machine.on_timeout(now, &mut actions);
        let (flow, cseq) = (unacked.flow.clone(), unacked.cseq);
        let gave_up = actions.contains(&Action::Failed(Failure::Timeout));
        self.act(&flow, actions);
        if gave_up {
            self.negotiation.on_our_response_lost(cseq);
            self.unacked = None;
            self.changed = true;
            self.on_no_ack(now);
        }
    }

    /// Whether our BYE is due: it was asked for and the ACK, or the end of waiting for it, has come.
    #[must_use]
    pub fn owes_bye(&self) -> bool {
        let acked = !self.is_unacked() && !self.owes_ack();
        self.bye_after_ack && acked && self.ended.is_none()
    }

    /// Turns what a machine wants into effects. Failures are the caller's to see.
    fn act(&mut self, flow: &Flow, actions: Vec<Action>) {
        for action in actions {
            if let Action::Send(bytes) = action {
                self.effects.push(Effect::Send {
                    flow: flow.clone(),
                    bytes,
                });
            }
        }
    }

    fn sweep(&mut self) {
        let (negotiation, provisionals) = (&mut self.negotiation, &mut self.provisionals);
        self.servers.retain(|server| {
            let over = server.machine.is_terminated();
            if over && matches!(server.answer, Answer::Open(_)) {
                negotiation.on_their_request_done(server.cseq); // nobody answered it
            }
            if over && server.method == Method::Invite {
                provisionals.list.retain(|one| one.cseq != server.cseq);
            }
            !over
        });
        self.clients.retain(|client| {
            let machine = client.machine.as_ref();
            client.ack_due || machine.is_none_or(|machine| !machine.is_terminated())
        });
    }

    fn end(&mut self, cause: Cause) {
        if self.ended.is_none() {
            // RFC 3261 15.1.2: what is open is answered; nobody will do it later.
            let open = |one: &&ServerTx| matches!(one.answer, Answer::Open(_));
            let open: Vec<_> = self.servers.iter().filter(open).map(|one| one.id).collect();
            for id in open {
                self.answer_quietly(id, &Reply::new(487));
            }
            self.ended = Some(cause);
            self.dialog.stage = Stage::Ended;
            self.unacked = None;
            self.refresh = None;
            self.timer = None;
            self.provisionals.held = None;
            self.pracks.clear();
            self.subscriptions.clear();
            self.notifies.clear();
            self.notify_at = None;
            self.give_up_answer();
            // An INVITE of ours that rings would be waited for without end, and repeated meanwhile.
            self.clients.retain(|client| {
                let machine = client.machine.as_ref();
                client.method != Method::Invite || machine.is_some_and(|one| !one.is_open())
            });
            self.end_shared = !matches!(cause, Cause::OwnBye | Cause::NoAck);
            self.changed = true;
            self.tell(Event::Ended(cause));
        }
    }

    fn tell(&mut self, event: Event) {
        self.effects.push(Effect::Event(Box::new(event)));
    }

    fn new_request(&mut self) -> RequestId {
        self.last_request = self.last_request.wrapping_add(1);
        RequestId(self.last_request)
    }

    fn new_id(&mut self) -> u32 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }
}

/// RFC 3261 14.2: 0 to 10 s for Retry-After, by chance; the peer's branch is as good as any.
fn pause(request: &Message) -> String {
    (chance_of(request.branch().unwrap_or_default()) % 11).to_string()
}

/// The server transaction that a request belongs to (RFC 3261 17.2.3).
#[must_use]
pub fn server_key(request: &Message) -> TransactionKey {
    let via = request.top_via().ok();
    let host = via
        .as_ref()
        .map(|via| via.host.as_str())
        .unwrap_or_default();
    let port = via.as_ref().and_then(|via| via.port);
    let method = request.method().as_str();
    TransactionKey::server(request.branch(), host, port, method, || Rfc2543Fields {
        request_uri: request.request_uri().into(),
        to_tag: request.to_tag().unwrap_or_default().into(),
        from_tag: request.from_tag().unwrap_or_default().into(),
        call_id: request.call_id().into(),
        cseq: request.cseq_number(),
        top_via: via.as_ref().map(|via| via.raw).unwrap_or_default().into(),
    })
}

/// The way a response to `request` goes back (RFC 3261 18.2.2, RFC 3581 4).
#[must_use]
pub fn reply_flow(request: &Message, flow: &Flow) -> Flow {
    let mut reply = flow.clone();
    if !flow.transport.is_reliable()
        && let Ok(via) = request.top_via()
    {
        reply.remote = response_target(&via, flow.remote);
    }
    reply
}
