//! The real binary against a real admin endpoint: what operators type while geofront runs.

use std::process::{Output, Stdio};

use super::support::{Admin, in_time};
use geofront::admin::answers::Reload;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

fn command(admin: &Admin, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_geofront"));
    command.args(arguments).args(["--admin", &admin.address.to_string()]).kill_on_drop(true);
    command
}

/// Exit code, standard output, standard error.
async fn geofront(admin: &Admin, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = in_time(command(admin, arguments).output()).await.expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("it writes text");
    (status.code().expect("it exits"), text(stdout), text(stderr))
}

async fn cluster() -> Admin {
    let admin = Admin::start("").await;
    admin.pass_probes();
    admin
}

#[tokio::test]
async fn status_shows_every_upstream_and_exits_by_how_they_are() {
    let admin = Admin::start("").await;
    let (code, out, _) = geofront(&admin, &["status"]).await;
    assert!(code == 2 && out.contains("NOT SERVING"), "{code} {out}");
    admin.pass_probes();
    let (code, out, _) = geofront(&admin, &["status"]).await;
    assert!(code == 0 && out.contains("serving, configuration 1") && out.lines().count() == 6, "{code} {out}");
    geofront(&admin, &["drain", "a"]).await;
    let (code, out, _) = geofront(&admin, &["status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, status["upstreams"][1]["mode"].as_str()), (1, Some("drain")));
}

#[tokio::test]
async fn drain_says_what_is_still_in_flight_and_ready_brings_it_back() {
    let admin = cluster().await;
    let _lease = admin.hold("a");
    let (code, out, _) = geofront(&admin, &["drain", "a"]).await;
    assert_eq!((code, out.as_str()), (0, "a: draining, 1 in flight\n"));
    let (code, out, _) = geofront(&admin, &["ready", "a"]).await;
    assert_eq!((code, out.as_str()), (0, "a: ready, gets requests\n"));
}

#[tokio::test]
async fn drain_waits_until_nothing_is_in_flight() {
    let admin = cluster().await;
    let lease = admin.hold("a");
    let mut draining = command(&admin, &["drain", "a", "--wait"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(draining.stdout.take().unwrap()).lines();
    assert_eq!(in_time(lines.next_line()).await.unwrap().as_deref(), Some("a: draining, 1 in flight"));
    drop(lease);
    assert_eq!(in_time(lines.next_line()).await.unwrap().as_deref(), Some("a: drained, nothing in flight"));
    assert!(in_time(draining.wait()).await.unwrap().success());
}

#[tokio::test]
async fn drain_that_takes_too_long_exits_1_and_says_what_to_do() {
    let admin = cluster().await;
    let _lease = admin.hold("a");
    let (code, _, err) = geofront(&admin, &["drain", "a", "--wait", "--timeout", "0s"]).await;
    let expected =
        "error: a: still 1 in flight after 0s\n  help: it gets nothing new; wait again, or `geofront ready a` brings it back\n";
    assert_eq!((code, err.as_str()), (1, expected));
}

#[tokio::test]
async fn the_last_one_needs_force() {
    let admin = cluster().await;
    let (code, _, err) = geofront(&admin, &["drain", "main"]).await;
    assert!(code == 1 && err.contains("`main` is the last upstream") && err.contains("--force"), "{code} {err}");
    let (code, out, _) = geofront(&admin, &["maintenance", "main", "--force"]).await;
    assert_eq!((code, out.as_str()), (0, "main: in maintenance, 0 in flight\n"));
}

#[tokio::test]
async fn a_name_that_is_not_configured_is_answered_with_those_that_are() {
    let (code, _, err) = geofront(&cluster().await, &["ready", "slave"]).await;
    assert_eq!((code, err.as_str()), (1, "error: no upstream is called `slave`; there are main, a, b\n"));
}

#[tokio::test]
async fn reload_prints_what_changed_or_why_not() {
    let admin = cluster().await;
    *admin.reloads.next.lock() = Some(Reload::Applied { revision: 4, changes: vec!["health.rise: 2, was 1".to_owned()] });
    let (code, out, _) = geofront(&admin, &["reload"]).await;
    assert_eq!((code, out.as_str()), (0, "configuration 4 is in force\n  health.rise: 2, was 1\n"));
    *admin.reloads.next.lock() = Some(Reload::Refused { error: "error: unknown key `wieght`\n".to_owned() });
    let (code, _, err) = geofront(&admin, &["reload"]).await;
    let expected = "error: the configuration was refused; what was in force stays in force\n\nerror: unknown key `wieght`\n";
    assert_eq!((code, err.as_str()), (1, expected));
}

#[tokio::test]
async fn a_token_comes_from_a_file() {
    let admin = Admin::start("admin_token_env = 'TOKEN'\n").await;
    admin.pass_probes();
    let (code, _, err) = geofront(&admin, &["status"]).await;
    assert!(code == 2 && err.contains("asks for its admin token"), "{code} {err}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "s3cret\n").unwrap();
    let (code, _, err) = geofront(&admin, &["status", "--token-file", file.path().to_str().unwrap()]).await;
    assert_eq!((code, err.as_str()), (0, ""));
}
