//! The real binary in headless Chromium: `page.mjs` loads the map page, presses every control and
//! takes the tour; `status.mjs` does the same with the status page, and `clusters.mjs` with the
//! overview of several clusters.

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Debian has both; the others' tests need neither.
fn is_there(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

/// One browser at a time: two of them, each with a cluster, are too much for two cores.
static BROWSER: Mutex<()> = Mutex::new(());

/// Runs a script of this folder, which drives the real binary in a browser.
fn drive(script: &str) {
    let _alone = BROWSER.lock().unwrap_or_else(PoisonError::into_inner);
    for (program, package) in [("node", "nodejs"), ("chromium", "chromium")] {
        assert!(
            is_there(program),
            "{program} is missing: install the Debian package {package}, or run `make setup`"
        );
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/demo");
    let output = Command::new("node")
        .arg(folder.join(script))
        .arg(env!("CARGO_BIN_EXE_geofront"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_map_page_works_in_a_browser() {
    drive("page.mjs");
}

#[test]
fn the_status_page_works_in_a_browser() {
    drive("status.mjs");
}

#[test]
fn the_overview_of_several_clusters_works_in_a_browser() {
    drive("clusters.mjs");
}
