//! The cluster's own certificates and secrets: made by `callring pki`, read by `callring node`.
//!
//! A directory holds `ca.pem`, `ca.key` (needed to issue, not by nodes), `cluster.key` (the same at
//! every node), and for each node `NAME.pem` and `NAME.key`. Reads and writes those files; knows
//! nothing of sockets, and of the configuration only how TOML is read.

mod load;
mod make;
mod secrets;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

pub use self::load::{Identity, load};
pub use self::make::{init, issue};
pub use self::secrets::ClusterSecrets;

/// Certificate of the cluster's CA.
pub const CA_PEM: &str = "ca.pem";
/// Private key of the cluster's CA: keep it off the nodes.
pub const CA_KEY: &str = "ca.key";
/// Secrets that every node of the cluster shares.
pub const CLUSTER_KEY: &str = "cluster.key";

/// A file that is not what it should be, or can't be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {text}", path.display())]
pub struct PkiError {
    /// Which file or directory.
    pub path: PathBuf,
    /// What is wrong, and what was expected.
    pub text: String,
}

impl PkiError {
    fn new(path: &Path, text: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
        }
    }
}

/// Makes the directory for its owner alone, or checks that it is that.
fn private_dir(dir: &Path) -> Result<(), PkiError> {
    match DirBuilder::new().recursive(true).mode(0o700).create(dir) {
        Ok(()) => {}
        Err(error) => return Err(PkiError::new(dir, format!("cannot be made: {error}"))),
    }
    let meta = dir
        .metadata()
        .map_err(|error| PkiError::new(dir, error.to_string()))?;
    if meta.permissions().mode() & 0o077 != 0 {
        let text = format!("is open to others; chmod 700 {}", dir.display());
        return Err(PkiError::new(dir, text));
    }
    Ok(())
}

/// Writes a new file for its owner alone. An existing one stays as it is.
fn write_new(path: &Path, content: &str) -> Result<(), PkiError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let written = options.open(path).and_then(|mut file: File| {
        file.write_all(content.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => PkiError::new(path, "exists; it is never overwritten"),
        _ => PkiError::new(path, format!("cannot be written: {error}")),
    })
}

/// Reads a file. `hint` says how it comes to be, should it be missing.
fn read(path: &Path, hint: &str) -> Result<String, PkiError> {
    std::fs::read_to_string(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => PkiError::new(path, format!("is missing; {hint}")),
        _ => PkiError::new(path, format!("cannot be read: {error}")),
    })
}

/// Reads a file that only its owner may read.
fn read_secret(path: &Path, hint: &str) -> Result<String, PkiError> {
    let content = read(path, hint)?;
    let meta = path
        .metadata()
        .map_err(|error| PkiError::new(path, error.to_string()))?;
    let mode = meta.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        let text = format!(
            "is a secret that others can read (mode {mode:04o}); chmod 600 {}",
            path.display()
        );
        return Err(PkiError::new(path, text));
    }
    Ok(content)
}

#[cfg(test)]
mod tests;
