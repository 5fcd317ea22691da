//! The fuzz target's harness (`make fuzz`) without a fuzzer: over the committed corpus, the table
//! of requests, and thousands of chance changes to both.

#[path = "ogc_shared/cases.rs"]
mod cases;
#[path = "ogc_shared/harness.rs"]
mod harness;
#[path = "ogc_shared/oracle/mod.rs"]
mod oracle;
#[path = "ogc_shared/table.rs"]
mod table;
#[path = "ogc_shared/table_request.rs"]
mod table_request;

use std::path::Path;
use std::sync::LazyLock;

use oracle::{Meaning, Request};
use proptest::prelude::*;
use table_request::request_of;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/classify");
const DICTIONARY: &str = include_str!("../fuzz/classify.dict");

static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let table = table::cases()
        .iter()
        .map(|case| harness::input_of(&request_of(case)))
        .collect::<Vec<_>>();
    table.into_iter().chain(corpus()).collect()
});

fn corpus() -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(Path::new(CORPUS)).expect("the corpus is there");
    let mut files: Vec<_> = files
        .map(|file| file.expect("the corpus can be listed").path())
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|file| std::fs::read(file).expect("a file of the corpus"))
        .collect()
}

/// Inputs that are quick to change and check.
static SHORT: LazyLock<Vec<&[u8]>> = LazyLock::new(|| {
    SEEDS
        .iter()
        .map(Vec::as_slice)
        .filter(|seed| seed.len() < 20_000)
        .collect()
});

/// The words of the dictionary, with libFuzzer's escapes read.
fn words() -> Vec<Vec<u8>> {
    let quoted = DICTIONARY
        .lines()
        .filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    let unescaped = quoted.map(|text| {
        text.replace("\\x0a", "\n")
            .replace("\\x0d", "\r")
            .replace("\\\"", "\"")
    });
    unescaped.map(String::into_bytes).collect()
}

#[derive(Clone, Debug)]
enum Change {
    Insert(Vec<u8>),
    Replace(u8),
    Remove(usize),
    Repeat(usize),
    /// The rest of the input comes from another seed.
    Splice(usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => prop::sample::select(words()).prop_map(Change::Insert),
        1 => any::<u8>().prop_map(Change::Replace),
        2 => (1..30_usize).prop_map(Change::Remove),
        1 => (1..60_usize).prop_map(Change::Repeat),
        1 => any::<usize>().prop_map(Change::Splice),
    ]
}

impl Change {
    /// Changes `input` at some place.
    fn apply(&self, input: &mut Vec<u8>, place: usize) {
        let at = place % (input.len() + 1);
        let end = |length: usize| (at + length).min(input.len());
        match self {
            Self::Insert(word) => drop(
                input
                    .splice(at..at, word.iter().copied())
                    .collect::<Vec<_>>(),
            ),
            Self::Replace(byte) => drop(input.splice(at..end(1), [*byte]).collect::<Vec<_>>()),
            Self::Remove(length) => drop(input.drain(at..end(*length)).collect::<Vec<_>>()),
            Self::Repeat(length) => {
                let again = input[at..end(*length)].to_vec();
                drop(input.splice(at..at, again).collect::<Vec<_>>());
            }
            Self::Splice(seed) => {
                let other = SHORT[seed % SHORT.len()];
                input.truncate(at);
                input.extend_from_slice(&other[at.min(other.len())..]);
            }
        }
    }
}

#[test]
fn everything_holds_of_the_corpus_and_of_the_table() {
    assert!(corpus().len() > 10, "the corpus is there");
    SEEDS.iter().for_each(|seed| harness::check_input(seed));
}

#[test]
fn an_input_is_the_request_it_was_made_of() {
    let body = b"<a>\n\n</a>\n".to_vec();
    let target = b"/geoserver/wfs?a b".to_vec();
    let content_type = Some("text/xml".to_owned());
    let request = Request {
        method: "POST".to_owned(),
        target,
        content_type,
        coding: Some("gzip".to_owned()),
        body,
        context: "/geoserver".to_owned(),
    };
    assert_eq!(harness::request_of(&harness::input_of(&request)), request);
}

/// An oracle that finds no write anywhere would accept every classifier.
#[test]
fn the_oracle_sees_the_parameters_that_act() {
    let acts = |case: &table::Case| {
        matches!(
            case.expected[0].as_str(),
            "transaction" | "process" | "admin"
        )
    };
    let is_seen = |case: &table::Case| {
        oracle::meanings(&request_of(case))
            .iter()
            .any(Meaning::acts)
    };
    // The classifier is cautious where the oracle finds nothing: a WPS without an operation, writes
    // at addresses that cannot write, and a query that names a write beside a document that reads.
    let is_caution = |case: &table::Case| {
        case.expected == ["process", "WPS", "main-only"]
            || [
                "/gwc/service/",
                "/ogc/features/",
                "/kml/icon/point",
                "/search?",
                "/processes?",
                "/gsr/services?",
                "/MapServer/export?service",
                "/Delete/",
                "/..",
            ]
            .iter()
            .any(|address| case.target.contains(address))
            || case.body.starts_with(b"{")
            || case.body.starts_with(b"<GetFeature")
            || case.body.starts_with(b"<GetCapabilities")
    };
    let cases = table::cases();
    let unseen: Vec<_> = cases
        .iter()
        .filter(|case| acts(case) && !is_caution(case) && !is_seen(case))
        .collect();
    assert!(unseen.is_empty(), "{unseen:#?}");
    assert!(cases.iter().filter(|case| is_seen(case)).count() > 100);
}

proptest! {
    #![proptest_config(cases::cases(6000))]

    #[test]
    fn everything_holds_of_changed_requests(
        seed in any::<usize>(),
        changes in prop::collection::vec((change(), any::<usize>()), 1..6),
    ) {
        let mut input = SHORT[seed % SHORT.len()].to_vec();
        changes.iter().for_each(|(change, place)| change.apply(&mut input, *place));
        harness::check_input(&input);
    }
}

/// Source files of what the fuzz target has in common with the tests.
fn shared_sources() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ogc_shared");
    let oracle = std::fs::read_dir(root.join("oracle")).expect("the folder is there");
    let oracle = oracle.map(|entry| entry.expect("its entries can be read").path());
    let files = oracle.chain([root.join("harness.rs")]);
    files
        .map(|file| std::fs::read_to_string(file).expect("it is text"))
        .collect()
}

/// The fuzz crate is a workspace of its own, which `cargo test` does not build.
#[test]
fn the_fuzz_crate_depends_on_every_crate_that_its_harness_uses() {
    let manifest = include_str!("../fuzz/Cargo.toml");
    let ours = ["std", "core", "crate", "super", "self"];
    for source in shared_sources() {
        let used = source.lines().filter_map(|line| {
            let (name, _) = line.strip_prefix("use ")?.split_once("::")?;
            let is_crate = name.starts_with(|c: char| c.is_ascii_lowercase());
            (is_crate && !ours.contains(&name)).then_some(name)
        });
        for name in used {
            let is_it = |line: &str| {
                let known = line
                    .split_once(" = ")
                    .map(|(known, _)| known.replace('-', "_"));
                known.as_deref() == Some(name)
            };
            let is_there = manifest.lines().any(is_it);
            assert!(is_there, "fuzz/Cargo.toml lacks {name}");
        }
    }
}
