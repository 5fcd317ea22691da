//! Evidence in passing: what an answer's head and body tell about the upstream, while both go on to
//! the client.
//!
//! An answer that speaks against its upstream, and of which the client has seen nothing yet, is not
//! passed on if another upstream may be asked. Small error answers arrive with their head, so this
//! catches most reports of a broken node before anybody sees them; what is passed on already is not
//! held back.

use std::time::{Duration, Instant};

use percent_encoding::percent_decode;
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::admission::Answered;
use crate::cluster::{Event, Outcome};
use crate::proxy::client::body_prefix::BodyPrefix;
use crate::proxy::context::{Attempt, Context};
use crate::proxy::front_door::FrontDoor;
use crate::proxy::response::evidence::{self, Asked, Finding, HeadVerdict};
use crate::proxy::upstream::second_opinion::Doubt;

impl FrontDoor {
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
            attempt.teaches_slowness = attempt.end_watch();
            attempt.waited_inside = waited_inside(response);
            if let Some(waited) = attempt.waited_inside {
                attempt.upstream.load.note_waiting_inside(waited);
            }
        }
        self.take_hint(session, response.status.as_u16(), ctx);
        match evidence::judge_head(response, &asked(session, ctx)) {
            HeadVerdict::Settled(finding) => self.learn(session, ctx, finding),
            HeadVerdict::Sniff(witness) => {
                if let Some(attempt) = &mut ctx.attempt {
                    attempt.witness = Some(witness);
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
        if let Some(witness) = ctx
            .attempt
            .as_mut()
            .and_then(|attempt| attempt.witness.as_mut())
        {
            witness.see(chunk.unwrap_or_default());
            if is_end || !witness.wants_more() {
                self.hear_witness(session, ctx)?;
            }
        }
        if is_end {
            self.answer_ended(ctx);
        }
        Ok(())
    }

    /// The upstream has done its work, however slow the client is: what it did well counts now, and
    /// its place is free.
    pub(in crate::proxy) fn answer_ended(&self, ctx: &mut Context) {
        if ctx
            .attempt
            .as_ref()
            .is_some_and(|attempt| attempt.is_success)
        {
            self.report(ctx, Outcome::Success);
        }
        self.learn_slowness(ctx);
        self.learn_cap(ctx);
        if let Some(attempt) = &mut ctx.attempt {
            attempt.give_back();
        }
    }

    /// What a good answer tells about how slow its upstream is beside its peers, once.
    fn learn_slowness(&self, ctx: &mut Context) {
        let class = ctx.class();
        let is_good = |attempt: &&mut Attempt| {
            attempt.teaches_slowness && attempt.is_success && attempt.is_unblemished()
        };
        let Some(attempt) = ctx.attempt.as_mut().filter(is_good) else {
            return;
        };
        attempt.teaches_slowness = false;
        let Some(took) = attempt.first_byte else {
            return;
        };
        attempt
            .upstream
            .load
            .slowness()
            .learn(class, attempt.company, took);
        self.parts
            .control
            .snapshot()
            .review_slowness(Instant::now());
    }

    /// What a good answer tells about how much its upstream should have at a time, once.
    fn learn_cap(&self, ctx: &mut Context) {
        let class = ctx.class();
        let is_good = |attempt: &&mut Attempt| {
            attempt.teaches_cap && attempt.is_success && attempt.is_unblemished()
        };
        let Some(attempt) = ctx.attempt.as_mut().filter(is_good) else {
            return;
        };
        attempt.teaches_cap = false;
        // Until the first byte: what comes after it depends on the client, too.
        let Some(took) = attempt.first_byte else {
            return;
        };
        let answered = Answered {
            class,
            is_quick: attempt.is_quick,
            company: attempt.company,
            heavy: attempt.upstream.load.heavy_in_flight(),
            took,
            waited: attempt.waited_inside,
        };
        if attempt
            .handles
            .learn_cap(&answered, &attempt.upstream.load, Instant::now())
        {
            self.parts.room.place_came_free();
        }
    }

    /// The verdict on a body, once all that matters of it is seen.
    pub(in crate::proxy) fn hear_witness(
        &self,
        session: &Session,
        ctx: &mut Context,
    ) -> Result<()> {
        let Some(witness) = ctx
            .attempt
            .as_mut()
            .and_then(|attempt| attempt.witness.take())
        else {
            return Ok(());
        };
        let finding = witness.finding(&asked(session, ctx));
        self.learn(session, ctx, finding)
    }

    fn learn(&self, session: &Session, ctx: &mut Context, finding: Finding) -> Result<()> {
        let Some(attempt) = &mut ctx.attempt else {
            return Ok(());
        };
        if finding.is_service_exception {
            attempt.is_exception = true;
            self.parts
                .metrics
                .service_exception(ctx.classified.class, &attempt.handles.metrics);
        }
        // Told at the answer's end: it may yet break off.
        attempt.is_success |= finding.outcome == Some(Outcome::Success);
        // But an upstream on trial does not wait for the end of an export.
        if attempt.is_success && attempt.is_unblemished() && attempt.end_trial() {
            self.report(ctx, Outcome::Success);
        }
        if finding.is_ignorant
            && let Some(second_opinion) = self.seek_second_opinion(session, ctx)
        {
            return Err(second_opinion);
        }
        if let Doubt::About { replica, sent, .. } = ctx.doubt {
            let layer = layer_asked(session, ctx);
            self.settle_doubt(
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
                // What is said of a request before it is complete may be the client's fault.
                match outcome {
                    Outcome::Failure(cause) if ctx.is_request_complete => {
                        self.report_failure(session, ctx, cause, &finding.says);
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

    /// The main was asked because a replica did not know: if it does, the replica is stale.
    fn settle_doubt(&self, stale_seen: Event, finding: &Finding, ctx: &mut Context) {
        let is_from_main = ctx
            .attempt
            .as_ref()
            .is_some_and(|attempt| attempt.upstream.is_main());
        ctx.doubt = Doubt::Settled;
        if is_from_main && finding.outcome == Some(Outcome::Success) && !finding.is_ignorant {
            self.parts.control.handle(stale_seen, Instant::now());
        }
    }
}

/// Characters of a layer's name that are kept.
const MAX_LAYER: usize = 200;

/// The layer that was asked for, or else the workspace, on one line and of bounded length.
fn layer_asked(session: &Session, ctx: &Context) -> Box<str> {
    let target = session.req_header().raw_path();
    let span = ctx.classified.layer.or(ctx.classified.workspace);
    let text = span
        .map(|span| {
            percent_decode(span.of(target))
                .decode_utf8_lossy()
                .into_owned()
        })
        .unwrap_or_default();
    text.chars()
        .filter(|c| !c.is_control())
        .take(MAX_LAYER)
        .collect()
}

/// What control-flow tells about its own queue.
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

fn asked<'a>(session: &'a Session, ctx: &'a Context) -> Asked<'a> {
    Asked {
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
    use std::path::Path;
    use std::sync::Arc;

    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::cluster::{Action, Cause, Event, ProbeReport};
    use crate::config::{self, Config, LogFormat, MapEnvironment};
    use crate::control::Control;
    use crate::metrics::Metrics;
    use crate::proxy::access_log::AccessLog;
    use crate::proxy::handles::Handles;
    use crate::proxy::waiting::Seat;

    const FILE: &str = "/geofront.toml";
    const CONFIG: &str = "[upstreams.main]\nurl = \"http://127.0.0.1:1\"\nrole = \"main\"\n[upstreams.a]\nurl = \"http://127.0.0.1:2\"\n\
         [upstreams.b]\nurl = \"http://127.0.0.1:3\"";

    fn control(now: Instant) -> Arc<Control> {
        let loaded =
            Config::load(Path::new(FILE), &MapEnvironment::new().file(FILE, CONFIG)).unwrap();
        let control = Control::new(Arc::new(loaded.config), now);
        while let Some(action) = control.poll_action(now) {
            let Action::Probe(upstream) = action else {
                continue;
            };
            let report = ProbeReport {
                outcome: Outcome::Success,
                took: Duration::ZERO,
            };
            control.handle(
                Event::Probed {
                    upstream: upstream.id,
                    report,
                },
                now,
            );
        }
        control
    }

    /// A map is asked for, and an upstream is chosen that is in doubt since `now`.
    fn asked_one_in_doubt(front_door: &FrontDoor, control: &Control, now: Instant) -> Context {
        let mut ctx = Context::new(control.snapshot_full(), now, front_door.running().enter());
        ctx.classified.class = crate::ogc::RequestClass::Map;
        let selection = control
            .snapshot()
            .select(ctx.class(), &ctx.tried, now)
            .expect("everybody is up");
        control.observe(
            &selection.upstream,
            now,
            Outcome::Failure(Cause::Truncated),
            now,
        );
        assert!(selection.upstream.load.is_in_doubt());
        let handles = Handles::of(&selection.upstream, &Metrics::new());
        ctx.attempt = Some(Attempt::new(
            Seat {
                selection,
                permit: None,
            },
            handles,
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
        let control = control(now);
        let log = AccessLog::start(&config::AccessLog::Off, LogFormat::Logfmt);
        let front_door = FrontDoor::new(Arc::clone(&control), Metrics::new(), log);
        let mut ctx = asked_one_in_doubt(&front_door, &control, now);
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
