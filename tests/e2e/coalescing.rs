//! Tests of identical concurrent requests: one goes upstream, all get its answer, and no client
//! gets the answer of another.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use geofront::geosim::{Behaviour, Fault, Outage, When};
use geofront::ogc::RequestClass;
use tokio::task::JoinSet;

use super::client::{Answer, Client, get};
use super::requests::{CAPABILITIES, MAP, TRANSACTION, WFS, XML};
use super::rig::{PATIENCE, Plan, Rig};

/// A map that takes long enough for all concurrent clients to arrive before the answer. Its path is
/// not that of probes.
fn map() -> String {
    format!(
        "{}&geosim_work=1200ms",
        MAP.replace("/geoserver/", "/geoserver/geor/")
    )
}

/// Hits clients' maps only.
fn once(fault: Fault) -> Outage {
    fault.under("/geoserver/geor/wms").times(1)
}

fn capabilities() -> String {
    format!("{CAPABILITIES}&geosim_work=1200ms")
}

fn plan(replicas: usize) -> Plan {
    Plan::replicas(replicas)
}

fn images_of(bytes: usize) -> Behaviour {
    Behaviour {
        image_bytes: Some(bytes),
        ..Behaviour::default()
    }
}

fn with(target: &str, headers: &[(&str, &str)]) -> String {
    let mut request = format!("GET {target} HTTP/1.1\r\nHost: maps.example.org\r\n");
    headers
        .iter()
        .for_each(|(name, value)| write!(request, "{name}: {value}\r\n").unwrap());
    request + "\r\n"
}

/// Requests of clients that reached some upstream.
fn received(rig: &Rig) -> usize {
    let all = rig
        .replicas
        .iter()
        .chain([&rig.main])
        .flat_map(|instance| instance.requests());
    all.filter(|request| request.header("via").is_some())
        .count()
}

/// Sends each on a connection of its own, and returns when all are sent.
async fn send(rig: &Rig, requests: Vec<String>) -> Vec<Client> {
    let mut clients = Vec::new();
    for request in requests {
        let mut client = rig.client().await;
        client.send(request.as_bytes()).await.unwrap();
        clients.push(client);
    }
    clients
}

async fn answers(clients: Vec<Client>) -> Vec<Answer> {
    let mut reading = JoinSet::new();
    for mut client in clients {
        reading.spawn(async move { client.answer().await.unwrap() });
    }
    reading.join_all().await
}

/// Sends the leader's request first, and the others' once it is with a replica.
async fn lead_and_follow(rig: &Rig, leader: &str, followers: Vec<String>) -> (Client, Vec<Client>) {
    let before = received(rig);
    let mut leading = rig.client().await;
    leading.send(leader.as_bytes()).await.unwrap();
    rig.until("the first request is with an upstream", |rig| {
        received(rig) > before
    })
    .await;
    (leading, send(rig, followers).await)
}

fn is_map(answer: &Answer) -> bool {
    let is_whole =
        answer.body.starts_with(b"\x89PNG\r\n\x1a\n") && answer.body.ends_with(b"IEND\xaeB`\x82");
    answer.status == 200 && answer.is_complete && is_whole
}

