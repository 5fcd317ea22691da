//! Requests that the admin endpoint refuses: from other sites, from tricked programs, and without
//! the token.

use super::support::{Admin, Answer};

#[tokio::test]
async fn with_a_token_configured_the_page_loads_and_prompts_for_it() {
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
        "/api/explain",
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
async fn with_a_token_configured_nothing_is_revealed_without_it() {
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
