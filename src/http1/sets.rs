//! The sets of bytes in the grammar, as one table.

/// `tchar` of RFC 9110 section 5.6.2: methods and names of fields.
pub(super) const TOKEN: u8 = 1;

/// Bytes of a request target: those of RFC 3986, and those that browsers and map clients send
/// unescaped: `|`, `\`, `^`, `{`, `}`, `[`, `]`, UTF-8 and Latin-1. Excluded are `#`, which would
/// be cut off silently, and `"`, `<`, `>` and backtick, about which servers differ.
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

/// True if `byte` is in the set `class`.
#[inline]
pub(super) const fn is(byte: u8, class: u8) -> bool {
    CLASSES[byte as usize] & class != 0
}

/// The index of the first byte from `at` that is not in the set; the length if all are.
#[inline]
pub(super) fn skip(bytes: &[u8], at: usize, class: u8) -> usize {
    bytes[at..]
        .iter()
        .position(|byte| !is(*byte, class))
        .map_or(bytes.len(), |more| at + more)
}

/// True if `bytes` is not empty and all of it is in the set.
pub(super) fn is_all(bytes: &[u8], class: u8) -> bool {
    !bytes.is_empty() && skip(bytes, 0, class) == bytes.len()
}
