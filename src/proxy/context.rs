//! The state of one request, carried from hook to hook.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admission::{Client, ConcurrencyKeys};
use crate::balance::{Lease, Watch};
use crate::catalog_writes::scope;
use crate::cluster::{About, Cause, Snapshot, Subject, Tried, Truncation, Upstream};
use crate::config::{ClassConfig, Effort, PeerTrust, RouteRule};
use crate::metrics::HeldBytes;
use crate::ogc::{Classified, RequestClass, Retryable};
use crate::traces::RunningTrace;
use crate::waiting_room::{Admission, ConcurrencyPermit};

use super::running::Running;
use crate::proxy::client::body_prefix::BodyPrefix;
use crate::proxy::client::identity::ClientIdentity;
use crate::proxy::client::rates::RateNote;
use crate::proxy::client::request_id::RequestId;
use crate::proxy::client::session::peer;
use crate::proxy::coalesce::{Leading, SharedAnswer};
use crate::proxy::connection::delivery::Delivery;
use crate::proxy::connection::greet::Arrival;
use crate::proxy::connection::inbox::Tunnel;
use crate::proxy::connection::interrupt::{Armed, Interrupt};
use crate::proxy::headers::ClientView;
use crate::proxy::response::encoder::Encoder;
use crate::proxy::response::inspection::BodyInspector;
use crate::proxy::response::respond::Refusal;
use crate::proxy::response::sniff::Sniffer;
use crate::proxy::upstream::peer::UpstreamPeer;
use crate::proxy::upstream::retry::AttemptProgress;
use crate::proxy::upstream::second_opinion::SecondOpinion;
use crate::proxy::upstream::tunnel::RequestProgress;
use http::Version;
use pingora::proxy::Session;

/// See the module's documentation. Dropped exactly once, on every path: success, abort, panic,
/// shutdown.
#[derive(Debug)]
pub struct Context {
    /// One configuration and one view of the cluster from start to end; `select` alone looks at the
    /// newest.
    pub(super) snapshot: Arc<Snapshot>,
    /// The request's cluster, of several, as its index in the order of the configuration.
    pub(super) cluster: Option<usize>,
    pub(super) started: Instant,
    pub(super) request_id: RequestId,
    /// What the peer may state about the client.
    pub(super) trust: PeerTrust,
    pub(super) classified: Classified,
    pub(super) rule: Retryable,
    /// The client knows the request's target under the public path.
    pub(super) has_public_path: bool,
    /// The rule of the operator that the request follows, as its index in the snapshot's
    /// configuration.
    pub(super) route: Option<usize>,
    /// The upstream that an administrator's request names.
    pub(super) named: Option<Arc<Upstream>>,
    /// The metatile: a number that tiles share which one upstream should answer.
    pub(super) metatile: Option<u64>,
    pub(super) body_prefix: Option<BodyPrefix>,
    /// Bytes of the request body seen, against the class's limit.
    pub(super) body_bytes: u64,
    /// When a part of the request body last came, while it is not complete.
    pub(super) body_came: Option<Instant>,
    /// The client has sent all of its request.
    pub(super) is_request_complete: bool,
    /// The client as the limits know it, where that was needed.
    pub(super) client: Option<Client>,
    /// The limits that an attempt has to pass.
    pub(super) concurrency_keys: ConcurrencyKeys,
    /// The rate that leaves the least room.
    pub(super) rate: Option<Box<RateNote>>,
    /// Time spent waiting for slots.
    pub(super) queued: Option<Duration>,
    /// `Retry-After` of a refusal in seconds, if there is an estimate.
    pub(super) retry_after: Option<u32>,
    pub(super) tried: Tried,
    pub(super) attempts: u32,
    /// An attempt met a kept-alive connection that its other end had closed. It is not counted
    /// among the tries, and every later attempt gets a connection of its own.
    pub(super) has_met_stale_connection: bool,
    /// The reader has just changed the catalog: the main is preferred.
    pub(super) reads_from_main: bool,
    pub(super) doubt: SecondOpinion,
    /// The subject of an earlier attempt's failure.
    pub(super) failed: Option<Subject>,
    /// The request may begin an execution or leave a document on its upstream, whichever class a
    /// rule gives it.
    pub(super) may_begin_job: bool,
    /// The request is about an execution whose upstream is known.
    pub(super) follows_job: bool,
    /// The attempt under way, or the last one.
    pub(super) attempt: Option<Attempt>,
    /// Identical requests may be waiting for this one's answer.
    pub(super) leading: Option<Leading>,
    /// The client got the answer to another, identical request.
    pub(super) shared: Option<Arc<SharedAnswer>>,
    /// The refusal to be sent if no other attempt follows.
    pub(super) refusal: Option<Refusal>,
    /// A text that is added to the usual text of the refusal.
    pub(super) refusal_detail: Option<String>,
    /// The client got an answer of geofront itself.
    pub(super) is_refused: bool,
    /// Ends the wait for an upstream that has gone; the client connection's.
    pub(super) interrupt: Option<Arc<Interrupt>>,
    /// The properties that the listener adds to the request and its answer.
    pub(super) arrival: Option<Arc<Arrival>>,
    /// The memory for bodies that the client's network holds.
    pub(super) bodies: Option<Arc<HeldBytes>>,
    /// Makes a tunnel of the client connection.
    pub(super) tunnel: Option<Tunnel>,
    /// The answer on its way through the client connection.
    pub(super) delivery: Option<Delivery>,
    /// The spans that the request records, if it is traced.
    pub(super) trace: Option<Box<RunningTrace>>,
    /// Keeps the process from exiting while this request runs.
    pub(super) _running: Running,
}

