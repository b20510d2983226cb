//! The `callring` binary: parse, run, and turn the outcome into an exit code.
//!
//! Exit codes: 0 done, 1 refused or failed (one clear line on stderr), 2 wrong usage.

mod cli;
mod log;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // Help and usage errors end in here, with 0 and 2.
    cli::run(cli::Cli::parse())
}
