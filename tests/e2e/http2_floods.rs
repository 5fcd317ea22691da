//! Floods of HTTP/2: each has a bound, and others go on to be served.

use std::time::{Duration, Instant};

use geofront::geosim::{Behaviour, Fault};
use geofront::ogc::RequestClass;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use super::client::Client;
use super::http2::{HOST, Served, get, request, served};
use super::requests::{FEATURES, MAP};
use super::rig::{PATIENCE, Plan};

/// The beginning of a connection: the preface, and settings without one.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Sends bytes behind the preface and the settings until the connection ends.
async fn flood(served: &Served, frame: &[u8]) -> bool {
    let mut connection = served
        .client
        .connect(served.rig.listener("public"), HOST)
        .await
        .unwrap();
    let (mut read, mut write) = tokio::io::split(&mut connection.stream);
    write.write_all(PREFACE).await.unwrap();
    let frames = frame.repeat(20_000 / frame.len().max(9));
    let send = async {
        for _ in 0..200 {
            if write.write_all(&frames).await.is_err() {
                return;
            }
        }
    };
    let receive = async {
        let mut answers = [0; 4_096];
        while let Ok(1..) = read.read(&mut answers).await {}
    };
    let ended = async { tokio::join!(send, receive) };
    tokio::time::timeout(PATIENCE, ended).await.is_ok()
}

