//! `fire EXPERIMENT [--calls N] [--rate R] [--repeats K] [--fault-s S] [--delay-ms D] [--loss P]
//! [--seed S] [--lenient]`: a cluster of real processes under load and under fire, at full size.
//! Prints figures and a verdict; exit code 1 on a violation.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program"
)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use cluster_tests::fire::{self, Options, Report};
use cluster_tests::relay::Weather;

const USAGE: &str = "usage: fire hold|slow|takeover|rolling|partition|join|mixed|zones \
[--calls N] [--rate R] [--repeats K] [--fault-s S] [--delay-ms D] [--loss P] [--seed S] \
[--lenient]";

type Experiment = fn(&Options) -> Report;

/// What an experiment is at full size.
fn full(name: &str) -> Option<(Experiment, Options)> {
    let options = Options {
        calls: 1_000,
        rate: 200,
        repeats: 1,
        fault: Duration::from_secs(60),
        weather: None,
        seed: 1,
        strict: true,
    };
    let (experiment, options): (Experiment, Options) = match name {
        "takeover" => (
            fire::takeover,
            Options {
                repeats: 5,
                ..options
            },
        ),
        "slow" => {
            let weather = Some(Weather::new(20, 5));
            // The targets are for a network without loss.
            let strict = false;
            (
                fire::takeover,
                Options {
                    weather,
                    strict,
                    repeats: 5,
                    ..options
                },
            )
        }
        "mixed" => (
            fire::mixed,
            Options {
                repeats: 5,
                strict: false,
                ..options
            },
        ),
        "zones" => (fire::zones, options),
        "hold" => (
            fire::hold,
            Options {
                calls: 10_000,
                repeats: 20,
                ..options
            },
        ),
        "rolling" => (fire::rolling, options),
        "join" => (
            fire::join,
            Options {
                calls: 2_000,
                ..options
            },
        ),
        "partition" => (
            fire::partition,
            Options {
                calls: 2_000,
                rate: 100,
                ..options
            },
        ),
        _ => return None,
    };
    Some((experiment, options))
}

fn parse() -> Result<(String, Experiment, Options), String> {
    let mut words = std::env::args().skip(1);
    let name = words.next().ok_or("which experiment?")?;
    let (experiment, mut options) = full(&name).ok_or(format!("no experiment is called {name}"))?;
    while let Some(flag) = words.next() {
        if flag == "--lenient" {
            options.strict = false;
            continue;
        }
        let value = words.next().ok_or(format!("{flag} wants a number"))?;
        let number: u32 = value
            .parse()
            .map_err(|_| format!("{flag}: {value} is no number"))?;
        let weather = options.weather.unwrap_or_default();
        match flag.as_str() {
            "--calls" => options.calls = number,
            "--rate" => options.rate = number.max(1),
            "--repeats" => options.repeats = number,
            "--fault-s" => options.fault = Duration::from_secs(number.into()),
            "--seed" => options.seed = number.into(),
            "--delay-ms" => {
                let delay = Duration::from_millis(number.into());
                options.weather = Some(Weather { delay, ..weather });
            }
            "--loss" => {
                let loss_per_mille = number.min(100) * 10;
                options.weather = Some(Weather {
                    loss_per_mille,
                    ..weather
                });
            }
            other => return Err(format!("unknown argument {other}")),
        }
    }
    Ok((name, experiment, options))
}

fn main() -> ExitCode {
    let (name, experiment, options) = match parse() {
        Ok(parsed) => parsed,
        Err(error) => {
            eprintln!("fire: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let began = Instant::now();
    let report = experiment(&options);
    println!("\n{name}: {options:?}\n{report} ({:.0?})", began.elapsed());
    ExitCode::from(u8::from(!report.violations.is_empty()))
}
