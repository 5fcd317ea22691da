//! The head of an HTTP/2 request in the syntax of HTTP/1.1, so that the same rules apply to both.

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, COOKIE, HOST, TE};
use http::request::Parts;
use http::uri::Scheme;

/// How the body of a request follows its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyForm {
    None,
    /// As many bytes as `Content-Length` states. The protocol's layer below checks the number.
    Length,
    Chunked,
}

/// Returns the head and the form of the body. `None` if a part of the request holds bytes that
/// would make it another request in HTTP/1.1.
pub(super) fn head_of(request: &Parts, has_body: bool) -> Option<(BytesMut, BodyForm)> {
    let uri = &request.uri;
    let is_http = |scheme: &Scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme);
    // HTTP/1.1 states another scheme by the whole URL, which is refused there.
    let foreign = uri.scheme().filter(|scheme| !is_http(scheme));
    let foreign = foreign.map(|_| uri.to_string());
    let target = match (&foreign, uri.path_and_query()) {
        (Some(url), _) => url.as_str(),
        (None, Some(target)) => target.as_str(),
        // CONNECT has an authority only.
        (None, None) => uri.authority()?.as_str(),
    };
    let form = match (has_body, request.headers.contains_key(CONTENT_LENGTH)) {
        (_, true) => BodyForm::Length,
        (true, false) => BodyForm::Chunked,
        (false, false) => BodyForm::None,
    };
    let mut head = BytesMut::with_capacity(1_024);
    for part in [request.method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    if !is_plain(request.method.as_str().as_bytes()) || !is_plain(target.as_bytes()) {
        return None;
    }
    let mut field = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            head.extend_from_slice(part);
        }
        value.iter().all(|byte| !matches!(byte, b'\r' | b'\n' | 0))
    };
    let mut is_fit = true;
    if let Some(authority) = uri.authority() {
        is_fit &=
            is_plain(authority.as_str().as_bytes()) && field("host", authority.as_str().as_bytes());
    }
    let has_one_host = request.headers.get_all(HOST).iter().count() == 1;
    for (name, value) in &request.headers {
        // One `Host` that repeats the authority is left out; all others are refused as a second
        // `Host`.
        let is_repeated = name == HOST
            && has_one_host
            && uri
                .authority()
                .is_some_and(|known| known.as_str().as_bytes() == value.as_bytes());
        if is_repeated || name == COOKIE || name == TE {
            continue;
        }
        is_fit &= field(name.as_str(), value.as_bytes());
    }
    // Clients may send each cookie in a field of its own (RFC 9113 section 8.2.3).
    let cookies: Vec<&[u8]> = request
        .headers
        .get_all(COOKIE)
        .iter()
        .map(http::HeaderValue::as_bytes)
        .collect();
    if !cookies.is_empty() {
        is_fit &= field("cookie", &cookies.join(&b"; "[..]));
    }
    if form == BodyForm::Chunked {
        is_fit &= field("transfer-encoding", b"chunked");
    }
    head.extend_from_slice(b"\r\n");
    is_fit.then_some((head, form))
}

/// True if these bytes cannot end a part of the request line.
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| *byte > b' ' && *byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(request: http::request::Builder, has_body: bool) -> (String, BodyForm) {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let (head, form) = head_of(&parts, has_body).unwrap();
        (String::from_utf8(head.to_vec()).unwrap(), form)
    }

    #[test]
    fn pseudo_fields_become_the_request_line_and_the_host() {
        let request = Request::get("https://maps.example:8443/wms?a=b|c").header("x", "y");
        assert_eq!(
            head(request, false),
            (
                "GET /wms?a=b|c HTTP/1.1\r\nhost: maps.example:8443\r\nx: y\r\n\r\n".to_owned(),
                BodyForm::None
            )
        );
    }

    #[test]
    fn cookies_are_joined_and_a_host_that_repeats_the_authority_is_left_out() {
        let request = Request::get("https://a/")
            .header("cookie", "a=1")
            .header("host", "a")
            .header("te", "trailers")
            .header("cookie", "b=2");
        let expected = "GET / HTTP/1.1\r\nhost: a\r\ncookie: a=1; b=2\r\n\r\n";
        assert_eq!(head(request, false).0, expected);
    }

    #[test]
    fn another_host_stays_and_is_refused_by_the_judge() {
        let request = Request::get("https://a/").header("host", "b");
        assert_eq!(
            head(request, false).0,
            "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"
        );
    }

    #[test]
    fn two_hosts_stay_though_both_repeat_the_authority() {
        let request = Request::get("https://a/").header("host", "a");
        assert_eq!(
            head(request.header("host", "a"), false).0,
            "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\nhost: a\r\n\r\n"
        );
    }

    #[test]
    fn another_scheme_becomes_a_url_for_the_judge_to_refuse() {
        assert_eq!(
            head(Request::get("ftp://a/x?y"), false).0,
            "GET ftp://a/x?y HTTP/1.1\r\nhost: a\r\n\r\n"
        );
    }

    #[test]
    fn a_body_without_a_length_is_chunked() {
        let request = Request::post("https://a/");
        let expected = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(
            head(request, true),
            (expected.to_owned(), BodyForm::Chunked)
        );
        let request = Request::post("https://a/").header("content-length", "3");
        assert_eq!(head(request, true).1, BodyForm::Length);
    }
}
