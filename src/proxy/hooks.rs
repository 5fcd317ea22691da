//! `impl ProxyHttp`: translate, call, translate back.

use std::any::Any;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};

use super::context::Context;
use super::front_door::FrontDoor;
use super::headers::{self, ClientView};
use crate::http1::Fault;
use crate::ogc::{self, BodyNeed};
use crate::proxy::client::body_prefix;
use crate::proxy::client::body_prefix::BodyPrefix;
use crate::proxy::client::head::{body_reader, content_length, head};
use crate::proxy::client::request_id::RequestId;
use crate::proxy::connection::Switches;
use crate::proxy::response::respond::Refusal;
use crate::proxy::steps::{finish, refuse};
use crate::proxy::upstream::retry::Progress;

/// What a client still sends of a request we have answered already is read for this long, so that
/// its connection can go on.
const DRAIN: Duration = Duration::from_secs(5);

#[async_trait]
impl ProxyHttp for FrontDoor {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new(
            self.parts.control.snapshot_full(),
            Instant::now(),
            self.parts.running.enter(),
        )
    }

    /// None: GeoServer compresses, and the disabled module costs five allocations a request.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    fn on_connection_reuse(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        passed: Box<dyn Any + Send + Sync>,
    ) {
        if let Ok(switches) = passed.downcast::<Switches>() {
            let Switches {
                interrupt,
                tunnel,
                target,
            } = *switches;
            ctx.interrupt = Some(interrupt);
            ctx.tunnel = Some(tunnel);
            if let Some(target) = target {
                session
                    .req_header_mut()
                    .set_raw_path(&target)
                    .expect("a target that was accepted is one for Pingora");
            }
        }
    }

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<()> {
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
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        self.parts.budget.count_request(ctx.started);
        ctx.is_trusted = ctx.snapshot.config.trusts(peer(session));
        ctx.request_id = RequestId::of(session.req_header(), ctx.is_trusted);
        if headers::goes_in_circles(session.req_header()) {
            return Err(self.refuse(ctx, Refusal::Loop));
        }
        if headers::nominates_a_claim(session.req_header()) {
            return Err(self.refuse(ctx, Refusal::Malformed(Fault::Nomination)));
        }
        let geoserver = &ctx.snapshot.config.geoserver;
        if ogc::body_need(&head(session.req_header()), &geoserver.context) == BodyNeed::Prefix {
            if body_prefix::expects_continue(session.req_header()) && !self.serves_anything() {
                // Before the client sends a body for nothing.
                return Err(self.refuse(ctx, Refusal::NoUpstream));
            }
            let reader = body_reader(session.req_header(), geoserver.max_post_size);
            ctx.body_prefix =
                Some(BodyPrefix::read(session, reader, &self.parts.held_bodies).await?);
        }
        let request = session.req_header();
        let head = head(request);
        let evidence = ctx.body_prefix.as_ref().and_then(BodyPrefix::evidence);
        ctx.classified = ogc::classify(
            &head,
            &ctx.snapshot.config.geoserver.context,
            evidence.as_deref(),
        );
        drop(evidence);
        ctx.rule = ogc::retry(ctx.class(), request.method.as_str());
        if ctx.class_config().affinity.is_some() {
            ctx.metatile = ogc::metatile(&head, &ctx.snapshot.config.geoserver.context);
        }
        ctx.reads_from_main = self.has_just_written(session, ctx);
        if content_length(request).is_some_and(|length| length > ctx.class_config().max_body) {
            return Err(self.refuse(ctx, Refusal::BodyTooLarge));
        }
        self.hold_to_limits(session, ctx).await?;
        self.share(session, ctx).await
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        self.choose(session, ctx).await
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        self.after_failure(session, ctx, &mut error, false);
        error
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        _fd: RawFd,
        _digest: Option<&Digest>,
        ctx: &mut Context,
    ) -> Result<()> {
        if let Some(attempt) = &mut ctx.attempt {
            attempt.connected = Some(if reused {
                Duration::ZERO
            } else {
                attempt.started.elapsed()
            });
            attempt.progress = Progress::Sent;
            attempt.is_reused = reused;
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        if ctx.body_prefix.is_some() && body_prefix::expects_continue(request) {
            // We have answered the expectation ourselves.
            request.remove_header(&http::header::EXPECT);
        }
        headers::prepare_upstream(request, &client_view(session, ctx))
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        if end_of_stream {
            ctx.is_request_complete = true;
        } else if body.is_some() {
            ctx.body_came = Some(Instant::now());
        }
        if let Some(prefix) = &mut ctx.body_prefix {
            prefix.prepend(body);
        }
        ctx.body_bytes += body.as_ref().map_or(0, |body| body.len() as u64);
        if ctx.body_bytes > ctx.class_config().max_body {
            return Err(self.refuse(ctx, Refusal::BodyTooLarge));
        }
        if end_of_stream {
            self.let_move(session, ctx);
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        if let Some(error) = self.refuse_bad_framing(session, response, ctx) {
            return Err(error);
        }
        if response.status.is_informational() {
            return Ok(());
        }
        self.judge_head(session, response, ctx)?;
        self.keep_head(session, response, ctx);
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<Option<Duration>> {
        self.judge_body(session, body.as_deref(), end_of_stream, ctx)?;
        self.keep_body(session, body.as_ref(), end_of_stream, ctx);
        Ok(None)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        headers::prepare_downstream(response, &client_view(session, ctx))?;
        if let Some(prefix) = ctx
            .body_prefix
            .as_mut()
            .filter(|_| !response.status.is_informational())
        {
            prefix.let_go();
        }
        if let Some(rate) = &ctx.rate {
            rate.tell(response)?;
        }
        if let Some(tunnel) = ctx
            .tunnel
            .as_ref()
            .filter(|_| session.is_upgrade(response) == Some(true))
        {
            tunnel.open();
        }
        let request = session.req_header();
        if request.version == Version::HTTP_10 && !response.status.is_informational() {
            let is_head = request.method == Method::HEAD;
            if headers::unchunk_for_http10(response, is_head) {
                session.set_keepalive(None);
            }
        }
        Ok(())
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Context,
        client_reused: bool,
    ) -> Box<Error> {
        self.after_failure(session, ctx, &mut error, client_reused);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Context,
    ) -> FailToProxy {
        // Whoever waits for this answer does not wait for its client to take the refusal.
        ctx.leading = None;
        FailToProxy {
            error_code: refuse::answer(session, error, ctx).await,
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        finish::finish(self, session, error, ctx);
        self.conclude_flight(session, error, ctx);
    }

    /// Everything Pingora would say about a failed request is in its access line.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Context, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Context,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

/// The address a request came from; unspecified (and so never trusted) where there is none.
pub(super) fn peer(session: &Session) -> IpAddr {
    let address = session.client_addr().and_then(|address| address.as_inet());
    address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), SocketAddr::ip)
}

pub(super) fn client_view<'a>(session: &Session, ctx: &'a Context) -> ClientView<'a> {
    ClientView {
        peer: peer(session),
        local: session
            .server_addr()
            .and_then(|address| address.as_inet())
            .copied(),
        trusted: ctx.is_trusted,
        tls: session
            .digest()
            .is_some_and(|digest| digest.ssl_digest.is_some()),
        http10: session.req_header().version == Version::HTTP_10,
        request_id: &ctx.request_id,
    }
}
