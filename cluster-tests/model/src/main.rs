//! `callring-model [A|B|C|D|H|S|W|X|quick] [-v]`: an explicit-state checker of the ownership
//! protocol.
//!
//! One call, four nodes, every order of events; and, by itself, a call before it has a record
//! (`setup`). The rules of `proto/PROTOCOL.md` are switches; its section 7 says what is not
//! modelled. Each configuration knows what must come of it: the exit code is 1 if anything else
//! does. The first argument is how the names of the configurations to try begin; `quick` tries all
//! with few states. `CAP` bounds the states of a search (2,000,000), `STEPS` those of a walk
//! (20,000,000). `-v` tells the way to each broken invariant.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program"
)]

mod action;
mod apply;
mod claim;
mod configurations;
mod deliver;
mod ends;
mod expected;
mod fingerprint;
mod heal;
mod healing;
mod invariant;
mod model;
mod owner;
mod print;
mod rules;
mod search;
mod setup;
mod start;
mod state;
mod walk;

use std::process::ExitCode;
use std::time::Instant;

use configurations::{Configuration, Method};
use expected::{Expected, expected};
use invariant::Invariants;
use model::Model;

/// How much is tried of each configuration.
struct Extent {
    states: usize,
    steps: u64,
}

/// About half a minute for all of them.
const QUICK: Extent = Extent {
    states: 60_000,
    steps: 100_000,
};
const FULL: Extent = Extent {
    states: 2_000_000,
    steps: 20_000_000,
};

/// What came of a configuration.
struct Outcome {
    /// How much was looked at, for people.
    extent: String,
    broken: Invariants,
    others: Invariants,
    exhausted: bool,
    way: Vec<action::Action>,
}

fn main() -> ExitCode {
    let (mut want, mut verbose) = (String::new(), false);
    for word in std::env::args().skip(1) {
        match word.as_str() {
            "-v" => verbose = true,
            _ => want = word,
        }
    }
    let extent = if want == "quick" {
        want.clear();
        QUICK
    } else {
        Extent {
            states: from_environment("CAP").unwrap_or(FULL.states),
            steps: from_environment("STEPS").unwrap_or(FULL.steps as usize) as u64,
        }
    };
    let all = configurations::all();
    let tried = all.iter().filter(|one| one.name.starts_with(&want));
    let (mut count, mut wrong) = (0, 0);
    for configuration in tried {
        count += 1;
        wrong += u32::from(!is_as_expected(configuration, &extent, verbose));
    }
    println!("{count} configurations, {wrong} not as expected");
    if count == 0 {
        eprintln!("callring-model: no configuration's name begins with {want}");
    }
    if count > 0 && wrong == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn from_environment(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

/// Tries it, tells what came of it, and whether that is right.
fn is_as_expected(configuration: &Configuration, extent: &Extent, verbose: bool) -> bool {
    let model = Model {
        rules: configuration.rules,
    };
    let began = Instant::now();
    let outcome = run(&model, configuration, extent);
    let verdict = if outcome.broken.is_empty() {
        let over = if outcome.exhausted {
            "exhausted"
        } else {
            "open beyond"
        };
        format!("nothing broken, {over}")
    } else {
        format!("BROKEN {}", outcome.broken.names())
    };
    let others = if outcome.others.is_empty() {
        String::new()
    } else {
        format!(" (also {})", outcome.others.names())
    };
    let tried = match configuration.method {
        Method::Search | Method::SetUp(_) => extent.states,
        Method::Walk => extent.steps as usize,
    };
    let complaint = complaint(expected(&configuration.name), &outcome, tried);
    println!(
        "{:64} {} {:>5.1} s  {verdict}{others}{}",
        configuration.name,
        outcome.extent,
        began.elapsed().as_secs_f32(),
        complaint.map_or(String::new(), |what| format!("  NOT AS EXPECTED: {what}")),
    );
    if !outcome.broken.is_empty() && (verbose || complaint.is_some()) {
        println!("{}", print::way(&model, &outcome.way));
    }
    complaint.is_none()
}

fn run(model: &Model, configuration: &Configuration, extent: &Extent) -> Outcome {
    let wanted = configuration.wanted;
    match configuration.method {
        Method::Search => {
            let found = search::search(model, wanted, extent.states);
            Outcome {
                extent: format!("states {:>8} depth {:>2}", found.states, found.depth),
                broken: found.broken,
                others: found.others,
                exhausted: found.exhausted,
                way: found.way,
            }
        }
        Method::SetUp(rules) => {
            let found = setup::search(&rules, extent.states);
            Outcome {
                extent: format!("states {:>8}", found.states),
                broken: if found.broken {
                    wanted
                } else {
                    Invariants::NONE
                },
                others: Invariants::NONE,
                exhausted: found.exhausted,
                way: Vec::new(),
            }
        }
        Method::Walk => {
            let walked = walk::walk(model, wanted, extent.steps);
            Outcome {
                extent: format!(
                    "walks {} steps {} emitters {}",
                    walked.walks, walked.steps, walked.emitters
                ),
                broken: walked.broken,
                others: walked.others,
                exhausted: false,
                way: walked.way,
            }
        }
    }
}

/// What is wrong with an outcome, if anything.
fn complaint(expected: Expected, outcome: &Outcome, tried: usize) -> Option<&'static str> {
    match expected {
        Expected::Holds if !outcome.broken.is_empty() => Some("must hold"),
        Expected::Breaks(what, _) if outcome.broken.meets(what) => None,
        Expected::Breaks(..) if !outcome.broken.is_empty() => Some("breaks another way"),
        Expected::Breaks(_, within) if within <= tried || outcome.exhausted => Some("must break"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(broken: Invariants, exhausted: bool) -> Outcome {
        Outcome {
            extent: String::new(),
            broken,
            others: Invariants::NONE,
            exhausted,
            way: Vec::new(),
        }
    }

    /// Goal: a wrong outcome is noticed, and one that too little was tried for is none.
    #[test]
    fn outcomes_are_judged() {
        let lost = Invariants::LOST_OR_FORKED;
        let (holds, open) = (Expected::Holds, Expected::Open);
        let breaks = Expected::Breaks(lost, 100);
        let none = outcome(Invariants::NONE, false);
        let check = |expected, outcome: &Outcome, tried, right: bool| {
            assert_eq!(complaint(expected, outcome, tried).is_none(), right);
        };
        check(holds, &none, 1, true);
        check(holds, &outcome(lost, false), 1, false);
        check(breaks, &outcome(lost, false), 100, true);
        check(breaks, &outcome(Invariants::CSEQ, false), 100, false);
        check(breaks, &none, 100, false);
        check(breaks, &none, 99, true);
        check(breaks, &outcome(Invariants::NONE, true), 99, false);
        check(open, &none, 1, true);
        check(open, &outcome(lost, false), 1, true);
    }

    /// Goal: nothing known is forgotten. Method: every name in the table is tried.
    #[test]
    fn every_known_break_is_tried() {
        let all = configurations::all();
        for name in expected::names() {
            assert!(all.iter().any(|one| one.name == name), "{name}");
        }
    }
}
