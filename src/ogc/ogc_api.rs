//! OGC API, below `/ogc`: the method decides between read and write, the address between
//! operations.

use super::interpretation::Interpretation;
use super::kvp::Kvp;
use super::pairs::guarded;
use super::path::{Path, path_len};
use super::processes::{self, Processes};
use super::word::Encoding;
use super::{RequestClass, RequestHead, Service, Span};

/// `tiles/{tileMatrixSet}/{tileMatrix}/{tileRow}/{tileCol}`.
const TILE_COORDINATES: usize = 4;

/// Interprets a request to `/ogc`. `from` is the index of the first path segment after it.
pub(super) fn reading(
    head: &RequestHead<'_>,
    path: &Path<'_>,
    from: usize,
    kvp: &Kvp,
) -> Interpretation {
    let method = head.method;
    let is_get = matches!(method, "GET" | "HEAD");
    // Begins with the segment `ogc` itself.
    let is_unbroken = path.is_unbroken(from.saturating_sub(1));
    let (class, reason) = if path.name(from).is("processes") {
        if is_get && is_unbroken && is_process_description(path, from) {
            (
                RequestClass::Feature,
                "the list of OGC API processes, or the description of one",
            )
        } else {
            (
                RequestClass::Process,
                "OGC API Processes: jobs and their results are in one GeoServer",
            )
        }
    } else if method == "POST" && is_unbroken && is_search(path, from) {
        (
            RequestClass::Feature,
            "a search whose filter is in the body (STAC, OGC API Features)",
        )
    } else if !is_get {
        (
            RequestClass::Transaction,
            "OGC API with a method that may change data",
        )
    } else if is_tile(path, from) {
        (RequestClass::Tile, "a tile of OGC API Tiles")
    } else if path.name(from).is("maps") && path.name(path.len() - 1).is("map") {
        (RequestClass::Map, "a map of OGC API Maps")
    } else if path.name(from).is("maps") && is_map_info(path) {
        (RequestClass::Info, "a question about a map of OGC API Maps")
    } else if path.name(from).is("coverages")
        && (from + 1..path.len()).any(|at| path.name(at).is("coverage"))
    {
        (RequestClass::Coverage, "a read of OGC API Coverages")
    } else {
        (RequestClass::Feature, "a read of an OGC API (/ogc)")
    };
    let reading = Interpretation {
        processes: processes_of(class, head, path, from),
        ..Interpretation::new(class, Some(Service::OgcApi), reason)
    };
    guarded(reading, kvp)
}

/// The processes that the address runs. The body of a POST is not read, and its inputs may run
/// others, so what a POST runs is undetermined.
fn processes_of(
    class: RequestClass,
    head: &RequestHead<'_>,
    path: &Path<'_>,
    from: usize,
) -> Processes {
    let is_at = |at: usize, name: &str| path.name(from + at).is(name);
    if class != RequestClass::Process {
        return Processes::NONE;
    }
    let is_plain = path.is_unbroken(from.saturating_sub(1)) && is_at(1, "v1");
    let is_job = is_at(2, "jobs") && path.len() - from <= 5;
    let is_execution = is_at(2, "processes") && path.len() - from == 5 && is_at(4, "execution");
    match head.method {
        "GET" | "HEAD" | "DELETE" if is_plain && is_job => Processes::NONE,
        _ if is_plain && is_execution => {
            let named = Processes::called(&path.name(from + 3));
            let query = head.target.get(path_len(head.target)..).unwrap_or_default();
            let is_all = matches!(head.method, "GET" | "HEAD")
                && !processes::refers_to_own_wps(query, Encoding::Form);
            if is_all {
                named
            } else {
                named.beside(Processes::UNDETERMINED)
            }
        }
        _ => Processes::UNDETERMINED,
    }
}

/// The job that the address `/ogc/processes/v1/jobs/{id}` and those below it are about.
pub(super) fn job(path: &Path<'_>, from: usize) -> Option<Span> {
    let is_at = |at: usize, name: &str| path.name(from + at).is(name);
    let is_job = is_at(0, "processes") && is_at(1, "v1") && is_at(2, "jobs");
    path.span(from + 3).filter(|_| is_job)
}

/// Matches `/ogc/processes/v1`, and `conformance`, `openapi`, `processes` and `processes/{id}`
/// below it: everything that `ProcessesService` answers without running a process or reading a job.
fn is_process_description(path: &Path<'_>, from: usize) -> bool {
    let name = path.name(from + 2);
    match path.len() - from {
        1 => true,
        2 => path.name(from + 1).is("v1"),
        3 => {
            let names: &[&[u8]] = &[
                b"conformance",
                b"openapi",
                b"openapi.json",
                b"openapi.yaml",
                b"processes",
            ];
            path.name(from + 1).is("v1") && names.contains(&name.as_bytes())
        }
        4 => path.name(from + 1).is("v1") && name.is("processes"),
        _ => false,
    }
}

/// Matches `/ogc/stac/v1/search` and `/ogc/features/v1/collections/{id}/search`: the two POST
/// requests that only read (`STACService.searchPost`, `FeatureService.searchFeatures`).
fn is_search(path: &Path<'_>, from: usize) -> bool {
    let is_at = |at: usize, name: &str| path.name(from + at).is(name);
    match path.len() - from {
        3 => is_at(0, "stac") && is_at(1, "v1") && is_at(2, "search"),
        5 => {
            is_at(0, "features") && is_at(1, "v1") && is_at(2, "collections") && is_at(4, "search")
        }
        _ => false,
    }
}

/// `map/info`, as `MapsService` has it below a collection's style.
fn is_map_info(path: &Path<'_>) -> bool {
    let is_at = |back: usize, name: &str| {
        path.len()
            .checked_sub(back)
            .is_some_and(|at| path.name(at).is(name))
    };
    is_at(1, "info") && is_at(2, "map")
}

fn is_tile(path: &Path<'_>, from: usize) -> bool {
    let coordinates_from = path.len().checked_sub(TILE_COORDINATES);
    coordinates_from.is_some_and(|at| at > from + 1 && path.name(at - 1).is("tiles"))
}
