//! GeoServer's REST interface: about, settings, reload and reset here; the catalog in
//! [`super::rest_catalog`].
//!
//! A request that reads the catalog takes the configuration lock to read, one that changes it to
//! write; `/rest/about` and `/rest/resource` take none, and answer in the middle of a reload.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::answer::Answer;
use super::auth;
use super::life::Life;
use super::request::Request;
use super::rest_catalog;
use super::rest_path::{JSON, RestPath, TEXT, XML, no_such};

/// The revision that every instance reports.
const REVISION: &str = "0000000";

pub(super) async fn answer(life: &Life, request: &Request, path: &str) -> Answer {
    if let Err(refusal) = auth::permit(request) {
        return refusal;
    }
    let address = RestPath::parse(path);
    let method = request.method();
    match address.parts[..] {
        ["about", what] => about(life, what, &address),
        ["about", "status", _] => about(life, "status", &address),
        ["reload"] => only_by_post(method, reload(life, request)).await,
        ["reset"] => only_by_post(method, reset(life, request)).await,
        ["security", "acl", "catalog", "reload"] => {
            only_by_post(method, security_reload(life)).await
        }
        ["resource", "global"] => Answer::ok(XML, life.data.global_xml())
            .with("Resource-Type", "resource")
            .with(
                "Last-Modified",
                httpdate::fmt_http_date(life.data.changed_at()),
            ),
        ["settings"] => settings(life, request).await,
        ["imports", ..] => imports(life, request, &address).await,
        ["br", "restore", ..] => restores(life, request, &address).await,
        [
            "security" | "logging" | "fonts" | "monitor" | "resource",
            ..,
        ] => outside_catalog(life, request, path),
        _ => rest_catalog::answer(life, request, path, &address).await,
    }
}

async fn only_by_post(method: &str, action: impl Future<Output = Answer>) -> Answer {
    if matches!(method, "POST" | "PUT") {
        action.await
    } else {
        Answer::container_page(405, "Method Not Allowed")
    }
}

async fn reload(life: &Life, request: &Request) -> Answer {
    life.note_write("POST /rest/reload", request);
    match life.reload_catalog().await {
        Ok(()) => Answer::empty(200),
        Err(_) => Answer::new(
            500,
            TEXT,
            "java.io.IOException: could not read the data directory",
        ),
    }
}

async fn reset(life: &Life, request: &Request) -> Answer {
    let _all_others_wait = life.configuration_lock.write().await;
    life.note_write("POST /rest/reset", request);
    life.controls.counts.resets.fetch_add(1, Ordering::Relaxed);
    life.forget_caches();
    Answer::empty(200)
}

async fn security_reload(life: &Life) -> Answer {
    life.controls
        .counts
        .security_reloads
        .fetch_add(1, Ordering::Relaxed);
    Answer::empty(200)
}

fn about(life: &Life, what: &str, address: &RestPath<'_>) -> Answer {
    let is_json = address.extension == Some("json");
    let version = life.behaviour.version;
    match what {
        "version" if is_json => Answer::ok(
            JSON,
            json!({"about": {"resource": [
                {"@name": "GeoServer", "Build-Timestamp": "01-Jan-2026 00:00", "Version": version, "Git-Revision": REVISION},
                {"@name": "GeoTools", "Version": 33.1, "Git-Revision": REVISION},
            ]}})
            .to_string(),
        ),
        "manifest" if is_json => Answer::ok(
            JSON,
            json!({"about": {"resource": [{"@name": "gs-main", "Implementation-Version": version}]}})
                .to_string(),
        ),
        "version" | "manifest" => Answer::ok(
            XML,
            format!(
                "<about>\n  <resource name=\"GeoServer\">\n    <Build-Timestamp>01-Jan-2026 00:00</Build-Timestamp>\n    \
                 <Version>{version}</Version>\n    <Git-Revision>{REVISION}</Git-Revision>\n  </resource>\n</about>\n"
            ),
        ),
        "status" if is_json => {
            Answer::ok(JSON, json!({"about": {"status": modules(life)}}).to_string())
        }
        "status" => Answer::ok(
            XML,
            "<about><statuss><status><module>gs-main</module><name>GeoServer Main</name><isAvailable>true</isAvailable>\
             <isEnabled>true</isEnabled></status></statuss></about>",
        ),
        "system-status" => {
            let in_flight = life.controls.in_flight();
            let metric = json!({"available": true, "category": "GEOSERVER", "name": "REQUESTS_IN_FLIGHT", "value": in_flight});
            Answer::ok(JSON, json!({"metrics": {"metric": [metric]}}).to_string())
        }
        _ => no_such(what),
    }
}

