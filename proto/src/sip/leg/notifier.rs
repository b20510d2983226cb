//! A subscription that is a dialog of its own: what a SUBSCRIBE outside any call begins, the state
//! that its subscriber is told, and its end. We are the notifier. RFC 6665 4.2.
//!
//! A NOTIFY says the whole state (RFC 6665 4.2.2), and one is under way at a time: what changes
//! meanwhile is said by the next one. Whose state it is, and when it changes, is the application's.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::client::{ClientTx, Purpose};
use super::reply::Reply;
use super::uac::Egress;
use super::{CallError, Leg};
use crate::base::flow::Flow;
use crate::base::time::{Duration, Instant};
use crate::sip::dialog::Stage;
use crate::sip::effect::Cause;
use crate::sip::header::{HeaderName, Params};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::scan;
use crate::sip::transaction::timer::Remaining;

/// How long a subscription lives that asks for nothing, and at most, seconds.
const EXPIRES: u32 = 3_600;

/// What a dialog of this kind answers: the value of Allow.
const ALLOW: &str = "SUBSCRIBE, OPTIONS";

/// Why a subscription ends with its next NOTIFY.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Over {
    /// Its subscriber wants no more, or wanted to hear the state once (RFC 6665 4.4.3).
    Unsubscribed,
    /// It was not renewed.
    Expired,
    /// The application has ended it.
    Ours,
}

impl Over {
    /// RFC 6665 4.1.3.
    const fn reason(self) -> &'static str {
        match self {
            Self::Unsubscribed | Self::Expired => "timeout",
            Self::Ours => "noresource",
        }
    }

    const fn cause(self) -> Cause {
        match self {
            Self::Unsubscribed => Cause::Unsubscribed,
            Self::Expired => Cause::Expired,
            Self::Ours => Cause::OwnBye,
        }
    }
}

/// A subscription; `T` is [`Instant`] in a live one, [`Remaining`] in a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notifier<T = Instant> {
    /// The value of Event, as its subscriber gave it.
    event: String,
    /// Seconds that it was granted last.
    granted: u32,
    /// When it ends; none until its 2xx was let out.
    ends: Option<T>,
    /// What its subscriber is to know: Content-Type and body.
    state: Option<(String, Bytes)>,
    /// A NOTIFY is to be sent.
    owed: bool,
    over: Option<Over>,
}

impl Notifier {
    /// What a SUBSCRIBE asks for.
    pub(super) fn of(subscribe: &Message) -> Self {
        let event = subscribe.header(HeaderName::Event).unwrap_or_default();
        Self {
            event: event.to_owned(),
            granted: 0,
            ends: None,
            state: None,
            owed: false,
            over: None,
        }
    }

    /// What is decided counts as let out: who revives this owes the first NOTIFY.
    pub(super) fn snapshot(&self, accepted: bool, now: Instant) -> Notifier<Remaining> {
        let first = accepted && self.ends.is_none();
        let ends = if first {
            Some(later(now, self.granted))
        } else {
            self.ends
        };
        let fetched = (first && self.granted == 0).then_some(Over::Unsubscribed);
        Notifier {
            event: self.event.clone(),
            granted: self.granted,
            ends: ends.map(|ends| Remaining::until(ends, now)),
            state: self.state.clone(),
            owed: self.owed || first,
            over: self.over.or(fetched),
        }
    }

    pub(super) fn restore(image: &Notifier<Remaining>, written: Instant) -> Self {
        Self {
            event: image.event.clone(),
            granted: image.granted,
            ends: image.ends.map(|remaining| remaining.from(written)),
            state: image.state.clone(),
            owed: image.owed,
            over: image.over,
        }
    }

    /// When it ends, if it is not ending.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.ends.filter(|_| self.over.is_none())
    }

    /// Whether its subscriber is to be told something.
    pub(super) fn is_owed(image: &Notifier<Remaining>) -> bool {
        image.owed
    }

    fn end(&mut self, over: Over) {
        self.over = self.over.or(Some(over));
        self.owed = true;
    }

    /// Whether a SUBSCRIBE is about this subscription: its package and its id (RFC 6665 4.5.2).
    fn is_meant(&self, subscribe: &Message) -> Meant {
        let asked = subscribe.header(HeaderName::Event).unwrap_or_default();
        if package(asked).eq_ignore_ascii_case(package(&self.event)) {
            if id(asked) == id(&self.event) {
                Meant::This
            } else {
                Meant::OtherId
            }
        } else {
            Meant::OtherPackage
        }
    }
}

