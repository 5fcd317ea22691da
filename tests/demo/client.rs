//! One request over a connection of its own.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const MARK: &str = "X-Geofront: 1\r\n";

/// A tile of the world, as the page requests it.
pub(crate) const TILE: &str = "/geoserver/wms?service=WMS&version=1.1.1&request=GetMap&layers=geor:public_layer&styles=\
    &format=image/png&transparent=true&tiled=true&srs=EPSG:3857&bbox=0,0,20037508.342789,20037508.342789&width=256&height=256";

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The replica that answered.
    pub(crate) fn upstream(&self) -> Option<&str> {
        self.field("x-geosim")
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(crate) fn is_image(&self) -> bool {
        self.status == 200 && self.field("content-type") == Some("image/png")
    }
}

pub(crate) async fn get(to: SocketAddr, path: &str) -> Answer {
    send(to, "GET", path, "").await
}

/// A control, with the header that controls require.
pub(crate) async fn post(to: SocketAddr, path: &str) -> Answer {
    send(to, "POST", path, MARK).await
}

/// `fields` are header lines; without a `Host` among them it is the address.
pub(crate) async fn send(to: SocketAddr, method: &str, path: &str, fields: &str) -> Answer {
    let host = if fields.contains("Host: ") {
        String::new()
    } else {
        format!("Host: {to}\r\n")
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\n{host}{fields}Connection: close\r\nContent-Length: 0\r\n\r\n"
    );
    let exchange = async {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let answer = timeout(PATIENCE, exchange)
        .await
        .expect("an answer in time");
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}
