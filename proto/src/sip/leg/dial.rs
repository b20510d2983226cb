//! A leg of our own: the INVITE that begins it, what may become of that INVITE, its CANCEL. RFC
//! 3261 8.1.1, 9.1, 12.1.2, 13.2.2; RFC 4028 7.3.
//!
//! One INVITE may be answered in several dialogs (RFC 3261 12.1.2): each is a leg, made by
//! [`Leg::fork`] from the one that sent it, with a client transaction of its own under the same
//! branch. Which of them a response is for is the call's to say, not decided here.

use bytes::Bytes;

use super::client::{Client, ClientTx, Purpose};
use super::dialing::{Cancel, Dial, Dialing, later};
use super::uac::{Again, Egress};
use super::{CallError, Leg, Negotiation, Provisionals};
use crate::base::flow::Flow;
use crate::base::limits::T1_X64;
use crate::base::time::{Duration, Instant};
use crate::sip::dialog::session_timer::SessionTimer;
use crate::sip::dialog::{Dialog, Session, Stage};
use crate::sip::effect::{Cause, Class, Effect, Event, Outgoing, OwnRequestId, What};
use crate::sip::header::{HeaderName, without_tag};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::transaction::client_invite::State;
use crate::sip::transaction::key::ClientKey;
use crate::sip::write::cancel_of;

impl Leg {
    /// The leg that an INVITE of ours begins. It leaves by `egress`, whose flow's remote address is
    /// where it goes if neither Route nor Request-URI has an address; it is put to the policy table
    /// like any output. `call_id` and `local_tag` are ours.
    ///
    /// # Errors
    /// [`CallError::Write`] if the INVITE can't be written.
    pub fn outgoing(
        dial: &Dial,
        [call_id, local_tag]: [&str; 2],
        egress: Egress,
    ) -> Result<Self, CallError> {
        let (from, to) = (without_tag(&dial.from), without_tag(&dial.to));
        let uris = [from.as_ref(), to.as_ref(), dial.target.as_str()];
        let dialog = Dialog::outgoing(uris, &dial.routes, [call_id, local_tag], &egress.flow);
        let mut leg = Self::of(dialog);
        leg.dialing = Some(Dialing::new(dial));
        let body = dial.body.as_ref();
        let body = body.map(|(kind, body)| (kind.as_str(), body.as_ref()));
        let fields = dial.fields();
        leg.write_request(Method::Invite, &fields, body, egress, Purpose::Dial)?;
        Ok(leg)
    }

