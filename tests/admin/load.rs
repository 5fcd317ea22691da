//! Health under load on the admin port: silent connections, listeners of events that fill all
//! places.

use std::time::{Duration, Instant};

use geofront::admin::Capacity;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::support::Admin;

/// A slower health check has timed out at its caller.
const SOON: Duration = Duration::from_secs(2);

async fn code_in_time(admin: &Admin, path: &str) -> u16 {
    let began = Instant::now();
    let code = admin.get(path).await.code;
    assert!(began.elapsed() < SOON, "{path}: {:?}", began.elapsed());
    code
}

#[tokio::test]
async fn hundreds_of_silent_connections_hold_up_neither_health_nor_status() {
    let admin = Admin::start("").await;
    admin.pass_probes();
    let mut silent = Vec::new();
    for at in 0..300 {
        let mut stream = TcpStream::connect(admin.address).await.unwrap();
        if at % 2 == 0 {
            stream
                .write_all(b"GET /healthz HTTP/1.1\r\nHost: ")
                .await
                .ok();
        }
        silent.push(stream);
    }
    for path in ["/healthz", "/readyz", "/api/status", "/metrics"] {
        assert_eq!(code_in_time(&admin, path).await, 200, "{path}");
    }
}

#[tokio::test]
async fn health_is_answered_while_listeners_to_events_have_every_place() {
    let admin = Admin::start("").await;
    admin.pass_probes();
    let mut listeners = Vec::new();
    for _ in 0..Capacity::default().per_address + 8 {
        let mut stream = TcpStream::connect(admin.address).await.unwrap();
        stream
            .write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .unwrap();
        stream.readable().await.unwrap();
        listeners.push(stream);
    }
    let refused = admin.get("/api/status").await;
    assert!(
        refused.code == 503
            && refused
                .error()
                .contains("these places are for /healthz and /readyz"),
        "{refused:?}"
    );
    for path in ["/healthz", "/readyz"] {
        assert_eq!(code_in_time(&admin, path).await, 200, "{path}");
    }
    drop(listeners);
    let deadline = Instant::now() + Duration::from_secs(20);
    while admin.get("/api/status").await.code != 200 {
        assert!(Instant::now() < deadline, "places are given back");
    }
}
