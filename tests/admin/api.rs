//! The admin endpoint over real connections: its answers, refusals and streams.

use std::sync::atomic::Ordering;

use super::support::{Admin, Answer, CREDENTIALS};
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
        "catalog": {"fresh": true, "epoch": 0, "number": null, "doing": "no", "last_reload": null, "retry_seconds": null},
    });
    assert_eq!(*slave, expected);
    let classes = [json!({"class": "map", "waiting": 3, "users": 2, "longest_ms": 1250})];
    assert_eq!(
        status["queue"],
        json!({"waiting": 3, "most": 400, "served_per_second": 7.3, "classes": classes})
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
    assert_eq!(
        admin
            .post("/api/upstreams/a/mode", &"x".repeat(100_000))
            .await
            .code,
        413
    );
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
        (200, json!({"outcome": "unchanged", "revision": 2}))
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
async fn status_tells_of_the_catalog_before_and_after_a_change() {
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
    });
    assert_eq!(status["upstreams"][1]["catalog"], fresh);
    status["upstreams"][2]["catalog"]["retry_seconds"] = json!(9);
    let failed = json!({
        "fresh": false, "epoch": 0, "number": 70, "doing": "failed", "last_reload": reload(json!("status 500")),
        "retry_seconds": 9,
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
async fn rolls_are_paused_and_resumed_and_a_sync_says_that_they_are_paused() {
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
async fn events_tell_the_past_and_then_each_transition() {
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
async fn history_has_a_shape_of_its_own_from_the_first_second() {
    let admin = Admin::start("").await;
    let answer = admin.get("/api/history?minutes=5&after=0").await;
    let history = answer.json();
    assert_eq!(
        (answer.code, &history["step_seconds"], &history["times"]),
        (200, &json!(2), &json!([]))
    );
    assert_eq!(admin.get("/api/history").await.json()["step_seconds"], 30);
    let keys: Vec<&String> = history.as_object().unwrap().keys().collect();
    let expected = [
        "aborted",
        "all",
        "classes",
        "errors",
        "lately",
        "refused",
        "retried",
        "sequence",
        "started",
        "step_seconds",
        "times",
        "upstreams",
        "waited_p50_ms",
        "waited_p95_ms",
        "waiting",
    ];
    assert_eq!(keys, expected);
}

#[tokio::test]
async fn slow_and_failed_requests_are_found_by_their_number_and_by_their_id() {
    let admin = Admin::start("").await;
    let failed = json!({"id": "7f3a", "end": "refused:queue-full"});
    let all = admin.get("/api/requests").await.json();
    assert_eq!(
        all,
        json!({"sequence": 1, "left_out": 3, "requests": [failed]})
    );
    assert_eq!(
        admin.get("/api/requests?after=1").await.json()["requests"],
        json!([])
    );
    assert_eq!(
        admin.get("/api/requests?id=7f3a").await.json()["requests"],
        json!([failed])
    );
    assert_eq!(
        admin.get("/api/requests?id=7f3").await.json()["requests"],
        json!([])
    );
    assert_eq!(admin.get("/api/requests?after=x").await.code, 400);
}

#[tokio::test]
async fn a_history_that_is_not_kept_is_refused_with_what_is() {
    let admin = Admin::start("").await;
    for query in ["minutes=6", "minutes=x", "after=-1", "seconds=5"] {
        let refused = admin.get(&format!("/api/history?{query}")).await;
        assert!(
            refused.code == 400 && refused.error().contains("M being 5 or 60"),
            "{query}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn the_page_is_whole_and_may_do_nothing_but_ask_us() {
    let admin = Admin::start("").await;
    let parts = [
        ("/", "text/html"),
        ("/page.css", "text/css"),
        ("/charts.js", "text/javascript"),
        ("/page.js", "text/javascript"),
    ];
    for (path, kind) in parts {
        let part = admin.get(path).await;
        assert!(
            part.code == 200 && part.head.contains(&format!("content-type: {kind}")),
            "{path}: {}",
            part.head
        );
        assert!(
            part.head.contains("default-src 'none'")
                && part.head.contains("frame-ancestors 'none'"),
            "{}",
            part.head
        );
        assert!(
            !part.head.contains("unsafe-inline") && !part.head.contains("unsafe-eval"),
            "{}",
            part.head
        );
        for outside in [
            "src=\"http",
            "href=\"http",
            "@import",
            "url(http",
            "fetch(\"http",
            "innerHTML",
        ] {
            assert!(!part.body.contains(outside), "{path} has {outside}");
        }
    }
    let page = admin.get("/").await.body;
    for inline in ["<style", "style=", "onclick=", "<script>"] {
        assert!(
            !page.contains(inline),
            "the content policy forbids {inline} within the page"
        );
    }
}

#[tokio::test]
async fn the_page_has_every_element_that_its_script_fills() {
    let admin = Admin::start("").await;
    let (page, script) = (admin.get("/").await.body, admin.get("/page.js").await.body);
    let ids: Vec<&str> = script
        .split("byId(\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(ids.len() > 20, "the script was not read");
    for id in ids {
        assert!(
            page.contains(&format!("id=\"{id}\"")),
            "no element is called {id}"
        );
    }
}

#[tokio::test]
async fn with_a_token_configured_the_page_loads_and_asks_for_it() {
    let admin = Admin::start("admin_token_env = 'TOKEN'\n").await;
    for path in ["/", "/page.css", "/charts.js", "/page.js"] {
        assert_eq!(admin.get(path).await.code, 200, "{path}");
    }
}

#[tokio::test]
async fn pages_of_other_sites_get_nothing() {
    let admin = Admin::start("").await;
    for headers in [
        "Host: evil.example\r\n",
        "Host: localhost\r\nOrigin: http://evil.example\r\n",
    ] {
        let writes = ["POST /api/config/reload", "POST /api/catalog/sync"];
        let reads = [
            "GET /api/status",
            "GET /metrics",
            "GET /api/config",
            "GET /api/events",
            "GET /api/history",
            "GET /api/requests",
        ];
        for request in writes.into_iter().chain(reads) {
            let answer: Answer = admin
                .send(&format!(
                    "{request} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n"
                ))
                .await;
            assert!(
                answer.code == 403 && !answer.body.contains("127.0.0.1:2"),
                "{headers}{request}: {answer:?}"
            );
        }
    }
}

/// "A map with a remote style made our GeoServer drain every replica: geofront's API listens on its
/// loopback."
#[tokio::test]
async fn a_server_that_was_tricked_into_a_request_changes_nothing() {
    let admin = Admin::start("").await;
    for path in [
        "/api/upstreams/a/mode",
        "/api/config/reload",
        "/api/catalog/sync",
        "/api/catalog/pause",
    ] {
        let body = r#"{"mode":"drain"}"#;
        let forged = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:9090\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = admin.send(&forged).await;
        assert_eq!(answer.code, 403, "{path}: {answer:?}");
        assert!(answer.body.contains("X-Geofront"), "{answer:?}");
    }
    assert_eq!(
        admin.get("/api/status").await.json()["upstreams"][0]["mode"],
        "ready"
    );
}

#[tokio::test]
async fn with_a_token_configured_nothing_is_told_without_it() {
    let admin = Admin::start("admin_token_env = 'TOKEN'\n").await;
    for path in [
        "/api/status",
        "/api/config",
        "/api/events",
        "/api/history",
        "/api/requests",
        "/metrics",
    ] {
        let answer = admin.get(path).await;
        assert!(
            answer.code == 401 && answer.head.contains("www-authenticate: Bearer"),
            "{path}: {answer:?}"
        );
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
