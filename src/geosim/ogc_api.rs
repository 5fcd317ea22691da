//! OGC API Features, as little of it as a front door can distinguish: collections, their items, and
//! writes.

use serde_json::json;

use super::answer::Answer;
use super::features::{Collection, Encoding};
use super::kvp::Kvp;
use super::life::Life;
use super::request::Request;

const JSON: &str = "application/json";
const DEFAULT_LIMIT: u32 = 10;

pub(super) fn answer(life: &Life, request: &Request, path: &str) -> Answer {
    if !matches!(request.method(), "GET" | "HEAD") {
        life.note_write(&format!("{} /ogc{path}", request.method()), request);
        return Answer::empty(if request.method() == "POST" { 201 } else { 204 });
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts[..] {
        ["features", "v1"] => Answer::ok(
            JSON,
            json!({"title": "GeoServer Features services", "links": []}).to_string(),
        ),
        ["features", "v1", "collections"] => {
            let ids: Vec<_> = life
                .catalog()
                .contents
                .layers
                .keys()
                .map(|name| json!({"id": name}))
                .collect();
            Answer::ok(JSON, json!({"collections": ids}).to_string())
        }
        ["features", "v1", "collections", name, "items"] => items(life, request, name),
        _ => not_found(path),
    }
}

fn items(life: &Life, request: &Request, name: &str) -> Answer {
    let contents = life.catalog().contents;
    let Some((name, layer)) = contents.layer(name) else {
        return not_found(name);
    };
    let matched = life.data.features_of(name, layer);
    let limit = Kvp::new(request.query(), b"")
        .number("limit")
        .unwrap_or(DEFAULT_LIMIT);
    let collection = Collection::new(
        name,
        matched,
        0,
        matched.min(u64::from(limit)),
        None,
        Encoding::GeoJson,
    );
    Answer::stream("application/geo+json", collection)
}

fn not_found(what: &str) -> Answer {
    Answer::new(
        404,
        JSON,
        json!({"type": "NotFound", "title": format!("Unknown resource {what}")}).to_string(),
    )
}
