//! Multipart bodies: the fields are key-value pairs, and the last file (or the field `body`) is the
//! XML.
//!
//! A later part may override an earlier one, so a body that is not complete within the prefix
//! decides nothing. The reading is strict: preambles, bare line feeds and nested parts are refused,
//! because servers differ about them.

use super::charset;
use super::kvp::Kvp;

/// Maximum number of parts that are read.
const MAX_PARTS: usize = 64;
/// The maximum length of RFC 2046.
const MAX_BOUNDARY: usize = 70;

/// The `boundary` of a multipart content type, if there is exactly one and it needs no
/// interpretation.
pub(super) fn boundary(content_type: &str) -> Option<&str> {
    // Some upload libraries treat a comma as a separator.
    if content_type.contains(',') {
        return None;
    }
    let mut found = None;
    for parameter in content_type.split(';').skip(1) {
        let (name, value) = parameter.split_once('=')?;
        if name.trim().eq_ignore_ascii_case("boundary") {
            let value = value.trim();
            let value = value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'))
                .unwrap_or(value);
            if found.replace(value).is_some() {
                return None;
            }
        }
    }
    let is_plain = |boundary: &&str| {
        let mut bytes = boundary.bytes();
        (1..=MAX_BOUNDARY).contains(&boundary.len())
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"'()+_-./:=?".contains(&byte))
    };
    found.filter(is_plain)
}

/// Adds the fields to `kvp` and returns the file, or `None` if the body is incomplete or ambiguous.
pub(super) fn read<'b>(body: &'b [u8], boundary: &str, kvp: &mut Kvp) -> Option<&'b [u8]> {
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    let mut rest = body.strip_prefix(&delimiter[2..])?;
    let mut file = None;
    let mut body_field = None;
    for _ in 0..MAX_PARTS {
        if rest.starts_with(b"--") {
            return file.or(body_field);
        }
        rest = rest.strip_prefix(b"\r\n")?;
        let end = find(rest, &delimiter)?;
        // A parser that accepts a bare line feed before the boundary, or nothing, begins another
        // part there.
        if find(&rest[..end], &delimiter[2..]).is_some() {
            return None;
        }
        let (head, content) = split_part(&rest[..end])?;
        match disposition(head)? {
            Part::File => file = Some(content),
            Part::Field { name } if name.eq_ignore_ascii_case(b"body") => {
                // The parts that follow decide whether it is the XML or a parameter.
                kvp.add_field(name, content);
                body_field = Some(content);
            }
            Part::Field { name } => kvp.add_field(name, content),
        }
        rest = &rest[end + delimiter.len()..];
    }
    None
}

enum Part<'b> {
    File,
    Field { name: &'b [u8] },
}

fn split_part(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = find(part, b"\r\n\r\n")?;
    Some((&part[..end], &part[end + 4..]))
}

/// Reads the headers of a part.
fn disposition(head: &[u8]) -> Option<Part<'_>> {
    let mut part = None;
    for line in head.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // An indented line continues the previous one.
        if line.first().is_some_and(u8::is_ascii_whitespace) {
            return None;
        }
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (name, value) = (
            line[..colon].to_ascii_lowercase(),
            line[colon + 1..].trim_ascii(),
        );
        match name.as_slice() {
            // A parser that folds its letters may know it.
            name if !name.is_ascii() => return None,
            b"content-disposition" if part.is_none() => part = Some(part_of(value)?),
            b"content-disposition" => return None,
            b"content-type" if value.to_ascii_lowercase().starts_with(b"multipart") => return None,
            b"content-transfer-encoding" => return None,
            // This applies to every header: some parsers look for a charset in all of them.
            _ if !str::from_utf8(value).is_ok_and(charset::is_plain) => return None,
            _ => {}
        }
    }
    part
}

/// `form-data; name="request"`, or with a `filename`.
fn part_of(disposition: &[u8]) -> Option<Part<'_>> {
    let mut name = None;
    let mut is_file = false;
    let mut parameters = disposition.split(|&byte| byte == b';');
    if !parameters
        .next()?
        .trim_ascii()
        .eq_ignore_ascii_case(b"form-data")
    {
        return None;
    }
    for parameter in parameters {
        let equals = parameter.iter().position(|&byte| byte == b'=')?;
        let (key, value) = (
            parameter[..equals].trim_ascii(),
            parameter[equals + 1..].trim_ascii(),
        );
        if !key.is_ascii() {
            return None;
        }
        if key.eq_ignore_ascii_case(b"name") {
            if name.replace(unquoted(value)?).is_some() {
                return None;
            }
        } else if key.to_ascii_lowercase().starts_with(b"name") {
            // `name*` is encoded by RFC 2231, and a parser that supports it reads another name.
            return None;
        } else {
            is_file |= key.to_ascii_lowercase().starts_with(b"filename");
        }
    }
    let name = name?;
    Some(if is_file {
        Part::File
    } else {
        Part::Field { name }
    })
}

/// The text without its quotes. Parsers differ about a backslash or a quote inside, and about the
/// encoding of RFC 2047 (`=?...?=`).
fn unquoted(value: &[u8]) -> Option<&[u8]> {
    let inner = value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""))
        .unwrap_or(value);
    let is_plain =
        find(inner, b"=?").is_none() && !inner.iter().any(|byte| matches!(byte, b'"' | b'\\'));
    is_plain.then_some(inner)
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len())
        .position(|window| window == wanted)
}
