//! A client that sends exactly what a test specifies and returns exactly what it received, broken
//! answers included.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest time to wait for an answer, unless a test sets another.
const PATIENCE: Duration = Duration::from_secs(20);

/// The answer as received.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The body ended as its framing announced, not with the connection.
    pub(crate) is_complete: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The geosim instance that answered.
    pub(crate) fn served_by(&self) -> &str {
        self.header("x-geosim").unwrap_or_default()
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client<S = TcpStream> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            stream: TcpStream::connect(address).await?,
            buffer: Vec::new(),
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// A connection over this stream.
    pub(crate) fn over(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// One request and its answer; the connection stays.
    pub(crate) async fn request(&mut self, bytes: &[u8]) -> io::Result<Answer> {
        self.send(bytes).await?;
        self.answer().await
    }

    pub(crate) async fn get(&mut self, target: &str) -> io::Result<Answer> {
        self.request(get(target).as_bytes()).await
    }

    /// The next answer, interim ones (1xx) skipped.
    pub(crate) async fn answer(&mut self) -> io::Result<Answer> {
        tokio::time::timeout(PATIENCE, self.read_answer())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// The next answer, of which only the head comes.
    pub(crate) async fn head(&mut self) -> io::Result<Answer> {
        let (status, headers) = tokio::time::timeout(PATIENCE, self.read_head())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(Answer {
            status,
            headers,
            body: Vec::new(),
            is_complete: true,
        })
    }

    /// The next interim answer (1xx).
    pub(crate) async fn interim(&mut self) -> io::Result<u16> {
        let head = tokio::time::timeout(PATIENCE, self.read_head())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(head.0)
    }

    async fn read_answer(&mut self) -> io::Result<Answer> {
        loop {
            let (status, headers) = self.read_head().await?;
            if (100..200).contains(&status) {
                continue;
            }
            let find = |name: &str| {
                headers
                    .iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.clone())
            };
            let (body, is_complete) = if status == 204 || status == 304 {
                (Vec::new(), true)
            } else if find("transfer-encoding")
                .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
            {
                self.read_chunked().await?
            } else if let Some(length) = find("content-length") {
                let length = length.parse().map_err(io::Error::other)?;
                self.read_length(length).await?
            } else {
                while self.fill().await? > 0 {}
                (std::mem::take(&mut self.buffer), true)
            };
            return Ok(Answer {
                status,
                headers,
                body,
                is_complete,
            });
        }
    }

    async fn read_head(&mut self) -> io::Result<(u16, Vec<(String, String)>)> {
        loop {
            let mut slots = [httparse::EMPTY_HEADER; 64];
            let mut head = httparse::Response::new(&mut slots);
            if let httparse::Status::Complete(length) =
                head.parse(&self.buffer).map_err(io::Error::other)?
            {
                let headers = head
                    .headers
                    .iter()
                    .map(|h| {
                        (
                            h.name.to_owned(),
                            String::from_utf8_lossy(h.value).into_owned(),
                        )
                    })
                    .collect();
                let status = head.code.unwrap_or_default();
                self.buffer.drain(..length);
                return Ok((status, headers));
            }
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn read_length(&mut self, length: usize) -> io::Result<(Vec<u8>, bool)> {
        while self.buffer.len() < length {
            if self.fill().await.unwrap_or(0) == 0 {
                return Ok((std::mem::take(&mut self.buffer), false));
            }
        }
        let rest = self.buffer.split_off(length);
        Ok((std::mem::replace(&mut self.buffer, rest), true))
    }

    async fn read_chunked(&mut self) -> io::Result<(Vec<u8>, bool)> {
        let mut body = Vec::new();
        loop {
            match httparse::parse_chunk_size(&self.buffer) {
                Ok(httparse::Status::Complete((line, size))) => {
                    let size = usize::try_from(size).map_err(io::Error::other)?;
                    let end = line + size + 2;
                    while self.buffer.len() < end {
                        if self.fill().await.unwrap_or(0) == 0 {
                            return Ok((body, false));
                        }
                    }
                    body.extend_from_slice(&self.buffer[line..line + size]);
                    self.buffer.drain(..end);
                    if size == 0 {
                        return Ok((body, true));
                    }
                }
                Ok(httparse::Status::Partial) => {
                    if self.fill().await.unwrap_or(0) == 0 {
                        return Ok((body, false));
                    }
                }
                Err(_) => return Err(io::Error::other("a chunk size that is none")),
            }
        }
    }

    /// The next bytes, whatever they are.
    pub(crate) async fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let length = bytes.len();
        while self.buffer.len() < length {
            let more = tokio::time::timeout(PATIENCE, self.fill())
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
            if more? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        bytes.copy_from_slice(&self.buffer[..length]);
        self.buffer.drain(..length);
        Ok(())
    }

    /// Reads more; 0 at the end.
    async fn fill(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.buffer).await
    }

    /// The other end has closed the connection, cleanly or not.
    pub(crate) async fn is_closed(&mut self) -> bool {
        matches!(
            tokio::time::timeout(PATIENCE, self.fill()).await,
            Ok(Ok(0) | Err(_))
        )
    }
}

/// A plain GET on a connection that stays.
pub(crate) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: maps.example.org\r\n\r\n")
}

/// A POST with its length.
pub(crate) fn post(target: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {target} HTTP/1.1\r\nHost: maps.example.org\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}
