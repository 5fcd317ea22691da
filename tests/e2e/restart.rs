//! The real binary, killed without warning in the middle of a roll and started again.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use geofront::geosim::{
    BASIC, Behaviour, DataDirectory, Fault, Flavour, Instance, Outage, TileStore,
};

use super::binary::{Process, tick, until};
use super::client::Client;
use super::requests::MAP;
use super::rig::{PATIENCE, upstream};

fn configuration(folder: &Path, main: &Instance, replicas: &[Instance]) -> String {
    let mut config = "listen = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n".to_owned();
    config += &upstream("main", main.address(), "role = \"main\"");
    for replica in replicas {
        config += &upstream(replica.name(), replica.address(), "");
    }
    config += "[geoserver]\nheaders = { sec-username = \"geofront\", sec-roles = \"ROLE_ADMINISTRATOR\" }\n\
               [health]\ninterval = \"100ms\"\ndown_interval = \"50ms\"\nslow_start = \"0s\"\nprobe_layer = \"geor:public_layer\"\n\
               [log]\naccess = \"off\"\n";
    config
        + &format!(
            "[catalog]\npoll = \"100ms\"\nsettle = \"100ms\"\nstate_file = \"{}\"\n",
            folder.join("state.json").display()
        )
}

/// True if the state file has an update sequence for each of the replicas, and none is in a reload.
fn owes_nothing(folder: &Path, replicas: usize) -> bool {
    let Ok(text) = std::fs::read_to_string(folder.join("state.json")) else {
        return false;
    };
    let state: serde_json::Value = serde_json::from_str(&text).unwrap();
    let upstreams = state["upstreams"].as_array().unwrap();
    let is_done =
        |one: &serde_json::Value| one["main_number"].is_u64() && one["is_reloading"] == false;
    upstreams.iter().filter(|one| is_done(one)).count() == replicas && upstreams.len() == replicas
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_geofront_killed_in_the_middle_of_a_roll_finishes_it_and_no_replica_stays_drained() {
    for flavour in [Flavour::Vanilla, Flavour::GeOrchestra] {
        let behaviour = Behaviour {
            flavour,
            reload_time: Duration::from_millis(600),
            ..Behaviour::default()
        };
        let data: Arc<DataDirectory> = DataDirectory::new();
        let main = Instance::start("main", &data, behaviour.clone());
        let replicas: Vec<_> = (1..=3)
            .map(|n| Instance::start(&format!("slave{n}"), &data, behaviour.clone()))
            .collect();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("geofront.toml"),
            configuration(folder.path(), &main, &replicas),
        )
        .unwrap();
        let reloads = || {
            replicas
                .iter()
                .map(|replica| replica.control().catalog_reloads())
                .collect::<Vec<_>>()
        };

        let mut first = Process::start(folder.path()).await;
        first.until_all_eligible().await;
        until(
            "the main's number was read, so that a change is seen",
            || std::fs::metadata(folder.path().join("state.json")).ok(),
        )
        .await;
        main.publish("geor:news");
        until("the second replica is in its reload", || {
            replicas[1].control().is_reloading().then_some(())
        })
        .await;
        first.child.kill().await.unwrap();

        let second = Process::start(folder.path()).await;
        until("every replica has the layer", || {
            replicas
                .iter()
                .all(|r| r.epoch() == main.epoch())
                .then_some(())
        })
        .await;
        second.until_all_eligible().await;
        assert_eq!(reloads()[0], 1, "{flavour:?}: who had it is left alone");
        assert!(
            reloads()[1..].iter().all(|count| (1..=2).contains(count)),
            "{flavour:?}: {:?}",
            reloads()
        );
        let map = MAP.replace("geor:public_layer", "geor:news");
        for _ in 0..6 {
            let answer = Client::connect(second.listen)
                .await
                .unwrap()
                .get(&map)
                .await
                .unwrap();
            assert!(
                answer.status == 200 && answer.body.starts_with(b"\x89PNG"),
                "{flavour:?}: {}",
                answer.text()
            );
        }

        // And a restart when nothing is owed, and geofront has written that down, rolls no replica.
        until("the state file owes no reload", || {
            owes_nothing(folder.path(), replicas.len()).then_some(())
        })
        .await;
        let before = reloads();
        drop(second);
        let third = Process::start(folder.path()).await;
        third.until_all_eligible().await;
        let asked = main.received(geofront::ogc::RequestClass::Capabilities);
        until("the main was asked again and again", || {
            (main.received(geofront::ogc::RequestClass::Capabilities) > asked + 20).then_some(())
        })
        .await;
        assert_eq!(reloads(), before, "{flavour:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_geoserver_that_an_operator_drained_stays_drained_when_geofront_is_killed() {
    let data: Arc<DataDirectory> = DataDirectory::new();
    let main = Instance::start("main", &data, Behaviour::default());
    let replicas: Vec<_> = (1..=2)
        .map(|n| Instance::start(&format!("slave{n}"), &data, Behaviour::default()))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("geofront.toml"),
        configuration(folder.path(), &main, &replicas),
    )
    .unwrap();
    let mut first = Process::start(folder.path()).await;
    first.until_all_eligible().await;
    first.order("slave2", "drain", "alice").await;
    let state = folder.path().join("state.json");
    until("the order is on disk", || {
        std::fs::read_to_string(&state)
            .ok()?
            .contains("alice")
            .then_some(())
    })
    .await;
    first.child.kill().await.unwrap();

    let mut second = Process::start(folder.path()).await;
    let deadline = Instant::now() + PATIENCE;
    while second.upstream("slave1").await["eligible"] != true {
        assert!(Instant::now() < deadline);
        tick().await;
    }
    let drained = second.upstream("slave2").await;
    assert_eq!(
        (drained["mode"].as_str(), drained["mode_by"].as_str()),
        (Some("drain"), Some("alice from 127.0.0.1"))
    );
    let served = replicas[1].received(geofront::ogc::RequestClass::Map);
    for _ in 0..6 {
        assert_eq!(
            Client::connect(second.listen)
                .await
                .unwrap()
                .get(MAP)
                .await
                .unwrap()
                .status,
            200
        );
    }
    let probes = replicas[1].received(geofront::ogc::RequestClass::Map) - served;
    assert_eq!(
        second.upstream("slave2").await["requests_total"],
        0,
        "it got only {probes} probes"
    );
    second.child.kill().await.unwrap();

    // A power cut that tore the file costs its contents, and nothing else.
    std::fs::write(&state, "{\"version\": 2, \"upstr").unwrap();
    let third = Process::start(folder.path()).await;
    third.until_all_eligible().await;
    assert_eq!(third.upstream("slave2").await["mode"], "ready");
}

/// The names of the tile caches that owe something, as the state file has them.
fn owing(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("state.json")).unwrap_or_default();
    let state: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let tiles = state["tiles"].as_array().into_iter().flatten();
    tiles
        .map(|owed| owed["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncation_that_a_replica_owes_outlives_a_geofront_that_is_killed() {
    let behaviour = Behaviour {
        tile_store: TileStore::PerInstance,
        ..Behaviour::default()
    };
    let data: Arc<DataDirectory> = DataDirectory::new();
    let start = |name: &str| Instance::start(name, &data, behaviour.clone());
    let (main, replicas) = (start("main"), [start("slave1"), start("slave2")]);
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), &main, &replicas) + "tile_caches = \"own\"\n";
    std::fs::write(folder.path().join("geofront.toml"), config).unwrap();
    let mut first = Process::start(folder.path()).await;
    first.until_all_eligible().await;

    let rest = Outage::from(Fault::Status(500)).under("/geoserver/gwc/rest");
    replicas[0].control().suffers(rest);
    let body = "<truncateLayer><layerName>geor:roads</layerName></truncateLayer>";
    let order = format!(
        "POST /geoserver/gwc/rest/masstruncate HTTP/1.1\r\nHost: h\r\nAuthorization: {BASIC}\r\n\
         Content-Type: text/xml\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut client = Client::connect(first.listen).await.unwrap();
    let answer = client.request(order.as_bytes()).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    until("the state file has that slave1 alone owes it", || {
        (owing(folder.path()) == ["slave1"]).then_some(())
    })
    .await;
    first.child.kill().await.unwrap();
    replicas[0].control().heals();
    assert_eq!(replicas[0].control().truncations(), 0);

    let _second = Process::start(folder.path()).await;
    until("slave1 truncates its tiles", || {
        (replicas[0].control().truncations() == 1).then_some(())
    })
    .await;
    assert_eq!(replicas[1].control().truncations(), 1, "it owed nothing");
    until("the state file has that nothing is owed", || {
        owing(folder.path()).is_empty().then_some(())
    })
    .await;
}
