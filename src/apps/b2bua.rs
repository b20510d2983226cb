//! `b2bua`: joins a caller's leg to one of its own. It asks a router where to, tries targets one
//! after the other, passes answers, re-INVITEs, UPDATEs, INFOs and REFERs from one leg to the
//! other, and ends one with the other. Both legs lie in one record. It knows no routes, no clock,
//! no members.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use callring_proto::app::{
    App, Call, Cause, Dial, Draft, Event, LegId, Message, Method, Reliability, Reply, RequestId,
};
use callring_proto::sip::dialog::has_sdp;
use serde::{Deserialize, Serialize};

use fields::passed;
use refer::{Outcome, Referred};

mod fields;
mod refer;
pub mod routes;

/// Requests inside a dialog that may be under way to the other leg at a time. Above: 500.
const PENDING_MAX: usize = 16;

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Request-URIs, each with an address to send to; the next is tried when one fails.
    pub targets: Vec<String>,
    /// How long each may ring.
    pub ring_timeout: Duration,
}

impl Plan {
    /// One target, that may ring for a minute.
    #[must_use]
    pub fn to(target: &str) -> Self {
        Self {
            targets: vec![target.to_owned()],
            ring_timeout: Duration::from_mins(1),
        }
    }
}

/// Says where calls go: a function of the INVITE alone, so that any member says the same.
pub trait Router: Send + Sync + 'static {
    /// Where `invite` goes, which came from `source`.
    ///
    /// # Errors
    /// The reply that refuses it.
    fn route(&self, invite: &Message, source: IpAddr) -> Result<Plan, Reply>;
}

impl<F> Router for F
where
    F: Fn(&Message, IpAddr) -> Result<Plan, Reply> + Send + Sync + 'static,
{
    fn route(&self, invite: &Message, source: IpAddr) -> Result<Plan, Reply> {
        self(invite, source)
    }
}

/// The application.
#[derive(Clone)]
pub struct B2bua {
    router: Arc<dyn Router>,
}

impl fmt::Debug for B2bua {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("B2bua")
    }
}

/// What it keeps per call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The leg that came in.
    caller: LegId,
    /// The leg that is tried, or was answered.
    callee: Option<LegId>,
    /// The callee has answered.
    answered: bool,
    /// Targets that have not been tried.
    targets: Vec<String>,
    ring_ms: u64,
    /// The best refusal so far; 0 if there is none.
    refusal: u16,
    /// Requests under way from one leg to the other.
    pending: Vec<Pending>,
    /// REFERs whose outcome is not known.
    referred: Vec<Referred>,
    /// The mark of the newest of them.
    mark: u32,
    /// Times the call changed owner.
    pub adoptions: u32,
}

/// A request of one leg's peer that the other leg's peer is being asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pending {
    mark: u32,
    from: LegId,
    id: RequestId,
    /// Its number, if it is a REFER.
    refer: Option<u32>,
    /// It is an INVITE that asks for an offer.
    delayed: bool,
    /// Of a REFER: an outcome that came before its answer.
    early: Option<Outcome>,
}

impl B2bua {
    /// One that asks `router`.
    #[must_use]
    pub fn new(router: impl Router) -> Self {
        Self {
            router: Arc::new(router),
        }
    }

    fn begin(&self, call: &mut Call<'_, State>, id: RequestId, invite: &Message) {
        call.state.caller = call.leg();
        // RFC 3261 16.3: what may go no further goes no further.
        if invite.max_forwards() == Some(0) {
            return call.respond(id, Reply::new(483));
        }
        let source = call.dialog().flow.remote.ip();
        match self.router.route(invite, source) {
            Ok(plan) => {
                call.state.targets = plan.targets;
                let ring = plan.ring_timeout.as_millis();
                call.state.ring_ms = u64::try_from(ring).unwrap_or(u64::MAX);
                dial_next(call, invite);
            }
            Err(refusal) => call.respond(id, refusal),
        }
    }
}

/// Tries the next target; with none left the caller gets the best refusal there was.
fn dial_next(call: &mut Call<'_, State>, invite: &Message) {
    if call.state.targets.is_empty() {
        let status = match call.state.refusal {
            0 => 480,
            status => status,
        };
        call.state.callee = None;
        return answer_caller(call, &Reply::new(status));
    }
    let target = call.state.targets.remove(0);
    let caller = call.state.caller;
    let dialog = call.at(caller).dialog().clone();
    let mut dial = Dial::new(&target, &dialog.remote_uri);
    dial.to = dialog.local_uri;
    dial.headers = passed(invite);
    dial.max_forwards = invite.max_forwards().unwrap_or(70).saturating_sub(1);
    dial.ring_timeout = Duration::from_millis(call.state.ring_ms);
    dial.body = body_of(invite);
    let leg = call.dial(dial);
    call.state.callee = Some(leg);
}

