//! Changes of the catalog that the main's update sequence does not report, described as operators
//! complained about them.

use std::time::{Duration, Instant};

use geofront::geosim::{BASIC, Behaviour, Flavour};

use super::rig::{Plan, Rig};

const CREDENTIALS: &str =
    "[geoserver]\nheaders = { sec-username = \"geofront\", sec-roles = \"ROLE_ADMINISTRATOR\" }\n";

fn plan(flavour: Flavour) -> Plan {
    let behaviour = Behaviour {
        flavour,
        reload_time: Duration::from_millis(100),
        ..Behaviour::default()
    };
    Plan::replicas(2)
        .behaving(behaviour)
        .with(CREDENTIALS)
        .catalog("poll = \"100ms\"\nsettle = \"100ms\"")
}

fn with_password(method: &str, target: &str, body: &str) -> Vec<u8> {
    let head =
        format!("{method} /geoserver{target} HTTP/1.1\r\nHost: h\r\nAuthorization: {BASIC}\r\n");
    format!(
        "{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

impl Rig {
    fn reloads(&self) -> Vec<u64> {
        self.replicas
            .iter()
            .map(|replica| replica.control().catalog_reloads())
            .collect()
    }

    async fn until_reloaded(&self) {
        self.until("every replica was reloaded", |rig| {
            rig.reloads().iter().all(|reloads| *reloads > 0)
                && rig.app.control.status(Instant::now()).catalog.is_done
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i_published_on_a_main_without_update_sequences_and_half_my_maps_lack_the_layer() {
    let rig = plan(Flavour::GeOrchestra).start().await;
    rig.main.control().hide_number(true);
    rig.until("the main is silent", |rig| {
        rig.app
            .control
            .status(Instant::now())
            .catalog
            .silent_for
            .is_some()
    })
    .await;
    rig.main.publish("geor:news");
    let click = with_password(
        "POST",
        "/web/wicket/page?3-1.IFormSubmitListener-form",
        "save=1",
    );
    assert!(rig.request(&click).await.status < 400);
    rig.until_reloaded().await;
    assert_eq!(rig.reloads(), [1, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i_reset_a_store_and_the_replicas_still_show_the_old_table() {
    let rig = plan(Flavour::Vanilla).start().await;
    let reset = with_password("POST", "/rest/workspaces/geor/datastores/data/reset", "");
    assert_eq!(rig.request(&reset).await.status, 200);
    rig.until_reloaded().await;
    assert_eq!(rig.reloads(), [1, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i_added_a_user_and_the_replicas_do_not_let_her_in() {
    let rig = plan(Flavour::Vanilla).start().await;
    let user = with_password(
        "POST",
        "/rest/security/usergroup/users",
        "{\"user\":{\"userName\":\"ann\"}}",
    );
    assert_eq!(rig.request(&user).await.status, 200);
    rig.until_reloaded().await;
    for replica in &rig.replicas {
        assert_eq!(
            (
                replica.control().security_reloads(),
                replica.control().catalog_reloads()
            ),
            (1, 1)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i_pulled_the_data_directory_by_git_and_nothing_happened() {
    let in_place = "<global><updateSequence>0</updateSequence><title>pulled</title></global>";
    let replaced = "<global><updateSequence>99</updateSequence></global>";
    for (text, reloads_main) in [(in_place, false), (replaced, false), (replaced, true)] {
        let folder = tempfile::tempdir().unwrap();
        let watch = format!(
            "watch = \"{}\"\nreload_main = {reloads_main}",
            folder.path().display()
        );
        let rig = plan(Flavour::GeOrchestra)
            .with_data_on(folder.path())
            .catalog(&watch)
            .start()
            .await;
        // The first look at the file is no change: by the second reading of the main's number it is
        // over.
        let asked = rig.main.control().received_in_all();
        rig.until("the folder is watched", |rig| {
            rig.main.control().received_in_all() > asked + 40
        })
        .await;
        std::fs::write(folder.path().join("global.xml"), text).unwrap();
        rig.until_reloaded().await;
        assert_eq!(
            (rig.reloads(), rig.main.control().catalog_reloads()),
            (vec![1, 1], u64::from(reloads_main)),
            "{text}"
        );
    }
}
