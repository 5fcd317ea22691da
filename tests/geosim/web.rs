//! The web interface: sessions of one instance, the login form, the origin of posts, the wait
//! for a reload, and the name of the instance.

use std::time::{Duration, Instant};

use geofront::geosim::{BASIC, Behaviour, Cluster, Instance, PASSWORD, USER};
use geofront::ogc::RequestClass;

use crate::client::{GET_MAP, Reply, get, get_with, post, start, start_with, try_send};
use crate::reloads::{in_a_reload, in_an_endless_reload};

const LOGIN: &str = "/geoserver/j_spring_security_check";
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

/// A browser that keeps its cookie, and follows redirects to the host of its request.
#[derive(Default)]
struct Browser {
    cookie: String,
}

impl Browser {
    fn open(&mut self, instance: &Instance, target: &str) -> Reply {
        let mut target = target.to_owned();
        for _ in 0..5 {
            let reply = get_with(instance, &target, &[("Cookie", &self.cookie)]);
            if let Some(cookie) = session_of(&reply) {
                self.cookie = cookie;
            }
            let Some(location) = reply.header("location") else {
                return reply;
            };
            target = location
                .strip_prefix(&instance.url())
                .expect("it points to the host that was asked")
                .to_owned();
        }
        panic!("redirected for ever");
    }
}

/// `JSESSIONID=...`, as the browser sends it back.
fn session_of(reply: &Reply) -> Option<String> {
    reply
        .header("set-cookie")
        .map(|cookie| cookie.split(';').next().unwrap().to_owned())
}

#[test]
fn the_first_page_opens_a_session_for_the_whole_webapp() {
    let main = start();
    let reply = get(&main, "/geoserver/web/");
    assert_eq!(
        (reply.status, reply.header("location")),
        (
            302,
            Some(format!("{}/geoserver/web/?0", main.url()).as_str())
        )
    );
    let cookie = reply.header("set-cookie").unwrap();
    assert!(
        cookie.starts_with("JSESSIONID=") && cookie.ends_with("; Path=/geoserver; HttpOnly"),
        "{cookie}"
    );
    let session = session_of(&reply).unwrap();
    let page = get_with(
        &main,
        "/geoserver/web/?0",
        &[("Cookie", &format!("other=1; {session}"))],
    );
    assert!(page.status == 200 && page.header("set-cookie").is_none());
    assert_eq!(main.received(RequestClass::Ui), 2);
}

#[test]
fn only_the_web_interface_opens_sessions() {
    let main = start();
    for target in [
        GET_MAP,
        "/geoserver/rest/about/version.xml",
        "/geoserver/gwc/rest/layers",
        "/geoserver/gwc/service/wmts?request=GetCapabilities",
    ] {
        let reply = get_with(&main, target, &[("Authorization", BASIC)]);
        assert_eq!(
            (reply.status, reply.header("set-cookie")),
            (200, None),
            "{target}"
        );
    }
}

#[test]
fn every_address_before_the_interface_leads_to_it() {
    let main = start();
    for target in [
        "/geoserver",
        "/geoserver/",
        "/geoserver/index.html",
        "/geoserver/web",
    ] {
        let page = Browser::default().open(&main, target);
        assert!(
            page.status == 200 && page.text().contains("GeoServer: Welcome"),
            "{target}"
        );
    }
}

#[test]
fn a_session_is_known_to_one_instance_only() {
    let cluster = Cluster::start(1);
    let mut browser = Browser::default();
    browser.open(cluster.main(), "/geoserver/web/");
    let session = browser.cookie.clone();
    let elsewhere = get_with(
        cluster.replica(1),
        "/geoserver/web/?0",
        &[("Cookie", &session)],
    );
    assert!(
        elsewhere.status == 302 && session_of(&elsewhere).is_some_and(|new| new != session),
        "{elsewhere:?}"
    );
    assert_eq!(
        get_with(cluster.main(), "/geoserver/web/?0", &[("Cookie", &session)]).status,
        200
    );
    cluster.main().kill();
    cluster.main().restart();
    assert!(
        session_of(&get_with(
            cluster.main(),
            "/geoserver/web/?0",
            &[("Cookie", &session)]
        ))
        .is_some()
    );
}

#[test]
fn a_page_that_the_session_never_saw_is_expired() {
    let main = start();
    let mut browser = Browser::default();
    browser.open(&main, "/geoserver/web/");
    let cookie = [("Cookie", browser.cookie.as_str())];
    let expired = get_with(&main, "/geoserver/web/?7", &cookie);
    assert!(
        expired
            .header("location")
            .unwrap()
            .ends_with("/geoserver/web/?expired"),
        "{expired:?}"
    );
    browser.open(&main, "/geoserver/web/?expired");
    assert_eq!(
        get_with(&main, "/geoserver/web/?1", &[("Cookie", &browser.cookie)]).status,
        200,
        "pages are numbered"
    );
}

