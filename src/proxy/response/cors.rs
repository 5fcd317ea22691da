//! Pages of other origins: the answer to a preflight, and the headers by which a browser lets a
//! page read an answer (the Fetch standard, "CORS protocol").
//!
//! With `[cors]` the front door alone decides. A GeoServer's headers about other origins are
//! removed, so that none appears twice.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderName, HeaderValue, ORIGIN,
};
use http::{Method, StatusCode};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};

use super::vary::vary_by;
use crate::config::Cors;

/// Headers of an upstream about other origins.
const REPLACED: [HeaderName; 5] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
];

/// True for the request with which a browser finds out whether a page may send another one.
pub(in crate::proxy) fn is_preflight(request: &RequestHeader) -> bool {
    request.method == Method::OPTIONS
        && request.headers.contains_key(ORIGIN)
        && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The origin of a page that may read the answer; `None` for others, and for no page.
fn allowed_origin<'r>(cors: &Cors, request: &'r RequestHeader) -> Option<&'r HeaderValue> {
    let mut origins = request.headers.get_all(ORIGIN).iter();
    let origin = origins.next()?;
    (origins.next().is_none() && cors.allows(origin.as_bytes())).then_some(origin)
}

/// Adds the headers that let a page of another origin read the answer, and removes those of the
/// upstream.
pub(in crate::proxy) fn apply(
    cors: &Cors,
    request: &RequestHeader,
    response: &mut ResponseHeader,
) -> Result<()> {
    if !cors.is_on() {
        return Ok(());
    }
    for name in &REPLACED {
        response.remove_header(name);
    }
    // A cache must not give one page's answer to another one.
    if !cors.is_open() {
        vary_by(response, "Origin")?;
    }
    let Some(origin) = allowed_origin(cors, request) else {
        return Ok(());
    };
    if cors.is_open() {
        response.insert_header(ACCESS_CONTROL_ALLOW_ORIGIN, "*")?;
    } else {
        response.insert_header(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone())?;
    }
    if cors.credentials {
        response.insert_header(ACCESS_CONTROL_ALLOW_CREDENTIALS, "true")?;
    }
    Ok(())
}

