//! What the application of these worlds has done outside: `X-Task: NAME` in an INVITE has it
//! answered with what the task says, a signal `task ID NAME BYTES` begins one, `leave ID` takes it
//! back. The outcome of those is told by an INFO each.

use std::time::Duration;

use callring_proto::app::{Call, Event, Method, Reply, Task, TaskOutcome};

use super::app::{Kept, answer};

/// The task that the INVITE's answer depends on.
const ROUTE: u16 = 99;

fn told(outcome: &TaskOutcome) -> String {
    match outcome {
        Ok(bytes) => String::from_utf8_lossy(bytes).chars().take(20).collect(),
        Err(error) => error.to_string(),
    }
}

/// Whether the event has to do with a task.
pub(crate) fn takes(call: &mut Call<'_, Kept>, event: &Event) -> bool {
    match event {
        Event::Request {
            initial: true,
            message,
            ..
        } => {
            let Some(name) = message.header_named("X-Task") else {
                return false;
            };
            let task = Task::new(name, "who?").timeout(Duration::from_secs(2));
            call.run_task(ROUTE, task);
        }
        Event::Task { id: ROUTE, outcome } => {
            let open = call.open_invite();
            match (outcome, open) {
                (Ok(_), _) => answer(call),
                (Err(error), Some((id, _))) => {
                    let reason = format!("SIP;text=\"{error}\"");
                    call.respond(id, Reply::new(503).header("Reason", &reason));
                }
                (Err(_), None) => {}
            }
        }
        Event::Task { id, outcome } => {
            let field = ("X-Outcome".to_owned(), format!("{id} {}", told(outcome)));
            call.request(Method::Info, vec![field], None);
        }
        Event::Signal(body) => {
            let text = String::from_utf8_lossy(body).into_owned();
            let words: Vec<&str> = text.split(' ').collect();
            match words[..] {
                ["task", id, name, bytes] => {
                    let bytes = "x".repeat(bytes.parse().expect("a number"));
                    call.run_task(id.parse().expect("a number"), Task::new(name, bytes));
                }
                ["leave", id] => call.cancel_task(id.parse().expect("a number")),
                _ => return false,
            }
        }
        _ => return false,
    }
    true
}
