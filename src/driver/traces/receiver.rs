//! The receiver of traces: OTLP by HTTP.
//!
//! Every call blocks its thread, for a bounded time.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;
use rustls::crypto::ring::default_provider;
use ureq::Agent;
use ureq::http::HeaderMap;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use super::message::Message;
use crate::config::Traces;

/// Time for one message and its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer is a count and a sentence.
const MAX_ANSWER: u64 = 64 << 10;

/// Characters of a receiver's text that are logged.
const MAX_TEXT: usize = 200;

/// The reason why a message, or a part of it, was not taken.
#[derive(Debug)]
pub(super) enum NotDelivered {
    /// The receiver may accept it later, after `pause` if it requires one.
    Unreachable {
        why: String,
        pause: Option<Duration>,
    },
    /// The receiver does not want it: all of it, or this number of spans.
    Rejected { spans: Option<usize>, why: String },
}

/// A client of one receiver. Keeps its connection.
pub(super) struct Receiver {
    traces: Arc<Traces>,
    agent: Result<Agent, String>,
}

impl Receiver {
    pub(super) fn new(traces: Arc<Traces>) -> Self {
        let agent = agent(&traces);
        Self { traces, agent }
    }

    /// Posts the message.
    pub(super) fn deliver(&self, message: &Message) -> Result<(), NotDelivered> {
        let unreachable = |why: String| NotDelivered::Unreachable { why, pause: None };
        let agent = self
            .agent
            .as_ref()
            .map_err(|why| unreachable(why.clone()))?;
        let mut request = agent
            .post(&self.traces.endpoint)
            .header("Content-Type", "application/x-protobuf");
        for (name, value) in &self.traces.headers {
            request = request.header(name, value.expose());
        }
        let sent = request.send(&message.bytes);
        let mut answer =
            sent.map_err(|error| unreachable(format!("{}: {error}", self.traces.endpoint)))?;
        let status = answer.status();
        let body = answer
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER)
            .read_to_vec()
            .unwrap_or_default();
        if status.is_success() {
            return taken(&body);
        }
        let why = format!("{}: {}", self.traces.endpoint, explanation(status, &body));
        match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Err(NotDelivered::Unreachable {
                why,
                pause: pause(answer.headers()),
            }),
            _ => Err(NotDelivered::Rejected { spans: None, why }),
        }
    }
}

fn agent(traces: &Traces) -> Result<Agent, String> {
    let tls = if traces.endpoint.starts_with("https") {
        Some(tls(traces)?)
    } else {
        None
    };
    let config = Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        // A redirect would lead away from the configured receiver.
        .max_redirects(0)
        .proxy(None)
        .user_agent(concat!("geofront/", env!("CARGO_PKG_VERSION")));
    let config = match tls {
        Some(tls) => config.tls_config(tls).https_only(true),
        None => config,
    };
    Ok(config.build().into())
}

fn tls(traces: &Traces) -> Result<TlsConfig, String> {
    let roots: Vec<Certificate<'static>> = match &traces.authorities {
        Some(authorities) => authorities
            .certificates()
            .iter()
            .map(|certificate| Certificate::from_der(certificate).to_owned())
            .collect(),
        None => rustls_native_certs::load_native_certs()
            .map_err(|error| format!("no authorities of the system: {error}"))?
            .iter()
            .map(|certificate| Certificate::from_der(certificate).to_owned())
            .collect(),
    };
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(default_provider()))
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .build())
}

/// A success may be partial.
fn taken(body: &[u8]) -> Result<(), NotDelivered> {
    // A receiver that answers success in another format has accepted the message, too.
    let answer = ExportTraceServiceResponse::decode(body).unwrap_or_default();
    match answer.partial_success {
        Some(ExportTracePartialSuccess {
            rejected_spans,
            error_message,
        }) if rejected_spans > 0 => Err(NotDelivered::Rejected {
            spans: usize::try_from(rejected_spans).ok(),
            why: format!(
                "the receiver rejects {rejected_spans} spans: {}",
                plain(&error_message)
            ),
        }),
        Some(_) | None => Ok(()),
    }
}

/// Returns the receiver's explanation: a status of gRPC in protobuf, or plain text.
fn explanation(status: StatusCode, body: &[u8]) -> String {
    let text = plain(&String::from_utf8_lossy(body));
    if text.is_empty() {
        format!("status {status}")
    } else {
        format!("status {status}: {text}")
    }
}

fn plain(text: &str) -> String {
    let printable = text.chars().filter(|c| !c.is_control() && *c != '\u{fffd}');
    printable.take(MAX_TEXT).collect()
}

fn pause(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get("retry-after")?.to_str().ok()?.trim().parse();
    seconds.ok().map(Duration::from_secs)
}
