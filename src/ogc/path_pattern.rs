//! Patterns of paths below GeoServer's context, as an operator writes them.
//!
//! `*` within a segment stands for any text, `**` for any number of segments. A slash at the end
//! makes no difference.

use std::fmt;

use super::glob::{Case, Glob};
use super::path::Path;
use super::word::{Encoding, ascii_of, decode};

/// Maximum number of segments in a pattern.
const MAX_SEGMENTS: usize = 32;

/// Bytes of one decoded segment that are compared. A longer segment fits no form but `*`.
const MAX_NAME: usize = 256;

/// A pattern of paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: Box<str>,
    parts: Box<[Part]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// `**`
    AnySegments,
    Segment(Glob),
}

/// How exactly a path must have the form of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strictness {
    /// Each segment as it is written.
    Exact,
    /// In any case, also of letters beyond ASCII (`wfſ`), and with any extension
    /// (`/rest/layers.json`), as frameworks may map it.
    Lenient,
}

impl PathPattern {
    /// Returns the pattern that `text` describes, or why it describes none.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let below = text.strip_prefix('/').ok_or(
            "a path begins with a slash, and stands for the part below GeoServer's context",
        )?;
        if text.contains(['?', '%', ';', '#', '\\']) || text.contains(char::is_whitespace) {
            return Err("a path is written as it reads, without escapes, parameters and query");
        }
        let segments: Vec<&str> = below
            .strip_suffix('/')
            .unwrap_or(below)
            .split('/')
            .filter(|_| !below.is_empty())
            .collect();
        if segments.len() > MAX_SEGMENTS {
            return Err("no path of GeoServer has that many segments");
        }
        if segments
            .iter()
            .any(|segment| matches!(*segment, "" | "." | ".."))
        {
            return Err("a path has no empty segments and no dots");
        }
        let is_mixed = |segment: &&str| segment.contains("**") && *segment != "**";
        if segments.iter().any(is_mixed) {
            return Err("`**` stands alone between two slashes");
        }
        let part = |segment: &&str| match *segment {
            "**" => Part::AnySegments,
            name => Part::Segment(Glob::new(name)),
        };
        Ok(Self {
            text: text.into(),
            parts: segments.iter().map(part).collect(),
        })
    }

    /// Returns the pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first segment, if it has no `*`.
    pub fn first_name(&self) -> Option<&str> {
        match self.parts.first()? {
            Part::Segment(name) if !name.as_str().contains('*') => Some(name.as_str()),
            Part::Segment(_) | Part::AnySegments => None,
        }
    }

    /// True if every path of the form of `other` is of this form too. May miss some that are.
    pub fn covers(&self, other: &Self) -> bool {
        covers(&self.parts, &other.parts)
    }

    /// True if the segments of `path` from `base` on have this form.
    pub(super) fn fits(&self, path: &Path<'_>, base: usize, strictness: Strictness) -> bool {
        fits(&self.parts, path, base, strictness)
    }

    /// The texts that every path of this form contains.
    pub(super) fn literals(&self) -> impl Iterator<Item = &str> {
        self.parts
            .iter()
            .filter_map(|part| match part {
                Part::AnySegments => None,
                Part::Segment(name) => Some(name.literals()),
            })
            .flatten()
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Matches from left to right. After a mismatch the last `**` takes one more segment.
fn fits(parts: &[Part], path: &Path<'_>, base: usize, strictness: Strictness) -> bool {
    let (mut part, mut at) = (0, base);
    let mut any: Option<(usize, usize)> = None;
    while at < path.len() {
        match (parts.get(part), any) {
            (Some(Part::AnySegments), _) => {
                any = Some((part, at));
                part += 1;
            }
            (Some(Part::Segment(name)), _) if segment_fits(name, path, at, strictness) => {
                part += 1;
                at += 1;
            }
            (_, Some((any_part, taken))) => {
                any = Some((any_part, taken + 1));
                part = any_part + 1;
                at = taken + 1;
            }
            (_, None) => return false,
        }
    }
    parts[part..].iter().all(|part| *part == Part::AnySegments)
}

fn segment_fits(form: &Glob, path: &Path<'_>, at: usize, strictness: Strictness) -> bool {
    let Some(raw) = path.segment(at) else {
        return false;
    };
    let mut name = [0; MAX_NAME];
    let mut len = 0;
    for byte in decode(raw, Encoding::Path).flatten() {
        let Some(free) = name.get_mut(len) else {
            return form.as_str() == "*" || strictness == Strictness::Lenient;
        };
        *free = byte;
        len += 1;
    }
    let name = &name[..len];
    match strictness {
        Strictness::Exact => form.matches(name, Case::Matters),
        Strictness::Lenient => {
            let fits = |name: &[u8]| {
                let stem = name.split(|&byte| byte == b'.').next().unwrap_or_default();
                form.matches(name, Case::Ignored) || form.matches(stem, Case::Ignored)
            };
            fits(name) || !name.is_ascii() && fits(folded_into(&mut [0; MAX_NAME], name))
        }
    }
}

/// The name with every letter as the ASCII one that Java may take it for.
fn folded_into<'n>(free: &'n mut [u8; MAX_NAME], name: &[u8]) -> &'n [u8] {
    let mut len = 0;
    for letter in str::from_utf8(name).unwrap_or_default().chars() {
        // No letter becomes longer.
        let letter = ascii_of(letter).unwrap_or(letter);
        len += letter.encode_utf8(&mut free[len..]).len();
    }
    &free[..len]
}

