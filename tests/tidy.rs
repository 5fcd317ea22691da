//! Tests of the repository itself: the floor plan of `ARCHITECTURE.md`, and the habits that reviews
//! should not have to check.
//!
//! Each rule is a function from a file's text to violations, and has its own test that it catches a
//! planted one.

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/docs.rs"]
mod docs;
#[path = "tidy/floors.rs"]
mod floors;
#[path = "tidy/idioms.rs"]
mod idioms;
#[path = "tidy/markdown.rs"]
mod markdown;
#[path = "tidy/names.rs"]
mod names;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/text.rs"]
mod text;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A rule broken, and where.
#[derive(Debug)]
pub(crate) struct Violation {
    file: String,
    line: usize,
    what: String,
}

impl Violation {
    fn new(file: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file that is tracked, or would be: new files are held to the rules before they are added.
fn files() -> Vec<String> {
    let listed = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root())
        .output();
    let listed = listed.expect("git lists the files");
    assert!(
        listed.status.success(),
        "git ls-files: {}",
        String::from_utf8_lossy(&listed.stderr)
    );
    let names = String::from_utf8(listed.stdout).expect("file names are UTF-8");
    let files: Vec<String> = names
        .split_terminator('\0')
        .map(str::to_owned)
        .filter(|f| path(f).is_file())
        .collect();
    assert!(
        files.iter().any(|f| f == "src/lib.rs"),
        "the list of files is not that of this repository"
    );
    files
}

fn path(file: &str) -> PathBuf {
    root().join(file)
}

/// Returns the text files whose name passes `wanted`.
fn texts(wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    files()
        .into_iter()
        .filter(|f| wanted(f))
        .filter_map(|f| Some((std::fs::read_to_string(path(&f)).ok()?, f)))
        .map(|(t, f)| (f, t))
        .collect()
}

fn is_rust(file: &str) -> bool {
    file.ends_with(".rs")
}

fn is_test(file: &str) -> bool {
    file.starts_with("tests/")
}

/// A module of the library that is declared `#[cfg(test)] mod name;` in its parent: by convention
/// it is called `tests`.
fn is_test_module(file: &str) -> bool {
    floors::module_path(file).contains(&"tests")
}

/// Our dependencies' names as code writes them.
fn dependencies() -> BTreeSet<String> {
    let manifest = std::fs::read_to_string(path("Cargo.toml")).expect("Cargo.toml is there");
    let manifest: toml::Table = manifest.parse().expect("Cargo.toml is TOML");
    let names = |table: &str| {
        manifest[table]
            .as_table()
            .map(|t| t.keys().cloned().collect::<Vec<_>>())
            .unwrap_or_default()
    };
    ["dependencies", "dev-dependencies"]
        .into_iter()
        .flat_map(names)
        .map(|name| name.replace('-', "_"))
        .collect()
}

#[track_caller]
fn assert_none(violations: impl IntoIterator<Item = Violation>) {
    let lines: Vec<String> = violations.into_iter().map(|v| v.to_string()).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

#[test]
fn modules_import_only_from_floors_below() {
    assert_none(
        texts(|f| f.starts_with("src/") && is_rust(f))
            .iter()
            .flat_map(|(file, text)| {
                let code = source::split_tests(&source::code_of(text));
                let mut found = floors::wrong_imports(file, &code.shipped, is_test_module(file));
                found.extend(
                    floors::wrong_imports(file, &code.tests, true)
                        .into_iter()
                        .filter(|v| v.line > 1),
                );
                found
            }),
    );
}

/// The library's files with the code that ships.
fn shipped() -> Vec<(String, String)> {
    texts(|f| f.starts_with("src/") && is_rust(f) && !is_test_module(f))
        .into_iter()
        .map(|(file, text)| {
            let code = source::split_tests(&source::code_of(&text)).shipped;
            (file, code)
        })
        .collect()
}

#[test]
fn no_files_of_a_module_depend_on_each_other_in_a_circle() {
    assert_none(circles::circles(&shipped()));
}

#[test]
fn no_two_types_have_one_name() {
    assert_none(names::repeated(&shipped()));
}

#[test]
fn code_has_no_shapes_that_a_reader_must_take_apart() {
    assert_none(shipped().iter().flat_map(|(file, code)| {
        let mut found = idioms::tuple_parameters(file, code);
        found.extend(idioms::dropped_results(file, code));
        found.extend(idioms::nested_options(file, code));
        found.extend(idioms::mutating_predicates(file, code));
        found
    }));
}

#[test]
fn public_items_are_documented() {
    assert_none(
        texts(|f| f.starts_with("src/") && is_rust(f) && !is_test_module(f))
            .iter()
            .flat_map(|(file, text)| {
                let code = source::split_tests(&source::code_of(text)).shipped;
                docs::missing(file, text, &code)
            }),
    );
}

#[test]
fn pure_floors_know_no_clock_socket_file_thread_or_log() {
    let dependencies = dependencies();
    assert!(
        dependencies.contains("tokio"),
        "the list of dependencies was not read"
    );
    assert_none(
        texts(|f| f.starts_with("src/") && is_rust(f) && !is_test_module(f))
            .iter()
            .flat_map(|(file, text)| {
                floors::impurities(
                    file,
                    &source::split_tests(&source::code_of(text)).shipped,
                    &dependencies,
                )
            }),
    );
}

#[test]
fn the_plan_names_every_module() {
    let plan = std::fs::read_to_string(path("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let modules = texts(|f| f.starts_with("src/") && is_rust(f));
    let modules: BTreeSet<&str> = modules
        .iter()
        .filter_map(|(file, _)| floors::module_path(file).first().copied())
        .collect();
    assert_none(
        modules
            .into_iter()
            .filter(|m| !plan.contains(&format!("`{m}")))
            .map(|m| Violation::new("ARCHITECTURE.md", 1, format!("does not name `{m}`"))),
    );
}

#[test]
fn rust_files_state_their_purpose_and_have_an_end() {
    assert_none(
        texts(is_rust)
            .iter()
            .flat_map(|(file, text)| text::rust_problems(file, text)),
    );
}

#[test]
fn code_and_prose_have_at_most_100_columns() {
    assert_none(
        texts(is_rust)
            .iter()
            .flat_map(|(file, text)| text::long_lines(file, text, &source::code_of(text))),
    );
}

#[test]
fn tests_neither_sleep_nor_are_ignored() {
    assert_none(texts(is_rust).iter().flat_map(|(file, text)| {
        let code = source::code_of(text);
        let tests = if is_test(file) || is_test_module(file) {
            code
        } else {
            source::split_tests(&code).tests
        };
        text::test_problems(file, &tests)
    }));
}

#[test]
fn no_file_carries_stray_white_space_machine_paths_or_undone_work() {
    // Recorded outputs and what others wrote are kept as they came, and the lock file is Cargo's.
    let is_ours = |f: &str| {
        !f.ends_with(".snap")
            && !f.ends_with(".stderr")
            && !f.starts_with("src/demo/vendor/")
            && f != "Cargo.lock"
    };
    assert_none(
        texts(is_ours)
            .iter()
            .flat_map(|(file, text)| text::problems(file, text)),
    );
}

#[test]
fn links_between_documents_lead_somewhere() {
    assert_none(
        texts(|f| f.ends_with(".md"))
            .iter()
            .flat_map(|(file, text)| markdown::broken_links(root(), file, text)),
    );
}

#[test]
fn no_file_is_large() {
    let bytes = |f: &str| std::fs::metadata(path(f)).map_or(0, |m| m.len());
    let large = files().into_iter().filter(|f| bytes(f) > text::MAX_BYTES);
    assert_none(large.map(|f| Violation::new(&f, 1, format!("over {} bytes", text::MAX_BYTES))));
}

#[test]
fn every_dependency_comes_from_the_rust_registry() {
    let lock = std::fs::read_to_string(path("Cargo.lock")).expect("Cargo.lock is there");
    let sources = lock
        .lines()
        .enumerate()
        .filter(|(_, line)| line.starts_with("source = "));
    let foreign = sources.filter(|(_, line)| {
        !line.contains("\"registry+https://github.com/rust-lang/crates.io-index\"")
    });
    assert_none(foreign.map(|(i, line)| Violation::new("Cargo.lock", i + 1, line)));
}
