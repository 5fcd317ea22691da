//! The real binary, run to its end, and files for it.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// The output of a command and its exit code.
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs `geofront` on a terminal of 100 columns.
pub(crate) fn geofront(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_geofront"))
        .args(arguments)
        .env("COLUMNS", "100")
        .output()
        .expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("it writes text");
    Output {
        code: output.status.code().expect("it exits"),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// Files in a folder that is removed at the end of the test.
pub(crate) struct Files {
    folder: TempDir,
}

impl Files {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("a file for the test");
        }
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}