async fn metric(rig: &Rig, name: &str) -> f64 {
    let mut client = Client::connect(rig.app.admin).await.unwrap();
    let page = client
        .request(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap()
        .text();
    page.lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {page}"))
}

async fn until_metric(rig: &Rig, name: &str, value: f64) {
    let deadline = Instant::now() + PATIENCE;
    while metric(rig, name).await < value {
        assert!(Instant::now() < deadline, "{name} does not come to {value}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_identical_maps_at_once_are_one_request() {
    let rig = plan(2).start().await;
    let all = answers(send(&rig, vec![get(&map()); 50]).await).await;
    assert!(all.iter().all(is_map));
    assert!(all.iter().all(|answer| answer.body == all[0].body));
    assert_eq!(received(&rig), 1);
    assert_eq!(
        metric(&rig, "geofront_coalesced_total{class=\"map\"}").await,
        49.0
    );
    let mut ids: Vec<_> = all
        .iter()
        .map(|answer| answer.header("x-request-id").unwrap())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 50, "each has a name of its own");
    assert!(all.iter().all(|answer| {
        answer
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("via"))
            .count()
            == 1
    }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_after_the_other_they_are_not_coalesced() {
    let rig = Plan::replicas(1).start().await;
    let mut client = rig.client().await;
    for count in 1..=5 {
        assert!(is_map(&client.get(MAP).await.unwrap()));
        assert_eq!(received(&rig), count);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_goes_on_after_a_coalesced_answer() {
    let rig = plan(1).start().await;
    let mut clients = send(&rig, vec![get(&map()); 3]).await;
    for client in &mut clients {
        assert!(is_map(&client.answer().await.unwrap()));
    }
    let another = map().replace("width=64", "width=32");
    for client in &mut clients {
        client.send(get(&another).as_bytes()).await.unwrap();
    }
    assert!(answers(clients).await.iter().all(is_map));
    assert_eq!(received(&rig), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_never_share() {
    let rig = plan(2)
        .top("trusted_proxies = [\"127.0.0.1/32\"]")
        .start()
        .await;
    let users: [&[(&str, &str)]; 6] = [
        &[("sec-username", "ada"), ("sec-roles", "ROLE_USER")],
        &[("sec-username", "ada"), ("sec-roles", "ROLE_ADMINISTRATOR")],
        &[("sec-username", "bob"), ("sec-roles", "ROLE_USER")],
        &[("Authorization", "Basic YWRhOmE=")],
        &[("Cookie", "JSESSIONID=1")],
        &[],
    ];
    let twice = users
        .iter()
        .chain(&users)
        .map(|headers| with(&map(), headers))
        .collect();
    assert!(answers(send(&rig, twice).await).await.iter().all(is_map));
    assert_eq!(received(&rig), users.len());
    let asked: std::collections::BTreeSet<_> = rig
        .replicas
        .iter()
        .flat_map(|replica| replica.requests())
        .filter(|request| request.header("via").is_some())
        .map(|request| {
            ["sec-username", "sec-roles", "authorization", "cookie"]
                .map(|name| request.header(name).map(str::to_owned))
        })
        .collect();
    assert_eq!(asked.len(), users.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_with_different_accept_and_conditional_fields_are_not_shared() {
    let rig = plan(2).start().await;
    let kinds: [&[(&str, &str)]; 4] = [
        &[("Accept-Encoding", "gzip")],
        &[("Accept-Encoding", "identity")],
        &[("Accept-Language", "fr")],
        &[("If-None-Match", "\"x\"")],
    ];
    let twice = kinds
        .iter()
        .chain(&kinds)
        .map(|headers| with(&capabilities(), headers))
        .collect();
    let all = answers(send(&rig, twice).await).await;
    assert!(
        all.iter()
            .all(|answer| answer.status == 200 && answer.is_complete)
    );
    let packed = all
        .iter()
        .filter(|answer| answer.header("content-encoding") == Some("gzip"))
        .count();
    assert_eq!((packed, received(&rig)), (2, kinds.len()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_different_addresses_share_only_if_any_address_is_configured() {
    for (any_address, expected) in [(false, 3), (true, 1)] {
        let coalesce = if any_address {
            "[classes.map]\ncoalesce = \"any-address\""
        } else {
            ""
        };
        let rig = plan(1)
            .top("trusted_proxies = [\"127.0.0.1/32\"]")
            .with(coalesce)
            .start()
            .await;
        let addresses = ["203.0.113.7", "203.0.113.8", "203.0.113.9"]
            .map(|address| with(&map(), &[("X-Forwarded-For", address)]));
        assert!(
            answers(send(&rig, addresses.to_vec()).await)
                .await
                .iter()
                .all(is_map)
        );
        assert_eq!(received(&rig), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_fails_does_not_fail_its_followers() {
    for fault in [
        Fault::Truncate,
        Fault::Reset(When::InAnswer),
        Fault::Status(500),
        Fault::OutOfMemory,
    ] {
        let rig = plan(1)
            .health("ejection_failures = 0")
            .with("[retry]\nattempts = 1")
            .start()
            .await;
        rig.replicas[0].suffers(once(fault.clone()));
        let (mut leading, following) =
            lead_and_follow(&rig, &get(&map()), vec![get(&map()); 5]).await;
        assert!(
            leading
                .answer()
                .await
                .map_or(true, |answer| !is_map(&answer)),
            "{fault:?}"
        );
        let all = answers(following).await;
        assert!(all.iter().all(is_map), "{fault:?}: {all:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_get_the_leaders_answer_after_a_retry() {
    let rig = plan(2).health("ejection_failures = 0").start().await;
    rig.replicas
        .iter()
        .for_each(|replica| replica.suffers(once(Fault::Reset(When::BeforeAnswer))));
    let (leading, mut following) = lead_and_follow(&rig, &get(&map()), vec![get(&map()); 5]).await;
    following.push(leading);
    assert!(answers(following).await.iter().all(is_map));
    assert_eq!(received(&rig), 3, "both replicas failed, the main answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_leaves_does_not_hurt_its_followers() {
    let rig = plan(1).start().await;
    let (leading, following) = lead_and_follow(&rig, &get(&map()), vec![get(&map()); 5]).await;
    drop(leading);
    assert!(answers(following).await.iter().all(is_map));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_leaves_harms_no_other_and_is_gone_at_once() {
    let rig = plan(1).start().await;
    let (leading, mut following) = lead_and_follow(&rig, &get(&map()), vec![get(&map()); 5]).await;
    following.truncate(2);
    until_metric(&rig, "geofront_client_aborts_total{class=\"map\"}", 3.0).await;
    assert_eq!(
        rig.replicas[0].control().in_flight(),
        1,
        "the map is still being drawn"
    );
    following.push(leading);
    assert!(answers(following).await.iter().all(is_map));
    assert_eq!(received(&rig), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_too_large_to_keep_are_not_shared() {
    let rig = plan(1)
        .without("probe_layer")
        .behaving(images_of(5 << 20))
        .start()
        .await;
    let all = answers(send(&rig, vec![get(&map()); 4]).await).await;
    assert!(
        all.iter()
            .all(|answer| is_map(answer) && answer.body.len() == 5 << 20)
    );
    assert_eq!(received(&rig), 4);
}

/// Six identical requests, each of which takes two seconds alone.
const SIX: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_identical_requests_of_two_seconds_that_turn_out_unshareable_take_two_and_not_four() {
    // Too large, which the head shows at once; the body takes two seconds.
    let rig = plan(1)
        .without("probe_layer")
        .behaving(images_of(5 << 20))
        .start()
        .await;
    let drip = Fault::Drip {
        bytes: 512 << 10,
        pause: Duration::from_millis(200),
    };
    rig.replicas[0].suffers(drip.only(RequestClass::Map));
    let target = MAP.replace("/geoserver/", "/geoserver/geor/");
    let started = Instant::now();
    let all = answers(send(&rig, vec![get(&target); SIX]).await).await;
    let took = started.elapsed();
    assert!(all.iter().all(is_map));
    assert_eq!(received(&rig), SIX);
    let expected = Duration::from_secs(2)..Duration::from_millis(3_500);
    assert!(expected.contains(&took), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_whose_answer_was_unshareable_is_remembered_and_costs_no_second_wait() {
    let rig = plan(1)
        .without("probe_layer")
        .behaving(images_of(5 << 20))
        .start()
        .await;
    let target = MAP.replace("/geoserver/", "/geoserver/geor/") + "&geosim_work=2s";
    // The head comes after two seconds: until then nothing shows that it is too large.
    answers(send(&rig, vec![get(&target); 2]).await).await;
    let before = received(&rig);
    let started = Instant::now();
    let clients = send(&rig, vec![get(&target); SIX]).await;
    rig.until("all six are with the replica", |rig| {
        received(rig) == before + SIX
    })
    .await;
    assert!(answers(clients).await.iter().all(is_map));
    let took = started.elapsed();
    let expected = Duration::from_secs(2)..Duration::from_millis(3_500);
    assert!(expected.contains(&took), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answers_within_the_bound_reach_all_whole() {
    let rig = plan(1)
        .without("probe_layer")
        .behaving(images_of(3 << 20))
        .start()
        .await;
    let all = answers(send(&rig, vec![get(&map()); 8]).await).await;
    assert!(
        all.iter()
            .all(|answer| is_map(answer) && answer.body == all[0].body)
    );
    assert_eq!(received(&rig), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_reads_nothing_delays_no_other() {
    let rig = plan(1)
        .without("probe_layer")
        .behaving(images_of(3 << 20))
        .with("[timeouts]\nclient_write = \"500ms\"")
        .start()
        .await;
    let (leading, mut following) = lead_and_follow(&rig, &get(&map()), vec![get(&map()); 3]).await;
    let stuck = following.pop().unwrap();
    following.push(leading);
    assert!(answers(following).await.iter().all(is_map));
    assert_eq!((received(&rig), rig.in_flight()), (1, 0));
    drop(stuck);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_1_0_clients_and_head_requests_are_served_in_their_way() {
    let rig = plan(1).start().await;
    let old = format!(
        "GET {} HTTP/1.0\r\nHost: maps.example.org\r\n\r\n",
        capabilities()
    );
    let (leading, mut following) = lead_and_follow(&rig, &get(&capabilities()), vec![old; 2]).await;
    following.push(leading);
    let all = answers(following).await;
    assert_eq!(received(&rig), 1);
    assert!(all.iter().all(|answer| answer.status == 200
        && answer.is_complete
        && answer.text().contains("</WMS_Capabilities>")));
    assert!(
        all.iter()
            .filter(|answer| answer.header("transfer-encoding").is_some())
            .count()
            <= 1,
        "followers have a length"
    );

    let head = format!("HEAD {} HTTP/1.1\r\nHost: maps.example.org\r\n\r\n", map());
    let before = received(&rig);
    let mut clients = send(&rig, vec![head; 3]).await;
    for client in &mut clients {
        let head = client.head().await.unwrap();
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert!(
            is_map(&client.get(MAP).await.unwrap()),
            "the connection goes on"
        );
    }
    assert!(
        received(&rig) - before <= 4,
        "one HEAD, and maps afterwards"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_after_a_write_does_not_get_an_answer_from_before() {
    let rig = plan(1).start().await;
    let (leading, mut clients) = lead_and_follow(&rig, &get(&map()), vec![get(&map())]).await;
    assert_eq!(rig.post(WFS, XML, TRANSACTION).await.status, 200);
    clients.extend(send(&rig, vec![get(&map()); 3]).await);
    clients.push(leading);
    assert!(answers(clients).await.iter().all(is_map));
    let maps = rig.replicas[0]
        .requests()
        .iter()
        .filter(|request| request.header("via").is_some())
        .count();
    assert_eq!(
        maps, 2,
        "those before the write share one, those after it another"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_class_can_be_left_out() {
    let rig = plan(1)
        .with("[classes.map]\ncoalesce = false")
        .start()
        .await;
    let requests = [vec![get(&map()); 4], vec![get(&capabilities()); 4]].concat();
    assert!(
        answers(send(&rig, requests).await)
            .await
            .iter()
            .all(|answer| answer.status == 200)
    );
    assert_eq!(received(&rig), 4 + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_access_line_names_the_request_whose_answer_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let rig = plan(1)
        .access_log(&path)
        .top("trusted_proxies = [\"127.0.0.1/32\"]")
        .start()
        .await;
    let named = |id| with(&map(), &[("X-Request-Id", id)]);
    let (leading, mut following) =
        lead_and_follow(&rig, &named("first"), vec![named("second")]).await;
    following.push(leading);
    assert!(answers(following).await.iter().all(is_map));
    let line = |id: &str| {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        text.lines()
            .find(|line| line.contains(&format!(" id={id} ")))
            .map(str::to_owned)
    };
    rig.until("both lines are written", |_| {
        line("first").is_some() && line("second").is_some()
    })
    .await;
    let (first, second) = (line("first").unwrap(), line("second").unwrap());
    assert!(
        first.contains(" upstream=slave1 coalesced=- attempts=1 "),
        "{first}"
    );
    assert!(
        second.contains(" upstream=slave1 coalesced=first attempts=0 ")
            && second.contains(" end=ok "),
        "{second}"
    );
}
