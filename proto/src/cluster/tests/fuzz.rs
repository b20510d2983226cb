//! Many seeds. `CALLRING_SEEDS=from..to` (or a number) asks for others than the usual ones; a
//! single seed tells its story.

use super::script::{Outcome, run};
use crate::cluster::{Break, Sabotage};

fn seeds(usual: u64) -> std::ops::Range<u64> {
    #[expect(clippy::disallowed_methods, reason = "a test asks which seeds to run")]
    let asked = std::env::var("CALLRING_SEEDS").unwrap_or_default();
    let number = |text: &str| text.trim().parse::<u64>().ok();
    match asked.split_once("..") {
        Some((from, to)) => number(from).unwrap_or(0)..number(to).unwrap_or(usual),
        None => 0..number(&asked).unwrap_or(usual),
    }
}

/// Runs seeds; panics with the story of the first bad one.
fn check(seeds: std::ops::Range<u64>) -> Outcome {
    let mut sum = Outcome::default();
    for seed in seeds {
        let outcome = run(seed, Sabotage::default(), false);
        if !outcome.violations.is_empty() {
            let again = run(seed, Sabotage::default(), true);
            assert_eq!(
                again.violations, outcome.violations,
                "seed {seed} does not replay"
            );
            panic!("{}seed {seed}: {:#?}", again.story, again.violations);
        }
        sum.calls += outcome.calls;
        sum.told += outcome.told;
        sum.takeovers += outcome.takeovers;
        sum.faults += outcome.faults;
        sum.drains += outcome.drains;
        sum.handed_over += outcome.handed_over;
        sum.over_budget += outcome.over_budget;
        sum.events += outcome.events;
        sum.slowest = sum.slowest.max(outcome.slowest);
    }
    sum
}

/// Safety within the budget of faults, liveness after it, for many seeds.
#[test]
fn seeds_hold() {
    let sum = check(seeds(300));
    assert!(
        sum.told > 0 && sum.takeovers > 0 && sum.handed_over > 0,
        "{sum:?}"
    );
    #[expect(clippy::print_stdout, reason = "shown with --nocapture")]
    {
        println!("{sum:?}");
    }
}

/// The same seed is the same run, to the last event.
#[test]
fn a_seed_replays() {
    for seed in 0..3 {
        let one = run(seed, Sabotage::default(), true);
        let other = run(seed, Sabotage::default(), true);
        assert!(one.story == other.story && !one.story.is_empty());
        assert_eq!((one.events, one.told), (other.events, other.told));
    }
}

/// A simulator that finds nothing when rules 4, 6 and 8 are broken would be worth nothing.
#[test]
fn broken_rules_are_noticed() {
    let caught = |sabotage: Sabotage| {
        let bad = (0..40).filter(|seed| !run(*seed, sabotage, false).violations.is_empty());
        bad.count()
    };
    let early = caught(Sabotage::breaking(Break::ReleaseBeforeAck));
    let unfenced = caught(Sabotage::breaking(Break::NoFencing));
    assert!(
        early > 0 && unfenced > 0,
        "{early} and {unfenced} of 40 seeds"
    );
}

/// Not a check: what goes wrong in how many seeds, for whoever works on the rules.
#[test]
#[ignore = "a survey for people"]
fn survey() {
    let mut kinds = std::collections::BTreeMap::<String, (u64, u64)>::new();
    let mut sum = Outcome::default();
    for seed in seeds(300) {
        let outcome = run(seed, Sabotage::default(), false);
        sum.calls += outcome.calls;
        sum.told += outcome.told;
        sum.takeovers += outcome.takeovers;
        sum.faults += outcome.faults;
        sum.over_budget += outcome.over_budget;
        sum.slowest = sum.slowest.max(outcome.slowest);
        if let Some((_, what)) = outcome.violations.first() {
            let kind: String = what.split(':').take(2).collect::<Vec<_>>().join(":");
            let kind = kind.chars().take(60).collect();
            let entry = kinds.entry(kind).or_insert((0, seed));
            entry.0 += 1;
        }
    }
    #[expect(clippy::print_stdout, reason = "a survey")]
    {
        println!("{kinds:#?}\n{sum:?}");
    }
}
