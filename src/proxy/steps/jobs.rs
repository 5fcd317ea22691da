//! Executions in the background, and printed documents: the upstream that begins one is remembered,
//! and requests about it go there. See `upstream/jobs.rs`.

use std::sync::Arc;
use std::time::Instant;

use http::header::LOCATION;
use percent_encoding::percent_decode;
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::cluster::Tried;
use crate::config::{Config, RouteAction, ServedBy, UpstreamGroup};
use crate::ogc::RequestClass;
use crate::proxy::context::Context;
use crate::proxy::front_door::FrontDoor;
use crate::proxy::response::evidence;
use crate::proxy::response::respond::Refusal;
use crate::proxy::upstream::jobs::{self, Node};

impl FrontDoor {
    /// A request about an execution goes to the upstream that began it, and nowhere else. Refuses
    /// it if that upstream is no part of the cluster any more.
    pub(super) fn follow_job(&self, session: &Session, ctx: &mut Context) -> Result<()> {
        let Some(span) = ctx.classified.job else {
            return Ok(());
        };
        if self.parts.jobs.is_empty() || ctx.classified.stays_on_main() {
            return Ok(());
        }
        let id: Vec<u8> = percent_decode(span.of(session.req_header().raw_path())).collect();
        let Some(node) = self.parts.jobs.node_of(&id, Instant::now()) else {
            return Ok(());
        };
        let upstream = self.parts.control.upstream(&node.name);
        // Another address is another GeoServer.
        let Some(upstream) = upstream.filter(|upstream| upstream.id == node.id) else {
            return Err(self.refuse(ctx, Refusal::JobGone));
        };
        ctx.follows_job = true;
        ctx.tried = if upstream.is_main() {
            Tried::of_main()
        } else {
            Tried::of_group(Arc::new(UpstreamGroup::new(vec![node.name], true)))
        };
        Ok(())
    }

    /// The head of an answer has come: it may name an execution, or its body may.
    pub(super) fn watch_for_jobs(&self, response: &ResponseHeader, ctx: &mut Context) {
        if !ctx.may_begin_job
            || !response.status.is_success()
            || !runs_on_several(&ctx.snapshot.config)
        {
            return;
        }
        if let Some(location) = response.headers.get(LOCATION) {
            self.note_jobs(location.as_bytes(), true, ctx);
        }
        if let Some(attempt) = &mut ctx.attempt {
            attempt.job_reader = evidence::text_sniffer(response).map(Box::new);
        }
    }

    /// A part of a body that may name an execution has come; noted before the client sees it.
    pub(super) fn read_jobs(&self, chunk: &[u8], is_end: bool, ctx: &mut Context) {
        let Some(mut reader) = ctx
            .attempt
            .as_mut()
            .and_then(|attempt| attempt.job_reader.take())
        else {
            return;
        };
        reader.feed(chunk);
        let is_last = is_end || !reader.wants_more();
        self.note_jobs(&reader.text(), is_last, ctx);
        if let Some(attempt) = ctx.attempt.as_mut().filter(|_| !is_last) {
            attempt.job_reader = Some(reader);
        }
    }

    fn note_jobs(&self, text: &[u8], is_end: bool, ctx: &Context) {
        let Some(attempt) = &ctx.attempt else { return };
        for id in jobs::ids_in(text, is_end) {
            let node = Node {
                id: attempt.upstream.id,
                name: attempt.upstream.name.clone(),
            };
            self.parts.jobs.note(id, node, Instant::now());
        }
    }
}

/// Whether upstreams beside the main run processes, so that it matters which of them began one. A
/// rule may give a process another class, or upstreams of its own.
fn runs_on_several(config: &Config) -> bool {
    let is_elsewhere = |class: RequestClass| config.classes[class].served_by != ServedBy::Main;
    let is_sent_elsewhere = |action: &RouteAction| match action {
        RouteAction::Send { class, group } => group.is_some() || class.is_some_and(is_elsewhere),
        RouteAction::Refuse | RouteAction::Allow => false,
    };
    is_elsewhere(RequestClass::Process)
        || config
            .routes
            .iter()
            .any(|rule| is_sent_elsewhere(&rule.action))
}
