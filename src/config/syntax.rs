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
            Problem::new(format!("not valid TOML: {}", plain(error.message(), &span)))
                .at(reading.file.at(span))
        }
    });
    (told.collect(), is_whole)
}

/// The library's message about a value in plain words. It does not repeat the value, which may be a
/// secret.
fn plain<'m>(message: &'m str, span: &Range<usize>) -> &'m str {
    let message = message
        .strip_suffix(", expected nothing")
        .unwrap_or(message);
    let is_bare = [
        "string values must be quoted",
        "invalid float",
        "invalid integer",
        "invalid date-time",
        "invalid boolean",
    ];
    match is_bare.iter().any(|start| message.starts_with(start)) {
        true if span.is_empty() => "a value is missing",
        true => "this is neither a number nor text in quotes",
        false => message,
    }
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
