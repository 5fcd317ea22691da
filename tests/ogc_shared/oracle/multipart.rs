//! Multipart bodies as the upload libraries read them, which is leniently: fields are parameters,
//! the last file or the field `body` is the XML.

use super::container::{Parameters, names_utf16};
use super::text::{Charset, letters, utf16};

/// The fields, and the XML.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) fields: Parameters,
    pub(super) file: Option<Vec<u8>>,
}

/// Returns the parts as the different libraries find them.
pub(super) fn readings(content_type: &str, body: &[u8]) -> Vec<Parts> {
    boundaries(content_type)
        .iter()
        .map(|boundary| parts(body, boundary))
        .collect()
}

/// Whatever may be the boundary.
fn boundaries(content_type: &str) -> Vec<String> {
    let folded = content_type.to_ascii_lowercase();
    let mut found = Vec::new();
    for (at, name) in folded.match_indices("boundary") {
        let rest = content_type[at + name.len()..].trim_start();
        let Some(value) = rest.strip_prefix('=') else {
            continue;
        };
        let value = value.trim_start();
        for ends in [&[';', ','][..], &[';']] {
            let bare = value.split(ends).next().unwrap_or_default().trim();
            found.push(bare.trim_matches('"').to_owned());
        }
    }
    found.dedup();
    found
}

fn parts(body: &[u8], boundary: &str) -> Parts {
    let text = letters(body, Charset::Latin1);
    let mut parts = Parts::default();
    let mut body_field = None;
    for part in text.split(&format!("--{}", latin1(boundary))).skip(1) {
        if part.starts_with("--") {
            break;
        }
        let Some((head, content)) = part
            .split_once("\r\n\r\n")
            .or_else(|| part.split_once("\n\n"))
        else {
            continue;
        };
        let content = content
            .strip_suffix("\r\n")
            .or_else(|| content.strip_suffix('\n'))
            .unwrap_or(content);
        let Some((name, is_file)) = disposition(head) else {
            continue;
        };
        let bytes: Vec<u8> = content.chars().map(|letter| letter as u8).collect();
        if is_file {
            parts.file = Some(bytes);
        } else {
            if name.eq_ignore_ascii_case("body") {
                body_field = Some(bytes.clone());
            }
            let value = if names_utf16(head) {
                utf16(&bytes, u16::from_be_bytes)
            } else {
                letters(&bytes, Charset::Utf8)
            };
            parts.fields.push((name, value));
        }
    }
    parts.file = parts.file.or(body_field);
    parts
}

fn latin1(text: &str) -> String {
    letters(text.as_bytes(), Charset::Latin1)
}

/// The field's name and whether it is a file, of a part's headers; lines may be folded.
fn disposition(head: &str) -> Option<(String, bool)> {
    let head = head.replace("\r\n", "\n").replace("\n ", " ");
    let line = head.lines().find(|line| {
        line.trim_start()
            .to_ascii_lowercase()
            .starts_with("content-disposition")
    })?;
    let (mut name, mut is_file) = (None, false);
    for parameter in line.split(';').skip(1) {
        let Some((key, value)) = parameter.split_once('=') else {
            continue;
        };
        let value = value.trim().trim_matches('"');
        match key.trim().to_ascii_lowercase().as_str() {
            "name" => name = Some(decoded_word(value)),
            // RFC 2231: charset'language'escaped.
            "name*" => name = value.rsplit('\'').next().map(str::to_owned),
            key => is_file |= key.starts_with("filename"),
        }
    }
    Some((name?, is_file))
}

/// RFC 2047's `=?charset?Q?text?=`, which some libraries decode here too.
fn decoded_word(value: &str) -> String {
    let inside = value
        .strip_prefix("=?")
        .and_then(|rest| rest.strip_suffix("?="));
    match inside
        .map(|inside| inside.splitn(3, '?').collect::<Vec<_>>())
        .as_deref()
    {
        Some([_, kind, text]) if kind.eq_ignore_ascii_case("q") => (*text).to_owned(),
        _ => value.to_owned(),
    }
}