fn body_of(message: &Message) -> Option<(String, bytes::Bytes)> {
    let kind = message.content_type()?;
    let body = message.body();
    (!body.is_empty()).then(|| (kind.to_owned(), bytes::Bytes::copy_from_slice(body)))
}

/// What the other leg's peer said, as it is said on.
fn said(message: &Message) -> Reply {
    let mut reply = Reply::new(message.status().unwrap_or(500));
    let reason = message.reason();
    reply.reason = (!reason.is_empty()).then(|| reason.to_owned());
    reply.headers = passed(message);
    reply.body = body_of(message);
    reply
}

fn answer_caller(call: &mut Call<'_, State>, reply: &Reply) {
    let caller = call.state.caller;
    let mut caller = call.at(caller);
    if let Some((id, _)) = caller.open_invite() {
        caller.respond(id, reply.clone());
    }
}

/// Whether the event is of the INVITE that is being tried, in whichever of its dialogs.
fn is_tried(call: &Call<'_, State>) -> bool {
    call.state.callee == Some(call.dialled()) && !call.state.answered
}

fn on_progress(call: &mut Call<'_, State>, message: &Message) {
    if !is_tried(call) {
        return;
    }
    let mut reply = said(message);
    if has_sdp(message) {
        // Early media: worth a PRACK if the caller can.
        reply.reliability = Reliability::Wanted;
    }
    answer_caller(call, &reply);
}

/// Whether the caller has made no offer, so that the callee's is for it to answer.
fn is_asked_for_an_offer(call: &mut Call<'_, State>) -> bool {
    let caller = call.state.caller;
    let invite = call.at(caller).open_invite();
    invite.is_some_and(|(_, invite)| !has_sdp(&invite))
}

/// What became of the INVITE that began a leg.
fn on_tried(call: &mut Call<'_, State>, message: Option<&Message>) {
    let status = message.and_then(Message::status).unwrap_or(408);
    if let Some(message) = message
        && status < 300
    {
        call.state.answered = true;
        if has_sdp(message) && is_asked_for_an_offer(call) {
            call.await_answer();
        }
        call.state.callee = Some(call.leg());
        call.state.targets.clear();
        return answer_caller(call, &said(message));
    }
    call.state.callee = None;
    let caller = call.state.caller;
    let Some((_, invite)) = call.at(caller).open_invite() else {
        return; // it was taken back
    };
    // RFC 3261 16.7: a 6xx is meant for all, and of the others the last 4xx says most.
    let best = call.state.refusal;
    if best == 0 || status / 100 <= best / 100 || status >= 600 {
        call.state.refusal = status;
    }
    let elsewhere = matches!(status, 408 | 430 | 480 | 500..=599) || (300..400).contains(&status);
    if elsewhere && !call.state.targets.is_empty() {
        dial_next(call, &invite);
    } else if let Some(message) = message.filter(|_| status == call.state.refusal) {
        call.state.targets.clear();
        answer_caller(call, &said(message));
    } else {
        call.state.targets.clear();
        dial_next(call, &invite);
    }
}

/// The leg at the other end, if it stands.
fn other(call: &Call<'_, State>) -> Option<LegId> {
    let (caller, callee) = (call.state.caller, call.state.callee?);
    let leg = call.leg();
    if leg == caller {
        Some(callee)
    } else {
        (leg == callee).then_some(caller)
    }
}

