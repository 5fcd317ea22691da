//! A request arrives: which client sent it, whether an upstream may see it, and of which class it is.

use std::any::Any;
use std::time::{Duration, Instant};

use http::Version;
use pingora::Result;
use pingora::proxy::Session;

use crate::cluster::Tried;
use crate::http1::Fault;
use crate::ogc::{self, BodyNeed, RequestClass};
use crate::proxy::client::body_prefix::{self, BodyPrefix};
use crate::proxy::client::head::{body_reader, content_length, head};
use crate::proxy::client::request_id::RequestId;
use crate::proxy::client::session::peer;
use crate::proxy::connection::Switches;
use crate::proxy::context::Context;
use crate::proxy::front_door::FrontDoor;
use crate::proxy::headers;
use crate::proxy::response::respond::Refusal;

/// The rest of a request that is answered already is read for this long, so that its connection can
/// go on.
const DRAIN: Duration = Duration::from_secs(5);

/// Takes over what the connection hands to its next request.
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
        target,
        arrival,
    } = *switches;
    ctx.interrupt = Some(interrupt);
    ctx.tunnel = Some(tunnel);
    ctx.arrival = arrival;
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
    session.set_write_timeout(Some(timeouts.client_write));
    session.set_total_drain_timeout(Some(DRAIN));
    // HTTP/1.0 knows no interim answers.
    let is_http10 = session.req_header().version == Version::HTTP_10;
    session.set_ignore_info_resp(is_http10);
}

impl FrontDoor {
    /// Classifies the request, or refuses what no upstream may see.
    pub(in crate::proxy) async fn receive(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<()> {
        self.parts.budget.count_request(ctx.started);
        ctx.trust = ctx.snapshot.config.trust.in_peer(peer(session));
        ctx.request_id = RequestId::of(session.req_header(), ctx.trust.origin);
        if headers::goes_in_circles(session.req_header()) {
            return Err(self.refuse(ctx, Refusal::Loop));
        }
        if headers::nominates_a_claim(session.req_header(), &ctx.snapshot.config.trust) {
            return Err(self.refuse(ctx, Refusal::Malformed(Fault::Nomination)));
        }
        self.read_body_prefix(session, ctx).await?;
        classify(session, ctx);
        ctx.reads_from_main = self.has_just_written(session, ctx);
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
        let prefix = BodyPrefix::read(session, reader, &self.parts.held_bodies).await?;
        ctx.body_prefix = Some(prefix);
        Ok(())
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
    ctx.rule = ogc::retry(ctx.class(), request.method.as_str());
    if ctx.class_config().affinity.is_some() {
        ctx.metatile = ogc::metatile(&head, &ctx.snapshot.config.geoserver.context);
    }
}
