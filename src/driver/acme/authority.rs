//! Requests to the certificate authority.
//!
//! Each opens a connection of its own, which is verified and bounded: an order takes a dozen
//! requests every two months.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, pending};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue, RETRY_AFTER};
use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use parking_lot::Mutex;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::Acme;

/// Time for one request and its answer. Authorities that store an order take some seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Maximum size of an answer. The largest is a chain of certificates.
const MAX_ANSWER: usize = 1 << 20;

/// The client of one order.
pub(super) struct AuthorityClient {
    tls: Arc<ClientConfig>,
    asked: RetryAfter,
}

/// The wait that the authority required in its last answer (`Retry-After`).
#[derive(Clone, Debug, Default)]
pub(super) struct RetryAfter(Arc<Mutex<Option<Duration>>>);

impl RetryAfter {
    /// Returns the wait.
    pub(super) fn get(&self) -> Option<Duration> {
        *self.0.lock()
    }
}

/// The authority could not be reached. The text is the cause.
#[derive(Debug)]
pub(super) struct NotReached(pub(super) String);

impl fmt::Display for NotReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotReached {}

impl AuthorityClient {
    /// Returns a client that trusts `ca` of `[acme]`, or the authorities of the system.
    pub(super) fn new(acme: &Acme) -> Result<Self, NotReached> {
        let roots = match &acme.authorities {
            Some(authorities) => Arc::clone(authorities.roots()),
            None => Arc::new(system_roots()?),
        };
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| NotReached(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            tls: Arc::new(config),
            asked: RetryAfter::default(),
        })
    }

    /// Returns the shared cell in which the authority's last `Retry-After` is kept.
    pub(super) fn retry_after(&self) -> RetryAfter {
        self.asked.clone()
    }
}

fn system_roots() -> Result<RootCertStore, NotReached> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs()
        .map_err(|error| NotReached(format!("no authorities of the system: {error}")))?;
    roots.add_parsable_certificates(found);
    if roots.is_empty() {
        let why =
            "this system has no authorities to trust (ca-certificates), and [acme] has no `ca`";
        return Err(NotReached(why.to_owned()));
    }
    Ok(roots)
}

impl HttpClient for AuthorityClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (tls, asked) = (Arc::clone(&self.tls), self.asked.clone());
        Box::pin(async move {
            let authority = request.uri().authority().map(ToString::to_string);
            let authority = authority.unwrap_or_default();
            let answered = match timeout(PATIENCE, answer_to(tls, request)).await {
                Ok(answered) => answered,
                Err(_) => Err("no answer in time".to_owned()),
            };
            let response = answered
                .map_err(|why| Error::Other(Box::new(NotReached(format!("{authority}: {why}")))))?;
            *asked.0.lock() = retry_after(&response);
            Ok(BytesResponse::from(response))
        })
    }
}

/// Sends a request and reads the whole answer; the error is the cause in words.
async fn answer_to(
    tls: Arc<ClientConfig>,
    mut request: Request<BodyWrapper<Bytes>>,
) -> Result<Response<Full<Bytes>>, String> {
    let uri = request.uri().clone();
    let stream = connect(tls, &uri).await?;
    let authority = uri.authority().ok_or("an address without a host")?;
    let host = HeaderValue::try_from(authority.as_str()).map_err(|error| error.to_string())?;
    request.headers_mut().insert(HOST, host);
    request
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    let path = uri.path_and_query().map_or("/", |target| target.as_str());
    *request.uri_mut() = path.parse().map_err(|_| "an address without a path")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        whole(response).await
    };
    // The connection moves the bytes. It may end before the exchange has taken the last of them.
    let moving = async {
        connection.await.ok();
        pending::<Infallible>().await
    };
    tokio::select! {
        answered = exchange => answered,
        never = moving => match never {},
    }
}

async fn connect(
    tls: Arc<ClientConfig>,
    uri: &Uri,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    if uri.scheme() != Some(&Scheme::HTTPS) {
        return Err(format!("{uri} is not an https url"));
    }
    let host = uri.host().ok_or("an address without a host")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let port = uri.port_u16().unwrap_or(443);
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|error| in_words(&error))?;
    let connector = TlsConnector::from(tls);
    connector
        .connect(name, stream)
        .await
        .map_err(|error| in_words(&error))
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    }
}

async fn whole(response: Response<Incoming>) -> Result<Response<Full<Bytes>>, String> {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await;
    let body = body.map_err(|error| format!("its answer did not end: {error}"))?;
    Ok(Response::from_parts(parts, Full::new(body.to_bytes())))
}

/// Returns the wait that an answer requires in `Retry-After` (RFC 9110 section 10.2.3).
fn retry_after<B>(response: &Response<B>) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let time = httpdate::parse_http_date(value).ok()?;
    time.duration_since(SystemTime::now()).ok()
}
