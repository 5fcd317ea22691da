//! Tests that slow clients keep no upstream busy, and that fast ones get what is there.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use geofront::geosim::{Behaviour, Fault};
use geofront::ogc::RequestClass;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::client::{Client, get};
use super::requests::{MAP, WFS, XML, get_feature_of_size};
use super::rig::{PATIENCE, Plan, Rig};

/// More than the kernel holds for a client that does not read.
const LENGTH: usize = 4_000_000;

/// The whole answer fits.
const MEMORY: &str = "[clients]\nanswer_memory = \"5MB\"\nall_answer_memory = \"1GB\"";

/// Each is different, so that nothing is coalesced.
fn map(number: usize) -> String {
    format!("{MAP}&number={number}")
}

fn images_of(bytes: usize) -> Behaviour {
    Behaviour {
        image_bytes: Some(bytes),
        ..Behaviour::default()
    }
}

/// A client whose system takes only a few kilobytes for it.
async fn narrow_client(rig: &Rig, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddr::new(from.parse().unwrap(), 0))
        .unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(rig.address()).await.unwrap()
}

/// Clients that request a map each and read nothing of it.
async fn readers(rig: &Rig, count: usize) -> Vec<TcpStream> {
    readers_at(rig, "127.0.0.1", 0..count).await
}

/// The same, at an address of their own.
async fn readers_at(rig: &Rig, from: &str, numbers: Range<usize>) -> Vec<TcpStream> {
    let mut readers = Vec::new();
    for number in numbers {
        let mut reader = narrow_client(rig, from).await;
        reader
            .write_all(get(&map(number)).as_bytes())
            .await
            .unwrap();
        readers.push(reader);
    }
    for reader in &readers {
        let has_begun = timeout(PATIENCE, reader.readable()).await;
        has_begun.expect("its answer begins").unwrap();
    }
    readers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_slow_readers_of_small_answers_do_not_delay_the_next_client() {
    let rig = Plan::replicas(1)
        .behaving(images_of(LENGTH))
        .with("[limits]\nmax_in_flight = 2")
        .with(MEMORY)
        .start()
        .await;
    let mut readers = readers(&rig, 50).await;
    rig.until("no slot is held", |rig| rig.in_flight() == 0)
        .await;
    let started = Instant::now();
    assert_eq!(rig.get(&map(50)).await.body.len(), LENGTH);
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    // And each gets all of its map in the end.
    let mut answer = vec![0; LENGTH];
    readers[49].read_exact(&mut answer).await.unwrap();
    drop(readers);
    let deadline = Instant::now() + PATIENCE;
    while !rig
        .metrics()
        .await
        .contains("geofront_client_memory_bytes{of=\"answers\"} 0\n")
    {
        assert!(Instant::now() < deadline, "the memory is not given back");
    }
}

/// "Two slow readers of 30 MB delayed a download of another address for nine seconds."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_slow_readers_of_thirty_megabytes_delay_no_download_of_another_address() {
    let rig = Plan::replicas(1)
        .behaving(images_of(30_000_000))
        .with("[limits]\nmax_in_flight = 2")
        .start()
        .await;
    let _readers = readers_at(&rig, "127.0.0.2", 0..2).await;
    let started = Instant::now();
    assert_eq!(rig.get(&map(2)).await.body.len(), 30_000_000);
    let elapsed = started.elapsed();
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
}

/// The value of a metric.
async fn sample(rig: &Rig, name: &str) -> usize {
    let metrics = rig.metrics().await;
    let value = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.expect("it is there").parse().unwrap()
}

