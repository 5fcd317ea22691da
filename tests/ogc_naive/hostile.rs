//! Hostile requests: real addresses, services and operations, combined and spelled in every way
//! that has ever led two programs to two readings.

use proptest::prelude::*;
use proptest::sample::select;

use crate::bodies;
use crate::oracle::Request;
use crate::spelling::{Spelling, spelling};

/// Addresses of every part of GeoServer, below its context.
const ADDRESSES: [&str; 94] = [
    "",
    "ows",
    "wms",
    "wfs",
    "wcs",
    "wps",
    "csw",
    "kml",
    "animate",
    "geor/ows",
    "geor/wms",
    "geor/wfs",
    "geor/roads/wfs",
    "geor/roads/ows",
    "wfs/Transaction",
    "wfs/GetFeature",
    "wfs/WfsDispatcher",
    "wfs/TestWfsPost",
    "wms/reflect",
    "wms/GetMap",
    "wms/PutStyles",
    "wps/Execute",
    "ows/wfs/Transaction",
    "wms/wfs",
    "rest",
    "rest/reload",
    "rest.json",
    "rest/workspaces/geor",
    "monitor/requests",
    "importer",
    "gwc/rest/reload",
    "gwc/rest/web/x.js",
    "gwc/service/wms",
    "gwc/service/wmts",
    "gwc/service/tms/1.0.0/a/1/2/3.png",
    "gwc/service/wmts/rest/a/b/c/1/2/3",
    "geor/gwc/rest/seed",
    "ogc/features/v1/collections/a/items",
    "ogc/processes/v1/jobs",
    "web/wicket",
    "styles/wfs",
    "styles/ogc/processes",
    "styles/gwc/rest/seed",
    "www/a/ows",
    "kml/icon/a",
    "temp/a",
    "kml/icon",
    "geor/kml/icon",
    "geor/roads/kml/icon",
    "kml/icon/wfs",
    "gwc/service/gmaps/wfs",
    "gwc/service/wmts/wfs",
    "gwc/service/kml/wps",
    "gwc/service/wmts/rest/a/tilejson/pbf",
    "ogc/wfs",
    "ogc/roads/wps",
    "ogc/stac/v1/search",
    "ogc/features/v1/collections/a/search",
    "geor/ogc/features/v1/collections/a/search",
    "ogc/processes/v1",
    "ogc/processes/v1/processes/a",
    "ogc/processes/v1/processes/a/execution",
    "ogc/processes/v1/processes/gs:Import/execution",
    "ogc/processes/wfs",
    "geor/ogc/processes/v1/jobs/1",
    "gsr/services/a/MapServer/export",
    "gsr/services/a/FeatureServer/0/addFeatures",
    "gsr/relationships/a/1",
    "gsr/relationships/a/delete/1",
    "oseo/search",
    "a/b/c/wfs",
    "a/b/c/ows",
    "mapml/viewer/a",
    "gwc/rest/masstruncate",
    "gwc/rest/seed/a.json",
    "pdf/create.json",
    "pdf/info.json",
    "pdf/1.pdf.printout",
    "pdf/wfs",
    "pdf/geor/wfs",
    "geor/pdf/create.json",
    "ogc/maps/v1/collections/a/styles/b/map/info",
    "gwc/service/wmts/rest/WMTSCapabilities.xml",
    "gwc/service/wmts/rest/a/b/c/1/2/3/4/5",
    "gwc/service/tms/1.0.0",
    "ogc/coverages/v1/collections/a/coverage",
    "ogc/tiles/v1/collections/a/tiles/b/1/2/3",
    "gsr/services/a/MapServer/legend",
    "gsr/services/a/MapServer/0/query",
    "schemas/wfs/1.1.0/wfs.xsd",
    "openlayers3/ol.js",
    "oauth2/authorization/a",
    "gwc/rest/layers/a.xml",
    "gwc/rest/seed/geor:roads",
];

const NAMES: [&str; 26] = [
    "geoserver",
    "rest",
    "wms",
    "wfs",
    "ows",
    "gwc",
    "ogc",
    "web",
    "x",
    "styles",
    "geor",
    "Transaction",
    "service",
    "processes",
    "forêts",
    "a",
    "gsr",
    "relationships",
    "delete",
    "search",
    "kml",
    "icon",
    "execution",
    "wps",
    "pdf",
    "print.pdf",
];

/// Segments to insert before a segment.
const DETOURS: [&[&str]; 10] = [
    &["."],
    &[""],
    &["", ""],
    &["x", ".."],
    &["rest", ".."],
    &["wfs", ".."],
    &["x", "y", "..", ".."],
    &[".."],
    &["geor"],
    &[";x"],
];

const SEPARATORS: [&str; 5] = ["//", "%2F", "\\", "%5c", "/;/"];

const KEYS: [&str; 22] = [
    "service",
    "request",
    "version",
    "layers",
    "lockId",
    "tiled",
    "store",
    "typeName",
    "acceptVersions",
    "exceptions",
    "body",
    "",
    "x",
    "services",
    "width",
    "height",
    "format",
    "identifier",
    "dataInputs",
    "storeExecuteResponse",
    "status",
    "responseDocument",
];

