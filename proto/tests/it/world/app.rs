//! The application of these worlds: what it does stands in the INVITE.

use std::time::Duration;

use callring_proto::app::{App, Call, Event, Message, Reply};

/// Rings for `X-Ring` milliseconds, then answers; without it answers at once. `X-Refuse` is a
/// status to refuse with instead, once it has rung; `X-Hang-Up` says when to hang up.
pub(crate) struct Ring;

fn number(invite: &Message, name: &str) -> Option<u16> {
    invite.header_named(name)?.trim().parse().ok()
}

fn answer(call: &mut Call<'_, u32>) {
    let Some((id, invite)) = call.open_invite().cloned() else {
        return;
    };
    if let Some(after) = number(&invite, "X-Hang-Up") {
        call.set_timer(2, Duration::from_millis(after.into()));
    }
    call.respond(
        id,
        match number(&invite, "X-Refuse") {
            Some(status) => Reply::new(status),
            None => Reply::new(200).body("application/sdp", "v=0\r\n"),
        },
    );
}

impl App for Ring {
    type State = u32;

    fn name(&self) -> &'static str {
        "ring"
    }

    fn on_event(&self, call: &mut Call<'_, u32>, event: Event) {
        match event {
            Event::Request {
                id,
                message,
                initial: true,
            } => match number(&message, "X-Ring") {
                Some(ring) => {
                    call.respond(id, Reply::new(180));
                    call.set_timer(1, Duration::from_millis(ring.into()));
                }
                None => answer(call),
            },
            Event::Request { id, .. } => call.respond(id, Reply::new(200)),
            Event::Timer(1) => answer(call),
            Event::Timer(2) => call.hang_up(),
            _ => {}
        }
    }
}
