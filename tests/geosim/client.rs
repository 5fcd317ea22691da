//! A blocking HTTP client of one request a connection, which reports what came as it came.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use geofront::geosim::{BASIC, Behaviour, DataDirectory, Instance, PNG_AUTHOR};
use quick_xml::events::Event;

/// No test waits longer for an answer; none should come near it.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The body ended as its framing announced.
    pub(crate) is_whole: bool,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn is_png(&self) -> bool {
        self.painter().is_some()
    }

    /// Which instance painted this map; `None` when it is no map, or not a whole one.
    pub(crate) fn painter(&self) -> Option<String> {
        let is_whole_png = self.header("content-type") == Some("image/png") && self.is_whole;
        if is_whole_png {
            author_of(&self.body)
        } else {
            None
        }
    }

    pub(crate) fn is_well_formed_xml(&self) -> bool {
        let (text, mut depth, mut elements) = (self.text(), 0, 0);
        let mut reader = quick_xml::Reader::from_str(&text);
        loop {
            match reader.read_event() {
                Ok(Event::Start(_)) => (depth, elements) = (depth + 1, elements + 1),
                Ok(Event::Empty(_)) => elements += 1,
                Ok(Event::End(_)) => depth -= 1,
                Ok(Event::Eof) => return self.is_whole && depth == 0 && elements > 0,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }

    /// The body as it was before it was compressed.
    pub(crate) fn unzipped(&self) -> String {
        assert_eq!(self.header("content-encoding"), Some("gzip"), "{self:?}");
        let mut text = String::new();
        flate2::read::GzDecoder::new(self.body.as_slice())
            .read_to_string(&mut text)
            .unwrap();
        text
    }
}

/// Returns the author written in a PNG, if its pixels can be decoded.
fn author_of(png: &[u8]) -> Option<String> {
    let mut reader = png::Decoder::new(io::Cursor::new(png)).read_info().ok()?;
    let mut pixels = vec![0; reader.output_buffer_size()?];
    reader.next_frame(&mut pixels).ok()?;
    reader
        .info()
        .uncompressed_latin1_text
        .iter()
        .find(|chunk| chunk.keyword == PNG_AUTHOR)
        .map(|chunk| chunk.text.clone())
}

/// A main that is instant and unlimited.
pub(crate) fn start() -> Instance {
    start_with(Behaviour::default())
}

pub(crate) fn start_with(behaviour: Behaviour) -> Instance {
    Instance::start("main", &DataDirectory::new(), behaviour)
}

pub(crate) const GET_MAP: &str = "/geoserver/wms?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetMap&LAYERS=geor:public_layer&STYLES=\
    &FORMAT=image/png&CRS=EPSG:3857&BBOX=-20820223,-20820223,20820223,20820223&WIDTH=64&HEIGHT=64";

pub(crate) const XML: (&str, &str) = ("Content-Type", "application/xml");

/// GETs `target`; panics when there is no answer.
pub(crate) fn get(instance: &Instance, target: &str) -> Reply {
    get_with(instance, target, &[])
}

pub(crate) fn get_with(instance: &Instance, target: &str, headers: &[(&str, &str)]) -> Reply {
    try_send(instance, "GET", target, headers, "").unwrap()
}

pub(crate) fn post(
    instance: &Instance,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Reply {
    try_send(instance, "POST", target, headers, body).unwrap()
}

pub(crate) fn as_admin(instance: &Instance, method: &str, target: &str, body: &str) -> Reply {
    try_send(instance, method, target, &[("Authorization", BASIC)], body).unwrap()
}

pub(crate) fn try_get(instance: &Instance, target: &str) -> io::Result<Reply> {
    try_send(instance, "GET", target, &[], "")
}

pub(crate) fn try_send(
    instance: &Instance,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> io::Result<Reply> {
    let mut request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
        instance.address()
    );
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        request += &format!("Content-Length: {}\r\n", body.len());
    }
    raw(instance, &(request + "\r\n" + body))
}

/// Sends these bytes and reads until the connection ends.
pub(crate) fn raw(instance: &Instance, request: &str) -> io::Result<Reply> {
    let mut stream = connect(instance)?;
    stream.write_all(request.as_bytes())?;
    read_to_end(&mut stream)
}

pub(crate) fn connect(instance: &Instance) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&instance.address(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Reads to the end and returns the reply; an error if nothing of use arrived. A reset after the
/// head gives an answer that is not whole.
pub(crate) fn read_to_end(stream: &mut TcpStream) -> io::Result<Reply> {
    let mut received = Vec::new();
    match stream.read_to_end(&mut received) {
        Err(error) if received.is_empty() => Err(error),
        _ => parse(&received),
    }
}

pub(crate) fn parse(received: &[u8]) -> io::Result<Reply> {
    let mut slots = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut slots);
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    if received.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let Ok(httparse::Status::Complete(head)) = response.parse(received) else {
        return Err(invalid("not an HTTP answer"));
    };
    let headers: Vec<(String, String)> = response
        .headers
        .iter()
        .map(|h| {
            (
                h.name.to_owned(),
                String::from_utf8_lossy(h.value).into_owned(),
            )
        })
        .collect();
    let find = |name: &str| {
        headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    };
    let rest = &received[head..];
    let (body, is_whole) = match find("content-length") {
        Some(length) => (rest.to_vec(), length.parse() == Ok(rest.len())),
        None if find("transfer-encoding") == Some("chunked") => unchunk(rest),
        None => (rest.to_vec(), true),
    };
    Ok(Reply {
        status: response.code.unwrap(),
        headers,
        body,
        is_whole,
    })
}

fn unchunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(rest) {
        if size == 0 {
            return (body, true);
        }
        let end = start + size as usize;
        body.extend_from_slice(&rest[start..end.min(rest.len())]);
        rest = rest.get(end + 2..).unwrap_or_default();
    }
    (body, false)
}
