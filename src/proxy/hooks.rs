//! `impl ProxyHttp`: each hook calls the step of the request that it stands for.

use std::any::Any;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};

use super::context::Context;
use super::front_door::FrontDoor;
use super::steps::{answer, receive, refuse, send};

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

    /// None: `steps/compress` compresses, and the disabled module costs five allocations a request.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    fn on_connection_reuse(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        passed: Box<dyn Any + Send + Sync>,
    ) {
        receive::take_switches(session, ctx, passed);
    }

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<()> {
        self.choose_cluster(session, ctx);
        receive::limit_times(session, ctx);
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        let door = self.of(ctx);
        door.receive(session, ctx).await?;
        door.hold_to_limits(session, ctx).await?;
        if door.answer_options(session, ctx).await? {
            return Ok(true);
        }
        door.gather_body(session, ctx).await?;
        door.share(session, ctx).await
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        self.of(ctx).choose(session, ctx).await
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        self.of(ctx).after_failure(session, ctx, &mut error, false);
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
        send::connected(reused, ctx);
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        send::prepare_head(session, request, ctx)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        self.of(ctx).send_body(session, body, end_of_stream, ctx)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let door = self.of(ctx);
        door.refuse_bad_framing(session, response, ctx)?;
        if !response.status.is_informational() {
            door.judge_head(session, response, ctx)?;
            door.keep_head(session, response, ctx);
            door.compress_head(session, response, ctx)?;
            if answer::ends_with_its_head(session, response) {
                door.answer_ended(ctx);
            }
        }
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<Option<Duration>> {
        let door = self.of(ctx);
        door.judge_body(session, body.as_deref(), end_of_stream, ctx)?;
        door.compress_body(body, end_of_stream, ctx)?;
        door.keep_body(session, body.as_ref(), end_of_stream, ctx);
        Ok(None)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        answer::prepare_head(session, response, ctx)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Context,
        client_reused: bool,
    ) -> Box<Error> {
        self.of(ctx)
            .after_failure(session, ctx, &mut error, client_reused);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Context,
    ) -> FailToProxy {
        // Followers do not wait for this client to take its refusal.
        ctx.leading = None;
        FailToProxy {
            error_code: refuse::answer(session, error, ctx).await,
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        let door = self.of(ctx);
        door.finish(session, error, ctx);
        door.conclude_flight(session, error, ctx);
    }

    /// Everything Pingora would log about a failed request is in its access line.
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
