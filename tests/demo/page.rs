//! The real binary and its map page in headless Chromium: `page.mjs` loads the page, presses every
//! control and takes the tour.

use std::path::Path;
use std::process::Command;

/// Debian has both; the others' tests need neither.
fn is_there(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

#[test]
fn the_map_page_works_in_a_browser() {
    for (program, package) in [("node", "nodejs"), ("chromium", "chromium")] {
        assert!(
            is_there(program),
            "{program} is missing: install the Debian package {package}, or run `make setup`"
        );
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/demo/page.mjs");
    let output = Command::new("node")
        .arg(script)
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