const SERVICES: [&str; 11] = [
    "OSEO", "WMS", "WFS", "WCS", "WPS", "CSW", "WMTS", "TMS", "wfs", "XYZ", "",
];

const OPERATIONS: [&str; 20] = [
    "GetMap",
    "GetFeature",
    "GetCapabilities",
    "Transaction",
    "LockFeature",
    "GetFeatureWithLock",
    "Execute",
    "DescribeProcess",
    "PutStyles",
    "GetCoverage",
    "Harvest",
    "GetRecords",
    "GetTile",
    "DropStoredQuery",
    "reflect",
    "search",
    "GetTileJSON",
    "DirectDownload",
    "Nonsense",
    "",
];

const VALUES: [&str; 15] = [
    "256",
    "image/png",
    "true",
    "TRUE",
    "1",
    "a",
    "geor:roads",
    "1.1.0",
    "false",
    "GeoServer_1",
    "gs:Import",
    "gs:Buffer",
    "result@asReference=true",
    "a=@xlink:href=http://geoserver/wps?identifier=gs:%49mport",
    "a=@xlink:href=http://geoserver/wps?request=Execute",
];

const METHODS: [&str; 11] = [
    "GET", "GET", "GET", "HEAD", "POST", "POST", "POST", "PUT", "DELETE", "get", "OPTIONS",
];

const CONTEXTS: [&str; 4] = ["/geoserver", "/geoserver", "/", "/maps/geoserver"];

/// One request.
pub(crate) fn request() -> impl Strategy<Value = Request> {
    let parts = (
        select(&METHODS[..]),
        select(&CONTEXTS[..]),
        path(),
        query(),
        bodies::body(),
    );
    parts.prop_map(
        |(method, context, path, query, (content_type, coding, body))| {
            let mut target = context.trim_end_matches('/').as_bytes().to_vec();
            target.extend(path);
            if let Some(query) = query {
                target.push(b'?');
                target.extend(query);
            }
            let body = if matches!(method, "GET" | "HEAD") {
                Vec::new()
            } else {
                body
            };
            Request {
                method: method.to_owned(),
                target,
                content_type,
                coding,
                body,
                context: context.to_owned(),
            }
        },
    )
}

/// A path with its first slash.
fn path() -> impl Strategy<Value = Vec<u8>> {
    let address = select(&ADDRESSES[..])
        .prop_map(|address| address.split('/').map(str::to_owned).collect::<Vec<_>>());
    let names = prop::collection::vec(select(&NAMES[..]).prop_map(str::to_owned), 0..5);
    let segments = prop_oneof![4 => address, 1 => names];
    let detour = prop_oneof![4 => Just(None), 1 => select(&DETOURS[..]).prop_map(Some)];
    let step = (
        spelling(),
        prop_oneof![12 => Just("/"), 1 => select(&SEPARATORS[..])],
        detour,
    );
    (segments, prop::collection::vec(step, 12)).prop_map(|(segments, steps)| {
        let mut path = Vec::new();
        let mut steps = steps.iter().cycle();
        let mut add =
            |word: &str, steps: &mut dyn Iterator<Item = &(Spelling, &str, Option<&[&str]>)>| {
                let (spelling, separator, _) = steps.next().expect("they never end");
                path.extend_from_slice(separator.as_bytes());
                path.extend(spelling.of(word));
            };
        for segment in segments {
            let detour = steps.next().and_then(|(_, _, detour)| *detour);
            detour
                .unwrap_or_default()
                .iter()
                .for_each(|word| add(word, &mut steps));
            add(&segment, &mut steps);
        }
        path
    })
}

fn query() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![1 => Just(None), 6 => pairs().prop_map(Some)]
}

/// `key=value&key=value`, most of them a service and an operation.
pub(crate) fn pairs() -> impl Strategy<Value = Vec<u8>> {
    let pair = prop_oneof![
        2 => (Just("identifier"), select(&["gs:Import", "gs:Buffer", "gs:Buffer", "gs:Download"][..])),
        3 => (Just("service"), select(&SERVICES[..])),
        4 => (Just("request"), select(&OPERATIONS[..])),
        2 => (select(&KEYS[..]), select(&VALUES[..])),
        1 => (select(&KEYS[..]), select(&OPERATIONS[..])),
    ];
    let joint = prop_oneof![16 => Just("&"), 1 => Just("&&"), 1 => Just(";"), 1 => Just("?"), 1 => Just("%26")];
    let equals = prop_oneof![16 => Just("="), 1 => Just("=="), 1 => Just("%3D"), 1 => Just("")];
    let spelled = (pair, spelling(), spelling(), joint, equals);
    prop::collection::vec(spelled, 0..6).prop_map(|pairs| {
        let mut text = Vec::new();
        for ((key, value), key_spelling, value_spelling, joint, equals) in pairs {
            if !text.is_empty() {
                text.extend_from_slice(joint.as_bytes());
            }
            text.extend(key_spelling.of(key));
            text.extend_from_slice(equals.as_bytes());
            text.extend(value_spelling.of(value));
        }
        text
    })
}
