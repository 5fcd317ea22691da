//! The parts that a servlet container passes to GeoServer: the segments of the path and the
//! parameters, in each way that some container has.

use std::collections::BTreeSet;

use super::text::{BrokenEscape, Charset, decoded, letters};

/// `key` and `value`, decoded, in their order.
pub(super) type Parameters = Vec<(String, String)>;

pub(super) fn split_target(target: &[u8]) -> (&[u8], &[u8]) {
    match target.iter().position(|&byte| byte == b'?') {
        Some(mark) => (&target[..mark], &target[mark + 1..]),
        None => (target, &[]),
    }
}

/// The steps that a container applies to a path, one after the other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// `;parameters` are cut off.
    Cut,
    /// Escapes are decoded.
    Decode,
    /// `.` and `..` are resolved.
    Resolve,
}

use Step::{Cut, Decode, Resolve};

/// Every order of the steps, and what becomes of a path when one is left to the framework behind
/// the container.
const ORDERS: [&[Step]; 14] = [
    &[Cut, Decode, Resolve],
    &[Cut, Resolve, Decode],
    &[Decode, Cut, Resolve],
    &[Decode, Resolve, Cut],
    &[Resolve, Cut, Decode],
    &[Resolve, Decode, Cut],
    &[Decode, Resolve],
    &[Resolve, Decode],
    &[Cut, Decode],
    &[Decode, Cut],
    &[Decode],
    &[Cut, Decode, Decode, Resolve],
    &[Resolve, Cut, Decode, Decode],
    &[Cut, Decode, Resolve, Decode, Resolve],
];

/// The other differences between containers.
#[derive(Clone, Copy)]
struct Habits {
    /// A decoded slash separates like a plain one.
    decoded_slash_separates: bool,
    /// A backslash is a slash.
    backslash_separates: bool,
    /// Two slashes have a segment between them, which `..` may take away.
    keeps_empty: bool,
}

/// The segments of `path` as the different servers see them.
pub(super) fn paths(path: &[u8]) -> BTreeSet<Vec<String>> {
    let mut all = BTreeSet::new();
    // No step changes such a path.
    let is_read_alike = !path
        .iter()
        .any(|byte| matches!(byte, b'%' | b';' | b'\\' | b'.'))
        && !path.windows(2).any(|pair| pair == b"//");
    let orders = if is_read_alike { &ORDERS[..1] } else { &ORDERS };
    for order in orders {
        for bits in 0..8_u8 {
            let habits = Habits {
                decoded_slash_separates: bits & 1 != 0,
                backslash_separates: bits & 2 != 0,
                keeps_empty: bits & 4 != 0,
            };
            all.insert(segments(path, order, habits));
        }
    }
    all
}

/// The segments of `path` as most servers see them.
pub(super) fn usual_path(path: &[u8]) -> Vec<String> {
    let habits = Habits {
        decoded_slash_separates: false,
        backslash_separates: false,
        keeps_empty: false,
    };
    segments(path, ORDERS[0], habits)
}

fn segments(path: &[u8], order: &[Step], habits: Habits) -> Vec<String> {
    let mut pieces = split(path, habits);
    for step in order {
        pieces = match step {
            Cut => pieces
                .into_iter()
                .map(|piece| without_parameters(&piece))
                .collect(),
            Decode => pieces
                .iter()
                .flat_map(|piece| decode(piece, habits))
                .collect(),
            Resolve => resolve(pieces, habits),
        };
    }
    if !habits.keeps_empty {
        pieces.retain(|piece| !piece.is_empty());
    } else if pieces.last().is_some_and(Vec::is_empty) {
        // One slash at the end makes no difference (`Dispatcher.initRequestContext`).
        pieces.pop();
    }
    pieces
        .iter()
        .map(|piece| letters(piece, Charset::Utf8))
        .collect()
}

/// Without the empty piece before the first slash.
fn split(path: &[u8], habits: Habits) -> Vec<Vec<u8>> {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let separates = |byte: &u8| *byte == b'/' || (*byte == b'\\' && habits.backslash_separates);
    path.split(separates).map(<[u8]>::to_vec).collect()
}

fn without_parameters(piece: &[u8]) -> Vec<u8> {
    piece
        .split(|&byte| byte == b';')
        .next()
        .unwrap_or_default()
        .to_vec()
}

fn decode(piece: &[u8], habits: Habits) -> Vec<Vec<u8>> {
    let text = decoded(piece, false, BrokenEscape::Kept).unwrap_or_default();
    if habits.decoded_slash_separates {
        return text
            .split(|&byte| byte == b'/' || (byte == b'\\' && habits.backslash_separates))
            .map(<[u8]>::to_vec)
            .collect();
    }
    vec![text]
}

/// As RFC 3986 has it, or with the empty pieces gone before. Above the root there is only the root.
fn resolve(pieces: Vec<Vec<u8>>, habits: Habits) -> Vec<Vec<u8>> {
    let mut resolved: Vec<Vec<u8>> = Vec::new();
    for piece in pieces {
        match piece.as_slice() {
            b"." => {}
            b"" if !habits.keeps_empty => {}
            b".." => drop(resolved.pop()),
            _ => resolved.push(piece),
        }
    }
    resolved
}

/// The segments that follow those of `context`.
pub(super) fn below(segments: &[String], context: &str) -> Option<Vec<String>> {
    let context: Vec<&str> = context.split('/').filter(|name| !name.is_empty()).collect();
    let (start, rest) = segments.split_at_checked(context.len())?;
    (start == context).then(|| rest.to_vec())
}

/// The parameters of a query as the different servers see them.
pub(super) fn parameters(query: &[u8]) -> Vec<Parameters> {
    let mut all = Vec::new();
    for charset in [Charset::Utf8, Charset::Latin1] {
        for broken in [BrokenEscape::Kept, BrokenEscape::Refused] {
            all.push(pairs(query, charset, broken));
        }
    }
    all.dedup();
    all
}

/// Returns the parameters of a form. Its content type may name a charset.
pub(super) fn form(body: &[u8], content_type: &str) -> Vec<Parameters> {
    let mut all = parameters(body);
    if names_utf16(content_type) {
        all.push(pairs(body, Charset::Utf16, BrokenEscape::Refused));
    }
    all
}

/// Containers look for `charset=` anywhere in a content type.
pub(super) fn names_utf16(content_type: &str) -> bool {
    let folded = content_type.to_ascii_lowercase();
    folded.match_indices("charset=").any(|(at, name)| {
        folded[at + name.len()..]
            .trim_start_matches('"')
            .starts_with("utf-16")
    })
}

fn pairs(text: &[u8], charset: Charset, broken: BrokenEscape) -> Parameters {
    let mut pairs = Vec::new();
    for pair in text.split(|&byte| byte == b'&') {
        let equals = pair.iter().position(|&byte| byte == b'=');
        let (key, value) = match equals {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        if let (Some(key), Some(value)) = (decoded(key, true, broken), decoded(value, true, broken))
        {
            pairs.push((letters(&key, charset), letters(&value, charset)));
        }
    }
    pairs
}
