//! Tests of GeoServer's error answers: each service and version has a shape and status of its own,
//! so the status alone reveals little.

use geofront::geosim::{BASIC, Cluster};

use crate::client::{GET_MAP, XML, get, get_with, post, start};

/// Requests for an unknown layer in every dialect: target, status, content type, and the form of
/// the report.
const UNKNOWN_LAYER: [(&str, u16, &str, &str); 8] = [
    (
        "/geoserver/wms?service=WMS&version=1.1.1&request=GetMap&layers=geor:nowhere&width=9&height=9",
        200,
        "application/vnd.ogc.se_xml;charset=UTF-8",
        " <ServiceExceptionReport version=\"1.1.1\" >",
    ),
    (
        "/geoserver/wms?service=WMS&version=1.3.0&request=GetMap&layers=geor:nowhere&width=9&height=9",
        200,
        "text/xml;charset=UTF-8",
        " <ServiceExceptionReport version=\"1.3.0\" xmlns=\"http://www.opengis.net/ogc\"",
    ),
    (
        "/geoserver/wfs?service=WFS&version=1.0.0&request=GetFeature&typeName=geor:nowhere",
        200,
        "text/xml;charset=UTF-8",
        " <ServiceExceptionReport version=\"1.2.0\" xmlns=\"http://www.opengis.net/ogc\"",
    ),
    (
        "/geoserver/wfs?service=WFS&version=1.1.0&request=GetFeature&typeName=geor:nowhere",
        200,
        "application/xml",
        "<ows:ExceptionReport xmlns:ows=\"http://www.opengis.net/ows\" version=\"1.0.0\">",
    ),
    (
        "/geoserver/wfs?service=WFS&version=2.0.0&request=GetFeature&typeNames=geor:nowhere",
        400,
        "application/xml",
        "<ows:ExceptionReport xmlns:ows=\"http://www.opengis.net/ows/1.1\" version=\"2.0.0\">",
    ),
    (
        "/geoserver/wcs?service=WCS&version=1.0.0&request=GetCoverage&coverage=geor:nowhere",
        200,
        "application/vnd.ogc.se_xml",
        " <ServiceExceptionReport version=\"1.2.0\" xmlns=\"http://www.opengis.net/ogc\"",
    ),
    (
        "/geoserver/wcs?service=WCS&version=1.1.1&request=GetCoverage&identifier=geor:nowhere",
        200,
        "application/xml",
        "<ows:ExceptionReport xmlns:ows=\"http://www.opengis.net/ows/1.1\" version=\"1.1.0\">",
    ),
    (
        "/geoserver/wcs?service=WCS&version=2.0.1&request=GetCoverage&coverageId=geor__nowhere",
        404,
        "application/xml",
        "<ows:ExceptionReport xmlns:ows=\"http://www.opengis.net/ows/2.0\" version=\"2.0.0\">",
    ),
];

#[test]
fn an_unknown_layer_is_reported_in_the_shape_and_status_of_each_service_and_version() {
    let main = start();
    for (target, status, kind, shape) in UNKNOWN_LAYER {
        let reply = get(&main, target);
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (status, Some(kind)),
            "{target}"
        );
        assert!(
            reply.is_well_formed_xml() && reply.text().contains(shape),
            "{target}: {}",
            reply.text()
        );
        assert!(reply.text().contains("nowhere"), "{target}");
    }
}

#[test]
fn an_operation_that_does_not_exist_is_reported_in_the_same_shapes() {
    let main = start();
    for (target, status, kind, shape) in UNKNOWN_LAYER
        .into_iter()
        .filter(|(_, status, ..)| *status != 404)
    {
        let reply = get(&main, &target.replace("request=Get", "request=Make"));
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (status, Some(kind)),
            "{target}"
        );
        assert!(
            reply.text().contains("OperationNotSupported") && reply.text().contains(shape),
            "{target}: {}",
            reply.text()
        );
    }
}

#[test]
fn wms_1_1_1_names_the_document_type_and_the_code_of_its_exceptions() {
    let text = get(&start(), UNKNOWN_LAYER[0].0).text();
    assert!(
        text.contains("<!DOCTYPE ServiceExceptionReport SYSTEM \"http://"),
        "{text}"
    );
    assert!(
        text.contains("/schemas/wms/1.1.1/WMS_exception_1_1_1.dtd\">"),
        "{text}"
    );
    assert!(
        text.contains("<ServiceException code=\"LayerNotDefined\" locator=\"layers\">"),
        "{text}"
    );
}

#[test]
fn exceptions_as_json_have_the_same_status_as_others() {
    let main = start();
    for (target, status) in [
        (UNKNOWN_LAYER[1].0, 200),
        (UNKNOWN_LAYER[3].0, 200),
        (UNKNOWN_LAYER[4].0, 400),
    ] {
        let reply = get(&main, &format!("{target}&EXCEPTIONS=application/json"));
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (status, Some("application/json"))
        );
        assert!(
            reply.json()["exceptions"][0]["text"]
                .as_str()
                .unwrap()
                .contains("nowhere")
        );
    }
}

