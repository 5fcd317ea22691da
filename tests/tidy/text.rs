//! Rules for every file in the repository: no invisible white space, no paths of one machine, no
//! promises for later.

use crate::Violation;

/// Files over this many lines should be split.
const MAX_LINES: usize = 700;

/// Columns of code and of prose in comments.
const MAX_COLUMNS: usize = 100;

/// Nothing larger belongs in the repository.
pub(crate) const MAX_BYTES: u64 = 1_000_000;

/// Where paths of one machine start. Taken apart, so that this file is clean itself.
const MACHINE_PATHS: &[&[&str]] = &[
    &["/wo", "rk/"],
    &["/ro", "ot/"],
    &["/ho", "me/"],
    &["/t", "mp/"],
    &["/far", "m/"],
];

/// Words that mark unfinished work. They are split for the same reason.
const UNDONE: &[&[&str]] = &[
    &["TO", "DO"],
    &["FIX", "ME"],
    &["XX", "X"],
    &["to", "do!("],
    &["unimple", "mented!("],
];

/// Module names that do not describe their contents.
const EMPTY_NAMES: &[&str] = &[
    "util.rs",
    "utils.rs",
    "common.rs",
    "types.rs",
    "helpers.rs",
    "misc.rs",
];

/// Problems of any text file.
pub(crate) fn problems(file: &str, text: &str) -> Vec<Violation> {
    let mut found: Vec<_> = text
        .lines()
        .enumerate()
        .flat_map(|(i, line)| of_line(file, i + 1, line))
        .collect();
    if !text.is_empty() && !text.ends_with('\n') {
        found.push(Violation::new(
            file,
            text.lines().count(),
            "no line break at the end",
        ));
    }
    found
}

fn of_line(file: &str, number: usize, line: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut report = |what: String| found.push(Violation::new(file, number, what));
    if line.ends_with([' ', '\t']) {
        report("white space at the end of the line".to_owned());
    }
    if line.contains('\t') && !file.ends_with("Makefile") {
        report("a tab".to_owned());
    }
    if let Some(path) = machine_path(line) {
        report(format!("`{path}` is a path of one machine"));
    }
    if let Some(word) = UNDONE
        .iter()
        .map(|parts| parts.concat())
        .find(|word| has_word(line, word))
    {
        report(format!("`{word}`: do it, or open an issue"));
    }
    found
}

/// A machine path in `line`, unless it is the middle of a longer path or URL.
fn machine_path(line: &str) -> Option<String> {
    let starts_path =
        |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "}-_.~*$/".contains(c));
    MACHINE_PATHS
        .iter()
        .map(|parts| parts.concat())
        .find(|path| {
            line.match_indices(path.as_str())
                .any(|(at, _)| starts_path(at))
        })
}

fn has_word(line: &str, word: &str) -> bool {
    let is_letter = |c: char| c.is_alphanumeric() || c == '_';
    let whole = |at: usize| {
        !line[..at].ends_with(is_letter) && !line[at + word.len()..].starts_with(is_letter)
    };
    line.match_indices(word).any(|(at, _)| whole(at))
}

/// Problems of a Rust file as text.
pub(crate) fn rust_problems(file: &str, text: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    if !text.starts_with("//!") {
        found.push(Violation::new(
            file,
            1,
            "the file does not say what it is for (`//!`)",
        ));
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        found.push(Violation::new(
            file,
            lines,
            format!("{lines} lines, the most is {MAX_LINES}: look for the seam"),
        ));
    }
    if EMPTY_NAMES
        .iter()
        .any(|name| file.ends_with(&format!("/{name}")))
    {
        found.push(Violation::new(
            file,
            1,
            "the name of the file does not say what is in it",
        ));
    }
    found
}

