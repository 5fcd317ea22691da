//! Requests as clients send them: each has one meaning, in one spelling. Every operation of every
//! service is among them.

use proptest::prelude::*;
use proptest::sample::select;

use crate::oracle::{Request, SERVICES};

/// Addresses outside the dispatcher, with the matching methods.
const OTHERS: [(&str, &str); 60] = [
    ("GET", "/"),
    ("GET", "/web/wicket/page?3"),
    ("POST", "/j_spring_security_check"),
    ("GET", "/index.html"),
    ("GET", "/rest/workspaces.json"),
    ("POST", "/rest/workspaces"),
    ("DELETE", "/rest/workspaces/geor?recurse=true"),
    ("PUT", "/rest/reload"),
    ("GET", "/gwc/rest/layers"),
    ("POST", "/gwc/rest/seed/geor:roads.json"),
    ("GET", "/gwc/demo"),
    (
        "GET",
        "/gwc/service/wmts?service=WMTS&request=GetTile&layer=geor%3Aroads&tilematrix=EPSG:900913:4",
    ),
    ("GET", "/gwc/service/wmts?Request=GetCapabilities"),
    (
        "GET",
        "/gwc/service/wms?service=WMS&request=GetMap&layers=a",
    ),
    (
        "GET",
        "/gwc/service/tms/1.0.0/geor%3Aroads@EPSG%3A900913@png/10/512/600.png",
    ),
    ("GET", "/gwc/service/tms/1.0.0"),
    (
        "GET",
        "/gwc/service/wmts/rest/geor:roads/line/EPSG:900913/EPSG:900913:10/340/512?format=image/png",
    ),
    ("GET", "/geor/gwc/service/wmts?request=GetTile"),
    ("GET", "/gwc/service/gmaps?layers=a&zoom=1&x=0&y=0"),
    (
        "GET",
        "/ogc/features/v1/collections/geor:roads/items?limit=10",
    ),
    ("POST", "/ogc/features/v1/collections/geor:roads/items"),
    (
        "GET",
        "/geor/ogc/tiles/v1/collections/geor:roads/tiles/WebMercatorQuad/10/340/512",
    ),
    ("GET", "/ogc/processes/v1/jobs/1"),
    ("GET", "/styles/default_point.sld"),
    ("GET", "/openlayers3/ol.js"),
    ("GET", "/kml/icon/geor/point?0.0.0="),
    ("GET", "/temp/wcs/1.tif"),
    ("OPTIONS", "/wfs?service=WFS&request=Transaction"),
    ("OPTIONS", "/rest/workspaces"),
    ("OPTIONS", "/web/"),
    ("OPTIONS", "/nothing"),
    ("OPTIONS", "/ogc/processes/v1/jobs"),
    ("GET", "/kml/icon"),
    ("GET", "/geor/kml/icon/a/b"),
    (
        "GET",
        "/gwc/service/wmts/rest/geor:roads/line/tilejson/pbf?format=application/json",
    ),
    ("GET", "/gwc/service/wmts/rest/geor:roads/tilejson/pbf"),
    (
        "GET",
        "/gwc/service/wmts?request=GetTileJSON&layer=a&tileformat=png",
    ),
    ("POST", "/ogc/stac/v1/search"),
    ("POST", "/geor/ogc/features/v1/collections/roads/search"),
    ("POST", "/ogc/stac/v1/collections/a/search"),
    ("GET", "/ogc/processes/v1/processes/JTS:buffer"),
    ("GET", "/ogc/processes/v1/processes/JTS:buffer/execution"),
    ("GET", "/ogc/processes/v1/processes/gs:Import/execution"),
    ("GET", "/ogc/coverages/v1/collections/a/coverage"),
    ("GET", "/gsr/services/geor/MapServer/export"),
    ("GET", "/gsr/relationships/geor/delete/1"),
    ("POST", "/gsr/services/geor/FeatureServer/0/addFeatures"),
    ("GET", "/oseo/search?parentIdentifier=a"),
    ("GET", "/geor/roads/north/wms?request=GetMap&layers=roads"),
    ("GET", "/mapml/viewer/widget/mapml-viewer.js"),
    ("GET", "/pdf/info.json?var=printCapabilities"),
    ("POST", "/pdf/create.json"),
    ("POST", "/pdf/print.pdf"),
    ("GET", "/pdf/print.pdf?spec={}"),
    ("GET", "/pdf/4710.pdf.printout"),
    ("HEAD", "/pdf/4710.pdf.printout"),
    ("GET", "/pdf/create.json"),
    ("GET", "/pdf/other"),
    ("OPTIONS", "/pdf/create.json"),
    (
        "GET",
        "/ogc/maps/v1/collections/a/styles/b/map/info?i=1&j=1",
    ),
];

/// Parameters that do not change the class.
const DECORATIONS: [&str; 10] = [
    "version=1.1.0",
    "layers=geor:roads",
    "LAYERS=geor%3Aroads%2Cgeor%3Arivers",
    "typeNames=geor:roads",
    "bbox=-180,-90,180,90",
    "CRS=EPSG%3A3857",
    "cql_filter=nom+%3D+%27%C3%89t%C3%A9%27",
    "format=image/png",
    "STYLES=",
    "_=1700000000000",
];

