//! The servlet container that GeoServer runs in, real: Debian's Tomcat 10 behind the real binary.
//!
//! Tomcat closes kept-alive connections whenever it likes (after 100 requests, after an idle
//! moment), accepts connections long before its webapps answer, and goes on answering, 404, when
//! the webapp is gone. None of this is a client's concern.

mod server;

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use self::server::Tomcat;
use crate::front::Front;

const PROBES: &str = r#"
[health]
interval = "200ms"
down_interval = "200ms"
timeout = "1s"
rise = 1
fall = 2
slow_start = "0s"
probe_layer = "any"
"#;

const GET_MAP: &str = "/geoserver/wms?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=any&STYLES=&SRS=EPSG:4326\
                       &BBOX=-180,-90,180,90&WIDTH=64&HEIGHT=64&FORMAT=image/png";

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A client of its own, with its own kept-alive connection.
fn client() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(30)))
        .build()
        .into()
}

/// The status, or why there is none; and whether the body is a picture to its end.
fn get_map(client: &ureq::Agent, front: SocketAddr) -> Result<(), String> {
    let mut answer = client
        .get(format!("http://{front}{GET_MAP}"))
        .call()
        .map_err(|error| error.to_string())?;
    let body = answer
        .body_mut()
        .read_to_vec()
        .map_err(|error| error.to_string())?;
    let is_whole = body.starts_with(PNG) && body.ends_with(b"IEND\xaeB`\x82");
    if is_whole {
        Ok(())
    } else {
        Err(format!("{} bytes that are no whole picture", body.len()))
    }
}

/// Runs `clients` at once, each with `requests` requests, and returns what went wrong.
fn load(front: SocketAddr, clients: usize, requests: usize) -> Vec<String> {
    let failures = |client: ureq::Agent| {
        (0..requests)
            .filter_map(move |_| get_map(&client, front).err())
            .collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|_| scope.spawn(|| failures(client())))
            .collect();
        clients
            .into_iter()
            .flat_map(|client| client.join().expect("a client does not panic"))
            .collect()
    })
}

#[test]
fn connections_that_tomcat_closes_under_load_cost_no_client_an_error() {
    let (main, replica1, replica2) = (
        Tomcat::start_ready(),
        Tomcat::start_ready(),
        Tomcat::start_ready(),
    );
    let upstreams = [
        ("main", main.address),
        ("replica1", replica1.address),
        ("replica2", replica2.address),
    ];
    let front = Front::start(&upstreams, PROBES);
    front.wait_until_up(&["replica1", "replica2"]);

    // Crowds leave many idle connections behind, single clients let them grow old: both ends may
    // close one at the same moment.
    for _ in 0..5 {
        assert_eq!(
            load(front.address(), 16, 60),
            Vec::<String>::new(),
            "under a crowd"
        );
        assert_eq!(
            load(front.address(), 1, 400),
            Vec::<String>::new(),
            "under one client"
        );
    }
    front.wait_until_up(&["replica1", "replica2"]);
}

#[test]
fn a_tomcat_that_listens_is_down_until_its_webapp_has_started() {
    let (main, starting) = (Tomcat::start_ready(), Tomcat::start());
    let front = Front::start(
        &[("main", main.address), ("starting", starting.address)],
        PROBES,
    );
    front.wait_until_up(&["main"]);
    front.wait_until_down(&["starting"]);
    assert_eq!(
        get_map(&client(), front.address()),
        Ok(()),
        "the main takes over while no replica can"
    );

    starting.let_webapp_start();
    front.wait_until_up(&["starting"]);
}

#[test]
fn a_tomcat_without_its_webapp_is_down_though_it_answers() {
    let (main, replica, leaving) = (
        Tomcat::start_ready(),
        Tomcat::start_ready(),
        Tomcat::start_ready(),
    );
    let upstreams = [
        ("main", main.address),
        ("replica", replica.address),
        ("leaving", leaving.address),
    ];
    let front = Front::start(&upstreams, PROBES);
    front.wait_until_up(&["replica", "leaving"]);

    leaving.undeploy();
    front.wait_until_down(&["leaving"]);
    assert!(
        front.log().contains("404"),
        "the log says why:\n{}",
        front.log()
    );
    assert_eq!(
        load(front.address(), 4, 20),
        Vec::<String>::new(),
        "the other replica serves"
    );
}
