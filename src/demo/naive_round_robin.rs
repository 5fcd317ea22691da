//! The naive balancer of the demo, for comparison: each request goes to the next replica in turn.
//!
//! It has no health checks, retries, queue, limits or knowledge of GeoServer: HAProxy with
//! `balance roundrobin` and without `check`, or nginx with `proxy_next_upstream off`. It passes
//! GET and HEAD only, one request a connection. It is no part of the product.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Connections at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 512;
/// Largest head of a request, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// Fields of a head.
const MAX_FIELDS: usize = 64;
/// Timeout for the head of a request.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// Timeout for a connection to a replica.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Timeout for each part of an answer: HAProxy's and nginx's usual settings are longer.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
const PIECE: usize = 16 * 1024;

struct Turns {
    replicas: Vec<SocketAddr>,
    next: AtomicUsize,
}

impl Turns {
    fn next(&self) -> SocketAddr {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.replicas[turn % self.replicas.len()]
    }
}

/// Balances over `replicas`, of which there is at least one, until `stop` turns true.
pub(super) async fn serve(
    listener: TcpListener,
    replicas: Vec<SocketAddr>,
    mut stop: watch::Receiver<bool>,
) {
    assert!(!replicas.is_empty(), "a balancer has something to balance");
    let next = AtomicUsize::new(0);
    let turns = Arc::new(Turns { replicas, next });
    tokio::select! {
        () = accept_all(&listener, &turns) => {}
        // A sender that is gone is a stop as well.
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// Connections end with the returned future.
async fn accept_all(listener: &TcpListener, turns: &Arc<Turns>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        match listener.accept().await {
            Ok((client, _)) => {
                let turns = Arc::clone(turns);
                connections.spawn(async move {
                    // A client that is gone needs no answer.
                    relay(client, &turns).await.ok();
                    drop(place);
                });
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn relay(mut client: TcpStream, turns: &Turns) -> io::Result<()> {
    client.set_nodelay(true)?;
    let head = match timeout(HEAD_LIMIT, read_head(&mut client)).await {
        Ok(head) => head?,
        Err(_) => return refuse(&mut client, "408 Request Timeout", "no request came").await,
    };
    let Some(head) = head.as_deref().and_then(for_one_request) else {
        let reason = "the naive balancer of the demo passes GET and HEAD only";
        return refuse(&mut client, "400 Bad Request", reason).await;
    };
    let replica = turns.next();
    let connected = timeout(CONNECT_LIMIT, TcpStream::connect(replica)).await;
    let Ok(Ok(mut upstream)) = connected else {
        return refuse(&mut client, "502 Bad Gateway", "the replica is gone").await;
    };
    upstream.write_all(&head).await?;
    pass_answer(&mut client, &mut upstream).await
}

/// Passes the answer until the replica closes or the client leaves.
async fn pass_answer(client: &mut TcpStream, upstream: &mut TcpStream) -> io::Result<()> {
    let (mut answer, mut ignored) = (vec![0; PIECE], [0; 512]);
    let mut has_begun = false;
    loop {
        let read = tokio::select! {
            read = timeout(SILENCE_LIMIT, upstream.read(&mut answer)) => read,
            left = client.read(&mut ignored) => {
                if left? == 0 {
                    return Ok(());
                }
                continue;
            }
        };
        match read {
            Ok(Ok(0)) | Ok(Err(_)) if !has_begun => {
                return refuse(
                    client,
                    "502 Bad Gateway",
                    "the replica closed the connection",
                )
                .await;
            }
            Err(_) if !has_begun => {
                return refuse(client, "504 Gateway Timeout", "the replica does not answer").await;
            }
            Ok(Ok(0)) | Err(_) => return client.shutdown().await,
            Ok(read) => client.write_all(&answer[..read?]).await?,
        }
        has_begun = true;
    }
}

/// The head of a request; `None` if it is too large or the client leaves within it.
async fn read_head(client: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    while head.len() < MAX_HEAD {
        if client.read_buf(&mut head).await? == 0 {
            return Ok(None);
        }
        if head.windows(4).any(|end| end == b"\r\n\r\n") {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

/// The same request as the only one of its connection; `None` if it is not passed.
fn for_one_request(head: &[u8]) -> Option<Vec<u8>> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    request
        .parse(head)
        .ok()
        .filter(httparse::Status::is_complete)?;
    let method = request
        .method
        .filter(|method| matches!(*method, "GET" | "HEAD"))?;
    let mut passed = format!("{method} {} HTTP/1.1\r\n", request.path?).into_bytes();
    let is_hop = |name: &str| {
        [
            "connection",
            "keep-alive",
            "content-length",
            "transfer-encoding",
            "upgrade",
        ]
        .iter()
        .any(|hop| name.eq_ignore_ascii_case(hop))
    };
    for field in request.headers.iter().filter(|field| !is_hop(field.name)) {
        passed.extend_from_slice(field.name.as_bytes());
        passed.extend_from_slice(b": ");
        passed.extend_from_slice(field.value);
        passed.extend_from_slice(b"\r\n");
    }
    passed.extend_from_slice(b"Connection: close\r\n\r\n");
    Some(passed)
}

async fn refuse(client: &mut TcpStream, status: &str, reason: &str) -> io::Result<()> {
    let length = reason.len() + 1;
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
         Access-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n{reason}\n"
    );
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_passed_as_the_only_one_of_its_connection() {
        let head = b"GET /a?b HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nA: b\r\n\r\n";
        let passed = for_one_request(head).unwrap();
        assert_eq!(
            passed,
            b"GET /a?b HTTP/1.1\r\nHost: x\r\nA: b\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn writes_and_malformed_requests_are_not_passed() {
        for head in [
            "POST /a HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /a\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: x",
        ] {
            assert_eq!(for_one_request(head.as_bytes()), None, "{head}");
        }
    }

    #[test]
    fn replicas_take_turns() {
        let replicas: Vec<SocketAddr> = (1..=3).map(|port| ([127, 0, 0, 1], port).into()).collect();
        let turns = Turns {
            replicas,
            next: AtomicUsize::new(0),
        };
        let ports: Vec<u16> = (0..4).map(|_| turns.next().port()).collect();
        assert_eq!(ports, [1, 2, 3, 1]);
    }
}
