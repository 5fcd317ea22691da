//! The real binary against a real admin endpoint: the commands for a running geofront.

use std::process::{Output, Stdio};

use super::support::{Admin, CREDENTIALS, in_time};
use geofront::cluster::Cause;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

fn command(admin: &Admin, arguments: &[&str]) -> Command {
    command_at(&admin.address.to_string(), arguments)
}

fn command_at(address: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_geofront"));
    command
        .args(arguments)
        .args(["--admin", address])
        .kill_on_drop(true);
    command
}

/// Exit code, standard output, standard error.
async fn geofront(admin: &Admin, arguments: &[&str]) -> (i32, String, String) {
    geofront_at(&admin.address.to_string(), arguments).await
}

/// The same for the server at `address`.
async fn geofront_at(address: &str, arguments: &[&str]) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = in_time(command_at(address, arguments).output())
        .await
        .expect("the binary runs");
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
    assert!(
        code == 0
            && out.contains("serving, configuration 1")
            && out.contains("queue: 3 of at most 400 wait: 3 map")
            && out.lines().count() == 8,
        "{code} {out}"
    );
    geofront(&admin, &["drain", "a"]).await;
    let (code, out, _) = geofront(&admin, &["status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, status["upstreams"][1]["mode"].as_str()),
        (1, Some("drain"))
    );
}

#[tokio::test]
async fn status_exits_1_while_the_configuration_on_disk_is_refused() {
    let admin = cluster().await;
    admin.world.append("fal = 4\nfali = 4\n");
    geofront(&admin, &["reload"]).await;
    let (code, out, _) = geofront(&admin, &["status"]).await;
    let lines: Vec<&str> = out
        .lines()
        .filter(|line| line.contains("was refused"))
        .collect();
    let [line] = lines.as_slice() else {
        panic!("{out}");
    };
    assert_eq!(code, 1, "{out}");
    assert!(
        line.starts_with("! the configuration on disk was refused ")
            && line.contains("unknown key `fal` in [health] (geofront.toml:")
            && line.contains(", and another problem); `geofront reload` shows all of it"),
        "{line}"
    );
    let (code, out, _) = geofront(&admin, &["top"]).await;
    assert!(code == 1 && out.contains(line), "{code} {out}");
    admin.world.append("");
    geofront(&admin, &["reload"]).await;
    let (code, out, _) = geofront(&admin, &["status"]).await;
    assert_eq!(code, 0, "{out}");
}

/// A server that answers every request with this JSON, and its address.
async fn answering(json: String) -> String {
    answering_with("", json).await
}

/// The same with more header lines.
async fn answering_with(lines: &'static str, json: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket").to_string();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a command");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a whole head"));
            }
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n{lines}\
                 Content-Length: {}\r\n\r\n{json}",
                json.len()
            );
            stream
                .write_all(answer.as_bytes())
                .await
                .expect("the command reads");
        }
    });
    address
}

#[tokio::test]
async fn the_status_of_another_version_is_read_as_far_as_it_goes() {
    let ours = env!("CARGO_PKG_VERSION");
    let mut status = cluster().await.get("/api/status").await.json();
    status["version"] = "0.0.7".into();
    status["new_in_that_version"] = serde_json::json!({"a": 1});
    status.as_object_mut().unwrap().remove("queue");
    let upstream = status["upstreams"][1].as_object_mut().unwrap();
    upstream.remove("heavy_in_flight");
    let older = answering(status.to_string()).await;
    let (code, out, err) = geofront_at(&older, &["status"]).await;
    let note = format!(
        "! geofront 0.0.7 runs, and this command is version {ours}: unknown and shown as 0 or empty are \
         queue, upstreams.heavy_in_flight\n"
    );
    assert!(code == 0 && out.contains(&note), "{code} {out} {err}");
    assert!(out.contains("geofront 0.0.7 on "), "{out}");

    status["upstreams"][1]["health"] = "asleep".into();
    let other = answering(status.to_string()).await;
    for (command, exit) in [
        (&["status"][..], 1),
        (&["status", "--json"], 1),
        (&["top"], 2),
        (&["catalog", "history"], 1),
        (&["sync"], 1),
    ] {
        let (code, out, err) = geofront_at(&other, command).await;
        let expected = format!(
            "error: geofront 0.0.7 runs on {other}, and this command of version {ours} cannot read its answer\n  \
             help: restart geofront, so that {ours} runs, or use the command of version 0.0.7\n"
        );
        assert_eq!(
            (code, out.as_str(), err),
            (exit, "", expected),
            "{command:?}"
        );
    }
    let stranger = answering("<html>".to_owned()).await;
    let (code, _, err) = geofront_at(&stranger, &["status"]).await;
    let expected = format!("error: the server on {stranger} is not geofront: `<html>`\n");
    assert_eq!((code, err), (1, expected));
}

