//! A request arrives: which client sent it, whether an upstream may see it, and of which class it
//! is.

use std::any::Any;
use std::time::{Duration, Instant};

use http::Version;
use pingora::Result;
use pingora::proxy::Session;

use crate::cluster::Tried;
use crate::http1::Fault;
use crate::ogc::{self, BodyNeed, RequestClass};
use crate::proxy::client::body_prefix::{self, BodyMemory, BodyPrefix};
use crate::proxy::client::head::{body_reader, content_length, head};
use crate::proxy::client::request_id::RequestId;
use crate::proxy::client::session::peer;
use crate::proxy::connection::Switches;
use crate::proxy::context::Context;
use crate::proxy::front_door::FrontDoor;
use crate::proxy::headers;
use crate::proxy::response::respond::Refusal;
use crate::proxy::steps::{direct, trace};

/// The rest of a request that is answered already is read for this long, so that its connection can
/// go on.
const DRAIN: Duration = Duration::from_secs(5);

/// Takes over the state that the connection hands to its next request.
pub(in crate::proxy) fn take_switches(
    session: &mut Session,
    ctx: &mut Context,
    passed: Box<dyn Any + Send + Sync>,
) {
    let Ok(switches) = passed.downcast::<Switches>() else {
        return;
    };
    let Switches {
        interrupt,
        tunnel,
        delivery,
        target,
        is_last,
        arrival,
        bodies,
    } = *switches;
    ctx.interrupt = Some(interrupt);
    ctx.tunnel = Some(tunnel);
    ctx.delivery = Some(delivery);
    ctx.arrival = arrival;
    ctx.bodies = bodies;
    if is_last {
        session.set_keepalive(None);
    }
    if let Some(target) = target {
        session
            .req_header_mut()
            .set_raw_path(&target)
            .expect("a target that was accepted is one for Pingora");
    }
}

/// Sets the limits on the client's connection that Pingora leaves open.
pub(in crate::proxy) fn limit_times(session: &mut Session, ctx: &Context) {
    let timeouts = &ctx.snapshot.config.timeouts;
    if session.get_keepalive().is_some() {
        session.set_keepalive(Some(timeouts.keep_alive.as_secs()));
    }
    session.set_read_timeout(Some(timeouts.client_body));
    // The connection's stream knows better how slow a client is: see `connection/stream.rs`.
    session.set_write_timeout(None);
    session.set_total_drain_timeout(Some(DRAIN));
    // HTTP/1.0 knows no interim answers.
    let is_http10 = session.req_header().version == Version::HTTP_10;
    session.set_ignore_info_resp(is_http10);
}

