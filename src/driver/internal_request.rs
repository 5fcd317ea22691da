//! Requests of geofront itself to an upstream.
//!
//! Every internal request opens its own connection and carries the credentials of `[geoserver]` if
//! it needs them. Its total time and the length of the answer are bounded, even if the answer
//! trickles in.

use std::future::Future;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use pingora::connectors::http::v1::Connector;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::v1::client::HttpSession;
use pingora::{BError, Error, ErrorType};
use tokio::time::Instant;

use crate::cluster::{Cause, LocalFault, Upstream};
use crate::config::{Address, Config, Credentials};
use crate::ogc::fault_texts;
use crate::own_time::{LimitEnd, OwnTimeLimit, SLICES};
use crate::upstream_peer::{http_peer, tls_fault};

/// Maximum number of informational answers before the real one. More are a fault.
const MAX_INFORMATIONAL: usize = 4;

/// The missing event in the cause of a connection timeout.
pub(super) const NO_CONNECTION: &str = "no connection";

/// The same for an upstream with an https url: it may accept connections and not answer in TLS.
pub(super) const NO_TLS_CONNECTION: &str = "no connection by TLS";

/// The content of an internal request.
#[derive(Clone, Debug)]
pub(super) struct InternalRequest {
    pub(super) method: &'static str,
    /// Path and query.
    pub(super) target: String,
    body: Option<Body>,
    /// The request carries the credentials of `[geoserver]`.
    authenticates: bool,
    /// True if the request allows a persistent connection, so that the answer states its timeout.
    keeps_alive: bool,
}

/// The body of a request.
#[derive(Clone, Debug)]
struct Body {
    content_type: String,
    bytes: Bytes,
}

/// The answer, as far as it was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: String,
    /// The target of a redirect.
    pub(super) location: String,
    /// The answer has a header that only control-flow sends.
    pub(super) is_from_control_flow: bool,
    /// The time at which the answer was made, by the upstream's clock.
    pub(super) date: String,
    /// The values of `Connection` and `Keep-Alive`.
    pub(super) connection: String,
    pub(super) keep_alive: String,
    pub(super) last_modified: String,
    pub(super) body: Vec<u8>,
    /// The body was read to its end.
    pub(super) is_complete: bool,
}

impl Answer {
    /// An answer of which the head was read.
    fn with_head(head: &ResponseHeader) -> Self {
        Self {
            status: head.status.as_u16(),
            content_type: text(head, "content-type"),
            location: text(head, "location"),
            is_from_control_flow: head.headers.contains_key(fault_texts::CONTROL_FLOW_HEADER),
            date: text(head, "date"),
            connection: text(head, "connection"),
            keep_alive: text(head, "keep-alive"),
            last_modified: text(head, "last-modified"),
            ..Self::default()
        }
    }

    /// Success for the status 200; otherwise the cause of failure.
    pub(super) fn succeeded(&self) -> Result<(), Cause> {
        match self.status {
            200 => Ok(()),
            status => Err(bad_status(status)),
        }
    }
}

/// The cause of failure for an answer with an unexpected status.
pub(super) fn bad_status(status: u16) -> Cause {
    match status {
        401 | 403 => Cause::Credentials(status),
        status => Cause::Status(status),
    }
}

/// The time at which the whole request must be finished, unless this process does not run
/// meanwhile.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    until: Instant,
    slice: Duration,
}

impl Deadline {
    pub(super) fn after(limit: Duration) -> Self {
        Self {
            until: Instant::now() + limit,
            slice: limit / SLICES,
        }
    }

    fn limit(self) -> Limit {
        Limit(OwnTimeLimit::until(self.until, self.slice))
    }
}

/// The time limit of one request.
struct Limit(OwnTimeLimit);

impl Limit {
    async fn bound<T>(
        &mut self,
        awaited: &'static str,
        future: impl Future<Output = T>,
    ) -> Result<T, Cause> {
        self.0.bound(future).await.map_err(|end| match end {
            LimitEnd::Over => Cause::Timeout(awaited),
            LimitEnd::Starved => Cause::Local(LocalFault::Unreported),
        })
    }
}

