//! A replica that is MapServer: Debian's `mapserv`, run as a CGI program for each request under
//! `/geoserver`.
//!
//! MapServer takes `/geoserver/wms` for its own address because CGI passes it as such, and writes
//! it into its capabilities with the `Host` the client sent: links that lead back to the front door
//! prove that it passed the request on as it came.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode, header};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::runtime::Runtime;

use crate::program;

/// No request of a map client is larger.
const MAX_BODY: usize = 1 << 20;

/// A replica that serves for as long as its runtime lives.
pub(crate) struct MapServer {
    pub(crate) address: SocketAddr,
    cgi: Arc<Cgi>,
}

struct Cgi {
    program: PathBuf,
    /// Answers to clients, probes left out.
    answered: AtomicUsize,
}

impl MapServer {
    pub(crate) fn start(runtime: &Runtime) -> Self {
        let cgi = Arc::new(Cgi {
            program: program::find("/usr/lib/cgi-bin/mapserv", "cgi-mapserver"),
            answered: AtomicUsize::new(0),
        });
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let app = axum::Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&cgi));
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { address, cgi }
    }

    /// Requests of clients answered so far.
    pub(crate) fn answered(&self) -> usize {
        self.cgi.answered.load(Ordering::Relaxed)
    }
}

async fn answer(State(cgi): State<Arc<Cgi>>, request: Request) -> Response<Body> {
    let agent = request
        .headers()
        .get("user-agent")
        .and_then(|agent| agent.to_str().ok());
    let is_probe = agent.is_some_and(|agent| agent.starts_with("geofront/"));
    if !is_probe {
        cgi.answered.fetch_add(1, Ordering::Relaxed);
    }
    cgi.run(request).await.unwrap_or_else(|error| {
        let mut failed = Response::new(Body::from(error.to_string()));
        *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        failed
    })
}

impl Cgi {
    async fn run(&self, request: Request) -> io::Result<Response<Body>> {
        let mut command = self.command(&request);
        let body = to_bytes(request.into_body(), MAX_BODY)
            .await
            .map_err(io::Error::other)?;
        let mut process = command
            .env("CONTENT_LENGTH", body.len().to_string())
            .spawn()?;
        if let Some(mut stdin) = process.stdin.take() {
            stdin.write_all(&body).await?;
        }
        parse(&process.wait_with_output().await?.stdout)
    }

    /// Builds the CGI (RFC 3875) environment for `request`.
    fn command(&self, request: &Request) -> Command {
        let text = |name| {
            request
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let host = text(header::HOST);
        let (name, port) = host.rsplit_once(':').unwrap_or((host, "80"));
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("GATEWAY_INTERFACE", "CGI/1.1")
            .env("REQUEST_METHOD", request.method().as_str())
            .env("QUERY_STRING", request.uri().query().unwrap_or_default())
            .env("SCRIPT_NAME", request.uri().path())
            .env("CONTENT_TYPE", text(header::CONTENT_TYPE))
            .env("HTTP_HOST", host)
            .env("SERVER_NAME", name)
            .env("SERVER_PORT", port)
            .env("SERVER_PROTOCOL", "HTTP/1.1")
            .env(
                "MAPSERVER_CONFIG_FILE",
                program::data("mapserver/mapserver.conf"),
            )
            .env("MS_MAPFILE", program::data("mapserver/geoserver.map"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command
    }
}

/// A CGI answer: header lines, an empty line, the body.
fn parse(output: &[u8]) -> io::Result<Response<Body>> {
    let end = output
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or_else(|| io::Error::other("no header"))?;
    let head = std::str::from_utf8(&output[..end]).map_err(io::Error::other)?;
    let mut response = Response::builder();
    for line in head.lines() {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| io::Error::other(format!("header line `{line}`")))?;
        response = if name.eq_ignore_ascii_case("status") {
            response.status(value.split_whitespace().next().unwrap_or("500"))
        } else {
            response.header(name, value.trim())
        };
    }
    response
        .body(Body::from(output[end + 4..].to_vec()))
        .map_err(io::Error::other)
}