impl FrontDoor {
    /// Classifies the request, or refuses one that no upstream may see.
    pub(in crate::proxy) async fn receive(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<()> {
        self.parts.budget.count_request(ctx.started);
        ctx.trust = ctx.snapshot.config.trust.in_peer(peer(session));
        ctx.request_id = RequestId::of(session.req_header(), ctx.trust.origin);
        trace::begin(session, ctx);
        if headers::goes_in_circles(session.req_header()) {
            return Err(self.refuse(ctx, Refusal::Loop));
        }
        if headers::nominates_a_claim(session.req_header(), &ctx.snapshot.config.trust) {
            return Err(self.refuse(ctx, Refusal::Malformed(Fault::Nomination)));
        }
        if let Some(refusal) = self.without_cluster(ctx) {
            return Err(self.refuse(ctx, refusal));
        }
        self.map_public_path(session, ctx)?;
        self.read_body_prefix(session, ctx).await?;
        classify(session, ctx);
        self.follow_routes(session, ctx)?;
        shorten(ctx);
        keep_on_main(ctx);
        self.follow_name(session, ctx)?;
        if ctx.named.is_none() {
            self.follow_job(session, ctx)?;
        }
        settle_class(session, ctx);
        ctx.reads_from_main =
            self.has_just_written(session, ctx) || self.has_view_of_main(session, ctx);
        direct::settle(ctx);
        let length = content_length(session.req_header());
        if length.is_some_and(|length| length > ctx.class_config().max_body) {
            return Err(self.refuse(ctx, Refusal::BodyTooLarge));
        }
        Ok(())
    }

    /// Reads as much of the body as the class depends on.
    async fn read_body_prefix(&self, session: &mut Session, ctx: &mut Context) -> Result<()> {
        let geoserver = &ctx.snapshot.config.geoserver;
        let need = ogc::body_need(&head(session.req_header()), &geoserver.context);
        if need != BodyNeed::Prefix {
            return Ok(());
        }
        if body_prefix::expects_continue(session.req_header()) && !self.serves_anything() {
            // Before the client sends a body for nothing.
            return Err(self.refuse(ctx, Refusal::NoUpstream));
        }
        let reader = body_reader(session.req_header(), geoserver.max_post_size);
        let memory = self.body_memory(ctx);
        ctx.body_prefix = Some(BodyPrefix::read(session, reader, memory).await?);
        Ok(())
    }

    /// Reads the body, up to a bound, before a slot is requested.
    pub(in crate::proxy) async fn gather_body(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<()> {
        let most = ctx.snapshot.config.clients.body_memory;
        if session.downstream_session.is_body_done() || most == 0 {
            return Ok(());
        }
        let (request, max_body) = (session.req_header(), ctx.class_config().max_body);
        // A client that expects `100 Continue` gets it from us: it may never send its body, and the
        // upstream's would come only after a slot was given to it.
        if body_prefix::expects_continue(request)
            && ctx.body_prefix.is_none()
            && !self.serves_anything()
        {
            return Err(self.refuse(ctx, Refusal::NoUpstream));
        }
        let memory = self.body_memory(ctx);
        let limit = memory.limit;
        let mut prefix = ctx.body_prefix.take().unwrap_or_else(|| {
            let reader = body_reader(session.req_header(), most);
            BodyPrefix::nothing(reader, memory)
        });
        let is_small_enough = prefix.gather(session, most, max_body, limit).await?;
        ctx.body_prefix = Some(prefix);
        if is_small_enough {
            Ok(())
        } else {
            Err(self.refuse(ctx, Refusal::BodyTooLarge))
        }
    }

    fn body_memory(&self, ctx: &Context) -> BodyMemory<'_> {
        BodyMemory {
            memory: &self.parts.metrics.slow_clients.bodies,
            network: ctx.bodies.clone(),
            limit: ctx.snapshot.config.clients.all_body_memory,
        }
    }

    /// Whether any upstream serves anything now, or soon will.
    fn serves_anything(&self) -> bool {
        let (snapshot, now) = (self.parts.control.snapshot(), Instant::now());
        let serves = |class| {
            snapshot.has_place(class, &Tried::default()) || snapshot.awaits_verdict(class, now)
        };
        RequestClass::ALL.into_iter().any(serves)
    }
}

fn classify(session: &Session, ctx: &mut Context) {
    let request = session.req_header();
    let head = head(request);
    let evidence = ctx.body_prefix.as_ref().and_then(BodyPrefix::evidence);
    ctx.classified = ogc::classify(
        &head,
        &ctx.snapshot.config.geoserver.context,
        evidence.as_deref(),
    );
    ctx.may_begin_job = ctx.class() == RequestClass::Process;
}

/// Gives short processes their class, unless a rule has given the request one.
fn shorten(ctx: &mut Context) {
    let config = &ctx.snapshot.config;
    let has_class_of_rule = ctx
        .route
        .is_some_and(|index| config.routes[index].gives_class());
    if !has_class_of_rule {
        config.shorten(&mut ctx.classified);
        ctx.may_begin_job = ctx.class() == RequestClass::Process;
    }
}

/// A process that changes the catalog, or may do so, runs on the main, whichever upstreams serve
/// processes.
fn keep_on_main(ctx: &mut Context) {
    if ctx.classified.stays_on_main() && ctx.class() == RequestClass::Process {
        ctx.tried = Tried::of_main();
    }
}

/// Sets everything that depends on the class.
fn settle_class(session: &Session, ctx: &mut Context) {
    let request = session.req_header();
    ctx.rule = ogc::retry(ctx.class(), request.method.as_str(), ctx.classified.clarity);
    if ctx.class_config().affinity.is_some() {
        ctx.metatile = ogc::metatile(&head(request), &ctx.snapshot.config.geoserver.context);
    }
}