#[test]
fn an_exception_in_an_image_looks_like_a_map() {
    let main = start();
    for format in [
        "INIMAGE",
        "application/vnd.ogc.se_inimage",
        "BLANK",
        "application/vnd.ogc.se_blank",
    ] {
        let reply = get(
            &main,
            &format!("{}&EXCEPTIONS={format}", UNKNOWN_LAYER[1].0),
        );
        assert!(reply.status == 200 && reply.is_png(), "{format}: {reply:?}");
    }
}

#[test]
fn exceptions_and_features_are_compressed_if_accepted_and_maps_are_not() {
    let main = start();
    let accepting = |target: &str| get_with(&main, target, &[("Accept-Encoding", "gzip")]);
    assert!(
        accepting(UNKNOWN_LAYER[1].0)
            .unzipped()
            .contains("LayerNotDefined")
    );
    let features = "/geoserver/wfs?service=WFS&request=GetFeature&typeNames=geor:roads&count=900&outputFormat=application/json";
    let (plain, zipped) = (get(&main, features), accepting(features));
    assert!(
        zipped.is_whole
            && zipped.body.len() < plain.body.len()
            && zipped.unzipped() == plain.text()
    );
    let map = accepting(GET_MAP);
    assert!(map.is_png() && map.header("content-encoding").is_none());
}

#[test]
fn without_a_service_ows_1_0_answers_and_1_1_where_versions_are_accepted() {
    let main = start();
    for (target, text, namespace) in [
        (
            "/geoserver/ows?request=GetMap",
            "Could not determine service",
            "\"http://www.opengis.net/ows\"",
        ),
        (
            "/geoserver/ows?service=WXS&request=GetMap",
            "No service: ( WXS )",
            "\"http://www.opengis.net/ows\"",
        ),
        (
            "/geoserver/ows?request=GetCapabilities&acceptVersions=2.0.0",
            "Could not determine service",
            "\"http://www.opengis.net/ows/1.1\"",
        ),
    ] {
        let reply = get(&main, target);
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (200, Some("application/xml")),
            "{target}"
        );
        assert!(
            reply.text().contains(text) && reply.text().contains(namespace),
            "{target}: {}",
            reply.text()
        );
    }
}

#[test]
fn a_map_that_needs_too_much_memory_is_refused_with_status_200() {
    let main = start();
    let sized = |side: &str| get(&main, &GET_MAP.replace("=64", side));
    assert!(sized("=1000").is_png());
    let refused = sized("=5000");
    assert!(
        refused.status == 200
            && refused
                .text()
                .contains("while the maximum memory allowed is 65536KB"),
        "{refused:?}"
    );
}

#[test]
fn without_a_handler_the_container_answers_404() {
    let main = start();
    for target in [
        "/geoserver/nowhere/wms?request=GetMap",
        "/geoserver/WMS?request=GetMap",
        "/geoserver/geor/nowhere/ows",
        "/other",
    ] {
        let reply = get(&main, target);
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (404, Some("text/html;charset=utf-8")),
            "{target}"
        );
    }
}

#[test]
fn rest_names_the_missing_resource_as_text_with_404() {
    let main = start();
    for target in [
        "/geoserver/rest/workspaces/nowhere",
        "/geoserver/rest/layers/geor:nowhere.json",
        "/geoserver/rest/about/nothing",
    ] {
        let reply = get_with(&main, target, &[("Authorization", BASIC)]);
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (404, Some("text/plain")),
            "{target}"
        );
    }
}

/// A client's mistake and a stale replica look the same.
#[test]
fn a_layer_published_elsewhere_is_as_unknown_as_one_that_never_was() {
    let cluster = Cluster::start(1);
    cluster.main().publish("geor:nowhere");
    for (target, status, _, _) in UNKNOWN_LAYER
        .iter()
        .filter(|(target, ..)| !target.contains("WCS"))
    {
        let (stale, fresh) = (get(cluster.replica(1), target), get(cluster.main(), target));
        assert!(
            stale.status == *status && stale.text().contains("Exception"),
            "{target}: {stale:?}"
        );
        assert!(
            fresh.status == 200 && !fresh.text().contains("Exception"),
            "{target}: {fresh:?}"
        );
    }
}

#[test]
fn a_body_that_is_no_xml_is_answered_by_the_default_handler_whatever_the_address() {
    let main = start();
    for address in ["wfs", "wms?service=WMS&request=GetCapabilities", "ows"] {
        let reply = post(
            &main,
            &format!("/geoserver/{address}"),
            &[XML],
            "this is no XML",
        );
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (200, Some("application/xml")),
            "{address}"
        );
        assert!(
            reply.text().contains("\"http://www.opengis.net/ows\"")
                && reply.text().contains("ParseError"),
            "{reply:?}"
        );
    }
    assert!(main.data().writes().is_empty());
}
