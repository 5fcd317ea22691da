//! Checks our `/metrics` with Prometheus' own tool.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::front::Front;
use crate::program;
use crate::wait::until;

const PATIENCE: Duration = Duration::from_secs(10);

/// Port 9 (discard), where nothing answers.
const NOBODY_ELSE: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2)),
    9,
);
const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    let promtool = program::find("promtool", "prometheus");
    let front = Front::start(&[("main", NOBODY), ("replica", NOBODY_ELSE)], "");
    // So that the counters of requests, refusals and probes have series too.
    let refused = ureq::get(format!(
        "http://{}/geoserver/wms?SERVICE=WMS&REQUEST=GetMap",
        front.address()
    ))
    .call();
    assert!(
        matches!(refused, Err(ureq::Error::StatusCode(503))),
        "{refused:?}"
    );

    // A request is counted when it has ended, which may be after the client has its answer.
    let metrics = until("the request is counted", PATIENCE, || {
        Some(front.metrics()).filter(|metrics| metrics.contains("geofront_requests_total{"))
    });
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("metrics");
    fs::write(&file, &metrics).expect("the metrics are written");
    let stdin = Stdio::from(fs::File::open(&file).expect("the metrics are there"));
    let said = program::run(
        Command::new(promtool)
            .args(["check", "metrics"])
            .stdin(stdin),
    );
    assert_eq!(
        String::from_utf8_lossy(&said.stderr),
        "",
        "promtool's complaints"
    );
}
