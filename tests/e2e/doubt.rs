//! A wrong conclusion of ours costs nothing: our probes may be wrong, and a fault that all
//! upstreams share is no upstream's fault.

use std::time::Instant;

use geofront::cluster::{HealthState, Mode};
use geofront::geosim::{BASIC, Fault};
use geofront::ogc::RequestClass;

use super::client::get;
use super::requests::{FEATURES, MAP};
use super::rig::{Plan, Rig};

const UI: &str = "/geoserver/web/";

/// An administrator's request for the workspaces.
fn workspaces() -> Vec<u8> {
    let head = get("/geoserver/rest/workspaces.json");
    head.replacen("\r\n", &format!("\r\nAuthorization: {BASIC}\r\n"), 1)
        .into_bytes()
}

fn conditions(rig: &Rig) -> Vec<String> {
    rig.app
        .control
        .status(Instant::now())
        .conditions
        .iter()
        .map(|held| held.condition.to_string())
        .collect()
}

impl Rig {
    /// Every upstream was probed `times` more.
    async fn probed_again(&self, times: usize) {
        let counts = |rig: &Self| {
            rig.replicas
                .iter()
                .chain([&rig.main])
                .map(|i| i.control().received_in_all())
                .collect::<Vec<_>>()
        };
        let before = counts(self);
        let is_probed = |rig: &Self| {
            counts(rig)
                .iter()
                .zip(&before)
                .all(|(now, before)| now - before >= times as u64)
        };
        self.until("every upstream was probed again", is_probed)
            .await;
    }

