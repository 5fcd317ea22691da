//! Which service and operation a request reaches: the dispatcher's rules and the addresses of
//! the webapp.

use geofront::geosim::Instance;
use geofront::ogc::{BODY_PREFIX, RequestClass};

use crate::client::{GET_MAP, Reply, XML, get, get_with, post, start, try_send};

const FORM: (&str, &str) = (
    "Content-Type",
    "application/x-www-form-urlencoded; charset=UTF-8",
);
const SOAP: (&str, &str) = ("Content-Type", "application/soap+xml; charset=UTF-8");
const MULTIPART: (&str, &str) = ("Content-Type", "multipart/form-data; boundary=b");

const GET_FEATURE: &str = "<wfs:GetFeature service=\"WFS\" version=\"2.0.0\" count=\"3\" outputFormat=\"application/json\" \
    xmlns:wfs=\"http://www.opengis.net/wfs/2.0\"><wfs:Query typeNames=\"geor:roads\"/></wfs:GetFeature>";
const TRANSACTION: &str =
    "<wfs:Transaction service=\"WFS\" version=\"1.1.0\" xmlns:wfs=\"http://www.opengis.net/wfs\"/>";
const STYLE: &str = "<sld:StyledLayerDescriptor version=\"1.0.0\" xmlns:sld=\"http://www.opengis.net/sld\"><sld:NamedLayer>\
    <sld:Name>geor:roads</sld:Name></sld:NamedLayer></sld:StyledLayerDescriptor>";

fn has_three_roads(reply: &Reply) -> bool {
    reply.text().matches("\"id\":\"roads.").count() == 3
}

fn is_unheard(reply: &Reply, what: &str) -> bool {
    reply.text().contains("Exception") && reply.text().contains(what)
}

fn classes(instance: &Instance) -> Vec<RequestClass> {
    RequestClass::ALL
        .into_iter()
        .filter(|class| instance.received(*class) > 0)
        .collect()
}

#[test]
fn the_service_in_the_query_beats_the_address() {
    let main = start();
    let features =
        "SERVICE=wfs&REQUEST=getfeature&typenames=geor:roads&Count=3&OUTPUTFORMAT=application/json";
    for address in ["wms", "ows", "wcs", "kml"] {
        assert!(
            has_three_roads(&get(&main, &format!("/geoserver/{address}?{features}"))),
            "{address}"
        );
    }
    assert_eq!(classes(&main), [RequestClass::Feature]);
}

#[test]
fn the_address_names_the_service_if_no_parameter_does() {
    let main = start();
    assert!(get(&main, &GET_MAP.replace("SERVICE=WMS&", "")).is_png());
    assert!(get(&main, "/geoserver/wms/reflect?layers=geor:roads").is_png());
    let old_form =
        "/geoserver/wfs/GetFeature?typeName=geor:roads&maxFeatures=3&outputFormat=application/json";
    assert!(has_three_roads(&get(&main, old_form)));
    assert!(is_unheard(
        &get(&main, &GET_MAP.replace("/wms?SERVICE=WMS&", "/ows?")),
        "Could not determine service"
    ));
}

#[test]
fn a_form_is_read_as_a_query() {
    let main = start();
    let (address, query) = GET_MAP.split_once('?').unwrap();
    assert!(post(&main, address, &[FORM], query).is_png());
    let (first, second) = query.split_once("&LAYERS").unwrap();
    assert!(
        post(
            &main,
            &format!("{address}?{first}"),
            &[FORM],
            &format!("LAYERS{second}")
        )
        .is_png()
    );
}

#[test]
fn the_root_of_a_body_overrides_the_query() {
    let main = start();
    assert!(has_three_roads(&post(&main, GET_MAP, &[XML], GET_FEATURE)));
    let harmless = "/geoserver/wms?service=WMS&request=GetCapabilities";
    assert!(
        post(&main, harmless, &[XML], TRANSACTION)
            .text()
            .contains("TransactionResponse")
    );
    assert_eq!(main.data().writes().len(), 1);
    assert_eq!(
        classes(&main),
        [RequestClass::Feature, RequestClass::Transaction]
    );
}

#[test]
fn only_an_attribute_of_the_root_names_its_service() {
    let main = start();
    let bare = GET_FEATURE.replace(" service=\"WFS\"", "");
    assert!(has_three_roads(&post(
        &main,
        "/geoserver/wfs",
        &[XML],
        &bare
    )));
    assert!(has_three_roads(&post(
        &main,
        "/geoserver/ows?service=WFS",
        &[XML],
        &bare
    )));
    assert!(is_unheard(
        &post(&main, "/geoserver/ows", &[XML], &bare),
        "Could not determine service"
    ));
}

#[test]
fn a_root_that_is_no_operation_of_the_service_leaves_it_to_the_query() {
    let main = start();
    let capabilities = "/geoserver/wfs?service=WFS&version=2.0.0&request=GetCapabilities";
    let unknown = "<nothing service=\"WFS\"/>";
    assert!(
        post(&main, capabilities, &[XML], unknown)
            .text()
            .contains("WFS_Capabilities")
    );
    assert!(is_unheard(
        &post(&main, "/geoserver/wfs", &[XML], unknown),
        "No such operation nothing"
    ));
}

#[test]
fn a_posted_style_is_a_map() {
    let main = start();
    for query in [
        "service=WMS&version=1.1.1&request=GetMap&width=64&height=64",
        "width=64&height=64",
    ] {
        assert!(
            post(&main, &format!("/geoserver/wms?{query}"), &[XML], STYLE).is_png(),
            "{query}"
        );
    }
    assert_eq!(classes(&main), [RequestClass::Map]);
}

