//! `X-Geofront-Upstream`: an administrator reaches a given node through the front door.

use std::time::Instant;

use geofront::cluster::{HealthState, Mode};
use geofront::geosim::Instance;

use super::client::Answer;
use super::rig::{Plan, Rig};

const STATUS: &str = "/geoserver/rest/about/system-status.json";

/// The headers by which geOrchestra's gateway names an administrator.
const ADA: &str = "sec-username: ada\r\nsec-roles: ROLE_ADMINISTRATOR\r\n";

fn trusting() -> Plan {
    Plan::replicas(2).top("trusted_proxies = [\"127.0.0.1/32\"]")
}

async fn send(rig: &Rig, method: &str, target: &str, headers: &str) -> Answer {
    let request =
        format!("{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n{headers}\r\n");
    rig.request(request.as_bytes()).await
}

/// As the administrator, to a node.
async fn at(rig: &Rig, node: &str, method: &str, target: &str) -> Answer {
    let headers = format!("{ADA}X-Geofront-Upstream: {node}\r\n");
    send(rig, method, target, &headers).await
}

fn of_clients(instance: &Instance) -> usize {
    let requests = instance.requests();
    let is_of_client =
        |request: &&std::sync::Arc<geofront::geosim::Request>| request.header("via").is_some();
    requests.iter().filter(is_of_client).count()
}

