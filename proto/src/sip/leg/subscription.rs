//! Subscriptions inside a call's dialog: what a REFER began, its NOTIFYs and its end. RFC 3515,
//! RFC 6665, RFC 4488; that one dies ends no call (RFC 5057 5).
//!
//! A REFER's number names its subscription (RFC 3515 2.4.6). What a REFER asks for is the
//! application's to do.

use serde::{Deserialize, Serialize};

use super::client::Purpose;
use super::reply::Reply;
use super::uac::Egress;
use super::{CallError, Leg};
use crate::base::flow::Flow;
use crate::base::limits::SUBSCRIPTIONS_PER_CALL_MAX;
use crate::base::time::{Duration, Instant};
use crate::sip::effect::OwnRequestId;
use crate::sip::header::{HeaderName, Params};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::scan;
use crate::sip::transaction::timer::Remaining;

/// How long a REFER's subscription lives if nothing is said, and at most, seconds.
const EXPIRES: u32 = 180;

/// The only event package inside a call: the value of Allow-Events there.
pub const EVENTS: &str = "refer";

/// A subscription; `T` is [`Instant`] in a live one, [`Remaining`] in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subscription<T = Instant> {
    /// The REFER's number.
    pub(super) id: u32,
    /// We notify; otherwise the peer does.
    pub(super) ours: bool,
    /// When it ends; none until the REFER's 2xx was let out.
    pub(super) ends: Option<T>,
}

impl Subscription {
    /// Its REFER's 2xx is not let out yet.
    fn is_fresh(&self) -> bool {
        self.ours && self.ends.is_none()
    }

    pub(super) fn snapshot(&self, now: Instant) -> Subscription<Remaining> {
        let ends = self.ends.unwrap_or_else(|| later(now, EXPIRES));
        Subscription {
            id: self.id,
            ours: self.ours,
            ends: Some(Remaining::until(ends, now)),
        }
    }

    pub(super) fn restore(image: &Subscription<Remaining>, now: Instant) -> Self {
        Self {
            id: image.id,
            ours: image.ours,
            ends: image.ends.map(|remaining| remaining.from(now)),
        }
    }
}

/// A NOTIFY that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OwedNotify {
    id: u32,
    /// Subscription-State without its time.
    state: String,
    /// The sipfrag's status line.
    line: String,
}

impl OwedNotify {
    /// RFC 3515 2.4.4.
    fn first(id: u32) -> Self {
        Self {
            id,
            state: "active".to_owned(),
            line: "SIP/2.0 100 Trying".to_owned(),
        }
    }
}

/// The REFER that an Event field names; none if it is of another package. Without an id it is the
/// only one there is, here 0.
fn event(message: &Message) -> Option<u32> {
    let value = message.header(HeaderName::Event)?;
    let (package, params) = scan::cut_before(value, b';');
    let id = Params::new(params).value("id").and_then(scan::number);
    let id = id.and_then(|id| u32::try_from(id).ok()).unwrap_or(0);
    scan::trim(package)
        .eq_ignore_ascii_case(EVENTS)
        .then_some(id)
}

fn later(now: Instant, seconds: u32) -> Instant {
    #[expect(clippy::arithmetic_side_effects, reason = "Instant saturates")]
    let at = now + Duration::from_secs(seconds.into());
    at
}

impl Leg {
    /// RFC 3515 2.4.2: one Refer-To; then it is the application's.
    pub(super) fn on_refer(&mut self, request: Message, flow: &Flow, now: Instant) {
        let full = self.subscriptions.len() >= SUBSCRIPTIONS_PER_CALL_MAX;
        match request.values(HeaderName::ReferTo).count() {
            1 if full => self.refuse(request, flow, now, 503, &[("Retry-After", "10")]),
            1 => self.take(request, flow, now),
            _ => self.refuse(request, flow, now, 400, &[]),
        }
    }