enum Meant {
    This,
    OtherId,
    OtherPackage,
}

/// The event package that an Event value names (RFC 6665 8.2.1).
#[must_use]
pub fn package(event: &str) -> &str {
    scan::trim(scan::cut_before(event, b';').0)
}

fn id(event: &str) -> Option<&str> {
    let (_, params) = scan::cut_before(event, b';');
    Params::new(params).value("id")
}

fn later(now: Instant, seconds: u32) -> Instant {
    #[expect(clippy::arithmetic_side_effects, reason = "Instant saturates")]
    let at = now + Duration::from_secs(seconds.into());
    at
}

/// RFC 6665 4.2.1.1: not longer than was asked for.
fn granted(subscribe: &Message) -> u32 {
    subscribe.expires().unwrap_or(EXPIRES).min(EXPIRES)
}

impl Leg {
    /// Whether it is a subscription of its own.
    #[must_use]
    pub fn is_subscription(&self) -> bool {
        self.notifier.is_some()
    }

    /// The application accepts a SUBSCRIBE: the 2xx says for how long (RFC 6665 4.2.1.1).
    pub(super) fn on_subscribed(&mut self, subscribe: &Message, reply: &mut Reply) {
        let Some(notifier) = &mut self.notifier else {
            return;
        };
        let is_expires = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("Expires");
        let said = reply.headers.iter().find(is_expires);
        let said = said.and_then(|(_, value)| value.trim().parse().ok());
        let most = granted(subscribe);
        notifier.granted = said.map_or(most, |said: u32| said.min(most));
        reply.headers.retain(|field| !is_expires(&field));
        let granted = notifier.granted.to_string();
        reply.headers.push(("Expires".to_owned(), granted));
    }

    /// The 2xx to the first SUBSCRIBE was let out: a NOTIFY follows at once (RFC 6665 4.2.1.2).
    pub(super) fn start_notifier(&mut self, now: Instant) {
        let Some(notifier) = &mut self.notifier else {
            return;
        };
        if notifier.ends.is_some() {
            return;
        }
        notifier.ends = Some(later(now, notifier.granted));
        notifier.owed = true;
        if notifier.granted == 0 {
            notifier.end(Over::Unsubscribed);
        }
        self.notify_at = Some(now);
    }

    /// What the subscriber is to know from now on. It is told, and at each of its SUBSCRIBEs again.
    ///
    /// # Errors
    /// [`CallError::Ended`] if this is no subscription, or one that is ending.
    pub fn publish(&mut self, content_type: &str, body: Bytes) -> Result<(), CallError> {
        let notifier = self.notifier.as_mut().filter(|one| one.over.is_none());
        let notifier = notifier.ok_or(CallError::Ended)?;
        notifier.state = Some((content_type.to_owned(), body));
        notifier.owed |= notifier.ends.is_some();
        self.changed = true;
        Ok(())
    }

    /// A request in the dialog of a subscription.
    pub(super) fn on_fresh_of_subscription(&mut self, request: Message, flow: &Flow, now: Instant) {
        match request.method() {
            Method::Subscribe => self.on_renewal(request, flow, now),
            Method::Options => self.take(request, flow, now),
            _ => self.refuse(request, flow, now, 405, &[("Allow", ALLOW)]),
        }
    }

    /// RFC 6665 4.2.1: a SUBSCRIBE renews what it began, or ends it.
    fn on_renewal(&mut self, request: Message, flow: &Flow, now: Instant) {
        let Some(notifier) = &mut self.notifier else {
            return;
        };
        match notifier.is_meant(&request) {
            Meant::This => {}
            Meant::OtherId => return self.refuse(request, flow, now, 481, &[]),
            Meant::OtherPackage => {
                let known = package(&notifier.event).to_owned();
                return self.refuse(request, flow, now, 489, &[("Allow-Events", &known)]);
            }
        }
        if notifier.over.is_some() {
            return self.refuse(request, flow, now, 481, &[]); // its last NOTIFY is under way
        }
        let seconds = granted(&request);
        notifier.granted = seconds;
        notifier.ends = Some(later(now, seconds));
        notifier.owed = true;
        if seconds == 0 {
            notifier.end(Over::Unsubscribed);
        }
        self.dialog.on_request(&request, flow);
        self.dialog.set_contact(flow);
        self.changed = true;
        let id = self.open_quietly(request, flow, now);
        let reply = Reply::new(200).header("Expires", &seconds.to_string());
        // Its faults are impossible: the request is open, and the reply bare.
        let _ = self.respond(id, &reply);
    }

