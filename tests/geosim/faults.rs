//! Each way of being broken looks from outside as it should, starts at once and ends at once.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use geofront::geosim::{Behaviour, Cluster, DataDirectory, Fault, Instance, When, eventually};
use geofront::ogc::RequestClass;

use crate::client::{
    GET_MAP, as_admin, connect, get, get_with, post, read_to_end, try_get, try_send,
};

fn replica() -> Instance {
    Instance::start("replica1", &DataDirectory::new(), Behaviour::default())
}

const GET_FEATURE: &str =
    "/geoserver/wfs?service=WFS&version=2.0.0&request=GetFeature&typeNames=geor:roads&count=2000";
const VERSION: &str = "/geoserver/rest/about/version.xml";

#[test]
fn a_refusing_instance_refuses_at_once_and_serves_at_once_when_healed() {
    let replica = replica();
    for _ in 0..20 {
        replica.suffers(Fault::Refuse);
        assert_eq!(
            try_get(&replica, GET_MAP).unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
        replica.heals();
        assert!(get(&replica, GET_MAP).is_png());
    }
}

#[test]
fn a_starting_instance_accepts_connections_and_serves_them_when_it_is_up() {
    let replica = replica();
    replica.suffers(Fault::Starting);
    let mut waiting = connect(&replica).unwrap();
    waiting
        .write_all(
            format!("GET {GET_MAP} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .unwrap();
    waiting
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    assert_eq!(
        waiting.read(&mut [0]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    assert_eq!(replica.control().received_in_all(), 0);
    replica.heals();
    waiting
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    assert!(read_to_end(&mut waiting).unwrap().is_png());
}

#[test]
fn a_start_takes_the_time_of_the_behaviour() {
    let startup_time = Duration::from_millis(100);
    let asked = Instant::now();
    let slow_starter = Instance::start(
        "main",
        &DataDirectory::new(),
        Behaviour {
            startup_time,
            ..Behaviour::default()
        },
    );
    assert!(get(&slow_starter, GET_MAP).is_png());
    assert!(asked.elapsed() >= startup_time);
}

#[test]
fn a_hanging_instance_reads_and_never_answers_until_it_is_healed() {
    let replica = replica();
    replica.suffers(Fault::Hang);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| try_get(&replica, GET_MAP));
        eventually("the request has arrived", || {
            replica.received(RequestClass::Map) == 1
        });
        assert_eq!(replica.control().in_flight(), 1);
        replica.heals();
        assert_eq!(
            asked.join().unwrap().unwrap_err().kind(),
            ErrorKind::UnexpectedEof
        );
    });
    eventually("it is forgotten", || replica.control().in_flight() == 0);
    assert!(get(&replica, GET_MAP).is_png());
}

#[test]
fn a_reset_comes_where_it_was_ordered() {
    let main = replica();
    for (when, executions) in [
        (When::BeforeReading, 0),
        (When::BeforeExecution, 0),
        (When::BeforeAnswer, 1),
    ] {
        let already = main.data().writes().len();
        main.suffers(Fault::Reset(when));
        let error = try_send(&main, "POST", "/geoserver/wfs", &[], TRANSACTION).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{when:?}");
        assert_eq!(main.data().writes().len() - already, executions, "{when:?}");
        main.heals();
    }
    main.suffers(Fault::Reset(When::InAnswer));
    let reply = try_get(&main, GET_MAP).unwrap();
    assert!(reply.status == 200 && !reply.is_whole);
}

const TRANSACTION: &str = "<wfs:Transaction service='WFS' version='1.1.0' xmlns:wfs='http://www.opengis.net/wfs'>\
    <wfs:Insert><geor:roads xmlns:geor='http://localhost/geor'/></wfs:Insert></wfs:Transaction>";

#[test]
fn connections_are_reset_on_arrival() {
    let replica = replica();
    replica.suffers(Fault::ResetConnections);
    // The reset may overtake the request that is being written.
    assert!(matches!(
        try_get(&replica, GET_MAP).unwrap_err().kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    ));
    replica.heals();
    assert!(get(&replica, GET_MAP).is_png());
}

#[test]
fn truncated_answers_are_cut_in_both_framings() {
    let replica = replica();
    let (map, features) = (get(&replica, GET_MAP), get(&replica, GET_FEATURE));
    assert!(map.is_whole && features.is_whole);
    assert!(
        map.header("content-length").is_some() && features.header("transfer-encoding").is_some()
    );
    replica.suffers(Fault::Truncate);
    for (target, whole) in [(GET_MAP, map), (GET_FEATURE, features)] {
        let cut = get(&replica, target);
        assert!(
            !cut.is_whole && !cut.body.is_empty() && cut.body.len() < whole.body.len(),
            "{target}"
        );
    }
}

#[test]
fn a_slow_instance_answers_late_and_a_dripping_one_in_pieces() {
    let replica = replica();
    let (delay, pause) = (Duration::from_millis(60), Duration::from_millis(2));
    replica.suffers(Fault::Slow(delay));
    let asked = Instant::now();
    assert!(get(&replica, GET_MAP).is_png());
    assert!(asked.elapsed() >= delay);
    replica.heals();

    replica.suffers(Fault::Drip { bytes: 50, pause });
    let asked = Instant::now();
    let reply = get(&replica, GET_MAP);
    assert!(reply.is_png() && asked.elapsed() >= pause * (reply.body.len() / 50) as u32);
}

#[test]
fn out_of_memory_is_reported_with_the_status_of_each_service() {
    let replica = replica();
    replica.suffers(Fault::OutOfMemory);
    for (target, status, kind) in [
        (GET_MAP, 200, "text/xml;charset=UTF-8"),
        (
            "/geoserver/wms?service=WMS&version=1.1.1&request=GetMap",
            200,
            "application/vnd.ogc.se_xml;charset=UTF-8",
        ),
        (
            "/geoserver/wfs?service=WFS&version=1.1.0&request=GetFeature",
            200,
            "application/xml",
        ),
        (
            "/geoserver/wfs?service=WFS&version=2.0.0&request=GetFeature",
            400,
            "application/xml",
        ),
        (
            "/geoserver/gwc/service/wmts?request=GetTile&layer=geor:roads",
            500,
            "text/html;charset=utf-8",
        ),
        (VERSION, 500, "text/html;charset=utf-8"),
    ] {
        let reply = get(&replica, target);
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (status, Some(kind)),
            "{target}"
        );
        assert!(
            reply.text().contains("java.lang.OutOfMemoryError"),
            "{target}"
        );
    }
}

#[test]
fn exceptions_are_compressed_if_the_client_accepts_it() {
    let replica = replica();
    replica.suffers(Fault::Exception("Stale file handle"));
    let reply = get_with(&replica, GET_MAP, &[("Accept-Encoding", "deflate, gzip")]);
    assert!(reply.unzipped().contains("Stale file handle"));
}

#[test]
fn an_undeployed_webapp_is_404_everywhere() {
    let replica = replica();
    replica.suffers(Fault::Undeployed);
    for target in [
        GET_MAP,
        GET_FEATURE,
        VERSION,
        "/geoserver/web/",
        "/geoserver",
    ] {
        assert_eq!(get(&replica, target).status, 404, "{target}");
    }
}

#[test]
fn control_flow_answers_busy_with_503_and_too_many_with_429() {
    let replica = replica();
    replica.suffers(Fault::Busy.times(1));
    replica.suffers(Fault::RateLimited);
    let busy = get(&replica, GET_MAP);
    assert!(busy.status == 503 && busy.text().contains("please lower your request rate"));
    let limited = get(&replica, GET_MAP);
    assert_eq!(
        (limited.status, limited.header("x-rate-limit-remaining")),
        (429, Some("0"))
    );
}

#[test]
fn an_early_answer_comes_while_the_body_is_still_awaited() {
    let main = replica();
    main.suffers(Fault::AnswerEarly(413));
    let mut upload = connect(&main).unwrap();
    upload.write_all(b"POST /geoserver/rest/imports HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nstart").unwrap();
    assert_eq!(read_to_end(&mut upload).unwrap().status, 413);
}

#[test]
fn an_answer_that_is_not_http_is_sent_as_it_is() {
    let replica = replica();
    replica.suffers(Fault::Garbage);
    assert_eq!(
        try_get(&replica, GET_MAP).unwrap_err().kind(),
        ErrorKind::InvalidData
    );
}

#[test]
fn a_fault_of_one_class_leaves_the_others_alone() {
    let replica = replica();
    replica.suffers(Fault::Status(500).only(RequestClass::Map));
    assert_eq!(get(&replica, GET_MAP).status, 500);
    assert_eq!(get(&replica, GET_FEATURE).status, 200);
}

#[test]
fn an_occasional_fault_strikes_about_as_often_as_ordered_and_replays_with_the_seed() {
    let strikes = |seed| {
        let replica = Instance::start(
            "replica1",
            &DataDirectory::new(),
            Behaviour {
                seed,
                ..Behaviour::default()
            },
        );
        replica.suffers(Fault::Close.sometimes(0.3));
        (0..100)
            .map(|_| try_get(&replica, GET_MAP).is_err())
            .collect::<Vec<_>>()
    };
    let first = strikes(7);
    assert_eq!(first, strikes(7));
    assert_ne!(first, strikes(8));
    let share = first.iter().filter(|struck| **struck).count();
    assert!((15..=45).contains(&share), "{share} of 100");
}

#[test]
fn a_killed_instance_refuses_forgets_and_comes_back_on_its_port() {
    let cluster = Cluster::start(1);
    let replica = cluster.replica(1);
    let address = replica.address();
    let mut idle = connect(replica).unwrap();
    eventually("the connection is accepted", || {
        replica.control().open_connections() == 1
    });
    cluster.main().publish("geor:brand_new");
    replica.kill();
    assert_eq!(
        idle.read(&mut [0]).unwrap(),
        0,
        "closed in good order: nothing was unread"
    );
    assert_eq!(
        try_get(replica, GET_MAP).unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    assert_eq!(replica.epoch(), None);
    replica.restart();
    assert_eq!(replica.address(), address);
    assert!(
        get(replica, &GET_MAP.replace("public_layer", "brand_new")).is_png(),
        "it loaded the current catalog"
    );
}

#[test]
fn a_crashed_instance_resets_its_connections() {
    let replica = replica();
    let mut idle = connect(&replica).unwrap();
    eventually("the connection is accepted", || {
        replica.control().open_connections() == 1
    });
    replica.crash();
    assert_eq!(
        idle.read(&mut [0]).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
}

#[test]
fn a_write_is_on_record_exactly_as_often_as_it_was_executed() {
    let main = replica();
    assert_eq!(
        post(&main, "/geoserver/wfs?geosim_tag=a", &[], TRANSACTION).status,
        200
    );
    main.suffers(Fault::Hang.only(RequestClass::Transaction));
    std::thread::scope(|scope| {
        scope.spawn(|| try_send(&main, "POST", "/geoserver/wfs", &[], TRANSACTION));
        eventually("it hangs", || main.received(RequestClass::Transaction) == 2);
        main.heals();
    });
    assert_eq!(
        as_admin(&main, "POST", "/geoserver/rest/reset", "").status,
        200
    );
    let writes = main.data().writes();
    assert_eq!(
        writes
            .iter()
            .map(|write| write.what.as_str())
            .collect::<Vec<_>>(),
        ["Transaction", "POST /rest/reset"]
    );
    assert_eq!(
        (writes[0].tag.as_deref(), writes[0].by.as_str()),
        (Some("a"), "replica1")
    );
}
