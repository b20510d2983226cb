//! `callring demo`: a real cluster of processes on loopback whose owner is killed under calls.
//!
//! Uses this program's own binary and its admin client; knows nothing of what runs inside a node.

use std::process::ExitCode;

/// What the demonstration is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Node processes to start
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(3..=32))]
    pub(crate) nodes: u16,
    /// Calls to set up
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) calls: u32,
}

/// Runs it. 0 only if every answered call was kept.
pub(crate) fn run(args: DemoArgs) -> ExitCode {
    let DemoArgs { nodes, calls } = args;
    crate::cli::output::failure(&format!(
        "the demonstration with {nodes} nodes and {calls} calls is not in this version"
    ));
    ExitCode::FAILURE
}
