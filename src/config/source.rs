//! The text of every file that was read, and places in it.
//!
//! A place is two numbers until it is displayed, and most never are. Text that must not be shown
//! (secrets that a file should not contain, header values) is blacked out here, so no message can
//! leak it.

use std::ops::Range;
use std::path::{Path, PathBuf};

/// A range of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    file: usize,
    start: usize,
    end: usize,
}

impl At {
    /// The same place after the files were appended to `files` others.
    pub(super) const fn moved(self, files: usize) -> Self {
        Self {
            file: self.file + files,
            ..self
        }
    }
}

/// A place as shown to an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLocation {
    pub file: PathBuf,
    /// Line number, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// One line of a file, ready to be shown, with the range that a problem refers to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Excerpt {
    pub(super) line: String,
    pub(super) number: usize,
    /// Range of bytes in `line`.
    pub(super) span: Range<usize>,
}

/// The index of a file in [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId(usize);

impl FileId {
    pub(super) fn at(self, span: Range<usize>) -> At {
        At {
            file: self.0,
            start: span.start,
            end: span.end,
        }
    }
}

/// All files of one configuration in the order they were read.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    files: Vec<(PathBuf, String)>,
    secrets: Vec<At>,
    /// The index of the file that [`Self::start`] is in.
    first: usize,
}

/// Replaces a secret.
pub(super) const MASK: &str = "***";

impl Sources {
    pub(super) fn add(&mut self, path: PathBuf, text: String) -> FileId {
        self.files.push((path, text));
        FileId(self.files.len() - 1)
    }

    /// Appends the files of `other`, and returns the number of files before them.
    pub(super) fn append(&mut self, other: Self) -> usize {
        let files = self.files.len();
        self.files.extend(other.files);
        let secrets = other.secrets.into_iter();
        self.secrets.extend(secrets.map(|at| at.moved(files)));
        files
    }

    pub(super) fn text(&self, file: FileId) -> &str {
        &self.files[file.0].1
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(path, _)| path.as_path())
    }

    /// The beginning of the first file: the place of everything that is missing. There is always a
    /// first file.
    pub(super) fn start(&self) -> At {
        FileId(self.first).at(0..0)
    }

    /// Makes `file` the first: what is missing is missing there.
    pub(super) fn begin_with(&mut self, file: FileId) {
        self.first = file.0;
    }

    /// Hides the text at this place in every message from now on.
    pub(super) fn hide(&mut self, at: At) {
        self.secrets.push(at);
    }

    pub(super) fn path(&self, at: At) -> &Path {
        &self.files[at.file].0
    }

    pub(super) fn place(&self, at: At) -> SourceLocation {
        let text = &self.files[at.file].1;
        let start = floor_char(text, at.start);
        let line_start = line_start(text, start);
        SourceLocation {
            file: self.files[at.file].0.clone(),
            line: text[..line_start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
        }
    }

    /// `file:line`.
    pub(super) fn origin(&self, at: At) -> String {
        let place = self.place(at);
        format!("{}:{}", place.file.display(), place.line)
    }

    /// The first line of `at`. Secrets are blacked out to the end of the line.
    pub(super) fn excerpt(&self, at: At) -> Excerpt {
        let text = &self.files[at.file].1;
        let start = floor_char(text, at.start);
        let from = line_start(text, start);
        let to = text[from..]
            .find('\n')
            .map_or(text.len(), |length| from + length);
        let shown = self.first_secret(at.file, from..to).unwrap_or(to);
        let mut line = text[from..shown].trim_end_matches('\r').to_owned();
        if shown < to {
            line.push_str(MASK);
        }
        let end = floor_char(text, at.end.max(start));
        let within = |offset: usize| floor_char(&line, (offset - from).min(line.len()));
        let span = within(start)..within(end.clamp(start, to));
        Excerpt {
            number: text[..from].matches('\n').count() + 1,
            span,
            line,
        }
    }

    /// The offset of the line's first secret.
    fn first_secret(&self, file: usize, line: Range<usize>) -> Option<usize> {
        let known = self
            .secrets
            .iter()
            .filter(|s| s.file == file && s.start < line.end && s.end > line.start);
        let known = known.map(|s| s.start.max(line.start)).min();
        let text = &self.files[file].1[line.clone()];
        let guessed = value_of_secret_key(text).map(|offset| line.start + offset);
        known.into_iter().chain(guessed).min()
    }
}

