//! Capabilities documents: what services have, by the catalog in memory, with the `updateSequence`
//! it has.

use std::fmt::Write;

use super::answer::Answer;
use super::data_directory::{Layer, LayerKind};
use super::dispatch::{OwsCall, Scope};
use super::exception::{Dialect, ServiceException, escape};
use super::kvp::Kvp;
use super::life::{Catalog, Life};
use super::ows::base_url;
use super::request::Request;

const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// The parts of a document.
struct Document<'a> {
    catalog: Catalog,
    base: String,
    scope: Scope<'a>,
    namespace: Option<std::borrow::Cow<'a, str>>,
    service: &'static str,
}

impl Document<'_> {
    /// The layers that a service lists: those of the scope, and of `namespace=` (none, for a prefix
    /// that does not exist).
    fn layers(&self) -> impl Iterator<Item = (&str, &Layer)> {
        let wanted = [self.scope.workspace, self.namespace.as_deref()];
        self.catalog
            .contents
            .layers
            .iter()
            .map(|(name, layer)| (name.as_str(), layer))
            .filter(move |(name, _)| {
                let workspace = name.split(':').next();
                wanted
                    .iter()
                    .flatten()
                    .all(|wanted| workspace == Some(*wanted))
                    && self
                        .scope
                        .layer
                        .is_none_or(|layer| name.rsplit(':').next() == Some(layer))
            })
    }

    fn vectors(&self) -> impl Iterator<Item = (&str, &Layer)> {
        self.layers()
            .filter(|(_, layer)| matches!(layer.kind, LayerKind::Vector { .. }))
    }

    fn rasters(&self) -> impl Iterator<Item = (&str, &Layer)> {
        self.layers()
            .filter(|(_, layer)| layer.kind == LayerKind::Raster)
    }

    fn number(&self) -> u64 {
        self.catalog.update_sequence
    }

    /// Returns the address of the service.
    fn href(&self) -> String {
        let scope: String = [self.scope.workspace, self.scope.layer]
            .into_iter()
            .flatten()
            .map(|part| format!("/{part}"))
            .collect();
        escape(&format!("{}{scope}/{}?", self.base, self.service)).into_owned()
    }
}

fn document<'a>(
    life: &Life,
    request: &Request,
    kvp: &Kvp<'a>,
    scope: Scope<'a>,
    service: &'static str,
) -> Document<'a> {
    Document {
        catalog: life.catalog(),
        base: base_url(request),
        scope,
        namespace: kvp.get("namespace"),
        service,
    }
}

/// The conditional form: an exception when the client's number is current, or from the future.
fn unless_current(kvp: &Kvp<'_>, dialect: Dialect, number: u64, service: &str) -> Option<Answer> {
    let asked: u64 = kvp.get("updatesequence")?.parse().ok()?;
    let exception = match asked.cmp(&number) {
        std::cmp::Ordering::Less => return None,
        std::cmp::Ordering::Equal => ServiceException::new(
            "CurrentUpdateSequence",
            "",
            format!("{service} capabilities document is current (updateSequence = {number})"),
        ),
        std::cmp::Ordering::Greater => ServiceException::new(
            "InvalidUpdateSequence",
            "",
            format!(
                "Client supplied an updateSequence ({asked}) greater than the server's ({number})"
            ),
        ),
    };
    Some(exception.answer(dialect, kvp))
}

fn answered(content_type: &'static str, body: String) -> Answer {
    Answer::ok(content_type, body).with("Cache-Control", "max-age=0, must-revalidate")
}

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
         <GetMap><Format>image/png</Format>{get}</GetMap></Request>\
         <Exception><Format>application/vnd.ogc.se_xml</Format></Exception>\n\
         <Layer><Title>GeoServer Web Map Service</Title><SRS>EPSG:4326</SRS><SRS>EPSG:3857</SRS>{WORLD_111}\n"
    );
    for (name, layer) in document.layers() {
        append_wms_layer(&mut out, name, layer, WORLD_111);
    }
    out.push_str("</Layer></Capability></WMT_MS_Capabilities>\n");
    out
}

pub(super) fn wfs(life: &Life, request: &Request, call: &OwsCall<'_>) -> Answer {
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
    append_feature_types(&mut out, document);
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
        write!(
            out,
            "<ows:Operation name=\"{operation}\"><ows:DCP><ows:HTTP><ows:Get xlink:href=\"{href}\"/><ows:Post xlink:href=\"{href}\"/>\
             </ows:HTTP></ows:DCP></ows:Operation>"
        )
        .expect("a String takes everything written to it");
    }
    out.push_str("</ows:OperationsMetadata>\n<FeatureTypeList>\n");
    append_feature_types(&mut out, document);
    out.push_str("</FeatureTypeList></wfs:WFS_Capabilities>\n");
    out
}

