//! The command line: what is written after `callring`, and who answers it. One file per command.
//!
//! Knows the library's public API. Prints through `output` only.

mod call;
mod calls;
mod config;
mod drain;
mod manager;
mod members;
mod node;
pub(crate) mod output;
mod pki;
mod ring;
mod safe_to_stop;
mod signal;
mod status;
mod table;

use std::process::ExitCode;

use callring::admin::{Client, ClientError, DEFAULT_URL};
use callring::config::Env;
use clap::{Args, Parser, Subcommand};

/// Why a command did not do what it was told: one line for stderr.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self(error.to_string())
    }
}

type Outcome = Result<(), Failure>;

/// SIP application servers whose calls outlive their node
#[derive(Debug, Parser)]
#[command(name = "callring", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node
    Node(Box<node::NodeArgs>),
    /// Make a cluster's CA, keys and certificates
    #[command(subcommand)]
    Pki(pki::PkiCommand),
    /// Show how the cluster is, and what to look at
    Status(Query),
    /// List the members
    Members(Query),
    /// Show the hash ring, and where a call lies on it
    Ring(ring::RingArgs),
    /// List calls
    Calls(calls::CallsArgs),
    /// Show one call in full
    Call(call::CallArgs),
    /// Hang up a call, wherever it is owned
    Hangup(signal::HangupArgs),
    /// Bring a signal to a call's application, wherever it is owned
    Signal(signal::SignalArgs),
    /// Make a node hand its calls over, and wait until it owns none
    Drain(drain::DrainArgs),
    /// Let a draining node take calls again
    Undrain(Query),
    /// Make a node hand its calls over, leave the cluster and end
    Leave(Query),
    /// Say whether a node can be stopped, even killed, without losing an answered call
    SafeToStop(Query),
    /// Start a cluster here, kill a node under calls, and watch the calls go on
    Demo(callring::demo::DemoArgs),
    /// Check a configuration, or print an example
    #[command(subcommand)]
    Config(config::ConfigCommand),
}

/// What every question to a running node takes.
#[derive(Clone, Debug, Args)]
struct Query {
    /// Admin interface of any member [env: CALLRING_ADMIN] [default: http://127.0.0.1:8060]
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Query {
    /// The client of the node that is asked.
    fn client(&self, env: &Env) -> Result<Client, Failure> {
        let from_env = || env.get("CALLRING_ADMIN").map(str::to_owned);
        let url = self.admin.clone().or_else(from_env);
        Ok(Client::new(url.as_deref().unwrap_or(DEFAULT_URL))?)
    }
}

/// Runs a command to its end.
pub(crate) fn run(cli: Cli) -> ExitCode {
    let env = Env::of_process();
    let outcome = match cli.command {
        Command::Node(args) => node::run(&args, &env),
        Command::Pki(command) => pki::run(&command),
        Command::Status(query) => status::run(&query, &env),
        Command::Members(query) => members::run(&query, &env),
        Command::Ring(args) => ring::run(&args, &env),
        Command::Calls(args) => calls::run(&args, &env),
        Command::Call(args) => call::run(&args, &env),
        Command::Hangup(args) => signal::hangup(&args, &env),
        Command::Signal(args) => signal::signal(&args, &env),
        Command::Drain(args) => drain::drain(&args, &env),
        Command::Undrain(query) => drain::undrain(&query, &env),
        Command::Leave(query) => drain::leave(&query, &env),
        Command::SafeToStop(query) => safe_to_stop::run(&query, &env),
        Command::Demo(args) => return callring::demo::run(&args),
        Command::Config(command) => config::run(&command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(text)) => {
            output::failure(&text);
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests;