    async fn everything_is_reachable(&self, read: &str) {
        for _ in 0..6 {
            assert_eq!(self.get(read).await.status, 200);
            assert!(
                self.get(UI).await.status < 400,
                "the way in for whom it takes to mend it"
            );
            assert_eq!(self.request(&workspaces()).await.status, 200);
        }
        assert!(
            self.upstreams().iter().all(|u| u.health == HealthState::Up),
            "{:#?}",
            self.upstreams()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_withdrawn_probe_layer_does_not_take_the_cluster_down() {
    let rig = Plan::replicas(3).start().await;
    rig.write_config(&rig.config().replace("geor:public_layer", "geor:withdrawn"));
    rig.until("the probe is in doubt", |rig| {
        conditions(rig) == ["probe layer geor:withdrawn unknown on all"]
    })
    .await;
    rig.probed_again(5).await;
    rig.everything_is_reachable(MAP).await;
    rig.write_config(&rig.config().replace("geor:withdrawn", "geor:public_layer"));
    rig.until("it is mended", |rig| conditions(rig).is_empty())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_layer_whose_database_is_gone_does_not_take_the_cluster_down() {
    let rig = Plan::replicas(3).start().await;
    let broken = Fault::Exception(
        "java.io.IOException: org.postgresql.util.PSQLException: the connection attempt failed",
    );
    rig.replicas
        .iter()
        .chain([&rig.main])
        .for_each(|instance| instance.suffers(broken.clone().only(RequestClass::Map)));
    rig.until("the probe is in doubt", |rig| {
        conditions(rig).iter().any(|c| c.contains("fails on all"))
    })
    .await;
    rig.probed_again(5).await;
    rig.everything_is_reachable(FEATURES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_typing_error_in_the_probe_layer_does_not_keep_a_cluster_from_starting() {
    let rig = Plan::replicas(2)
        .health("probe_layer = \"geor:tpyo\"")
        .start_cold()
        .await;
    rig.until("reads are served", |rig| {
        rig.upstreams().iter().all(|u| u.eligible)
    })
    .await;
    rig.everything_is_reachable(MAP).await;
    assert_eq!(conditions(&rig), ["probe layer geor:tpyo unknown on all"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_changed_password_all_stays_reachable_and_the_status_names_the_refusing_upstreams()
{
    let credentials = "[geoserver]\nheaders = { sec-username = \"geofront\", sec-roles = \"ROLE_ADMINISTRATOR\" }\n";
    let rig = Plan::replicas(2)
        .health("authenticate = true")
        .with(credentials)
        .start()
        .await;
    rig.replicas
        .iter()
        .chain([&rig.main])
        .for_each(|i| i.suffers(Fault::Status(401).only(RequestClass::Map)));
    let expected =
        ["main", "slave1", "slave2"].map(|name| format!("credentials refused by {name} (401)"));
    rig.until("it is reported", |rig| conditions(rig) == expected)
        .await;
    rig.probed_again(5).await;
    rig.everything_is_reachable(FEATURES).await;
    rig.replicas
        .iter()
        .chain([&rig.main])
        .for_each(|i| i.heals());
    rig.until("it is over", |rig| conditions(rig).is_empty())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_carry_no_credentials_by_default() {
    let credentials = "[geoserver]\nheaders = { sec-username = \"geofront\", sec-roles = \"ROLE_ADMINISTRATOR\" }\n";
    let rig = Plan::replicas(1).with(credentials).start().await;
    rig.probed_again(3).await;
    let probes = rig.replicas[0].requests();
    assert!(
        probes
            .iter()
            .all(|request| request.header("sec-username").is_none()),
        "a changed password matters to none of them"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_no_replica_answers_rightly_reads_go_to_all_that_can_be_reached() {
    let rig = Plan::replicas(2).start().await;
    rig.main.kill();
    rig.replicas[0].suffers(Fault::Status(500).only(RequestClass::Map));
    rig.until("one is seen to fail", |rig| {
        rig.upstream("slave1").health == HealthState::Down
    })
    .await;
    rig.replicas[1].suffers(Fault::Garbage);
    rig.until("the other one is gone", |rig| {
        !rig.upstream("slave2").is_reachable
    })
    .await;
    rig.until("reads fail open", |rig| rig.upstream("slave1").eligible)
        .await;
    assert_eq!(rig.get(FEATURES).await.served_by(), "slave1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_recovers_while_the_others_are_gone_gets_its_full_share_at_once() {
    let rig = Plan::replicas(2)
        .health("slow_start = \"1h\"")
        .start()
        .await;
    rig.replicas
        .iter()
        .for_each(|replica| replica.suffers(Fault::Hang));
    rig.until("both are down", |rig| {
        rig.upstreams()
            .iter()
            .filter(|u| u.health == HealthState::Down)
            .count()
            == 2
    })
    .await;
    rig.replicas[0].heals();
    rig.until("one is back", |rig| {
        rig.upstream("slave1").health == HealthState::Up
    })
    .await;
    assert_eq!(
        rig.upstream("slave1").effective_weight,
        rig.upstream("slave1").weight
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_with_another_password_is_not_taken_out_of_service_for_a_reload_that_it_refuses()
{
    let credentials = "[geoserver]\nheaders = { sec-username = \"geofront\", sec-roles = \"ROLE_ADMINISTRATOR\" }\n";
    let rig = Plan::replicas(2)
        .with(credentials)
        .catalog("poll = \"100ms\"\nsettle = \"100ms\"")
        .start()
        .await;
    rig.replicas[0].suffers(Fault::Status(401).under("/geoserver/rest"));
    let load = super::load::Load::start(rig.address(), 4, &[MAP]);
    let served = || rig.replicas[0].received(RequestClass::Map);
    rig.main.publish("geor:new_layer");
    let is_served = |rig: &Rig| {
        rig.upstream("slave2").catalog.epoch > Some(0) && rig.upstream("slave2").catalog.is_fresh
    };
    rig.until("the other one has the change", |rig| {
        rig.app.control.status(Instant::now()).catalog.epoch > 0 && is_served(rig)
    })
    .await;
    rig.until("status says who refuses", |rig| {
        conditions(rig) == ["credentials refused by slave1 (401)"]
    })
    .await;
    // The fresh replica gets the reads while it has free slots; without it, the stale one serves.
    rig.app
        .control
        .set_mode("slave2", Mode::Drain, false, Instant::now())
        .unwrap();
    let before = served();
    load.goes_on_for(100).await;
    assert!(
        rig.upstream("slave1").eligible && served() > before,
        "it serves what it has"
    );
    assert_eq!(rig.replicas[0].control().catalog_reloads(), 0);
    let tally = load.stop().await;
    assert_eq!(tally.failures, 0, "{tally:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_change_a_canary_layer_that_was_withdrawn_everywhere_keeps_no_replica_out() {
    let credentials = "[geoserver]\nheaders = { sec-username = \"geofront\", sec-roles = \"ROLE_ADMINISTRATOR\" }\n";
    let catalog = "poll = \"100ms\"\nsettle = \"100ms\"\ncanary_layer = \"geor:withdrawn\"";
    let rig = Plan::replicas(2)
        .with(credentials)
        .catalog(catalog)
        .start()
        .await;
    rig.main.publish("geor:new_layer");
    let is_back = |rig: &Rig, name: &str| {
        let upstream = rig.upstream(name);
        upstream.catalog.epoch > Some(0) && upstream.catalog.is_fresh && upstream.eligible
    };
    rig.until("both replicas have the change and serve", |rig| {
        ["slave1", "slave2"].iter().all(|name| is_back(rig, name))
    })
    .await;
    assert_eq!(
        conditions(&rig),
        ["canary layer geor:withdrawn unknown where nothing was reloaded, too"]
    );
    assert_eq!(
        rig.replicas
            .iter()
            .map(|replica| replica.control().catalog_reloads())
            .collect::<Vec<_>>(),
        [1, 1]
    );
    rig.write_config(&rig.config().replace("geor:withdrawn", "geor:public_layer"));
    rig.until("it is mended", |rig| conditions(rig).is_empty())
        .await;
}