/// The status of each module; the renderer of Java is one of them.
fn modules(life: &Life) -> Vec<serde_json::Value> {
    let behaviour = &life.behaviour;
    let (java, renderer) = behaviour.java;
    let extensions = behaviour.extensions.iter().copied();
    let control_flow = behaviour.control_flow.map(|_| "gs-control-flow");
    let mut modules: Vec<_> = ["gs-main", "gs-gwc", "gs-wms", "gs-wfs", "gs-wcs"]
        .into_iter()
        .chain(extensions)
        .chain(control_flow)
        .map(|module| {
            json!({"module": module, "name": module, "isAvailable": true, "isEnabled": true, "version": behaviour.version})
        })
        .collect();
    modules.push(json!({
        "module": "jvm", "name": "Rendering Engine", "component": "java2d", "isAvailable": true, "isEnabled": true,
        "version": java, "message": format!("Java 2D renderer configured with: {renderer}"),
    }));
    modules
}

async fn settings(life: &Life, request: &Request) -> Answer {
    if request.method() == "PUT" {
        return rest_catalog::change_settings(life, request).await;
    }
    let _no_reload = life.configuration_lock.read().await;
    let number = (!life.controls.hides_number()).then(|| life.catalog().update_sequence);
    Answer::ok(
        JSON,
        json!({"global": {
            "settings": {"charset": "UTF-8", "numDecimals": 8, "proxyBaseUrl": "${X-Forwarded-Proto}://${X-Forwarded-Host}/geoserver"},
            "jai": {"allowInterpolation": false, "recycling": false, "tilePriority": 5, "tileThreads": 7, "memoryCapacity": 0.5,
                    "memoryThreshold": 0.75, "imageIOCache": false, "pngEncoderType": "PNGJ"},
            "updateSequence": number, "globalServices": true, "featureTypeCacheSize": 0, "lockProviderName": "fileLockProvider",
        }})
        .to_string(),
    )
}

/// The importer: its numbers start at 0 on every instance. An import that was begun has made its
/// layer when it is looked at.
async fn imports(life: &Life, request: &Request, address: &RestPath<'_>) -> Answer {
    let known = life.imports.load(Ordering::Relaxed);
    let id = address.parts.get(1).and_then(|id| id.parse::<u32>().ok());
    let path = address.parts.join("/");
    match (request.method(), id) {
        ("POST", None) => {
            life.note_write("POST /rest/imports", request);
            let id = life.imports.fetch_add(1, Ordering::Relaxed);
            let made = json!({"import": {"id": id, "state": "INIT"}});
            Answer::new(201, JSON, made.to_string())
        }
        (_, None) => Answer::ok(
            JSON,
            json!({"imports": (0..known).map(|id| json!({"id": id})).collect::<Vec<_>>()})
                .to_string(),
        ),
        ("POST", Some(id)) if id < known => {
            life.note_write("POST /rest/imports/{id}", request);
            life.begin_job(path, format!("geor:imported_{id}"));
            Answer::empty(204)
        }
        (_, Some(id)) if id < known => {
            life.finish_job(&path).await;
            Answer::ok(
                JSON,
                json!({"import": {"id": id, "state": "COMPLETE"}}).to_string(),
            )
        }
        (_, Some(id)) => no_such(&format!("import {id}")),
    }
}

/// Backup and restore: the answer comes at once, and the catalog has changed when the job has
/// ended.
async fn restores(life: &Life, request: &Request, address: &RestPath<'_>) -> Answer {
    let execution = |id: u32, status: &str| {
        json!({"restore": {"execution": {"id": id, "status": status}}}).to_string()
    };
    let known = life.restores.load(Ordering::Relaxed);
    let id = address.parts.get(2).and_then(|id| id.parse::<u32>().ok());
    match (request.method(), id) {
        ("POST", None) => {
            life.note_write("POST /rest/br/restore", request);
            let id = life.restores.fetch_add(1, Ordering::Relaxed);
            life.begin_job(format!("br/restore/{id}"), format!("geor:restored_{id}"));
            Answer::new(201, JSON, execution(id, "STARTED"))
        }
        ("GET" | "HEAD", Some(id)) if id < known => {
            life.finish_job(&address.parts.join("/")).await;
            Answer::ok(JSON, execution(id, "COMPLETED"))
        }
        _ => no_such(&address.parts.join("/")),
    }
}

/// Handles changes that are saved outside the catalog: they move no instance's `updateSequence`.
fn outside_catalog(life: &Life, request: &Request, path: &str) -> Answer {
    if matches!(request.method(), "GET" | "HEAD") {
        return Answer::ok(JSON, "{}");
    }
    life.note_write(&format!("{} /rest{path}", request.method()), request);
    Answer::empty(200)
}
