//! Clients: as many kept-alive connections as there are requests at a time, an answer whole or the
//! reason why not.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

/// The host name in every request.
const HOST: &str = "maps.example.org";

/// All clients of one address; connections are shared among its clones.
#[derive(Clone)]
pub(crate) struct Client {
    pool: legacy::Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
    patience: Duration,
}

pub(crate) struct Question<'a> {
    pub(crate) method: Method,
    pub(crate) target: &'a str,
    pub(crate) headers: &'a [(&'static str, &'a str)],
    pub(crate) body: Bytes,
}

/// True if the body is complete: it has the announced length, or ends as chunks end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The reason why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    Connect,
    /// The connection ended without an answer, or in the middle of one.
    Broken,
    /// The answer took longer than any client waits.
    TimedOut,
}

impl<'a> Question<'a> {
    pub(crate) fn get(target: &'a str, headers: &'a [(&'static str, &'a str)]) -> Self {
        Self {
            method: Method::GET,
            target,
            headers,
            body: Bytes::new(),
        }
    }
}

impl Client {
    pub(crate) fn new(address: SocketAddr, patience: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        // As many idle connections as there were ever requests at a time, none closed for being
        // idle.
        let pool = legacy::Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(usize::MAX)
            .pool_idle_timeout(None)
            .build(connector);
        Self {
            pool,
            address,
            patience,
        }
    }

    pub(crate) async fn ask(&self, question: Question<'_>) -> Result<Answer, Failure> {
        timeout(self.patience, self.exchange(question))
            .await
            .unwrap_or(Err(Failure::TimedOut))
    }

    async fn exchange(&self, question: Question<'_>) -> Result<Answer, Failure> {
        let uri = format!("http://{}{}", self.address, question.target);
        let mut request = Request::builder()
            .method(question.method)
            .uri(uri)
            .header("host", HOST);
        for (name, value) in question.headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(question.body))
            .expect("what benches ask for is well-formed");
        let connect_or_broken = |error: legacy::Error| {
            if error.is_connect() {
                Failure::Connect
            } else {
                Failure::Broken
            }
        };
        let (head, body) = self
            .pool
            .request(request)
            .await
            .map_err(connect_or_broken)?
            .into_parts();
        let body = body
            .collect()
            .await
            .map_err(|_| Failure::Broken)?
            .to_bytes();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}
