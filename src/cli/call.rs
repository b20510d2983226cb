//! `callring call KEY`: one call in full, as its owner has it.

use std::time::Duration;

use callring::admin::api::CallAnswer;
use callring::config::Env;
use callring::proto::base::ids::CallId;

use super::table::{Table, age, safe};
use super::{Outcome, Query, output};

/// `callring call`
#[derive(Debug, clap::Args)]
pub(super) struct CallArgs {
    /// The call's key, as `callring calls` prints it
    key: CallId,
    #[command(flatten)]
    query: Query,
}

pub(super) fn run(args: &CallArgs, env: &Env) -> Outcome {
    let path = format!("/v1/calls/{}", args.key);
    let answer: CallAnswer = args.query.client(env)?.get(&path)?;
    output::unreachable(&answer.unreachable);
    if args.query.json {
        return output::json(&answer);
    }
    output::result(&render(&answer))
}

fn render(answer: &CallAnswer) -> String {
    let call = &answer.call;
    let degraded = if answer.degraded { ", degraded" } else { "" };
    let lines = [
        ("call id", call.call_id.clone()),
        (
            "state",
            format!("{}{degraded}", super::calls::state(call.state)),
        ),
        ("from", answer.from.clone()),
        ("to", answer.to.clone()),
        ("age", age(call.age_s)),
        ("owner", call.owner.clone()),
        ("replicas", call.replicas.join(", ")),
        ("epoch", call.epoch.to_string()),
        ("version", call.version.to_string()),
        ("app", format!("{} {}", call.app, answer.app_state)),
        ("outputs held", answer.held.to_string()),
        ("record", format!("{} bytes", answer.record_bytes)),
    ];
    let mut text = format!("{}\n", call.key);
    for (name, value) in lines {
        text.push_str(&format!("  {name:<13} {}\n", safe(&value)));
    }
    for dialog in &answer.dialogs {
        text.push_str(&format!("  leg           {}\n", safe(dialog)));
    }
    for timer in &answer.timers {
        let left = Duration::from_millis(timer.left_ms).as_secs_f64();
        text.push_str(&format!("  timer         {} in {left:.1} s\n", timer.id));
    }
    for task in &answer.tasks {
        let (number, name) = (task.number, safe(&task.name));
        text.push_str(&format!("  task          {number} {name}\n"));
    }
    let mut copies = Table::new(&["MEMBER", "HAS", "EPOCH", "VERSION"], &[2, 3]);
    for copy in &answer.copies {
        let has = if copy.owned { "the call" } else { "a copy" };
        copies.row([
            copy.member.clone(),
            has.to_owned(),
            copy.epoch.to_string(),
            copy.version.to_string(),
        ]);
    }
    text + &copies.render()
}
