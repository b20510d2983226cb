//! The application of these worlds: what it does stands in the INVITE.

use std::time::Duration;

use super::{bridge, chores};
use callring_proto::app::{App, Call, Event, Message, Method, Reliability, Reply, RequestId};

/// Rings for `X-Ring` milliseconds, then answers; without it answers at once. `X-Reliable` is how
/// the 180 goes (`wanted`, `needed`), `X-Media` gives it a description, `X-Twice` has a 183 after
/// it. `X-Refuse` is a status to refuse with instead, once it has rung; `X-Hang-Up` says when to
/// hang up. A signal is a method to send, and what is offered in it. A REFER is told to ring, and
/// to be done when a signal `done NUMBER LINE` says so. A SUBSCRIBE or later request with `X-Slow`
/// is never answered. `X-Dial` joins a second leg, see `bridge`. Who subscribes to its presence
/// hears `open`, and whatever a signal `say TEXT` says; a signal `end` ends it. `X-Panic` in a
/// request makes it panic, and so does a signal that is nothing of this. Tasks: see `chores`.
pub(crate) struct Ring;

/// A description that answers or makes an offer: always of version 1, for the call knows better.
fn description(asked: &[u8], stream: &str) -> String {
    if asked == b"v=0\r\n" {
        return "v=0\r\n".to_owned();
    }
    let held = asked.windows(10).any(|part| part == b"a=sendonly");
    let direction = if held { "a=recvonly\r\n" } else { "" };
    format!(
        "v=0\r\no=ivr 7 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
         m=audio 9 RTP/AVP 0\r\n{direction}{stream}"
    )
}

fn number(invite: &Message, name: &str) -> Option<u16> {
    invite.header_named(name)?.trim().parse().ok()
}

fn described(reply: Reply, invite: &Message) -> Reply {
    let plain = invite.body().is_empty() && invite.header_named("X-Sdp").is_none();
    let asked: &[u8] = if plain { b"v=0\r\n" } else { invite.body() };
    reply.body("application/sdp", description(asked, ""))
}

/// What it keeps: how many requests it has had, and whatever `X-Keep` asks it to, so many bytes.
pub(crate) type Kept = (u32, String);

pub(crate) fn answer(call: &mut Call<'_, Kept>) {
    let Some((id, invite)) = call.open_invite() else {
        return;
    };
    if let Some(after) = number(&invite, "X-Hang-Up") {
        call.set_timer(2, Duration::from_millis(after.into()));
    }
    call.respond(
        id,
        match number(&invite, "X-Refuse") {
            Some(status) => Reply::new(status),
            None => described(Reply::new(200), &invite),
        },
    );
}

fn ring(call: &mut Call<'_, Kept>, ring: u16) {
    let Some((id, invite)) = call.open_invite() else {
        return;
    };
    let reliability = match invite.header_named("X-Reliable") {
        Some("wanted") => Reliability::Wanted,
        Some("needed") => Reliability::Needed,
        _ => Reliability::Plain,
    };
    let mut ringing = Reply::new(180).reliably(reliability);
    if invite.header_named("X-Media").is_some() {
        ringing = described(ringing, &invite);
    }
    call.respond(id, ringing);
    if invite.header_named("X-Twice").is_some() {
        call.respond(id, Reply::new(183).reliably(reliability));
    }
    call.set_timer(1, Duration::from_millis(ring.into()));
}

fn on_request(call: &mut Call<'_, Kept>, id: RequestId, message: &Message) {
    if let Some(bytes) = number(message, "X-Keep") {
        call.state.1 = "x".repeat(bytes.into());
    }
    if *message.method() == Method::Refer {
        call.respond(id, Reply::new(202));
        return call.notify(message.cseq_number(), "SIP/2.0 180 Ringing", false);
    }
    if message.header_named("X-Slow").is_some() {
        return;
    }
    let reply = Reply::new(200);
    let offers = matches!(
        message.method(),
        Method::Invite | Method::Update | Method::Prack
    );
    call.respond(
        id,
        if offers && !message.body().is_empty() {
            described(reply, message)
        } else {
            reply
        },
    );
}

fn subscribe(call: &mut Call<'_, Kept>, id: RequestId, message: &Message) {
    if message.header_named("X-Slow").is_some() {
        return;
    }
    let status = number(message, "X-Refuse").unwrap_or(200);
    call.respond(id, Reply::new(status));
    call.publish("text/plain", "open");
}

impl App for Ring {
    type State = Kept;

    fn name(&self) -> &'static str {
        "ring"
    }

    fn events(&self) -> &'static [&'static str] {
        &["presence"]
    }

    fn on_event(&self, call: &mut Call<'_, Kept>, event: Event) {
        if let Event::Request { message, .. } = &event {
            assert!(message.header_named("X-Panic").is_none(), "as asked");
        }
        if bridge::takes(call, &event) || chores::takes(call, &event) {
            return;
        }
        match event {
            Event::Request {
                id,
                message,
                initial: true,
            } if *message.method() == Method::Subscribe => subscribe(call, id, &message),
            Event::Request {
                message,
                initial: true,
                ..
            } => match number(&message, "X-Ring") {
                Some(span) => ring(call, span),
                None => answer(call),
            },
            Event::Request { id, message, .. } => {
                call.state.0 += 1;
                on_request(call, id, &message);
            }
            Event::Timer(1) => answer(call),
            Event::Timer(2) => call.hang_up(),
            Event::Signal(body) => {
                let text = String::from_utf8_lossy(&body).into_owned();
                if let Some(state) = text.strip_prefix("say ") {
                    return call.publish("text/plain", state.to_owned());
                }
                if text == "end" {
                    return call.hang_up();
                }
                if let Some(line) = text.strip_prefix("done ") {
                    let (refer, line) = line.split_once(' ').expect("a number");
                    return call.notify(refer.parse().expect("a number"), line, true);
                }
                let mut words = text.split_whitespace();
                let method = words.next().unwrap_or_default();
                let method = Method::from_bytes(method.as_bytes()).expect("a method");
                let body = words.next().map(|stream| {
                    let stream = format!("{stream}\r\n");
                    (
                        "application/sdp".to_owned(),
                        description(b"", &stream).into(),
                    )
                });
                call.request(method, Vec::new(), body);
            }
            _ => {}
        }
    }
}