impl InternalRequest {
    /// An anonymous GET request.
    pub(super) fn get(target: String) -> Self {
        Self {
            method: "GET",
            target,
            body: None,
            authenticates: false,
            keeps_alive: false,
        }
    }

    /// Requests a connection that stays open. It is closed after the answer nevertheless.
    pub(super) fn keeping_alive(self) -> Self {
        Self {
            keeps_alive: true,
            ..self
        }
    }

    /// Adds the credentials of `[geoserver]` if `authenticates`.
    pub(super) fn authenticated(self, authenticates: bool) -> Self {
        Self {
            authenticates,
            ..self
        }
    }

    /// A POST request of a form with the credentials of `[geoserver]`.
    pub(super) fn post(target: String, form: &'static str) -> Self {
        Self::post_as(
            "application/x-www-form-urlencoded",
            target,
            Bytes::from_static(form.as_bytes()),
        )
    }

    /// A POST request of a document with the credentials of `[geoserver]`.
    pub(super) fn post_as(content_type: &str, target: String, bytes: Bytes) -> Self {
        Self {
            method: "POST",
            target,
            body: Some(Body {
                content_type: content_type.to_owned(),
                bytes,
            }),
            authenticates: true,
            keeps_alive: false,
        }
    }

    fn head(&self, config: &Config, upstream: &Upstream) -> pingora::Result<RequestHeader> {
        let mut request = RequestHeader::build(self.method, self.target.as_bytes(), None)?;
        request.insert_header("Host", authority(&upstream.url))?;
        request.insert_header(
            "User-Agent",
            concat!("geofront/", env!("CARGO_PKG_VERSION")),
        )?;
        request.insert_header("Accept-Encoding", "identity")?;
        let connection = if self.keeps_alive {
            "keep-alive"
        } else {
            "close"
        };
        request.insert_header("Connection", connection)?;
        if let Some(body) = &self.body {
            request.insert_header("Content-Type", body.content_type.as_str())?;
            request.insert_header("Content-Length", body.bytes.len().to_string())?;
        }
        // Internal requests go ahead in control-flow's queue (`ows.priority.http` in geOrchestra's
        // data directory).
        request.insert_header("ctrl-flow-priority", "10")?;
        match &config.geoserver.credentials {
            _ if !self.authenticates => {}
            Credentials::None => {}
            Credentials::Basic { username, password } => {
                let pair = format!("{username}:{}", password.expose());
                request.insert_header(
                    "Authorization",
                    format!("Basic {}", BASE64_STANDARD.encode(pair)),
                )?;
            }
            Credentials::Headers(headers) => {
                for (name, value) in headers {
                    request.insert_header(name.clone(), value.expose())?;
                }
            }
        }
        Ok(request)
    }
}

/// The client for internal requests.
pub(super) struct InternalClient {
    connector: Connector,
}

impl InternalClient {
    pub(super) fn new() -> Self {
        Self {
            connector: Connector::new(None),
        }
    }

    /// Sends a request and reads the answer until `is_enough`.
    pub(super) async fn run(
        &self,
        request: &InternalRequest,
        upstream: &Upstream,
        config: &Config,
        deadline: Deadline,
        is_enough: impl Fn(&Answer) -> bool,
    ) -> Result<Answer, Cause> {
        let head = request
            .head(config, upstream)
            .map_err(|error| Cause::Unexpected(words_of(&error)))?;
        // The end of this function drops the session and so closes the connection.
        let mut limit = deadline.limit();
        let mut session = self.connect(upstream, &mut limit).await?;
        limit
            .bound("no answer", send(&mut session, head, request.body.as_ref()))
            .await??;
        let head = limit
            .bound("no answer", read_head(&mut session, upstream))
            .await??;
        let mut answer = Answer::with_head(&head);
        limit
            .bound(
                "the answer did not end",
                read_body(&mut session, &is_enough, &mut answer),
            )
            .await??;
        Ok(answer)
    }

