//! Evaluates an upstream's answer while it is passed on to the client: its head and body are
//! evidence about the upstream's health.
//!
//! An answer that indicates a failing upstream is discarded if no part of it has been sent to the
//! client and the request may be retried on another upstream. Small error answers arrive with
//! their head, so this catches most reports of a broken node before a client sees them. Once the
//! first part of an answer is passed on, the rest is not held back.

use std::time::{Duration, SystemTime};

use http::header::{CONTENT_LENGTH, DATE};
use http::{Method, StatusCode, Version};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::{Error, Result};

use super::doubt::requested_layer;
use super::public_path;
use super::retry::REJECTED_ANSWER;
use super::session_view::has_session;
use crate::cluster::{Cause, Event, Outcome};
use crate::proxy::client::body_prefix::BodyPrefix;
use crate::proxy::client::max_forwards;
use crate::proxy::context::{Attempt, Context};
use crate::proxy::front_door::FrontDoor;
use crate::proxy::headers;
use crate::proxy::response::cors;
use crate::proxy::response::evidence::{self, HeadVerdict};
use crate::proxy::response::finding::{AnswerFinding, JudgedRequest};
use crate::proxy::response::framing;
use crate::proxy::response::respond::Refusal;
use crate::proxy::session_cookie;
use crate::proxy::upstream::second_opinion::SecondOpinion;

impl FrontDoor {
    /// Refuses an answer with ambiguous framing and closes its connection. The request fails unless
    /// it may be retried. Repeated equal values of `Content-Length` are reduced to one.
    pub(in crate::proxy) fn refuse_bad_framing(
        &self,
        session: &Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let is_upgrade = session.is_upgrade(response) == Some(true);
        let Err(why) = framing::judge(response, is_upgrade) else {
            return Ok(());
        };
        tracing::debug!(request = %ctx.request_id.as_str(), %why, "the upstream's answer has ambiguous framing");
        self.report_failure(session, ctx, Cause::Reset(why), "");
        ctx.refusal = Some(Refusal::BadAnswer);
        Err(self
            .reject_answer(session, ctx, "bad-answer")
            .unwrap_or_else(|| Error::new_up(REJECTED_ANSWER)))
    }

    /// Answers an `OPTIONS` request that goes no further: one that may pass no more servers, or,
    /// if `[cors]` is configured, a preflight, with which a browser finds out what a page of
    /// another origin may send. Returns true if the request is answered.
    pub(in crate::proxy) async fn answer_options(
        &self,
        session: &mut Session,
        ctx: &Context,
    ) -> Result<bool> {
        let cors = &ctx.snapshot.config.cors;
        let request = session.req_header();
        let mut head = if cors.is_on() && cors::is_preflight(request) {
            cors::preflight(cors, request)?
        } else if max_forwards::is_exhausted(request) {
            let mut head = ResponseHeader::build(StatusCode::OK, None)?;
            head.insert_header(CONTENT_LENGTH, 0)?;
            cors::apply(cors, request, &mut head)?;
            head
        } else {
            return Ok(false);
        };
        headers::prepare_downstream(&mut head, &ctx.client_view(session))?;
        head.insert_header(DATE, httpdate::fmt_http_date(SystemTime::now()))?;
        if let Some(delivery) = &ctx.delivery {
            delivery.set_date(head.headers.get(DATE).cloned());
        }
        let written = session.write_response_header(Box::new(head), true).await;
        written.map_err(|error| error.into_down())?;
        Ok(true)
    }

    /// Called with the head of a final answer.
    pub(in crate::proxy) fn judge_head(
        &self,
        session: &Session,
        response: &ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        if let Some(attempt) = &mut ctx.attempt {
            attempt.armed = None;
            attempt.first_byte = Some(attempt.started.elapsed());
            attempt.status = Some(response.status.as_u16());
            attempt.teaches_slowness = attempt.end_watch();
            attempt.waited_inside = waited_inside(response);
            if let Some(waited) = attempt.waited_inside {
                attempt.upstream.load.note_waiting_inside(waited);
            }
        }
        self.take_hint(session, response.status.as_u16(), ctx);
        self.find_old_tiles(session, response.status.as_u16(), ctx);
        self.watch_for_jobs(response, ctx);
        match evidence::judge_head(response, &judged(session, ctx)) {
            HeadVerdict::Settled(finding) => self.learn(session, ctx, finding),
            HeadVerdict::Sniff(inspector) => {
                if let Some(attempt) = &mut ctx.attempt {
                    attempt.inspector = Some(inspector);
                }
                Ok(())
            }
        }
    }