/// The class before the classification, which serves the request safely.
const UNDECIDED: Classified = Classified {
    class: RequestClass::Unknown,
    service: None,
    operation: None,
    version: None,
    workspace: None,
    layer: None,
    is_for_geowebcache: false,
    reason: "not classified yet",
    clarity: crate::ogc::Clarity::Unreadable,
    processes: crate::ogc::Processes::NONE,
    job: None,
    is_light: false,
    pixels: 0,
};

impl Context {
    pub(super) fn new(snapshot: Arc<Snapshot>, now: Instant, running: Running) -> Self {
        Self {
            snapshot,
            cluster: None,
            started: now,
            request_id: RequestId::fresh(),
            trust: PeerTrust::default(),
            classified: UNDECIDED,
            rule: Retryable::Never,
            has_public_path: false,
            route: None,
            named: None,
            metatile: None,
            body_prefix: None,
            body_bytes: 0,
            body_came: None,
            is_request_complete: false,
            client: None,
            concurrency_keys: ConcurrencyKeys::default(),
            rate: None,
            queued: None,
            retry_after: None,
            tried: Tried::default(),
            attempts: 0,
            has_met_stale_connection: false,
            reads_from_main: false,
            doubt: SecondOpinion::None,
            failed: None,
            may_begin_job: false,
            follows_job: false,
            attempt: None,
            leading: None,
            shared: None,
            refusal: None,
            refusal_detail: None,
            is_refused: false,
            interrupt: None,
            arrival: None,
            bodies: None,
            tunnel: None,
            delivery: None,
            trace: None,
            _running: running,
        }
    }

    /// Whether an upstream is at work on the answer, and so must not wait for the client.
    pub(super) fn set_holds_slot(&self, holds_slot: bool) {
        if let Some(delivery) = &self.delivery {
            delivery.set_holds_slot(holds_slot);
        }
    }

    /// Returns the number of attempts, without the one that met a stale connection: that one was
    /// lost to our reuse of connections, and shows nothing about an upstream.
    pub(super) fn tries(&self) -> u32 {
        self.attempts - u32::from(self.has_met_stale_connection)
    }

    pub(super) fn class(&self) -> RequestClass {
        self.classified.class
    }

    pub(super) fn class_config(&self) -> &ClassConfig {
        &self.snapshot.config.classes[self.classified.class]
    }

    /// How the work of the request compares with that of others of its class.
    pub(super) fn effort(&self) -> Effort {
        self.snapshot.config.limits.effort(&self.classified)
    }

    pub(super) fn route(&self) -> Option<&RouteRule> {
        self.route
            .and_then(|index| self.snapshot.config.routes.get(index))
    }

