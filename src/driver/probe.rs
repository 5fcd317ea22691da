//! Active checks that know GeoServer.
//!
//! Every probe makes its own connection: that a new client is accepted is part of what is asked. Time and body are bounded as a
//! whole, whatever trickles in. A TCP connection alone proves nothing: Tomcat's port accepts for a minute before its webapps
//! answer.

use std::future::Future;
use std::time::{Duration, Instant};

use pingora::connectors::http::v1::Connector;
use pingora::http::ResponseHeader;
use pingora::protocols::http::v1::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use tokio::time::timeout_at;

use super::question::{Answer, Question};
use crate::cluster::{Cause, Outcome, ProbeReport, Upstream};
use crate::config::Config;

/// Informational answers before the real one; more are a fault.
const MAX_INFORMATIONAL: usize = 4;

/// Sends probes.
pub struct Prober {
    connector: Connector,
}

impl Prober {
    pub fn new() -> Self {
        Self { connector: Connector::new(None) }
    }

    /// Asks `upstream` as `config` says, and takes no longer than `config.health.timeout`.
    pub async fn probe(&self, upstream: &Upstream, config: &Config) -> ProbeReport {
        let began = Instant::now();
        let outcome = match self.ask(upstream, config, Deadline::after(config.health.timeout)).await {
            Ok(answer) => Question::of(config).judge(&answer),
            Err(cause) => Outcome::Failure(cause),
        };
        ProbeReport { outcome, took: began.elapsed() }
    }

    async fn ask(&self, upstream: &Upstream, config: &Config, deadline: Deadline) -> Result<Answer, Cause> {
        let request = Question::request(config, upstream).map_err(|error| Cause::Unexpected(words_of(&error)))?;
        let peer = HttpPeer::new(upstream.address, upstream.tls, upstream.host.clone());
        let connected = deadline.bound("no connection", self.connector.get_http_session(&peer)).await?;
        // The session is dropped, and with it the connection closed, at the end of this function.
        let (mut session, _) = connected.map_err(|error| Cause::Connect(words_of(&error)))?;
        let sent = deadline.bound("no answer", session.write_request_header(Box::new(request))).await?;
        sent.map_err(|_| Cause::Reset("before the request was sent"))?;
        let head = deadline.bound("no answer", read_head(&mut session)).await??;
        let mut answer = Answer {
            status: head.status.as_u16(),
            content_type: text(&head, "content-type"),
            location: text(&head, "location"),
            is_from_control_flow: head.headers.contains_key("x-control-flow-delay-ms"),
            ..Answer::default()
        };
        deadline.bound("the answer did not end", read_body(&mut session, Question::of(config), &mut answer)).await??;
        Ok(answer)
    }
}

impl Default for Prober {
    fn default() -> Self {
        Self::new()
    }
}

async fn read_head(session: &mut HttpSession) -> Result<ResponseHeader, Cause> {
    for _ in 0..MAX_INFORMATIONAL {
        session.read_response().await.map_err(|error| match error.etype() {
            ErrorType::InvalidHTTPHeader => Cause::Unexpected("not HTTP".to_owned()),
            _ => Cause::Reset("before it answered"),
        })?;
        match session.resp_header() {
            Some(head) if !head.status.is_informational() => return Ok(head.clone()),
            Some(_) | None => {}
        }
    }
    Err(Cause::Unexpected("informational answers only".to_owned()))
}

/// Reads until the question is answered.
async fn read_body(session: &mut HttpSession, question: Question, answer: &mut Answer) -> Result<(), Cause> {
    while !question.is_answered(answer) {
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

fn text(head: &ResponseHeader, name: &str) -> String {
    head.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
}

/// What an operator can act on: `connection refused`, not the names of types.
fn words_of(error: &Error) -> String {
    match error.etype() {
        ErrorType::ConnectRefused => "connection refused".to_owned(),
        ErrorType::ConnectNoRoute => "no route to host".to_owned(),
        etype => match &error.cause {
            Some(cause) => format!("{}: {cause}", etype.as_str()),
            None => etype.as_str().to_owned(),
        },
    }
}

/// When the whole probe has to be over.
#[derive(Clone, Copy)]
struct Deadline(tokio::time::Instant);

impl Deadline {
    fn after(limit: Duration) -> Self {
        Self(tokio::time::Instant::now() + limit)
    }

    async fn bound<T>(self, awaited: &'static str, future: impl Future<Output = T>) -> Result<T, Cause> {
        timeout_at(self.0, future).await.map_err(|_| Cause::Timeout(awaited))
    }
}

#[cfg(test)]
mod tests;
