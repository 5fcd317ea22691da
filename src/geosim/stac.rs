//! A STAC with one collection of scenes, as GeoServer's community module serves it: searched by GET
//! and by POST, a page at a time.

use serde_json::{Value, json};

use super::answer::Answer;
use super::kvp::Kvp;
use super::ows::base_url;
use super::request::Request;

const JSON: &str = "application/json";
const GEO_JSON: &str = "application/geo+json";
const VERSION: &str = "1.0.0";
const COLLECTION: &str = "scenes";
/// Scenes in the collection.
const SCENES: u64 = 60;
const DEFAULT_LIMIT: u64 = 10;

const CONFORMANCE: [&str; 6] = [
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
];

pub(super) fn answer(request: &Request, path: &[&str]) -> Answer {
    let base = format!("{}/ogc/stac/v1", base_url(request));
    let is_read = matches!(request.method(), "GET" | "HEAD");
    match (path, request.method()) {
        ([], _) if is_read => Answer::ok(JSON, landing_page(&base).to_string()),
        (["conformance"], _) if is_read => {
            Answer::ok(JSON, json!({"conformsTo": CONFORMANCE}).to_string())
        }
        (["collections"], _) if is_read => Answer::ok(
            JSON,
            json!({"collections": [collection(&base)], "links": [link(&format!("{base}/collections"), "self", JSON)]})
                .to_string(),
        ),
        (["collections", COLLECTION], _) if is_read => {
            Answer::ok(JSON, collection(&base).to_string())
        }
        (["collections", COLLECTION, "items"], _) if is_read => {
            search(&base, &Search::in_query(request))
        }
        (["search"], "POST") => match Search::in_body(request) {
            Some(requested) => search(&base, &requested),
            None => Answer::new(400, JSON, json!({"type": "InvalidParameterValue"}).to_string()),
        },
        (["search"], _) if is_read => search(&base, &Search::in_query(request)),
        _ => Answer::new(404, JSON, json!({"type": "NotFound"}).to_string()),
    }
}

fn link(href: &str, rel: &str, kind: &str) -> Value {
    json!({"href": href, "rel": rel, "type": kind})
}

fn landing_page(base: &str) -> Value {
    let mut by_post = link(&format!("{base}/search"), "search", GEO_JSON);
    by_post["method"] = json!("POST");
    json!({
        "type": "Catalog", "stac_version": VERSION, "id": "GeoServer", "title": "SpatioTemporal Asset Catalog",
        "description": "Scenes", "conformsTo": CONFORMANCE, "links": [
            link(base, "self", JSON), link(base, "root", JSON), link(&format!("{base}/conformance"), "conformance", JSON),
            link(&format!("{base}/collections"), "data", JSON), link(&format!("{base}/search"), "search", GEO_JSON), by_post,
            link(&format!("{base}/collections/{COLLECTION}"), "child", JSON),
        ],
    })
}

fn collection(base: &str) -> Value {
    let here = format!("{base}/collections/{COLLECTION}");
    json!({
        "type": "Collection", "stac_version": VERSION, "id": COLLECTION, "description": "Scenes", "license": "proprietary",
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [["2026-01-01T00:00:00Z", null]]}},
        "links": [link(&here, "self", JSON), link(base, "root", JSON), link(base, "parent", JSON),
                  link(&format!("{here}/items"), "items", GEO_JSON)],
    })
}

/// The page of a search.
struct Search {
    start: u64,
    limit: u64,
    /// The search as it was posted; `None` for one in the query.
    posted: Option<Value>,
}

impl Search {
    fn in_query(request: &Request) -> Self {
        let kvp = Kvp::new(request.query(), b"");
        Self {
            start: kvp.number("startindex").map_or(0, u64::from),
            limit: kvp.number("limit").map_or(DEFAULT_LIMIT, u64::from),
            posted: None,
        }
    }

    fn in_body(request: &Request) -> Option<Self> {
        let body: Value = serde_json::from_slice(&request.body().start).ok()?;
        Some(Self {
            start: body["startIndex"].as_u64().unwrap_or(0),
            limit: body["limit"].as_u64().unwrap_or(DEFAULT_LIMIT),
            posted: Some(body),
        })
    }

    /// The link to the page that begins with the scene `start`.
    fn link_to(&self, base: &str, start: u64) -> Value {
        let Some(posted) = &self.posted else {
            let limit = self.limit;
            let href = format!("{base}/search?startIndex={start}&limit={limit}");
            return link(&href, "next", GEO_JSON);
        };
        let mut body = posted.clone();
        body["startIndex"] = json!(start);
        let mut next = link(&format!("{base}/search"), "next", GEO_JSON);
        (next["method"], next["body"], next["merge"]) = (json!("POST"), body, json!(true));
        next
    }
}

/// A page of the scenes. The double searches nothing: all of them are found.
fn search(base: &str, requested: &Search) -> Answer {
    let start = requested.start.min(SCENES);
    let end = start.saturating_add(requested.limit).min(SCENES);
    let scenes: Vec<Value> = (start..end).map(|number| scene(base, number)).collect();
    let mut links = vec![link(&format!("{base}/search"), "self", GEO_JSON)];
    if end < SCENES {
        links.push(requested.link_to(base, end));
    }
    let found = json!({
        "type": "FeatureCollection", "stac_version": VERSION, "features": scenes, "links": links,
        "numberMatched": SCENES, "numberReturned": end - start,
    });
    Answer::ok(GEO_JSON, found.to_string())
}

fn scene(base: &str, number: u64) -> Value {
    let collection = format!("{base}/collections/{COLLECTION}");
    json!({
        "type": "Feature", "stac_version": VERSION, "stac_extensions": [], "id": format!("scene.{number}"),
        "collection": COLLECTION, "bbox": [0, 45, 1, 46], "assets": {},
        "geometry": {"type": "Polygon", "coordinates": [[[0, 45], [1, 45], [1, 46], [0, 46], [0, 45]]]},
        "properties": {"datetime": "2026-01-01T00:00:00Z"},
        "links": [link(&collection, "collection", JSON), link(base, "root", JSON),
                  link(&format!("{collection}/items/scene.{number}"), "self", GEO_JSON)],
    })
}
