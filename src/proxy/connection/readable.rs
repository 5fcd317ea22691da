//! Heads that were accepted but that Pingora would read in another way, in words that it
//! understands.
//!
//! A target that is a whole URL, as clients send it to proxies, becomes the path that is for origin
//! servers. A target that is not UTF-8 would be percent-encoded: Pingora gets another one, and the
//! target itself right after.

use std::borrow::Cow;

use bytes::BytesMut;

use crate::http1::{Head, TargetForm};

/// Stands for a target that is not UTF-8.
const PLACEHOLDER: &[u8] = b"/";

/// The target of a request about the whole server.
const ASTERISK: &[u8] = b"*";

/// A head for Pingora.
#[derive(Debug)]
pub(in crate::proxy) struct Readable {
    /// A whole head.
    pub(in crate::proxy) bytes: BytesMut,
    /// Replaces the target in `bytes` once they are read.
    pub(in crate::proxy) target: Option<Box<[u8]>>,
}

/// Returns the head that lies in `bytes` as Pingora can read it: nearly always `bytes` themselves.
pub(in crate::proxy) fn of(head: &Head, bytes: BytesMut) -> Readable {
    let part = |start: usize, end: usize| &bytes[start - head.whole.start..end - head.whole.start];
    let is_options = part(head.method.start, head.method.end) == b"OPTIONS";
    let target = match head.form {
        TargetForm::Origin | TargetForm::Asterisk => {
            Cow::Borrowed(part(head.target.start, head.target.end))
        }
        // The last proxy turns it into the `*` that it stands for (RFC 9112 section 3.2.4).
        TargetForm::Absolute { path, .. } if path.start == path.end && is_options => {
            Cow::Borrowed(ASTERISK)
        }
        TargetForm::Absolute { path, .. } => in_origin_form(part(path.start, path.end)),
    };
    let is_text = std::str::from_utf8(&target).is_ok();
    if is_text && !matches!(head.form, TargetForm::Absolute { .. }) {
        return Readable {
            bytes,
            target: None,
        };
    }
    let (line, fields) = after_line(part(head.target.end, head.whole.end));
    let mut rewritten = BytesMut::with_capacity(bytes.len());
    rewritten.extend_from_slice(part(head.method.start, head.target.start));
    rewritten.extend_from_slice(if is_text { &target } else { PLACEHOLDER });
    rewritten.extend_from_slice(line);
    if let (TargetForm::Absolute { authority, .. }, None) = (head.form, head.host) {
        rewritten.extend_from_slice(b"Host: ");
        rewritten.extend_from_slice(part(authority.start, authority.end));
        rewritten.extend_from_slice(b"\r\n");
    }
    rewritten.extend_from_slice(fields);
    let target = (!is_text).then(|| target.into_owned().into_boxed_slice());
    Readable {
        bytes: rewritten,
        target,
    }
}

/// A URL without a path means `/`. `Host`, which agrees with the URL, replaces the part that is
/// left out.
pub(super) fn in_origin_form(path: &[u8]) -> Cow<'_, [u8]> {
    if path.starts_with(b"/") {
        Cow::Borrowed(path)
    } else {
        Cow::Owned([b"/", path].concat())
    }
}

/// Returns the rest of the request line, and of the head.
fn after_line(rest: &[u8]) -> (&[u8], &[u8]) {
    let end = rest
        .windows(2)
        .position(|pair| pair == b"\r\n")
        .map_or(rest.len(), |at| at + 2);
    rest.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{HeadLimits, HeadProgress, HeadReader};

    fn readable(head: &[u8]) -> Readable {
        let limits = HeadLimits {
            max_bytes: 1_000,
            max_fields: 10,
        };
        let HeadProgress::Complete(read) = HeadReader::default().read(head, &limits) else {
            panic!("it is good")
        };
        of(&read, BytesMut::from(&head[read.whole.start..]))
    }

    fn rewritten(head: &str) -> String {
        String::from_utf8(readable(head.as_bytes()).bytes.to_vec()).unwrap()
    }

    #[test]
    fn a_target_that_is_no_text_is_handed_over_apart() {
        let good = readable("GET /stra\u{df}e HTTP/1.0\r\n\r\n".as_bytes());
        assert_eq!(
            (&good.bytes[..], good.target),
            ("GET /stra\u{df}e HTTP/1.0\r\n\r\n".as_bytes(), None)
        );
        let latin = readable(b"GET http://a?\xdf HTTP/1.0\r\nX: y\r\n\r\n");
        assert_eq!(
            &latin.bytes[..],
            b"GET / HTTP/1.0\r\nHost: a\r\nX: y\r\n\r\n"
        );
        assert_eq!(latin.target.as_deref(), Some(&b"/?\xdf"[..]));
    }

    #[test]
    fn a_url_becomes_its_path_and_its_host() {
        for (url, path) in [
            ("http://a/x?y", "/x?y"),
            ("http://a", "/"),
            ("HTTPS://a?y=/", "/?y=/"),
        ] {
            let fields = "Host: a\r\nX: y\r\n\r\n";
            let head = format!("GET {url} HTTP/1.1\r\n{fields}");
            assert_eq!(rewritten(&head), format!("GET {path} HTTP/1.1\r\n{fields}"));
            assert_eq!(
                rewritten(&format!("\r\n{head}")),
                format!("GET {path} HTTP/1.1\r\n{fields}")
            );
        }
        assert_eq!(
            rewritten("GET http://a:81/ HTTP/1.0\r\n\r\n"),
            "GET / HTTP/1.0\r\nHost: a:81\r\n\r\n"
        );
        assert_eq!(
            rewritten("OPTIONS * HTTP/1.0\r\n\r\n"),
            "OPTIONS * HTTP/1.0\r\n\r\n"
        );
    }
}
