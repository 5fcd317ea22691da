//! Programs of other packages that tests run. If one is missing, the test reports what to install.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where `program` is, a path or a name to look up in `PATH`.
#[track_caller]
pub(crate) fn find(program: &str, package: &str) -> PathBuf {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("{program} is missing: install the Debian package {package}, or run `make setup`")
    })
}

/// Runs `command` to its end; a failure includes its output.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .expect("the program was found, so it starts");
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A file or folder of `tests/data`.
pub(crate) fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(path)
}
