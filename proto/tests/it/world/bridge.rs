//! Two legs joined: what the application of these worlds does with an INVITE that says `X-Dial`.

use std::time::Duration;

use callring_proto::app::{Call, Cause, Dial, Event, LegId, Message, Method, Reply};
use callring_proto::sip::dialog::Orientation;

use super::app::Kept;

/// In the application's state: the call is one of these.
const BRIDGED: u32 = 1 << 31;

fn number(message: &Message, name: &str) -> Option<u32> {
    message.header_named(name)?.trim().parse().ok()
}

/// `X-Dial` is the Request-URI of a second leg, `X-Ring-Timeout` seconds, `X-Session` what it asks
/// for in Session-Expires. What that leg is answered with answers the first; the end of one ends
/// the other. Whether the event is for this.
pub(crate) fn takes(call: &mut Call<'_, Kept>, event: &Event) -> bool {
    if let Event::Request {
        message,
        initial: true,
        ..
    } = event
        && let Some(target) = message.header_named("X-Dial")
    {
        call.state.0 |= BRIDGED;
        let mut dial = Dial::new(target, "\"us\" <sip:us@192.0.2.1>");
        dial.session_expires = number(message, "X-Session");
        if let Some(seconds) = number(message, "X-Ring-Timeout") {
            dial.ring_timeout = Duration::from_secs(seconds.into());
        }
        if !message.body().is_empty() {
            dial = dial.offer(message.body().to_vec());
        }
        call.dial(dial.header("X-From", message.call_id()));
        return true;
    }
    if call.state.0 & BRIDGED == 0 {
        return false;
    }
    bridge(call, event);
    true
}

fn bridge(call: &mut Call<'_, Kept>, event: &Event) {
    match event {
        Event::Progress { message, .. } => answer(call, message.status().unwrap_or(180), b""),
        Event::Response {
            method: Method::Invite,
            message,
            ..
        } => match message {
            Some(message) => {
                answer(call, message.status().unwrap_or(500), message.body());
            }
            None => answer(call, 408, b""),
        },
        Event::Request { id, .. } => call.respond(*id, Reply::new(200)),
        Event::Ended(Cause::Elsewhere) => {}
        Event::Ended(_) => {
            let this = call.leg();
            let others: Vec<LegId> = call.legs().map(|(id, _)| id).collect();
            for leg in others.into_iter().filter(|leg| *leg != this) {
                call.at(leg).hang_up();
            }
        }
        _ => {}
    }
}

/// Answers the caller, if nobody has.
fn answer(call: &mut Call<'_, Kept>, status: u16, body: &[u8]) {
    let mut legs = call.legs();
    let caller = legs.find(|(_, leg)| leg.dialog().orientation == Orientation::Uas);
    let Some((caller, _)) = caller else {
        return;
    };
    drop(legs);
    let mut caller = call.at(caller);
    if let Some((id, _)) = caller.open_invite() {
        let mut reply = Reply::new(status);
        if !body.is_empty() {
            reply = reply.body("application/sdp", body.to_vec());
        }
        caller.respond(id, reply);
    }
}
