//! `cargo sim --seeds N [--from S]` runs many simulated clusters, `cargo sim --seed S -v` one of
//! them aloud. The last line is a summary; exit code 0 only without violations.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program"
)]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use callring_proto::cluster::{Break, Sabotage};
use cluster_tests::sim::{self, Outcome};

struct Args {
    from: u64,
    seeds: u64,
    verbose: bool,
    sabotage: Sabotage,
}

const USAGE: &str = "usage: sim [--seeds N] [--from S] [--seed S] [-v] \
                     [--break RULE]";

fn parse() -> Result<Args, String> {
    let mut args = Args {
        from: 0,
        seeds: 100,
        verbose: false,
        sabotage: Sabotage::default(),
    };
    let mut words = std::env::args().skip(1);
    let number = |word: Option<String>, flag: &str| {
        let word = word.ok_or(format!("{flag} wants a number"))?;
        word.parse::<u64>()
            .map_err(|_| format!("{flag}: {word} is not a number"))
    };
    while let Some(flag) = words.next() {
        match flag.as_str() {
            "--seeds" => args.seeds = number(words.next(), "--seeds")?,
            "--from" => args.from = number(words.next(), "--from")?,
            "--seed" => {
                args.from = number(words.next(), "--seed")?;
                args.seeds = 1;
            }
            "-v" | "--verbose" => args.verbose = true,
            "--break" => {
                let name = words.next().unwrap_or_default();
                let known = Break::ALL.into_iter().find(|rule| rule.label().1 == name);
                args.sabotage =
                    Sabotage::breaking(known.ok_or(format!("no rule is called {name}"))?);
            }
            other => return Err(format!("unknown argument {other}")),
        }
    }
    Ok(args)
}

fn main() -> ExitCode {
    let args = match parse() {
        Ok(args) => args,
        Err(error) => {
            eprintln!("sim: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let began = Instant::now();
    let next = AtomicU64::new(args.from);
    let outcomes: Mutex<Vec<Outcome>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(usize::try_from(args.seeds).unwrap_or(usize::MAX)) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= args.from.saturating_add(args.seeds) {
                        break;
                    }
                    let outcome = sim::run(seed, args.sabotage, args.verbose);
                    for violation in outcome.violations.iter().take(3) {
                        println!("seed {seed} at {:?}: {}", violation.at, violation.what);
                    }
                    outcomes
                        .lock()
                        .expect("no thread has panicked")
                        .push(outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().expect("no thread has panicked");
    summary(&outcomes, began)
}

fn summary(outcomes: &[Outcome], began: Instant) -> ExitCode {
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    let bad = outcomes
        .iter()
        .filter(|outcome| !outcome.violations.is_empty())
        .count();
    println!(
        "{} seeds, {} calls, {} answered, {} taken over, {} told without a copy, {} refused for \
         now, {} violations in {bad} seeds, {:.1} s",
        outcomes.len(),
        sum(|one| one.calls as u64),
        sum(|one| one.answered as u64),
        sum(|one| one.takeovers),
        sum(|one| one.degraded),
        sum(|one| u64::from(one.refused)),
        sum(|one| one.violations.len() as u64),
        began.elapsed().as_secs_f32(),
    );
    if bad == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
