//! The Python of `target/clients`, where `make setup` puts the client libraries.

use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients")
}

/// Runs a script beside this file. Fails, and names the remedy, if the libraries are not there, or
/// are not those of `requirements.txt`.
#[track_caller]
pub(super) fn command(script: &str) -> Command {
    let wanted = include_str!("requirements.txt");
    let installed = std::fs::read_to_string(folder().join("requirements.txt"));
    assert_eq!(
        installed.ok().as_deref(),
        Some(wanted),
        "the Python clients of tests/real/clients/requirements.txt are not in target/clients: run `make setup`, \
         which needs python3-venv and a package index"
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/real/clients")
        .join(script);
    let mut command = Command::new(folder().join("bin/python"));
    // A byte code cache beside the scripts would be an untracked file.
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(script);
    command
}
