//! A read for every rule that calls something a read, and the words of a write in any other place
//! of it.

use std::collections::BTreeSet;

use geofront::ogc::Classified;
use proptest::prelude::*;
use proptest::sample::select;

use crate::oracle::Request;
use crate::spelling::spelling;
use crate::table_request::request_of;
use crate::{harness, table};

const FORM: &str = "application/x-www-form-urlencoded";
const XML: &str = "text/xml";
const SOAP: &str = "application/soap+xml";

/// Method, path and query below the context, content type and body.
type Example = (
    &'static str,
    &'static str,
    Option<&'static str>,
    &'static str,
);

/// At least one read for each rule; see the test below.
const EXAMPLES: [Example; 46] = [
    ("GET", "wms?service=WMS&request=GetMap&layers=a", None, ""),
    (
        "GET",
        "geor/ows?service=WFS&request=GetFeature&typeName=a",
        None,
        "",
    ),
    (
        "HEAD",
        "ows?service=WCS&request=GetCoverage&coverageId=a",
        None,
        "",
    ),
    ("GET", "csw?request=GetRecords", None, ""),
    (
        "GET",
        "geor/roads/wfs?request=GetFeature&typeName=roads",
        None,
        "",
    ),
    (
        "GET",
        "geor/roads/north/wms?request=GetMap&layers=roads",
        None,
        "",
    ),
    ("GET", "wfs/GetFeature?typeName=a", None, ""),
    ("GET", "wms/reflect?layers=a", None, ""),
    ("GET", "kml?layers=a", None, ""),
    ("GET", "oseo/search?parentIdentifier=a", None, ""),
    (
        "GET",
        "wms?service=WMS&request=GetMap&layers=a&tiled=true&width=256&height=256&format=image/png",
        None,
        "",
    ),
    (
        "GET",
        "wms?service=WMS&request=GetMap&request=GetFeatureInfo",
        None,
        "",
    ),
    (
        "POST",
        "wms",
        Some(FORM),
        "service=WMS&request=GetMap&layers=a",
    ),
    (
        "POST",
        "wfs",
        Some(XML),
        "<GetFeature service=\"WFS\"><Query typeName=\"a\"/></GetFeature>",
    ),
    (
        "POST",
        "wcs",
        Some(XML),
        "<GetCoverage service=\"WCS\"><Output store=\"false\"/></GetCoverage>",
    ),
    (
        "POST",
        "wps",
        Some(XML),
        "<DescribeProcess service=\"WPS\"/>",
    ),
    (
        "POST",
        "wfs",
        Some(SOAP),
        "<e:Envelope xmlns:e=\"http://www.w3.org/2003/05/soap-envelope\"><e:Body><GetFeature service=\"WFS\"/></e:Body></e:Envelope>",
    ),
    ("GET", "kml/icon/geor/point?0.0.0=", None, ""),
    ("GET", "geor/kml/icon/point", None, ""),
    ("GET", "www/a/index.html", None, ""),
    ("GET", "styles/line.sld", None, ""),
    ("GET", "schemas/wfs/1.1.0/wfs.xsd", None, ""),
    ("GET", "openlayers3/ol.js", None, ""),
    ("GET", "webresources/ogcapi/a.js", None, ""),
    ("GET", "mapml/viewer/widget/mapml-viewer.js", None, ""),
    ("OPTIONS", "wfs?service=WFS&request=GetFeature", None, ""),
    (
        "GET",
        "gsr/services/geor/MapServer/export?size=9,9&format=png",
        None,
        "",
    ),
    ("GET", "gsr/services/geor/MapServer/legend", None, ""),
    ("GET", "gsr/services/geor/FeatureServer/0/query", None, ""),
    ("GET", "gsr/relationships/geor/1", None, ""),
    (
        "GET",
        "ogc/features/v1/collections/geor:roads/items",
        None,
        "",
    ),
    (
        "GET",
        "geor/ogc/tiles/v1/collections/roads/tiles/WebMercatorQuad/1/2/3",
        None,
        "",
    ),
    ("GET", "ogc/maps/v1/collections/a/styles/b/map", None, ""),
    (
        "GET",
        "ogc/maps/v1/collections/a/styles/b/map/info",
        None,
        "",
    ),
    ("GET", "ogc/coverages/v1/collections/a/coverage", None, ""),
    ("POST", "ogc/stac/v1/search", Some("application/json"), "{}"),
    (
        "POST",
        "geor/ogc/features/v1/collections/roads/search",
        Some("application/json"),
        "{}",
    ),
    ("GET", "ogc/processes/v1/processes/JTS:buffer", None, ""),
    ("GET", "gwc/service/wmts?request=GetTile&layer=a", None, ""),
    ("GET", "gwc/service/wmts?request=GetCapabilities", None, ""),
    (
        "GET",
        "gwc/service/wmts?request=GetFeatureInfo&layer=a",
        None,
        "",
    ),
    ("GET", "gwc/service/wmts/rest/a/b/c/1/2/3", None, ""),
    ("GET", "gwc/service/wmts/rest/a/b/c/1/2/3/4/5", None, ""),
    (
        "GET",
        "gwc/service/wmts/rest/WMTSCapabilities.xml",
        None,
        "",
    ),
    ("GET", "gwc/service/wmts/rest/a/tilejson/pbf", None, ""),
    ("GET", "gwc/service/tms/1.0.0/a/1/2/3.png", None, ""),
];