    async fn connect(&self, upstream: &Upstream, limit: &mut Limit) -> Result<HttpSession, Cause> {
        let address = match &upstream.address {
            Address::Known(address) => *address,
            Address::Unresolved(reason) => return Err(Cause::Connect(reason.to_string())),
        };
        let peer = http_peer(upstream, address);
        let awaited = match upstream.tls {
            None => NO_CONNECTION,
            Some(_) => NO_TLS_CONNECTION,
        };
        let connected = limit
            .bound(awaited, self.connector.get_http_session(&peer))
            .await?;
        let not_connected = |error: &Error| {
            let tls = tls_fault(error, upstream);
            Cause::Connect(tls.unwrap_or_else(|| words_of(error)))
        };
        let (session, _) = connected.map_err(|error| cause_of(&error, not_connected))?;
        Ok(session)
    }
}

async fn send(
    session: &mut HttpSession,
    request: RequestHeader,
    body: Option<&Body>,
) -> Result<(), Cause> {
    let lost = |error: BError| cause_of(&error, |_| Cause::Reset("before the request was sent"));
    session
        .write_request_header(Box::new(request))
        .await
        .map_err(lost)?;
    if let Some(body) = body {
        session.write_body(&body.bytes).await.map_err(lost)?;
        session.finish_body().await.map_err(lost)?;
    }
    Ok(())
}

async fn read_head(
    session: &mut HttpSession,
    upstream: &Upstream,
) -> Result<ResponseHeader, Cause> {
    for _ in 0..MAX_INFORMATIONAL {
        session
            .read_response()
            .await
            .map_err(|error| cause_of(&error, |error| of_no_answer(error, upstream)))?;
        match session.resp_header() {
            Some(head) if !head.status.is_informational() => return Ok(head.clone()),
            Some(_) | None => {}
        }
    }
    Err(Cause::Unexpected("informational answers only".to_owned()))
}

async fn read_body(
    session: &mut HttpSession,
    is_enough: impl Fn(&Answer) -> bool,
    answer: &mut Answer,
) -> Result<(), Cause> {
    while !is_enough(answer) {
        match session.read_body_ref().await {
            Ok(Some(part)) => answer.body.extend_from_slice(part),
            Ok(None) => {
                answer.is_complete = true;
                return Ok(());
            }
            Err(_) => return Err(Cause::Truncated),
        }
    }
    Ok(())
}

fn of_no_answer(error: &Error, upstream: &Upstream) -> Cause {
    if let Some(fault) = tls_fault(error, upstream) {
        return Cause::Connect(fault);
    }
    match error.etype() {
        ErrorType::InvalidHTTPHeader
            if error.root_cause().downcast_ref() == Some(&httparse::Error::TooManyHeaders) =>
        {
            Cause::Local(LocalFault::AnswerHead)
        }
        ErrorType::InvalidHTTPHeader => Cause::Connect("it does not speak HTTP".to_owned()),
        _ => Cause::Reset("before it answered"),
    }
}

/// The cause of `error`: a local fault if there is one, `otherwise` the given cause.
fn cause_of(error: &Error, otherwise: impl FnOnce(&Error) -> Cause) -> Cause {
    LocalFault::behind(error.root_cause()).map_or_else(|| otherwise(error), Cause::Local)
}

fn text(head: &ResponseHeader, name: &str) -> String {
    head.headers
        .get(name)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .unwrap_or_default()
}

/// A description that an operator can act on: `connection refused`, without type names.
fn words_of(error: &Error) -> String {
    match error.etype() {
        ErrorType::ConnectRefused => Cause::REFUSED.to_owned(),
        ErrorType::ConnectNoRoute => "no route to host".to_owned(),
        etype => match &error.cause {
            Some(cause) => format!("{}: {cause}", etype.as_str()),
            None => etype.as_str().to_owned(),
        },
    }
}

/// `10.0.0.11:8080` for `http://10.0.0.11:8080`.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_between_scheme_and_path() {
        assert_eq!(authority("http://10.0.0.11:8080"), "10.0.0.11:8080");
        assert_eq!(
            authority("https://[2001:db8::1]:8443/x"),
            "[2001:db8::1]:8443"
        );
    }
}
