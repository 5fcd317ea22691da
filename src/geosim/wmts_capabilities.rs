//! The capabilities of WMTS, which belongs to the tile cache: no conditional form, and its own
//! names.

use std::fmt::Write;

use super::answer::Answer;
use super::capabilities_document::{XML, answered, document};
use super::dispatch::Scope;
use super::exception::escape;
use super::kvp::Kvp;
use super::life::Life;
use super::request::Request;
use super::tile_address::HALF_WORLD;

const INFALLIBLE: &str = "a String takes everything written to it";
/// The grid of web maps, by the name that GeoWebCache gives it.
const GRID: &str = "EPSG:900913";
/// Zoom levels of the grid in the document.
const LEVELS: u32 = 19;
const TILE: u32 = 256;
/// Metres of a pixel of the standard, by which it defines scales.
const STANDARD_PIXEL: f64 = 0.00028;

pub(super) fn answer(life: &Life, request: &Request, kvp: &Kvp<'_>, scope: Scope<'_>) -> Answer {
    let document = document(life, request, kvp, scope, "gwc/service/wmts");
    let (number, href) = (document.number(), document.href());
    let template = escape(&document.base).into_owned() + "/gwc/service/wmts/rest";
    let get = |operation: &str| {
        format!(
            "<ows:Operation name=\"{operation}\"><ows:DCP><ows:HTTP><ows:Get xlink:href=\"{href}\"><ows:Constraint name=\"GetEncoding\">\
             <ows:AllowedValues><ows:Value>KVP</ows:Value></ows:AllowedValues></ows:Constraint></ows:Get></ows:HTTP></ows:DCP></ows:Operation>"
        )
    };
    let mut out = format!(
        "{XML}<Capabilities xmlns=\"http://www.opengis.net/wmts/1.0\" xmlns:ows=\"http://www.opengis.net/ows/1.1\" \
         xmlns:xlink=\"http://www.w3.org/1999/xlink\" version=\"1.0.0\" updateSequence=\"{number}\">\n\
         <ows:ServiceIdentification><ows:Title>Web Map Tile Service - GeoWebCache</ows:Title><ows:ServiceType>OGC WMTS</ows:ServiceType>\
         <ows:ServiceTypeVersion>1.0.0</ows:ServiceTypeVersion></ows:ServiceIdentification>\n\
         <ows:OperationsMetadata>{}{}{}</ows:OperationsMetadata>\n<Contents>\n",
        get("GetCapabilities"),
        get("GetTile"),
        get("GetFeatureInfo"),
    );
    for (name, layer) in document.layers() {
        let (name, title) = (escape(name), escape(&layer.title));
        writeln!(
            out,
            "<Layer><ows:Title>{title}</ows:Title><ows:WGS84BoundingBox><ows:LowerCorner>-180 -85</ows:LowerCorner>\
             <ows:UpperCorner>180 85</ows:UpperCorner></ows:WGS84BoundingBox><ows:Identifier>{name}</ows:Identifier>\
             <Style isDefault=\"true\"><ows:Identifier></ows:Identifier></Style><Format>image/png</Format>\
             <TileMatrixSetLink><TileMatrixSet>{GRID}</TileMatrixSet></TileMatrixSetLink>\
             <ResourceURL format=\"image/png\" resourceType=\"tile\" template=\"{template}/{name}/{{style}}/{{TileMatrixSet}}/{{TileMatrix}}/\
             {{TileRow}}/{{TileCol}}?format=image/png\"/></Layer>"
        )
        .expect(INFALLIBLE);
    }
    append_grid(&mut out);
    out.push_str("</Contents></Capabilities>\n");
    answered("text/xml", out)
}

fn append_grid(out: &mut String) {
    write!(
        out,
        "<TileMatrixSet><ows:Identifier>{GRID}</ows:Identifier><ows:SupportedCRS>urn:ogc:def:crs:EPSG::900913</ows:SupportedCRS>"
    )
    .expect(INFALLIBLE);
    for level in 0..LEVELS {
        let tiles = 1_u32 << level;
        let scale = 2.0 * HALF_WORLD / f64::from(tiles * TILE) / STANDARD_PIXEL;
        write!(
            out,
            "<TileMatrix><ows:Identifier>{GRID}:{level}</ows:Identifier><ScaleDenominator>{scale}</ScaleDenominator>\
             <TopLeftCorner>-{HALF_WORLD} {HALF_WORLD}</TopLeftCorner><TileWidth>{TILE}</TileWidth><TileHeight>{TILE}</TileHeight>\
             <MatrixWidth>{tiles}</MatrixWidth><MatrixHeight>{tiles}</MatrixHeight></TileMatrix>"
        )
        .expect(INFALLIBLE);
    }
    out.push_str("</TileMatrixSet>\n");
}
