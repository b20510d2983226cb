//! Where a setting came from, and what is wrong with it.
//!
//! Pure data. Every complaint names its place: file, line and key, or the flag, or the variable.

use std::fmt;
use std::sync::Arc;

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A key of the configuration file.
    File {
        /// The file, as it was named.
        file: Arc<str>,
        /// Line, from 1.
        line: usize,
        /// The key with its section, `cluster.listen`; empty for the file as a whole.
        key: String,
    },
    /// An environment variable.
    Env(&'static str),
    /// A command-line flag.
    Flag(&'static str),
    /// Nowhere: a setting that is missing.
    Missing(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, key } if key.is_empty() => write!(f, "{file}:{line}"),
            Self::File { file, line, key } => write!(f, "{file}:{line}: {key}"),
            Self::Env(name) | Self::Flag(name) | Self::Missing(name) => f.write_str(name),
        }
    }
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given<T> {
    /// The value as written.
    pub(crate) value: T,
    /// Where it was written.
    pub(crate) place: Place,
}

impl<T> Given<T> {
    /// A complaint about this value.
    pub(crate) fn problem(&self, text: impl Into<String>) -> Problem {
        Problem {
            place: self.place.clone(),
            text: text.into(),
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What, and what was expected.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// All that is wrong with a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    /// The first complaint, and how many more there are: one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("the configuration is refused"),
            [only] => write!(f, "{only}"),
            [first, rest @ ..] => write!(
                f,
                "{first} (and {} more: `callring config check` lists them)",
                rest.len()
            ),
        }
    }
}

/// The word of `known` that `word` was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

/// `a`, `b` or `c`: the words that are allowed, for a complaint.
pub(crate) fn one_of(known: &[&str]) -> String {
    let quoted: Vec<String> = known.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        None => "nothing".into(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}
