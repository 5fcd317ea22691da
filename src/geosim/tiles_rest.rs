//! GeoWebCache's REST interface: its own reload, seeding and truncation.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::answer::Answer;
use super::auth;
use super::exception::escape;
use super::life::Life;
use super::request::Request;
use super::xml;

pub(super) fn answer(life: &Life, request: &Request, path: &str) -> Answer {
    if let Err(refusal) = auth::permit(request) {
        return refusal;
    }
    let is_read = matches!(request.method(), "GET" | "HEAD");
    if !is_read {
        life.note_write(&format!("{} /gwc/rest{path}", request.method()), request);
    }
    let first = path
        .trim_start_matches('/')
        .split(['/', '.'])
        .next()
        .unwrap_or_default();
    match first {
        "reload" if !is_read => {
            life.controls
                .counts
                .gwc_reloads
                .fetch_add(1, Ordering::Relaxed);
            Answer::ok(
                "text/html",
                "<html><body>Configuration reloaded.</body></html>",
            )
        }
        "masstruncate" if !is_read => mass_truncate(life, request),
        "seed" if is_read => Answer::ok(
            "application/json",
            json!({"long-array-array": []}).to_string(),
        ),
        "seed" => seed(life, request, path),
        "layers" => {
            let contents = life.catalog().contents;
            let (layers, groups) = (contents.layers.keys(), contents.groups.keys());
            let names: Vec<String> = layers.chain(groups).cloned().collect();
            if path.ends_with(".xml") {
                return Answer::ok("application/xml", xml_list(&names));
            }
            Answer::ok("application/json", json!(names).to_string())
        }
        _ => Answer::not_found(),
    }
}

fn xml_list(names: &[String]) -> String {
    let layer = |name: &String| format!("<layer><name>{}</name></layer>", escape(name));
    let layers: String = names.iter().map(layer).collect();
    format!("<layers>{layers}</layers>")
}

/// `TruncateLayerRequest` and `TruncateAllRequest`; XStream fails for an unknown element.
fn mass_truncate(life: &Life, request: &Request) -> Answer {
    let body = &request.body().start;
    let contents = life.catalog().contents;
    let is = |root: &str| String::from_utf8_lossy(body).contains(&format!("<{root}"));
    if is("truncateAll") {
        life.tiles().truncate();
    } else if is("truncateLayer") {
        let name = xml::first_text(body, "layerName").unwrap_or_default();
        if !contents.layers.contains_key(&name) && !contents.groups.contains_key(&name) {
            let text = format!("RestException: Could not find layer {name}");
            return Answer::new(400, "text/plain", text);
        }
        life.tiles().truncate_layer(&name);
    } else {
        return Answer::new(
            500,
            "text/plain",
            "com.thoughtworks.xstream.mapper.CannotResolveClassException",
        );
    }
    life.controls
        .counts
        .truncations
        .fetch_add(1, Ordering::Relaxed);
    Answer::empty(200)
}

/// A task of one layer, as a form, XML or JSON. The double truncates all of a layer, and seeds
/// nothing.
fn seed(life: &Life, request: &Request, path: &str) -> Answer {
    let text = String::from_utf8_lossy(&request.body().start).to_lowercase();
    if text.contains("truncate") {
        let rest = path.trim_start_matches('/').trim_start_matches("seed/");
        let layer = rest.trim_end_matches(".json").trim_end_matches(".xml");
        life.tiles().truncate_layer(&layer.replace("%3A", ":"));
        life.controls
            .counts
            .truncations
            .fetch_add(1, Ordering::Relaxed);
    }
    Answer::empty(200)
}