/// Parameters that influence one operation and no others.
const MODIFIERS: [&str; 14] = [
    "tiled=true&width=256&height=256&layers=a&format=image/png8",
    "TILED=true&WIDTH=512&HEIGHT=512&LAYERS=geor%3Aa&FORMAT=image%2Fpng",
    "tiled=true&width=256&height=257&layers=a&format=image/png",
    "tiled=true",
    "TILED=true",
    "tiled=false",
    "lockId=GeoServer_1",
    "store=true",
    "store=false",
    "identifier=gs:Import",
    "Identifier=gs%3ABuffer&dataInputs=a=b",
    "identifier=gs:Buffer&storeExecuteResponse=TRUE&status=true",
    "identifier=gs:Buffer&responseDocument=result%40asReference%3Dtrue",
    "identifier=gs:Download",
];

/// One request.
pub(crate) fn request() -> impl Strategy<Value = Request> {
    prop_oneof![8 => to_the_dispatcher(), 2 => elsewhere()]
}

fn elsewhere() -> impl Strategy<Value = Request> {
    select(&OTHERS[..])
        .prop_map(|(method, path)| plain(method, format!("/geoserver{path}"), None, String::new()))
}

fn plain(method: &str, target: String, content_type: Option<&str>, body: String) -> Request {
    Request {
        method: method.to_owned(),
        target: target.into_bytes(),
        content_type: content_type.map(str::to_owned),
        coding: None,
        body: body.into_bytes(),
        context: "/geoserver".to_owned(),
    }
}

/// The place of service and operation.
#[derive(Clone, Copy, Debug)]
enum Said {
    InQuery,
    /// The address names the service.
    ByAddress,
    /// The address names both, as in `/wfs/GetFeature`.
    ByOldAddress,
    InForm,
    InXml,
    InSoap,
}

const SAID: [Said; 6] = [
    Said::InQuery,
    Said::ByAddress,
    Said::ByOldAddress,
    Said::InForm,
    Said::InXml,
    Said::InSoap,
];

fn to_the_dispatcher() -> impl Strategy<Value = Request> {
    let operation = select(operations()).prop_flat_map(|(service, operation)| {
        let name = prop_oneof![
            8 => Just(operation.to_owned()),
            2 => Just(operation.to_ascii_uppercase()),
            1 => Just("Nonsense".to_owned()),
        ];
        (Just(service), name)
    });
    let virtual_service = select(&["", "", "/geor", "/geor/roads"][..]);
    let decorations = prop::sample::subsequence(DECORATIONS.to_vec(), 0..4);
    let modifier = prop_oneof![3 => Just(None), 1 => select(&MODIFIERS[..]).prop_map(Some)];
    let method = select(&["GET", "GET", "HEAD", "POST"][..]);
    (
        operation,
        virtual_service,
        select(&SAID[..]),
        decorations,
        modifier,
        method,
    )
        .prop_map(
            |((service, operation), place, said, decorations, modifier, method)| {
                let more: Vec<&str> = decorations.into_iter().chain(modifier).collect();
                said.request(method, place, service, &operation, &more.join("&"))
            },
        )
}

/// The operations that have an address of their own at the dispatcher.
fn operations() -> Vec<(&'static str, &'static str)> {
    let dispatched = SERVICES
        .iter()
        .filter(|(service, _)| !matches!(*service, "WMTS" | "TMS"));
    let named = dispatched.flat_map(|(service, groups)| {
        groups
            .iter()
            .flat_map(|(_, operations)| operations.iter())
            .map(|operation| (*service, *operation))
    });
    named.collect()
}

impl Said {
    fn request(
        self,
        method: &str,
        place: &str,
        service: &str,
        operation: &str,
        more: &str,
    ) -> Request {
        let base = format!("/geoserver{place}");
        let address = service.to_ascii_lowercase();
        let both = format!("service={service}&request={operation}&{more}");
        match self {
            Self::InQuery => plain(method, format!("{base}/ows?{both}"), None, String::new()),
            Self::ByAddress => plain(
                method,
                format!("{base}/{address}?{more}&REQUEST={operation}"),
                None,
                String::new(),
            ),
            Self::ByOldAddress => plain(
                method,
                format!("{base}/{address}/{operation}?{more}"),
                None,
                String::new(),
            ),
            Self::InForm => plain(
                "POST",
                format!("{base}/{address}"),
                Some("application/x-www-form-urlencoded; charset=UTF-8"),
                both,
            ),
            Self::InXml => {
                let root = format!(
                    "<?xml version=\"1.0\"?>\n<{operation} service=\"{service}\" xmlns=\"urn:x\"><a/></{operation}>"
                );
                plain("POST", format!("{base}/ows?{more}"), Some("text/xml"), root)
            }
            Self::InSoap => {
                let namespace = "http://www.w3.org/2003/05/soap-envelope";
                let body = format!("<e:Body><{operation} service=\"{service}\"/></e:Body>");
                let envelope =
                    format!("<e:Envelope xmlns:e=\"{namespace}\"><e:Header/>{body}</e:Envelope>");
                plain(
                    "POST",
                    format!("{base}/{address}?{more}"),
                    Some("application/soap+xml"),
                    envelope,
                )
            }
        }
    }
}
