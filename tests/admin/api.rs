//! The admin endpoint over real connections: what it answers, what it refuses, what it streams.

use std::sync::atomic::Ordering;

use super::support::{Admin, Answer};
use geofront::admin::answers::Reload;
use serde_json::{Value, json};

#[tokio::test]
async fn readyz_follows_the_cluster_and_healthz_does_not() {
    let admin = Admin::start("").await;
    assert_eq!((admin.get("/healthz").await.code, admin.get("/readyz").await.code), (200, 503));
    admin.pass_probes();
    assert_eq!((admin.get("/healthz").await.code, admin.get("/readyz").await.code), (200, 200));
    admin.stopping.store(true, Ordering::Relaxed);
    let ready = admin.get("/readyz").await;
    assert_eq!((ready.code, ready.body.as_str()), (503, "stopping\n"));
    assert_eq!(admin.get("/healthz").await.code, 200);
}

#[tokio::test]
async fn status_has_every_field_that_scripts_rely_on() {
    let admin = Admin::start("").await;
    admin.pass_probes();
    let mut status = admin.get("/api/status").await.json();
    let slave = &mut status["upstreams"][1];
    slave["since_seconds"] = json!(0);
    let expected = json!({
        "name": "a", "url": "http://127.0.0.1:2", "address": "127.0.0.1:2", "role": "replica", "health": "up", "mode": "ready",
        "eligible": true, "ejected_seconds": null, "half_open": false, "in_flight": 0, "weight": 100, "effective_weight": 100,
        "since_seconds": 0, "last_cause": null, "last_probe_ms": 7, "requests_total": 0, "errors_total": 0,
    });
    assert_eq!(*slave, expected);
    let keys: Vec<&String> = status.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["last_reload", "ready", "revision", "stopping", "upstreams", "uptime_seconds", "version"]);
}

