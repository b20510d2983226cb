//! `swim [--members N,N] [--loss P,P] [--preset NAME,NAME] [--seed S]`: what membership costs and
//! how soon it notices, as a table. Exit code 1 if bytes grow with members by more than half, or if
//! the living are called Down where they must not be.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program"
)]

use std::process::ExitCode;
use std::time::Instant;

use cluster_tests::swim::{self, Outcome, Plan, Preset};

struct Args {
    members: Vec<usize>,
    loss: Vec<u32>,
    presets: Vec<Preset>,
    seed: u64,
}

const USAGE: &str = "usage: swim [--members N,N] [--loss P,P] [--preset local,lan,wan] [--seed S]";

/// Ten times as many members may cost a node this many times the bytes.
const GROWTH_MAX: f64 = 1.5;
/// Up to this loss nobody who lives may be called Down.
const SAFE_LOSS_PERCENT: u32 = 5;

fn numbers<T: std::str::FromStr>(flag: &str, word: Option<String>) -> Result<Vec<T>, String> {
    let word = word.ok_or(format!("{flag} wants numbers"))?;
    let each = word.split(',').map(|one| {
        one.parse()
            .map_err(|_| format!("{flag}: {one} is not a number"))
    });
    each.collect()
}

fn parse() -> Result<Args, String> {
    let mut args = Args {
        members: vec![10, 100, 1000],
        loss: vec![0, 5, 20],
        presets: swim::presets().into(),
        seed: 1,
    };
    let mut words = std::env::args().skip(1);
    while let Some(flag) = words.next() {
        match flag.as_str() {
            "--members" => args.members = numbers(&flag, words.next())?,
            "--loss" => args.loss = numbers(&flag, words.next())?,
            "--seed" => {
                let seeds = numbers(&flag, words.next())?;
                args.seed = seeds.into_iter().next().unwrap_or(1);
            }
            "--preset" => {
                let word = words.next().ok_or("--preset wants names")?;
                let wanted: Vec<&str> = word.split(',').collect();
                args.presets.retain(|preset| wanted.contains(&preset.name));
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
            eprintln!("swim: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    println!(
        "preset members loss  bytes/s datagrams/s  down after: first median   last  false Down  \
         over  renamed   took"
    );
    let mut complaints = Vec::new();
    for preset in &args.presets {
        for &loss_percent in &args.loss {
            let mut before: Option<Outcome> = None;
            for &members in &args.members {
                let plan = plan(members, loss_percent, *preset, args.seed);
                let began = Instant::now();
                let outcome = swim::run(plan);
                println!("{}", row(plan, &outcome, began));
                complaints.extend(judge(plan, &outcome, before.as_ref()));
                before = Some(outcome);
            }
        }
    }
    println!();
    for members in &args.members {
        let bytes = swim::metadata_bytes_per_second(*members);
        println!("metadata gossip besides, estimated: {members:>5} members {bytes:>9.0} bytes/s");
    }
    for complaint in &complaints {
        println!("{complaint}");
    }
    if complaints.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn plan(members: usize, loss_percent: u32, preset: Preset, seed: u64) -> Plan {
    let many = members > 300;
    Plan {
        members,
        loss_percent,
        preset,
        quiet_periods: if many { 60 } else { 600 },
        crashes: if many { 2 } else { 5 },
        seed,
    }
}

fn row(plan: Plan, outcome: &Outcome, began: Instant) -> String {
    let detection = match outcome.detection {
        Some((first, middle, last)) => format!(
            "{:>5.1} s {:>5.1} s {:>5.1} s",
            first.as_secs_f64(),
            middle.as_secs_f64(),
            last.as_secs_f64()
        ),
        None => "not noticed by all".to_owned(),
    };
    let took = format!("{:>4.0} s", began.elapsed().as_secs_f64());
    format!(
        "{:6} {:>7} {:>3}% {:>8.0} {:>11.1}        {detection} {:>11} {:>4.0} s {:>7} {took}",
        plan.preset.name,
        plan.members,
        plan.loss_percent,
        outcome.bytes_per_second,
        outcome.datagrams_per_second,
        outcome.false_downs,
        outcome.quiet.as_secs_f64(),
        outcome.renamed,
    )
}

/// What must not be. Growth is looked at without loss: with it, news of suspicions rides along, and
/// how much of that there is grows with the members until the datagrams are full.
fn judge(plan: Plan, outcome: &Outcome, before: Option<&Outcome>) -> Vec<String> {
    let mut complaints = Vec::new();
    let what = format!(
        "{} with {} members at {} % loss",
        plan.preset.name, plan.members, plan.loss_percent
    );
    if !outcome.gathered {
        complaints.push(format!("{what}: they never all met"));
    }
    let grown = before.map(|before| outcome.bytes_per_second / before.bytes_per_second);
    if plan.loss_percent == 0 && grown.is_some_and(|grown| grown > GROWTH_MAX) {
        complaints.push(format!("{what}: bytes grow with members"));
    }
    if plan.loss_percent <= SAFE_LOSS_PERCENT && outcome.false_downs > 0 {
        complaints.push(format!("{what}: the living were called Down"));
    }
    if plan.loss_percent <= SAFE_LOSS_PERCENT && outcome.detection.is_none() {
        complaints.push(format!("{what}: a death was not noticed by all"));
    }
    complaints
}
