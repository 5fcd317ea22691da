//! GeoWebCache's REST interface: its own reload, seeding and truncation.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::answer::Answer;
use super::auth;
use super::life::Life;
use super::request::Request;

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
        "masstruncate" if !is_read => {
            life.tiles().truncate();
            Answer::empty(200)
        }
        "seed" if is_read => Answer::ok(
            "application/json",
            json!({"long-array-array": []}).to_string(),
        ),
        "seed" => Answer::empty(200),
        "layers" => {
            let names: Vec<String> = life.catalog().contents.layers.keys().cloned().collect();
            Answer::ok("application/json", json!(names).to_string())
        }
        _ => Answer::not_found(),
    }
}
