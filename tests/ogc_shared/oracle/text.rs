//! Java's text functions, and the decodings of URLs.

/// `String.equalsIgnoreCase`: letter by letter, by the upper case and then by its lower case.
pub(crate) fn equals_ignore_case(a: &str, b: &str) -> bool {
    let folded = |text: &str| {
        text.chars()
            .map(|letter| lower(upper(letter)))
            .collect::<Vec<_>>()
    };
    folded(a) == folded(b)
}

/// The name of a parameter as GeoServer keeps it: in lower case (`KvpUtils.normalize`), and that in
/// upper case (`CaseInsensitiveMap`).
pub(super) fn key(name: &str) -> String {
    name.to_lowercase().to_uppercase()
}

/// `Character.toUpperCase`: a letter stays where its upper case is more than one letter.
fn upper(letter: char) -> char {
    let mut letters = letter.to_uppercase();
    match (letters.next(), letters.next()) {
        (Some(one), None) => one,
        _ => letter,
    }
}

fn lower(letter: char) -> char {
    let mut letters = letter.to_lowercase();
    match (letters.next(), letters.next()) {
        (Some(one), None) => one,
        _ => letter,
    }
}

/// `String.trim`.
pub(super) fn trimmed(text: &str) -> &str {
    text.trim_matches(|letter: char| letter <= ' ')
}

/// The treatment of a `%` that is not followed by two hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BrokenEscape {
    /// It stays as it is.
    Kept,
    /// There is no text.
    Refused,
}

/// The bytes that `raw` stands for.
pub(super) fn decoded(raw: &[u8], plus_is_blank: bool, broken: BrokenEscape) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < raw.len() {
        let digits = raw
            .get(at + 1..at + 3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits
            .filter(|digits| !digits.starts_with('+'))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (raw[at], escaped) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                at += 2;
            }
            (b'%', None) if broken == BrokenEscape::Refused => return None,
            (b'+', _) if plus_is_blank => bytes.push(b' '),
            (byte, _) => bytes.push(byte),
        }
        at += 1;
    }
    Some(bytes)
}

/// How a server makes letters of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    Utf8,
    Latin1,
    /// UTF-16, if a content type declares it.
    Utf16,
}

pub(super) fn letters(bytes: &[u8], charset: Charset) -> String {
    match charset {
        Charset::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
        Charset::Latin1 => bytes.iter().map(|&byte| char::from(byte)).collect(),
        Charset::Utf16 => utf16(bytes, u16::from_be_bytes),
    }
}

pub(super) fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|pair| unit([pair[0], pair[1]]))
        .collect();
    String::from_utf16_lossy(&units)
}