    /// The application accepts a REFER: a subscription begins, unless the peer wants none and is
    /// told that there is none (RFC 4488 4).
    pub(super) fn on_referred(&mut self, refer: &Message, reply: &mut Reply) {
        let none = |value: &str| value.trim().eq_ignore_ascii_case("false");
        let named = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("Refer-Sub");
        if reply
            .headers
            .iter()
            .find(named)
            .is_some_and(|(_, value)| none(value))
        {
            return; // the application has said so
        }
        if refer.header_named("Refer-Sub").is_some_and(none) {
            reply.headers.push(("Refer-Sub".into(), "false".into()));
            return;
        }
        self.subscriptions.push(Subscription {
            id: refer.cseq_number(),
            ours: true,
            ends: None,
        });
    }

    /// The 2xx to the REFER of this number was let out: RFC 3515 2.4.4 wants a NOTIFY at once.
    pub(super) fn start_subscription(&mut self, id: u32, now: Instant) {
        let mut all = self.subscriptions.iter_mut();
        let fresh = all.find(|one| one.is_fresh() && one.id == id);
        if let Some(fresh) = fresh {
            fresh.ends = Some(later(now, EXPIRES));
            self.notifies.insert(0, OwedNotify::first(id));
            self.notify_at = Some(now);
        }
    }

    /// What is to be notified as it goes into a record: what was decided counts as let out.
    pub(super) fn notify_images(&self) -> Vec<OwedNotify> {
        let fresh = self.subscriptions.iter().filter(|one| one.is_fresh());
        let first = fresh.map(|one| OwedNotify::first(one.id));
        first.chain(self.notifies.iter().cloned()).collect()
    }

    /// What has become of what a REFER asked for: a status line of the message it led to. `last`:
    /// it is the end of it. Nothing is said where the subscription is over.
    pub fn notify(&mut self, refer: u32, line: &str, last: bool) {
        let known = |one: &Subscription| one.ours && one.id == refer;
        if !self.subscriptions.iter().any(known) {
            return;
        }
        if last {
            self.subscriptions.retain(|one| !known(one));
        }
        let state = if last {
            "terminated;reason=noresource"
        } else {
            "active"
        };
        self.owe(refer, state, line);
    }

    fn owe(&mut self, id: u32, state: &str, line: &str) {
        let (state, line) = (state.to_owned(), line.to_owned());
        self.notifies.push(OwedNotify { id, state, line });
        self.changed = true;
    }

    /// RFC 6665 4.2.1: SUBSCRIBE inside the dialog renews or ends what a REFER began.
    pub(super) fn on_subscribe(&mut self, request: Message, flow: &Flow, now: Instant) {
        let Some(id) = event(&request) else {
            let fields = [("Allow-Events", EVENTS)];
            return self.refuse(request, flow, now, 489, &fields);
        };
        let mut all = self.subscriptions.iter_mut();
        let Some(found) = all.find(|one| one.ours && (id == 0 || one.id == id)) else {
            return self.refuse(request, flow, now, 481, &[]);
        };
        let seconds = request.expires().unwrap_or(EXPIRES).min(EXPIRES);
        found.ends = Some(later(now, seconds));
        let id = found.id;
        self.dialog.on_request(&request, flow);
        self.changed = true;
        let request = self.open_quietly(request, flow, now);
        let expires = seconds.to_string();
        self.answer_quietly(request, &Reply::new(200).header("Expires", &expires));
        if seconds == 0 {
            self.subscriptions.retain(|one| !(one.ours && one.id == id));
            self.owe(id, "terminated;reason=timeout", "SIP/2.0 100 Trying");
        } else {
            self.owe(id, "active", "SIP/2.0 100 Trying");
        }
    }