#[test]
fn soap_is_unwrapped_if_its_content_type_is_soap() {
    let main = start();
    let soap = format!(
        "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Header/><s:Body>{GET_FEATURE}</s:Body></s:Envelope>"
    );
    assert!(has_three_roads(&post(
        &main,
        "/geoserver/wfs",
        &[SOAP],
        &soap
    )));
    assert!(is_unheard(
        &post(&main, "/geoserver/wfs", &[XML], &soap),
        "No such operation Envelope"
    ));
}

#[test]
fn the_xml_of_a_multipart_body_is_its_field() {
    let main = start();
    let body = format!(
        "--b\r\nContent-Disposition: form-data; name=\"body\"\r\n\r\n{GET_FEATURE}\r\n--b--\r\n"
    );
    assert!(has_three_roads(&post(
        &main,
        "/geoserver/wfs",
        &[MULTIPART],
        &body
    )));
}

#[test]
fn a_root_beyond_the_lookahead_is_not_seen() {
    let main = start();
    let late = |bytes: usize| format!("<!--{}-->{TRANSACTION}", "x".repeat(bytes - 7));
    assert!(is_unheard(
        &post(&main, "/geoserver/wfs", &[XML], &late(BODY_PREFIX)),
        "ParseError"
    ));
    assert!(main.data().writes().is_empty());
    let seen = BODY_PREFIX - TRANSACTION.len();
    assert!(
        post(&main, "/geoserver/wfs", &[XML], &late(seen))
            .text()
            .contains("TransactionResponse")
    );
}

#[test]
fn the_body_of_another_method_than_post_is_not_looked_at() {
    let main = start();
    let put = try_send(&main, "PUT", "/geoserver/wfs", &[XML], TRANSACTION).unwrap();
    assert!(
        is_unheard(&put, "Could not determine the request"),
        "{put:?}"
    );
    assert!(main.data().writes().is_empty());
}

#[test]
fn a_version_may_be_short_accepted_or_left_out() {
    let main = start();
    for (query, version) in [
        ("wfs?service=WFS&version=1.1", "version=\"1.1.0\""),
        (
            "wfs?service=WFS&acceptVersions=1.1.0,1.0.0",
            "version=\"1.1.0\"",
        ),
        ("wfs?service=WFS", "version=\"2.0.0\""),
        ("wms?service=WMS&wmtver=1.1.1", "version=\"1.1.1\""),
        ("wms?service=WMS", "version=\"1.3.0\""),
    ] {
        let text = get(
            &main,
            &format!("/geoserver/{query}&request=GetCapabilities"),
        )
        .text();
        assert!(
            text.contains(&format!("_Capabilities {version}")),
            "{query}: {text}"
        );
    }
}

#[test]
fn a_virtual_service_has_the_layers_of_its_workspace_only() {
    let main = start();
    main.publish("geor_more:lanes");
    let listed = get(
        &main,
        "/geoserver/geor/wms?service=WMS&version=1.3.0&request=GetCapabilities",
    )
    .text();
    assert!(
        listed.contains("<Name>geor:roads<")
            && !listed.contains("nature:")
            && !listed.contains("geor_more:"),
        "{listed}"
    );
    assert!(
        listed.contains("/geoserver/geor/wms?"),
        "it points to itself"
    );
    let virtual_map = |layer: &str| {
        get(
            &main,
            &GET_MAP
                .replace("/geoserver/wms", "/geoserver/geor/wms")
                .replace("geor:public_layer", layer),
        )
    };
    for layer in ["roads", "geor:roads"] {
        assert!(virtual_map(layer).is_png(), "{layer}");
    }
    for layer in ["forests", "nature:forests", "geor_more:lanes"] {
        assert!(
            is_unheard(&virtual_map(layer), "LayerNotDefined"),
            "{layer}"
        );
    }
}

#[test]
fn a_virtual_service_of_a_layer_needs_no_name_of_it() {
    let main = start();
    assert!(
        get(
            &main,
            &GET_MAP
                .replace("/wms", "/geor/roads/wms")
                .replace("&LAYERS=geor:public_layer", "")
        )
        .is_png()
    );
    let features = "/geoserver/geor/roads/ows?service=WFS&request=GetFeature&count=3&outputFormat=application/json";
    assert!(has_three_roads(&get(&main, features)));
    let listed = get(&main, "/geoserver/geor/roads/wms?request=GetCapabilities").text();
    assert_eq!(listed.matches("<Layer queryable").count(), 1);
}

#[test]
fn an_address_is_decoded_and_stripped_before_it_is_mapped() {
    let main = start();
    for address in [
        "/geoserver/re%73t/about/version",
        "/geoserver/;x=1/rest;y/about/version",
        "/geoserver/wms/../rest/about/version",
    ] {
        assert_eq!(get(&main, address).status, 401, "{address} is REST");
    }
    assert_eq!(classes(&main), [RequestClass::Admin]);
}

#[test]
fn preflights_and_files_are_answered_without_any_service() {
    let main = start();
    let preflight = try_send(
        &main,
        "OPTIONS",
        GET_MAP,
        &[("Origin", "https://maps.example.org")],
        "",
    )
    .unwrap();
    assert_eq!(
        (
            preflight.status,
            preflight.header("access-control-allow-origin")
        ),
        (200, Some("*"))
    );
    let file = get_with(
        &main,
        "/geoserver/openlayers/ol.js",
        &[("Accept-Encoding", "gzip")],
    );
    assert!(file.status == 200 && file.unzipped().contains("GeoServer"));
    assert_eq!(classes(&main), [RequestClass::Static]);
}