/// "One office behind one address read slowly, and its answers took all of the memory: those
/// of all other clients kept their slots."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_slow_readers_of_one_address_leave_memory_to_those_of_another() {
    const ALL: usize = 16_000_000;
    let rig = Plan::replicas(1)
        .behaving(images_of(LENGTH))
        .with("[clients]\nanswer_memory = \"5MB\"\nall_answer_memory = \"16MB\"")
        // Those whose answers have no room in memory must not keep others from a slot.
        .with("[limits]\nmax_in_flight = \"off\"")
        .start()
        .await;
    let held = "geofront_client_memory_bytes{of=\"answers\"}";
    let refused = "geofront_client_memory_refused_total{of=\"answers\"}";
    let one = readers_at(&rig, "127.0.0.1", 0..12).await;
    let deadline = Instant::now() + PATIENCE;
    while sample(&rig, refused).await == 0 {
        assert!(Instant::now() < deadline, "there is room for all");
    }
    let of_one = sample(&rig, held).await;
    assert!(of_one > ALL / 4 && of_one <= ALL / 2, "{of_one}");
    let other = readers_at(&rig, "127.0.0.2", 12..18).await;
    while sample(&rig, held).await <= ALL / 2 {
        assert!(Instant::now() < deadline, "nothing is left for the other");
    }
    drop((one, other));
    while sample(&rig, held).await > 0 {
        assert!(Instant::now() < deadline, "the memory is not given back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_a_large_answer_too_slowly_loses_it_and_its_slot() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    let rig = Plan::replicas(1)
        .behaving(images_of(8_000_000))
        .with("[clients]\nanswer_memory = \"1MiB\"\nall_answer_memory = \"2MiB\"")
        .with("[timeouts]\nclient_write = \"1s\"")
        .access_log(&log)
        .start()
        .await;
    let _readers = readers(&rig, 1).await;
    assert_eq!(rig.in_flight(), 1, "the answer is larger than its memory");
    rig.until("the slot is free", |rig| rig.in_flight() == 0)
        .await;
    assert!(
        rig.metrics()
            .await
            .contains("geofront_slow_clients_total{at=\"reading\"} 1")
    );
    let line = loop {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        if let Some(line) = text.lines().find(|line| line.contains("number=0")) {
            break line.to_owned();
        }
        tokio::task::yield_now().await;
    };
    assert!(line.contains("client-too-slow"), "{line}");
    let bytes = line
        .split("bytes=")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    assert!(bytes.parse::<u64>().unwrap() < 7_000_000, "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_pauses_and_reads_below_the_minimum_rate_loses_its_answer() {
    let rig = Plan::replicas(1)
        .behaving(images_of(8_000_000))
        // The grace is no longer than `client_write`.
        .with("[clients]\nanswer_memory = \"1MiB\"\nall_answer_memory = \"2MiB\"")
        .with("min_download_rate = \"1GiB\"")
        .with("[timeouts]\nclient_write = \"1s\"")
        .start()
        .await;
    let mut reader = readers(&rig, 1).await.remove(0);
    let reading = async {
        let mut some = [0; 2048];
        while let Ok(1..) = reader.read(&mut some).await {
            timeout(Duration::from_millis(20), std::future::pending::<()>())
                .await
                .unwrap_or(());
        }
    };
    let given_up = rig.until("the slot is free", |rig| rig.in_flight() == 0);
    tokio::select! {
        () = reading => {}
        () = given_up => {}
    }
    rig.metrics_with("geofront_slow_clients_total{at=\"reading\"} 1")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_beyond_the_memory_of_all_are_passed_on_as_they_come() {
    let rig = Plan::replicas(1)
        .with("[clients]\nbody_memory = \"128KiB\"\nall_body_memory = \"128KiB\"")
        .start()
        .await;
    let mut client = rig.client().await;
    let head = "OPTIONS /geoserver/wms HTTP/1.1\r\nHost: a\r\nContent-Length: 110000\r\n\r\n";
    client.send(head.as_bytes()).await.unwrap();
    client.send(&[b'x'; 100_000]).await.unwrap();
    rig.until("it holds a slot before its body has ended", |rig| {
        rig.in_flight() == 1
    })
    .await;
    client.send(&[b'x'; 10_000]).await.unwrap();
    assert_eq!(client.answer().await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_announced_too_large_is_refused_before_it_is_sent() {
    let rig = Plan::replicas(1)
        .with("[classes.static]\nmax_body = \"50KB\"")
        .start()
        .await;
    let mut client = rig.client().await;
    let head = "OPTIONS /geoserver/wms HTTP/1.1\r\nHost: a\r\nContent-Length: 50001\r\n\r\n";
    let answer = client.request(head.as_bytes()).await.unwrap();
    assert_eq!(answer.status, 413);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_becomes_too_large_while_it_is_passed_on_is_cut_off() {
    let rig = Plan::replicas(1)
        .with("[clients]\nbody_memory = \"0B\"\n[classes.static]\nmax_body = \"50KB\"")
        .start()
        .await;
    let mut client = rig.client().await;
    let head = "OPTIONS /geoserver/wms HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(head.as_bytes()).await.unwrap();
    let chunk = [b"2710\r\n".as_slice(), &[b'x'; 10_000], b"\r\n"].concat();
    for _ in 0..6 {
        client.send(&chunk).await.unwrap();
    }
    client.send(b"0\r\n\r\n").await.ok();
    assert_eq!(client.answer().await.unwrap().status, 413);
    rig.until("its slot is free", |rig| rig.in_flight() == 0)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_while_its_answer_waits_in_memory_is_an_abort() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    let rig = Plan::replicas(1)
        .behaving(images_of(LENGTH))
        .with(MEMORY)
        .access_log(&log)
        .start()
        .await;
    let readers = readers(&rig, 1).await;
    rig.until("the slot is free", |rig| rig.in_flight() == 0)
        .await;
    // With bytes unread, this is a reset.
    drop(readers);
    rig.until("the line is written", |_| {
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains("number=0"))
    })
    .await;
    let text = std::fs::read_to_string(&log).unwrap();
    let line = text.lines().find(|line| line.contains("number=0")).unwrap();
    assert!(line.contains("end=client-abort"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_of_an_answer_arrive_as_they_are_sent() {
    const PAUSE: Duration = Duration::from_millis(300);
    let rig = Plan::replicas(1).behaving(images_of(2_000)).start().await;
    let drip = Fault::Drip {
        bytes: 400,
        pause: PAUSE,
    };
    rig.replicas[0].suffers(drip.only(RequestClass::Map));
    let mut client = rig.client().await.stream;
    client.write_all(get(&map(0)).as_bytes()).await.unwrap();
    let (mut buffer, mut length, mut last) = ([0; 4096], 0, Instant::now());
    let mut gaps = Vec::new();
    while length < 2_000 {
        let read = client.read(&mut buffer).await.unwrap();
        assert!(read > 0, "it broke off");
        gaps.push((last.elapsed(), read));
        last = Instant::now();
        length += read;
    }
    assert!(gaps.len() >= 5, "{gaps:?}");
    assert!(gaps.iter().all(|(gap, _)| *gap < PAUSE * 2), "{gaps:?}");
}

/// The head of a read by POST, whose class only its body decides.
fn post_head(length: usize, more: &str) -> String {
    format!(
        "POST {WFS} HTTP/1.1\r\nHost: a\r\nContent-Type: {XML}\r\nContent-Length: {length}\r\n{more}\r\n"
    )
}

/// Sends one byte after the other until the connection ends.
async fn drip(mut client: Client, body: Vec<u8>, pause: Duration) -> Client {
    let mut pauses = tokio::time::interval(pause);
    for byte in body {
        pauses.tick().await;
        if client.send(&[byte]).await.is_err() {
            break;
        }
    }
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_posts_that_come_byte_by_byte_hold_no_slot() {
    let rig = Plan::replicas(1)
        .with("[limits]\nmax_in_flight = 1")
        .start()
        .await;
    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut client = rig.client().await;
        let body = get_feature_of_size(100_000);
        client
            .send(post_head(body.len(), "").as_bytes())
            .await
            .unwrap();
        client.send(&body[..70_000]).await.unwrap();
        slow.spawn(drip(
            client,
            body[70_000..].to_vec(),
            Duration::from_millis(100),
        ));
    }
    for number in 0..20 {
        let started = Instant::now();
        assert_eq!(rig.get(&map(number)).await.status, 200);
        assert!(started.elapsed() < Duration::from_secs(2));
        assert_eq!(rig.in_flight(), 0);
    }
    assert!(
        rig.metrics()
            .await
            .contains("geofront_client_memory_bytes{of=\"bodies\"}")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_streams_too_slowly_gets_a_408_and_frees_its_slot() {
    let rig = Plan::replicas(1)
        .with("[clients]\nbody_memory = \"0B\"\n[timeouts]\nclient_body = \"1s\"")
        .start()
        .await;
    let mut client = rig.client().await;
    client
        .send(b"OPTIONS /geoserver/wms HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        .await
        .unwrap();
    rig.until("a slot is held", |rig| rig.in_flight() == 1)
        .await;
    let started = Instant::now();
    let slow = tokio::spawn(drip(client, vec![b'x'; 15], Duration::from_millis(200)));
    rig.until("the slot is free", |rig| rig.in_flight() == 0)
        .await;
    assert!(started.elapsed() < Duration::from_secs(4));
    assert_eq!(slow.await.unwrap().answer().await.unwrap().status, 408);
    assert!(
        rig.metrics()
            .await
            .contains("geofront_slow_clients_total{at=\"sending\"} 1")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_awaited_comes_after_our_continue_and_reaches_its_upstream_whole() {
    let rig = Plan::replicas(1).start().await;
    let body = get_feature_of_size(300_000);
    let mut client = rig.client().await;
    client
        .send(post_head(body.len(), "Expect: 100-continue\r\n").as_bytes())
        .await
        .unwrap();
    assert_eq!(client.interim().await.unwrap(), 100);
    client.send(&body).await.unwrap();
    assert_eq!(client.answer().await.unwrap().status, 200);
    let lengths: Vec<_> = rig.replicas[0]
        .requests()
        .iter()
        .filter(|request| request.method() == "POST")
        .map(|request| request.body().length)
        .collect();
    assert_eq!(lengths, [300_000]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_becomes_too_large_in_chunks_reaches_no_upstream() {
    let rig = Plan::replicas(1)
        .with("[classes.static]\nmax_body = \"50KB\"")
        .start()
        .await;
    let mut client = rig.client().await;
    let head = "OPTIONS /geoserver/wms HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(head.as_bytes()).await.unwrap();
    let chunk = [b"2710\r\n".as_slice(), &[b'x'; 10_000], b"\r\n"].concat();
    for _ in 0..6 {
        client.send(&chunk).await.unwrap();
    }
    assert_eq!(client.answer().await.unwrap().status, 413);
    assert_eq!(rig.replicas[0].received(RequestClass::Static), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_with_a_thousand_connections_leaves_others_served() {
    let rig = Plan::replicas(1)
        .with("[clients]\nmax_per_address = 50\nheads_per_address = 10")
        // The fifty send their heads only after a thousand connections were opened.
        .with("[timeouts]\nclient_header = \"60s\"")
        .start()
        .await;
    let mut crowd = Vec::new();
    for _ in 0..1000 {
        crowd.push(rig.client().await);
    }
    // An address of this machine is another client.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = Client::over(socket.connect(rig.address()).await.unwrap());
    assert_eq!(other.get(MAP).await.unwrap().status, 200);
    // The fifty are served, and the others get the reason for their refusal.
    assert_eq!(crowd[0].get(MAP).await.unwrap().status, 200);
    assert_eq!(crowd[999].answer().await.unwrap().status, 503);
    let metrics = rig.metrics().await;
    assert!(metrics.contains("geofront_clients_limited_total{limit=\"max_per_address\"} 950"));
    // Heads that never end are fewer still. Which fifty connections are served depends on the
    // order in which the workers come to them.
    for client in &mut crowd[1..] {
        client.send(b"GET /").await.ok();
    }
    let deadline = Instant::now() + PATIENCE;
    let limited = "geofront_clients_limited_total{limit=\"heads_per_address\"} 39";
    while !rig.metrics().await.contains(limited) {
        assert!(Instant::now() < deadline, "heads are not limited");
    }
    assert_eq!(crowd[0].get(MAP).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_opens_connections_faster_than_its_rate_is_refused_and_a_proxy_is_not() {
    let limit = "[clients]\nnew_per_second = 2";
    let refused = |answers: &[u16]| answers.iter().filter(|status| **status == 503).count();
    for (top, expected) in [("", 10..=30), ("trusted_proxies = \"127.0.0.1\"", 0..=0)] {
        let rig = Plan::replicas(1).top(top).with(limit).start().await;
        let mut answers = Vec::new();
        for _ in 0..50 {
            let answer = rig.client().await.get(MAP).await;
            answers.push(answer.map_or(503, |answer| answer.status));
        }
        assert!(expected.contains(&refused(&answers)), "{answers:?}");
    }
}
