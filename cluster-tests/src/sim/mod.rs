//! The simulator: a whole cluster of node cores in one thread, in virtual time, from one seed.
//!
//! Every node runs the real [`Shard`](callring_proto::shard::Shard)s and the real membership; every
//! frame and every SIP message is bytes. What is simulated is the world: links, datagrams, clocks,
//! crashes, phones. A seed decides everything, so a failing seed replays exactly.
//!
//! `plan` and `trouble` draw a run from a seed, `world` carries it out, `phone` and `hears` are its
//! callers, `net` its networks, `node` and `clock` its nodes, `fabric` what nodes say to each
//! other, `faults` what goes wrong. `model` is what each phone was told; `judge` puts what happens
//! before the `invariants`, `books` and `inspect` look inside when all is well, `log` catches
//! errors. `exercise` counts what the runs were about, `mutations` shows that a broken rule is
//! noticed.

mod books;
mod callers;
mod clock;
mod exercise;
mod fabric;
mod faults;
mod hears;
mod inspect;
mod invariants;
mod judge;
mod log;
mod model;
mod mutations;
mod net;
mod node;
mod phone;
mod plan;
mod trouble;
mod world;

pub use exercise::Exercise;
pub use invariants::{Invariant, Violation};
pub use mutations::{Caught, regressions, seeds_until};
pub use plan::{Budget, Fault, Kind, Moment, Plan, Trap};
pub use world::{Outcome, World};

use std::panic::{AssertUnwindSafe, catch_unwind};

use callring_proto::cluster::Sabotage;

/// Runs one seed to its end. One at a time per thread.
#[must_use]
pub fn run(seed: u64, sabotage: Sabotage, verbose: bool) -> Outcome {
    let plan = Plan::draw(seed);
    let kind = plan.kind;
    if verbose {
        eprintln_line(&format!("{plan:#?}"));
    }
    let start = callring_proto::base::time::Instant::START;
    let run = || World::new(plan, sabotage, verbose).run();
    let (result, errors) = log::caught(verbose, || catch_unwind(AssertUnwindSafe(run)));
    let mut outcome = result.unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().cloned();
        let what = what.or_else(|| panic.downcast_ref::<&str>().map(|&what| what.to_owned()));
        Outcome {
            seed,
            kind,
            exercise: Exercise::default(),
            refused: 0,
            violations: vec![Violation {
                at: start,
                invariant: Invariant::NoError,
                what: format!("panicked: {}", what.unwrap_or_default()),
            }],
            trace: 0,
        }
    });
    outcome
        .violations
        .extend(errors.into_iter().map(|what| Violation {
            at: start,
            invariant: Invariant::NoError,
            what,
        }));
    outcome
}

/// The one place of the simulator that prints.
#[expect(
    clippy::print_stderr,
    reason = "the trace of a verbose run is for people"
)]
pub(crate) fn eprintln_line(line: &str) {
    eprintln!("{line}");
}
