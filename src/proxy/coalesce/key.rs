//! The key that two requests must share to get one answer: everything that could change the answer.
//!
//! The key holds the method, the target and every header byte for byte, as GeoServer will see them,
//! except the few of [`NOT_COUNTED`]. An unknown header counts. So do the user (`sec-*`,
//! `Authorization`, cookies), what the client accepts, what it has (`If-*`, `Range`), and the names
//! that end up in capabilities (`Host`, `X-Forwarded-*`). The client's address counts too, unless
//! the configuration states that nothing behind us reads it: GeoFence has rules by address.
//!
//! Keys are compared in full. A hash of them, however good, would leave the question
//! whether one user can make a request that is taken for another's.

use std::net::IpAddr;

use http::Method;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, TRANSFER_ENCODING, UPGRADE,
};
use pingora::http::RequestHeader;

use crate::config::Coding;
use crate::proxy::headers::{self, ClientView};

/// Requests with more are not shared.
const MAX_BYTES: usize = 8 << 10;

/// Headers that cannot change an answer of GeoServer: the name of the program (GeoServer does not
/// read it, and Tomcat uses it at most to leave out the compression), headers that are meant for
/// the connection, and the identifiers in logs and traces, which differ for each request.
const NOT_COUNTED: [&str; 13] = [
    "user-agent",
    "keep-alive",
    "proxy-connection",
    "x-request-id",
    "x-correlation-id",
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
];

/// Fields in which a trusted peer gives the client's address.
const ADDRESSES: [&str; 4] = [
    "x-forwarded-for",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
];

/// The parts of a key beside the request itself.
pub(in crate::proxy) struct SharingScope<'a> {
    pub(in crate::proxy) client: ClientView<'a>,
    /// The client's address, where it counts.
    pub(in crate::proxy) address: Option<IpAddr>,
    /// Writes that had ended when the request came.
    pub(in crate::proxy) writes: u64,
    /// The cluster as the request sees it: its configuration, and which replicas have the main's
    /// last changes. An address, which nothing else can have while a request of the same view is
    /// under way.
    pub(in crate::proxy) view: usize,
    /// Only the main may answer.
    pub(in crate::proxy) reads_from_main: bool,
    /// The rule of the operator that the request follows.
    pub(in crate::proxy) route: Option<usize>,
    /// The coding of the answer, if it can be compressed.
    pub(in crate::proxy) coding: Option<Coding>,
}

/// Appends the key to `out`. Returns false if this request shares no answer; `out` is then to be
/// ignored.
pub(in crate::proxy) fn write_key(
    request: &RequestHeader,
    scope: &SharingScope<'_>,
    out: &mut Vec<u8>,
) -> bool {
    let is_read = matches!(request.method, Method::GET | Method::HEAD)
        && !has_more_than_a_head(&request.headers);
    if !is_read || is_long(request) {
        return false;
    }
    let mut part = |bytes: &[u8]| {
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(bytes);
    };
    part(request.method.as_str().as_bytes());
    part(request.raw_path());
    for (name, value) in request
        .headers
        .iter()
        .filter(|(name, value)| counts(name.as_str(), value.as_bytes(), scope))
    {
        part(name.as_str().as_bytes());
        part(value.as_bytes());
    }
    // What we add on the way: see `headers`.
    part(
        &[
            scope.client.trust.origin,
            scope.client.trust.identity,
            scope.client.tls,
            scope.reads_from_main,
        ]
        .map(u8::from),
    );
    part(
        scope
            .client
            .subject
            .map_or(&b""[..], |subject| subject.as_bytes()),
    );
    part(&scope.writes.to_le_bytes());
    part(&scope.view.to_le_bytes());
    part(&scope.route.map_or(0, |index| index + 1).to_le_bytes());
    part(scope.coding.map_or("", Coding::as_str).as_bytes());
    match scope.address.map(|address| address.to_canonical()) {
        Some(IpAddr::V4(address)) => part(&address.octets()),
        Some(IpAddr::V6(address)) => part(&address.octets()),
        None => {}
    }
    if let (None, Some(local)) = (request.headers.get(HOST), scope.client.local) {
        part(local.to_string().as_bytes());
    }
    true
}

