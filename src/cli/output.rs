//! The only place that prints. Results go to stdout, remarks and failures to stderr.
#![allow(
    clippy::print_stderr,
    reason = "this module is the command line's voice"
)]

use std::io::{ErrorKind, Write as _};

use serde::Serialize;

use super::{Failure, Outcome};

/// Prints a result, and a line end if it has none. A reader that has gone away (`| head`) is fine.
pub(super) fn result(text: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    let end = if text.ends_with('\n') || text.is_empty() {
        ""
    } else {
        "\n"
    };
    let printed = out
        .write_all(text.as_bytes())
        .and_then(|()| out.write_all(end.as_bytes()))
        .and_then(|()| out.flush());
    match printed {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a result as JSON, one value, indented.
pub(super) fn json(value: &impl Serialize) -> Outcome {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure(error.to_string()))?;
    result(&text)
}

/// A remark beside the result.
pub(super) fn remark(text: &str) {
    eprintln!("{text}");
}

/// The one line that says why a command failed.
pub(crate) fn failure(text: &str) {
    eprintln!("callring: {text}");
}

/// Names the members that an answer lacks.
pub(super) fn unreachable(names: &[String]) {
    if !names.is_empty() {
        remark(&format!("did not answer: {}", names.join(", ")));
    }
}
