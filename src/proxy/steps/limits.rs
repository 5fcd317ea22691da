//! A request is held to the limits before it queues for a slot: whether it may come in at all, and
//! which limits it counts for.
//!
//! A request without limits (the default, from a peer that vouches for no client) costs two
//! comparisons.

use std::time::{Duration, Instant};

use pingora::Result;
use pingora::proxy::Session;
use tokio::time::sleep;

use crate::admission::{Client, ConcurrencyKeys};
use crate::config::Limits;
use crate::proxy::client::head::head;
use crate::proxy::client::rates::RateVerdict;
use crate::proxy::client::session::until_gone;
use crate::proxy::context::Context;
use crate::proxy::front_door::FrontDoor;
use crate::proxy::response::respond::Refusal;

impl FrontDoor {
    /// Refuses the clients that the rules shut out, counts the request for the rates, and notes the
    /// limits that its attempts will have to pass.
    pub(in crate::proxy) async fn hold_to_limits(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<()> {
        let limits = &ctx.snapshot.config.limits;
        let rules = &limits.control_flow;
        if rules.is_empty() && limits.per_user.most(ctx.trust.is_some()).is_none() {
            return Ok(());
        }
        let client = self.client(session, ctx);
        if rules.blocks(client.address) {
            return Err(self.refuse(ctx, Refusal::Blocked));
        }
        ctx.concurrency_keys = ConcurrencyKeys::of(
            limits,
            &ctx.classified,
            &head(session.req_header()),
            &client,
        );
        ctx.client = Some(client);
        if !rules.has_rates() {
            return Ok(());
        }
        let head = head(session.req_header());
        let counted = self
            .parts
            .meters
            .count(&ctx.snapshot, &ctx.classified, &head, &client);
        let Some((note, verdict)) = counted else {
            return Ok(());
        };
        ctx.rate = Some(Box::new(note));
        match verdict {
            RateVerdict::Pass => Ok(()),
            RateVerdict::Wait(delay) => self.delay(session, ctx, delay).await,
            RateVerdict::Refuse => Err(self.refuse(ctx, Refusal::RateLimited)),
        }
    }

    /// Holds the request up, unless too many are held up already or it may not wait that long.
    async fn delay(&self, session: &mut Session, ctx: &mut Context, delay: Duration) -> Result<()> {
        let limits: &Limits = &ctx.snapshot.config.limits;
        let delayed = self.parts.meters.delay();
        if delay > limits.queue_timeout {
            return Err(self.refuse(ctx, Refusal::QueueTimeout));
        }
        if delayed.others >= limits.queue as usize {
            return Err(self.refuse(ctx, Refusal::RateLimited));
        }
        let since = Instant::now();
        let is_watched = session.downstream_session.is_body_done();
        let ended = tokio::select! {
            () = sleep(delay) => Ok(()),
            gone = until_gone(session), if is_watched => Err(gone),
        };
        ctx.queued = Some(since.elapsed());
        ended
    }

    /// The client as the limits know it.
    pub(super) fn client(&self, session: &Session, ctx: &Context) -> Client {
        let identity = ctx.client_identity(session);
        let peer = identity.peer;
        let trusts = |address| ctx.snapshot.config.trust.allows_origin(address);
        let (address, address_key, user) = (
            identity.client(trusts),
            identity.address(trusts),
            identity.user(),
        );
        let is_vouched_for = user.is_some() || address != peer.to_canonical();
        Client {
            user: user.unwrap_or(address_key).number(),
            is_vouched_for,
            address,
            address_key: address_key.number(),
        }
    }
}
