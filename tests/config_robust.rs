//! No text makes the parser panic or take too long, and every refusal can be displayed.

use std::path::Path;

use geofront::config::{Config, MapEnvironment};
use proptest::prelude::*;

const EXAMPLE: &str = include_str!("../config/example.toml");

/// Pieces of TOML and known keys, so that random texts get past the first line.
const PIECES: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ",",
    ".",
    "\"",
    "'",
    "\"\"\"",
    "\n",
    "\r\n",
    " ",
    "#",
    "\\",
    "\\u0000",
    "é",
    "\u{feff}",
    "\0",
    "upstreams",
    "main",
    "slave1",
    "url",
    "role",
    "\"main\"",
    "\"http://10.0.0.1\"",
    "\"http://u:p@h/x\"",
    "weight",
    "health",
    "interval",
    "\"5s\"",
    "classes",
    "map",
    "headers",
    "geoserver",
    "password",
    "include",
    "\"*.toml\"",
    "\"f.toml\"",
    "listen",
    "0",
    "-1",
    "0x10",
    "1e400",
    "inf",
    "1979-05-27",
    "true",
    "99999999999999999999",
    "[upstreams.main]\n",
    "[upstreams.a]\n",
    "a.b.c",
];

/// Loads the text and renders its problems in every way.
fn exercise(text: &str) {
    let world = MapEnvironment::new()
        .file("f.toml", text)
        .file("g.toml", text);
    if let Err(diagnostics) = Config::load(Path::new("f.toml"), &world) {
        assert!(diagnostics.to_string().starts_with("error: "));
        assert!(diagnostics.coloured().contains("error"));
        assert_eq!(diagnostics.findings().count(), diagnostics.count());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_text_is_accepted_or_refused(text in any::<String>()) {
        exercise(&text);
    }

    #[test]
    fn any_soup_of_pieces_is_accepted_or_refused(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..60),
    ) {
        exercise(&pieces.concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn the_example_with_a_part_replaced_is_accepted_or_refused(
        from: prop::sample::Index,
        length in 0_usize..200,
        piece in prop::sample::select(PIECES),
    ) {
        // Every key is in force, so that most parts matter.
        let text: Vec<char> = EXAMPLE.replace("\n#", "\n").chars().collect();
        let from = from.index(text.len());
        let to = (from + length).min(text.len());
        let (before, behind) = (&text[..from], &text[to..]);
        let around = before.iter().copied().chain(piece.chars());
        let changed: String = around.chain(behind.iter().copied()).collect();
        exercise(&changed);
    }
}

#[test]
fn deep_nesting_is_refused() {
    for text in ["[", "{a=", "a."] {
        exercise(&format!("a = {}", text.repeat(10_000)));
        exercise(&text.repeat(10_000));
    }
}

#[test]
fn a_file_of_another_kind_is_refused_in_few_words() {
    let text = "server { listen 80; }\n".repeat(20_000);
    let world = MapEnvironment::new().file("f.toml", text);
    let diagnostics = Config::load(Path::new("f.toml"), &world).expect_err("this is nginx's");
    assert!(
        diagnostics.to_string().lines().count() < 300,
        "{diagnostics}"
    );
}

#[test]
fn a_file_too_large_is_refused() {
    let world = MapEnvironment::new().file("f.toml", "#".repeat(2 << 20));
    let diagnostics = Config::load(Path::new("f.toml"), &world).expect_err("2 MiB");
    assert!(
        diagnostics.to_string().contains("larger than"),
        "{diagnostics}"
    );
}

#[test]
fn too_many_upstreams_are_refused_at_once() {
    let text: String = (0..20_000)
        .map(|i| format!("[upstreams.u{i}]\nurl = \"\"\n"))
        .collect();
    let world = MapEnvironment::new().file("f.toml", text);
    let diagnostics = Config::load(Path::new("f.toml"), &world).expect_err("20 000 upstreams");
    assert!(
        diagnostics
            .findings()
            .any(|finding| finding.message.contains("more than 1000 tables"))
    );
}
