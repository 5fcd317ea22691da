//! The slot of an attempt: at once, after a wait, or not at all.

use std::time::{Duration, Instant};

use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{BError, Result};
use tokio::time::sleep_until;

use super::trace;
use crate::admission::SlotRequest;
use crate::cluster::{MainPreference, NoUpstream, SelectionRequest, Tried};
use crate::config::Priority;
use crate::own_time::{LimitEnd, OwnTimeLimit};
use crate::proxy::client::session::until_gone;
use crate::proxy::coalesce::Leading;
use crate::proxy::context::{Attempt, Context};
use crate::proxy::front_door::FrontDoor;
use crate::proxy::response::respond::Refusal;
use crate::proxy::upstream::second_opinion::SecondOpinion;
use crate::proxy::upstream::tunnel;
use crate::waiting_room::{Admission, RECHECK_INTERVAL, SlotRequestResult, WaitResult, Waiting};

/// Time by which an upstream's timeout exceeds the client's while a request is incomplete.
const CLIENT_FIRST: Duration = Duration::from_secs(1);

/// Characters of a user's name that are shown.
const MAX_USER_NAME: usize = 64;

/// Maximum number of rescues for one attempt, because another request may take the slot of a
/// rescue.
const MAX_RESCUES: u32 = 4;

/// How a wait ended.
enum End {
    Told(WaitResult),
    OutOfTime,
    Gone(BError),
}

impl FrontDoor {
    /// The next attempt's upstream, or the refusal that ends the request.
    pub(in crate::proxy) async fn choose(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        trace::end_attempt(session, ctx, "retried");
        ctx.attempt = None;
        ctx.leading.iter_mut().for_each(Leading::start_over);
        if let Some(named) = ctx.named.clone() {
            self.attempt_on(named, ctx);
        } else {
            self.attempt_anywhere(session, ctx).await?;
        }
        Ok(self.begin(session, ctx))
    }

    /// An attempt on the upstream that is selected.
    async fn attempt_anywhere(&self, session: &mut Session, ctx: &mut Context) -> Result<()> {
        let admission = self.admit(session, ctx).await?;
        let upstream = &admission.selection.upstream;
        if let SecondOpinion::About { replica, .. } = ctx.doubt
            && upstream.id == replica
        {
            // The others have gone meanwhile, or have no slot free: then the first opinion is the
            // only one.
            ctx.tried.remove(replica);
            ctx.doubt = SecondOpinion::Settled;
        }
        ctx.tried.add(upstream.id);
        let peer = self.parts.peers.of(upstream);
        ctx.attempt = Some(Attempt::new(admission, peer, Instant::now()));
        Ok(())
    }

    /// Begins the attempt that was chosen.
    fn begin(&self, session: &mut Session, ctx: &mut Context) -> Box<HttpPeer> {
        ctx.attempts += 1;
        ctx.body_bytes = 0;
        if let Some(prefix) = &mut ctx.body_prefix {
            prefix.rewind();
        }
        let is_websocket = tunnel::is_websocket(session);
        // Where one kept-alive connection was closed, the next one may be, too.
        let is_fresh = is_websocket || !ctx.rule.allows_reuse() || ctx.has_met_stale_connection;
        let (timeouts, first_byte) = (&ctx.snapshot.config.timeouts, ctx.class_config().first_byte);
        let patience = if session.downstream_session.is_body_done() {
            first_byte
        } else {
            // Begins anew with each part of the request that is passed on: a client that stops
            // sending is noticed first.
            first_byte.max(timeouts.client_body + CLIENT_FIRST)
        };
        let is_complete = session.downstream_session.is_body_done();
        let class = ctx.class();
        let attempt = ctx.attempt.as_mut().expect("it was just chosen");
        let mut http_peer = attempt.peer.http_peer(timeouts, patience, is_fresh);
        if is_websocket {
            attempt.websocket = Some(tunnel::held_connection(&mut http_peer));
        }
        if is_complete {
            attempt.watch(class);
        }
        http_peer
    }

    /// Admits the request. If no upstream is left, a rescue is tried before the refusal.
    async fn admit(&self, session: &mut Session, ctx: &mut Context) -> Result<Admission> {
        let mut rescues = 0;
        loop {
            let why = match self.find_slot(session, ctx).await? {
                Ok(admission) => return Ok(admission),
                Err(why) => why,
            };
            let (control, now) = (&self.parts.control, Instant::now());
            let rescue = |tried: &Tried| control.rescue(ctx.class(), tried, now);
            if rescues == MAX_RESCUES || !ctx.tried.or_beyond_group(rescue) {
                return Err(self.refuse_for(ctx, why));
            }
            rescues += 1;
        }
    }

