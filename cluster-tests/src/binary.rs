//! The `callring` binary that real-process tests start: built once per test run by the cargo that
//! runs the tests, in their profile and target directory, so that it is never an old one.
//!
//! Must not know: clusters.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the binary is.
///
/// # Panics
/// If it cannot be built.
#[must_use]
pub fn callring() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(build).clone()
}

fn build() -> PathBuf {
    // TARGET/PROFILE/deps/it-HASH, or TARGET/PROFILE/fire
    let test = std::env::current_exe().expect("a test knows its own path");
    let steps = if ancestor(&test, 1).ends_with("deps") {
        2
    } else {
        1
    };
    let profile_dir = ancestor(&test, steps);
    let target_dir = ancestor(&test, steps + 1);
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args([
            "build",
            "--quiet",
            "--package",
            "callring",
            "--bin",
            "callring",
        ])
        .arg("--manifest-path")
        .arg(ancestor(Path::new(env!("CARGO_MANIFEST_DIR")), 1).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target_dir);
    if profile_dir.ends_with("release") {
        cargo.arg("--release");
    }
    // What cargo tells this test of its package is not true of that build: build scripts that heed
    // it would run again, and half of the tree with them.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_"]
            .iter()
            .any(|of| text.starts_with(of))
        {
            cargo.env_remove(&name);
        }
    }
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "the callring binary does not build");
    profile_dir.join("callring")
}

fn ancestor(path: &Path, steps: usize) -> &Path {
    path.ancestors()
        .nth(steps)
        .expect("a test lies in TARGET/PROFILE/deps, this crate in the workspace")
}