/// Counted first, so that a buffer that is used again stays small.
fn is_long(request: &RequestHeader) -> bool {
    let headers = request
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    request.raw_path().len() + headers.sum::<usize>() > MAX_BYTES
}

/// True if the request has a body, or expects something else than an answer.
fn has_more_than_a_head(headers: &HeaderMap) -> bool {
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers
            .get(CONTENT_LENGTH)
            .is_some_and(|length| length != "0");
    has_body || headers.contains_key(EXPECT) || headers.contains_key(UPGRADE)
}

fn counts(name: &str, value: &[u8], scope: &SharingScope<'_>) -> bool {
    // Not passed on: see `headers`.
    let is_removed = headers::is_removed(name, &scope.client);
    let is_address = scope.address.is_none() && ADDRESSES.contains(&name);
    !(is_removed
        || is_address
        || NOT_COUNTED.contains(&name)
        || is_about_the_connection(name, value))
}

/// `Connection` can also name headers that are to be removed; then it counts.
fn is_about_the_connection(name: &str, value: &[u8]) -> bool {
    name == CONNECTION.as_str()
        && (value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close"))
}

/// Whether an answer that varies by this header may be shared by requests of one key.
pub(super) fn is_in_the_key(header: &str) -> bool {
    let is_left_out = |name: &str| name.eq_ignore_ascii_case(header);
    header != "*"
        && !NOT_COUNTED
            .iter()
            .chain(&ADDRESSES)
            .any(|name| is_left_out(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{PeerTrust, Trust};
    use crate::proxy::client::request_id::RequestId;

    const TARGET: &str = "/geoserver/wms?service=WMS&request=GetMap";

    struct Asked {
        method: &'static str,
        target: &'static str,
        headers: Vec<(&'static str, &'static str)>,
        is_trusted: bool,
        address: Option<&'static str>,
        writes: u64,
        view: usize,
        reads_from_main: bool,
        subject: Option<&'static str>,
        coding: Option<Coding>,
    }

    impl Default for Asked {
        fn default() -> Self {
            let headers = vec![("Host", "maps.example.org"), ("Accept", "image/png")];
            let (is_trusted, address) = (false, Some("192.0.2.7"));
            Self {
                method: "GET",
                target: TARGET,
                headers,
                is_trusted,
                address,
                writes: 0,
                view: 0,
                reads_from_main: false,
                subject: None,
                coding: None,
            }
        }
    }

    impl Asked {
        fn with(name: &'static str, value: &'static str) -> Self {
            let mut asked = Self::default();
            asked.headers.push((name, value));
            asked
        }

        fn trusted(self) -> Self {
            Self {
                is_trusted: true,
                ..self
            }
        }

        fn description(&self) -> Option<Vec<u8>> {
            let mut request =
                RequestHeader::build(self.method, self.target.as_bytes(), None).unwrap();
            for (name, value) in &self.headers {
                request.append_header(*name, *value).unwrap();
            }
            let id = RequestId::fresh();
            let subject = self.subject.map(http::HeaderValue::from_static);
            let client = ClientView {
                peer: "192.0.2.1".parse().unwrap(),
                local: Some("10.0.0.1:8080".parse().unwrap()),
                trust: PeerTrust {
                    origin: self.is_trusted,
                    identity: self.is_trusted,
                },
                config: &Trust::default(),
                tls: false,
                subject: subject.as_ref(),
                hsts: None,
                version: http::Version::HTTP_11,
                request_id: &id,
            };
            let address = self.address.map(|address| address.parse().unwrap());
            let mut out = Vec::new();
            let (writes, view, reads_from_main) = (self.writes, self.view, self.reads_from_main);
            write_key(
                &request,
                &SharingScope {
                    client,
                    address,
                    writes,
                    view,
                    reads_from_main,
                    route: None,
                    coding: self.coding,
                },
                &mut out,
            )
            .then_some(out)
        }
    }

    #[test]
    fn requests_that_differ_in_a_relevant_field_have_different_keys() {
        for (name, value) in [
            ("sec-username", "ada"),
            ("sec-roles", "ROLE_USER"),
            ("imp-username", "ada"),
            ("Authorization", "Basic eA=="),
            ("Cookie", "JSESSIONID=1"),
            ("Accept", "image/jpeg"),
            ("Accept-Encoding", "gzip"),
            ("Accept-Language", "fr"),
            ("Range", "bytes=0-9"),
            ("If-Modified-Since", "Thu, 01 Jan 2026 00:00:00 GMT"),
            ("If-None-Match", "\"x\""),
            ("Cache-Control", "no-cache"),
            ("Origin", "https://a.example"),
            ("Referer", "https://a.example/"),
            ("X-Forwarded-Host", "a.example"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Path", "/maps"),
            ("X-Forwarded-For", "203.0.113.9"),
            ("Forwarded", "host=a.example"),
            ("X-Anything-Else", "1"),
            ("Connection", "close, Accept"),
        ] {
            let described = Asked::with(name, value).trusted().description();
            assert_ne!(
                described,
                Asked::default().trusted().description(),
                "{name}"
            );
            assert!(described.is_some(), "{name}");
        }
        let others = [
            Asked {
                subject: Some("CN=ann"),
                ..Asked::default()
            },
            Asked {
                subject: Some("CN=bob"),
                ..Asked::default()
            },
            Asked {
                coding: Some(Coding::Gzip),
                ..Asked::default()
            },
            Asked {
                method: "HEAD",
                ..Asked::default()
            },
            Asked {
                target: "/geoserver/wms?service=WMS&request=GetMap&a",
                ..Asked::default()
            },
            Asked {
                address: Some("192.0.2.8"),
                ..Asked::default()
            },
            Asked {
                writes: 1,
                ..Asked::default()
            },
            Asked {
                view: 1,
                ..Asked::default()
            },
            Asked {
                reads_from_main: true,
                ..Asked::default()
            },
            Asked::default().trusted(),
        ];
        for other in others {
            assert_ne!(other.description(), Asked::default().description());
        }
    }

    #[test]
    fn requests_that_differ_in_an_irrelevant_field_have_one_key() {
        for (name, value) in [
            ("User-Agent", "a browser"),
            ("X-Request-Id", "1"),
            ("traceparent", "00-1-2-01"),
            ("Connection", "keep-alive"),
            ("Connection", "Close"),
            ("Keep-Alive", "timeout=5"),
        ] {
            assert_eq!(
                Asked::with(name, value).trusted().description(),
                Asked::default().trusted().description(),
                "{name}"
            );
        }
    }

    #[test]
    fn claims_of_an_untrusted_client_do_not_change_the_key() {
        for (name, value) in [
            ("sec-username", "ada"),
            ("X-Forwarded-For", "203.0.113.9"),
            ("X-Forwarded-Host", "a"),
        ] {
            assert_eq!(
                Asked::with(name, value).description(),
                Asked::default().description(),
                "{name}"
            );
        }
    }

    #[test]
    fn where_the_address_does_not_matter_clients_of_different_addresses_are_alike() {
        let anywhere = || Asked {
            address: None,
            ..Asked::default()
        };
        let via_proxy = |address| {
            let mut asked = Asked::with("X-Forwarded-For", address).trusted();
            asked.address = None;
            asked
        };
        assert_eq!(
            via_proxy("203.0.113.9").description(),
            via_proxy("203.0.113.10").description()
        );
        assert_ne!(
            via_proxy("203.0.113.9").description(),
            anywhere().description()
        );
        assert_ne!(anywhere().description(), Asked::default().description());
    }

    #[test]
    fn parts_cannot_be_shifted_from_one_to_the_next() {
        let (left, right) = (
            Asked::with("A", "bc").trusted(),
            Asked::with("Ab", "c").trusted(),
        );
        assert_ne!(left.description(), right.description());
    }

    #[test]
    fn requests_with_a_body_and_writes_have_no_key() {
        for (name, value) in [
            ("Content-Length", "3"),
            ("Transfer-Encoding", "chunked"),
            ("Expect", "100-continue"),
            ("Upgrade", "h2c"),
        ] {
            assert_eq!(Asked::with(name, value).description(), None, "{name}");
        }
        assert_eq!(
            Asked {
                method: "POST",
                ..Asked::default()
            }
            .description(),
            None
        );
        assert!(Asked::with("Content-Length", "0").description().is_some());
    }

    #[test]
    fn a_description_that_is_too_long_is_none() {
        let long: &'static str = Box::leak("x".repeat(MAX_BYTES).into_boxed_str());
        assert_eq!(Asked::with("Cookie", long).description(), None);
    }
}
