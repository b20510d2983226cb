//! The demo: a cluster of real processes on loopback, a phone, a kill, and what became of the
//! calls.
//!
//! | file | what lives there |
//! |---|---|
//! | `story` | the demo's plot, act by act |
//! | `phone` | a small SIP user agent |
//! | `capture` | what it sent and received |
//! | `process`, `cluster` | node processes, one and several |
//! | `figures` | percentiles |
//!
//! May touch: this program's own binary, certificates, the admin client. Must not know: what runs
//! inside a node. Tests of whole clusters use the same parts.

pub mod capture;
pub mod cluster;
pub mod figures;
pub mod phone;
pub mod process;
mod story;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use cluster::{Cluster, Emergency, Plan};

/// What the demo is told.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Node processes to start
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(4..=32))]
    pub nodes: u16,
    /// Calls to set up
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub calls: u32,
}

/// Why the demo could not be played to its end.
#[derive(Debug)]
pub(crate) struct Broken(String);

impl<E: std::error::Error> From<E> for Broken {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Plays the demo. Success only if every answered call was kept; no process and no file is left in
/// any case.
#[must_use]
pub fn run(args: &DemoArgs) -> ExitCode {
    match play(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Broken(text)) => {
            // Nobody is left to be told if stderr is closed.
            let _ = writeln!(io::stderr(), "error: {text}");
            ExitCode::FAILURE
        }
    }
}

fn play(args: &DemoArgs) -> Result<bool, Broken> {
    let cluster = Cluster::new(Plan::new(std::env::current_exe()?))?;
    watch_signals(cluster.emergency())?;
    story::play(args, cluster, &Teller::new())
}

/// On Ctrl-C and SIGTERM: the processes end, the directory goes, and so does the demo.
fn watch_signals(emergency: Emergency) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        let interrupt = signal(SignalKind::interrupt())?;
        (interrupt, signal(SignalKind::terminate())?)
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            emergency.end();
            std::process::exit(130);
        })?;
    Ok(())
}

/// Tells the story on stdout: a short title before each paragraph, bold on a terminal.
#[derive(Debug)]
pub(crate) struct Teller {
    bold: bool,
}

impl Teller {
    fn new() -> Self {
        Self {
            bold: io::stdout().is_terminal(),
        }
    }

    /// One line; an empty title continues the paragraph. A reader that has gone away is fine.
    pub(crate) fn tell(&self, title: &str, text: &str) {
        let title = format!("{title:<10}");
        let line = if self.bold {
            format!("\x1b[1m{title}\x1b[0m{text}\n")
        } else {
            format!("{title}{text}\n")
        };
        let mut out = io::stdout().lock();
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}
