//! The capabilities of WFS.

use std::fmt::Write;

use super::answer::Answer;
use super::capabilities_document::{Document, XML, answered, document, unless_current};
use super::dispatch::OwsCall;
use super::exception::{Dialect, escape};
use super::life::Life;
use super::request::Request;

const FORMATS: &str = "<ows:Parameter name=\"outputFormat\"><ows:AllowedValues>\
    <ows:Value>application/gml+xml; version=3.2</ows:Value><ows:Value>application/json</ows:Value></ows:AllowedValues></ows:Parameter>";
const WORLD: &str = "<ows:WGS84BoundingBox><ows:LowerCorner>-180 -90</ows:LowerCorner>\
    <ows:UpperCorner>180 90</ows:UpperCorner></ows:WGS84BoundingBox>";

pub(super) fn answer(life: &Life, request: &Request, call: &OwsCall<'_>) -> Answer {
    let document = document(life, request, &call.kvp, call.scope, "wfs");
    if let Some(refused) = unless_current(&call.kvp, call.dialect, document.number(), "WFS") {
        return refused;
    }
    match call.dialect {
        Dialect::Wfs10 => answered("text/xml", wfs_10(&document)),
        Dialect::Wfs11 => answered(
            "application/xml",
            wfs_ows(
                &document,
                "1.1.0",
                "http://www.opengis.net/wfs",
                "http://www.opengis.net/ows",
            ),
        ),
        _ => answered(
            "application/xml",
            wfs_ows(
                &document,
                "2.0.0",
                "http://www.opengis.net/wfs/2.0",
                "http://www.opengis.net/ows/1.1",
            ),
        ),
    }
}

fn wfs_10(document: &Document<'_>) -> String {
    let mut out = format!(
        "{XML}<WFS_Capabilities version=\"1.0.0\" updateSequence=\"{}\" xmlns=\"http://www.opengis.net/wfs\">\n\
         <Service><Name>WFS</Name><OnlineResource>{}</OnlineResource></Service>\n<FeatureTypeList>",
        document.number(),
        document.href()
    );
    append_feature_types(&mut out, document, "<SRS>EPSG:3857</SRS>", "");
    out.push_str("</FeatureTypeList></WFS_Capabilities>\n");
    out
}

fn wfs_ows(document: &Document<'_>, version: &str, wfs: &str, ows: &str) -> String {
    let (number, href) = (document.number(), document.href());
    let mut out = format!(
        "{XML}<wfs:WFS_Capabilities version=\"{version}\" updateSequence=\"{number}\" xmlns=\"{wfs}\" xmlns:wfs=\"{wfs}\" \
         xmlns:ows=\"{ows}\" xmlns:xlink=\"http://www.w3.org/1999/xlink\">\n\
         <ows:ServiceIdentification><ows:ServiceType>WFS</ows:ServiceType><ows:ServiceTypeVersion>{version}</ows:ServiceTypeVersion>\
         </ows:ServiceIdentification>\n<ows:OperationsMetadata>"
    );
    for operation in [
        "GetCapabilities",
        "DescribeFeatureType",
        "GetFeature",
        "LockFeature",
        "GetFeatureWithLock",
        "Transaction",
    ] {
        let parameters = match operation {
            "GetFeature" => FORMATS,
            _ => "",
        };
        write!(
            out,
            "<ows:Operation name=\"{operation}\"><ows:DCP><ows:HTTP><ows:Get xlink:href=\"{href}\"/><ows:Post xlink:href=\"{href}\"/>\
             </ows:HTTP></ows:DCP>{parameters}</ows:Operation>"
        )
        .expect("a String takes everything written to it");
    }
    out.push_str("</ows:OperationsMetadata>\n<FeatureTypeList>\n");
    let crs = match version {
        "1.1.0" => "<DefaultSRS>urn:x-ogc:def:crs:EPSG:3857</DefaultSRS>",
        _ => "<DefaultCRS>urn:ogc:def:crs:EPSG::3857</DefaultCRS>",
    };
    append_feature_types(&mut out, document, crs, WORLD);
    out.push_str("</FeatureTypeList></wfs:WFS_Capabilities>\n");
    out
}

fn append_feature_types(out: &mut String, document: &Document<'_>, crs: &str, world: &str) {
    for (name, layer) in document.vectors() {
        let (name, title) = (escape(name), escape(&layer.title));
        let (workspace, _) = name.split_once(':').unwrap_or_default();
        writeln!(
            out,
            "<FeatureType><Name xmlns:{workspace}=\"http://localhost/{workspace}\">{name}</Name><Title>{title}</Title>\
             {crs}{world}</FeatureType>"
        )
        .expect("a String takes everything written to it");
    }
}
