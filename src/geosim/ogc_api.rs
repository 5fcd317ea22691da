//! OGC API: Features with its collections and items, the writes of Styles, and the STAC of
//! [`super::stac`].

use serde_json::{Value, json};

use super::answer::Answer;
use super::data_directory::{Contents, Edit, Layer, LayerKind};
use super::features::{Collection, Encoding};
use super::kvp::Kvp;
use super::life::Life;
use super::ows::base_url;
use super::request::Request;
use super::stac;

const JSON: &str = "application/json";
const GEO_JSON: &str = "application/geo+json";
const DEFAULT_LIMIT: u32 = 10;

pub(super) fn answer(life: &Life, request: &Request, path: &str) -> Answer {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if let ["stac", "v1", inside @ ..] = &parts[..] {
        return stac::answer(request, inside);
    }
    if !matches!(request.method(), "GET" | "HEAD") {
        life.note_write(&format!("{} /ogc{path}", request.method()), request);
        if let ["styles", "v1", "styles", style] = parts[..] {
            return change_style(life, request, style);
        }
        return Answer::empty(if request.method() == "POST" { 201 } else { 204 });
    }
    let base = format!("{}/ogc/features/v1", base_url(request));
    let contents = life.catalog().contents;
    match parts[..] {
        ["features", "v1"] => ok(landing_page(&base)),
        ["features", "v1", "conformance"] => ok(json!({"conformsTo": CONFORMANCE})),
        ["features", "v1", "collections"] => {
            let collections: Vec<Value> = vectors(&contents)
                .map(|(name, layer)| collection(&base, name, layer))
                .collect();
            let links = [link(&format!("{base}/collections"), "self", JSON)];
            ok(json!({"links": links, "collections": collections}))
        }
        ["features", "v1", "collections", name] => match vector(&contents, name) {
            Some((name, layer)) => ok(collection(&base, name, layer)),
            None => not_found(name),
        },
        ["features", "v1", "collections", name, "items"] => items(life, &contents, request, name),
        _ => not_found(path),
    }
}

const CONFORMANCE: [&str; 3] = [
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/oas30",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
];

fn ok(document: Value) -> Answer {
    Answer::ok(JSON, document.to_string())
}

fn link(href: &str, rel: &str, kind: &str) -> Value {
    json!({"href": href, "rel": rel, "type": kind})
}

fn landing_page(base: &str) -> Value {
    json!({"title": "GeoServer Features services", "description": "", "links": [
        link(base, "self", JSON),
        link(&format!("{base}/conformance"), "conformance", JSON),
        link(&format!("{base}/collections"), "data", JSON),
    ]})
}

fn vectors(contents: &Contents) -> impl Iterator<Item = (&String, &Layer)> {
    let is_vector = |layer: &Layer| matches!(layer.kind, LayerKind::Vector { .. });
    (contents.layers.iter()).filter(move |(_, layer)| is_vector(layer))
}

fn vector<'a>(contents: &'a Contents, name: &str) -> Option<(&'a str, &'a Layer)> {
    contents
        .layer(name)
        .filter(|(_, layer)| matches!(layer.kind, LayerKind::Vector { .. }))
}

fn collection(base: &str, name: &str, layer: &Layer) -> Value {
    let here = format!("{base}/collections/{name}");
    json!({
        "id": name, "title": layer.title, "itemType": "feature",
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]], "crs": "http://www.opengis.net/def/crs/OGC/1.3/CRS84"}},
        "crs": ["http://www.opengis.net/def/crs/OGC/1.3/CRS84"],
        "links": [link(&here, "self", JSON), link(&format!("{here}/items"), "items", GEO_JSON)],
    })
}

fn items(life: &Life, contents: &Contents, request: &Request, name: &str) -> Answer {
    let Some((name, layer)) = vector(contents, name) else {
        return not_found(name);
    };
    let matched = life.data.features_of(name, layer);
    let kvp = Kvp::new(request.query(), b"");
    let start = u64::from(kvp.number("startindex").unwrap_or(0)).min(matched);
    let limit = u64::from(kvp.number("limit").unwrap_or(DEFAULT_LIMIT));
    let returned = limit.min(matched - start);
    let collection = Collection::new(name, matched, start, returned, None, Encoding::GeoJson);
    Answer::stream(GEO_JSON, collection)
}

/// A style of the catalog, as REST changes it.
fn change_style(life: &Life, request: &Request, style: &str) -> Answer {
    if request.method() == "DELETE" {
        life.edit(&Edit::RemoveStyle(style.to_owned()));
    } else {
        life.edit(&Edit::PutStyle(style.to_owned()));
    }
    Answer::empty(204)
}

fn not_found(what: &str) -> Answer {
    Answer::new(
        404,
        JSON,
        json!({"type": "NotFound", "title": format!("Unknown resource {what}")}).to_string(),
    )
}
