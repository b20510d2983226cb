//! Broken rules: how many seeds it takes until each is noticed, and by which invariant. And the
//! seeds that found something once.

use callring_proto::cluster::{Break, Sabotage};

use super::{Invariant, run};

/// How a broken rule was noticed.
#[derive(Clone, Copy, Debug)]
pub struct Caught {
    /// Which rule.
    pub rule: Break,
    /// The seed that showed it; none if no seed did.
    pub seed: Option<u64>,
    /// What did not hold.
    pub by: Option<Invariant>,
}

/// Breaks `rule` and runs seeds until something does not hold that held with the rule whole.
#[must_use]
pub fn seeds_until(rule: Break, seeds: impl IntoIterator<Item = u64>) -> Caught {
    for seed in seeds {
        let broken = run(seed, Sabotage::breaking(rule), false);
        if broken.violations.is_empty() {
            continue;
        }
        let whole = run(seed, Sabotage::default(), false);
        let by = broken.violations.iter().map(|one| one.invariant);
        let known = |by: &Invariant| whole.violations.iter().any(|one| one.invariant == *by);
        if let Some(by) = by.filter(|by| !known(by)).min() {
            return Caught {
                rule,
                seed: Some(seed),
                by: Some(by),
            };
        }
    }
    Caught {
        rule,
        seed: None,
        by: None,
    }
}

/// Seeds that failed once, and what each found.
pub fn regressions() -> impl Iterator<Item = (u64, &'static str)> {
    let lines = include_str!("regress.txt").lines();
    let lines = lines.filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines.map(|line| {
        let (seed, found) = line.split_once(' ').unwrap_or((line, ""));
        (seed.parse().expect("a line begins with a seed"), found)
    })
}
