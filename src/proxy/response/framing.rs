//! The framing of an upstream's answer. An answer is passed on only if every client finds the same
//! end of it.

use http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use http::{StatusCode, Version};
use pingora::http::ResponseHeader;

/// Judges the head of an answer; the reason if it must not be passed on. `is_upgrade`: the client
/// requested another protocol. A length that is repeated is left once: Pingora has compared its
/// values. An answer that never has a body loses its length (RFC 9110 section 8.6).
pub(in crate::proxy) fn judge(
    response: &mut ResponseHeader,
    is_upgrade: bool,
) -> Result<(), &'static str> {
    if response.status == StatusCode::SWITCHING_PROTOCOLS && !is_upgrade {
        return Err("it switched protocols unasked");
    }
    if let Some(coding) = response.headers.get(TRANSFER_ENCODING) {
        let has_one = response.headers.get_all(TRANSFER_ENCODING).iter().count() == 1;
        if !has_one || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err("its transfer coding is not chunked");
        }
        if response.version == Version::HTTP_10 {
            return Err("it has a transfer coding in HTTP/1.0");
        }
        if never_has_a_body(response.status) {
            return Err("it has a transfer coding and no body");
        }
    }
    if never_has_a_body(response.status) {
        response.remove_header(&CONTENT_LENGTH);
    } else {
        collapse_length(response);
    }
    Ok(())
}

/// Whether the status alone rules out a body and its framing. The length in a 304 is that of the
/// document.
fn never_has_a_body(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT
}

fn collapse_length(response: &mut ResponseHeader) {
    let mut values = response.headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = values.next() else { return };
    let list = first.as_bytes();
    if values.next().is_none() && !list.contains(&b',') {
        return;
    }
    let only = list
        .split(|byte| *byte == b',')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    let only = HeaderValue::from_bytes(only).expect("a part of a valid value without its commas");
    response
        .insert_header(CONTENT_LENGTH, only)
        .expect("a valid name");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(
        status: u16,
        version: Version,
        fields: &[(&'static str, &str)],
    ) -> Result<Vec<String>, &'static str> {
        let mut response = ResponseHeader::build(status, None).unwrap();
        response.set_version(version);
        for (name, value) in fields {
            response.append_header(*name, *value).unwrap();
        }
        judge(&mut response, false)?;
        Ok(response
            .headers
            .get_all(CONTENT_LENGTH)
            .iter()
            .map(|value| value.to_str().unwrap().to_owned())
            .collect())
    }

    #[test]
    fn chunked_is_the_only_transfer_coding_of_an_answer_and_http_1_0_has_none() {
        let is_good = |status, version, codings: &[&str]| {
            let fields: Vec<_> = codings
                .iter()
                .map(|coding| ("Transfer-Encoding", *coding))
                .collect();
            judged(status, version, &fields).is_ok()
        };
        assert!(
            is_good(200, Version::HTTP_11, &["chunked"])
                && is_good(200, Version::HTTP_11, &["Chunked"])
        );
        assert!(
            is_good(200, Version::HTTP_10, &[]) && is_good(304, Version::HTTP_11, &["chunked"])
        );
        for codings in [
            &["gzip, chunked"][..],
            &["chunked", "chunked"],
            &["identity"],
            &["chunked, gzip"],
            &[""],
        ] {
            assert!(!is_good(200, Version::HTTP_11, codings), "{codings:?}");
        }
        assert!(!is_good(200, Version::HTTP_10, &["chunked"]));
        assert!(
            !is_good(204, Version::HTTP_11, &["chunked"])
                && !is_good(103, Version::HTTP_11, &["chunked"])
        );
    }

    #[test]
    fn a_repeated_length_is_left_once() {
        let lengths = |values: &[&str]| {
            let fields: Vec<_> = values
                .iter()
                .map(|value| ("Content-Length", *value))
                .collect();
            judged(200, Version::HTTP_11, &fields).unwrap()
        };
        assert_eq!(lengths(&["5", "5"]), ["5"]);
        assert_eq!(lengths(&["5, 5"]), ["5"]);
        assert_eq!(lengths(&["5"]), ["5"]);
        assert_eq!(lengths(&[]), [""; 0]);
    }

    #[test]
    fn an_answer_that_never_has_a_body_has_no_length() {
        let lengths = |status| {
            judged(status, Version::HTTP_11, &[("Content-Length", "5")])
                .unwrap()
                .len()
        };
        assert_eq!((lengths(204), lengths(103), lengths(304)), (0, 0, 1));
    }

    #[test]
    fn protocols_are_switched_only_on_request() {
        assert!(judged(101, Version::HTTP_11, &[]).is_err());
        let mut response = ResponseHeader::build(101, None).unwrap();
        assert!(judge(&mut response, true).is_ok());
    }
}