fn covers(wide: &[Part], narrow: &[Part]) -> bool {
    match (wide.split_first(), narrow.split_first()) {
        (None, None) => true,
        (Some((Part::AnySegments, rest)), _) if covers(rest, narrow) => true,
        (Some((Part::AnySegments, _)), Some((_, rest))) => covers(wide, rest),
        (Some((Part::Segment(wide), rest)), Some((Part::Segment(narrow), others))) => {
            wide.covers(narrow, Case::Matters) && covers(rest, others)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, path: &str, strictness: Strictness) -> bool {
        let path = Path::parse(path.as_bytes(), path.len()).expect("a plain path");
        PathPattern::parse(pattern)
            .expect("a pattern")
            .fits(&path, 1, strictness)
    }

    #[test]
    fn stars_stand_for_text_and_double_stars_for_segments() {
        for (pattern, path) in [
            ("/rest/**", "/g/rest"),
            ("/rest/**", "/g/rest/"),
            ("/rest/**", "/g/rest/layers/a"),
            ("/rest/*", "/g/rest/layers"),
            ("/**", "/g"),
            ("/", "/g"),
            ("/**/wfs", "/g/wfs"),
            ("/**/wfs", "/g/a/b/wfs"),
            ("/a*/b", "/g/abc/b"),
            ("/**/a/**/b", "/g/a/x/a/y/b"),
            ("/rest/**", "/g//rest/%6cayers"),
        ] {
            assert!(fits(pattern, path, Strictness::Exact), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("/rest/**", "/g/restless"),
            ("/rest/*", "/g/rest"),
            ("/rest/*", "/g/rest/a/b"),
            ("/", "/g/a"),
            ("/**/wfs", "/g/wfs/a"),
            ("/rest", "/g/REST"),
            ("/rest", "/g/rest.json"),
        ] {
            assert!(!fits(pattern, path, Strictness::Exact), "{pattern} {path}");
        }
    }

    #[test]
    fn a_lenient_comparison_ignores_case_and_extensions() {
        for path in ["/g/REST", "/g/rest.json", "/g/Rest.tar.gz", "/g/rest"] {
            assert!(fits("/rest", path, Strictness::Lenient), "{path}");
        }
        for path in ["/g/wf\u{17f}", "/g/WF%C5%BF", "/g/wf\u{17f}.x"] {
            assert!(fits("/wfs", path, Strictness::Lenient), "{path}");
            assert!(!fits("/wfs", path, Strictness::Exact), "{path}");
        }
        assert!(!fits("/wfs", "/g/wf\u{15d}", Strictness::Lenient));
        assert!(fits("/ıs", "/g/ıs", Strictness::Lenient));
        assert!(!fits("/rest", "/g/restless", Strictness::Lenient));
        let long = format!("/g/{}", "a".repeat(MAX_NAME + 1));
        assert!(fits("/*", &long, Strictness::Exact));
        assert!(!fits("/a*", &long, Strictness::Exact) && fits("/a*", &long, Strictness::Lenient));
    }

    #[test]
    fn a_pattern_covers_narrower_ones() {
        let covers = |wide: &str, narrow: &str| {
            PathPattern::parse(wide)
                .unwrap()
                .covers(&PathPattern::parse(narrow).unwrap())
        };
        for (wide, narrow) in [
            ("/**", "/"),
            ("/**", "/rest/**"),
            ("/rest/**", "/rest"),
            ("/rest/**", "/rest/*/a/**"),
            ("/*/wfs", "/topp/wfs"),
        ] {
            assert!(covers(wide, narrow), "{wide} {narrow}");
        }
        for (wide, narrow) in [
            ("/rest", "/rest/**"),
            ("/rest/**", "/**"),
            ("/*", "/**"),
            ("/topp/wfs", "/*/wfs"),
        ] {
            assert!(!covers(wide, narrow), "{wide} {narrow}");
        }
    }

    #[test]
    fn invalid_patterns_are_refused_with_the_reason() {
        for text in [
            "rest", "", "/a//b", "/a/../b", "/a**", "/a?x", "/a%20b", "/a b", "/a;b",
        ] {
            assert!(PathPattern::parse(text).is_err(), "{text}");
        }
    }
}
