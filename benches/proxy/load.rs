//! The clients: each keeps one connection, and requests the next map when it has the last byte of
//! the one before.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

/// The `number`th request of a desktop client in a geOrchestra portal. Each shows another place, so
/// no two concurrent requests are the same.
fn request(number: usize) -> String {
    let west = 626_172 + number;
    format!(
        "GET /geoserver/wms?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetMap&FORMAT=image%2Fpng&TRANSPARENT=true\
&LAYERS=geor%3Apublic_layer&STYLES=&CRS=EPSG%3A3857&WIDTH=512&HEIGHT=512\
&BBOX=-{west}.1357121639%2C5009377.085697312%2C0%2C5635549.221409475 HTTP/1.1\r\n\
Host: maps.example.org\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
Accept: image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5\r\n\
Accept-Encoding: gzip, deflate\r\n\
Referer: https://maps.example.org/mapstore/\r\n\r\n"
    )
}

/// A head is smaller, and so is a body read at once.
const BUFFER: usize = 64 * 1024;

/// The longest time that a client waits. Requests here take less, unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Client {
    connection: TcpStream,
    request: String,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(to: SocketAddr, number: usize) -> io::Result<Self> {
        let connection = TcpStream::connect(to)?;
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            connection,
            request: request(number),
            buffer: Vec::new(),
        })
    }

    /// One map; an error unless it is a 200 with `body` bytes.
    pub(crate) fn ask(&mut self, body: usize) -> io::Result<()> {
        self.buffer.resize(BUFFER, 0);
        self.connection.write_all(self.request.as_bytes())?;
        let (mut read, mut total) = (0, None);
        while total.is_none_or(|total| read < total) {
            match self.connection.read(&mut self.buffer[read..])? {
                0 => return Err(io::Error::other("the connection was closed")),
                n => read += n,
            }
            total = total.map_or_else(
                || answer_length(&self.buffer[..read], body),
                |total| Ok(Some(total)),
            )?;
        }
        if total == Some(read) {
            Ok(())
        } else {
            Err(io::Error::other("more than one answer"))
        }
    }

    /// Gives its buffer back, keeps its connection.
    pub(crate) fn rest(&mut self) {
        self.buffer = Vec::new();
    }
}

/// Bytes of head and body, once the head is there; an error unless it announces a 200 with `body`
/// bytes.
fn answer_length(start: &[u8], body: usize) -> io::Result<Option<usize>> {
    let Some(end) = start.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&start[..end]).to_ascii_lowercase();
    let announced = head.lines().find_map(|line| {
        line.strip_prefix("content-length:")?
            .trim()
            .parse::<usize>()
            .ok()
    });
    if !head.starts_with("http/1.1 200") || announced != Some(body) {
        return Err(io::Error::other(format!(
            "not the answer of the upstream: {head}"
        )));
    }
    Ok(Some(end + 4 + body))
}

/// `clients` at once, together `requests` maps of `body` bytes.
pub(crate) fn run(to: SocketAddr, clients: usize, requests: usize, body: usize) -> io::Result<()> {
    let one = |number| -> io::Result<()> {
        let mut client = Client::connect(to, number)?;
        (0..requests / clients).try_for_each(|_| client.ask(body))
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|number| scope.spawn(move || one(number)))
            .collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().expect("a client returns its errors"))
    })
}
