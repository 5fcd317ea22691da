//! Orders to tile caches, and edits of features: everything that makes tiles old, spelled plainly
//! and otherwise.

use proptest::prelude::*;
use proptest::sample::select;

use crate::oracle::Request;
use crate::spelling::{Spelling, spelling};

const METHODS: [&str; 6] = ["POST", "POST", "POST", "PUT", "DELETE", "GET"];

const ADDRESSES: [&str; 26] = [
    "gwc/rest/masstruncate",
    "gwc/rest/masstruncate.xml",
    "gwc/rest/seed",
    "gwc/rest/seed/geor:roads",
    "gwc/rest/seed/geor:roads.xml",
    "gwc/rest/seed/geor:roads.json",
    "gwc/rest/seed/prototype:roads.json",
    "gwc/rest/layers/geor:roads",
    "gwc/rest/layers/geor:roads.xml",
    "gwc/rest/layers/group.json",
    "gwc/rest/gridsets/EPSG:2154.xml",
    "gwc/rest/blobstores/files",
    "gwc/rest/diskquota",
    "gwc/rest/reload",
    "geor/gwc/rest/seed/roads.xml",
    "wfs",
    "ows",
    "geor/wfs",
    "geor/roads/ows",
    "wms",
    "styles/wfs",
    "kml/wfs",
    "a/b/c/wfs",
    "ogc/features/v1/collections/geor:roads/items/1",
    "geor/ogc/features/v1/collections/roads/items",
    "ogc/features/v1/collections/roads/items",
];

const QUERIES: [&str; 9] = [
    "",
    "",
    "",
    "?type=truncate&minX=",
    "?type=seed",
    "?kill_all=all",
    "?service=WFS&request=Transaction",
    "?service=WFS&request=LockFeature",
    "?service=WMS&request=PutStyles",
];

const CONTENT_TYPES: [Option<&str>; 7] = [
    None,
    Some("text/xml"),
    Some("application/xml; charset=UTF-8"),
    Some("application/json"),
    Some("application/x-www-form-urlencoded"),
    Some("application/soap+xml"),
    Some("application/geo+json"),
];

/// Orders to GeoWebCache.
const ORDERS: [&str; 20] = [
    "<truncateLayer><layerName>geor:roads</layerName></truncateLayer>",
    "<truncateAll/>",
    "<seedRequest><name>geor:roads</name><type>truncate</type></seedRequest>",
    "<?xml version=\"1.0\"?><seedRequest>\n<type> TRUNCATE </type></seedRequest>",
    "<seedRequest><type>reseed</type></seedRequest>",
    "<seedRequest><type>seed</type></seedRequest>",
    "<seedRequest><type>seed</type><type>truncate</type></seedRequest>",
    "<seedRequest><!--<type>seed</type>--><type><![CDATA[truncate]]></type></seedRequest>",
    "<seedRequest><type>seed</type><type a=\"b\">trunc&#97;te</type></seedRequest>",
    "<seedRequest><name>truncate</name><type>seed</type></seedRequest>",
    "{\"seedRequest\":{\"name\":\"geor:roads\",\"type\":\"truncate\"}}",
    "{\"seedRequest\": {\"type\": \"seed\", \"\\u0074ype\" : \"trunc\\u0061te\"}}",
    "{\"seedRequest\":{\"type\":\"reseed\"}}",
    "{\"seedRequest\":{\"name\":\"prototype:roads\",\"type\":\"seed\"}}",
    "threadCount=01&type=truncate&gridSetId=EPSG:4326&minX=&minY=",
    "type=seed&minX=",
    "minX=&type=tr%75ncate",
    "type%3Dreseed%26minX%3D",
    "kill_all=all",
    "",
];

