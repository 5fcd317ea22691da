//! The admin endpoint over real connections: its answers, refusals and streams.

use std::sync::atomic::Ordering;

use super::support::{Admin, CREDENTIALS};
use geofront::cluster::Cause;
use serde_json::{Value, json};

#[tokio::test]
async fn readyz_follows_the_cluster_and_healthz_does_not() {
    let admin = Admin::start("").await;
    assert_eq!(
        (
            admin.get("/healthz").await.code,
            admin.get("/readyz").await.code
        ),
        (200, 503)
    );
    admin.pass_probes();
    assert_eq!(
        (
            admin.get("/healthz").await.code,
            admin.get("/readyz").await.code
        ),
        (200, 200)
    );
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
        "mode_by": null, "mode_at": null, "eligible": true, "ejected_seconds": null, "half_open": false, "in_flight": 0,
        "max_in_flight": 10, "max_in_flight_learned": true, "slower_in_flight": 0, "max_slower_in_flight": 8,
        "heavy_in_flight": 0, "max_heavy_in_flight": 2, "reachable": true, "control_flow_delay_ms": null, "weight": 100, "effective_weight": 100,
        "since_seconds": 0, "last_cause": null, "last_probe_ms": 7, "requests_total": 0, "errors_total": 0,
        "catalog": {"fresh": true, "epoch": 0, "number": null, "doing": "no", "last_reload": null, "retry_seconds": null,
            "truncations_owed": 0, "truncation_failure": null},
    });
    assert_eq!(*slave, expected);
    let classes = [json!({"class": "map", "waiting": 3, "users": 2, "longest_ms": 1250})];
    let users = [json!({"user": "alice", "waiting": 2, "longest_ms": 1250})];
    assert_eq!(
        status["queue"],
        json!({"waiting": 3, "most": 400, "served_per_second": 7.3, "classes": classes, "users": users})
    );
    let keys: Vec<&String> = status.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "catalog",
            "chosen_layer",
            "conditions",
            "last_reload",
            "queue",
            "ready",
            "revision",
            "stopping",
            "upstreams",
            "uptime_seconds",
            "version"
        ]
    );
}

