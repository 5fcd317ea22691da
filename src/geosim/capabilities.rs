//! The capabilities of WMS, of the tile cache's own WMS, and of services without layers.

use std::fmt::Write;

use super::answer::Answer;
use super::capabilities_document::{Document, XML, answered, document, unless_current};
use super::data_directory::Layer;
use super::dispatch::{OwsCall, Scope};
use super::exception::{Dialect, escape};
use super::kvp::Kvp;
use super::life::Life;
use super::request::Request;

pub(super) fn wms(life: &Life, request: &Request, call: &OwsCall<'_>) -> Answer {
    let document = document(life, request, &call.kvp, call.scope, "wms");
    if let Some(refused) = unless_current(&call.kvp, call.dialect, document.number(), "WMS") {
        return refused;
    }
    let is_wms111 = call.dialect == Dialect::Wms111;
    let mut text = if is_wms111 {
        wms_111(&document)
    } else {
        wms_130(&document)
    };
    if life.controls.hides_number() {
        text = text.replace(&format!(" updateSequence=\"{}\"", document.number()), "");
    }
    answered(
        if is_wms111 {
            "application/vnd.ogc.wms_xml"
        } else {
            "text/xml"
        },
        text,
    )
}

fn wms_130(document: &Document<'_>) -> String {
    let (number, href) = (document.number(), document.href());
    let get = format!(
        "<DCPType><HTTP><Get><OnlineResource xlink:type=\"simple\" xlink:href=\"{href}SERVICE=WMS&amp;\"/></Get></HTTP></DCPType>"
    );
    let mut out = format!(
        "{XML}<WMS_Capabilities version=\"1.3.0\" updateSequence=\"{number}\" xmlns=\"http://www.opengis.net/wms\" \
         xmlns:xlink=\"http://www.w3.org/1999/xlink\">\n<Service><Name>WMS</Name><Title>GeoServer Web Map Service</Title>\
         <OnlineResource xlink:type=\"simple\" xlink:href=\"{href}\"/></Service>\n<Capability><Request>\
         <GetCapabilities><Format>text/xml</Format>{get}</GetCapabilities>\
         <GetMap><Format>image/png</Format>{get}</GetMap>\
         <GetFeatureInfo><Format>application/json</Format>{get}</GetFeatureInfo></Request>\
         <Exception><Format>XML</Format><Format>INIMAGE</Format><Format>BLANK</Format></Exception>\n\
         <Layer><Title>GeoServer Web Map Service</Title><CRS>EPSG:4326</CRS><CRS>EPSG:3857</CRS>{WORLD}\n"
    );
    for (name, layer) in document.layers() {
        append_wms_layer(&mut out, name, layer, WORLD);
    }
    out.push_str("</Layer></Capability></WMS_Capabilities>\n");
    out
}

const WORLD: &str = "<EX_GeographicBoundingBox><westBoundLongitude>-180</westBoundLongitude>\
    <eastBoundLongitude>180</eastBoundLongitude><southBoundLatitude>-90</southBoundLatitude>\
    <northBoundLatitude>90</northBoundLatitude></EX_GeographicBoundingBox>\
    <BoundingBox CRS=\"EPSG:3857\" minx=\"-20037508\" miny=\"-20037508\" maxx=\"20037508\" maxy=\"20037508\"/>";
const WORLD_111: &str = "<LatLonBoundingBox minx=\"-180\" miny=\"-90\" maxx=\"180\" maxy=\"90\"/>\
    <BoundingBox SRS=\"EPSG:3857\" minx=\"-20037508\" miny=\"-20037508\" maxx=\"20037508\" maxy=\"20037508\"/>";

fn append_wms_layer(out: &mut String, name: &str, layer: &Layer, world: &str) {
    let (name, title) = (escape(name), escape(&layer.title));
    writeln!(
        out,
        "<Layer queryable=\"1\"><Name>{name}</Name><Title>{title}</Title>{world}</Layer>"
    )
    .expect("a String takes everything written to it");
}

fn wms_111(document: &Document<'_>) -> String {
    let (number, href, base) = (document.number(), document.href(), &document.base);
    let get = format!(
        "<DCPType><HTTP><Get><OnlineResource xmlns:xlink=\"http://www.w3.org/1999/xlink\" xlink:type=\"simple\" \
         xlink:href=\"{href}SERVICE=WMS&amp;\"/></Get></HTTP></DCPType>"
    );
    let mut out = format!(
        "{XML}<!DOCTYPE WMT_MS_Capabilities SYSTEM \"{base}/schemas/wms/1.1.1/WMS_MS_Capabilities.dtd\">\n\
         <WMT_MS_Capabilities version=\"1.1.1\" updateSequence=\"{number}\">\n<Service><Name>OGC:WMS</Name>\
         <Title>GeoServer Web Map Service</Title><OnlineResource xmlns:xlink=\"http://www.w3.org/1999/xlink\" \
         xlink:type=\"simple\" xlink:href=\"{href}\"/></Service>\n<Capability><Request>\
         <GetCapabilities><Format>application/vnd.ogc.wms_xml</Format>{get}</GetCapabilities>\
         <GetMap><Format>image/png</Format>{get}</GetMap>\
         <GetFeatureInfo><Format>application/json</Format>{get}</GetFeatureInfo></Request>\
         <Exception><Format>application/vnd.ogc.se_xml</Format></Exception>\n\
         <Layer><Title>GeoServer Web Map Service</Title><SRS>EPSG:4326</SRS><SRS>EPSG:3857</SRS>{WORLD_111}\n"
    );
    for (name, layer) in document.layers() {
        append_wms_layer(&mut out, name, layer, WORLD_111);
    }
    out.push_str("</Layer></Capability></WMT_MS_Capabilities>\n");
    out
}

/// The tile cache's own WMS.
pub(super) fn tiled_wms(life: &Life, request: &Request, kvp: &Kvp<'_>, scope: Scope<'_>) -> Answer {
    answered(
        "application/vnd.ogc.wms_xml",
        wms_111(&document(life, request, kvp, scope, "gwc/service/wms")),
    )
}
