//! `callring calls`: the calls of the whole cluster, the youngest first.

use callring::admin::Client;
use callring::admin::api::{Call, CallsAnswer};
use callring::config::Env;
use callring::proto::io::CallState;

use super::table::{Table, age};
use super::{Outcome, Query, output};

/// `callring calls`
#[derive(Debug, clap::Args)]
pub(super) struct CallsArgs {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Only those this member owns
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
    /// Only those in this state
    #[arg(long, value_parser = ["early", "answered", "confirmed", "ending"])]
    state: Option<String>,
    /// Only those whose From URI contains this
    #[arg(long, value_name = "TEXT")]
    from: Option<String>,
    /// Only those whose To URI contains this
    #[arg(long, value_name = "TEXT")]
    to: Option<String>,
    #[command(flatten)]
    query: Query,
}

pub(super) fn run(args: &CallsArgs, env: &Env) -> Outcome {
    let limit = args.limit.to_string();
    let parameters = [
        ("limit", Some(limit.as_str())),
        ("owner", args.owner.as_deref()),
        ("state", args.state.as_deref()),
        ("from", args.from.as_deref()),
        ("to", args.to.as_deref()),
    ];
    let path = Client::path("/v1/calls", &parameters);
    let answer: CallsAnswer = args.query.client(env)?.get(&path)?;
    output::unreachable(&answer.unreachable);
    if answer.more {
        output::remark(&format!("there are more than {limit}: see --limit"));
    }
    if args.query.json {
        return output::json(&answer.calls);
    }
    output::result(&render(&answer.calls))
}

fn render(calls: &[Call]) -> String {
    let headings = [
        "KEY", "STATE", "OWNER", "REPLICAS", "EPOCH", "VERSION", "LEGS", "AGE", "APP", "CALL-ID",
    ];
    let mut table = Table::new(&headings, &[4, 5, 6, 7]);
    for call in calls {
        table.row([
            call.key.clone(),
            state(call.state).to_owned(),
            call.owner.clone(),
            call.replicas.join(","),
            call.epoch.to_string(),
            call.version.to_string(),
            call.legs.to_string(),
            age(call.age_s),
            call.app.clone(),
            call.call_id.clone(),
        ]);
    }
    table.render()
}

/// The word for a state.
pub(super) const fn state(state: CallState) -> &'static str {
    match state {
        CallState::Early => "early",
        CallState::Answered => "answered",
        CallState::Confirmed => "confirmed",
        CallState::Ending => "ending",
    }
}
