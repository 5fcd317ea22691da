//! One request of the demo to a port of its own.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Bytes of an answer that are read; the rest is left.
const MAX_ANSWER: u64 = 64 * 1024;

/// The answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Sends `head`, a request without its `Host` and `Connection`, and `body`.
pub(super) async fn exchange(
    to: SocketAddr,
    head: &str,
    body: &str,
    limit: Duration,
) -> io::Result<Reply> {
    timeout(limit, send(to, head, body))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))?
}

async fn send(to: SocketAddr, head: &str, body: &str) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(to).await?;
    let request = format!(
        "{head}Host: {to}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    reply_of(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer"))
}

fn reply_of(answer: &[u8]) -> Option<Reply> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = body.to_owned();
    Some(Reply { status, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_body_are_read() {
        let reply = reply_of(b"HTTP/1.1 201 Created\r\nA: b\r\n\r\nbody").unwrap();
        assert_eq!((reply.status, reply.body.as_str()), (201, "body"));
        assert!(reply_of(b"not HTTP").is_none());
    }
}
