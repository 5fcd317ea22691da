//! Tests of REST: its authorization, the requests that wait for the configuration lock, and what
//! each kind of reload replaces.

use std::time::{Duration, Instant};

use geofront::geosim::{BASIC, Behaviour, Cluster, Instance};
use geofront::ogc::RequestClass;

use crate::client::{as_admin, get, get_with, start, start_with, try_send};
use crate::reloads::{RELOAD, in_a_reload, in_an_endless_reload};

const VERSION: &str = "/geoserver/rest/about/version.xml";
const SETTINGS: &str = "/geoserver/rest/settings.json";
const RELOAD_TIME: Duration = Duration::from_millis(200);

fn reloads_slowly() -> Instance {
    start_with(Behaviour {
        reload_time: RELOAD_TIME,
        ..Behaviour::default()
    })
}

type Headers<'a> = &'a [(&'a str, &'a str)];

/// No secret and no address, only the header.
#[test]
fn users_read_and_only_administrators_write() {
    let main = start();
    let administrator = [
        ("sec-username", "idatafeeder"),
        ("sec-roles", "ROLE_GN_ADMIN;ROLE_ADMINISTRATOR"),
    ];
    let user = [("sec-username", "somebody"), ("sec-roles", "ROLE_USER")];
    let nameless = [("sec-username", ""), ("sec-roles", "ROLE_ADMINISTRATOR")];
    let wrong = [("Authorization", "Basic YWRtaW46d3Jvbmc=")];
    let right = [("Authorization", BASIC)];
    let callers: [(Headers<'_>, u16, u16); 6] = [
        (&[], 401, 401),
        (&nameless, 401, 401),
        (&wrong, 401, 401),
        (&user, 200, 403),
        (&administrator, 200, 200),
        (&right, 200, 200),
    ];
    for (headers, may_read, may_write) in callers {
        let status = |method, target| try_send(&main, method, target, headers, "").unwrap().status;
        assert_eq!(
            (status("GET", VERSION), status("GET", SETTINGS)),
            (may_read, may_read),
            "{headers:?}"
        );
        assert_eq!(
            (status("POST", RELOAD), status("PUT", SETTINGS)),
            (may_write, may_write),
            "{headers:?}"
        );
        assert_eq!(
            status("GET", "/geoserver/gwc/rest/layers"),
            may_read,
            "{headers:?}"
        );
        assert_eq!(
            status("POST", "/geoserver/gwc/rest/reload"),
            may_write,
            "{headers:?}"
        );
    }
    assert_eq!(main.control().catalog_reloads(), 2);
    assert_eq!(
        get(&main, VERSION).header("www-authenticate"),
        Some("Basic realm=\"GeoServer Realm\"")
    );
}

#[test]
fn a_reload_is_posted_or_put_and_answered_when_it_is_over() {
    let main = reloads_slowly();
    for method in ["GET", "DELETE"] {
        assert_eq!(as_admin(&main, method, RELOAD, "").status, 405, "{method}");
    }
    for method in ["POST", "PUT"] {
        let asked = Instant::now();
        let reply = as_admin(&main, method, &format!("{RELOAD}?recurse=true"), "nothing");
        assert!(
            reply.status == 200 && reply.body.is_empty() && asked.elapsed() >= RELOAD_TIME,
            "{method}: {reply:?}"
        );
    }
    assert_eq!(main.control().catalog_reloads(), 2);
}

/// A health check that requests the version therefore calls a reloading instance healthy.
#[test]
fn about_answers_in_the_middle_of_a_reload() {
    in_an_endless_reload(Behaviour::default(), |instance| {
        for page in [
            "version.xml",
            "version.json",
            "manifest",
            "status",
            "system-status",
        ] {
            assert_eq!(
                as_admin(
                    instance,
                    "GET",
                    &format!("/geoserver/rest/about/{page}"),
                    ""
                )
                .status,
                200,
                "{page}"
            );
        }
    });
}

#[test]
fn settings_and_the_catalog_are_answered_when_the_reload_is_over() {
    for target in [SETTINGS, "/geoserver/rest/layers.json"] {
        let main = reloads_slowly();
        main.publish("geor:brand_new");
        let number = main.update_sequence().unwrap();
        in_a_reload(&main, || {
            let reply = as_admin(&main, "GET", target, "");
            assert!(
                reply.status == 200 && !main.control().is_reloading(),
                "{target}"
            );
            let json = reply.json();
            assert!(
                json["global"]["updateSequence"] == number
                    || reply.text().contains("geor:brand_new"),
                "{json}"
            );
        });
    }
}

#[test]
fn writes_wait_for_a_reload_and_are_not_lost_in_it() {
    let main = reloads_slowly();
    in_a_reload(&main, || {
        let made = as_admin(
            &main,
            "POST",
            "/geoserver/rest/workspaces",
            "{\"workspace\": {\"name\": \"new\"}}",
        );
        assert!(made.status == 201 && !main.control().is_reloading());
    });
    assert_eq!(
        as_admin(&main, "GET", "/geoserver/rest/workspaces/new.json", "").status,
        200
    );
}

/// A caller must therefore not call twice.
#[test]
fn concurrent_reloads_run_one_after_the_other_each_in_full() {
    let main = reloads_slowly();
    let asked = Instant::now();
    in_a_reload(&main, || {
        assert_eq!(as_admin(&main, "POST", RELOAD, "").status, 200)
    });
    assert_eq!(main.control().catalog_reloads(), 2);
    assert!(asked.elapsed() >= 2 * RELOAD_TIME);
}

#[test]
fn a_catalog_reload_reloads_no_security_and_no_other_reload_the_catalog() {
    let cluster = Cluster::start(1);
    let (replica, control) = (cluster.replica(1), cluster.replica(1).control());
    cluster.main().publish("geor:brand_new");
    let counts = || {
        [
            control.catalog_reloads(),
            control.security_reloads(),
            control.gwc_reloads(),
            control.resets(),
        ]
    };
    for (target, expected) in [
        ("/geoserver/rest/security/acl/catalog/reload", [0, 1, 0, 0]),
        ("/geoserver/gwc/rest/reload", [0, 1, 1, 0]),
        ("/geoserver/rest/reset", [0, 1, 1, 1]),
    ] {
        assert_eq!(
            as_admin(replica, "POST", target, "").status,
            200,
            "{target}"
        );
        assert_eq!((counts(), replica.epoch()), (expected, Some(0)), "{target}");
    }
    assert_eq!(as_admin(replica, "POST", RELOAD, "").status, 200);
    assert_eq!(
        (counts(), replica.epoch()),
        ([1, 1, 1, 1], cluster.main().epoch())
    );
}

#[test]
fn the_file_of_settings_is_read_from_the_shared_directory_and_not_from_memory() {
    let cluster = Cluster::start(1);
    cluster.main().publish("geor:brand_new");
    let number = cluster.main().update_sequence().unwrap();
    assert_ne!(cluster.replica(1).update_sequence(), Some(number));
    let file = as_admin(
        cluster.replica(1),
        "GET",
        "/geoserver/rest/resource/global.xml",
        "",
    );
    assert_eq!(file.header("resource-type"), Some("resource"));
    assert!(
        file.text()
            .contains(&format!("<updateSequence>{number}</updateSequence>")),
        "{}",
        file.text()
    );
    assert_eq!(
        as_admin(cluster.replica(1), "GET", SETTINGS, "").json()["global"]["updateSequence"],
        0
    );
}

#[test]
fn every_write_is_on_record_and_no_read_is() {
    let main = start();
    for target in [
        VERSION,
        SETTINGS,
        "/geoserver/rest/workspaces",
        "/geoserver/rest/layers/geor:roads.json",
        "/geoserver/gwc/rest/layers",
    ] {
        assert_eq!(
            get_with(&main, target, &[("Authorization", BASIC)]).status,
            200,
            "{target}"
        );
    }
    assert!(main.data().writes().is_empty());
    for (method, target) in [
        ("POST", "/rest/reload"),
        ("PUT", "/rest/logging"),
        ("DELETE", "/rest/layers/geor:roads"),
        ("POST", "/gwc/rest/seed/geor:rivers.json"),
    ] {
        assert_eq!(
            as_admin(&main, method, &format!("/geoserver{target}"), "{}").status,
            200,
            "{target}"
        );
    }
    let writes: Vec<_> = main
        .data()
        .writes()
        .into_iter()
        .map(|write| write.what)
        .collect();
    assert_eq!(
        writes,
        [
            "POST /rest/reload",
            "PUT /rest/logging",
            "DELETE /rest/layers/geor:roads",
            "POST /gwc/rest/seed/geor:rivers.json"
        ]
    );
    assert_eq!(main.received(RequestClass::Admin), 9);
}