#[tokio::test]
async fn an_upstream_is_drained_and_brought_back() {
    let admin = Admin::start("").await;
    admin.pass_probes();
    let drained = admin
        .post("/api/upstreams/a/mode", r#"{"mode":"drain"}"#)
        .await;
    assert_eq!(
        (drained.code, drained.json()),
        (
            200,
            json!({"upstream": "a", "mode": "drain", "in_flight": 0})
        )
    );
    assert_eq!(
        admin.get("/api/status").await.json()["upstreams"][1]["mode"],
        "drain"
    );
    let ready = admin
        .post("/api/upstreams/a/mode", r#"{"mode":"ready"}"#)
        .await;
    assert_eq!(
        (ready.code, ready.json()["mode"].clone()),
        (200, json!("ready"))
    );
}

#[tokio::test]
async fn the_last_one_is_drained_only_by_force() {
    let admin = Admin::start("").await;
    admin.pass_probes();
    let refused = admin
        .post("/api/upstreams/main/mode", r#"{"mode":"drain"}"#)
        .await;
    assert!(
        refused.code == 409
            && refused
                .error()
                .starts_with("`main` is the last upstream that serves"),
        "{refused:?}"
    );
    let forced = admin
        .post(
            "/api/upstreams/main/mode",
            r#"{"mode":"drain","force":true}"#,
        )
        .await;
    assert_eq!(forced.code, 200);
}

#[tokio::test]
async fn orders_that_make_no_sense_are_explained() {
    let admin = Admin::start("").await;
    let unknown = admin
        .post("/api/upstreams/c/mode", r#"{"mode":"drain"}"#)
        .await;
    assert_eq!(
        (unknown.code, unknown.error()),
        (
            404,
            "no upstream is called `c`; there are main, a, b".to_owned()
        )
    );
    for body in [
        "",
        "{}",
        r#"{"mode":"off"}"#,
        r#"{"mode":"drain","forse":true}"#,
    ] {
        let refused = admin.post("/api/upstreams/a/mode", body).await;
        assert!(
            refused.code == 400
                && refused
                    .error()
                    .contains(r#"{"mode":"drain","force":false}"#),
            "{body}: {refused:?}"
        );
    }
    let long = "x".repeat(300_000);
    for (path, most) in [("/api/upstreams/a/mode", 16_384), ("/api/explain", 262_144)] {
        let refused = admin.post(path, &long).await;
        let why = format!("the body has more than {most} bytes");
        assert_eq!((refused.code, refused.error()), (413, why), "{path}");
    }
    assert_eq!(admin.get("/api/upstreams/a/mode").await.code, 405);
    assert_eq!(admin.get("/api/nothing").await.code, 404);
}

#[tokio::test]
async fn a_config_reload_answers_how_it_ended_and_status_remembers() {
    let admin = Admin::start("").await;
    admin.world.append("fall = 4\n");
    let applied = admin.post("/api/config/reload", "").await;
    let expected = json!({"outcome": "applied", "revision": 2, "changes": ["health.fall: 3 -> 4"]});
    assert_eq!((applied.code, applied.json()), (200, expected));
    let unchanged = admin.post("/api/config/reload", "").await;
    assert_eq!(
        (unchanged.code, unchanged.json()),
        (
            200,
            json!({
                "outcome": "unchanged", "revision": 2,
                "last_change": {"ago_seconds": 0, "changes": ["health.fall: 3 -> 4"]},
            })
        )
    );
    admin.world.append("fal = 4\n");
    let refused = admin.post("/api/config/reload", "").await;
    assert!(refused.error().starts_with("error: unknown key `fal`"));
    assert_eq!(
        (refused.code, &refused.json()["outcome"]),
        (422, &json!("refused"))
    );
    let last = admin.get("/api/status").await.json()["last_reload"].clone();
    let expected = json!({"ago_seconds": 0, "outcome": "refused", "error": refused.error()});
    assert_eq!(last, expected);
}

#[tokio::test]
async fn the_status_shows_the_catalog_before_and_after_a_change() {
    let admin = Admin::start(CREDENTIALS).await;
    admin.drive(|_| Ok(()));
    let unchanged = json!({
        "epoch": 0, "settled": 0, "number": 70, "changed_seconds": null, "can_reload": true, "done": true,
        "silent_seconds": null, "rolls": true, "paused": false, "rests_seconds": null,
    });
    assert_eq!(admin.get("/api/status").await.json()["catalog"], unchanged);
    admin.post("/api/catalog/sync", "").await;
    admin.drive(|name| {
        if name == "b" {
            Err(Cause::Status(500))
        } else {
            Ok(())
        }
    });
    let mut status = admin.get("/api/status").await.json();
    let changed = json!({
        "epoch": 1, "settled": 1, "number": 70, "changed_seconds": 0, "can_reload": true, "done": false,
        "silent_seconds": null, "rolls": true, "paused": false, "rests_seconds": null,
    });
    assert_eq!(status["catalog"], changed);
    let reload = |failure: Value| json!({"ago_seconds": 0, "took_ms": 0, "failure": failure});
    status["upstreams"][1]["catalog"]["last_reload"]["took_ms"] = json!(0);
    status["upstreams"][2]["catalog"]["last_reload"]["took_ms"] = json!(0);
    let fresh = json!({
        "fresh": true, "epoch": 1, "number": 70, "doing": "no", "last_reload": reload(Value::Null), "retry_seconds": null,
        "truncations_owed": 0, "truncation_failure": null,
    });
    assert_eq!(status["upstreams"][1]["catalog"], fresh);
    status["upstreams"][2]["catalog"]["retry_seconds"] = json!(9);
    let failed = json!({
        "fresh": false, "epoch": 0, "number": 70, "doing": "failed", "last_reload": reload(json!("status 500")),
        "retry_seconds": 9, "truncations_owed": 0, "truncation_failure": null,
    });
    assert_eq!(status["upstreams"][2]["catalog"], failed);
}

#[tokio::test]
async fn a_catalog_sync_is_accepted_with_its_epoch_and_every_step_of_it_is_an_event() {
    let admin = Admin::start(CREDENTIALS).await;
    admin.drive(|_| Ok(()));
    let mut events = admin.listen(None).await;
    let ordered = admin.post("/api/catalog/sync", "").await;
    assert_eq!((ordered.code, ordered.json()), (202, json!({"epoch": 1})));
    admin.drive(|name| {
        if name == "b" {
            Err(Cause::Status(500))
        } else {
            Ok(())
        }
    });
    let mut told = Vec::new();
    while told.len() < 6 {
        let event = events.next().await;
        let of = |field: &str| event[field].as_str().unwrap_or("-").to_owned();
        if !["health", "layer-chosen"].contains(&of("kind").as_str()) {
            told.push([of("upstream"), of("kind")].join(" "));
        }
    }
    let expected = [
        "- catalog-changed",
        "- roll-began",
        "a catalog-reload",
        "a catalog-fresh",
        "b catalog-reload",
        "b catalog-reload-failed",
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn rolls_are_paused_and_resumed_and_a_sync_reports_the_pause() {
    let admin = Admin::start(CREDENTIALS).await;
    admin.pass_probes();
    assert_eq!(
        admin.get("/api/catalog/history").await.json(),
        json!({"paused": false, "rolls": []})
    );
    assert_eq!(
        admin.post("/api/catalog/pause", "").await.json()["paused"],
        json!(true)
    );
    assert_eq!(
        admin.get("/api/status").await.json()["catalog"]["paused"],
        json!(true)
    );
    let refused = admin.post("/api/catalog/sync", "").await;
    assert!(
        refused.code == 409 && refused.error().contains("geofront catalog resume"),
        "{refused:?}"
    );
    assert_eq!(admin.get("/api/catalog/pause").await.code, 405);
    assert_eq!(
        admin.post("/api/catalog/resume", "").await.json()["paused"],
        json!(false)
    );
    assert_eq!(admin.post("/api/catalog/sync", "").await.code, 202);
}

#[tokio::test]
async fn a_catalog_sync_without_credentials_is_refused_with_the_reason() {
    let admin = Admin::start("").await;
    admin.pass_probes();
    let refused = admin.post("/api/catalog/sync", "").await;
    assert!(
        refused.code == 409 && refused.error().contains("under [geoserver]"),
        "{refused:?}"
    );
    let catalog = admin.get("/api/status").await.json()["catalog"].clone();
    assert_eq!(
        (&catalog["epoch"], &catalog["can_reload"]),
        (&json!(0), &json!(false))
    );
    assert_eq!(admin.get("/api/catalog/sync").await.code, 405);
}

#[tokio::test]
async fn metrics_show_the_state_of_the_cluster() {
    let admin = Admin::start("").await;
    admin.pass_probes();
    let scrape = admin.get("/metrics").await;
    assert!(
        scrape
            .head
            .contains("content-type: text/plain; version=0.0.4"),
        "{}",
        scrape.head
    );
    assert!(
        scrape
            .body
            .contains("\ngeofront_upstream_up{upstream=\"a\"} 1\n"),
        "{}",
        scrape.body
    );
}

#[tokio::test]
async fn status_shows_the_operator_and_time_of_a_mode() {
    let admin = Admin::start("").await;
    admin.pass_probes();
    let name = format!("  al\\nice{}", "x".repeat(200));
    admin
        .post(
            "/api/upstreams/a/mode",
            &format!(r#"{{"mode":"drain","by":"{name}"}}"#),
        )
        .await;
    let upstream = admin.get("/api/status").await.json()["upstreams"][1].clone();
    let by = upstream["mode_by"].as_str().unwrap();
    assert!(
        by.starts_with("alicexx") && by.ends_with(" from 127.0.0.1") && by.len() < 100,
        "{by}"
    );
    assert!(
        humantime::parse_rfc3339(upstream["mode_at"].as_str().unwrap()).is_ok(),
        "{upstream}"
    );
}

#[tokio::test]
async fn events_begin_with_the_past_and_continue_with_each_transition() {
    let admin = Admin::start("").await;
    admin.pass_probes();
    let mut events = admin.listen(None).await;
    let up: Value = events.next_about("a").await;
    assert_eq!(
        (up["kind"].as_str(), up["text"].as_str()),
        (Some("health"), Some("up, was unknown"))
    );
    admin
        .post("/api/upstreams/a/mode", r#"{"mode":"drain"}"#)
        .await;
    let drained = events.next_about("a").await;
    assert_eq!(
        drained["text"],
        "mode drain, was ready, ordered by 127.0.0.1"
    );
    let mut later = admin.listen(drained["sequence"].as_u64()).await;
    admin
        .post("/api/upstreams/a/mode", r#"{"mode":"ready"}"#)
        .await;
    assert_eq!(
        later.next_about("a").await["text"],
        "mode ready, was drain, ordered by 127.0.0.1"
    );
}

#[tokio::test]
async fn a_stopping_process_ends_streams_and_connections() {
    let admin = Admin::start("").await;
    let mut events = admin.listen(None).await;
    admin.stop().await;
    assert_eq!(events.read_to_end().await, "");
}
