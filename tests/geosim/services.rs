//! The services when all is well: capabilities with the number of the catalog, maps, features,
//! coverages, records.

use geofront::geosim::{Cluster, PUBLIC_LAYER};
use geofront::ogc::RequestClass;

use crate::client::{GET_MAP, Reply, XML, get, get_with, post, start};

const WMS: &str = "/geoserver/wms?service=WMS&version=1.3.0&request=GetCapabilities";

/// The capabilities request of each service, the root of its document, and the form of an entry in
/// its list.
const CAPABILITIES: [(&str, &str, &str); 9] = [
    (
        WMS,
        "<WMS_Capabilities version=\"1.3.0\"",
        "<Layer queryable=\"1\">",
    ),
    (
        "/geoserver/wms?service=WMS&version=1.1.1&request=GetCapabilities",
        "<WMT_MS_Capabilities version=\"1.1.1\"",
        "<Layer queryable=\"1\">",
    ),
    (
        "/geoserver/wfs?service=WFS&version=1.0.0&request=GetCapabilities",
        "<WFS_Capabilities version=\"1.0.0\"",
        "<FeatureType>",
    ),
    (
        "/geoserver/wfs?service=WFS&version=1.1.0&request=GetCapabilities",
        "<wfs:WFS_Capabilities version=\"1.1.0\"",
        "<FeatureType>",
    ),
    (
        "/geoserver/wfs?service=WFS&version=2.0.0&request=GetCapabilities",
        "<wfs:WFS_Capabilities version=\"2.0.0\"",
        "<FeatureType>",
    ),
    (
        "/geoserver/wcs?service=WCS&version=1.0.0&request=GetCapabilities",
        "<wcs:WCS_Capabilities version=\"1.0.0\"",
        "<wcs:CoverageOfferingBrief>",
    ),
    (
        "/geoserver/wcs?service=WCS&version=1.1.1&request=GetCapabilities",
        "<wcs:Capabilities version=\"1.1.1\"",
        "<wcs:CoverageSummary>",
    ),
    (
        "/geoserver/wcs?service=WCS&version=2.0.1&request=GetCapabilities",
        "<wcs:Capabilities version=\"2.0.1\"",
        "<wcs:CoverageSummary>",
    ),
    (
        "/geoserver/gwc/service/wmts?request=GetCapabilities",
        "<Capabilities xmlns=\"http://www.opengis.net/wmts/1.0\"",
        "<Layer>",
    ),
];

#[test]
fn capabilities_have_the_update_sequence_and_must_not_be_cached() {
    let main = start();
    main.publish("geor:brand_new");
    let number = format!("updateSequence=\"{}\"", main.update_sequence().unwrap());
    let without_layers = [
        (
            "/geoserver/wps?service=WPS&request=GetCapabilities",
            "<wps:Capabilities",
        ),
        (
            "/geoserver/csw?service=CSW&request=GetCapabilities",
            "<csw:Capabilities",
        ),
    ];
    for (target, root) in CAPABILITIES
        .into_iter()
        .map(|(target, root, _)| (target, root))
        .chain(without_layers)
    {
        let reply = get(&main, target);
        assert!(
            reply.status == 200 && reply.is_well_formed_xml(),
            "{target}: {reply:?}"
        );
        assert!(
            reply.text().contains(root) && reply.text().contains(&number),
            "{target}: {}",
            reply.text()
        );
        assert_eq!(
            reply.header("cache-control"),
            Some("max-age=0, must-revalidate"),
            "{target}"
        );
    }
    assert_eq!(main.received(RequestClass::Capabilities), 11);
}

#[test]
fn capabilities_list_every_layer_of_the_kind_that_the_service_has() {
    let main = start();
    let (layers, rasters) = (main.data().contents().layers.len(), 2);
    for (target, root, entry) in CAPABILITIES {
        let expected = match root {
            _ if root.contains("WFS") => layers - rasters,
            _ if root.contains("wcs") => rasters,
            _ => layers,
        };
        assert_eq!(
            get(&main, target).text().matches(entry).count(),
            expected,
            "{target}"
        );
    }
}

