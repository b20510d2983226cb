//! `callring status`: how the cluster is, and what to look at.

use callring::admin::api::{Status, StatusAnswer};
use callring::config::Env;

use super::{Outcome, Query, output};

pub(super) fn run(query: &Query, env: &Env) -> Outcome {
    let answer: StatusAnswer = query.client(env)?.get("/v1/status")?;
    output::unreachable(&answer.unreachable);
    if query.json {
        return output::json(&answer.status);
    }
    output::result(&render(&answer.status))
}

fn render(status: &Status) -> String {
    let of = match status.cluster.as_str() {
        "" => "standalone".to_owned(),
        cluster => format!("cluster {cluster}, asked {}", status.name),
    };
    let mut text = format!("{}: {of}\n", status.verdict.as_str());
    let members = format!("{} of {} alive", status.members_alive, status.members_total);
    let lines = [
        ("members", members),
        ("view epoch", status.view_epoch.to_string()),
        ("calls owned", status.calls_owned.to_string()),
        ("copies held", status.calls_replica.to_string()),
        ("in set-up", status.in_setup.to_string()),
        ("under-replicated", status.under_replicated.to_string()),
        ("in one place only", status.uncovered.to_string()),
        ("sent without a copy", status.degraded.to_string()),
        ("takeovers", status.takeovers.to_string()),
        ("claimed", status.claimed.to_string()),
        ("adopted", status.adopted.to_string()),
        ("handed over", status.handed_over.to_string()),
        ("replicas changed", status.repaired.to_string()),
        ("relayed", status.relayed.to_string()),
        ("fenced", status.fenced.to_string()),
    ];
    for (name, value) in lines {
        text.push_str(&format!("  {name:<20} {value}\n"));
    }
    for advice in &status.advice {
        text.push_str(&format!("- {advice}\n"));
    }
    text
}
