//! The https URL of a request that came by http.

use http::HeaderValue;

use super::readable::in_origin_form;
use crate::http1::{Head, Span, TargetForm, host_without_port};

/// The port that an https URL leaves out.
const HTTPS: u16 = 443;

/// Returns the URL of the request with https and this port. `bytes` begin with the head. `None` if
/// the request names no host.
pub(super) fn location(head: &Head, bytes: &[u8], port: u16) -> Option<HeaderValue> {
    let part = |span: Span| &bytes[span.start - head.whole.start..span.end - head.whole.start];
    let (authority, path) = match head.form {
        TargetForm::Origin => (part(head.host?), part(head.target)),
        TargetForm::Asterisk => (part(head.host?), &b"/"[..]),
        TargetForm::Absolute {
            authority, path, ..
        } => (part(authority), part(path)),
    };
    let mut url = b"https://".to_vec();
    url.extend_from_slice(host_without_port(authority)?);
    if port != HTTPS {
        url.extend_from_slice(format!(":{port}").as_bytes());
    }
    url.extend_from_slice(&in_origin_form(path));
    HeaderValue::from_bytes(&url).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{HeadLimits, HeadReader, Reading};

    fn redirected(head: &[u8], port: u16) -> Option<Vec<u8>> {
        let limits = HeadLimits {
            max_bytes: 1_000,
            max_fields: 10,
        };
        let Reading::Complete(read) = HeadReader::default().read(head, &limits) else {
            panic!("it is good")
        };
        let url = location(&read, &head[read.whole.start..], port)?;
        Some(url.as_bytes().to_vec())
    }

    #[test]
    fn host_and_target_stay_and_the_port_is_that_of_the_tls_listener() {
        let head =
            b"\r\nGET /geoserver/wms?A=%2F&b=\xdf HTTP/1.1\r\nHost: maps.example:8080\r\n\r\n";
        let url = |port| redirected(head, port).unwrap();
        assert_eq!(url(443), b"https://maps.example/geoserver/wms?A=%2F&b=\xdf");
        assert_eq!(
            url(8443),
            b"https://maps.example:8443/geoserver/wms?A=%2F&b=\xdf"
        );
    }

    #[test]
    fn every_form_of_target_and_host_is_redirected() {
        let url = |head: &str| redirected(head.as_bytes(), 443);
        assert_eq!(
            url("GET http://a:80?x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap(),
            b"https://a/?x"
        );
        assert_eq!(
            url("OPTIONS * HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n").unwrap(),
            b"https://[::1]/"
        );
        assert_eq!(url("GET / HTTP/1.0\r\n\r\n"), None);
    }
}