    /// The replica that the request names. Its sessions are not those of the main.
    pub(super) fn named_replica(&self) -> Option<&Upstream> {
        self.named.as_deref().filter(|upstream| !upstream.is_main())
    }

    pub(super) fn client_identity<'s>(&self, session: &'s Session) -> ClientIdentity<'s> {
        ClientIdentity {
            headers: &session.req_header().headers,
            peer: peer(session),
            trust: self.trust,
        }
    }

    pub(super) fn client_view(&self, session: &Session) -> ClientView<'_> {
        ClientView {
            peer: peer(session),
            local: session
                .server_addr()
                .and_then(|address| address.as_inet())
                .copied(),
            trust: self.trust,
            config: &self.snapshot.config.trust,
            tls: session
                .digest()
                .is_some_and(|digest| digest.ssl_digest.is_some()),
            version: match &self.arrival {
                Some(arrival) if arrival.is_http2 => Version::HTTP_2,
                _ => session.req_header().version,
            },
            subject: self
                .arrival
                .as_ref()
                .and_then(|arrival| arrival.client_subject.as_ref()),
            hsts: self
                .arrival
                .as_ref()
                .and_then(|arrival| arrival.hsts.as_ref()),
            request_id: &self.request_id,
        }
    }

    /// Returns the workspace that the request is about, where the newest changes concern a few
    /// workspaces only.
    pub(super) fn about(&self, session: &Session) -> About {
        if !self.snapshot.distinguishes_workspaces() {
            return About::Anything;
        }
        scope::about(&self.classified, session.req_header().raw_path())
    }
}

/// One try at an upstream.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) upstream: Arc<Upstream>,
    pub(super) peer: Arc<UpstreamPeer>,
    /// The slot. It is released when the upstream is done, which can be long before a slow client
    /// is.
    lease: Option<Lease>,
    /// The counted limits, released together with the slot.
    permit: Option<ConcurrencyPermit>,
    /// The latency of the attempt is a sample for the upstream's concurrency limit.
    pub(super) teaches_cap: bool,
    /// On the upstream when it began: see [`Lease::concurrency`].
    pub(super) concurrency: u32,
    /// The request is of priority 0 or administration.
    pub(super) is_quick: bool,
    /// Its time until the first byte is the upstream's own.
    pub(super) teaches_slowness: bool,
    /// Time that the request waited inside GeoServer, as the answer reports it.
    pub(super) waited_inside: Option<Duration>,
    pub(super) started: Instant,
    pub(super) connected: Option<Duration>,
    /// On a connection that served before.
    pub(super) is_reused: bool,
    pub(super) first_byte: Option<Duration>,
    /// The status of its answer.
    pub(super) status: Option<u16>,
    /// Exists while only the upstream delays the first byte.
    watch: Option<Watch>,
    pub(super) progress: AttemptProgress,
    /// While it waits for the first byte and may be repeated.
    pub(super) armed: Option<Armed>,
    /// Looks at the body while it passes.
    pub(super) inspector: Option<Box<BodyInspector>>,
    /// The tiles that the request has made old, unless the answer is an exception report.
    pub(super) old_tiles: Vec<Truncation>,
    /// Reads the body for the identifiers of executions.
    pub(super) job_reader: Option<Box<Sniffer>>,
    /// Compresses the body while it passes.
    pub(super) encoder: Option<Box<Encoder>>,
    /// The answer's head is evidence that the upstream works.
    pub(super) is_success: bool,
    /// The answer was an exception report.
    pub(super) is_exception: bool,
    /// The progress of a request for a WebSocket.
    pub(super) websocket: Option<RequestProgress>,
    /// The cluster has this attempt's outcome: it is reported once.
    pub(super) is_reported: bool,
    pub(super) failure: Option<Cause>,
}

impl Attempt {
    pub(super) fn new(admission: Admission, peer: Arc<UpstreamPeer>, now: Instant) -> Self {
        let Admission { selection, permit } = admission;
        Self {
            concurrency: selection.lease.concurrency(),
            is_quick: selection.lease.is_quick(),
            lease: Some(selection.lease),
            permit,
            teaches_cap: selection.teaches_cap,
            is_reported: false,
            ..Self::on_named(selection.upstream, peer, now)
        }
    }

