//! Shared test fixtures of the driver: a raw server with fixed behaviour, and a configuration for
//! it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::cluster::{Action, Cluster, Upstream};
use crate::config::{Config, MapEnvironment};

/// Timeout of every wait in these tests.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The reaction of a server to a request.
#[derive(Clone)]
pub(super) enum Behaviour {
    /// Writes these bytes and closes.
    Answer(Vec<u8>),
    /// Writes these bytes and keeps the connection open.
    Stall(Vec<u8>),
    /// Writes these bytes over and over.
    Flood(Vec<u8>),
}

/// A server on loopback that ends with the runtime of the test.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) requests: mpsc::UnboundedReceiver<String>,
}

impl Server {
    pub(super) async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, behaviour.clone(), seen.clone()));
            }
        });
        Self { address, requests }
    }
}

async fn serve(mut stream: TcpStream, behaviour: Behaviour, seen: mpsc::UnboundedSender<String>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut part = [0; 4096];
        match stream.read(&mut part).await {
            Ok(length @ 1..) => request.extend_from_slice(&part[..length]),
            Ok(0) | Err(_) => return,
        }
    }
    seen.send(String::from_utf8(request).unwrap()).ok();
    match behaviour {
        Behaviour::Answer(bytes) => stream.write_all(&bytes).await.unwrap_or_default(),
        Behaviour::Stall(bytes) => {
            stream.write_all(&bytes).await.unwrap_or_default();
            std::future::pending::<()>().await;
        }
        Behaviour::Flood(bytes) => while stream.write_all(&bytes).await.is_ok() {},
    }
}

/// An HTTP answer with a length.
pub(super) fn http(status: &str, content_type: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A configuration with a replica at `address`, an unreachable main, and more tables if given.
pub(super) fn config(address: SocketAddr, more: &str) -> Arc<Config> {
    let main = "[upstreams.main]\nurl = \"http://127.0.0.1:1\"\nrole = \"main\"\n";
    let text = format!("{main}[upstreams.replica]\nurl = \"http://{address}\"\n{more}");
    let environment = MapEnvironment::new().file("geofront.toml", text);
    Arc::new(
        Config::load(Path::new("geofront.toml"), &environment)
            .unwrap()
            .config,
    )
}

/// The upstream called `name`, from the cluster's first probe action.
pub(super) fn upstream(config: &Arc<Config>, name: &str) -> Arc<Upstream> {
    let now = Instant::now();
    let mut cluster = Cluster::new(Arc::clone(config), now);
    let probed = |action| {
        if let Action::Probe(upstream) = action {
            Some(upstream)
        } else {
            None
        }
    };
    let sent_at = std::iter::from_fn(|| cluster.poll_action(now)).filter_map(probed);
    sent_at
        .into_iter()
        .find(|upstream| upstream.name.as_str() == name)
        .expect("a new upstream is probed at once")
}