    /// Called with every part of the body, the last one included; not called for answers without a
    /// body.
    pub(in crate::proxy) fn judge_body(
        &self,
        session: &Session,
        chunk: Option<&[u8]>,
        is_end: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        if let Some(inspector) = ctx
            .attempt
            .as_mut()
            .and_then(|attempt| attempt.inspector.as_mut())
        {
            inspector.inspect(chunk.unwrap_or_default());
            if is_end || !inspector.wants_more() {
                self.finish_inspection(session, ctx)?;
            }
        }
        self.read_jobs(chunk.unwrap_or_default(), is_end, ctx);
        if is_end {
            self.answer_ended(ctx);
        }
        Ok(())
    }

    /// Evaluates the inspected part of a body. Returns an error if the request is to be retried.
    pub(in crate::proxy) fn finish_inspection(
        &self,
        session: &Session,
        ctx: &mut Context,
    ) -> Result<()> {
        let Some(inspector) = ctx
            .attempt
            .as_mut()
            .and_then(|attempt| attempt.inspector.take())
        else {
            return Ok(());
        };
        let finding = inspector.finding(&judged(session, ctx));
        self.learn(session, ctx, finding)
    }

    fn learn(&self, session: &Session, ctx: &mut Context, finding: AnswerFinding) -> Result<()> {
        let Some(attempt) = &mut ctx.attempt else {
            return Ok(());
        };
        if finding.is_service_exception {
            attempt.is_exception = true;
            self.parts
                .metrics
                .service_exception(ctx.classified.class, &attempt.peer.metrics);
        }
        self.note_old_tiles(attempt);
        // Reported at the answer's end: it may yet break off.
        attempt.is_success |= finding.outcome == Some(Outcome::Success);
        // For an upstream on trial, success is reported now and not at the end of an export.
        if attempt.is_success && attempt.is_unblemished() && attempt.end_trial() {
            self.report(ctx, Outcome::Success);
        }
        if (finding.is_ignorant || finding.is_forbidden && has_session(session, ctx))
            && let Some(second_opinion) = self.seek_second_opinion(session, ctx)
        {
            return Err(second_opinion);
        }
        if let SecondOpinion::About { replica, sent, .. } = ctx.doubt {
            let layer = requested_layer(session, ctx);
            self.settle_doubt(
                session,
                Event::StaleSeen {
                    upstream: replica,
                    layer,
                    sent,
                },
                &finding,
                ctx,
            );
        }
        match finding.outcome {
            Some(Outcome::Success) | None => {}
            Some(outcome) => {
                let reason = if outcome == Outcome::Busy {
                    "busy"
                } else {
                    "bad-answer"
                };
                // If the request was incomplete, the client may have caused the error.
                match outcome {
                    Outcome::Failure(cause) if ctx.is_request_complete => {
                        self.report_failure(session, ctx, cause, &finding.exception);
                    }
                    outcome if ctx.is_request_complete => self.report(ctx, outcome),
                    _ => {}
                }
                if let Some(retry) = self.reject_answer(session, ctx, reason) {
                    return Err(retry);
                }
            }
        }
        Ok(())
    }
}

/// Whether no body follows: then the upstream is done.
pub(in crate::proxy) fn ends_with_its_head(session: &Session, response: &ResponseHeader) -> bool {
    let is_without_body = matches!(
        response.status,
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
    );
    let length = response.headers.get(CONTENT_LENGTH);
    is_without_body
        || session.req_header().method == Method::HEAD
        || length.is_some_and(|length| length.as_bytes() == b"0")
}

/// Prepares the answer's head for the client and updates the request's state: it frees the body
/// kept for a retry, records whether the slot is held, and opens the tunnel of a WebSocket.
pub(in crate::proxy) fn prepare_head(
    session: &mut Session,
    response: &mut ResponseHeader,
    ctx: &mut Context,
) -> Result<()> {
    headers::prepare_downstream(response, &ctx.client_view(session))?;
    let is_from_replica = ctx
        .attempt
        .as_ref()
        .is_some_and(|attempt| !attempt.upstream.is_main());
    if let Some(replica) = ctx.named_replica() {
        session_cookie::keep(response, &replica.name)?;
    } else if is_from_replica {
        session_cookie::remove(response)?;
    }
    public_path::mend(session.req_header(), response, ctx)?;
    let is_final = !response.status.is_informational();
    if let Some(prefix) = ctx.body_prefix.as_mut().filter(|_| is_final) {
        prefix.let_go();
    }
    let attempt = ctx.attempt.as_ref().filter(|_| is_final);
    ctx.set_holds_slot(attempt.is_some_and(Attempt::holds_slot));
    if is_final {
        cors::apply(&ctx.snapshot.config.cors, session.req_header(), response)?;
    }
    if let Some(rate) = &ctx.rate {
        rate.write_headers(response)?;
    }
    if let Some(tunnel) = &ctx.tunnel
        && session.is_upgrade(response) == Some(true)
    {
        tunnel.open();
    }
    let request = session.req_header();
    let mut ends_with_connection = false;
    if request.version == Version::HTTP_10 && is_final {
        let is_head = request.method == Method::HEAD;
        if headers::unchunk_for_http10(response, is_head) {
            session.set_keepalive(None);
            ends_with_connection = true;
        }
    }
    if let Some(delivery) = &ctx.delivery {
        delivery.set_ends_with_connection(ends_with_connection);
        delivery.set_date(response.headers.get(DATE).filter(|_| is_final).cloned());
    }
    Ok(())
}

