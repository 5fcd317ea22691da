//! Accepts admin connections, each bounded in time, all bounded in number.
//!
//! `axum::serve` has no deadline for request heads and no bound on connections; this loop is what it does, plus those two.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The address of the client that a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientAddress(pub(super) IpAddr);

/// Connections at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 256;

/// For a whole request head, and for an idle connection.
const HEAD_LIMIT: Duration = Duration::from_secs(30);

/// Even a connection that reads events ends; event readers reconnect where they were.
const LIFETIME: Duration = Duration::from_secs(3600);

/// For what is being answered when the process stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// When accepting fails (no file descriptors left, say), trying again at once would only burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves until `stop` turns true.
pub(super) async fn run(listener: TcpListener, app: Router, stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    tokio::select! {
        () = accept_all(&listener, &app, &stop, &mut connections) => {}
        () = stopped(stop.clone()) => {}
    }
    drop(listener);
    if timeout(FAREWELL, async { while connections.join_next().await.is_some() {} }).await.is_err() {
        tracing::debug!(connections = connections.len(), "admin connections cut off");
    }
}

async fn accept_all(listener: &TcpListener, app: &Router, stop: &watch::Receiver<bool>, connections: &mut JoinSet<()>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (app, stop) = (app.clone().layer(Extension(ClientAddress(peer.ip().to_canonical()))), stop.clone());
                connections.spawn(async move {
                    serve_connection(stream, app, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an admin connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve_connection(stream: TcpStream, app: Router, stop: watch::Receiver<bool>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopped(stop) => {}
        () = sleep(LIFETIME) => {}
    }
    connection.as_mut().graceful_shutdown();
    // What went wrong with a client that is leaving concerns nobody.
    drop(timeout(FAREWELL, connection).await);
}

/// A sender that is gone means the same as `true`.
async fn stopped(mut stop: watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}
