//! Goal: some seeds of the simulator are clean, equal seeds give equal runs, and a broken rule is
//! noticed. Method: the simulator itself, few seeds; `cargo sim --seeds N` runs many.

use callring_proto::cluster::{Break, Sabotage};
use cluster_tests::arena::turn;
use cluster_tests::sim;

#[test]
fn forty_seeds_are_clean() {
    let _turn = turn();
    let mut answered = 0;
    for seed in 0..40 {
        let outcome = sim::run(seed, Sabotage::default(), false);
        assert!(
            outcome.violations.is_empty(),
            "seed {seed}: {:?}",
            outcome.violations
        );
        answered += outcome.exercise.answered;
    }
    assert!(answered > 2_000, "the runs are about calls: {answered}");
}

/// Seeds that once failed: each is a bug that was found.
#[test]
fn seeds_that_failed_once() {
    let _turn = turn();
    // 22: an answered BYE was sent again by the heir. 1164, 2230: a node that had just started said
    // 481 for calls it could not know of yet.
    for seed in [22, 1164, 2230] {
        let outcome = sim::run(seed, Sabotage::default(), false);
        assert!(
            outcome.violations.is_empty(),
            "seed {seed}: {:?}",
            outcome.violations
        );
    }
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

#[test]
fn releasing_before_the_ack_is_noticed() {
    let _turn = turn();
    let sabotage = Sabotage::breaking(Break::ReleaseBeforeAck);
    assert!((0..10).any(|seed| !sim::run(seed, sabotage, false).violations.is_empty()));
}

#[test]
fn ignoring_the_fence_is_noticed() {
    let _turn = turn();
    let sabotage = Sabotage::breaking(Break::NoFencing);
    assert!((0..60).any(|seed| !sim::run(seed, sabotage, false).violations.is_empty()));
}
