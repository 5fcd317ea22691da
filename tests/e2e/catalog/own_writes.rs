//! Reads of clients that have just changed the catalog, and of all others meanwhile.

use std::time::Instant;

use geofront::geosim::{BASIC, Flavour};
use geofront::ogc::RequestClass;

use super::{OPINIONS_AT_ONCE, OPINIONS_PER_SECOND, PROBES, is_map, map_of, plan};
use crate::client::get;
use crate::requests::MAP;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_author_of_a_layer_sees_it_at_once_and_until_it_is_everywhere() {
    let rig = plan(2, Flavour::GeOrchestra)
        .catalog("settle = \"700ms\"")
        .start()
        .await;
    rig.publish("news").await;
    let map = map_of("geor:public_layer");
    let by_the_publisher =
        format!("GET {map} HTTP/1.1\r\nHost: h\r\nAuthorization: {BASIC}\r\n\r\n");
    let answer = rig.request(by_the_publisher.as_bytes()).await;
    assert!(is_map(&answer), "{}", answer.text());
    assert_eq!(answer.served_by(), "main");
    rig.until_epoch(1).await;
    let answer = rig.request(by_the_publisher.as_bytes()).await;
    assert!(is_map(&answer) && answer.served_by() != "main");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_administrator_behind_the_gateway_does_not_send_other_users_to_the_main() {
    let rig = plan(2, Flavour::GeOrchestra)
        .top("trusted_proxies = [\"127.0.0.1\"]")
        .catalog("settle = \"2s\"")
        .start()
        .await;
    rig.publish("news").await;
    for _ in 0..20 {
        assert_ne!(
            rig.get(MAP).await.served_by(),
            "main",
            "the gateway's address is everybody's"
        );
    }
    let from = |address: &str, credentials: &str| {
        format!(
            "POST /geoserver/rest/workspaces HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: {address}\r\n{credentials}\
                 Content-Type: application/json\r\nContent-Length: 26\r\n\r\n{{\"workspace\":{{\"name\":\"w\"}}}}"
        )
    };
    let map_from = |address: &str| {
        format!("GET {MAP} HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: {address}\r\n\r\n")
    };
    let credentials = format!("Authorization: {BASIC}\r\n");
    assert_eq!(
        rig.request(from("192.0.2.7", &credentials).as_bytes())
            .await
            .status,
        201
    );
    assert_eq!(
        rig.request(map_from("192.0.2.7").as_bytes())
            .await
            .served_by(),
        "main",
        "a script's browser"
    );
    assert_ne!(
        rig.request(map_from("192.0.2.8").as_bytes())
            .await
            .served_by(),
        "main"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_clicks_a_second_that_change_nothing_send_no_maps_to_the_main() {
    let rig = plan(2, Flavour::GeOrchestra).start().await;
    // A form that changes nothing, a login that fails, and what we cannot read: all with one
    // session.
    let posts = [
        "/geoserver/web/wicket/page?3-1.IFormSubmitListener-form",
        "/geoserver/j_spring_security_check",
        "/geoserver/odd",
    ];
    let post = |target: &str| {
        format!(
            "POST {target} HTTP/1.1\r\nHost: h\r\nCookie: JSESSIONID=a\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let map = format!("GET {MAP} HTTP/1.1\r\nHost: h\r\nCookie: JSESSIONID=a\r\n\r\n");
    let (mut clicks, mut maps) = (rig.client().await, rig.client().await);
    let mut from_main = 0;
    for number in 0..100 {
        clicks
            .request(post(posts[number % posts.len()]).as_bytes())
            .await
            .unwrap();
        let asked = rig.main.received(RequestClass::Capabilities);
        if number % posts.len() == 0 {
            rig.until("the number was read", |rig| {
                rig.main.received(RequestClass::Capabilities) > asked
            })
            .await;
        }
        from_main += u32::from(maps.request(map.as_bytes()).await.unwrap().served_by() == "main");
    }
    // A reading that has not come back yet may still be about a change.
    assert!(
        from_main <= 10,
        "{from_main} of 100 maps came from the main"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_author_of_a_change_does_not_wait_for_a_main_without_a_free_slot() {
    let rig = plan(2, Flavour::GeOrchestra)
        .with("[limits]\nmax_in_flight = 1\n")
        .catalog("settle = \"5s\"")
        .start()
        .await;
    rig.publish("news").await;
    rig.until("the publication gave its slot back", |rig| {
        rig.upstream("main").in_flight == 0
    })
    .await;
    let mut busy = rig.client().await;
    let slow =
        format!("GET {MAP}&geosim_work=3s HTTP/1.1\r\nHost: h\r\nAuthorization: {BASIC}\r\n\r\n");
    let maps = rig.main.received(RequestClass::Map);
    busy.send(slow.as_bytes()).await.unwrap();
    // The publication may still hold the main's slot for a moment.
    rig.until("the main is full", |rig| {
        rig.main.received(RequestClass::Map) > maps && rig.upstream("main").in_flight == 1
    })
    .await;
    let by_the_publisher =
        format!("GET {MAP} HTTP/1.1\r\nHost: h\r\nAuthorization: {BASIC}\r\n\r\n");
    let answer = rig.request(by_the_publisher.as_bytes()).await;
    assert!(
        is_map(&answer) && answer.served_by() != "main",
        "{}",
        answer.text()
    );
    assert_eq!(rig.upstream("main").in_flight, 1, "it did not wait");
    assert_eq!(busy.answer().await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_layer_in_great_demand_is_never_unknown_while_it_spreads() {
    let rig = plan(2, Flavour::GeOrchestra)
        .catalog("settle = \"20s\"")
        .start()
        .await;
    rig.publish("news").await;
    let mut client = rig.client().await;
    let before = rig.main.received(RequestClass::Map);
    // More than the budget of second opinions allows: these replicas are known to lack a change of
    // this workspace.
    for number in 0..400 {
        let answer = client
            .request(get(&map_of("geor:news")).as_bytes())
            .await
            .unwrap();
        assert!(is_map(&answer), "{number}: {}", answer.text());
    }
    assert!(rig.main.received(RequestClass::Map) >= before + 400);
    // A layer that no changed workspace has is the client's mistake, and keeps its usual budget.
    let (began, before) = (Instant::now(), rig.main.received(RequestClass::Map));
    for _ in 0..400 {
        let answer = client
            .request(get(&map_of("other:nowhere")).as_bytes())
            .await
            .unwrap();
        assert!(
            answer.text().contains("LayerNotDefined"),
            "{}",
            answer.text()
        );
    }
    let asked = rig.main.received(RequestClass::Map) - before;
    let most = OPINIONS_AT_ONCE + (began.elapsed() * OPINIONS_PER_SECOND).as_secs() + PROBES;
    assert!(
        asked <= most,
        "{asked} second opinions about another workspace"
    );
    assert_eq!(
        rig.catalog_reloads(),
        [0, 0],
        "all of it before the replicas had it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_users_read_from_the_replicas_while_the_author_reads_from_the_main() {
    let rig = plan(2, Flavour::GeOrchestra)
        .top("trusted_proxies = [\"127.0.0.1\"]")
        .catalog("settle = \"1s\"")
        .start()
        .await;
    let by = |user: &str, target: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: h\r\nsec-username: {user}\r\n\r\n")
    };
    let publish = "POST /geoserver/rest/workspaces HTTP/1.1\r\nHost: h\r\nsec-username: ann\r\nsec-roles: ROLE_ADMINISTRATOR\r\n\
                   Content-Length: 28\r\n\r\n{\"workspace\":{\"name\":\"ann\"}}";
    assert_eq!(rig.request(publish.as_bytes()).await.status, 201);
    assert_eq!(
        rig.request(by("ann", MAP).as_bytes()).await.served_by(),
        "main"
    );
    assert_ne!(
        rig.request(by("bob", MAP).as_bytes()).await.served_by(),
        "main"
    );
}
