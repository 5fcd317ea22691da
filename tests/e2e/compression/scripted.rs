//! An upstream that answers what the test writes. Requests that are not marked go to a geosim, so
//! that it passes its probes.

use std::net::SocketAddr;

use geofront::geosim::{Behaviour, DataDirectory, Instance};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::rig::PATIENCE;

/// The mark of a request that the test answers.
const MARK: &[u8] = b"&scripted";

pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    exchanges: mpsc::Receiver<Exchange>,
    _geoserver: Instance,
}

/// A request whose answer the test writes. When it is dropped, its connection closes.
pub(crate) struct Exchange {
    pub(crate) head: String,
    stream: TcpStream,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let geoserver = Instance::start("scripted", &DataDirectory::new(), Behaviour::default());
        let real = geoserver.address();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (found, exchanges) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, real, found.clone()));
            }
        });
        Self {
            address,
            exchanges,
            _geoserver: geoserver,
        }
    }

    /// The next request that is marked.
    pub(crate) async fn next(&mut self) -> Exchange {
        tokio::time::timeout(PATIENCE, self.exchanges.recv())
            .await
            .expect("a request in time")
            .expect("the listener goes on")
    }
}

impl Exchange {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }
}

async fn serve(mut stream: TcpStream, real: SocketAddr, found: mpsc::Sender<Exchange>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    if head.windows(MARK.len()).any(|window| window == MARK) {
        let head = String::from_utf8_lossy(&head).into_owned();
        found.send(Exchange { head, stream }).await.ok();
    } else if let Ok(mut geoserver) = TcpStream::connect(real).await
        && geoserver.write_all(&head).await.is_ok()
    {
        copy_bidirectional(&mut stream, &mut geoserver).await.ok();
    }
}
