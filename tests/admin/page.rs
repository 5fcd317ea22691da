//! The status page: its files, its history, and the requests that it lists.

use serde_json::json;

use super::support::Admin;

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
async fn a_history_of_another_length_is_refused_with_the_lengths_that_are_kept() {
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
        ("/explain.js", "text/javascript"),
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
    let page = admin.get("/").await.body;
    let script = admin.get("/page.js").await.body + &admin.get("/explain.js").await.body;
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