const ACTIONS: [&str; 16] = [
    "<wfs:Delete typeName=\"geor:roads\"/>",
    "<wfs:Update typeName='geor:rivers'><wfs:Property><wfs:Name>a</wfs:Name></wfs:Property></wfs:Update>",
    "<wfs:Update typeName=\"roads\"/>",
    "<wfs:Delete typeName=\" geor&#58;roads \"/>",
    "<wfs:Delete x:typeName=\"urban:zoning\" xmlns:x=\"urn:x\"/>",
    "<wfs:Delete typeName=\"geor:roads,urban:zoning\"/>",
    "<wfs:Delete typeName=\"{http://geor}roads\"/>",
    "<wfs:Delete/>",
    "<wfs:Insert><geor:roads><geor:name>a</geor:name></geor:roads><urban:zoning/></wfs:Insert>",
    "<wfs:Insert><wfs:FeatureCollection><gml:featureMember><geor:roads/></gml:featureMember></wfs:FeatureCollection></wfs:Insert>",
    "<wfs:Insert><roads/></wfs:Insert>",
    "<wfs:Replace><geor:roads/><fes:Filter><geor:none/></fes:Filter></wfs:Replace>",
    "<wfs:Native vendorId=\"a\" safeToIgnore=\"true\"/>",
    "<wfs:LockId>GeoServer_1</wfs:LockId>",
    "<!--<wfs:Native/>--><?a <b> ?>",
    "<![CDATA[<wfs:Delete typeName=\"a:b\"/>]]>",
];

/// One request.
pub(crate) fn request() -> impl Strategy<Value = Request> {
    let body = prop_oneof![
        2 => select(&ORDERS[..]).prop_map(str::to_owned),
        3 => transaction(),
    ];
    let parts = (
        select(&METHODS[..]),
        path(),
        select(&QUERIES[..]),
        select(&CONTENT_TYPES[..]),
        prop_oneof![9 => Just(None), 1 => Just(Some("gzip".to_owned()))],
        body,
    );
    parts.prop_map(|(method, path, query, content_type, coding, body)| {
        let target = [b"/geoserver".as_slice(), &path, query.as_bytes()].concat();
        Request {
            method: method.to_owned(),
            target,
            content_type: content_type.map(str::to_owned),
            coding,
            body: body.into_bytes(),
            context: "/geoserver".to_owned(),
        }
    })
}

/// A path with its first slash, mostly in its plain spelling.
fn path() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![9 => Just(Spelling::Plain), 1 => spelling()];
    let slash = prop_oneof![20 => Just("/"), 1 => Just("//"), 1 => Just("/x/../")];
    let steps = prop::collection::vec((word, slash), 6);
    (select(&ADDRESSES[..]), steps).prop_map(|(address, steps)| {
        let mut path = Vec::new();
        for (name, (spelling, slash)) in address.split('/').zip(steps.iter().cycle()) {
            path.extend_from_slice(slash.as_bytes());
            path.extend(spelling.of(name));
        }
        path
    })
}

/// A Transaction, perhaps in an envelope.
fn transaction() -> impl Strategy<Value = String> {
    let actions = prop::collection::vec(select(&ACTIONS[..]), 0..4);
    let service = select(&["service=\"WFS\"", "service='wfs'", ""][..]);
    let name = select(&["wfs:Transaction", "wfs:Transaction", "wfs:LockFeature"][..]);
    let wrap = prop_oneof![8 => Just(false), 1 => Just(true)];
    let end = prop_oneof![16 => Just(true), 1 => Just(false)];
    (actions, service, name, wrap, end).prop_map(|(actions, service, name, wrap, end)| {
        let actions = actions.concat();
        let namespaces = "xmlns:wfs=\"urn:wfs\" xmlns:geor=\"urn:geor\" xmlns:urban=\"urn:urban\" \
             xmlns:gml=\"urn:gml\" xmlns:fes=\"urn:fes\"";
        let close = if end {
            format!("</{name}>")
        } else {
            String::new()
        };
        let document = format!("<{name} {service} version=\"1.1.0\" {namespaces}>{actions}{close}");
        if wrap {
            let soap = "http://www.w3.org/2003/05/soap-envelope";
            format!("<e:Envelope xmlns:e=\"{soap}\"><e:Body>{document}</e:Body></e:Envelope>")
        } else {
            document
        }
    })
}
