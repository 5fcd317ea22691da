//! The head of an answer as Pingora writes it.

use std::ops::Range;

/// The beginning of a line with the date, in lower case.
const DATE: &[u8] = b"date: ";

/// True if these bytes are the beginning of an answer that is not an interim one (1xx).
pub(super) fn begins_final(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HTTP/1.") && bytes.get(9) != Some(&b'1')
}

/// Returns where the value of the date is in `head`; `None` if it has none. Pingora replaces the
/// date of an upstream by the time at which it writes.
pub(super) fn date_in(head: &[u8]) -> Option<Range<usize>> {
    let mut at = 0;
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        let is_date = line
            .get(..DATE.len())
            .is_some_and(|name| name.eq_ignore_ascii_case(DATE));
        if is_date {
            let value = line[DATE.len()..].trim_ascii_end();
            let start = at + DATE.len();
            return Some(start..start + value.len());
        }
        at += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_with_the_date_has_it() {
        let date = |head: &'static str| date_in(head.as_bytes()).map(|at| &head[at]);
        let head = "HTTP/1.1 200 OK\r\nUpdate: a\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nX-Date: b\r\n\r\n";
        assert_eq!(date(head), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert_eq!(date("HTTP/1.1 200 OK\r\ndate: x\r\n\r\n"), Some("x"));
        assert_eq!(date("HTTP/1.1 200 OK\r\n\r\n"), None);
    }

    #[test]
    fn an_interim_answer_is_none_that_ends_a_request() {
        assert!(begins_final(b"HTTP/1.1 200 OK\r\n\r\n") && begins_final(b"HTTP/1.0 503 x"));
        assert!(!begins_final(b"HTTP/1.1 103 Early Hints\r\n\r\n"));
        assert!(!begins_final(b"a part of a body"));
    }
}