    /// Whether an INVITE of ours began it.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.dialing.is_some()
    }

    /// Whether an INVITE of ours began it, and a 2xx has come.
    #[must_use]
    pub fn is_picked_up(&self) -> bool {
        self.dialing.as_ref().is_some_and(|one| one.answered)
    }

    /// Whether an INVITE of ours began it, and it ended without a 2xx.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.ended.is_some() && self.is_ours() && !self.is_picked_up()
    }

    /// Max-Forwards of a request of ours.
    pub(super) fn max_forwards(&self, purpose: Purpose) -> u8 {
        let dialing = self.dialing.as_ref().filter(|_| purpose == Purpose::Dial);
        dialing.map_or(70, |dialing| dialing.max_forwards)
    }

    /// The INVITE that began the leg, while it has no final response.
    fn open_dial(&self) -> Option<&ClientTx> {
        let mut clients = self.clients.iter();
        clients.find(|one| {
            let open = one.machine.as_ref().is_none_or(Client::is_open);
            one.purpose == Purpose::Dial && open
        })
    }

    /// Whether the INVITE that began the leg has no final response.
    #[must_use]
    pub fn is_dialing(&self) -> bool {
        self.open_dial().is_some()
    }

    /// Whether the INVITE that began this leg was sent with this branch.
    #[must_use]
    pub fn dialled_with(&self, branch: &str) -> bool {
        let mut dials = self
            .clients
            .iter()
            .filter(|one| one.purpose == Purpose::Dial);
        dials.any(|one| one.key == ClientKey::new(branch, "INVITE"))
    }

    /// Whether a response belongs to a request of this leg's.
    #[must_use]
    pub fn awaits(&self, response: &Message) -> bool {
        let branch = response.branch().unwrap_or_default();
        let key = ClientKey::new(branch, response.method().as_str());
        let success = matches!(response.status(), Some(200..=299));
        self.clients.iter().any(|client| {
            // Refused, and sent again: a 2xx behind the refusal is not its own (RFC 3261 16.7).
            let past = client.method == Method::Invite && client.purpose == Purpose::Cancel;
            client.key == key && !(success && past)
        })
    }

    /// Another dialog that the same INVITE is answered in, as it stands before its first response.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut fork = Self::of(self.dialog.clone());
        fork.dialing.clone_from(&self.dialing);
        if let Some(dialing) = &mut fork.dialing {
            dialing.rings_until = None; // one takes time for all
        }
        fork.next_id = self.next_id;
        let dial = self.clients.iter().find(|one| one.purpose == Purpose::Dial);
        fork.clients = dial.cloned().into_iter().collect();
        for client in &mut fork.clients {
            (client.rseq, client.ack, client.acked) = (None, None, false);
            client.ack_due = false;
        }
        fork.undo_dialog();
        fork
    }

    /// Back to an INVITE that nobody has answered.
    fn undo_dialog(&mut self) {
        let Some(dialing) = &self.dialing else {
            return;
        };
        self.dialog.remote_tag.clear();
        self.dialog.remote_target.clone_from(&dialing.target);
        self.dialog.route_set.clone_from(&dialing.routes);
        self.dialog.remote_seq = None;
        (self.dialog.peer_allow, self.dialog.peer_supported) = (None, None);
        self.dialog.session = Session::default();
        self.negotiation = Negotiation::default();
        self.provisionals = Provisionals::default();
        let dial = self.clients.iter().find(|one| one.purpose == Purpose::Dial);
        let request = dial.and_then(|one| Message::parse(one.request.clone()).ok());
        if let Some(request) = request {
            self.dialog.local_seq = request.cseq_number(); // RFC 3261 12.1.2
            let offer = crate::sip::dialog::sdp_of(&request);
            if !offer.is_empty() {
                self.negotiation.on_our_offer(request.cseq_number());
                self.negotiation.sends(&offer, &Bytes::new());
            }
        }
    }

    /// The INVITE was answered in another dialog, or refused as a whole.
    pub fn leave(&mut self, cause: Cause) {
        if self.dialog.stage == Stage::Early {
            self.end(cause);
            self.clients.retain(|one| one.purpose != Purpose::Dial);
        }
    }

    /// A provisional response to an INVITE: of one that began the leg it may make the dialog.
    pub(super) fn on_ringing(&mut self, id: OwnRequestId, response: &Message) {
        let client = self.clients.iter().find(|client| client.id == id);
        let dials = client.is_some_and(|client| client.purpose == Purpose::Dial);
        if dials && !self.dialog.is_established() && response.to_tag().is_some() {
            self.dialog.establish(response);
            self.changed = true;
        }
    }

    /// A 2xx to the INVITE that began the leg (RFC 3261 13.2.2.4).
    pub(super) fn on_picked_up(&mut self, response: &Message, now: Instant) {
        self.dialog.establish(response);
        self.dialog.stage = Stage::Confirmed;
        if let Some(dialing) = &mut self.dialing {
            dialing.answered = true;
        }
        self.changed = true;
        self.timer = SessionTimer::accepted(response, now);
        self.start_session(now);
        // RFC 3261 9.1: it came too late, so the session is ended as any other.
        self.bye_after_ack |= self.is_cancelled();
    }

    /// Whether the INVITE that began the leg was taken back.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        let dialing = self.dialing.as_ref();
        dialing.is_some_and(|dialing| dialing.cancel != Cancel::No)
    }

    /// What became of the INVITE that began the leg; no message if it was not answered in time.
    pub(super) fn on_dialled(&mut self, id: OwnRequestId, message: Option<Message>) {
        let status = message.as_ref().and_then(Message::status).unwrap_or(408);
        let accepted = status < 300;
        if status == 422 && self.redial(id, message.as_ref()) {
            return;
        }
        let client = self.clients.iter().find(|client| client.id == id);
        let told = client.is_some_and(|client| client.given_up);
        if !(told || accepted && self.is_cancelled()) {
            self.tell(Event::Response {
                mark: 0,
                method: Method::Invite,
                message,
            });
        }
        if !accepted {
            self.end(Cause::Rejected);
        }
    }

    /// RFC 4028 7.3: the INVITE goes out again, with the interval that the peer wants at least.
    fn redial(&mut self, id: OwnRequestId, response: Option<&Message>) -> bool {
        let least = response.and_then(|response| response.header(HeaderName::MinSe));
        let least: Option<u32> =
            least.and_then(|value| value.split(';').next()?.trim().parse().ok());
        let client = self.clients.iter().find(|client| client.id == id);
        let again = client.and_then(Again::of);
        let (Some(dialing), Some(least), Some(mut again)) = (&mut self.dialing, least, again)
        else {
            return false;
        };
        if dialing.retried || dialing.cancel != Cancel::No {
            return false;
        }
        dialing.retried = true;
        again.replace("Session-Expires", &least.to_string());
        again.replace("Min-SE", &least.to_string());
        dialing.again = Some((again, Instant::START));
        self.changed = true;
        true
    }

    /// Whether the INVITE is to be sent again now.
    #[must_use]
    pub fn owes_invite(&self, now: Instant) -> bool {
        let again = self.dialing.as_ref().and_then(|one| one.again.as_ref());
        self.ended.is_none() && again.is_some_and(|(_, at)| *at <= now)
    }

    /// An INVITE that is to be sent again waits for something outside.
    pub fn delay_invite(&mut self, until: Instant) {
        let again = self.dialing.as_mut().and_then(|one| one.again.as_mut());
        if let Some((_, at)) = again {
            *at = until;
        }
    }

    /// Sends the INVITE again that is due, with a number of its own (RFC 3261 8.1.3.5).
    ///
    /// # Errors
    /// [`CallError`] if it can't be written; the leg has ended then.
    pub fn send_invite(&mut self, egress: Egress) -> Result<(), CallError> {
        let again = self.dialing.as_mut().and_then(|one| one.again.take());
        let Some((again, _)) = again else {
            return Ok(());
        };
        let number = self.dialog.local_seq;
        self.undo_dialog();
        self.dialog.local_seq = number;
        // The one before only waits for repetitions of its refusal; it began nothing.
        for client in &mut self.clients {
            if client.purpose == Purpose::Dial {
                client.purpose = Purpose::Cancel;
            }
        }
        let sent = self.again(&again, egress);
        sent.inspect_err(|_| self.end(Cause::Rejected))
    }

    /// Takes the INVITE back. RFC 3261 9.1: the CANCEL waits for a provisional response, and a 2xx
    /// may still come.
    pub(super) fn cancel(&mut self) {
        let Some(dialing) = &mut self.dialing else {
            return;
        };
        if dialing.cancel != Cancel::No {
            return;
        }
        dialing.cancel = Cancel::Wanted;
        self.changed = true;
        if self.open_dial().is_none() {
            return self.end(Cause::Rejected); // it was about to be sent again
        }
        self.send_wanted_cancel();
    }

    /// The INVITE was taken back in another of its dialogs.
    pub fn is_taken_back(&mut self) {
        if let Some(dialing) = &mut self.dialing
            && dialing.cancel == Cancel::No
        {
            dialing.cancel = Cancel::Sent(None);
            self.changed = true;
        }
    }

    pub(super) fn send_wanted_cancel(&mut self) {
        let wanted = |dialing: &Dialing| dialing.cancel == Cancel::Wanted;
        let ringing = self
            .open_dial()
            .is_some_and(|invite| match &invite.machine {
                Some(Client::Invite(machine)) => matches!(machine.state(), State::Proceeding),
                Some(Client::Other(_)) | None => false,
            });
        if ringing && self.dialing.as_ref().is_some_and(wanted) {
            self.write_cancel();
        }
    }

    fn write_cancel(&mut self) {
        let Some(invite) = self.open_dial() else {
            return;
        };
        let (flow, branch) = (invite.flow.clone(), invite.key.branch.clone());
        let parsed = Message::parse(invite.request.clone());
        let Some(request) = parsed.ok().and_then(|one| cancel_of(&one).build().ok()) else {
            return;
        };
        let id = OwnRequestId(self.new_id());
        let client = ClientTx::new(id, &branch, Method::Cancel, flow, request, Purpose::Cancel);
        self.clients.push(client);
        if let Some(dialing) = &mut self.dialing {
            dialing.cancel = Cancel::Sent(None);
        }
        self.changed = true;
        self.effects.push(Effect::Ready(Outgoing {
            class: Class::Request,
            what: What::Request(id),
        }));
    }

    /// A request of ours was let out.
    pub(super) fn on_dial_let_out(&mut self, purpose: Purpose, now: Instant) {
        let Some(dialing) = &mut self.dialing else {
            return;
        };
        let ring = Duration::from_millis(u64::from(dialing.ring_ms));
        match purpose {
            Purpose::Dial => dialing.rings_until = Some(later(now, ring)),
            Purpose::Cancel => dialing.cancel = Cancel::Sent(Some(later(now, T1_X64))),
            Purpose::App | Purpose::Refresh | Purpose::Prack | Purpose::Notify => {}
        }
    }

    /// One of an INVITE's dialogs takes time for all; another does, once that one has ended. Gives
    /// the time away.
    pub fn take_dial_clock(&mut self) -> Option<Instant> {
        self.ended?;
        self.dial_clock_mut()?.take()
    }

    /// Goes on with [`Leg::take_dial_clock`] of another; false if it is not for this one.
    pub fn keep_dial_clock(&mut self, at: Instant) -> bool {
        let waits = self.ended.is_none() && self.is_dialing();
        let Some(clock) = self.dial_clock_mut().filter(|one| waits && one.is_none()) else {
            return false;
        };
        *clock = Some(at);
        true
    }

    fn dial_clock_mut(&mut self) -> Option<&mut Option<Instant>> {
        let dialing = self.dialing.as_mut()?;
        match &mut dialing.cancel {
            Cancel::No => Some(&mut dialing.rings_until),
            Cancel::Wanted => None,
            Cancel::Sent(at) => Some(at),
        }
    }

    pub(super) fn dial_deadline(&self) -> Option<Instant> {
        let dialing = self.dialing.as_ref().filter(|_| self.ended.is_none())?;
        let ring = match dialing.cancel {
            Cancel::No => dialing.rings_until,
            Cancel::Wanted => None,
            Cancel::Sent(at) => at,
        };
        let again = dialing.again.as_ref().map(|(_, at)| *at);
        ring.filter(|_| self.is_dialing()).or(again)
    }

    pub(super) fn on_dial_timeout(&mut self, now: Instant) {
        let Some(dialing) = &self.dialing else {
            return;
        };
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let (rung, lost) = match dialing.cancel {
            Cancel::No => (due(dialing.rings_until), false),
            Cancel::Wanted => (false, false),
            Cancel::Sent(at) => (false, due(at)),
        };
        let Some(id) = self.open_dial().map(|invite| invite.id) else {
            return;
        };
        if rung {
            self.give_up_dial(id);
            self.cancel();
        } else if lost {
            // RFC 3261 9.1: its transaction is not waited for any longer.
            self.own_request_done(id, &Method::Invite, None, now);
            self.clients.retain(|client| client.id != id);
        }
    }

    /// The application need not wait for what becomes of the INVITE.
    fn give_up_dial(&mut self, id: OwnRequestId) {
        let client = self.clients.iter_mut().find(|client| client.id == id);
        if let Some(client) = client.filter(|client| !client.given_up) {
            client.given_up = true;
            self.tell(Event::Response {
                mark: 0,
                method: Method::Invite,
                message: None,
            });
        }
    }

    /// The call was taken over, and the INVITE that begins this leg has no final response. `way`:
    /// the address that its response goes to has died with its owner, and this is how we are heard
    /// now; the INVITE is taken back then, for nobody could hear that it was answered. Otherwise it
    /// is waited for as before.
    pub fn adopt_dial(&mut self, way: Option<&Flow>) {
        if self.dialing.is_none() || self.dialog.stage != Stage::Early {
            return;
        }
        let Some(id) = self.open_dial().map(|invite| invite.id) else {
            return self.end(Cause::Rejected); // it was about to be sent again
        };
        let Some(way) = way else {
            return self.send_wanted_cancel();
        };
        for client in &mut self.clients {
            let remote = client.flow.remote;
            client.flow = Flow {
                remote,
                ..way.clone()
            };
        }
        self.give_up_dial(id);
        if !matches!(&self.dialing, Some(one) if matches!(one.cancel, Cancel::Sent(_))) {
            self.write_cancel();
        }
        self.end(Cause::Rejected);
        // Repeated, it would ring again.
        self.clients.retain(|client| client.id != id);
    }
}
