//! A client's stream against connections that take little, late or nothing.

use std::sync::Mutex;
use std::task::Waker;

use http::HeaderValue;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::time::{Instant, timeout};

use super::*;

/// Remembers each write, and takes only so much of one.
#[derive(Clone, Debug)]
struct Wire {
    writes: Arc<Mutex<Vec<Vec<u8>>>>,
    takes: usize,
}

impl Wire {
    fn taking(takes: usize) -> Self {
        Self {
            writes: Arc::default(),
            takes,
        }
    }

    fn writes(&self) -> Vec<usize> {
        self.writes.lock().unwrap().iter().map(Vec::len).collect()
    }

    fn text(&self) -> Vec<u8> {
        self.writes.lock().unwrap().concat()
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut data: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        data.truncate(self.takes);
        self.writes.lock().unwrap().push(data.clone());
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn stream(wire: Wire) -> ClientStream<Wire> {
    ClientStream::new(wire, Arc::default(), Arc::default(), LIMITS)
}

const HEAD: [u8; 300] = [b'h'; 300];

#[tokio::test]
async fn the_head_goes_out_with_the_beginning_of_a_long_body() {
    let wire = Wire::taking(usize::MAX);
    let mut stream = stream(wire.clone());
    stream.write_all(&HEAD).await.unwrap();
    assert!(wire.writes().is_empty(), "a head does not go out alone");
    stream.write_all(&[b'b'; 20_000]).await.unwrap();
    assert_eq!(wire.writes(), [20_300]);
}

#[tokio::test]
async fn a_small_answer_goes_out_whole_when_it_is_flushed() {
    let wire = Wire::taking(usize::MAX);
    let mut stream = stream(wire.clone());
    stream.write_all(&HEAD).await.unwrap();
    stream.write_all(&[b'b'; 2_000]).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(wire.writes(), [2_300]);
}

#[tokio::test]
async fn nothing_is_held_when_nothing_waits() {
    let mut stream = stream(Wire::taking(usize::MAX));
    stream.write_all(&HEAD).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(stream.waiting.capacity(), 0);
}

#[test]
fn waiting_bytes_are_sent_when_the_connection_is_dropped() {
    let wire = Wire::taking(usize::MAX);
    let mut stream = stream(wire.clone());
    stream.write_all(&HEAD).now_or_never().unwrap().unwrap();
    drop(stream);
    assert_eq!(wire.text(), HEAD);
}

#[tokio::test]
async fn a_wire_that_takes_nothing_is_an_error_and_no_loop() {
    let mut stream = stream(Wire::taking(0));
    stream.write_all(&HEAD).await.unwrap();
    assert_eq!(
        stream.flush().await.unwrap_err().kind(),
        io::ErrorKind::WriteZero
    );
}

const DATED: &[u8] = b"HTTP/1.1 200 OK\r\nDate: now\r\n\r\n";

#[tokio::test]
async fn the_date_of_an_upstream_replaces_the_time_of_writing_once_and_in_a_final_answer() {
    let wire = Wire::taking(usize::MAX);
    let mut stream = stream(wire.clone());
    let interim = b"HTTP/1.1 103 Early Hints\r\nDate: now\r\n\r\n";
    stream
        .delivery()
        .set_date(Some(HeaderValue::from_static("then")));
    for part in [&interim[..], DATED, DATED] {
        stream.write_all(part).await.unwrap();
    }
    stream.flush().await.unwrap();
    let changed: &[u8] = b"HTTP/1.1 200 OK\r\nDate: then\r\n\r\n";
    assert_eq!(wire.text(), [&interim[..], changed, DATED].concat());
}

#[tokio::test]
async fn a_body_that_is_written_with_its_head_follows_the_replaced_date() {
    let wire = Wire::taking(usize::MAX);
    let mut stream = stream(wire.clone());
    stream
        .delivery
        .set_date(Some(HeaderValue::from_static("then")));
    let (head, body) = (b"HTTP/1.1 200 OK\r\nDate: now and here\r\n\r\n", b"body");
    let parts = [IoSlice::new(head), IoSlice::new(body)];
    let taken = stream.write_vectored(&parts).await.unwrap();
    assert_eq!(taken, head.len() + body.len());
    stream.flush().await.unwrap();
    assert_eq!(wire.text(), b"HTTP/1.1 200 OK\r\nDate: then\r\n\r\nbody");
}

#[tokio::test]
async fn a_long_head_with_another_date_goes_out_whole() {
    let wire = Wire::taking(5_000);
    let mut stream = stream(wire.clone());
    let rest = [b"X: ".as_slice(), &[b'x'; 20_000], b"\r\n\r\n"].concat();
    let head = |date: &str| {
        [
            format!("HTTP/1.1 200 OK\r\nDate: {date}\r\n").as_bytes(),
            &rest,
        ]
        .concat()
    };
    stream
        .delivery()
        .set_date(Some(HeaderValue::from_static("long ago")));
    stream.write_all(&head("now")).await.unwrap();
    stream.write_all(b"body").await.unwrap();
    stream.flush().await.unwrap();
    assert!(wire.text() == [head("long ago"), b"body".to_vec()].concat());
}

proptest! {
    // Every case copies a quarter of a megabyte in small pieces.
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_byte_arrives_once_and_in_order(
        lengths in prop::collection::vec(
            prop_oneof![0..40_usize, 7_000..9_000_usize, 20_000..30_000_usize],
            0..12,
        ),
        takes in prop_oneof![500..1_500_usize, 4_000..20_000_usize],
        flush_every in 1..5_usize,
    ) {
        let wire = Wire::taking(takes);
        let mut stream = stream(wire.clone());
        let mut expected = Vec::new();
        for (at, length) in lengths.into_iter().enumerate() {
            let data: Vec<u8> = (0..length).map(|byte| (byte + at) as u8).collect();
            // Half of them in two pieces, as a chunk comes.
            let mut pieces = bytes::Buf::chain(&data[..length / 2], &data[length / 2..]);
            let written = if at % 2 == 0 {
                stream.write_all(&data).now_or_never()
            } else {
                stream.write_all_buf(&mut pieces).now_or_never()
            };
            written.expect("the wire is always ready").unwrap();
            if at % flush_every == 0 {
                stream.flush().now_or_never().expect("the wire is always ready").unwrap();
            }
            expected.extend(data);
        }
        drop(stream);
        prop_assert_eq!(wire.text(), expected);
    }
}

/// A stream whose connection holds 1000 bytes, and the client's end.
fn narrow() -> (ClientStream<DuplexStream>, DuplexStream) {
    let (ours, client) = tokio::io::duplex(1000);
    (
        ClientStream::new(ours, Arc::default(), Arc::default(), LIMITS),
        client,
    )
}

/// Waits for the client to send, as Pingora does between two parts of an answer.
async fn idle(stream: &mut ClientStream<DuplexStream>) -> io::Result<usize> {
    stream.read(&mut [0; 1]).await
}

#[tokio::test(start_paused = true)]
async fn a_piece_is_with_the_client_within_five_milliseconds_when_no_more_comes() {
    let (mut stream, mut client) = narrow();
    for _ in 0..3 {
        stream.write_all(&HEAD).await.unwrap();
        let started = Instant::now();
        let mut received = [0; HEAD.len()];
        tokio::select! {
            read = client.read_exact(&mut received) => drop(read.unwrap()),
            ended = idle(&mut stream) => panic!("{ended:?}"),
        }
        assert!(started.elapsed() <= Duration::from_millis(5));
    }
}

#[tokio::test(start_paused = true)]
async fn pieces_that_follow_each_other_closely_go_out_together() {
    let wire = Wire::taking(usize::MAX);
    let mut stream = stream(wire.clone());
    stream.write_all(&HEAD).await.unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(stream.poll_waiting(&mut cx).is_pending());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(stream.poll_waiting(&mut cx).is_pending());
    stream.write_all(&HEAD).await.unwrap();
    assert!(wire.writes().is_empty());
    tokio::time::advance(Duration::from_millis(3)).await;
    assert!(stream.poll_waiting(&mut cx).is_pending());
    assert_eq!(wire.writes(), [600]);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_does_not_wait_for_its_client_and_every_byte_arrives() {
    let (mut stream, mut client) = narrow();
    stream.delivery().set_holds_slot(true);
    let answer: Vec<u8> = (0..90_000_u32).map(|at| (at % 251) as u8).collect();
    for part in answer.chunks(7_001) {
        stream.write_all(part).await.unwrap();
        stream.flush().await.unwrap();
    }
    assert!(stream.delivery().unsent() >= 80_000);
    stream.delivery().set_holds_slot(false);
    let mut received = vec![0; answer.len()];
    let (flushed, read) = tokio::join!(stream.flush(), client.read_exact(&mut received));
    flushed.unwrap();
    read.unwrap();
    assert!(received == answer);
    assert_eq!((stream.delivery().unsent(), stream.memory.held()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn beyond_its_memory_an_answer_streams() {
    let (mut stream, mut client) = narrow();
    let mut others = crate::metrics::MemoryShare::new(&stream.memory);
    assert!(others.grow(LIMITS.all_memory * 3 / 4, LIMITS.all_memory));
    stream.delivery().set_holds_slot(true);
    let second = Duration::from_secs(1);
    let answer = vec![b'x'; 300_000];
    assert!(timeout(second, stream.write_all(&answer)).await.is_err());
    assert!((90_000..=LIMITS.memory).contains(&stream.delivery().unsent()));
    let read = async { while client.read(&mut [0; 500]).await.unwrap() > 0 {} };
    tokio::select! {
        written = stream.write_all(&answer) => written.unwrap(),
        () = read => panic!("the connection ended"),
    }
}

#[tokio::test(start_paused = true)]
async fn large_answers_share_the_free_memory_and_leave_more_than_half_of_it() {
    let memory: Arc<ClientMemory> = Arc::default();
    let second = Duration::from_secs(1);
    let mut streams = Vec::new();
    for _ in 0..3 {
        let (ours, client) = tokio::io::duplex(1000);
        let mut stream = ClientStream::new(ours, Arc::default(), Arc::clone(&memory), LIMITS);
        stream.delivery().set_holds_slot(true);
        let answer = async { while stream.write_all(&[b'x'; 5_000]).await.is_ok() {} };
        assert!(timeout(second, answer).await.is_err());
        streams.push((stream, client));
    }
    let unsent = streams.iter().map(|(stream, _)| stream.delivery().unsent());
    // Each has held as much as a quarter of what is free then.
    for (held, expected) in unsent.zip([200_000, 160_000, 128_000]) {
        assert!(
            (expected - 8_000..=expected + 2_000).contains(&held),
            "{held}"
        );
    }
    assert!(memory.held() < LIMITS.all_memory / 2);
}

#[tokio::test(start_paused = true)]
async fn without_memory_for_all_an_answer_streams() {
    let (mut stream, _client) = narrow();
    let mut others = crate::metrics::MemoryShare::new(&stream.memory);
    assert!(others.grow(LIMITS.all_memory, LIMITS.all_memory));
    stream.delivery().set_holds_slot(true);
    let second = Duration::from_secs(1);
    assert!(
        timeout(second, stream.write_all(&[b'x'; 20_000]))
            .await
            .is_err()
    );
    assert_eq!(stream.memory.held(), LIMITS.all_memory);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_held_for_a_client_that_keeps_no_upstream_waiting() {
    let (mut stream, _client) = narrow();
    let second = Duration::from_secs(1);
    assert!(
        timeout(second, stream.write_all(&[b'x'; 20_000]))
            .await
            .is_err()
    );
    assert_eq!(stream.memory.held(), 0);
}

/// Seconds until a client that reads so many bytes a second is given up.
async fn given_up_after(bytes: usize, length: usize) -> u64 {
    let (mut stream, mut client) = narrow();
    stream.delivery().set_holds_slot(true);
    let started = Instant::now();
    let reading = async {
        let mut buffer = vec![0; bytes];
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        loop {
            seconds.tick().await;
            client.read_exact(&mut buffer).await.unwrap();
        }
    };
    let writing = async {
        let answer = vec![b'x'; length];
        stream.write_all(&answer).await?;
        stream.delivery().set_holds_slot(false);
        stream.flush().await
    };
    tokio::select! {
        written = timeout(Duration::from_secs(600), writing) => match written {
            Ok(written) => assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut),
            Err(_) => return 600,
        },
        () = reading => unreachable!("it never ends"),
    }
    assert!(stream.delivery().is_given_up());
    assert_eq!(stream.memory.held(), 0, "nothing is kept for it");
    started.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_keeps_an_upstream_waiting_must_read_at_the_rate() {
    assert!((10..=12).contains(&given_up_after(1, 2_000_000).await));
    assert_eq!(given_up_after(1100, 2_000_000).await, 600);
}

#[tokio::test(start_paused = true)]
async fn eight_answers_of_one_network_that_keep_slots_share_one_grace() {
    let network = SharedByNetwork::default();
    let started = Instant::now();
    let answers = (0..8).map(|_| {
        let (mut stream, client) = narrow();
        stream.count_for(&network);
        stream.delivery().set_holds_slot(true);
        async move {
            let sent = stream.write_all(&vec![b'x'; 2_000_000]).await;
            drop(client);
            sent.unwrap_err().kind()
        }
    });
    let ends = futures::future::join_all(answers).await;
    assert_eq!(ends, [io::ErrorKind::TimedOut; 8]);
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_keeps_nothing_waiting_may_be_slow_but_not_silent() {
    assert_eq!(given_up_after(1, 90_000).await, 600);
    let (mut stream, _client) = narrow();
    let started = Instant::now();
    assert!(stream.write_all(&[b'x'; 20_000]).await.is_err());
    assert!((60..=61).contains(&started.elapsed().as_secs()));
}

#[tokio::test]
async fn the_outcome_of_a_truncated_answer_outlives_its_stream() {
    let (mut stream, _client) = narrow();
    let remains = stream.remains();
    stream.delivery().set_holds_slot(true);
    stream.write_all(&[b'x'; 20_000]).await.unwrap();
    stream.write_all(&HEAD).await.unwrap();
    drop(stream);
    let left = remains.lock().take().unwrap();
    assert_eq!(left.unsent.len(), 19_000 + HEAD.len());
}
