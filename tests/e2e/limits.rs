//! Tests of the caps, the queue and the cluster-wide limits: which requests are served, wait or are
//! refused, and what is reported about them.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use geofront::geosim::{Behaviour, Capacity, ControlFlow, Fault, When};
use geofront::ogc::RequestClass;
use serde_json::Value;
use tokio::task::JoinSet;

use super::client::{Answer, Client, get};
use super::requests::{FEATURES, MAP, TILE};
use super::rig::{Plan, Rig};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_heavy_jobs_does_not_delay_a_tile() {
    let behaviour = Behaviour {
        capacity: Capacity::Slots(4),
        ..Behaviour::default()
    };
    let rig = Plan::replicas(2)
        .behaving(behaviour)
        .with(&limits("max_in_flight = 4"))
        .start()
        .await;
    let mut jobs = Vec::new();
    for number in 0..20 {
        jobs.push(send(&rig, &get(&features(number, HELD))).await);
    }
    until_waiting(&rig, 18).await;
    let mut tiles = JoinSet::new();
    for column in 0..4 {
        let (tile, address) = (
            TILE.replace("tilecol=1", &format!("tilecol={column}")),
            rig.address(),
        );
        tiles.spawn(async move {
            Client::connect(address)
                .await
                .unwrap()
                .get(&tile)
                .await
                .unwrap()
        });
    }
    assert!(
        tiles
            .join_all()
            .await
            .iter()
            .all(|answer| answer.status == 200)
    );
    assert_eq!(
        (received(&rig, "GetFeature"), rig.app.queue().waiting()),
        (2, 18),
        "no job had to end for them"
    );
    drop(jobs);
    until_idle(&rig).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_frees_its_place_in_the_queue_at_once() {
    let rig = Plan::replicas(1)
        .with(&limits("max_in_flight = 1"))
        .start()
        .await;
    let held = hold(&rig, &get(&map(0, HELD))).await;
    let gone = wait_in_line(&rig, &get(&map(1, HELD))).await;
    let mut stays = wait_in_line(&rig, &get(&map(2, "1ms"))).await;
    drop(gone);
    until_waiting(&rig, 1).await;
    drop(held);
    assert_eq!(stays.answer().await.unwrap().status, 200);
    assert_eq!(received(&rig, "GetMap"), 2, "who left was never sent");
    until_idle(&rig).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_with_a_time_in_the_shape_of_the_service() {
    let rig = Plan::replicas(1)
        .with(&limits("max_in_flight = 1\nqueue = 1"))
        .start()
        .await;
    let _held = hold(&rig, &get(&map(0, HELD))).await;
    let _waits = wait_in_line(&rig, &get(&map(1, HELD))).await;
    let refused = rig.get(&map(2, "1ms")).await;
    assert_eq!(
        (refused.status, refused.header("content-type")),
        (503, Some("application/vnd.ogc.se_xml;charset=UTF-8"))
    );
    assert!(
        refused.text().contains("<ServiceExceptionReport") && refused.text().contains("busy"),
        "{}",
        refused.text()
    );
    assert!((1..=60).contains(&seconds_to_wait(&refused)), "{refused:?}");
    let refused = rig.get(&features(3, "1ms")).await;
    assert!(
        refused.status == 503 && refused.text().contains("<ows:ExceptionReport"),
        "{}",
        refused.text()
    );
    assert_eq!(
        metric(
            &rig,
            "geofront_refused_total{class=\"map\",reason=\"queue-full\"}"
        )
        .await,
        Some(1.0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_makes_room_for_a_better_class() {
    let rig = Plan::replicas(1)
        .with(&limits("max_in_flight = 1\nqueue = 2"))
        .start()
        .await;
    let held = hold(&rig, &get(&map(0, HELD))).await;
    let mut first = wait_in_line(&rig, &get(&map(1, "1ms"))).await;
    let mut newest = wait_in_line(&rig, &get(&map(2, "1ms"))).await;
    let mut tile = send(&rig, &get(TILE)).await;
    let shed = newest.answer().await.unwrap();
    assert!(shed.status == 503 && seconds_to_wait(&shed) > 0, "{shed:?}");
    drop(held);
    assert_eq!(
        (
            tile.answer().await.unwrap().status,
            first.answer().await.unwrap().status
        ),
        (200, 200)
    );
    assert_eq!(
        metric(
            &rig,
            "geofront_refused_total{class=\"map\",reason=\"shed\"}"
        )
        .await,
        Some(1.0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_waited_too_long_is_told_when_to_come_back() {
    let rig = Plan::replicas(1)
        .with(&limits("max_in_flight = 1\nqueue_timeout = \"300ms\""))
        .start()
        .await;
    let _held = hold(&rig, &get(&map(0, HELD))).await;
    let asked = Instant::now();
    let refused = rig.get(&map(1, "1ms")).await;
    assert!(asked.elapsed() >= Duration::from_millis(300));
    assert!(
        refused.status == 503 && refused.text().contains("<ServiceExceptionReport"),
        "{}",
        refused.text()
    );
    assert!(seconds_to_wait(&refused) > 0);
    until_waiting(&rig, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_come_none_is_lost_and_no_upstream_has_more_than_its_cap() {
    let behaviour = Behaviour {
        capacity: Capacity::Slots(2),
        ..Behaviour::default()
    };
    let plan = Plan::replicas(3)
        .behaving(behaviour)
        .health("interval = \"1h\"")
        .with(&limits("max_in_flight = 2"));
    let rig = plan.start().await;
    let (address, mut clients) = (rig.address(), JoinSet::new());
    for client in 0..40 {
        clients.spawn(async move {
            let mut connection = Client::connect(address).await.unwrap();
            for turn in 0..25 {
                let target = match client % 4 {
                    0 => features(client * 100 + turn, "2ms"),
                    _ => map(client * 100 + turn, "2ms"),
                };
                assert_eq!(connection.get(&target).await.unwrap().status, 200);
            }
        });
    }
    clients.join_all().await;
    until_idle(&rig).await;
    assert_eq!(
        received(&rig, "GetMap") + received(&rig, "GetFeature"),
        1000
    );
    // One more while the answer before it is on its last bytes.
    let most = rig
        .replicas
        .iter()
        .map(|replica| replica.control().most_in_flight())
        .max();
    assert!(most <= Some(3), "{most:?} at a time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_any_longer_when_more_places_are_configured() {
    let rig = Plan::replicas(1)
        .with(&limits("max_in_flight = 1"))
        .start()
        .await;
    let _held = hold(&rig, &get(&map(0, HELD))).await;
    let mut waits = wait_in_line(&rig, &get(&map(1, "1ms"))).await;
    rig.write_config(
        &rig.config()
            .replace("max_in_flight = 1", "max_in_flight = 2"),
    );
    assert!(!rig.app.reload.reload(Instant::now()).is_refused());
    assert_eq!(waits.answer().await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_an_upstream_that_goes_down_is_served_by_the_next() {
    let rig = Plan::replicas(1)
        .with(&limits("max_in_flight = 1"))
        .start()
        .await;
    let held = hold(&rig, &get(&map(0, HELD))).await;
    let mut waits = wait_in_line(&rig, &get(&map(1, "1ms"))).await;
    rig.replicas[0].suffers(Fault::ResetConnections);
    let answer = waits.answer().await.unwrap();
    assert_eq!(
        (answer.status, answer.served_by()),
        (200, "main"),
        "the backup serves when there is nobody else"
    );
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_one_user_stands_before_nobody_elses_first() {
    let rig = Plan::replicas(1)
        .top(TRUSTING)
        .with(&limits("max_in_flight = 1"))
        .start()
        .await;
    let held = hold(&rig, &of_user("carol", &map(0, HELD))).await;
    let mut burst = Vec::new();
    for number in 1..=12 {
        burst.push(wait_in_line(&rig, &of_user("ada", &map(number, "1ms"))).await);
    }
    let mut bob = wait_in_line(&rig, &of_user("bob", &map(13, "1ms"))).await;
    drop(held);
    assert_eq!(bob.answer().await.unwrap().status, 200);
    for client in &mut burst {
        assert_eq!(client.answer().await.unwrap().status, 200);
    }
    let requests = rig.replicas[0].requests();
    let users: Vec<_> = requests
        .iter()
        .filter(|request| request.header("via").is_some())
        .map(|r| r.header("sec-username"))
        .collect();
    assert_eq!(
        users[..4],
        [Some("carol"), Some("ada"), Some("bob"), Some("ada")]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_user_asks_beyond_its_share_waits_and_does_not_fail() {
    let rig = Plan::replicas(2)
        .top(TRUSTING)
        .with(&limits("per_user = 2"))
        .start()
        .await;
    let first = hold(&rig, &of_user("ada", &map(1, HELD))).await;
    let _second = hold(&rig, &of_user("ada", &map(2, HELD))).await;
    let mut third = wait_in_line(&rig, &of_user("ada", &map(3, "1ms"))).await;
    let bob = rig.request(of_user("bob", &map(4, "1ms")).as_bytes()).await;
    assert_eq!((bob.status, rig.app.queue().waiting()), (200, 1));
    drop(first);
    assert_eq!(third.answer().await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_try_goes_before_those_who_have_had_none() {
    let rig = Plan::replicas(2)
        .health("ejection_failures = 0")
        .with(&limits("max_in_flight = 1"))
        .start()
        .await;
    let held = hold(&rig, &get(&map(0, HELD))).await;
    let free = rig
        .replicas
        .iter()
        .find(|replica| rig.upstream(replica.name()).in_flight == 0)
        .unwrap();
    free.suffers(
        Fault::Reset(When::BeforeAnswer)
            .under("/geoserver/geor/wms")
            .times(1),
    );
    let mut fails = hold(&rig, &get(&map(1, "400ms"))).await;
    let _takes_its_place = wait_in_line(&rig, &get(&map(2, HELD))).await;
    let _earlier = wait_in_line(&rig, &get(&map(3, HELD))).await;
    rig.until("the one that failed waits for the other", |rig| {
        received(rig, "GetMap") == 3
    })
    .await;
    until_waiting(&rig, 2).await;
    drop(held);
    assert_eq!(fails.answer().await.unwrap().status, 200);
    until_waiting(&rig, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_holds_for_the_whole_cluster_and_for_what_it_names() {
    let rig = Plan::replicas(3)
        .with(&limits("control_flow = [\"ows.wms.getmap=2\"]"))
        .start()
        .await;
    let first = hold(&rig, &get(&map(1, HELD))).await;
    let _second = hold(&rig, &get(&map(2, HELD))).await;
    let mut third = wait_in_line(&rig, &get(&map(3, "1ms"))).await;
    assert_eq!(rig.get(&features(4, "1ms")).await.status, 200);
    assert_eq!(rig.app.queue().waiting(), 1);
    drop(first);
    assert_eq!(third.answer().await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn above_a_rate_a_user_is_told_so_as_by_geoserver() {
    let rules = limits("control_flow = [\"user.ows.wms.getmap=2/d\"]");
    let rig = Plan::replicas(1).top(TRUSTING).with(&rules).start().await;
    let ask = async |user: &str, number| {
        rig.request(of_user(user, &map(number, "1ms")).as_bytes())
            .await
    };
    for left in ["1", "0"] {
        let answer = ask("ada", 1).await;
        assert_eq!(
            (answer.status, answer.header("x-rate-limit-remaining")),
            (200, Some(left))
        );
    }
    let refused = ask("ada", 2).await;
    assert!(
        refused.status == 429 && refused.text().contains("<ServiceExceptionReport"),
        "{}",
        refused.text()
    );
    let told = ["context", "limit", "remaining", "action"]
        .map(|what| refused.header(&format!("x-rate-limit-{what}")));
    assert_eq!(
        told,
        [
            Some("wms.getmap"),
            Some("2"),
            Some("0"),
            Some("Reject excess requests")
        ]
    );
    assert!(
        refused
            .header("x-rate-limit-reset")
            .is_some_and(|date| date.ends_with("00:00:00 GMT")),
        "{refused:?}"
    );
    assert!(seconds_to_wait(&refused) > 0);
    assert_eq!(ask("bob", 3).await.status, 200);
    assert_eq!(
        rig.request(of_user("ada", &features(4, "1ms")).as_bytes())
            .await
            .status,
        200
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn above_a_rate_with_a_delay_requests_are_late_and_not_refused() {
    let rig = Plan::replicas(1)
        .with(&limits("control_flow = [\"ip.ows=1/d;1s\"]"))
        .start()
        .await;
    assert_eq!(rig.get(&map(1, "1ms")).await.status, 200);
    let asked = Instant::now();
    let late = rig.get(&map(2, "1ms")).await;
    assert_eq!(
        (late.status, late.header("x-rate-limit-action")),
        (200, Some("Delay excess requests 1000ms"))
    );
    assert!(asked.elapsed() >= Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_on_the_black_list_gets_nothing_at_all() {
    let rules =
        limits("control_flow = [\"ip.blacklist=203.0.113.*\", \"ip.whitelist=203.0.113.7\"]");
    let rig = Plan::replicas(1).top(TRUSTING).with(&rules).start().await;
    let ask = async |client: &str, target: &str| {
        rig.request(with(target, &[("X-Forwarded-For", client)]).as_bytes())
            .await
            .status
    };
    for target in [
        MAP,
        TILE,
        "/geoserver/rest/about/version.json",
        "/geoserver/web/",
    ] {
        assert_eq!(ask("203.0.113.6", target).await, 403, "{target}");
        assert_ne!(ask("203.0.113.7", target).await, 403, "{target}");
    }
    assert_eq!(received(&rig, "GetMap"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_metrics_and_access_log_tell_who_waits_and_how_long() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let rig = Plan::replicas(1)
        .access_log(log.path())
        .with(&limits("max_in_flight = 4\nqueue = 7"))
        .start()
        .await;
    let held = hold(&rig, &get(&features(0, HELD))).await;
    let mut waits = wait_in_line(&rig, &get(&features(1, "1ms"))).await;
    let status: Value = serde_json::from_str(&admin(&rig, "/api/status").await).unwrap();
    let (queue, replica) = (&status["queue"], &status["upstreams"][1]);
    assert_eq!(
        (
            &queue["waiting"],
            &queue["most"],
            &queue["classes"][0]["class"]
        ),
        (&1.into(), &7.into(), &"feature".into())
    );
    let told = [
        "in_flight",
        "max_in_flight",
        "heavy_in_flight",
        "max_heavy_in_flight",
    ]
    .map(|key| replica[key].as_u64().unwrap());
    assert_eq!(told, [1, 4, 1, 1]);
    assert_eq!(
        metric(&rig, "geofront_queue_length{class=\"feature\"}").await,
        Some(1.0)
    );
    assert_eq!(
        metric(&rig, "geofront_queue_seconds_count{class=\"feature\"}").await,
        None,
        "its wait is not over"
    );
    drop(held);
    assert_eq!(waits.answer().await.unwrap().status, 200);
    assert_eq!(
        metric(&rig, "geofront_queue_length{class=\"feature\"}").await,
        Some(0.0)
    );
    assert_eq!(
        metric(&rig, "geofront_queue_seconds_count{class=\"feature\"}").await,
        Some(1.0)
    );
    let line = || {
        std::fs::read_to_string(log.path())
            .unwrap()
            .lines()
            .find(|line| line.contains("number=1&"))
            .map(str::to_owned)
    };
    rig.until("the access line is there", |_| line().is_some())
        .await;
    let queued = line()
        .unwrap()
        .split(" queue_ms=")
        .nth(1)
        .and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
    assert!(queued > Some(0.0), "{:?}", line());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_control_flow_inside_an_upstream_says_is_shown() {
    let control_flow = Some(ControlFlow { timeout: None });
    let behaviour = Behaviour {
        capacity: Capacity::Slots(1),
        control_flow,
        ..Behaviour::default()
    };
    let rig = Plan::replicas(1)
        .behaving(behaviour)
        .with(&limits("max_in_flight = \"off\""))
        .start()
        .await;
    let mut clients = Vec::new();
    for number in 0..4 {
        clients.push(send(&rig, &get(&map(number, "60ms"))).await);
    }
    for client in &mut clients {
        assert_eq!(client.answer().await.unwrap().status, 200);
    }
    let waited = rig.upstream("slave1").waited_inside.unwrap();
    assert!(
        waited > Duration::ZERO && waited < Duration::from_secs(2),
        "{waited:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cap_that_is_learned_goes_down_to_what_an_upstream_works_on() {
    let behaviour = Behaviour {
        capacity: Capacity::Slots(2),
        ..Behaviour::default()
    };
    let rig = Plan::replicas(1)
        .behaving(behaviour)
        .with(&limits("max_in_flight = \"auto\""))
        .start()
        .await;
    let cap = |rig: &Rig| rig.upstream("slave1").cap.unwrap();
    assert!(
        cap(&rig).is_learned && (cap(&rig).all, cap(&rig).slower) == (10, 8),
        "{:?}",
        cap(&rig)
    );
    let (address, mut clients) = (rig.address(), JoinSet::new());
    for client in 0..32 {
        clients.spawn(async move {
            let mut connection = Client::connect(address).await.unwrap();
            for turn in 0.. {
                connection = match connection.get(&map(client * 100_000 + turn, "4ms")).await {
                    Ok(_) => connection,
                    Err(_) => Client::connect(address).await.unwrap(),
                };
            }
        });
    }
    rig.until("the cap is near the two it works on", |rig| {
        cap(rig).slower <= 5
    })
    .await;
}

/// "One replica's disk was dying, and every third map took ten times as long."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_becomes_ten_times_slower_gets_little_until_it_has_recovered() {
    let rig = Plan::replicas(3)
        .behaving(Behaviour {
            capacity: Capacity::Slots(4),
            ..Behaviour::default()
        })
        .start()
        .await;
    let (address, mut clients) = (rig.address(), JoinSet::new());
    for client in 0..6 {
        clients.spawn(async move {
            let mut connection = Client::connect(address).await.unwrap();
            for turn in 0.. {
                connection = match connection.get(&map(client * 100_000 + turn, "20ms")).await {
                    Ok(_) => connection,
                    Err(_) => Client::connect(address).await.unwrap(),
                };
            }
        });
    }
    let weight = |rig: &Rig| rig.upstream("slave2").effective_weight;
    rig.until("maps are served", |rig| {
        rig.replicas[1].received(RequestClass::Map) > 50
    })
    .await;
    assert_eq!(weight(&rig), 100, "nothing is wrong with it");
    rig.replicas[1].control().set_speed(0.1);
    rig.until("the slow one gets little", |rig| weight(rig) <= 25)
        .await;
    assert_eq!(rig.upstream("slave1").effective_weight, 100);
    rig.replicas[1].control().set_speed(1.0);
    rig.until("the one that recovered gets its share again", |rig| {
        weight(rig) == 100
    })
    .await;
}
