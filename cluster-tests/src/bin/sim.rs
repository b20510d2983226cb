//! `cargo sim --seeds N [--from S]` runs many simulated clusters and says what they exercised,
//! `cargo sim --seed S -v` one of them aloud; `--break RULE` breaks a rule on purpose,
//! `--mutations` each in turn. The last line is a summary; exit code 0 only without violations,
//! and, from 100 seeds on, only if the runs were not too quiet.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program"
)]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use callring_proto::cluster::{Break, Sabotage};
use cluster_tests::sim::{self, Caught, Exercise, Invariant, Outcome};

struct Args {
    from: u64,
    seeds: u64,
    verbose: bool,
    sabotage: Sabotage,
    mutations: bool,
}

const USAGE: &str =
    "usage: sim [--seeds N] [--from S] [--seed S] [-v] [--break RULE] [--mutations]";
/// Violations of one seed that are printed.
const SHOWN: usize = 3;

fn parse() -> Result<Args, String> {
    let mut args = Args {
        from: 0,
        seeds: 100,
        verbose: false,
        sabotage: Sabotage::default(),
        mutations: false,
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
            "--mutations" => args.mutations = true,
            "--break" => {
                let name = words.next().unwrap_or_default();
                let known = Break::ALL.into_iter().find(|rule| rule.label().1 == name);
                let known = known.ok_or(format!("no rule is called {name}"))?;
                args.sabotage = Sabotage::breaking(known);
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
    if args.mutations {
        return mutations(&args);
    }
    let began = Instant::now();
    let seeds: Vec<u64> = (args.from..args.from.saturating_add(args.seeds)).collect();
    let outcomes = on_all_cores(&seeds, |seed| {
        let outcome = sim::run(*seed, args.sabotage, args.verbose);
        for violation in outcome.violations.iter().take(SHOWN) {
            let (at, invariant) = (violation.at, violation.invariant);
            let (kind, what) = (outcome.kind, &violation.what);
            println!("seed {seed} ({kind:?}) at {at:?}: {invariant:?}: {what}");
        }
        outcome
    });
    summary(&outcomes, began)
}

/// Does the work on every core, each item once; results in the order of items.
fn on_all_cores<I: Sync, O: Send>(items: &[I], work: impl Fn(&I) -> O + Sync) -> Vec<O> {
    let next = AtomicU64::new(0);
    let done: Mutex<BTreeMap<u64, O>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let item = usize::try_from(place).ok().and_then(|at| items.get(at));
                    let Some(item) = item else { break };
                    let outcome = work(item);
                    let mut done = done.lock().expect("no thread has panicked");
                    done.insert(place, outcome);
                }
            });
        }
    });
    let done = done.into_inner().expect("no thread has panicked");
    done.into_values().collect()
}

fn summary(outcomes: &[Outcome], began: Instant) -> ExitCode {
    let mut total = Exercise::default();
    let mut by: BTreeMap<Invariant, u64> = BTreeMap::new();
    for outcome in outcomes {
        total.add(&outcome.exercise);
        for violation in &outcome.violations {
            *by.entry(violation.invariant).or_default() += 1;
        }
    }
    let seeds = outcomes.len() as u64;
    if let [only] = outcomes {
        println!("trace {:016x}", only.trace);
    }
    print!("{total}");
    let quiet = if seeds >= 100 {
        total.too_quiet(seeds)
    } else {
        Vec::new()
    };
    for what in &quiet {
        println!("too quiet: {what}");
    }
    for (invariant, count) in &by {
        println!("{count:>12} times {invariant:?} did not hold");
    }
    let bad = outcomes.iter().filter(|one| !one.violations.is_empty());
    let bad = bad.count();
    println!(
        "{seeds} seeds, {} calls, {} answered, {} taken over, {} refused for now, {} violations in \
         {bad} seeds, {:.1} s",
        total.calls,
        total.answered,
        total.takeovers,
        outcomes
            .iter()
            .map(|one| u64::from(one.refused))
            .sum::<u64>(),
        by.values().sum::<u64>(),
        began.elapsed().as_secs_f32(),
    );
    if bad == 0 && quiet.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Breaks each rule in turn, with at most `--seeds` seeds.
fn mutations(args: &Args) -> ExitCode {
    let began = Instant::now();
    let seeds = args.from..args.from.saturating_add(args.seeds);
    let table = on_all_cores(&Break::ALL, |rule| sim::seeds_until(*rule, seeds.clone()));
    println!("{:<8}{:<26}{:>6}  noticed by", "rule", "broken", "seeds");
    let mut missed = 0;
    for Caught { rule, seed, by } in table {
        let (number, name) = rule.label();
        let needed = seed.map_or("-".to_owned(), |seed| (seed - args.from + 1).to_string());
        let by = by.map_or("nothing".to_owned(), |by| format!("{by:?}"));
        missed += u32::from(seed.is_none());
        println!("{number:<8}{name:<26}{needed:>6}  {by}");
    }
    println!(
        "{} rules broken, {missed} not noticed within {} seeds, {:.1} s",
        Break::ALL.len(),
        args.seeds,
        began.elapsed().as_secs_f32()
    );
    if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