#[tokio::test]
async fn a_command_at_the_address_for_clients_names_the_mistake() {
    let front_door = answering_with("Via: 1.1 geofront\r\n", "<html>".to_owned()).await;
    for command in [&["status"][..], &["sync"], &["drain", "a"]] {
        let (_, out, err) = geofront_at(&front_door, command).await;
        let expected = format!("error: {front_door} is an address for clients of geofront\n");
        assert!(out.is_empty() && err.starts_with(&expected), "{out} {err}");
        assert!(
            err.contains("help: commands need the address of `admin`"),
            "{err}"
        );
    }
}

#[tokio::test]
async fn drain_prints_the_requests_in_flight_and_ready_ends_it() {
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
    let mut draining = command(&admin, &["drain", "a", "--wait"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(draining.stdout.take().unwrap()).lines();
    assert_eq!(
        in_time(lines.next_line()).await.unwrap().as_deref(),
        Some("a: draining, 1 in flight")
    );
    drop(lease);
    assert_eq!(
        in_time(lines.next_line()).await.unwrap().as_deref(),
        Some("a: drained, nothing in flight")
    );
    assert!(in_time(draining.wait()).await.unwrap().success());
}

#[tokio::test]
async fn drain_that_takes_too_long_exits_1_and_names_the_remedy() {
    let admin = cluster().await;
    let _lease = admin.hold("a");
    let (code, _, err) = geofront(&admin, &["drain", "a", "--wait", "--timeout", "0s"]).await;
    let expected = "error: a: still 1 in flight after 0s\n  help: it gets nothing new; wait again, or `geofront ready a` brings it back\n";
    assert_eq!((code, err.as_str()), (1, expected));
}

#[tokio::test]
async fn the_last_one_needs_force() {
    let admin = cluster().await;
    let (code, _, err) = geofront(&admin, &["drain", "main"]).await;
    assert!(
        code == 1 && err.contains("`main` is the last upstream") && err.contains("--force"),
        "{code} {err}"
    );
    let (code, out, _) = geofront(&admin, &["maintenance", "main", "--force"]).await;
    assert_eq!(
        (code, out.as_str()),
        (0, "main: in maintenance, 0 in flight\n")
    );
}

#[tokio::test]
async fn a_name_that_is_not_configured_is_answered_with_those_that_are() {
    let (code, _, err) = geofront(&cluster().await, &["ready", "slave"]).await;
    assert_eq!(
        (code, err.as_str()),
        (
            1,
            "error: no upstream is called `slave`; there are main, a, b\n"
        )
    );
}

#[tokio::test]
async fn reload_prints_the_changes_or_the_reason_against_them() {
    let admin = cluster().await;
    admin.world.append("fall = 4\n");
    let (code, out, _) = geofront(&admin, &["reload"]).await;
    assert_eq!(
        (code, out.as_str()),
        (0, "configuration 2 is in force\n  health.fall: 3 -> 4\n")
    );
    // The file watch is usually earlier than the command.
    let (code, out, _) = geofront(&admin, &["reload"]).await;
    assert!(
        code == 0
            && out.starts_with(
                "configuration 2 is in force already\ngeofront noticed the last change "
            )
            && out.ends_with(" ago:\n  health.fall: 3 -> 4\n"),
        "{code} {out}"
    );
    admin.world.append("fal = 4\n");
    let (code, _, err) = geofront(&admin, &["reload"]).await;
    let expected = "error: the configuration was refused; the previous one stays in force\n\nerror: unknown key `fal`";
    assert!(code == 1 && err.starts_with(expected), "{code} {err}");
}

#[tokio::test]
async fn sync_orders_and_names_the_place_to_look() {
    let admin = Admin::start(CREDENTIALS).await;
    admin.drive(|_| Ok(()));
    let (code, out, _) = geofront(&admin, &["sync"]).await;
    assert!(
        code == 0 && out.contains("has epoch 1 then; `geofront status` shows"),
        "{code} {out}"
    );
    let (code, out, _) = geofront(&admin, &["status"]).await;
    assert!(
        code == 0 && out.contains("changed 0 s ago (epoch 1); 0 of 2 replicas have it"),
        "a roll is no trouble: {code} {out}"
    );
}

#[tokio::test]
async fn sync_without_credentials_is_refused_with_the_reason() {
    let (code, out, err) = geofront(&cluster().await, &["sync", "--wait"]).await;
    assert!(
        (code, out.as_str()) == (1, "") && err.contains("set `username` with `password_file`"),
        "{code} {err}"
    );
}

#[tokio::test]
async fn sync_reports_each_replica_until_all_are_fresh() {
    let admin = Admin::start(CREDENTIALS).await;
    admin.drive(|_| Ok(()));
    let lease = admin.hold("a");
    let mut syncing = command(&admin, &["sync", "--wait"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(syncing.stdout.take().unwrap()).lines();
    // Before the replica leaves service, its acceptance of the credentials is checked.
    let draining = async {
        let mut line = lines.next_line().await.unwrap().unwrap();
        while line == "a: waiting for its turn" {
            line = lines.next_line().await.unwrap().unwrap();
        }
        line
    };
    let line = tokio::select! {
        line = in_time(draining) => line,
        () = admin.keep_driving(|_| Ok(())) => unreachable!("it does so until dropped"),
    };
    assert_eq!(line, "a: draining, 1 in flight");
    drop(lease);
    let rest = async {
        let mut rest = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            rest.push(line);
        }
        rest
    };
    let rest = tokio::select! {
        rest = in_time(rest) => rest,
        () = admin.keep_driving(|_| Ok(())) => unreachable!("it does so until dropped"),
    };
    let fresh = |name: &str| {
        rest.iter()
            .any(|line| line.starts_with(&format!("{name}: fresh after 0.")))
    };
    assert!(
        fresh("a") && fresh("b") && rest.last().unwrap() == "both replicas have epoch 1",
        "{rest:#?}"
    );
    assert!(in_time(syncing.wait()).await.unwrap().success());
}

#[tokio::test]
async fn sync_exits_1_with_the_reason_for_each_replica_that_was_left_behind() {
    let admin = Admin::start(CREDENTIALS).await;
    admin.drive(|_| Ok(()));
    let (code, out, err) = tokio::select! {
        ended = geofront(&admin, &["sync", "--wait"]) => ended,
        () = admin.keep_driving(|name| if name == "b" { Err(Cause::Status(500)) } else { Ok(()) }) => unreachable!("until dropped"),
    };
    assert!(
        code == 1 && out.contains("a: fresh after 0."),
        "{code} {out}"
    );
    let expected = "error: 1 of 2 replicas does not have epoch 1\n  b: reload failed: status 500; the next try is in ";
    assert!(err.starts_with(expected), "{err}");
    let (code, out, _) = geofront(&admin, &["status"]).await;
    assert!(
        code == 1 && out.contains("1 of 2 replicas has it; b: reload failed: status 500"),
        "{code} {out}"
    );
}

#[tokio::test]
async fn sync_that_takes_too_long_exits_1_and_reports_the_progress() {
    let admin = Admin::start(CREDENTIALS).await;
    admin.drive(|_| Ok(()));
    let _lease = admin.hold("a");
    let (code, _, _) = geofront(&admin, &["sync", "--wait", "--timeout", "0s"]).await;
    assert_eq!(code, 1);
    // Its credentials are tried, and it leaves service.
    admin.drive(|_| Ok(()));
    let (code, _, err) = geofront(&admin, &["sync", "--wait", "--timeout", "0s"]).await;
    let expected = "error: 2 of 2 replicas do not have epoch 2 after 0s\n  a: draining, 1 in flight\n  b: waiting for its turn\n";
    assert!(code == 1 && err.starts_with(expected), "{code} {err}");
}

#[tokio::test]
async fn a_token_comes_from_a_file() {
    let admin = Admin::start("admin_token_env = 'TOKEN'\n").await;
    admin.pass_probes();
    let (code, _, err) = geofront(&admin, &["status"]).await;
    assert!(
        code == 2 && err.contains("requires its admin token"),
        "{code} {err}"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "s3cret\n").unwrap();
    let (code, _, err) = geofront(
        &admin,
        &["status", "--token-file", file.path().to_str().unwrap()],
    )
    .await;
    assert_eq!((code, err.as_str()), (0, ""));
}