/// The request of a version probe.
#[test]
fn a_namespace_that_does_not_exist_gives_the_number_and_no_layers() {
    let main = start();
    let (all, none) = (
        get(&main, WMS),
        get(&main, &format!("{WMS}&namespace=__none__")),
    );
    assert!(
        none.is_well_formed_xml()
            && none
                .text()
                .contains("<WMS_Capabilities version=\"1.3.0\" updateSequence=\"0\"")
    );
    assert_eq!(none.text().matches("<Layer queryable").count(), 0);
    assert!(none.body.len() < all.body.len() / 2);
    let one = get(&main, &format!("{WMS}&namespace=urban")).text();
    assert!(one.contains("urban:parcels") && !one.contains(PUBLIC_LAYER));
}

#[test]
fn capabilities_for_an_update_sequence_are_current_invalid_or_whole() {
    let main = start();
    main.publish("geor:brand_new");
    let number = main.update_sequence().unwrap();
    for (service, version, status) in [
        ("wms", "1.3.0", 200),
        ("wfs", "1.1.0", 200),
        ("wfs", "2.0.0", 400),
        ("wcs", "1.1.1", 200),
    ] {
        let ask = |number: u64| {
            let query = format!(
                "service={service}&version={version}&request=GetCapabilities&updateSequence={number}"
            );
            get(&main, &format!("/geoserver/{service}?{query}"))
        };
        let (behind, current, ahead) = (ask(number - 1), ask(number), ask(number + 1));
        assert!(
            behind.status == 200 && behind.text().contains("Capabilities"),
            "{behind:?}"
        );
        let words = format!("capabilities document is current (updateSequence = {number})");
        assert!(
            current.status == status && current.text().contains("\"CurrentUpdateSequence\""),
            "{current:?}"
        );
        assert!(current.text().contains(&words), "{current:?}");
        assert!(
            ahead.status == status && ahead.text().contains("\"InvalidUpdateSequence\""),
            "{ahead:?}"
        );
    }
}

/// The headers are taken as they are, a list of hosts included.
#[test]
fn capabilities_point_to_the_forwarded_host_or_else_to_the_host_header() {
    let main = start();
    let forwarded = [
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "maps.example.org, maps.example.org"),
    ];
    let reply = get_with(&main, WMS, &forwarded).text();
    assert!(
        reply.contains("xlink:href=\"https://maps.example.org, maps.example.org/geoserver/wms?\""),
        "{reply}"
    );
    let direct = get(&main, WMS).text();
    assert!(
        direct.contains(&format!("xlink:href=\"{}/geoserver/wms?\"", main.url())),
        "{direct}"
    );
}

#[test]
fn a_map_is_a_png_by_the_instance_that_got_the_request() {
    let cluster = Cluster::start(2);
    for instance in cluster.instances() {
        assert_eq!(
            get(instance, GET_MAP).painter().as_deref(),
            Some(instance.name())
        );
    }
    let size = |reply: &Reply| {
        png::Decoder::new(std::io::Cursor::new(&reply.body))
            .read_info()
            .unwrap()
            .info()
            .size()
    };
    assert_eq!(size(&get(cluster.main(), GET_MAP)), (64, 64));
}

#[test]
fn feature_info_has_the_requested_format() {
    let main = start();
    let click = "/geoserver/wms?service=WMS&version=1.3.0&request=GetFeatureInfo&query_layers=geor:roads&layers=geor:roads";
    assert!(
        get(&main, click)
            .text()
            .starts_with("Results for FeatureType 'geor:roads'")
    );
    assert!(
        get(&main, &format!("{click}&info_format=text/html"))
            .text()
            .starts_with("<html>")
    );
    let json = get(&main, &format!("{click}&info_format=application/json")).json();
    assert_eq!(json["features"][0]["id"], "roads.1");
    assert_eq!(main.received(RequestClass::Info), 3);
}

fn get_feature(version: &str, rest: &str) -> String {
    let key = if version.starts_with('2') {
        "typeNames"
    } else {
        "typeName"
    };
    format!(
        "/geoserver/wfs?service=WFS&version={version}&request=GetFeature&{key}=geor:roads&{rest}"
    )
}

