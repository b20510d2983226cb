//! Words that don't belong into the project's text.

use std::collections::BTreeSet;

use super::{Source, none, sources};

/// A word that is spelled in two parts here, so that this file does not contain it.
fn joined(first: &str, second: &str) -> String {
    format!("{first}{second}")
}

/// Goal: what is not done is an issue, not a remark in a file.
#[test]
fn nothing_is_left_to_do_in_a_remark() {
    let words = [
        joined("TO", "DO"),
        joined("FIX", "ME"),
        joined("todo", "!("),
        joined("dbg", "!("),
        joined("unimplemented", "!("),
    ];
    let mut complaints = Vec::new();
    for source in sources() {
        for (index, line) in source.text.lines().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(word.as_str())) {
                let place = format!("{}:{}", source.path, index + 1);
                complaints.push(format!("{place}: {word} has no place in main"));
            }
        }
    }
    none(&complaints);
}

/// Goal: nothing is skipped in silence.
#[test]
fn an_ignored_test_says_why() {
    let bare = joined("#[ig", "nore]");
    let complaints: Vec<String> = sources()
        .iter()
        .filter(|source| source.is_rust())
        .flat_map(|source| {
            let bare = bare.clone();
            source
                .code()
                .filter(move |(_, line)| line.contains(&bare))
                .map(|(number, _)| format!("{}:{number}: ignored without a reason", source.path))
                .collect::<Vec<_>>()
        })
        .collect();
    none(&complaints);
}

/// Goal: the project speaks of itself alone, and every text it refers to is in it.
#[test]
fn texts_point_into_the_project() {
    let foreign = [
        joined("/wo", "rk/"),
        joined("/tmp/", "wt"),
        joined("../sha", "red"),
        joined("field", "/"),
    ];
    let all = sources();
    let known = |name: &str| all.iter().any(|source| source.path.ends_with(name));
    let mut complaints = Vec::new();
    for source in all.iter().filter(|source| speaks(source)) {
        for (index, line) in source.text.lines().enumerate() {
            let place = format!("{}:{}", source.path, index + 1);
            if let Some(word) = foreign.iter().find(|word| names(line, word)) {
                complaints.push(format!("{place}: {word} is not part of the project"));
            }
            for name in documents(line).filter(|name| !known(name)) {
                complaints.push(format!("{place}: there is no {name} here"));
            }
        }
    }
    none(&complaints);
}

fn speaks(source: &Source) -> bool {
    let written = [".rs", ".md", ".toml", ".sh", "run", ".service"];
    written.iter().any(|end| source.path.ends_with(end))
}

/// Whether a path begins there, and is not the middle of a longer one.
fn names(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "-_./".contains(c))
    })
}

/// Names of Markdown files in capitals, as documents are called here.
fn documents(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices(".md").filter_map(|(at, _)| {
        let start = line[..at]
            .rfind(|c: char| !(c.is_ascii_uppercase() || c == '_'))
            .map_or(0, |before| before + 1);
        let end = at + ".md".len();
        (start < at).then(|| &line[start..end])
    })
}

/// Goal: the map shows the house as it is. Method: every folder of sources is named in it, and each
/// `file.rs::name` in it exists.
#[test]
fn the_map_is_true() {
    let all = sources();
    let map = all.iter().find(|source| source.path == "ARCHITECTURE.md");
    let map = &map.expect("there is a map").text;
    let mut complaints = Vec::new();
    let folders: BTreeSet<&str> = all
        .iter()
        .filter(|source| source.is_rust())
        .filter_map(|source| source.path.rsplit_once('/').map(|(folder, _)| folder))
        .filter(|folder| !folder.contains("/tests/"))
        .filter(|folder| !matches!(*folder, "proto/src" | "src" | "tests"))
        .collect();
    for folder in folders.iter().filter(|folder| !folder.ends_with("/tests")) {
        if !map.contains(&format!("`{folder}/`")) {
            complaints.push(format!("ARCHITECTURE.md does not name {folder}/"));
        }
    }
    for quoted in map.split('`').skip(1).step_by(2) {
        let Some((file, name)) = quoted
            .split_once("::")
            .filter(|(file, _)| file.ends_with(".rs"))
        else {
            continue;
        };
        let defines = |source: &&Source| {
            let here = source.path.ends_with(&format!("/{file}"));
            let defined = |word: &&str| {
                let definition = format!("{word} {name}");
                let mut after = source.text.split(definition.as_str()).skip(1);
                after.any(|rest| rest.starts_with(['(', '<', ' ', '{']))
            };
            here && ["fn", "struct", "enum"].iter().any(defined)
        };
        if !all.iter().any(|source| defines(&source)) {
            complaints.push(format!("ARCHITECTURE.md: there is no {quoted}"));
        }
    }
    none(&complaints);
}