fn received(rig: &Rig) -> usize {
    of_clients(&rig.main) + rig.replicas.iter().map(of_clients).sum::<usize>()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i_cannot_see_the_status_of_slave2_since_the_front_door_only_shows_the_main() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let rig = trusting().access_log(&log).start().await;
    for name in ["main", "slave1", "slave2"] {
        let answer = at(&rig, name, "GET", STATUS).await;
        assert_eq!((answer.status, answer.served_by()), (200, name));
    }
    let seen = rig.replicas[1].requests();
    let request = seen
        .iter()
        .rfind(|request| request.header("via").is_some())
        .unwrap();
    assert_eq!(request.header("x-geofront-upstream"), None);
    assert_eq!(request.header("sec-username"), Some("ada"));
    rig.until("the request is in the access log", |_| {
        let lines = std::fs::read_to_string(&log).unwrap_or_default();
        lines
            .lines()
            .any(|line| line.contains("upstream=slave2") && line.ends_with("named=slave2"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_at_the_web_interface_of_slave2_does_not_log_me_out_of_the_main() {
    let rig = trusting().start().await;
    let cookie = |answer: &Answer| {
        let set = answer.header("set-cookie").unwrap();
        set.split(';').next().unwrap().to_owned()
    };
    let main = send(&rig, "GET", "/geoserver/web/", ADA).await;
    let main = cookie(&main);
    assert!(main.starts_with("JSESSIONID="), "{main}");

    let slave2 = at(&rig, "slave2", "GET", "/geoserver/web/").await;
    let slave2 = cookie(&slave2);
    assert!(
        slave2.starts_with("GEOFRONT_slave2_JSESSIONID="),
        "{slave2}"
    );

    // The browser sends both with every request from now on.
    let both = format!("{ADA}Cookie: {main}; {slave2}\r\n");
    for node in ["slave2", "main"] {
        let header = format!("{both}X-Geofront-Upstream: {node}\r\n");
        let page = send(&rig, "GET", "/geoserver/web/?0", &header).await;
        assert!(
            page.text().contains(&format!("page 0 on {node}")),
            "{}",
            page.text()
        );
    }
    let page = send(&rig, "GET", "/geoserver/web/?0", &both).await;
    assert!(page.text().contains("page 0 on main"), "{}", page.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i_want_to_look_at_slave2_exactly_when_it_is_in_maintenance_or_failing() {
    let rig = trusting().start().await;
    let now = Instant::now();
    rig.app
        .control
        .set_mode("slave2", Mode::Maintenance, false, now)
        .unwrap();
    assert_eq!(
        at(&rig, "slave2", "GET", STATUS).await.served_by(),
        "slave2"
    );

    rig.app
        .control
        .set_mode("slave2", Mode::Ready, false, now)
        .unwrap();
    rig.replicas[1].kill();
    rig.until("slave2 is down", |rig| {
        rig.upstream("slave2").health == HealthState::Down
    })
    .await;
    let before = received(&rig);
    let answer = at(&rig, "slave2", "GET", STATUS).await;
    assert_eq!(answer.status, 502);
    assert!(
        answer.text().contains("cannot be reached") && answer.text().contains("refused"),
        "{}",
        answer.text()
    );
    assert_eq!(received(&rig), before, "no other node gets it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anybody_could_reach_our_nodes_with_a_header() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "s3cret").unwrap();
    let with_token = |plan: Plan| plan.top(&format!("admin_token_file = \"{}\"", token.display()));
    let named = "X-Geofront-Upstream: slave2\r\n";

    let rig = with_token(Plan::replicas(2)).start().await;
    for claims in [
        "",
        ADA,
        "X-Geofront-Token: s3cre\r\n",
        "Authorization: Bearer s3cret\r\n",
    ] {
        let before = received(&rig);
        let answer = send(&rig, "GET", STATUS, &format!("{claims}{named}")).await;
        assert_eq!(
            (answer.status, answer.header("x-geosim")),
            (403, None),
            "{claims}"
        );
        assert_eq!(received(&rig), before, "{claims}");
    }
    let basic = format!("Authorization: {}\r\n", geofront::geosim::BASIC);
    let answer = send(
        &rig,
        "GET",
        STATUS,
        &format!("{basic}X-Geofront-Token: s3cret\r\n{named}"),
    )
    .await;
    assert_eq!((answer.status, answer.served_by()), (200, "slave2"));
    let seen = rig.replicas[1].requests();
    let request = seen
        .iter()
        .rfind(|request| request.header("via").is_some())
        .unwrap();
    assert_eq!(request.header("x-geofront-token"), None);
    let rig = trusting().start().await;
    for claims in [
        "",
        "sec-username: bob\r\nsec-roles: ROLE_USER\r\n",
        "sec-roles: ROLE_ADMINISTRATOR\r\n",
    ] {
        let answer = send(&rig, "GET", STATUS, &format!("{claims}{named}")).await;
        assert_eq!(
            (answer.status, answer.header("x-geosim")),
            (403, None),
            "{claims}"
        );
    }
    assert_eq!(received(&rig), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_no_node_has_is_answered_with_the_names_they_have() {
    let rig = trusting().start().await;
    for name in ["replica7", "", "slave1, slave2", "SLAVE1"] {
        let answer = at(&rig, name, "GET", STATUS).await;
        assert_eq!(answer.status, 404, "{name}");
        assert!(
            answer.text().contains("main, slave1, slave2"),
            "{}",
            answer.text()
        );
    }
    assert_eq!(received(&rig), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_on_slave1_would_be_lost_behind_the_back_of_the_main() {
    let rig = trusting().start().await;
    for (method, target) in [
        ("POST", "/geoserver/rest/workspaces?name=new"),
        ("POST", "/geoserver/rest/reload"),
        ("PUT", "/geoserver/gwc/rest/layers/geor:roads"),
        ("POST", "/geoserver/web/?0"),
        ("GET", "/geoserver/web/?0-1.0-save"),
        ("GET", "/geoserver/wfs?service=WFS&request=Transaction"),
        (
            "GET",
            "/geoserver/wps?service=WPS&request=Execute&identifier=gs:Import",
        ),
    ] {
        let answer = at(&rig, "slave1", method, target).await;
        assert_eq!(answer.status, 403, "{method} {target}");
        assert!(
            answer.text().contains("one data directory"),
            "{}",
            answer.text()
        );
    }
    assert_eq!(received(&rig), 0);
    let made = at(&rig, "main", "POST", "/geoserver/rest/workspaces?name=new").await;
    assert_eq!((made.status, made.served_by()), (201, "main"));
    // A task of its own tile cache changes nothing that it shares.
    let truncated = at(
        &rig,
        "slave1",
        "POST",
        "/geoserver/gwc/rest/seed/geor:roads",
    )
    .await;
    assert_eq!((truncated.status, truncated.served_by()), (200, "slave1"));
}
