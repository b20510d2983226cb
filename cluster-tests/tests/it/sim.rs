//! Goal: some seeds of the simulator are clean, equal seeds give equal runs, found seeds stay
//! mended, and broken rules are noticed. Method: the simulator itself, few seeds;
//! `cargo sim --seeds N` runs many, `cargo sim --mutations` breaks every rule.

use callring_proto::cluster::{Break, Sabotage};
use cluster_tests::arena::turn;
use cluster_tests::sim;

#[test]
fn thirty_seeds_are_clean() {
    let _turn = turn();
    let answered: u64 = (0..30).map(clean).sum();
    assert!(answered > 2_000, "the runs are about calls: {answered}");
}

/// Seeds that once failed: each is a bug that was found.
#[test]
fn seeds_that_failed_once() {
    let _turn = turn();
    for (seed, found) in sim::regressions() {
        let outcome = sim::run(seed, Sabotage::default(), false);
        assert!(outcome.violations.is_empty(), "{seed} found: {found}");
    }
}

/// Runs a seed that must be clean; how many calls were answered.
fn clean(seed: u64) -> u64 {
    let outcome = sim::run(seed, Sabotage::default(), false);
    let violations = outcome.violations;
    assert!(violations.is_empty(), "seed {seed}: {violations:?}");
    outcome.exercise.answered
}

#[test]
fn a_seed_replays_exactly() {
    let _turn = turn();
    for seed in [3, 11] {
        let [one, other] = [(); 2].map(|()| sim::run(seed, Sabotage::default(), false));
        assert_eq!(one.trace, other.trace, "seed {seed}");
    }
    let [one, other] = [5, 6].map(|seed| sim::run(seed, Sabotage::default(), false).trace);
    assert_ne!(one, other);
}

/// Those that few seeds show.
#[test]
fn broken_rules_are_noticed() {
    let _turn = turn();
    let quick = [
        Break::ReleaseBeforeAck,
        Break::NoFencing,
        Break::FirstPromiseWins,
        Break::YieldKeepsHeld,
        Break::PurgeEarly,
        Break::TimersRestart,
    ];
    for rule in quick {
        let caught = sim::seeds_until(rule, 0..30);
        assert!(
            caught.seed.is_some(),
            "{rule:?} is broken and nobody notices"
        );
    }
}