#[test]
fn a_gml_collection_is_whole_and_holds_as_many_features_as_asked() {
    let main = start();
    for (version, limit, kind, says) in [
        ("1.0.0", "maxFeatures", "text/xml; subtype=gml/2.1.2", ""),
        (
            "1.1.0",
            "maxFeatures",
            "text/xml; subtype=gml/3.1.1",
            "numberOfFeatures=\"3000\"",
        ),
        (
            "2.0.0",
            "count",
            "application/gml+xml; version=3.2",
            "numberMatched=\"12000\" numberReturned=\"3000\"",
        ),
    ] {
        let reply = get(&main, &get_feature(version, &format!("{limit}=3000")));
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (200, Some(kind))
        );
        assert!(
            reply.is_well_formed_xml() && reply.text().contains(says),
            "{version}"
        );
        assert_eq!(
            reply.text().matches("</geor:roads>").count(),
            3000,
            "{version}"
        );
    }
}

#[test]
fn a_geojson_collection_is_whole_and_holds_as_many_features_as_asked() {
    let main = start();
    for (version, limit) in [
        ("1.0.0", "maxFeatures"),
        ("1.1.0", "maxFeatures"),
        ("2.0.0", "count"),
    ] {
        for count in [1, 3000] {
            let reply = get(
                &main,
                &get_feature(
                    version,
                    &format!("{limit}={count}&outputFormat=application/json"),
                ),
            );
            assert!(
                reply.is_whole
                    && reply.header("content-type") == Some("application/json;charset=UTF-8")
            );
            let json = reply.json();
            assert_eq!(
                json["features"].as_array().unwrap().len(),
                count,
                "{version}"
            );
            assert_eq!(
                (&json["numberReturned"], &json["numberMatched"]),
                (&count.into(), &12_000.into())
            );
        }
    }
}

#[test]
fn a_collection_ends_with_the_last_feature_and_hits_are_counted_only() {
    let main = start();
    let page = get(
        &main,
        &get_feature(
            "2.0.0",
            "startIndex=11990&count=100&outputFormat=application/json",
        ),
    )
    .json();
    assert_eq!(
        (&page["numberReturned"], &page["features"][0]["id"]),
        (&10.into(), &"roads.11990".into())
    );
    let hits = get(&main, &get_feature("2.0.0", "resultType=hits"));
    assert!(
        hits.is_well_formed_xml()
            && hits
                .text()
                .contains("numberMatched=\"12000\" numberReturned=\"0\""),
        "{hits:?}"
    );
}

#[test]
fn a_coverage_is_a_tiff_by_the_name_of_each_version() {
    let main = start();
    for query in [
        "version=1.0.0&coverage=geor:elevation",
        "version=1.1.1&identifier=geor:elevation",
        "version=2.0.1&coverageId=geor__elevation",
    ] {
        let reply = get(
            &main,
            &format!("/geoserver/wcs?service=WCS&request=GetCoverage&{query}"),
        );
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (200, Some("image/tiff")),
            "{query}"
        );
        assert!(
            reply.body.starts_with(b"II*\0") && reply.is_whole,
            "{query}"
        );
    }
    assert_eq!(main.received(RequestClass::Coverage), 3);
}

#[test]
fn csw_lists_a_record_for_every_layer_and_takes_writes() {
    let main = start();
    let records = get(
        &main,
        "/geoserver/csw?service=CSW&version=2.0.2&request=GetRecords",
    );
    assert!(records.is_well_formed_xml());
    assert_eq!(
        records.text().matches("<csw:SummaryRecord ").count(),
        main.data().contents().layers.len()
    );
    let harvest =
        "<csw:Harvest service=\"CSW\" xmlns:csw=\"http://www.opengis.net/cat/csw/2.0.2\"/>";
    assert_eq!(post(&main, "/geoserver/csw", &[XML], harvest).status, 200);
    assert_eq!(main.data().writes()[0].what, "Harvest");
}

#[test]
fn the_ogc_api_has_collections_items_and_real_status_codes() {
    let main = start();
    let items = get(
        &main,
        "/geoserver/ogc/features/v1/collections/geor:roads/items?limit=25",
    )
    .json();
    assert_eq!(items["features"].as_array().unwrap().len(), 25);
    let scoped = get(&main, "/geoserver/geor/ogc/features/v1/collections").json();
    assert!(
        scoped["collections"]
            .as_array()
            .unwrap()
            .iter()
            .any(|c| c["id"] == "geor:roads")
    );
    let unknown = get(
        &main,
        "/geoserver/ogc/features/v1/collections/geor:nowhere/items",
    );
    assert_eq!(
        (unknown.status, unknown.header("content-type")),
        (404, Some("application/json"))
    );
}