/// A request inside one dialog is asked in the other.
fn on_request(call: &mut Call<'_, State>, id: RequestId, message: &Message) {
    let method = message.method();
    match method {
        // It keeps a session alive, and each leg has its own (RFC 4028).
        Method::Update if message.body().is_empty() => return call.respond(id, Reply::new(200)),
        Method::Options => return call.respond(id, Reply::new(200)),
        Method::Invite | Method::Update | Method::Info | Method::Refer => {}
        Method::Notify => return refer::on_notify(call, id, message),
        _ => return call.respond(id, Reply::new(405)),
    }
    let known = call.legs().map(|(leg, _)| leg).collect::<Vec<_>>();
    let Some(other) = other(call).filter(|leg| known.contains(leg)) else {
        return call.respond(id, Reply::new(500).header("Retry-After", "1"));
    };
    if call.state.pending.len() >= PENDING_MAX {
        return call.respond(id, Reply::new(500).header("Retry-After", "1"));
    }
    call.state.mark = call.state.mark.wrapping_add(1).max(1);
    let (mark, from) = (call.state.mark, call.leg());
    let refer = (*method == Method::Refer).then(|| message.cseq_number());
    call.state.pending.push(Pending {
        mark,
        from,
        id,
        refer,
        delayed: *method == Method::Invite && !has_sdp(message),
        early: None,
    });
    let draft = Draft {
        method: method.clone(),
        headers: passed(message),
        body: body_of(message),
    };
    call.at(other).request_marked(mark, draft);
}

/// What the other leg's peer said to such a request.
fn on_answer(
    call: &mut Call<'_, State>,
    (mark, method): (u32, &Method),
    message: Option<&Message>,
) {
    let mut pending = call.state.pending.iter();
    let Some(at) = pending.position(|one| one.mark == mark) else {
        return;
    };
    let Pending {
        from,
        id,
        refer,
        delayed,
        early,
        ..
    } = call.state.pending.remove(at);
    let accepted = message.filter(|one| one.status().is_some_and(|status| status < 300));
    if let (Some(refer), Some(accepted)) = (refer, accepted) {
        call.at(from).respond(id, said(accepted));
        return refer::on_accepted(call, (from, refer), accepted, early);
    }
    if delayed && accepted.is_some_and(has_sdp) {
        call.await_answer();
    }
    let reply = match message {
        Some(message) => said(message),
        // It may try again: a 408 would end its dialog (RFC 3261 12.2.1.2).
        None if *method == Method::Invite => Reply::new(491),
        None => Reply::new(500).header("Retry-After", "1"),
    };
    call.at(from).respond(id, reply);
}

/// What the ACK of one leg answers, the other one's ACK has waited for.
fn on_ack(call: &mut Call<'_, State>, ack: &Message) {
    let waits = other(call).filter(|other| {
        let mut legs = call.legs();
        legs.any(|(id, leg)| id == *other && leg.awaits_answer())
    });
    if let Some(other) = waits {
        let described = has_sdp(ack).then(|| bytes::Bytes::copy_from_slice(ack.body()));
        call.at(other).answer(described.unwrap_or_default());
    }
}

/// What was under way goes on: own requests are asked again, and their answers come here.
fn on_adopted(call: &mut Call<'_, State>) {
    call.state.adoptions = call.state.adoptions.saturating_add(1);
    for Pending { from, id, .. } in call.state.pending.clone() {
        call.at(from).keep(id);
    }
}

fn on_ended(call: &mut Call<'_, State>, cause: Cause) {
    let leg = call.leg();
    call.state.pending.retain(|one| one.from != leg);
    refer::on_ended(call.state, leg);
    if leg == call.state.caller {
        call.state.targets.clear();
        let others: Vec<LegId> = call.legs().map(|(id, _)| id).collect();
        for other in others.into_iter().filter(|id| *id != leg) {
            call.at(other).hang_up();
        }
    } else if call.state.callee == Some(leg) {
        if call.state.answered {
            let caller = call.state.caller;
            call.at(caller).hang_up();
        } else if cause == Cause::Rejected {
            on_tried(call, None); // it could not even be asked
        }
    }
}

impl App for B2bua {
    type State = State;

    fn name(&self) -> &'static str {
        "b2bua"
    }

    fn on_event(&self, call: &mut Call<'_, State>, event: Event) {
        match event {
            Event::Request {
                id,
                message,
                initial: true,
            } => self.begin(call, id, &message),
            Event::Request { id, message, .. } => on_request(call, id, &message),
            Event::Progress { mark: 0, message } => on_progress(call, &message),
            Event::Response {
                mark: 0,
                method: Method::Invite,
                message,
            } if is_tried(call) => on_tried(call, message.as_ref()),
            Event::Response {
                mark,
                method,
                message,
            } => on_answer(call, (mark, &method), message.as_ref()),
            Event::Ended(cause) => on_ended(call, cause),
            Event::Adopted => on_adopted(call),
            Event::Ack { message } => on_ack(call, &message),
            Event::Progress { .. } | Event::Timer(_) | Event::Signal(_) | Event::Task { .. } => {}
        }
    }
}