    async fn find_slot(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<Result<Admission, NoUpstream>> {
        let (room, now, request) = (
            &self.parts.room,
            Instant::now(),
            selection_request(session, ctx),
        );
        if let Some(admitted) = room.bypass(&request, &ctx.concurrency_keys, now) {
            return Ok(admitted);
        }
        let slot_request = self.slot_request(session, ctx, now);
        let priority = slot_request.priority;
        match room.request_slot(
            request,
            ctx.concurrency_keys.clone(),
            slot_request,
            &|| user_shown(session, ctx),
            &ctx.snapshot.config.limits,
            now,
        ) {
            SlotRequestResult::Admitted(admission) => Ok(Ok(admission)),
            SlotRequestResult::Refused(why) => Ok(Err(why)),
            SlotRequestResult::Full(retry_after) => {
                Err(self.refuse_busy(ctx, Refusal::QueueFull, retry_after))
            }
            SlotRequestResult::Waiting(waiting) => {
                let result = self.wait(session, ctx, waiting, now).await;
                trace::waited(ctx, priority, now, &result);
                result
            }
        }
    }

    async fn wait(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        mut waiting: Waiting,
        since: Instant,
    ) -> Result<Result<Admission, NoUpstream>> {
        let limits = &ctx.snapshot.config.limits;
        let until = (since + limits.queue_timeout).into();
        let mut limit = OwnTimeLimit::until(until, RECHECK_INTERVAL);
        // Bytes that a client still sends and its leaving look alike until they are read.
        let is_watched = session.downstream_session.is_body_done();
        let end = loop {
            let due = limit.begin_slice();
            tokio::select! {
                biased;
                result = &mut waiting.result => break End::Told(result.expect("a waiter gets its result before it is forgotten")),
                () = sleep_until(due) => match limit.check() {
                    Ok(()) => waiting.serve_if_due(),
                    Err(LimitEnd::Over | LimitEnd::Starved) => break End::OutOfTime,
                },
                gone = until_gone(session), if is_watched => break End::Gone(gone),
            }
        };
        let waited = since.elapsed();
        ctx.queued = Some(ctx.queued.unwrap_or_default() + waited);
        self.parts.metrics.queued(ctx.class(), waited);
        let told = match end {
            End::Told(told) => Some(told),
            End::OutOfTime => waiting.leave(),
            End::Gone(error) => return Err(error),
        };
        match told {
            Some(WaitResult::Admitted(admission)) => Ok(Ok(admission)),
            Some(WaitResult::Refused(why)) => Ok(Err(why)),
            Some(WaitResult::Shed(retry_after)) => {
                Err(self.refuse_busy(ctx, Refusal::Shed, retry_after))
            }
            None => {
                let retry_after = self
                    .parts
                    .room
                    .retry_after(&ctx.snapshot.config.limits, Instant::now());
                Err(self.refuse_busy(ctx, Refusal::QueueTimeout, retry_after))
            }
        }
    }

    /// No upstream can take it, now or later.
    fn refuse_for(&self, ctx: &mut Context, why: NoUpstream) -> BError {
        let refusal = match why {
            NoUpstream::NoneEligible | NoUpstream::NoVerdict if ctx.follows_job => Refusal::JobGone,
            NoUpstream::NoneEligible | NoUpstream::Full | NoUpstream::NoVerdict => {
                Refusal::NoUpstream
            }
            // The cause of the last failure is more useful than that no upstream is left.
            NoUpstream::AllTried => ctx.refusal.take().unwrap_or(Refusal::NoUpstream),
        };
        self.refuse(ctx, refusal)
    }

    fn refuse_busy(&self, ctx: &mut Context, refusal: Refusal, retry_after: u32) -> BError {
        ctx.retry_after = Some(retry_after);
        self.refuse(ctx, refusal)
    }

    /// Returns the properties of the request that determine its place in the queue.
    fn slot_request(&self, session: &Session, ctx: &Context, now: Instant) -> SlotRequest {
        SlotRequest {
            class: ctx.class(),
            priority: self.priority(session, ctx),
            rules: ctx.concurrency_keys.fingerprint(),
            from_main: ctx.reads_from_main,
            effort: ctx.effort(),
            user: ctx.client.unwrap_or_else(|| self.client(session, ctx)).user,
            arrived: now,
            is_retry: ctx.attempts > 0,
        }
    }

    /// The priority of the class, moved by the header of a trusted proxy.
    fn priority(&self, session: &Session, ctx: &Context) -> Priority {
        let of_class = ctx.effort().of(ctx.class_config().priority);
        let Some(rule) = ctx
            .snapshot
            .config
            .limits
            .control_flow
            .priority
            .as_ref()
            .filter(|_| ctx.trust.identity)
        else {
            return of_class;
        };
        let value = session
            .req_header()
            .headers
            .get(&rule.header)
            .and_then(|value| value.to_str().ok()?.trim().parse::<i64>().ok());
        of_class.better_by(value.map_or(0, |value| value.saturating_sub(rule.default)))
    }
}

/// The user of a request that waits, for operators: the name that a trusted proxy gave, or the
/// address.
fn user_shown(session: &Session, ctx: &Context) -> String {
    let identity = ctx.client_identity(session);
    let trusts = |address| ctx.snapshot.config.trust.allows_origin(address);
    let name = identity.user().and_then(|_| identity.user_name());
    let shown = |name: String| {
        let plain = name.chars().filter(|c| !c.is_control());
        plain.take(MAX_USER_NAME).collect()
    };
    name.map_or_else(|| identity.client(trusts).to_string(), shown)
}

fn selection_request(session: &Session, ctx: &Context) -> SelectionRequest {
    let main = match ctx.doubt {
        SecondOpinion::About {
            replica,
            lacks_a_change,
            ..
        } => MainPreference::ForAnOpinion {
            replica,
            lacks_a_change,
        },
        SecondOpinion::None | SecondOpinion::Settled if ctx.reads_from_main => {
            MainPreference::ToSeeAChange
        }
        SecondOpinion::None | SecondOpinion::Settled => MainPreference::No,
    };
    SelectionRequest {
        class: ctx.class(),
        effort: ctx.effort(),
        key: ctx.metatile,
        tried: ctx.tried.clone(),
        main,
        about: ctx.about(session),
    }
}
