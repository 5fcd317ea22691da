//! A change made on the main reaches every replica, each reloaded while it serves
//! nothing, without one wrong answer.

mod evidence;
mod own_writes;

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

/// The update sequence is read for hints alone here, because the next reading by the clock is an
/// hour away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_restore_or_an_import_made_is_only_on_the_main_since_the_job_ended_later() {
    for (begin, look, layer) in [
        (&["/br/restore"][..], "/br/restore/0.json", "restored_0"),
        (&["/imports", "/imports/0"], "/imports/0", "imported_0"),
    ] {
        let rig = plan(2, Flavour::GeOrchestra)
            .catalog("poll = \"1h\"")
            .start()
            .await;
        for path in begin {
            let answered = |rig: &Rig| rig.app.control.snapshot().tickets.answered;
            let before = answered(&rig);
            let answer = rig.request(&rest("POST", path, "{}")).await;
            assert!(
                (200..300).contains(&answer.status),
                "{path}: {}",
                answer.status
            );
            // So that nothing which follows is due to the order.
            rig.until("the order is followed up", |rig| answered(rig) > before)
                .await;
        }
        assert!(
            rig.data.contents().layer(layer).is_none(),
            "{layer}: not yet"
        );
        let answer = rig.request(&rest("GET", look, "")).await;
        assert!(answer.text().contains("COMPLETE"), "{}", answer.text());
        rig.until("every replica has what the job made", |rig| {
            rig.replicas
                .iter()
                .all(|replica| replica.epoch() == rig.main.epoch())
        })
        .await;
        assert!(rig.data.contents().layer(layer).is_some(), "{layer}");
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
async fn update_sequences_that_reloads_change_start_no_endless_loop() {
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
async fn a_reload_ordered_by_a_client_goes_to_the_main_and_rolls_the_replicas() {
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