    /// RFC 6665 4.1.3: a NOTIFY of a subscription of ours is the application's; of another package
    /// 489, of none that there is 481. It may come before the 2xx to our REFER.
    pub(super) fn on_notify(&mut self, request: Message, flow: &Flow, now: Instant) {
        let Some(id) = event(&request) else {
            let fields = [("Allow-Events", EVENTS)];
            return self.refuse(request, flow, now, 489, &fields);
        };
        let ours = |one: &Subscription| !one.ours && (id == 0 || one.id == id);
        let asked = |one: &super::ClientTx| one.method == Method::Refer && one.is_open();
        if !self.subscriptions.iter().any(ours) && !self.clients.iter().any(asked) {
            return self.refuse(request, flow, now, 481, &[]);
        }
        let state = request.header(HeaderName::SubscriptionState);
        let (state, _) = scan::cut_before(state.unwrap_or_default(), b';');
        if scan::trim(state).eq_ignore_ascii_case("terminated") {
            self.subscriptions.retain(|one| !ours(one));
        }
        self.take(request, flow, now);
    }

    /// A request of ours has its outcome: a REFER begins a subscription, a NOTIFY may end one.
    pub(super) fn on_subscription_outcome(
        &mut self,
        id: OwnRequestId,
        status: u16,
        response: Option<&Message>,
        now: Instant,
    ) {
        if self.is_subscription() {
            return self.on_notified(status, response.is_some());
        }
        let client = self.clients.iter().find(|client| client.id == id);
        let request = client.and_then(|one| Message::parse(one.request.clone()).ok());
        let Some(request) = request else {
            return;
        };
        let refused = |message: &Message| message.header_named("Refer-Sub") == Some("false");
        match request.method() {
            Method::Refer if status < 300 && !response.is_some_and(refused) => {
                self.subscriptions.push(Subscription {
                    id: request.cseq_number(),
                    ours: false,
                    ends: Some(later(now, EXPIRES)),
                });
            }
            // RFC 6665 4.2.2: the subscription is over, the call is not.
            Method::Notify if status >= 300 => {
                let named = event(&request);
                self.subscriptions.retain(|one| Some(one.id) != named);
            }
            _ => {}
        }
    }

    pub(super) fn on_subscription_timeout(&mut self, now: Instant) {
        let over = |one: &Subscription| one.ends.is_some_and(|ends| ends <= now);
        let ended: Vec<Subscription> = self.subscriptions.iter().copied().filter(over).collect();
        self.subscriptions.retain(|one| !over(one));
        self.changed |= !ended.is_empty();
        for one in ended.iter().filter(|one| one.ours) {
            self.owe(one.id, "terminated;reason=timeout", "SIP/2.0 100 Trying");
        }
    }

    /// Whether a NOTIFY of ours is due.
    #[must_use]
    pub fn owes_notify(&self, now: Instant) -> bool {
        let waits = self.notify_at.is_some_and(|at| at > now);
        if self.is_subscription() {
            return self.ended.is_none() && !waits && self.owes_state();
        }
        let Some(first) = self.notifies.first() else {
            return false;
        };
        let fresh = |one: &Subscription| one.is_fresh() && one.id == first.id;
        self.ended.is_none() && !waits && !self.subscriptions.iter().any(fresh)
    }

    /// A NOTIFY that is due waits for something outside.
    pub fn delay_notify(&mut self, at: Instant) {
        self.notify_at = Some(at);
    }

    /// Sends the NOTIFY that is due.
    ///
    /// # Errors
    /// [`CallError`] if it can't be written; it is then given up.
    pub fn send_notify(&mut self, egress: Egress, now: Instant) -> Result<(), CallError> {
        if self.is_subscription() {
            return self.send_state(egress, now);
        }
        if self.notifies.is_empty() {
            return Ok(());
        }
        self.notify_at = None;
        let OwedNotify { id, state, line } = self.notifies.remove(0);
        let subscription = self
            .subscriptions
            .iter()
            .find(|one| one.ours && one.id == id);
        let left = subscription.and_then(|one| one.ends);
        let left = left.map(|ends| format!(";expires={}", ends.since(now).as_secs()));
        let fields = [
            ("Event".to_owned(), format!("refer;id={id}")),
            (
                "Subscription-State".to_owned(),
                state + &left.unwrap_or_default(),
            ),
        ];
        let body = format!("{line}\r\n");
        let body = Some(("message/sipfrag;version=2.0", body.as_bytes()));
        self.write_request(Method::Notify, &fields, body, egress, Purpose::Notify)
            .map(|_| ())
    }
}
