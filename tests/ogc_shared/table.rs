//! Reads `tests/data/ogc/requests.txt`.

// Each test that shares this file uses a part of it.
#![allow(dead_code)]

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use geofront::ogc::RequestHead;

/// One request and its expected class.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) line: usize,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) content_type: Option<String>,
    /// The Content-Encoding; the body is already encoded.
    pub(crate) coding: Option<String>,
    pub(crate) body: Vec<u8>,
    pub(crate) context: String,
    pub(crate) expected: Vec<String>,
}

impl Case {
    pub(crate) fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.method,
            target: self.target.as_bytes(),
            content_type: self.content_type.as_deref(),
        }
    }
}

/// All cases, in their order.
pub(crate) fn cases() -> Vec<Case> {
    cases_of(include_str!("../data/ogc/requests.txt"))
}

/// The cases that `text` describes, in the format of the table.
pub(crate) fn cases_of(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let lines = text
        .lines()
        .zip(1..)
        .filter(|(text, _)| !text.is_empty() && !text.starts_with('#'));
    for (text, line) in lines {
        match text.strip_prefix("    ") {
            Some(attribute) => amend(
                cases
                    .last_mut()
                    .expect("a request stands above its attributes"),
                attribute,
                line,
            ),
            None => cases.push(request(text, line)),
        }
    }
    cases
}

fn request(text: &str, line: usize) -> Case {
    let (asked, expected) = text
        .split_once(" => ")
        .unwrap_or_else(|| panic!("line {line} has no ` => `"));
    let (method, target) = asked
        .split_once(' ')
        .unwrap_or_else(|| panic!("line {line} has no target"));
    Case {
        line,
        method: method.to_owned(),
        target: target.to_owned(),
        content_type: None,
        coding: None,
        body: Vec::new(),
        context: "/geoserver".to_owned(),
        expected: expected.split_whitespace().map(str::to_owned).collect(),
    }
}

fn amend(case: &mut Case, attribute: &str, line: usize) {
    match attribute.split_once(": ") {
        Some(("type", value)) => case.content_type = Some(value.to_owned()),
        Some(("coding", value)) => case.coding = Some(value.to_owned()),
        Some(("body", value))
            if case
                .coding
                .as_deref()
                .is_some_and(|coding| coding.contains("gzip")) =>
        {
            case.body = packed(&unescaped(value));
        }
        Some(("body", value)) => case.body = unescaped(value),
        Some(("context", value)) => case.context = value.to_owned(),
        _ => panic!("line {line} is no attribute"),
    }
}

pub(crate) fn packed(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let taken = match rest.as_bytes() {
            [b'\\', b'x', high, low, ..] => {
                let digit = |byte: &u8| {
                    char::from(*byte)
                        .to_digit(16)
                        .expect("\\x has two hexadecimal digits")
                };
                bytes.push((digit(high) * 16 + digit(low)) as u8);
                4
            }
            [b'\\', letter, ..] => {
                let known = [
                    (b'r', b'\r'),
                    (b'n', b'\n'),
                    (b't', b'\t'),
                    (b'0', 0),
                    (b'\\', b'\\'),
                ];
                bytes.push(
                    known
                        .iter()
                        .find(|(name, _)| name == letter)
                        .expect("a known escape")
                        .1,
                );
                2
            }
            _ if rest.starts_with("{pad:") => {
                let end = rest.find('}').expect("a closing brace");
                let length: usize = rest["{pad:".len()..end].parse().expect("a number");
                bytes.resize(bytes.len() + length, b'x');
                end + 1
            }
            _ => {
                bytes.extend_from_slice(&rest.as_bytes()[..first.len_utf8()]);
                first.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    bytes
}
