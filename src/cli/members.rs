//! `callring members`: who is in the cluster, as the asked member sees it.

use callring::admin::api::{Member, MembersAnswer, State};
use callring::config::Env;

use super::table::{Table, micros};
use super::{Outcome, Query, output};

pub(super) fn run(query: &Query, env: &Env) -> Outcome {
    let answer: MembersAnswer = query.client(env)?.get("/v1/members")?;
    output::unreachable(&answer.unreachable);
    if query.json {
        return output::json(&answer.members);
    }
    output::result(&render(&answer.members))
}

fn render(members: &[Member]) -> String {
    let headings = [
        "NAME", "STATE", "ROLE", "ZONE", "WEIGHT", "LIFE", "CALLS", "COPIES", "RTT", "VERSION",
        "CONFIG", "CLUSTER", "SIP",
    ];
    let mut table = Table::new(&headings, &[4, 5, 6, 7, 8]);
    let number = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
    for member in members {
        let state = member.state.as_str();
        table.row([
            member.name.clone(),
            match (member.draining, member.state) {
                (true, State::Alive | State::Suspect) => format!("{state},draining"),
                _ => state.to_owned(),
            },
            member.role.clone(),
            member.zone.clone(),
            member.weight.to_string(),
            member.incarnation.to_string(),
            number(member.calls_owned),
            number(member.calls_replica),
            member.rtt_us.map_or_else(String::new, micros),
            member.version.clone(),
            member.config_hash.chars().take(8).collect(),
            member.cluster_addr.clone().unwrap_or_default(),
            member.sip.join(","),
        ]);
    }
    table.render()
}
