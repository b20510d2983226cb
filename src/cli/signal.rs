//! `callring hangup KEY` and `callring signal KEY JSON`: something for a call to do, told at any
//! member.

use callring::config::Env;
use callring::proto::base::ids::CallId;
use serde_json::Value;

use super::{Failure, Outcome, Query, output};

/// `callring hangup`
#[derive(Debug, clap::Args)]
pub(super) struct HangupArgs {
    /// The call's key, as `callring calls` prints it
    key: CallId,
    #[command(flatten)]
    query: Query,
}

/// `callring signal`
#[derive(Debug, clap::Args)]
pub(super) struct SignalArgs {
    /// The call's key, as `callring calls` prints it
    key: CallId,
    /// What the application is told
    #[arg(value_name = "JSON")]
    body: String,
    #[command(flatten)]
    query: Query,
}

pub(super) fn hangup(args: &HangupArgs, env: &Env) -> Outcome {
    let path = format!("/v1/calls/{}/hangup", args.key);
    tell(&args.query, env, &path, "{}".to_owned(), "told to hang up")
}

pub(super) fn signal(args: &SignalArgs, env: &Env) -> Outcome {
    if let Err(error) = serde_json::from_str::<Value>(&args.body) {
        return Err(Failure(format!("the signal is no JSON: {error}")));
    }
    let path = format!("/v1/calls/{}/signal", args.key);
    tell(&args.query, env, &path, args.body.clone(), "told")
}

fn tell(query: &Query, env: &Env, path: &str, body: String, done: &str) -> Outcome {
    let answer: Value = query.client(env)?.post(path, body.into())?;
    if query.json {
        return output::json(&answer);
    }
    let key = answer
        .get("key")
        .and_then(Value::as_str)
        .unwrap_or_default();
    output::result(&format!("{key} {done}"))
}
