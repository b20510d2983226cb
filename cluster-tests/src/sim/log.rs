//! What nodes log: an ERROR is a bug of ours and fails a run (one run per thread at a time); in a
//! verbose run everything from DEBUG on is told.

use std::cell::RefCell;
use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::eprintln_line;

thread_local! {
    static ERRORS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Runs `run` with the logs of this thread caught; returns its ERRORs as well.
pub(super) fn caught<T>(verbose: bool, run: impl FnOnce() -> T) -> (T, Vec<String>) {
    ERRORS.take();
    let outcome = tracing::subscriber::with_default(Catcher { verbose }, run);
    (outcome, ERRORS.take())
}

/// The ERRORs since this was last asked.
pub(super) fn take_errors() -> Vec<String> {
    ERRORS.take()
}

struct Catcher {
    verbose: bool,
}

impl Subscriber for Catcher {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let told = self.verbose && metadata.target().starts_with("callring");
        *metadata.level() == Level::ERROR || (told && *metadata.level() <= Level::DEBUG)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let Line(line) = line;
        let level = *event.metadata().level();
        if level == Level::ERROR {
            ERRORS.with_borrow_mut(|errors| errors.push(line.clone()));
        }
        if self.verbose {
            eprintln_line(&format!("    {level} {}:{line}", event.metadata().target()));
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
        written.expect("a String takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_caught_and_only_once() {
        let ((), errors) = caught(false, || {
            tracing::error!(key = 7, "must not happen");
            tracing::warn!("may happen");
        });
        assert_eq!(errors, [" must not happen key=7"]);
        assert!(caught(false, || ()).1.is_empty());
    }
}