/// The settings in the first frame of the server, by their number.
fn settings_of(frame: &[u8]) -> Vec<(u16, u32)> {
    let settings = frame.chunks_exact(6).map(|setting| {
        let (number, value) = setting.split_at(2);
        let number = u16::from_be_bytes(number.try_into().unwrap());
        (number, u32::from_be_bytes(value.try_into().unwrap()))
    });
    settings.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_told_how_many_streams_and_bytes_it_may_send_ahead() {
    let served = served(Plan::replicas(1)).await;
    let mut connection = served
        .client
        .connect(served.rig.listener("public"), HOST)
        .await
        .unwrap();
    connection.send(PREFACE).await.unwrap();
    let mut header = [0; 9];
    connection.stream.read_exact(&mut header).await.unwrap();
    assert_eq!(header[3], 4, "the first frame is SETTINGS");
    let mut frame = vec![0; usize::from(header[2])];
    connection.stream.read_exact(&mut frame).await.unwrap();
    let settings = settings_of(&frame);
    // SETTINGS_MAX_CONCURRENT_STREAMS and SETTINGS_INITIAL_WINDOW_SIZE.
    assert!(settings.contains(&(3, 100)), "{settings:?}");
    assert!(settings.contains(&(4, 128 * 1024)), "{settings:?}");
    // The window of the connection is raised from the 65,535 bytes of RFC 9113 to 1 MiB.
    let raised = loop {
        connection.stream.read_exact(&mut header).await.unwrap();
        let mut frame = vec![0; usize::from(header[2])];
        connection.stream.read_exact(&mut frame).await.unwrap();
        if header[3] == 8 {
            break u32::from_be_bytes(frame.try_into().unwrap());
        }
    };
    assert_eq!(raised, 1024 * 1024 - 65_535);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_frames_ends_its_connection_and_is_counted() {
    let served = served(Plan::replicas(1)).await;
    let others = served.connect().await;
    let floods: [&[u8]; 6] = [
        // Pings, settings, priorities of no stream, and resets of streams that were never opened.
        b"\0\0\x08\x06\0\0\0\0\x0012345678",
        b"\0\0\0\x04\0\0\0\0\0",
        b"\0\0\x05\x02\0\0\0\0\x01\0\0\0\0\x10",
        b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08",
        // The window of the connection, a byte at a time, and answers to settings that were not
        // sent.
        b"\0\0\x04\x08\0\0\0\0\0\0\0\0\x01",
        b"\0\0\0\x04\x01\0\0\0\0",
    ];
    for frame in floods {
        assert!(flood(&served, frame).await, "{}", frame.escape_ascii());
    }
    assert_eq!(get(&others, MAP).await.0, 200);
    let metrics = served.rig.metrics().await;
    let counted = metrics
        .lines()
        .find_map(|line| line.strip_prefix("geofront_frame_floods_total "))
        .unwrap();
    assert!(counted.parse::<u32>().unwrap() >= 2, "{counted}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_resets_end_the_connection_and_leave_nothing_behind() {
    let served = served(Plan::replicas(1)).await;
    let requests = served.connect().await;
    let mut is_ended = false;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let Ok(mut ready) = requests.clone().ready().await else {
            is_ended = true;
            break;
        };
        let get_map = request(Method::GET, MAP).body(()).unwrap();
        let Ok((_, mut sending)) = ready.send_request(get_map, false) else {
            is_ended = true;
            break;
        };
        sending.send_reset(h2::Reason::CANCEL);
        // A stream that is reset before the connection has sent its head is never sent.
        tokio::task::yield_now().await;
    }
    assert!(is_ended, "resets without end were accepted");
    served
        .rig
        .until("nothing is left", |rig| rig.in_flight() == 0)
        .await;
    let others = served.connect().await;
    assert_eq!(get(&others, MAP).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_without_end_is_not_collected() {
    let served = served(Plan::replicas(1)).await;
    // HEADERS without END_HEADERS, then CONTINUATION for ever, each with a field that is not
    // indexed.
    let mut connection = served
        .client
        .connect(served.rig.listener("public"), HOST)
        .await
        .unwrap();
    let preface =
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\0\0\0\0\x01\x82";
    connection.send(preface).await.unwrap();
    let field = [&b"\x00\x01x\x7f\x81\x0f"[..], &[b'y'; 2_000]].concat();
    let length = u16::try_from(field.len()).unwrap().to_be_bytes();
    let frame = [&[0, length[0], length[1], 9, 0, 0, 0, 0, 1][..], &field].concat();
    let mut is_ended = false;
    for _ in 0..5_000 {
        if connection.send(&frame).await.is_err() {
            is_ended = true;
            break;
        }
    }
    assert!(is_ended, "10 MB of one head were accepted");
    assert_eq!(get(&served.connect().await, MAP).await.0, 200);
}

/// The metric's value.
async fn sample(served: &Served, name: &str) -> f64 {
    let metrics = served.rig.metrics().await;
    let value = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value
        .unwrap_or_else(|| panic!("no {name}"))
        .parse()
        .unwrap()
}

/// "A browser with a frozen tab held every slot: it had requested a hundred maps with a window of
/// zero."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_answers_to_a_window_of_zero_hold_no_slot_and_end_with_the_clients_time() {
    let limits = "[timeouts]\nclient_write = \"2s\"";
    let served = served(Plan::replicas(1).with(limits)).await;
    let mut closed = h2::client::Builder::new();
    closed.initial_window_size(0);
    let requests = served.connect_with(&closed).await;
    let mut waiting = Vec::new();
    for number in 0..90 {
        let mut ready = requests.clone().ready().await.unwrap();
        let target = format!("{MAP}&number={number}");
        let get_map = request(Method::GET, &target).body(()).unwrap();
        waiting.push(ready.send_request(get_map, true).unwrap().0);
    }
    let heads = futures::future::join_all(waiting);
    let heads = tokio::time::timeout(PATIENCE, heads).await.unwrap();
    served
        .rig
        .until("no slot is held", |rig| rig.in_flight() == 0)
        .await;
    assert_eq!(get(&served.connect().await, MAP).await.0, 200);
    for head in heads {
        let mut body = head.unwrap().into_body();
        let end = tokio::time::timeout(PATIENCE, body.data()).await.unwrap();
        assert!(end.unwrap().unwrap_err().is_reset());
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while sample(&served, "geofront_client_memory_bytes{of=\"answers\"}").await > 0.0 {
        assert!(tokio::time::Instant::now() < deadline, "it is still held");
    }
}

/// Frames that make the server reset a stream (CVE-2025-8671).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_the_client_has_us_reset_gives_its_slot_back() {
    let served = served(Plan::replicas(1)).await;
    served.rig.replicas[0].suffers(Fault::Hang.only(RequestClass::Feature));
    let address = served.rig.listener("public");
    let mut connection = served.client.connect(address, HOST).await.unwrap();
    connection.send(PREFACE).await.unwrap();
    // HPACK: GET and https, then the path and the authority as text.
    let field = |index: u8, value: &str| {
        let length = u8::try_from(value.len()).unwrap();
        let length = match length.checked_sub(127) {
            None => vec![length],
            Some(rest) => vec![127, rest],
        };
        [&[index], &length[..], value.as_bytes()].concat()
    };
    let head = [b"\x82\x87".to_vec(), field(4, FEATURES), field(1, HOST)].concat();
    let length = u8::try_from(head.len()).unwrap();
    for stream in (1..100_u8).step_by(2) {
        let headers = [&[0, 0, length, 1, 5, 0, 0, 0, stream][..], &head].concat();
        connection.send(&headers).await.unwrap();
        served
            .rig
            .until("it runs", |rig| rig.in_flight() == 1)
            .await;
        // A window beyond the largest.
        let update = [0, 0, 4, 8, 0, 0, 0, 0, stream, 0x7f, 0xff, 0xff, 0xff];
        connection.send(&update).await.unwrap();
        served
            .rig
            .until("its slot is free", |rig| rig.in_flight() == 0)
            .await;
    }
    assert_eq!(get(&served.connect().await, MAP).await.0, 200);
}

/// "One HTTP/2 client with a closed window and a hundred maps of 3 MB kept all slots for a minute:
/// they were more than the memory holds."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_large_answers_to_a_window_of_zero_keep_no_slots_from_another_client() {
    let images = Behaviour {
        image_bytes: Some(3_000_000),
        ..Behaviour::default()
    };
    let plan = Plan::replicas(1)
        .behaving(images)
        .with("[limits]\nmax_in_flight = 8")
        .with("[clients]\nall_answer_memory = \"32MiB\"");
    let served = served(plan).await;
    let mut closed = h2::client::Builder::new();
    closed.initial_window_size(0);
    let requests = served.connect_with(&closed).await;
    let mut waiting = Vec::new();
    for number in 0..100 {
        let mut ready = requests.clone().ready().await.unwrap();
        let target = format!("{MAP}&number={number}");
        let get_map = request(Method::GET, &target).body(()).unwrap();
        waiting.push(ready.send_request(get_map, true).unwrap().0);
    }
    served
        .rig
        .until("every slot is held", |rig| rig.in_flight() == 8)
        .await;
    let started = Instant::now();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let stream = socket.connect(served.rig.address()).await.unwrap();
    let answer = Client::over(stream).get(&format!("{MAP}&other")).await;
    let answer = answer.unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, 3_000_000));
    served
        .rig
        .until("no slot is held", |rig| rig.in_flight() == 0)
        .await;
    let elapsed = started.elapsed();
    // Each answer has ten seconds, and so has the client with all of them.
    assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
    drop(waiting);
}