#[tokio::test]
async fn an_upstream_is_drained_and_brought_back() {
    let admin = Admin::start("").await;
    admin.pass_probes();
    let drained = admin.post("/api/upstreams/a/mode", r#"{"mode":"drain"}"#).await;
    assert_eq!((drained.code, drained.json()), (200, json!({"upstream": "a", "mode": "drain", "in_flight": 0})));
    assert_eq!(admin.get("/api/status").await.json()["upstreams"][1]["mode"], "drain");
    let ready = admin.post("/api/upstreams/a/mode", r#"{"mode":"ready"}"#).await;
    assert_eq!((ready.code, ready.json()["mode"].clone()), (200, json!("ready")));
}

#[tokio::test]
async fn the_last_one_is_drained_only_by_force() {
    let admin = Admin::start("").await;
    admin.pass_probes();
    let refused = admin.post("/api/upstreams/main/mode", r#"{"mode":"drain"}"#).await;
    assert!(refused.code == 409 && refused.error().starts_with("`main` is the last upstream that serves"), "{refused:?}");
    let forced = admin.post("/api/upstreams/main/mode", r#"{"mode":"drain","force":true}"#).await;
    assert_eq!(forced.code, 200);
}

#[tokio::test]
async fn orders_that_make_no_sense_are_explained() {
    let admin = Admin::start("").await;
    let unknown = admin.post("/api/upstreams/c/mode", r#"{"mode":"drain"}"#).await;
    assert_eq!((unknown.code, unknown.error()), (404, "no upstream is called `c`; there are main, a, b".to_owned()));
    for body in ["", "{}", r#"{"mode":"off"}"#, r#"{"mode":"drain","forse":true}"#] {
        let refused = admin.post("/api/upstreams/a/mode", body).await;
        assert!(refused.code == 400 && refused.error().contains(r#"{"mode":"drain","force":false}"#), "{body}: {refused:?}");
    }
    assert_eq!(admin.post("/api/upstreams/a/mode", &"x".repeat(100_000)).await.code, 413);
    assert_eq!(admin.get("/api/upstreams/a/mode").await.code, 405);
    assert_eq!(admin.get("/api/nothing").await.code, 404);
}

#[tokio::test]
async fn a_config_reload_answers_how_it_ended_and_status_remembers() {
    let admin = Admin::start("").await;
    let changes = vec!["health.rise: 2, was 1".to_owned()];
    *admin.reloads.next.lock() = Some(Reload::Applied { revision: 2, changes });
    let applied = admin.post("/api/config/reload", "").await;
    let expected = json!({"outcome": "applied", "revision": 2, "changes": ["health.rise: 2, was 1"]});
    assert_eq!((applied.code, applied.json()), (200, expected));
    *admin.reloads.next.lock() = Some(Reload::Refused { error: "error: no".to_owned() });
    let refused = admin.post("/api/config/reload", "").await;
    assert_eq!((refused.code, refused.json()), (422, json!({"outcome": "refused", "error": "error: no"})));
    let last = admin.get("/api/status").await.json()["last_reload"].clone();
    assert_eq!(last, json!({"ago_seconds": 0, "outcome": "refused", "error": "error: no"}));
}

#[tokio::test]
async fn metrics_show_the_state_of_the_cluster() {
    let admin = Admin::start("").await;
    admin.pass_probes();
    let scrape = admin.get("/metrics").await;
    assert!(scrape.head.contains("content-type: text/plain; version=0.0.4"), "{}", scrape.head);
    assert!(scrape.body.contains("\ngeofront_upstream_up{upstream=\"a\"} 1\n"), "{}", scrape.body);
}

#[tokio::test]
async fn events_tell_the_past_and_then_each_transition() {
    let admin = Admin::start("").await;
    admin.pass_probes();
    let mut events = admin.listen(None).await;
    let up: Value = events.next_about("a").await;
    assert_eq!((up["kind"].as_str(), up["text"].as_str()), (Some("health"), Some("up, was unknown")));
    admin.post("/api/upstreams/a/mode", r#"{"mode":"drain"}"#).await;
    let drained = events.next_about("a").await;
    assert_eq!(drained["text"], "mode drain, was ready");
    let mut later = admin.listen(drained["sequence"].as_u64()).await;
    admin.post("/api/upstreams/a/mode", r#"{"mode":"ready"}"#).await;
    assert_eq!(later.next_about("a").await["text"], "mode ready, was drain");
}

#[tokio::test]
async fn the_page_is_whole_and_may_do_nothing_but_ask_us() {
    let page = Admin::start("").await.get("/").await;
    assert!(page.code == 200 && page.head.contains("content-type: text/html"), "{}", page.head);
    assert!(page.head.contains("default-src 'none'") && page.head.contains("frame-ancestors 'none'"), "{}", page.head);
    for outside in ["src=\"http", "href=\"http", "@import", "url(http"] {
        assert!(!page.body.contains(outside), "the page loads something: {outside}");
    }
}

#[tokio::test]
async fn pages_of_other_sites_get_nothing() {
    let admin = Admin::start("").await;
    for headers in ["Host: evil.example\r\n", "Host: localhost\r\nOrigin: http://evil.example\r\n"] {
        for request in ["GET /api/status", "GET /metrics", "POST /api/config/reload", "GET /api/config", "GET /api/events"] {
            let answer: Answer = admin.send(&format!("{request} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n")).await;
            assert!(answer.code == 403 && !answer.body.contains("127.0.0.1:2"), "{headers}{request}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn with_a_token_configured_nothing_is_told_without_it() {
    let admin = Admin::start("admin_token_env = 'TOKEN'\n").await;
    for path in ["/api/status", "/api/config", "/api/events", "/metrics"] {
        let answer = admin.get(path).await;
        assert!(answer.code == 401 && answer.head.contains("www-authenticate: Bearer"), "{path}: {answer:?}");
    }
    let request = "GET /api/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\nConnection: close\r\n\r\n";
    assert_eq!(admin.send(request).await.code, 200);
}

#[tokio::test]
async fn a_stopping_process_ends_streams_and_connections() {
    let admin = Admin::start("").await;
    let mut events = admin.listen(None).await;
    admin.stop().await;
    assert_eq!(events.read_to_end().await, "");
}
