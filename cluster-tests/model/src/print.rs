//! States, messages and ways as text. Nothing here decides anything.

use super::action::Action;
use super::model::Model;
use super::state::{Ballot, Body, Emitted, Kind, Log, Record};

fn ballot(ballot: Ballot) -> String {
    format!("e{}@{}", ballot.epoch(), ballot.owner())
}

/// `R0.C0.END2`: kinds, and at which node.
fn log(log: Log, length: u8) -> String {
    let one = |at: u8| {
        let kind = [
            (Kind::Request, "R"),
            (Kind::End, "END"),
            (Kind::Change, "C"),
        ];
        let name = kind.iter().find(|(kind, _)| log.is(at, *kind));
        let name = name.map_or("?", |(_, name)| name);
        format!("{name}{}", log.byte(at) >> 2 & 3)
    };
    (0..length).map(one).collect::<Vec<_>>().join(".")
}

fn record(record: &Record) -> String {
    if record.is_none() {
        return "nothing".to_owned();
    }
    let (at, steps) = (ballot(record.ballot), log(record.log, record.version));
    format!("{at} v{} [{steps}]", record.version)
}

fn body(body: &Body) -> String {
    match body {
        Body::Replicate(copy) => format!("Replicate {}", record(copy)),
        Body::Ack {
            ballot: of,
            version,
        } => format!("Ack {} v{version}", ballot(*of)),
        Body::Fenced { ballot: by } => format!("Fenced by {}", ballot(*by)),
        Body::Claim { ballot: at } => format!("Claim {}", ballot(*at)),
        Body::Promise {
            ballot: to,
            record: with,
            ..
        } => format!("Promise {} with {}", ballot(*to), record(with)),
        Body::Handoff(of, _) => format!("Handoff {} v{}", ballot(of.ballot), of.version),
        Body::Release {
            ballot: at,
            version,
        } => format!("Release {} v{version}", ballot(*at)),
        Body::Refuse { ballot: of } => format!("Refuse {}", ballot(*of)),
        Body::Standing { ballot: at, let_go } => {
            format!("Standing {} let_go={}", ballot(*at), ballot(*let_go))
        }
    }
}

fn emitted(emitted: &Emitted) -> String {
    let steps = log(emitted.log, emitted.version);
    format!("EMIT {} [{steps}]", ballot(emitted.ballot))
}

/// The way to a broken invariant, an action a line, and what left because of it.
pub(crate) fn way(model: &Model, way: &[Action]) -> String {
    let mut state = model.first_state();
    let mut text = String::new();
    for &action in way {
        let before = state.emitted.clone();
        state = model.apply(&state, action);
        model.judge_knowledge(&mut state);
        let what = match action {
            Action::Deliver(message) => {
                format!("{}->{} {}", message.from, message.to, body(&message.body))
            }
            Action::Activate(node) => {
                format!("{node} owns {}", record(&state.nodes[node].record))
            }
            Action::Step(node, kind) => format!("{node} steps: {kind:?}"),
            other => format!("{other:?}"),
        };
        let fresh = state.emitted.iter().filter(|one| !before.contains(one));
        let left: Vec<String> = fresh.map(emitted).collect();
        text.push_str(&format!("      {what}   {}\n", left.join(" ")));
    }
    if state.broken.is_empty() {
        state.broken = model.judge_rest(&state);
    }
    text.push_str(&format!("      => {}\n", state.broken.names()));
    text
}
