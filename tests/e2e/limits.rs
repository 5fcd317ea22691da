//! Tests of the caps, the queue and the cluster-wide limits: which requests are served, wait or are
//! refused, and what is reported about them.

mod measured;
mod queue;
mod users;

use std::fmt::Write as _;

use super::client::{Answer, Client};
use super::requests::{FEATURES, MAP};
use super::rig::Rig;

/// Longer than any test: a place is held until its client leaves.
const HELD: &str = "20s";
const TRUSTING: &str = "trusted_proxies = [\"127.0.0.1/32\"]";

/// Each is different, so that nothing is coalesced.
fn one_of(target: &str, number: usize, work: &str) -> String {
    format!(
        "{}&number={number}&geosim_work={work}",
        target.replace("/geoserver/", "/geoserver/geor/")
    )
}

fn map(number: usize, work: &str) -> String {
    one_of(MAP, number, work)
}

fn features(number: usize, work: &str) -> String {
    one_of(FEATURES, number, work)
}

fn of_user(user: &str, target: &str) -> String {
    with(target, &[("sec-username", user)])
}

fn with(target: &str, headers: &[(&str, &str)]) -> String {
    let mut request = format!("GET {target} HTTP/1.1\r\nHost: maps.example.org\r\n");
    headers
        .iter()
        .for_each(|(name, value)| write!(request, "{name}: {value}\r\n").unwrap());
    request + "\r\n"
}

fn limits(lines: &str) -> String {
    format!("[limits]\n{lines}")
}

/// On a connection of its own; to drop it is to leave.
async fn send(rig: &Rig, request: &str) -> Client {
    let mut client = rig.client().await;
    client.send(request.as_bytes()).await.unwrap();
    client
}

/// Takes a place and keeps it.
async fn hold(rig: &Rig, request: &str) -> Client {
    let before = rig.in_flight();
    let client = send(rig, request).await;
    rig.until("the request has a place", |rig| rig.in_flight() > before)
        .await;
    client
}

/// Finds no place.
async fn wait_in_line(rig: &Rig, request: &str) -> Client {
    let before = rig.app.queue().waiting();
    let client = send(rig, request).await;
    rig.until("the request waits", |rig| {
        rig.app.queue().waiting() > before
    })
    .await;
    client
}

async fn until_waiting(rig: &Rig, count: usize) {
    rig.until(&format!("{count} wait"), |rig| {
        rig.app.queue().waiting() == count
    })
    .await;
}

async fn until_idle(rig: &Rig) {
    until_waiting(rig, 0).await;
    rig.until("nothing is in flight", |rig| rig.in_flight() == 0)
        .await;
}

/// Requests of clients that reached an upstream, of this operation.
fn received(rig: &Rig, operation: &str) -> usize {
    let all = rig
        .replicas
        .iter()
        .chain([&rig.main])
        .flat_map(|instance| instance.requests());
    all.filter(|request| {
        request.header("via").is_some()
            && String::from_utf8_lossy(request.target()).contains(operation)
    })
    .count()
}

async fn admin(rig: &Rig, path: &str) -> String {
    let mut client = Client::connect(rig.app.admin).await.unwrap();
    client
        .request(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
        .await
        .unwrap()
        .text()
}

async fn metric(rig: &Rig, name: &str) -> Option<f64> {
    admin(rig, "/metrics")
        .await
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// Returns the seconds of `Retry-After`, which the answer must have so that a client can act on it.
fn seconds_to_wait(answer: &Answer) -> u32 {
    let seconds = answer
        .header("retry-after")
        .and_then(|value| value.parse().ok());
    seconds.unwrap_or_else(|| panic!("no time in {answer:?}"))
}