    /// The application ends the subscription: its last NOTIFY says so.
    pub(super) fn end_subscription(&mut self) {
        if let Some(notifier) = &mut self.notifier
            && notifier.over.is_none()
        {
            notifier.end(Over::Ours);
            self.changed = true;
        }
    }

    pub(super) fn on_notifier_timeout(&mut self, now: Instant) {
        let mut servers = self.servers.iter();
        let asked = servers.any(|one| !one.machine.is_terminated());
        if self.is_subscription() && self.dialog.stage == Stage::Early && !asked {
            // RFC 4320 4.2: nobody has answered its SUBSCRIBE, and now it is too late.
            return self.end(Cause::Refused);
        }
        if let Some(notifier) = &mut self.notifier
            && notifier.deadline().is_some_and(|ends| ends <= now)
        {
            notifier.end(Over::Expired);
            self.changed = true;
        }
    }

    /// Whether the subscriber is to be told, as far as nothing outside stands in the way.
    pub(super) fn owes_state(&self) -> bool {
        let mut clients = self.clients.iter();
        let underway = clients.any(|one| one.method == Method::Notify && one.is_open());
        let owed = |one: &Notifier| one.owed && one.ends.is_some();
        self.notifier.as_ref().is_some_and(owed)
            && self.dialog.stage == Stage::Confirmed
            && !underway
    }

    /// Sends the NOTIFY that is due. A subscriber that can't be told is none.
    ///
    /// # Errors
    /// [`CallError`] if it can't be written; the subscription is over then.
    pub(super) fn send_state(&mut self, egress: Egress, now: Instant) -> Result<(), CallError> {
        let Some(notifier) = &mut self.notifier else {
            return Ok(());
        };
        notifier.owed = false;
        let state = match (notifier.over, notifier.ends) {
            (Some(over), _) => format!("terminated;reason={}", over.reason()),
            (None, ends) => {
                let left = ends.map_or(0, |ends| ends.since(now).as_secs());
                format!("active;expires={left}")
            }
        };
        let fields = [
            ("Event".to_owned(), notifier.event.clone()),
            ("Subscription-State".to_owned(), state),
        ];
        let body = notifier.state.clone();
        let body = body
            .as_ref()
            .map(|(kind, body)| (kind.as_str(), body.as_ref()));
        self.notify_at = None;
        let sent = self.write_request(Method::Notify, &fields, body, egress, Purpose::Notify);
        if sent.is_err() {
            self.end(Cause::Lost);
        }
        sent.map(|_| ())
    }

    /// A NOTIFY has its outcome. RFC 6665 4.2.2: one that is refused, or not answered, ends the
    /// subscription.
    pub(super) fn on_notified(&mut self, status: u16, answered: bool) {
        let Some(notifier) = &self.notifier else {
            return;
        };
        if status >= 300 {
            self.end(Cause::Lost);
        } else if let Some(over) = notifier.over.filter(|_| !notifier.owed) {
            self.end(over.cause());
        }
        self.end_shared |= answered && self.ended.is_some();
    }

    /// The subscriber is to hear of the state again, from `at` on: an owner's NOTIFY may be lost
    /// with it, or the address that the subscriber was given.
    pub(super) fn repeat_state(&mut self, at: Option<Instant>) {
        if let Some(notifier) = &mut self.notifier {
            notifier.owed = true;
            self.notify_at = at;
        }
    }

    /// NOTIFYs of a dead owner's that nobody has answered are given up; what they said is said
    /// anew.
    pub(super) fn take_unanswered_state(&mut self) {
        let open = |one: &ClientTx| one.method == Method::Notify && one.is_open();
        if self.notifier.is_some() && self.clients.iter().any(open) {
            self.clients.retain(|one| !open(one));
            self.repeat_state(None);
        }
    }
}