fn append_feature_types(out: &mut String, document: &Document<'_>) {
    for (name, layer) in document.vectors() {
        let (name, title) = (escape(name), escape(&layer.title));
        writeln!(out, "<FeatureType><Name>{name}</Name><Title>{title}</Title><DefaultCRS>urn:ogc:def:crs:EPSG::3857</DefaultCRS></FeatureType>")
            .expect("a String takes everything written to it");
    }
}

pub(super) fn wcs(life: &Life, request: &Request, call: &OwsCall<'_>) -> Answer {
    let document = document(life, request, &call.kvp, call.scope, "wcs");
    if let Some(refused) = unless_current(&call.kvp, call.dialect, document.number(), "WCS") {
        return refused;
    }
    let (root, namespace, entry, identifier) = match call.dialect {
        Dialect::Wcs10 => (
            "wcs:WCS_Capabilities",
            "http://www.opengis.net/wcs",
            "wcs:CoverageOfferingBrief",
            "wcs:name",
        ),
        Dialect::Wcs11 => (
            "wcs:Capabilities",
            "http://www.opengis.net/wcs/1.1.1",
            "wcs:CoverageSummary",
            "wcs:Identifier",
        ),
        _ => (
            "wcs:Capabilities",
            "http://www.opengis.net/wcs/2.0",
            "wcs:CoverageSummary",
            "wcs:CoverageId",
        ),
    };
    let mut out = format!(
        "{XML}<{root} version=\"{}\" updateSequence=\"{}\" xmlns:wcs=\"{namespace}\">\n<wcs:Contents>",
        call.dialect.version(),
        document.number()
    );
    for (name, _) in document.rasters() {
        // WCS 2.0 writes `workspace__coverage`, because a coverage id must be an XML name.
        let id = if call.dialect == Dialect::Wcs20 {
            name.replace(':', "__")
        } else {
            name.to_owned()
        };
        writeln!(
            out,
            "<{entry}><{identifier}>{}</{identifier}></{entry}>",
            escape(&id)
        )
        .expect("a String takes everything written to it");
    }
    writeln!(out, "</wcs:Contents></{root}>").expect("a String takes everything written to it");
    answered("application/xml", out)
}

/// WMTS, which belongs to the tile cache: no conditional form, and its own names.
pub(super) fn wmts(life: &Life, request: &Request, kvp: &Kvp<'_>, scope: Scope<'_>) -> Answer {
    let document = document(life, request, kvp, scope, "gwc/service/wmts");
    let mut out = format!(
        "{XML}<Capabilities xmlns=\"http://www.opengis.net/wmts/1.0\" xmlns:ows=\"http://www.opengis.net/ows/1.1\" \
         xmlns:xlink=\"http://www.w3.org/1999/xlink\" version=\"1.0.0\" updateSequence=\"{}\">\n\
         <ows:OperationsMetadata><ows:Operation name=\"GetTile\"><ows:DCP><ows:HTTP><ows:Get xlink:href=\"{}\"/></ows:HTTP></ows:DCP>\
         </ows:Operation></ows:OperationsMetadata>\n<Contents>\n",
        document.number(),
        document.href()
    );
    for (name, layer) in document.layers() {
        writeln!(
            out,
            "<Layer><ows:Title>{}</ows:Title><ows:Identifier>{}</ows:Identifier><Format>image/png</Format><TileMatrixSetLink>\
             <TileMatrixSet>EPSG:900913</TileMatrixSet></TileMatrixSetLink></Layer>",
            escape(&layer.title),
            escape(name)
        )
        .expect("a String takes everything written to it");
    }
    out.push_str("</Contents></Capabilities>\n");
    answered("text/xml", out)
}

/// The tile cache's own WMS.
pub(super) fn tiled_wms(life: &Life, request: &Request, kvp: &Kvp<'_>, scope: Scope<'_>) -> Answer {
    answered(
        "application/vnd.ogc.wms_xml",
        wms_111(&document(life, request, kvp, scope, "gwc/service/wms")),
    )
}

/// Services that list processes and record types instead of layers.
pub(super) fn without_layers(life: &Life, root: &str, namespace: &str, version: &str) -> Answer {
    let number = life.catalog().update_sequence;
    answered(
        "application/xml",
        format!(
            "{XML}<{root} xmlns:{}=\"{namespace}\" version=\"{version}\" updateSequence=\"{number}\"/>\n",
            prefix_of(root)
        ),
    )
}

fn prefix_of(qualified: &str) -> &str {
    qualified.split(':').next().unwrap_or_default()
}
