//! However the configuration is written: in parts, in a place from which no events come, as a new
//! file of an include.

use std::fs::{self, OpenOptions};
use std::future::pending;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use geofront::cluster::{Transition, TransitionKind};
use geofront::geosim::{Behaviour, Instance};
use tokio::time::timeout;

use super::client::Client;
use super::rig::{Plan, Rig, upstream};

/// Writes in place, like `>`: the file exists all the time and is incomplete for a moment.
fn write_in_place(path: &Path, text: &str) {
    OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

/// Two writes with `gap` between them; how long it really was.
async fn write_in_two_parts(path: &Path, (first, second): (&str, &str), gap: Duration) -> Duration {
    let mut file = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path)
        .unwrap();
    file.write_all(first.as_bytes()).unwrap();
    let started = Instant::now();
    timeout(gap, pending::<()>()).await.unwrap_err();
    file.write_all(second.as_bytes()).unwrap();
    started.elapsed()
}

fn with_weight(config: &str, weight: u16) -> String {
    config.replace(
        "[upstreams.slave1]",
        &format!("[upstreams.slave1]\nweight = {weight}"),
    )
}

/// Returns the number of config reloads refused so far, from `/metrics`.
async fn refusals(rig: &Rig) -> usize {
    let mut client = Client::connect(rig.app.admin).await.unwrap();
    let metrics = client.get("/metrics").await.unwrap().body;
    String::from_utf8(metrics)
        .unwrap()
        .lines()
        .filter(|line| line.contains("outcome=\"refused\""))
        .count()
}

/// The time between the two parts of a write: the first look sees only the first part, and the
/// second look sees everything.
const GAP: Duration = Duration::from_millis(75);
/// A test that was held up longer between two writes has written a short file.
const HELD_UP: Duration = Duration::from_millis(95);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_still_being_written_is_not_taken_for_a_short_one() {
    let rig = Plan::replicas(2).start().await;
    let base = rig.config();
    let mut transitions = rig.app.control.transitions();
    let mut weights = 1..=30;
    for is_whole_so_far in [true, false, true, false] {
        // A round in which the test was held up proves nothing, and is repeated.
        loop {
            let weight = weights.next().expect("the test is not held up each time");
            let whole = with_weight(&base, weight);
            // The first part is a configuration of its own, without slave2; or it ends within a
            // key.
            let cut =
                whole.find("[upstreams.slave2]").unwrap() + if is_whole_so_far { 0 } else { 5 };
            let gap = write_in_two_parts(&rig.config_path(), whole.split_at(cut), GAP).await;
            rig.until("it is in force", |rig| {
                rig.upstream("slave1").weight == weight
            })
            .await;
            let seen: Vec<Transition> =
                std::iter::from_fn(|| transitions.try_recv().ok()).collect();
            if gap < HELD_UP {
                assert!(
                    !seen.iter().any(|t| t.what == TransitionKind::Retired),
                    "{seen:#?}"
                );
                assert_eq!(refusals(&rig).await, 0);
                break;
            }
        }
    }
    assert!(!rig.app.reload.last().unwrap().outcome.is_refused());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_from_which_no_event_comes_is_in_force_within_a_second_too() {
    let rig = Plan::replicas(1).start().await;
    let path = rig.config_path();
    // The kernel notifies only the folder through whose name a file is written. The same happens
    // with a single file that is mounted into a container, or written on another machine.
    let elsewhere = path.with_file_name("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let other_name = elsewhere.join("config");
    fs::hard_link(&path, &other_name).unwrap();
    for weight in [50, 60, 70] {
        let written = Instant::now();
        write_in_place(
            &other_name,
            &with_weight(&rig.config().replace("weight = ", "# "), weight),
        );
        rig.until("it is in force", |rig| {
            rig.upstream("slave1").weight == weight
        })
        .await;
        assert!(
            written.elapsed() < Duration::from_secs(1),
            "{:?}",
            written.elapsed()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_dropped_into_an_include_folder_counts_and_one_that_is_taken_away_does_not()
{
    let rig = Plan::replicas(1).start().await;
    let folder = rig.config_path().with_file_name("conf.d");
    fs::create_dir(&folder).unwrap();
    rig.write_config(&format!("include = [\"conf.d/*.toml\"]\n{}", rig.config()));
    rig.until("the folder is known", |rig| {
        rig.app.reload.folders().contains(&folder)
    })
    .await;
    let late = Instance::start("late", &rig.data, Behaviour::default());
    let serves = |rig: &Rig| {
        rig.upstreams()
            .iter()
            .any(|u| u.name.as_str() == "late" && u.eligible)
    };

    let dropped = Instant::now();
    fs::write(
        folder.join("late.toml"),
        upstream("late", late.address(), ""),
    )
    .unwrap();
    rig.until("the new upstream serves", serves).await;
    assert!(
        dropped.elapsed() < Duration::from_secs(1),
        "{:?}",
        dropped.elapsed()
    );

    fs::write(folder.join("notes.txt"), "not a configuration").unwrap();
    fs::remove_file(folder.join("late.toml")).unwrap();
    rig.until("it is gone", |rig| rig.upstreams().len() == 2)
        .await;
    assert_eq!(refusals(&rig).await, 0);
}
