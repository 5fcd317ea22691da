//! Mistakes in TOML itself, reported like all others.

use std::ops::Range;

use toml::de::Error;

use super::diagnostics::Problem;
use super::value::Reading;

/// The TOML library's message for a repeated key or table.
const DUPLICATE: &str = "duplicate key";

/// Maximum number of reported mistakes. A file of an entirely different kind has one in every line.
const MAX_REPORTED: usize = 100;

/// The problems, and whether the rest of the file can be trusted.
pub(super) fn problems(errors: &[Error], reading: &Reading<'_>) -> (Vec<Problem>, bool) {
    let is_whole = errors.iter().all(|error| error.message() == DUPLICATE);
    let told = errors.iter().take(MAX_REPORTED).map(|error| {
        let span = error.span().unwrap_or_default();
        if error.message() == DUPLICATE {
            duplicate(reading.sources.text(reading.file), &span, reading)
        } else {
            let text = reading.sources.text(reading.file);
            let Mistake { title, label } = Mistake::new(error.message(), &span, text);
            Problem::new(format!("not valid TOML: {title}"))
                .at(reading.file.at(span))
                .label(label)
        }
    });
    (told.collect(), is_whole)
}

/// A mistake in plain words. They do not repeat the value, which may be a secret.
struct Mistake<'m> {
    title: &'m str,
    /// The text beside the place.
    label: &'static str,
}

/// The characters of names in headers and of keys that are not in quotes.
const BARE_NAME: &str = "a name has the letters a to z, digits, `-` and `_`";

/// What word processors and web pages make of `"` and `'`.
const TYPOGRAPHIC_QUOTES: [char; 8] = ['“', '”', '„', '‟', '‘', '’', '«', '»'];

impl<'m> Mistake<'m> {
    /// Translates a message of the library about `span` of `text`.
    fn new(message: &'m str, span: &Range<usize>, text: &str) -> Self {
        let message = message
            .strip_suffix(", expected nothing")
            .unwrap_or(message);
        let from = text.get(span.start..).unwrap_or_default();
        let rest_of_line = from.lines().next().unwrap_or_default();
        let is_at = |character: char| from.starts_with(character);
        let (title, label) = match message {
            _ if is_of_bare_value(message) && span.is_empty() => ("a value is missing", ""),
            _ if is_of_bare_value(message) && from.starts_with(TYPOGRAPHIC_QUOTES) => {
                ("these are typographic quotes", "type plain ones: \"")
            }
            _ if is_of_bare_value(message) => ("this is neither a number nor text in quotes", ""),
            _ if message.starts_with("invalid basic string") && rest_of_line.is_empty() => {
                ("the quote at the end is missing", "")
            }
            _ if message.starts_with("invalid unquoted key") => {
                ("this character cannot be in a name", BARE_NAME)
            }
            _ if message.starts_with("unclosed table") && rest_of_line.contains(']') => {
                ("a name has no blanks", BARE_NAME)
            }
            _ if message.starts_with("key with no value") && is_at(':') => (
                "`=` is missing between a key and its value",
                "write `=` here",
            ),
            other => (other, ""),
        };
        Self { title, label }
    }
}

/// True for a message about a value without quotes that is no number either.
fn is_of_bare_value(message: &str) -> bool {
    [
        "string values must be quoted",
        "invalid float",
        "invalid integer",
        "invalid date-time",
        "invalid boolean",
    ]
    .iter()
    .any(|start| message.starts_with(start))
}

fn duplicate(text: &str, span: &Range<usize>, reading: &Reading<'_>) -> Problem {
    let lines = Line::up_to(text, span.start);
    let Some((own, before)) = lines.split_last() else {
        return Problem::new(DUPLICATE);
    };
    let first = match &own.header {
        Some(header) => before
            .iter()
            .find(|line| line.header.as_ref() == Some(header)),
        None => same_key_in_table(own, before),
    };
    let problem = match own
        .header
        .as_deref()
        .map(|header| header.split_once('.').unwrap_or(("", header)))
    {
        Some(("upstreams", name)) => Problem::new(format!("upstream name `{name}` is used twice"))
            .help("every upstream needs a name of its own"),
        Some((family, name)) => {
            let dot = if family.is_empty() { "" } else { "." };
            Problem::new(format!("[{family}{dot}{name}] is there twice"))
        }
        None => Problem::new(format!(
            "`{}` is there twice",
            text.get(span.clone()).unwrap_or_default()
        )),
    };
    let problem = problem.at(reading.file.at(span.clone()));
    match first {
        Some(line) => problem.label(format!("first used on line {}", line.number)),
        None => problem,
    }
}

fn same_key_in_table<'l, 't>(own: &Line<'t>, before: &'l [Line<'t>]) -> Option<&'l Line<'t>> {
    let table = before
        .iter()
        .rposition(|line| line.header.is_some())
        .map_or(0, |header| header + 1);
    before[table..]
        .iter()
        .find(|line| line.key.is_some() && line.key == own.key)
}

/// The part of a line that locates the first definition of a key, which the library does not
/// report.
struct Line<'t> {
    number: usize,
    /// `upstreams.slave1` for `[upstreams.slave1]`, without quotes and blanks.
    header: Option<String>,
    key: Option<&'t str>,
}

impl<'t> Line<'t> {
    /// All lines down to the one with `offset`.
    fn up_to(text: &'t str, offset: usize) -> Vec<Self> {
        let end = text
            .get(offset..)
            .and_then(|rest| rest.find('\n'))
            .map_or(text.len(), |length| offset + length);
        text.get(..end)
            .unwrap_or_default()
            .split('\n')
            .enumerate()
            .map(|(i, line)| Self::new(i + 1, line))
            .collect()
    }

    fn new(number: usize, line: &'t str) -> Self {
        let line = line.trim();
        let header = line
            .strip_prefix('[')
            .and_then(|rest| rest.trim_start_matches('[').split_once(']'))
            .map(|(header, _)| header);
        let header = header.map(|header| {
            header
                .chars()
                .filter(|c| !c.is_whitespace() && !"\"'".contains(*c))
                .collect()
        });
        let key = line
            .split_once('=')
            .map(|(key, _)| key.trim())
            .filter(|_| header.is_none());
        Self {
            number,
            header,
            key,
        }
    }
}
