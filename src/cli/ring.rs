//! `callring ring`: each member's part of the hash ring, and where a call lies on it.

use callring::admin::Client;
use callring::admin::api::RingAnswer;
use callring::config::Env;
use callring::proto::base::ids::CallId;

use super::table::Table;
use super::{Outcome, Query, output};

/// `callring ring`
#[derive(Debug, clap::Args)]
pub(super) struct RingArgs {
    /// Where this call lies, as `callring calls` prints its key
    #[arg(long, value_name = "K")]
    key: Option<CallId>,
    #[command(flatten)]
    query: Query,
}

pub(super) fn run(args: &RingArgs, env: &Env) -> Outcome {
    let key = args.key.map(|key| key.to_string());
    let path = Client::path("/v1/ring", &[("key", key.as_deref())]);
    let answer: RingAnswer = args.query.client(env)?.get(&path)?;
    if args.query.json {
        return output::json(&answer);
    }
    let mut table = Table::new(&["NAME", "ZONE", "WEIGHT", "SHARE"], &[2, 3]);
    for share in &answer.shares {
        table.row([
            share.name.clone(),
            share.zone.clone(),
            share.weight.to_string(),
            format!("{:.1}%", 100.0 * share.share),
        ]);
    }
    let mut text = table.render();
    if let Some(key) = &answer.key {
        text.push_str(&format!("{}: {}\n", key.key, key.proposed.join(", ")));
    }
    output::result(&text)
}
