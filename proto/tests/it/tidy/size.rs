//! How long files, functions and lines may be, and how files begin.

use std::collections::BTreeMap;

use super::{Source, none, root, sources};

/// A file beyond this holds more than one noun.
const FILE_LINES_MAX: usize = 500;
/// A function beyond this does more than one thing.
const FUNCTION_LINES_MAX: usize = 70;
/// As rustfmt has it; it leaves comments and strings alone, so they are looked at here.
const LINE_CHARS_MAX: usize = 100;

const RATCHET: &str = "proto/tests/it/tidy/ratchet.txt";

/// What was over a bound when the bound came: `what place count`.
fn ratchet() -> BTreeMap<(String, String), usize> {
    let text = std::fs::read_to_string(root().join(RATCHET)).expect("the ratchet can be read");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            let entry = (words.next(), words.next(), words.next());
            let (Some(what), Some(place), Some(count)) = entry else {
                panic!("{RATCHET}: not `what place count`: {line}");
            };
            let count = count.parse().expect("a count is a number");
            ((what, place), count)
        })
        .collect()
}

/// Compares what is over a bound with what the ratchet allows: none new, none grown, none stale.
fn hold(what: &str, over: &BTreeMap<String, usize>, advice: &str) {
    let allowed: BTreeMap<String, usize> = ratchet()
        .into_iter()
        .filter(|((kind, _), _)| kind == what)
        .map(|((_, place), count)| (place, count))
        .collect();
    let mut complaints = Vec::new();
    for (place, count) in over {
        let known = allowed.get(place).copied().unwrap_or(0);
        if *count > known {
            complaints.push(format!("{what} {place} {count}: {advice}"));
        }
    }
    for place in allowed.keys() {
        if !over.contains_key(place) {
            complaints.push(format!(
                "{RATCHET}: take `{what} {place}` out, it is within bounds"
            ));
        }
    }
    none(&complaints);
}

#[test]
fn files_are_short() {
    let over = sources()
        .iter()
        .filter(|source| source.is_rust())
        .map(|source| (source.path.clone(), source.text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .collect();
    hold("file", &over, "over 500 lines; find the second noun in it");
}

#[test]
fn functions_are_short() {
    let over = sources()
        .iter()
        .filter(|source| source.is_rust())
        .flat_map(functions)
        .filter(|(_, lines)| *lines > FUNCTION_LINES_MAX)
        .collect();
    hold("function", &over, "over 70 lines; branching up, loops down");
}

/// Functions of a file as rustfmt leaves them: the closing brace stands under the `fn`.
fn functions(source: &Source) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut open: Option<(String, String, usize)> = None;
    for (number, line) in source.code() {
        let indent = &line[..line.len() - line.trim_start().len()];
        if let Some((name, depth, first)) = &open {
            if line.trim_end() == format!("{depth}}}") {
                let place = format!("{}::{name}", source.path);
                found.push((place, number - first + 1));
                open = None;
            }
            continue;
        }
        if let Some(name) = function_name(line)
            && !line.trim_end().ends_with(['}', ';'])
        {
            open = Some((name.to_owned(), indent.to_owned(), number));
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let name = loop {
        match words.next()? {
            "fn" => break words.next()?,
            "pub" | "const" | "async" | "unsafe" | "extern" | "\"C\"" => {}
            word if word.starts_with("pub(") || word.ends_with(')') => {}
            _ => return None,
        }
    };
    name.split(['(', '<']).next()
}

#[test]
fn lines_are_short() {
    let over = sources()
        .iter()
        .filter(|source| source.is_rust())
        .map(|source| {
            let long = |line: &&str| line.chars().count() > LINE_CHARS_MAX;
            (
                source.path.clone(),
                source.text.lines().filter(long).count(),
            )
        })
        .filter(|(_, lines)| *lines > 0)
        .collect();
    hold(
        "long-lines",
        &over,
        "lines of more than 100 characters; break them",
    );
}

/// Goal: whoever opens a file learns what it is and what it never does.
#[test]
fn every_file_says_what_it_is() {
    let complaints: Vec<String> = sources()
        .iter()
        .filter(|source| source.is_rust() && !source.text.starts_with("//! "))
        .map(|source| format!("{}: begins without `//!`", source.path))
        .collect();
    none(&complaints);
}

/// The reader of functions reads what it should.
#[test]
fn functions_are_measured_from_fn_to_brace() {
    let text = "    pub(super) fn one<T>(\n        a: T,\n    ) {\n        a;\n    }\nfn two();\n";
    let source = Source {
        path: "x.rs".into(),
        text: text.into(),
    };
    assert_eq!(functions(&source), [("x.rs::one".to_owned(), 5)]);
}
