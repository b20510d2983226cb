//! The simulator: a whole cluster of node cores in one thread, in virtual time, from one seed.
//!
//! Every node runs the real [`Shard`](callring_proto::shard::Shard)s and the real membership; every
//! frame and every SIP message is bytes. What is simulated is the world: links, datagrams, clocks,
//! crashes, phones. A seed decides everything, so a failing seed replays exactly.
//!
//! `plan` draws a run from a seed, `world` carries it out, `phone` are its callers, `net` its
//! networks, `node` its nodes, `faults` what goes wrong, `judge` looks at what happened.

mod callers;
mod faults;
mod judge;
mod net;
mod node;
mod phone;
mod plan;
mod world;

pub use judge::Violation;
pub use plan::{Fault, Plan};
pub use world::{Outcome, World};

use callring_proto::cluster::Sabotage;

/// Runs one seed to its end.
#[must_use]
pub fn run(seed: u64, sabotage: Sabotage, verbose: bool) -> Outcome {
    let plan = Plan::draw(seed);
    if verbose {
        eprintln_line(&format!("{plan:#?}"));
    }
    World::new(plan, sabotage, verbose).run()
}

/// The one place of the simulator that prints.
#[expect(
    clippy::print_stderr,
    reason = "the trace of a verbose run is for people"
)]
pub(crate) fn eprintln_line(line: &str) {
    eprintln!("{line}");
}
