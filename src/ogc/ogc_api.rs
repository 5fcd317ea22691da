//! OGC API, below `/ogc`: the method says whether it reads, the address what.

use super::kvp::Kvp;
use super::pairs::guarded;
use super::path::Path;
use super::reading::Reading;
use super::{RequestClass, Service};

/// `tiles/{tileMatrixSet}/{tileMatrix}/{tileRow}/{tileCol}`.
const TILE_COORDINATES: usize = 4;

/// The reading of a request whose segments from `from` on follow `/ogc`.
pub(super) fn reading(method: &str, path: &Path<'_>, from: usize, kvp: &Kvp) -> Reading {
    let (class, reason) = if path.name(from).is("processes") {
        (RequestClass::Process, "OGC API Processes: jobs and their results are in one GeoServer")
    } else if !matches!(method, "GET" | "HEAD") {
        (RequestClass::Transaction, "OGC API with a method that may change data")
    } else if is_tile(path, from) {
        (RequestClass::Tile, "a tile of OGC API Tiles")
    } else if path.name(from).is("maps") && path.name(path.len() - 1).is("map") {
        (RequestClass::Map, "a map of OGC API Maps")
    } else if path.name(from).is("coverages") {
        (RequestClass::Coverage, "a read of OGC API Coverages")
    } else {
        (RequestClass::Feature, "a read of an OGC API (/ogc)")
    };
    guarded(Reading::new(class, Some(Service::OgcApi), reason), kvp)
}

fn is_tile(path: &Path<'_>, from: usize) -> bool {
    let coordinates_from = path.len().checked_sub(TILE_COORDINATES);
    coordinates_from.is_some_and(|at| at > from + 1 && path.name(at - 1).is("tiles"))
}
