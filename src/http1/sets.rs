//! The sets of bytes that the grammar is made of, as one table.

/// `tchar` of RFC 9110 section 5.6.2: methods and names of fields.
pub(super) const TOKEN: u8 = 1;

/// What may stand in a request target: all that RFC 3986 has, and what browsers and map clients
/// send beyond it as it is: `|`, `\`, `^`, `{`, `}`, `[`, `]`, UTF-8 and Latin-1. No `#`, which
/// would be cut off in silence, and no `"`, `<`, `>` and backtick, which servers do not agree
/// about.
pub(super) const TARGET: u8 = 2;

/// `field-vchar`, space and tab of RFC 9110 section 5.5: values of fields.
pub(super) const VALUE: u8 = 4;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = classes_of(byte as u8);
        byte += 1;
    }
    classes
};

const fn classes_of(byte: u8) -> u8 {
    let token = match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => TOKEN,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' => TOKEN,
        b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~' => TOKEN,
        _ => 0,
    };
    let is_visible = byte > b' ' && byte != 0x7f;
    let is_disputed = matches!(byte, b'#' | b'"' | b'<' | b'>' | b'`');
    let target = if is_visible && !is_disputed {
        TARGET
    } else {
        0
    };
    let value = if is_visible || byte == b' ' || byte == b'\t' {
        VALUE
    } else {
        0
    };
    token | target | value
}

/// Whether `byte` is in the set `class`.
#[inline]
pub(super) const fn is(byte: u8, class: u8) -> bool {
    CLASSES[byte as usize] & class != 0
}

/// The index of the first byte from `at` on that is not in the set; the length if all are.
#[inline]
pub(super) fn skip(bytes: &[u8], at: usize, class: u8) -> usize {
    bytes[at..]
        .iter()
        .position(|byte| !is(*byte, class))
        .map_or(bytes.len(), |more| at + more)
}

/// Whether all of `bytes` are in the set, and there are some.
pub(super) fn is_all(bytes: &[u8], class: u8) -> bool {
    !bytes.is_empty() && skip(bytes, 0, class) == bytes.len()
}
