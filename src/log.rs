//! Where logs go: stderr, as text or JSON lines. stdout belongs to a command's result.
//!
//! A bare level means callring's own events; the libraries beneath speak only to warn. A filter in
//! the form `target=level,..` means what it says.

use std::str::FromStr as _;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The shape of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines, one object per line.
    Json,
}

/// Starts logging. `filter` is a level or a list of `target=level`.
pub(crate) fn init(filter: &str, format: Format) -> Result<(), String> {
    let targets = targets(filter)?;
    let registry = tracing_subscriber::registry().with(targets);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = match format {
        Format::Text => registry.with(layer).try_init(),
        Format::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    started.map_err(|error| error.to_string())
}

fn targets(filter: &str) -> Result<Targets, String> {
    if let Ok(level) = LevelFilter::from_str(filter) {
        let others = level.min(LevelFilter::WARN);
        let ours = ["callring", "callring_proto"].map(|target| (target, level));
        return Ok(Targets::new().with_default(others).with_targets(ours));
    }
    Targets::from_str(filter).map_err(|_| {
        format!(
            "\"{}\" is no log level: error, warn, info, debug, trace, off, or target=level,..",
            filter.escape_debug()
        )
    })
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    /// A bare level is ours, a list is taken by the word, the rest is refused.
    #[test]
    fn levels() {
        let debug = targets("debug").unwrap();
        assert!(debug.would_enable("callring::node", &Level::DEBUG));
        assert!(!debug.would_enable("quinn", &Level::INFO));
        assert!(debug.would_enable("quinn", &Level::WARN));
        assert!(!targets("off").unwrap().would_enable("quinn", &Level::ERROR));
        let list = targets("quinn=trace,error").unwrap();
        assert!(list.would_enable("quinn", &Level::TRACE));
        assert!(!list.would_enable("callring", &Level::WARN));
        assert!(targets("loud=very").is_err());
    }
}
