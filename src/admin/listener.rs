//! Accepts admin connections, with bounds on their number and duration.
//!
//! `axum::serve` limits neither the time for request heads nor the number of connections; this loop
//! does. It accepts every connection at once, and [`places`](super::places) decides which
//! connection ends for it.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::places::{Answering, Capacity, Place, Places};
use super::write_timeout::WriteTimeoutStream;

/// Timeout for a whole request head, and for an idle connection.
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// Timeout for a client that accepts no part of its answer.
const WRITE_LIMIT: Duration = Duration::from_secs(20);

/// Lifetime of a connection. Event streams end too; their readers reconnect and continue.
const LIFETIME: Duration = Duration::from_secs(3600);

/// Time for running answers when the process stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// Pause after a failed accept. Without file descriptors, an immediate retry would only burn a
/// core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The client of a request, as handlers receive it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    pub(super) address: IpAddr,
    /// The connection has a place in the reserve, where only health and readiness are answered.
    pub(super) is_reserve: bool,
}

/// Serves until `stop` turns true.
pub(super) async fn run(
    listener: TcpListener,
    app: Router,
    capacity: Capacity,
    stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    tokio::select! {
        () = accept_all(&listener, &app, capacity, &stop, &mut connections) => {}
        () = stopped(stop.clone()) => {}
    }
    drop(listener);
    if timeout(FAREWELL, async {
        while connections.join_next().await.is_some() {}
    })
    .await
    .is_err()
    {
        tracing::debug!(connections = connections.len(), "admin connections cut off");
    }
}

async fn accept_all(
    listener: &TcpListener,
    app: &Router,
    capacity: Capacity,
    stop: &watch::Receiver<bool>,
    connections: &mut JoinSet<()>,
) {
    let places = Places::new(capacity);
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let address = peer.ip().to_canonical();
                let place = Arc::new(places.take(address));
                connections.spawn(serve_connection(
                    stream,
                    app.clone(),
                    address,
                    place,
                    stop.clone(),
                ));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an admin connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve_connection(
    stream: TcpStream,
    app: Router,
    address: IpAddr,
    place: Arc<Place>,
    stop: watch::Receiver<bool>,
) {
    let client = Client {
        address,
        is_reserve: place.is_reserve,
    };
    let (app, ours) = (TowerToHyperService::new(app), Arc::clone(&place));
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(client);
        let (answering, answer) = (ours.answering(), app.call(request));
        async move {
            Ok::<_, Infallible>(answer.await?.map(|body| Answer {
                body,
                _answering: answering,
            }))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .serve_connection(
            TokioIo::new(WriteTimeoutStream::new(stream, WRITE_LIMIT)),
            service,
        );
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = place.closed() => return,
        () = stopped(stop) => {}
        () = sleep(LIFETIME) => {}
    }
    connection.as_mut().graceful_shutdown();
    // An error of a client that is leaving needs no handling.
    timeout(FAREWELL, connection).await.ok();
}

/// The body of an answer. While it exists, its connection does not count as silent.
struct Answer {
    body: Body,
    _answering: Answering,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Resolves when `stop` turns true, or its sender is gone.
async fn stopped(mut stop: watch::Receiver<bool>) {
    stop.wait_for(|stop| *stop).await.ok();
}