    /// Returns an attempt on an upstream that the request names. It holds no slot, and its outcome
    /// is not reported.
    pub(super) fn on_named(upstream: Arc<Upstream>, peer: Arc<UpstreamPeer>, now: Instant) -> Self {
        Self {
            concurrency: 0,
            is_quick: false,
            teaches_slowness: false,
            upstream,
            peer,
            lease: None,
            permit: None,
            teaches_cap: false,
            waited_inside: None,
            started: now,
            connected: None,
            is_reused: false,
            first_byte: None,
            status: None,
            watch: None,
            progress: AttemptProgress::Connecting,
            armed: None,
            inspector: None,
            old_tiles: Vec::new(),
            job_reader: None,
            encoder: None,
            is_success: false,
            is_exception: false,
            websocket: None,
            is_reported: true,
            failure: None,
        }
    }

    /// Begins the watch: the request is complete, so its latency is a sample of the upstream's
    /// slowness.
    pub(super) fn watch(&mut self, class: RequestClass) {
        self.watch = self
            .is_light()
            .then(|| self.upstream.load.watch(class, self.started));
    }

    /// Ends the watch, because the answer began. Returns whether the time until then is the
    /// upstream's own.
    pub(super) fn end_watch(&mut self) -> bool {
        self.watch.take().is_some()
    }

    /// Heavy requests are too few and too different for their latency to mean anything.
    fn is_light(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| !lease.is_heavy())
    }

    /// Releases the slot and the counted limits, because the upstream has done its part.
    pub(super) fn give_back(&mut self) {
        (self.lease, self.permit) = (None, None);
    }

    /// Whether the upstream is at work on it.
    pub(super) fn holds_slot(&self) -> bool {
        self.lease.is_some()
    }

    /// Ends the trial of its upstream, whose result is known. True if the attempt was a trial.
    pub(super) fn end_trial(&mut self) -> bool {
        self.lease.as_mut().is_some_and(Lease::end_trial)
    }

    /// True if there is no evidence against the answer.
    pub(super) fn is_unblemished(&self) -> bool {
        !self.is_exception && self.failure.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Control;
    use crate::control::fixture::control_up;
    use crate::metrics::Metrics;
    use crate::proxy::RunningRequests;
    use crate::proxy::upstream::peer::UpstreamPeers;

    const CONFIG: &str = "[upstreams.main]\nurl = \"http://127.0.0.1:1\"\nrole = \"main\"\n[upstreams.a]\nurl = \"http://127.0.0.1:2\"";

    fn context_with_an_attempt(
        control: &Control,
        running: &RunningRequests,
        now: Instant,
    ) -> Context {
        let mut ctx = Context::new(control.snapshot_full(), now, running.enter());
        let selection = control
            .snapshot()
            .select(RequestClass::Map, &ctx.tried, now)
            .expect("all upstreams are up");
        let peer = UpstreamPeers::new(Metrics::new()).of(&selection.upstream);
        ctx.attempt = Some(Attempt::new(
            Admission {
                selection,
                permit: None,
            },
            peer,
            now,
        ));
        ctx
    }

    #[tokio::test]
    async fn a_panic_in_a_hook_gives_the_place_back_and_ends_the_request() {
        let now = Instant::now();
        let (control, running) = (control_up(CONFIG, now), RunningRequests::default());
        let ctx = context_with_an_attempt(&control, &running, now);
        let upstream = Arc::clone(&ctx.attempt.as_ref().unwrap().upstream);
        assert_eq!((upstream.load.in_flight(), running.count()), (1, 1));
        let hook = tokio::spawn(async move {
            let _ctx = ctx;
            panic!("injected");
        });
        assert!(hook.await.is_err());
        assert_eq!((upstream.load.in_flight(), running.count()), (0, 0));
    }

    #[test]
    fn an_attempt_that_replaces_another_gives_its_place_back() {
        let now = Instant::now();
        let (control, running) = (control_up(CONFIG, now), RunningRequests::default());
        let mut ctx = context_with_an_attempt(&control, &running, now);
        let upstream = Arc::clone(&ctx.attempt.as_ref().unwrap().upstream);
        ctx.attempt = None;
        assert_eq!(upstream.load.in_flight(), 0);
    }
}
