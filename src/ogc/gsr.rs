//! ArcGIS REST, below `/gsr`: the community extension GSR.

use super::interpretation::Interpretation;
use super::kvp::Kvp;
use super::pairs::guarded;
use super::path::Path;
use super::{RequestClass, Service};

/// Interprets a request to `/gsr`. `from` is the index of the first path segment after it.
///
/// All edits use POST (`FeatureLayerController`), with one exception: any method at all deletes a
/// relationship at `/gsr/relationships/{workspace}/delete/{id}` (`RelationshipController`).
pub(super) fn reading(method: &str, path: &Path<'_>, from: usize, kvp: &Kvp) -> Interpretation {
    let last = path.name(path.len() - 1);
    let (class, reason) = if !matches!(method, "GET" | "HEAD") {
        (
            RequestClass::Transaction,
            "ArcGIS REST (/gsr) with a method that may change data",
        )
    } else if path.name(from).is("relationships") {
        if names_delete(path, from + 1) {
            (
                RequestClass::Transaction,
                "the address deletes a relationship, whatever the method (/gsr/relationships)",
            )
        } else {
            (
                RequestClass::Feature,
                "a read of relationships (/gsr/relationships)",
            )
        }
    } else if !path.name(from).is("services") {
        (
            RequestClass::Unknown,
            "nothing of GeoServer's ArcGIS REST is known at this address",
        )
    } else {
        match last.as_bytes() {
            b"export" | b"generateKml" => {
                (RequestClass::Map, "a map of ArcGIS REST (/gsr/services)")
            }
            b"identify" | b"legend" => (
                RequestClass::Info,
                "a question about a map of ArcGIS REST (/gsr/services)",
            ),
            _ => (
                RequestClass::Feature,
                "a read of ArcGIS REST (/gsr/services)",
            ),
        }
    };
    guarded(Interpretation::new(class, Some(Service::Gsr), reason), kvp)
}

/// True if a segment at or after `from` is `delete`, in any case.
fn names_delete(path: &Path<'_>, from: usize) -> bool {
    (from..path.len())
        .filter_map(|at| path.span(at))
        .any(|span| path.folded(span).is_some_and(|name| name.is("delete")))
}
