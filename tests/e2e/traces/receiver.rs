//! A receiver for OTLP by HTTP, over real sockets. It decodes messages with their published
//! definitions.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use prost::Message;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::rig::Rig;

/// How a message is answered.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    Take,
    /// Takes all but this number of spans.
    Reject(i64),
    Status(u16),
}

#[derive(Default)]
struct Memory {
    spans: Vec<Span>,
    resource: BTreeMap<String, String>,
    headers: Option<HeaderMap>,
    path: String,
    messages: usize,
    /// The replies to the next messages; then all are taken.
    replies: VecDeque<Reply>,
}

/// A running receiver.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    /// The certificate, in PEM.
    pub(super) certificate: Option<String>,
    memory: Arc<Mutex<Memory>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    pub(super) async fn start() -> Self {
        Self::start_with(None, "127.0.0.1:0".parse().unwrap()).await
    }

    pub(super) async fn start_at(address: SocketAddr) -> Self {
        Self::start_with(None, address).await
    }

    pub(super) async fn start_with_tls() -> Self {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(pair.cert.der().to_vec())],
                PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap(),
            )
            .unwrap();
        let tls = (TlsAcceptor::from(Arc::new(config)), pair.cert.pem());
        Self::start_with(Some(tls), "127.0.0.1:0".parse().unwrap()).await
    }

    async fn start_with(tls: Option<(TlsAcceptor, String)>, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let memory = Arc::<Mutex<Memory>>::default();
        let (acceptor, certificate) = tls.map_or((None, None), |(a, c)| (Some(a), Some(c)));
        let serving = Arc::clone(&memory);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (memory, acceptor) = (Arc::clone(&serving), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream, memory).await,
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => serve(stream, memory).await,
                            Err(error) => eprintln!("a handshake failed: {error}"),
                        },
                    }
                });
            }
        });
        Self {
            address,
            certificate,
            memory,
            task,
        }
    }

    /// The table that makes a front door send its traces here.
    pub(super) fn table(&self, more: &str) -> String {
        format!("[traces]\nendpoint = \"http://{}\"\n{more}\n", self.address)
    }

    pub(super) fn replies(&self, replies: impl IntoIterator<Item = Reply>) {
        self.memory.lock().replies.extend(replies);
    }

    pub(super) fn messages(&self) -> usize {
        self.memory.lock().messages
    }

    pub(super) fn path(&self) -> String {
        self.memory.lock().path.clone()
    }

    pub(super) fn header(&self, name: &str) -> Option<String> {
        let memory = self.memory.lock();
        let value = memory.headers.as_ref()?.get(name)?;
        Some(value.to_str().unwrap().to_owned())
    }

    pub(super) fn resource(&self, name: &str) -> Option<String> {
        self.memory.lock().resource.get(name).cloned()
    }

    /// All spans that were taken.
    pub(super) fn spans(&self) -> Vec<Recorded> {
        self.memory
            .lock()
            .spans
            .iter()
            .cloned()
            .map(Recorded)
            .collect()
    }

    /// The spans of whole requests.
    pub(super) fn requests(&self) -> Vec<Recorded> {
        let spans = self.spans().into_iter();
        spans.filter(|span| span.0.kind == 2).collect()
    }

    /// Waits for `count` requests.
    pub(super) async fn until_requests(&self, rig: &Rig, count: usize) -> Vec<Recorded> {
        rig.until("the traces arrive", |_| self.requests().len() >= count)
            .await;
        self.requests()
    }

    /// The spans of the same trace, those of the parts alone.
    pub(super) fn parts_of(&self, request: &Recorded) -> Vec<Recorded> {
        let is_part = |span: &Recorded| {
            span.0.trace_id == request.0.trace_id && span.0.span_id != request.0.span_id
        };
        self.spans().into_iter().filter(is_part).collect()
    }
}

/// A span as the receiver got it.
#[derive(Clone, Debug)]
pub(super) struct Recorded(pub(super) Span);

impl Recorded {
    pub(super) fn trace_id(&self) -> String {
        hex(&self.0.trace_id)
    }

    pub(super) fn id(&self) -> String {
        hex(&self.0.span_id)
    }

    pub(super) fn parent(&self) -> String {
        hex(&self.0.parent_span_id)
    }

    /// The value of an attribute as text; empty without one.
    pub(super) fn get(&self, key: &str) -> String {
        let found: Vec<&KeyValue> = self.0.attributes.iter().filter(|a| a.key == key).collect();
        assert!(found.len() < 2, "{key} is there twice");
        found.first().map(|pair| text(pair)).unwrap_or_default()
    }

    pub(super) fn is_error(&self) -> bool {
        self.0
            .status
            .as_ref()
            .is_some_and(|status| status.code == 2)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(pair: &KeyValue) -> String {
    let value = pair.value.as_ref().and_then(|value| value.value.clone());
    match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        other => panic!("{}: {other:?}", pair.key),
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, memory: Arc<Mutex<Memory>>) {
    let service = service_fn(|request: Request<Incoming>| {
        let memory = Arc::clone(&memory);
        async move { Ok::<_, Infallible>(answer(request, &memory).await) }
    });
    let served = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        eprintln!("a connection ended: {error}");
    }
}

async fn answer(request: Request<Incoming>, memory: &Mutex<Memory>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let message = ExportTraceServiceRequest::decode(body).expect("a message of OTLP");
    let mut memory = memory.lock();
    memory.messages += 1;
    memory.path = head.uri.path().to_owned();
    memory.headers = Some(head.headers);
    let reply = memory.replies.pop_front().unwrap_or(Reply::Take);
    let mut success = ExportTraceServiceResponse::default();
    let status = match reply {
        Reply::Status(status) => StatusCode::from_u16(status).unwrap(),
        Reply::Take => StatusCode::OK,
        Reply::Reject(rejected_spans) => {
            success.partial_success = Some(ExportTracePartialSuccess {
                rejected_spans,
                error_message: "too many".to_owned(),
            });
            StatusCode::OK
        }
    };
    if status == StatusCode::OK {
        for resource_spans in message.resource_spans {
            let resource = resource_spans.resource.unwrap_or_default();
            let attributes = resource.attributes.iter();
            memory.resource = attributes.map(|a| (a.key.clone(), text(a))).collect();
            let scopes = resource_spans.scope_spans.into_iter();
            memory.spans.extend(scopes.flat_map(|scope| scope.spans));
        }
    }
    let mut response = Response::new(Full::new(success.encode_to_vec().into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert("content-type", "application/x-protobuf".parse().unwrap());
    response
}
