//! A change made on the main reaches every replica, each reloaded while it serves
//! nothing, without one wrong answer.

use std::time::{Duration, Instant};

use geofront::cluster::{HealthState, ReloadPhase};
use geofront::geosim::{BASIC, Behaviour, Flavour};
use geofront::ogc::RequestClass;

use super::client::{Answer, get};
use super::load::Load;
use super::requests::{CAPABILITIES, FEATURES, MAP, TILE};
use super::rig::{Plan, Rig};

/// Reloads that take a while, of a cluster that settles and polls within a blink.
fn plan(replicas: usize, flavour: Flavour) -> Plan {
    let behaviour = Behaviour {
        flavour,
        reload_time: Duration::from_millis(300),
        ..Behaviour::default()
    };
    Plan::replicas(replicas)
        .behaving(behaviour)
        .with(CREDENTIALS)
        .catalog("poll = \"100ms\"\nsettle = \"100ms\"\nroll_share = 100")
}

const CREDENTIALS: &str =
    "[geoserver]\nheaders = { sec-username = \"geofront\", sec-roles = \"ROLE_ADMINISTRATOR\" }\n";

/// The budget of second opinions, in `proxy/upstream/second_opinion.rs`.
const OPINIONS_PER_SECOND: u32 = 20;
const OPINIONS_AT_ONCE: u64 = 100;
/// The main's own probes are maps, too.
const PROBES: u64 = 100;

const FLAVOURS: [Flavour; 3] = [
    Flavour::GeOrchestra,
    Flavour::Vanilla,
    Flavour::VanillaRewriting,
];

/// A REST request by an administrator with a password.
fn rest(method: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} /geoserver/rest{path} HTTP/1.1\r\nHost: maps.example.org\r\nAuthorization: {BASIC}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn map_of(layer: &str) -> String {
    MAP.replace("geor:public_layer", layer)
}

fn is_map(answer: &Answer) -> bool {
    answer.status == 200 && answer.body.starts_with(b"\x89PNG") && answer.is_complete
}

impl Rig {
    /// Publishes a layer through the front door, as clients of GeoServer's REST do: a store, then
    /// the layer.
    async fn publish(&self, layer: &str) {
        let store = format!("{{\"dataStore\":{{\"name\":\"{layer}\"}}}}");
        let feature_type = format!("{{\"featureType\":{{\"name\":\"{layer}\"}}}}");
        for (path, body) in [
            ("/workspaces/geor/datastores".to_owned(), store),
            (
                format!("/workspaces/geor/datastores/{layer}/featuretypes"),
                feature_type,
            ),
        ] {
            let answer = self.request(&rest("POST", &path, &body)).await;
            assert_eq!(answer.status, 201, "{path}: {}", answer.text());
        }
    }

    fn catalog_reloads(&self) -> Vec<u64> {
        self.replicas
            .iter()
            .map(|replica| replica.control().catalog_reloads())
            .collect()
    }