/// Lines that are too long. Lines with string literals, drawings and tables may be longer. `code`
/// is the output of `source::code_of` for `text`.
pub(crate) fn long_lines(file: &str, text: &str, code: &str) -> Vec<Violation> {
    let mut is_drawing = false;
    let mut found = Vec::new();
    for (at, (line, code)) in text.lines().zip(code.lines()).enumerate() {
        let comment = line.trim_start().strip_prefix("//");
        let prose = comment.map(|rest| rest.trim_start_matches(['/', '!']).trim_start());
        if prose.is_some_and(|prose| prose.starts_with("```")) {
            is_drawing = !is_drawing;
        }
        let is_excused = match prose {
            Some(prose) => is_drawing || prose.starts_with('|'),
            None => line.contains('"') || code.trim_end().chars().count() <= MAX_COLUMNS,
        };
        let columns = line.chars().count();
        if columns > MAX_COLUMNS && !is_excused {
            let what = format!("{columns} columns, the most is {MAX_COLUMNS}");
            found.push(Violation::new(file, at + 1, what));
        }
    }
    found
}

/// Problems of code that only tests run. `code` is the output of `source::code_of`.
pub(crate) fn test_problems(file: &str, code: &str) -> Vec<Violation> {
    let report = |(i, line): (usize, &str)| -> Option<Violation> {
        let what = if line.contains("#[ignore") {
            "an ignored test proves nothing"
        } else if has_word(line, "sleep") {
            "a test that sleeps: wait for the condition, with a deadline (`interval` or `recv_timeout` between two looks)"
        } else {
            return None;
        };
        Some(Violation::new(file, i + 1, what))
    };
    code.lines().enumerate().filter_map(report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_dirt_is_caught_where_it_is() {
        let machine = MACHINE_PATHS[0].concat();
        for (line, number) in [
            ("a \n", 1),
            ("\ta\n", 1),
            (&format!("x\ncd {machine}main\n"), 2),
            ("x", 1),
        ] {
            assert_eq!(
                problems("src/x.rs", line).first().map(|v| v.line),
                Some(number),
                "{line:?}"
            );
        }
        let undone = format!("// {}: later\n", UNDONE[0].concat());
        assert_eq!(problems("src/x.rs", &undone).len(), 1);
    }

    #[test]
    fn long_code_and_prose_are_caught_and_strings_drawings_and_tables_pass() {
        let found = |text: &str| {
            let code = crate::source::code_of(text);
            long_lines("src/x.rs", text, &code).len()
        };
        let long = "x".repeat(MAX_COLUMNS);
        for text in [format!("f({long});\n"), format!("    /// {long}\n")] {
            assert_eq!(found(&text), 1, "{text}");
        }
        for text in [
            format!("f(\"{long}\");\n"),
            format!("f(\"\n{long}\n\");\n"),
            format!("//! ```text\n//! {long}\n//! ```\n"),
            format!("/// | {long} |\n"),
            format!("{long}\n"),
        ] {
            assert_eq!(found(&text), 0, "{text}");
        }
    }

    #[test]
    fn a_path_inside_a_longer_one_and_a_makefile_tab_pass() {
        let inside = format!("GET /geoserver{}x HTTP/1.1\n", MACHINE_PATHS[2].concat());
        assert!(problems("src/x.rs", &inside).is_empty());
        assert!(problems("Makefile", "test:\n\tcargo test\n").is_empty());
        assert!(problems("src/x.rs", "MAPTODOS XXXL\n").is_empty());
    }

    #[test]
    fn a_rust_file_states_its_purpose_has_a_telling_name_and_an_end() {
        assert!(rust_problems("src/x.rs", "//! About.\n").is_empty());
        assert_eq!(rust_problems("src/x.rs", "use a;\n").len(), 1);
        assert_eq!(rust_problems("src/util.rs", "//! About.\n").len(), 1);
        assert_eq!(
            rust_problems("src/x.rs", &"//! About.\n".repeat(MAX_LINES + 1)).len(),
            1
        );
    }

    #[test]
    fn sleeping_and_ignored_tests_are_caught() {
        assert_eq!(
            test_problems(
                "tests/x.rs",
                "use std::thread::sleep;\ntokio::time::sleep(d).await;\n#[ignore]\n"
            )
            .len(),
            3
        );
        assert!(
            test_problems(
                "tests/x.rs",
                "tokio::time::timeout(d, f).await;\nfn it_never_sleeps() {}\n"
            )
            .is_empty()
        );
    }
}
