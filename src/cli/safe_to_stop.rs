//! `callring safe-to-stop`: whether the asked node's end just now, even by SIGKILL, would lose an
//! answered call. The exit code says it.

use callring::admin::api::SafeToStop;
use callring::config::Env;

use super::{Failure, Outcome, Query, output};

pub(super) fn run(query: &Query, env: &Env) -> Outcome {
    let answer: SafeToStop = query.client(env)?.get("/v1/safe-to-stop")?;
    for note in &answer.notes {
        output::remark(&format!("note: {note}"));
    }
    if query.json {
        output::json(&answer)?;
    }
    let line = format!("{}: {}", answer.name, answer.reason);
    match answer.safe {
        true if query.json => Ok(()),
        true => output::result(&format!("safe: {line}")),
        false => Err(Failure(format!("not safe: {line}"))),
    }
}
