//! `callring drain`, `undrain` and `leave`: a node hands its calls over, takes that back, or goes.
//! They are about the asked node alone.

use std::time::{Duration, Instant};

use bytes::Bytes;
use callring::admin::api::Draining;
use callring::admin::{Client, ClientError};
use callring::config::Env;

use super::{Failure, Outcome, Query, output};

/// How often a draining node is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How often it is told how far it is.
const TELL: Duration = Duration::from_secs(1);
/// What a node needs after its last call to say good-bye and end, at most.
const GOODBYE: Duration = Duration::from_secs(10);
/// A body that says nothing.
const NOTHING: Bytes = Bytes::from_static(b"{}");

/// `callring drain`
#[derive(Debug, clap::Args)]
pub(super) struct DrainArgs {
    /// Give up waiting after so many seconds; the node goes on
    #[arg(long, value_name = "S", default_value_t = 60)]
    timeout: u64,
    #[command(flatten)]
    query: Query,
}

pub(super) fn drain(args: &DrainArgs, env: &Env) -> Outcome {
    let client = args.query.client(env)?;
    let limit = Duration::from_secs(args.timeout);
    let mut progress = Progress::new();
    let mut state: Draining = client.post("/v1/drain", NOTHING)?;
    loop {
        if !state.draining {
            let name = state.name;
            return Err(Failure(format!("{name}: the drain was taken back")));
        }
        progress.tell(&state);
        if is_done(&state) {
            break;
        }
        if progress.since.elapsed() >= limit {
            if args.query.json {
                output::json(&state)?;
            }
            let (name, left) = (&state.name, left(&state));
            return Err(Failure(format!(
                "{name}: {left} after {} s; it goes on draining (`callring undrain` takes it back)",
                args.timeout
            )));
        }
        std::thread::sleep(LOOK);
        state = client.get("/v1/drain")?;
    }
    if args.query.json {
        return output::json(&state);
    }
    output::result(&format!("{} drained: it owns no calls", state.name))
}

pub(super) fn undrain(query: &Query, env: &Env) -> Outcome {
    let state: Draining = query.client(env)?.post("/v1/undrain", NOTHING)?;
    if query.json {
        return output::json(&state);
    }
    output::result(&format!("{} takes calls again", state.name))
}

pub(super) fn leave(query: &Query, env: &Env) -> Outcome {
    let client = query.client(env)?;
    let mut progress = Progress::new();
    let mut state: Draining = client.post("/v1/leave", NOTHING)?;
    let limit = Duration::from_secs(state.stop_timeout_s) + GOODBYE;
    while let Some(next) = look(&client)? {
        progress.tell(&next);
        state = next;
        if progress.since.elapsed() >= limit {
            return Err(Failure(format!(
                "{}: told to leave, and still there after {} s",
                state.name,
                limit.as_secs()
            )));
        }
        std::thread::sleep(LOOK);
    }
    if query.json {
        return output::json(&state);
    }
    output::result(&format!("{} has left", state.name))
}

/// How far the node is; nothing if it is no longer there.
fn look(client: &Client) -> Result<Option<Draining>, ClientError> {
    match client.get("/v1/drain") {
        Ok(state) => Ok(Some(state)),
        Err(ClientError::NoAnswer { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_done(state: &Draining) -> bool {
    state.calls_owned == 0 && state.shards_mute == 0
}

fn left(state: &Draining) -> String {
    let mut text = match state.calls_owned {
        1 => "1 call left".to_owned(),
        calls => format!("{calls} calls left"),
    };
    if state.in_setup > 0 {
        text.push_str(&format!(", {} of them in set-up", state.in_setup));
    }
    if state.shards_mute > 0 {
        text.push_str(&format!(", {} shards do not answer", state.shards_mute));
    }
    text
}

/// Tells on stderr how far the node is, once a second and while something is left.
struct Progress {
    since: Instant,
    told: Option<(Instant, u64)>,
}

impl Progress {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            told: None,
        }
    }

    fn tell(&mut self, state: &Draining) {
        let now = Instant::now();
        if is_done(state) {
            return;
        }
        let mut line = format!("{}: {}", state.name, left(state));
        if let Some((at, calls)) = self.told {
            let span = now - at;
            if span < TELL {
                return;
            }
            let handed = calls.saturating_sub(state.calls_owned);
            let per_second = u128::from(handed) * 1_000 / span.as_millis().max(1);
            line.push_str(&format!(", {per_second} per second"));
        }
        output::remark(&line);
        self.told = Some((now, state.calls_owned));
    }
}
