//! The memory of a client that keeps its connection open and sends nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::net::SocketAddr;
use std::sync::Arc;

use geofront::app;
use geofront::config_reload::RealEnvironment;
use geofront::geosim::{Behaviour, DataDirectory, Instance};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CLIENTS: usize = 100;

/// Bytes for each client, its end of the connection included.
const MAX_BYTES: usize = 6 * 1024;

const REQUEST: &[u8] = b"GET /geoserver/wms?service=WMS&version=1.1.1&request=GetMap&layers=geor:public_layer\
    &styles=&format=image/png&srs=EPSG:4326&bbox=-180,-90,180,90&width=64&height=32 HTTP/1.1\r\nHost: a\r\n\r\n";

/// The end of every PNG.
const END: &[u8] = b"IEND\xaeB`\x82";

/// Connects, and gets one map.
async fn one_map(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(END) {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
    }
    stream
}

async fn maps(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(one_map(address).await);
    }
    clients
}

/// Everything of geofront runs on this thread, whose allocations are counted; the upstreams do not.
#[test]
fn an_idle_client_keeps_little_memory() {
    let data = DataDirectory::new();
    let [main, replica] =
        ["main", "replica"].map(|name| Instance::start(name, &data, Behaviour::default()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("geofront.toml");
    let text = format!(
        "listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[upstreams.main]\nurl = \"{}\"\nrole = \"main\"\n\
         [upstreams.replica]\nurl = \"{}\"\n[health]\ninterval = \"1h\"\n[log]\naccess = \"off\"\n",
        main.url(),
        replica.url()
    );
    std::fs::write(&path, text).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let app = runtime
        .block_on(app::start(&path, Arc::new(RealEnvironment)))
        .unwrap();
    runtime.block_on(app.control.first_verdicts());
    let address = app.listen[0];
    let warm = runtime.block_on(maps(address, 20));
    let mut idle = Vec::new();
    let counted = allocation_counter::measure(|| idle = runtime.block_on(maps(address, CLIENTS)));
    let each = usize::try_from(counted.bytes_current).unwrap() / CLIENTS;
    assert!(each <= MAX_BYTES, "{each} bytes for each idle client");
    assert_eq!(idle.len() + warm.len(), CLIENTS + 20);
}