/// Returns the waiting time that control-flow reports.
fn waited_inside(response: &ResponseHeader) -> Option<Duration> {
    let millis = response
        .headers
        .get("x-control-flow-delay-ms")?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_millis(millis))
}

fn judged<'a>(session: &'a Session, ctx: &'a Context) -> JudgedRequest<'a> {
    JudgedRequest {
        class: ctx.class(),
        target: session.req_header().raw_path(),
        has_workspace: ctx.classified.workspace.is_some(),
        context: &ctx.snapshot.config.geoserver.context,
        body_prefix: ctx
            .body_prefix
            .as_ref()
            .map(BodyPrefix::bytes)
            .unwrap_or_default(),
        is_body_known: ctx
            .body_prefix
            .as_ref()
            .map_or(ctx.body_bytes == 0, BodyPrefix::is_whole),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::Arc;
    use std::time::Instant;

    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::cluster::Cause;
    use crate::config::{self, LogFormat};
    use crate::control::Control;
    use crate::control::fixture::control_up;
    use crate::metrics::Metrics;
    use crate::proxy::access_log::AccessLog;
    use crate::proxy::context::Attempt;
    use crate::proxy::front_door::SharedParts;
    use crate::proxy::upstream::peer::UpstreamPeers;
    use crate::waiting_room::{Admission, WaitingRoom};

    const CONFIG: &str = "[upstreams.main]\nurl = \"http://127.0.0.1:1\"\nrole = \"main\"\n[upstreams.a]\nurl = \"http://127.0.0.1:2\"\n\
         [upstreams.b]\nurl = \"http://127.0.0.1:3\"";

    /// A request for a map, and an upstream for it that is in doubt since `now`.
    fn request_to_an_upstream_in_doubt(
        front_door: &FrontDoor,
        control: &Control,
        now: Instant,
    ) -> Context {
        let mut ctx = Context::new(control.snapshot_full(), now, front_door.running().enter());
        ctx.classified.class = crate::ogc::RequestClass::Map;
        let selection = control
            .snapshot()
            .select(ctx.class(), &ctx.tried, now)
            .expect("all upstreams are up");
        control.observe(
            &selection.upstream,
            now,
            Outcome::Failure(Cause::Truncated),
            now,
        );
        assert!(selection.upstream.load.is_in_doubt());
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

    async fn session() -> (Session, tokio::io::DuplexStream) {
        let (ours, mut clients) = tokio::io::duplex(1000);
        clients
            .write_all(b"GET /geoserver/wms HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let mut session = Session::new_h1(Box::new(ours));
        session.downstream_session.read_request().await.unwrap();
        (session, clients)
    }

    fn picture() -> ResponseHeader {
        let mut answer = ResponseHeader::build(200, None).unwrap();
        answer.insert_header("Content-Type", "image/png").unwrap();
        answer
    }

    #[tokio::test]
    async fn a_success_counts_when_the_answer_ends_and_not_before() {
        let now = Instant::now();
        let control = control_up(CONFIG, now);
        let log = AccessLog::start(&config::AccessLogDestination::Off, LogFormat::Logfmt);
        let room = WaitingRoom::new(Arc::clone(&control), Metrics::new(), now);
        let front_door = FrontDoor::new(
            Arc::clone(&control),
            Metrics::new(),
            room,
            SharedParts::new(log, NonZeroUsize::MIN),
            Vec::new(),
        );
        let mut ctx = request_to_an_upstream_in_doubt(&front_door, &control, now);
        let upstream = Arc::clone(&ctx.attempt.as_ref().unwrap().upstream);
        let (session, _client) = session().await;

        front_door
            .judge_head(&session, &picture(), &mut ctx)
            .unwrap();
        front_door
            .judge_body(&session, Some(b"half"), false, &mut ctx)
            .unwrap();
        assert_eq!(
            (upstream.load.is_in_doubt(), upstream.load.in_flight()),
            (true, 1)
        );

        // The client has read nothing yet.
        front_door
            .judge_body(&session, Some(b"the rest"), true, &mut ctx)
            .unwrap();
        assert_eq!(
            (upstream.load.is_in_doubt(), upstream.load.in_flight()),
            (false, 0)
        );
    }
}
