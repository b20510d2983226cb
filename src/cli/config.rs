//! `callring config check FILE` and `callring config example`.

use std::io::Read as _;

use callring::config::{Config, EXAMPLE, Env, Flags, Problems};

use super::{Failure, Outcome, output};

/// `callring config`
#[derive(Debug, clap::Subcommand)]
pub(super) enum ConfigCommand {
    /// Check a file as if a node were started with it alone, without flags and environment
    Check {
        /// The file, or - for stdin
        file: String,
    },
    /// Print a full, commented example
    Example,
}

pub(super) fn run(command: &ConfigCommand) -> Outcome {
    match command {
        ConfigCommand::Example => output::result(EXAMPLE),
        ConfigCommand::Check { file } => check(file),
    }
}

fn check(file: &str) -> Outcome {
    let text = read(file)?;
    match Config::load(Some((file, &text)), &Env::default(), &Flags::default()) {
        Ok(config) => {
            for warning in &config.warnings {
                output::remark(&format!("{file}: warning: {warning}"));
            }
            output::result(&format!("{file}: ok"))
        }
        Err(Problems(problems)) => {
            // All but the last; that one is the failure's line.
            let (last, others) = problems.split_last().expect("a refusal has a reason");
            for problem in others {
                output::failure(&problem.to_string());
            }
            Err(Failure(last.to_string()))
        }
    }
}

/// The text of a configuration file, or of stdin for `-`.
pub(super) fn read(file: &str) -> Result<String, Failure> {
    let read = match file {
        "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map(|_| text)
        }
        file => std::fs::read_to_string(file),
    };
    read.map_err(|error| Failure(format!("{file}: cannot be read: {error}")))
}
