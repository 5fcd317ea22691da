//! The formats of our own answers, and the facts that they must not reveal.

use super::*;
use crate::ogc::exception::{BodyHead, Exception};

const XML_SHAPES: [ErrorShape; 9] = [
    ErrorShape::Wms111,
    ErrorShape::Wms130,
    ErrorShape::Wfs100,
    ErrorShape::Wfs110,
    ErrorShape::Wfs20,
    ErrorShape::Wcs10,
    ErrorShape::Wcs11,
    ErrorShape::Wcs20,
    ErrorShape::Ows11,
];

fn id() -> RequestId {
    RequestId::from_peer(b"abc-1").unwrap()
}

#[test]
fn every_refusal_in_every_xml_shape_is_a_report_that_names_the_request() {
    for refusal in Refusal::ALL {
        for shape in XML_SHAPES {
            let (head, body) = build(refusal, None, None, shape, &id());
            assert!(BodyHead::of(&body).is_report(), "{shape:?}");
            let text = Exception::first_of(&body).unwrap().text;
            assert_eq!(text, format!("{} (request abc-1)", refusal.message()));
            assert_eq!(
                head.headers["content-length"],
                body.len().to_string().as_str()
            );
        }
    }
}

#[test]
fn json_is_for_both_kinds_of_clients() {
    let (head, body) = build(Refusal::NoUpstream, None, None, ErrorShape::Json, &id());
    let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(head.headers["content-type"], "application/json");
    assert_eq!(value["exceptions"][0]["text"], value["description"]);
}

#[test]
fn content_types_and_roots_are_those_of_geoserver() {
    let cases = [
        (
            ErrorShape::Wms111,
            "application/vnd.ogc.se_xml;charset=UTF-8",
            "<ServiceExceptionReport version=\"1.1.1\">",
        ),
        (
            ErrorShape::Wms130,
            "text/xml;charset=UTF-8",
            "version=\"1.3.0\" xmlns=\"http://www.opengis.net/ogc\">",
        ),
        (
            ErrorShape::Wfs100,
            "text/xml;charset=UTF-8",
            "version=\"1.2.0\" xmlns=\"http://www.opengis.net/ogc\">",
        ),
        (
            ErrorShape::Wcs10,
            "application/vnd.ogc.se_xml;charset=UTF-8",
            "version=\"1.2.0\"",
        ),
        (
            ErrorShape::Wfs110,
            "application/xml",
            "xmlns:ows=\"http://www.opengis.net/ows\" version=\"1.0.0\">",
        ),
        (
            ErrorShape::Wfs20,
            "application/xml",
            "xmlns:ows=\"http://www.opengis.net/ows/1.1\" version=\"2.0.0\">",
        ),
        (
            ErrorShape::Wcs20,
            "application/xml",
            "xmlns:ows=\"http://www.opengis.net/ows/2.0\"",
        ),
        (
            ErrorShape::Plain,
            "text/plain;charset=UTF-8",
            "The map service",
        ),
    ];
    for (shape, content_type, part) in cases {
        let (head, body) = build(Refusal::NoUpstream, None, None, shape, &id());
        assert_eq!(head.headers["content-type"], content_type, "{shape:?}");
        assert!(
            std::str::from_utf8(&body).unwrap().contains(part),
            "{shape:?}: {body:?}"
        );
    }
}

#[test]
fn temporary_refusals_have_a_retry_after() {
    for refusal in [
        Refusal::NoUpstream,
        Refusal::AllFailed,
        Refusal::FirstByteTimeout,
        Refusal::ShuttingDown,
    ] {
        let (head, _) = build(refusal, None, None, ErrorShape::Plain, &id());
        assert!(matches!(head.status.as_u16(), 503 | 504), "{refusal:?}");
        assert!(head.headers.contains_key("retry-after"), "{refusal:?}");
    }
}

#[test]
fn a_refusal_has_retry_after_unless_the_client_is_blocked() {
    let (head, _) = build(Refusal::QueueFull, None, Some(17), ErrorShape::Plain, &id());
    assert_eq!(
        (head.status.as_u16(), &head.headers["retry-after"]),
        (503, &HeaderValue::from(17))
    );
    let (head, _) = build(Refusal::Blocked, None, Some(17), ErrorShape::Plain, &id());
    assert!(
        !head.headers.contains_key("retry-after"),
        "a blocked client stays blocked"
    );
}

#[test]
fn a_lost_write_is_not_invited_again() {
    let (head, _) = build(
        Refusal::ConnectionLost,
        None,
        None,
        ErrorShape::Plain,
        &id(),
    );
    assert_eq!(head.status, 502);
    assert!(!head.headers.contains_key("retry-after"));
}

#[test]
fn refusals_reveal_nothing_about_the_upstreams() {
    for refusal in Refusal::ALL {
        let (_, body) = build(refusal, None, None, ErrorShape::Json, &id());
        let text = std::str::from_utf8(&body).unwrap().to_lowercase();
        assert!(
            ["upstream", "geoserver", "replica", "pingora", "geofront"]
                .iter()
                .all(|word| !text.contains(word)),
            "{text}"
        );
    }
}

#[test]
fn the_status_page_explains_every_reason() {
    let page = include_str!("../../../admin/page.js");
    for reason in Refusal::ALL.map(Refusal::reason) {
        let key = if reason.contains('-') {
            format!("\"{reason}\": \"")
        } else {
            format!(" {reason}: \"")
        };
        assert!(page.contains(&key), "page.js does not explain {reason}");
    }
}

#[test]
fn reasons_differ() {
    let reasons: std::collections::BTreeSet<_> =
        Refusal::ALL.into_iter().map(Refusal::reason).collect();
    assert_eq!(reasons.len(), Refusal::ALL.len());
}