/// The offset of the value if the line looks like `password = ...`: text that could not be parsed
/// may hold a secret, too.
fn value_of_secret_key(line: &str) -> Option<usize> {
    value_of_secret_field(line).or_else(|| {
        let equals = line.find('=')?;
        let (key, value) = (line[..equals].trim(), &line[equals + 1..]);
        // The condition of a rule, a header and the form of its value; or names of headers alone.
        let is_condition = key == "header" && !value.contains('{');
        let is_names = key == "headers" && !value.contains(['{', ':', '=']);
        let is_secret = names_secret(key) && !is_condition && !is_names;
        is_secret.then(|| line.len() - value.trim_start().len())
    })
}

/// Header fields whose values are secrets.
const SECRET_FIELDS: [&str; 4] = ["authorization:", "cookie:", "x-api-key:", "sec-password:"];

/// The offset of the value if the line has a header field like `Authorization: ...`.
fn value_of_secret_field(line: &str) -> Option<usize> {
    let lower = line.to_ascii_lowercase();
    SECRET_FIELDS
        .iter()
        .filter_map(|field| Some(lower.find(field)? + field.len()))
        .min()
}

/// A header field as it may be shown: `Authorization: ***`.
pub(super) fn masked_field(field: &str) -> String {
    match value_of_secret_field(field) {
        Some(value) => format!("{} {MASK}", &field[..value]),
        None => field.to_owned(),
    }
}

/// True if a key of this name probably holds a secret, even if the key is unknown.
pub(super) fn names_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let is_secret = ["password", "token", "secret"]
        .iter()
        .any(|word| key.contains(word))
        || key.starts_with("header");
    is_secret && !key.ends_with("_file") && !key.ends_with("_env")
}

fn line_start(text: &str, offset: usize) -> usize {
    text[..offset].rfind('\n').map_or(0, |newline| newline + 1)
}

/// The last character boundary up to `offset`.
fn floor_char(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> (Sources, FileId) {
        let mut sources = Sources::default();
        let file = sources.add("geofront.toml".into(), text.to_owned());
        (sources, file)
    }

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let (sources, file) = one("a = 1\n# é\nüb = 2\n");
        let place = sources.place(file.at(15..16));
        assert_eq!((place.line, place.column), (3, 4));
    }

    #[test]
    fn an_excerpt_ends_where_a_secret_begins() {
        let (mut sources, file) = one("headers = { a = \"x\" }\nuser = \"hunter2\" # known\n");
        assert_eq!(sources.excerpt(file.at(0..7)).line, "headers = ***");
        sources.hide(file.at(29..38));
        let excerpt = sources.excerpt(file.at(29..38));
        assert_eq!((excerpt.line.as_str(), excerpt.span), ("user = ***", 7..10));
    }

    #[test]
    fn the_header_of_a_rule_is_shown_unless_its_value_is_a_secret() {
        for (line, shown) in [
            ("header = 'X-Team: maps*'", "header = 'X-Team: maps*'"),
            (
                "header = ['X-Team', 'X-Role: a']",
                "header = ['X-Team', 'X-Role: a']",
            ),
            (
                "header = 'Authorization: Basic eA=='",
                "header = 'Authorization:***",
            ),
            ("    'cookie: id=7',", "    'cookie:***"),
            ("header = { x-pass = 'a' }", "header = ***"),
            ("headers = 'X-Team: maps'", "headers = ***"),
            ("headers = ['accept', 'x-a']", "headers = ['accept', 'x-a']"),
        ] {
            let (sources, file) = one(line);
            assert_eq!(sources.excerpt(file.at(0..1)).line, shown);
        }
        assert_eq!(masked_field("X-Team: maps*"), "X-Team: maps*");
        assert_eq!(
            masked_field("Authorization: Basic eA=="),
            "Authorization: ***"
        );
    }

    #[test]
    fn the_name_of_a_file_that_holds_a_secret_is_shown() {
        let (sources, file) = one("password_file = \"/etc/geofront/password\"\n");
        assert!(sources.excerpt(file.at(0..13)).line.ends_with("password\""));
    }

    #[test]
    fn any_offset_gives_an_excerpt() {
        let (sources, file) = one("é = 1\r\n\nü");
        for start in 0..20 {
            for end in 0..20 {
                let excerpt = sources.excerpt(file.at(start..end));
                assert!(excerpt.line.get(excerpt.span).is_some());
            }
        }
    }
}