/// The answer to a preflight. For a page, method or header that is not allowed it lacks the header
/// that the browser requires.
pub(in crate::proxy) fn preflight(cors: &Cors, request: &RequestHeader) -> Result<ResponseHeader> {
    let mut response = ResponseHeader::build(StatusCode::NO_CONTENT, Some(8))?;
    apply(cors, request, &mut response)?;
    vary_by(&mut response, "Access-Control-Request-Method")?;
    vary_by(&mut response, "Access-Control-Request-Headers")?;
    let method = request.headers.get(ACCESS_CONTROL_REQUEST_METHOD);
    let is_allowed = allowed_origin(cors, request).is_some()
        && method.is_some_and(|method| cors.allows_method(method.as_bytes()));
    if !is_allowed {
        return Ok(response);
    }
    let methods: Vec<&str> = cors.methods.iter().map(|method| method.as_str()).collect();
    response.insert_header(ACCESS_CONTROL_ALLOW_METHODS, methods.join(", "))?;
    let requested = request.headers.get(ACCESS_CONTROL_REQUEST_HEADERS);
    if cors.allows_any_header() {
        // `*` would not cover Authorization.
        if let Some(requested) = requested {
            response.insert_header(ACCESS_CONTROL_ALLOW_HEADERS, requested.clone())?;
        }
    } else if !cors.headers.is_empty() {
        let headers: Vec<&str> = cors.headers.iter().map(|header| header.as_str()).collect();
        response.insert_header(ACCESS_CONTROL_ALLOW_HEADERS, headers.join(", "))?;
    }
    response.insert_header(ACCESS_CONTROL_MAX_AGE, cors.max_age.as_secs())?;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, MapEnvironment};

    fn cors(lines: &str) -> Cors {
        let text = format!(
            "[upstreams.main]\nurl = 'http://127.0.0.1:1'\nrole = 'main'\n\
             [upstreams.a]\nurl = 'http://127.0.0.1:2'\n[cors]\n{lines}"
        );
        let world = MapEnvironment::new().file("f", text);
        Config::load(Path::new("f"), &world)
            .unwrap_or_else(|problems| panic!("{problems}"))
            .config
            .cors
    }

    fn request(method: &str, headers: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build(method, b"/geoserver/wfs", None).unwrap();
        for (name, value) in headers {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    fn values(head: &ResponseHeader, name: &str) -> Vec<String> {
        let lines = head.headers.get_all(name).iter();
        lines
            .map(|value| value.to_str().unwrap().to_owned())
            .collect()
    }

    const VIEWER: (&str, &str) = ("Origin", "https://viewer.example.org");

    #[test]
    fn the_headers_of_the_upstream_are_replaced_and_not_doubled() {
        let cors = cors("origins = ['https://viewer.example.org']\ncredentials = true\n");
        let mut answer = ResponseHeader::build(200, None).unwrap();
        for (name, value) in [
            ("Access-Control-Allow-Origin", "*"),
            ("Access-Control-Allow-Credentials", "false"),
            ("Access-Control-Expose-Headers", "X-A"),
            ("Vary", "Accept-Encoding, origin"),
        ] {
            answer.append_header(name, value).unwrap();
        }
        let mut theirs = answer.clone();
        apply(&cors, &request("GET", &[VIEWER]), &mut answer).unwrap();
        assert_eq!(values(&answer, "access-control-allow-origin"), [VIEWER.1]);
        assert_eq!(
            values(&answer, "access-control-allow-credentials"),
            ["true"]
        );
        assert_eq!(values(&answer, "access-control-expose-headers"), ["X-A"]);
        assert_eq!(values(&answer, "vary"), ["Accept-Encoding, origin"]);
        let other = request("GET", &[("Origin", "https://evil.example.net")]);
        apply(&cors, &other, &mut theirs).unwrap();
        assert_eq!(values(&theirs, "access-control-allow-origin"), [""; 0]);
    }

    #[test]
    fn answers_vary_by_origin_even_without_one_unless_every_page_may_read_them() {
        let mut answer = ResponseHeader::build(200, None).unwrap();
        apply(
            &cors("origins = 'https://*.example.org'\n"),
            &request("GET", &[]),
            &mut answer,
        )
        .unwrap();
        assert_eq!(values(&answer, "vary"), ["Origin"]);
        let mut open = ResponseHeader::build(200, None).unwrap();
        apply(
            &cors("origins = '*'\n"),
            &request("GET", &[VIEWER]),
            &mut open,
        )
        .unwrap();
        assert_eq!(values(&open, "access-control-allow-origin"), ["*"]);
        assert_eq!(values(&open, "vary"), [""; 0]);
    }

    #[test]
    fn off_it_touches_nothing() {
        let mut answer = ResponseHeader::build(200, None).unwrap();
        answer
            .insert_header("Access-Control-Allow-Origin", "*")
            .unwrap();
        apply(&cors(""), &request("GET", &[VIEWER]), &mut answer).unwrap();
        assert_eq!(values(&answer, "access-control-allow-origin"), ["*"]);
        assert_eq!(values(&answer, "vary"), [""; 0]);
    }

    #[test]
    fn a_preflight_is_allowed_by_origin_and_method() {
        let cors = cors("origins = 'https://viewer.example.org'\nmax_age = '10m'\n");
        let asks = |origin, method| {
            let request = request(
                "OPTIONS",
                &[
                    ("Origin", origin),
                    ("Access-Control-Request-Method", method),
                    ("Access-Control-Request-Headers", "content-type"),
                ],
            );
            assert!(is_preflight(&request));
            preflight(&cors, &request).unwrap()
        };
        let allowed = asks(VIEWER.1, "POST");
        assert_eq!(allowed.status, 204);
        assert_eq!(
            values(&allowed, "access-control-allow-methods"),
            ["GET, HEAD, POST"]
        );
        assert_eq!(values(&allowed, "access-control-max-age"), ["600"]);
        let headers = values(&allowed, "access-control-allow-headers");
        assert!(headers[0].contains("content-type"), "{headers:?}");
        for refused in [
            asks(VIEWER.1, "DELETE"),
            asks("https://evil.example.net", "GET"),
        ] {
            assert_eq!(values(&refused, "access-control-allow-methods"), [""; 0]);
        }
        assert!(!is_preflight(&request("OPTIONS", &[VIEWER])));
        assert!(!is_preflight(&request(
            "GET",
            &[VIEWER, ("Access-Control-Request-Method", "GET")]
        )));
    }

    #[test]
    fn any_header_means_those_that_are_wanted() {
        let cors = cors("origins = '*'\nheaders = '*'\n");
        let wanted = [
            VIEWER,
            ("Access-Control-Request-Method", "GET"),
            ("Access-Control-Request-Headers", "authorization, x-a"),
        ];
        let answer = preflight(&cors, &request("OPTIONS", &wanted)).unwrap();
        assert_eq!(
            values(&answer, "access-control-allow-headers"),
            ["authorization, x-a"]
        );
    }
}
