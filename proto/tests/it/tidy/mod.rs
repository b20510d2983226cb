//! The house rules, held by reading the project's own sources: which room may know which, what may
//! be named where, how long a file may grow.
//!
//! `ratchet.txt` beside this file lists what was over a bound when the bound came. An entry may
//! shrink or go, never grow; a new one needs a reason in its commit.

mod arrows;
mod size;
mod text;
mod wire_files;

use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the project.
struct Source {
    /// From the workspace's root, with forward slashes.
    path: String,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Lines with their numbers, those that are only a comment left out.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.text.lines().enumerate();
        numbered
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(index, line)| (index + 1, line))
    }
}

fn root() -> PathBuf {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR"));
    proto.parent().expect("proto lies in the workspace").into()
}

/// Every text file of the project, in the order of their paths.
fn sources() -> Vec<Source> {
    const KINDS: [&str; 9] = [
        "rs", "toml", "md", "sh", "txt", "tsv", "yml", "service", "run",
    ];
    let root = root();
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(folder) = open.pop() {
        let entries = fs::read_dir(&folder).expect("the project's folders can be read");
        for entry in entries {
            let path = entry.expect("a folder's entry can be read").path();
            let name = path.file_name().and_then(|name| name.to_str());
            if path.is_dir() {
                if !matches!(name, Some(".git" | "target")) {
                    open.push(path);
                }
                continue;
            }
            let kind = path.extension().or(path.file_name());
            if !kind.is_some_and(|kind| KINDS.iter().any(|known| *known == kind)) {
                continue;
            }
            let text = fs::read_to_string(&path).expect("the project's texts are UTF-8");
            let inside = path.strip_prefix(&root).expect("it was found there");
            let path = inside.to_string_lossy().replace('\\', "/");
            found.push(Source { path, text });
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(found.len() > 100, "only {} files: not here", found.len());
    found
}

/// Fails with all complaints at once: each names its place and what to do.
fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}