#[test]
fn the_login_form_opens_a_session_and_a_wrong_password_does_not() {
    let main = start();
    let login = |password: &str| {
        post(
            &main,
            LOGIN,
            &[FORM],
            &format!("username={USER}&password={password}"),
        )
    };
    let welcome = login(PASSWORD);
    assert!(
        welcome.status == 302
            && welcome
                .header("location")
                .unwrap()
                .ends_with("/geoserver/web/"),
        "{welcome:?}"
    );
    let mut browser = Browser {
        cookie: session_of(&welcome).unwrap(),
    };
    let session = browser.cookie.clone();
    assert_eq!(browser.open(&main, "/geoserver/web/").status, 200);
    assert_eq!(browser.cookie, session, "the session of the login is kept");
    let refused = login("guess");
    assert!(
        refused.header("set-cookie").is_none()
            && refused.header("location").unwrap().contains("error=true")
    );
    let left = get(&main, "/geoserver/j_spring_security_logout");
    assert!(
        left.header("set-cookie")
            .unwrap()
            .starts_with("JSESSIONID=;")
    );
}

#[test]
fn a_post_changes_something_unless_it_comes_from_another_origin() {
    let main = start();
    let mut browser = Browser::default();
    browser.open(&main, "/geoserver/web/");
    let click = |header: &str, value: &str| {
        let headers = [("Cookie", browser.cookie.as_str()), (header, value)];
        try_send(
            &main,
            "POST",
            "/geoserver/web/?0-1.-form",
            &headers,
            "save=1",
        )
        .unwrap()
    };
    for (header, value) in [
        ("Origin", "https://evil.example.org"),
        ("Referer", "https://evil.example.org/geoserver/web/?0"),
    ] {
        let forged = click(header, value);
        assert!(
            forged.status == 403
                && forged
                    .text()
                    .contains("Origin does not correspond to request"),
            "{header}: {forged:?}"
        );
    }
    assert!(main.data().writes().is_empty());
    for (header, value) in [
        ("Origin", main.url()),
        ("Referer", format!("{}/geoserver/web/?0", main.url())),
    ] {
        assert_eq!(click(header, &value).status, 302, "{header}");
    }
    let writes: Vec<_> = main
        .data()
        .writes()
        .into_iter()
        .map(|write| write.what)
        .collect();
    assert_eq!(writes, ["POST /web/", "POST /web/"]);
}

const LAYER_PAGE: &str =
    "/geoserver/web/wicket/bookmarkable/org.geoserver.web.data.layer.LayerPage";

#[test]
fn pages_show_that_geoserver_is_busy_when_they_waited_in_vain_for_a_reload() {
    let ui_lock_wait = Duration::from_millis(20);
    in_an_endless_reload(
        Behaviour {
            ui_lock_wait,
            ..Behaviour::default()
        },
        |instance| {
            let asked = Instant::now();
            let page = get(instance, LAYER_PAGE);
            assert!(
                page.status == 200 && page.text().contains("GeoServer is busy"),
                "{page:?}"
            );
            assert!(asked.elapsed() >= ui_lock_wait);
        },
    );
}

#[test]
fn the_home_page_is_shown_during_a_reload() {
    in_an_endless_reload(Behaviour::default(), |instance| {
        assert!(
            Browser::default()
                .open(instance, "/geoserver/web/")
                .text()
                .contains("Welcome")
        );
    });
}

#[test]
fn pages_wait_for_a_reload_that_ends_in_time() {
    let main = start_with(Behaviour {
        reload_time: Duration::from_millis(100),
        ..Behaviour::default()
    });
    in_a_reload(&main, || {
        assert!(
            Browser::default()
                .open(&main, LAYER_PAGE)
                .text()
                .contains("Welcome")
        );
        assert!(!main.control().is_reloading());
    });
}

#[test]
fn the_web_interface_shows_which_instance_it_is_and_allows_no_foreign_frame() {
    let cluster = Cluster::start(1);
    for instance in cluster.instances() {
        let page = Browser::default().open(instance, "/geoserver/web/");
        assert!(
            page.text().contains(&format!("on {}", instance.name())),
            "{}",
            page.text()
        );
        assert_eq!(page.header("x-frame-options"), Some("SAMEORIGIN"));
    }
}