/// More of the same, for rules that differ in the address alone.
const MORE: [Example; 3] = [
    ("GET", "gwc/service/tms/1.0.0", None, ""),
    (
        "GET",
        "geor/gwc/service/gmaps?layers=a&zoom=1&x=1&y=1",
        None,
        "",
    ),
    ("GET", "ogc/processes/v1", None, ""),
];

const WRITES: [(&str, &str); 11] = [
    ("WFS", "Transaction"),
    ("WFS", "LockFeature"),
    ("WFS", "GetFeatureWithLock"),
    ("WFS", "ReleaseLock"),
    ("WFS", "CreateStoredQuery"),
    ("WFS", "DropStoredQuery"),
    ("WMS", "PutStyles"),
    ("CSW", "Transaction"),
    ("CSW", "Harvest"),
    ("WPS", "Execute"),
    ("WFS", "GetFeature&lockId=GeoServer_1"),
];

/// Where the words of a write stand.
#[derive(Clone, Copy, Debug)]
enum Place {
    BehindTheQuery,
    BeforeTheQuery,
    /// Only the operation, or only the service.
    OperationInTheQuery,
    ServiceInTheQuery,
    Form,
    Xml,
    Soap,
    Multipart,
    /// The service behind the path, or the service and the operation.
    BehindThePath,
    BothBehindThePath,
    /// The service before the path, as a workspace or left again by `..`.
    BeforeThePath,
    AroundThePath,
    /// As `;parameters` of the path.
    InParameters,
}

const PLACES: [Place; 13] = [
    Place::BehindTheQuery,
    Place::BeforeTheQuery,
    Place::OperationInTheQuery,
    Place::ServiceInTheQuery,
    Place::Form,
    Place::Xml,
    Place::Soap,
    Place::Multipart,
    Place::BehindThePath,
    Place::BothBehindThePath,
    Place::BeforeThePath,
    Place::AroundThePath,
    Place::InParameters,
];

fn examples() -> Vec<Example> {
    EXAMPLES.into_iter().chain(MORE).collect()
}

fn plain(example: Example) -> Request {
    let (method, target, content_type, body) = example;
    Request {
        method: method.to_owned(),
        target: format!("/geoserver/{target}").into_bytes(),
        content_type: content_type.map(str::to_owned),
        coding: None,
        body: body.as_bytes().to_vec(),
        context: "/geoserver".to_owned(),
    }
}

/// A read with the words of a write in one to three other places.
pub(crate) fn request() -> impl Strategy<Value = Request> {
    let words = (spelling(), spelling(), spelling(), spelling());
    let write = (select(&WRITES[..]), select(&PLACES[..]), words);
    let writes = prop::collection::vec(write, 1..4);
    (select(examples()), writes).prop_map(|(example, writes)| {
        let mut request = plain(example);
        for ((service, operation), place, spellings) in writes {
            let words = Words {
                service_key: spellings.0.of("service"),
                request_key: spellings.1.of("request"),
                service: spellings.2.of(service),
                operation: match operation.split_once('&') {
                    Some((name, rest)) => {
                        [&spellings.3.of(name), b"&".as_slice(), rest.as_bytes()].concat()
                    }
                    None => spellings.3.of(operation),
                },
                root: operation.split('&').next().unwrap_or_default(),
                service_name: service,
            };
            words.put(place, &mut request);
        }
        request
    })
}