    async fn until_epoch(&self, epoch: u64) {
        let is_there = |rig: &Self| {
            let catalog = rig.app.control.status(Instant::now()).catalog;
            catalog.is_done && catalog.settled >= epoch
        };
        self.until("every replica has the change", is_there).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_layer_reaches_every_replica_without_one_wrong_answer() {
    for flavour in FLAVOURS {
        let rig = plan(3, flavour).start().await;
        let load = Load::start(rig.address(), 8, &[MAP, FEATURES, CAPABILITIES, TILE]);
        load.goes_on_for(100).await;
        rig.publish("news").await;
        rig.until_epoch(1).await;
        load.goes_on_for(100).await;
        let tally = load.stop().await;
        assert_eq!(tally.failures, 0, "{flavour:?}: {tally:#?}");
        assert_eq!(rig.catalog_reloads(), [1, 1, 1], "{flavour:?}: each once");
        assert_eq!(rig.main.control().catalog_reloads(), 0);
        for _ in 0..6 {
            let answer = rig.get(&map_of("geor:news")).await;
            assert!(
                is_map(&answer) && answer.served_by() != "main",
                "{flavour:?}: {}",
                answer.text()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_reloads_do_to_the_numbers_starts_no_endless_loop() {
    for flavour in FLAVOURS {
        let directory = tempfile::tempdir().unwrap();
        let plan = plan(2, flavour).with_data_on(directory.path());
        let plan = plan.catalog(&format!("watch = \"{}\"", directory.path().display()));
        let rig = plan.start().await;
        rig.publish("news").await;
        rig.until_epoch(1).await;
        // Fifty looks at every number there is.
        let asked = rig.main.received(RequestClass::Capabilities);
        rig.until("the main was asked again and again", |rig| {
            rig.main.received(RequestClass::Capabilities) > asked + 50
        })
        .await;
        assert_eq!(rig.catalog_reloads(), [1, 1], "{flavour:?}");
        assert_eq!(
            rig.app.control.status(Instant::now()).catalog.epoch,
            1,
            "{flavour:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_bypasses_geofront_is_seen_by_the_number_or_in_the_data_directory() {
    let directory = tempfile::tempdir().unwrap();
    for watches in [false, true] {
        let plan = plan(2, Flavour::Vanilla).with_data_on(directory.path());
        let plan = match watches {
            false => plan,
            true => plan
                .catalog("poll = \"1h\"")
                .catalog(&format!("watch = \"{}\"", directory.path().display())),
        };
        let rig = plan.start().await;
        rig.until("the main's number is known", |rig| {
            rig.app
                .control
                .status(Instant::now())
                .catalog
                .update_sequence
                .is_some()
        })
        .await;
        // The watch begins within the first second; what it sees first is no change, so the layer
        // may come at any time.
        let layer = std::cell::Cell::new(0);
        rig.until("a change is seen", |rig| {
            layer.set(layer.get() + 1);
            rig.main.publish(&format!("geor:news{}", layer.get()));
            rig.app.control.status(Instant::now()).catalog.epoch > 0
        })
        .await;
        rig.until_epoch(1).await;
        let status = rig.app.control.status(Instant::now());
        assert_eq!(
            rig.catalog_reloads(),
            [1, 1],
            "watching: {watches}, {status:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_writes_cause_at_most_two_rolls() {
    let rig = plan(2, Flavour::Vanilla)
        .catalog("settle = \"300ms\"")
        .start()
        .await;
    for number in 0..50 {
        let body = format!("{{\"workspace\":{{\"name\":\"w{number}\"}}}}");
        assert_eq!(
            rig.request(&rest("POST", "/workspaces", &body))
                .await
                .status,
            201
        );
    }
    rig.until_epoch(1).await;
    assert!(
        rig.catalog_reloads()
            .iter()
            .all(|reloads| (1..=2).contains(reloads)),
        "{:?}",
        rig.catalog_reloads()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_publishes_sees_the_layer_at_once_and_until_it_is_everywhere() {
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
async fn one_administrator_behind_the_gateway_does_not_send_everybody_to_the_main() {
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
async fn who_has_just_published_does_not_wait_for_a_main_that_has_no_slot_free() {
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
async fn a_new_layer_that_everybody_asks_for_at_once_is_never_unknown_while_it_spreads() {
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
async fn others_read_from_the_replicas_while_one_who_published_reads_from_the_main() {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_that_a_replica_does_not_know_is_answered_by_the_main_and_the_replica_is_reloaded()
{
    let tile = TILE.replace("geor:public_layer", "geor:news");
    for target in [
        map_of("geor:news"),
        FEATURES.replace("geor:public_layer", "geor:news"),
        tile,
    ] {
        let rig = plan(1, Flavour::GeOrchestra)
            .catalog("poll = \"1h\"")
            .start()
            .await;
        rig.until("the main's number is known", |rig| {
            rig.app
                .control
                .status(Instant::now())
                .catalog
                .update_sequence
                .is_some()
        })
        .await;
        rig.main.publish("geor:news");
        let answer = rig.get(&target).await;
        assert_eq!(
            (answer.status, answer.served_by()),
            (200, "main"),
            "{}",
            answer.text()
        );
        assert!(
            !answer.text().contains("ExceptionReport"),
            "{}",
            answer.text()
        );
        rig.until("it is fresh", |rig| {
            rig.catalog_reloads() == [1] && rig.upstream("slave1").catalog.is_fresh
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_somebody_reloads_behind_our_back_costs_no_wrong_map() {
    let behaviour = Behaviour {
        reload_time: Duration::from_millis(500),
        ..Behaviour::default()
    };
    // Probes too slow to notice: only the answers show it.
    let rig = Plan::replicas(2)
        .behaving(behaviour)
        .with(CREDENTIALS)
        .health("interval = \"1h\"")
        .start()
        .await;
    let load = Load::start(rig.address(), 6, &[MAP, FEATURES]);
    load.goes_on_for(50).await;
    let address = rig.replicas[0].address();
    let reload = tokio::spawn(async move {
        let mut client = super::client::Client::connect(address).await.unwrap();
        client
            .request(&rest("POST", "/reload", ""))
            .await
            .unwrap()
            .status
    });
    assert_eq!(reload.await.unwrap(), 200);
    load.goes_on_for(50).await;
    let tally = load.stop().await;
    assert_eq!(tally.failures, 0, "{tally:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_asks_for_what_nobody_has_gets_the_replicas_own_words() {
    // There are no probes meanwhile, so every map request to the main is a second opinion.
    let rig = plan(2, Flavour::GeOrchestra)
        .health("interval = \"1h\"")
        .start()
        .await;
    let (began, before) = (Instant::now(), rig.main.received(RequestClass::Map));
    for _ in 0..400 {
        let answer = rig.get(&map_of("geor:nowhere")).await;
        assert!(
            answer.text().contains("LayerNotDefined"),
            "{}",
            answer.text()
        );
    }
    let (asked, took) = (
        rig.main.received(RequestClass::Map) - before,
        began.elapsed(),
    );
    let most = OPINIONS_AT_ONCE + (took * OPINIONS_PER_SECOND).as_secs();
    assert!(
        (OPINIONS_AT_ONCE..=most).contains(&asked),
        "the main is asked within its budget: {asked} times in {took:?}"
    );
    assert_eq!(rig.catalog_reloads(), [0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebodys_own_reload_goes_to_the_main_and_rolls_the_replicas() {
    let rig = plan(2, Flavour::GeOrchestra).start().await;
    assert_eq!(rig.request(&rest("POST", "/reload", "")).await.status, 200);
    rig.until_epoch(1).await;
    assert_eq!(
        (rig.main.control().catalog_reloads(), rig.catalog_reloads()),
        (1, vec![1, 1])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_reloads_every_replica_with_security_and_tile_configuration_where_configured() {
    let along = "reload_security = true\nreload_gwc = true";
    let rig = plan(2, Flavour::GeOrchestra).catalog(along).start().await;
    let epoch = rig.app.control.order_sync(Instant::now()).unwrap();
    rig.until_epoch(epoch).await;
    for replica in &rig.replicas {
        let counts = replica.control();
        assert_eq!(
            (
                counts.catalog_reloads(),
                counts.security_reloads(),
                counts.gwc_reloads()
            ),
            (1, 1, 1)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_reload_fails_serves_nothing_until_it_is_well_and_is_reported() {
    let rig = plan(3, Flavour::GeOrchestra).start().await;
    rig.replicas[0].control().fail_catalog_reloads(1);
    let load = Load::start(rig.address(), 4, &[MAP, FEATURES, CAPABILITIES]);
    rig.publish("news").await;
    rig.until("the failure is told", |rig| {
        rig.upstream("slave1")
            .catalog
            .last_reload
            .is_some_and(|last| last.failure.is_some())
    })
    .await;
    rig.until("the others have it", |rig| {
        ["slave2", "slave3"]
            .iter()
            .all(|name| rig.upstream(name).catalog.is_fresh)
    })
    .await;
    assert!(
        !rig.upstream("slave1").eligible,
        "its catalog is empty: {:#?}",
        rig.upstream("slave1")
    );
    rig.until_epoch(1).await;
    let tally = load.stop().await;
    assert_eq!(tally.failures, 0, "{tally:#?}");
    assert_eq!(rig.catalog_reloads(), [2, 1, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_credentials_stale_replicas_are_seen_and_left_alone() {
    let rig = Plan::replicas(2)
        .catalog("poll = \"100ms\"\nsettle = \"100ms\"")
        .start()
        .await;
    rig.publish("news").await;
    rig.until("they are stale", |rig| {
        rig.upstream("slave1").catalog.phase == ReloadPhase::Waiting
    })
    .await;
    assert!(!rig.app.control.status(Instant::now()).catalog.can_reload);
    assert_eq!(
        rig.get(CAPABILITIES).await.served_by(),
        "main",
        "capabilities come from who knows"
    );
    assert_eq!(rig.catalog_reloads(), [0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_replica_is_not_reloaded() {
    let rig = plan(2, Flavour::Vanilla).start().await;
    rig.publish("news").await;
    rig.until_epoch(1).await;
    rig.replicas[0].kill();
    rig.until("it is down", |rig| {
        rig.upstream("slave1").health == HealthState::Down
    })
    .await;
    rig.replicas[0].restart();
    rig.until("it serves again", |rig| rig.upstream("slave1").eligible)
        .await;
    let asked = rig.main.received(RequestClass::Capabilities);
    rig.until("numbers were read again", |rig| {
        rig.main.received(RequestClass::Capabilities) > asked + 5
    })
    .await;
    assert_eq!(rig.catalog_reloads(), [1, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_last_write_to_all_fresh_takes_the_settling_and_the_reloads() {
    let rig = plan(3, Flavour::Vanilla)
        .catalog("settle = \"500ms\"")
        .start()
        .await;
    rig.publish("news").await;
    let written = Instant::now();
    rig.until_epoch(1).await;
    let (took, least) = (written.elapsed(), Duration::from_millis(500 + 3 * 300));
    // The bound means "no reload waited for something else", with room for a busy machine.
    assert!(
        took >= least && took < least * 2,
        "{took:?}, and the parts are {least:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_runs_is_finished_before_its_replica_is_reloaded() {
    let rig = plan(1, Flavour::GeOrchestra).start().await;
    let mut client = rig.client().await;
    client
        .send(get(&format!("{MAP}&geosim_work=1s")).as_bytes())
        .await
        .unwrap();
    rig.until("it is under way", |rig| rig.in_flight() == 1)
        .await;
    rig.publish("news").await;
    rig.until("it waits for its request", |rig| {
        rig.upstream("slave1").catalog.phase == ReloadPhase::Draining
    })
    .await;
    assert!(is_map(&client.answer().await.unwrap()));
    rig.until_epoch(1).await;
}