/// The words of a write, spelled.
struct Words {
    service_key: Vec<u8>,
    request_key: Vec<u8>,
    service: Vec<u8>,
    operation: Vec<u8>,
    root: &'static str,
    service_name: &'static str,
}

impl Words {
    fn put(&self, place: Place, request: &mut Request) {
        let of_service = [&self.service_key, b"=".as_slice(), &self.service].concat();
        let of_operation = [&self.request_key, b"=".as_slice(), &self.operation].concat();
        let pairs = [&of_service, b"&".as_slice(), &of_operation].concat();
        let root = format!("<{0} service=\"{1}\"/>", self.root, self.service_name);
        let (path, query) = split(&request.target);
        let service = self.service.to_ascii_lowercase();
        match place {
            Place::BehindTheQuery => request.target = joined(&path, &[&query, &pairs]),
            Place::BeforeTheQuery => request.target = joined(&path, &[&pairs, &query]),
            Place::OperationInTheQuery => {
                request.target = joined(&path, &[&query, &of_operation]);
            }
            Place::ServiceInTheQuery => request.target = joined(&path, &[&query, &of_service]),
            Place::Form => post(request, FORM, pairs),
            Place::Xml => post(request, XML, root.into_bytes()),
            Place::Soap => {
                let namespace = "http://schemas.xmlsoap.org/soap/envelope/";
                let envelope = format!(
                    "<e:Envelope xmlns:e=\"{namespace}\"><e:Body>{root}</e:Body></e:Envelope>"
                );
                post(request, SOAP, envelope.into_bytes());
            }
            Place::Multipart => {
                let body = format!(
                    "--x\r\nContent-Disposition: form-data; name=\"body\"\r\n\r\n{root}\r\n--x--\r\n"
                );
                post(
                    request,
                    "multipart/form-data; boundary=x",
                    body.into_bytes(),
                );
            }
            Place::BehindThePath => {
                let path = [&path, b"/".as_slice(), &service].concat();
                request.target = joined(&path, &[&query]);
            }
            Place::BothBehindThePath => {
                let path = [&path, b"/".as_slice(), &service, b"/", &self.operation].concat();
                request.target = joined(&path, &[&query]);
            }
            Place::BeforeThePath | Place::AroundThePath => {
                let context = request.context.len();
                let back = match place {
                    Place::AroundThePath => b"/..".as_slice(),
                    _ => b"",
                };
                let before = [&path[..context], b"/", &service, back].concat();
                request.target = joined(&[&before, &path[context..]].concat(), &[&query]);
            }
            Place::InParameters => {
                let path = [&path, b";".as_slice(), &pairs].concat();
                request.target = joined(&path, &[&query]);
            }
        }
    }
}

fn split(target: &[u8]) -> (Vec<u8>, Vec<u8>) {
    match target.iter().position(|&byte| byte == b'?') {
        Some(mark) => (target[..mark].to_vec(), target[mark + 1..].to_vec()),
        None => (target.to_vec(), Vec::new()),
    }
}

fn joined(path: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let parts: Vec<&[u8]> = parts
        .iter()
        .copied()
        .filter(|part| !part.is_empty())
        .collect();
    if parts.is_empty() {
        return path.to_vec();
    }
    [path, b"?", &parts.join(&b'&')].concat()
}

fn post(request: &mut Request, content_type: &str, body: Vec<u8>) {
    request.method = "POST".to_owned();
    request.content_type = Some(content_type.to_owned());
    request.body = body;
}

/// The rule that a reason states, whichever service and operation it names.
fn rule(found: &Classified) -> &'static str {
    let sources = [
        "in the query of a",
        "in the query",
        "the address itself names",
        "in the form fields of the body",
        "the root of the XML body is a",
        "the SOAP body holds a",
    ];
    let names = |source: &&&str| found.reason.contains(**source);
    sources.iter().find(names).copied().unwrap_or(found.reason)
}

/// Panics unless each rule by which a request of the table is a read has an example here.
pub(crate) fn check_that_every_rule_has_an_example() {
    let of_examples: BTreeSet<&str> = examples()
        .into_iter()
        .map(|example| {
            let found = harness::classified(&plain(example));
            assert!(found.class.is_read(), "{example:?}: {found:?}");
            rule(&found)
        })
        .collect();
    for case in table::cases() {
        let found = harness::classified(&request_of(&case));
        assert!(
            !found.class.is_read() || of_examples.contains(rule(&found)),
            "line {}: no example of the rule {:?}",
            case.line,
            rule(&found)
        );
    }
}
