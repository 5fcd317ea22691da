//! An administrator's request names the upstream that it is for: see `named_upstream.rs`.

use std::sync::Arc;
use std::time::Instant;

use pingora::Result;
use pingora::proxy::Session;

use crate::cluster::Upstream;
use crate::config::UpstreamName;
use crate::named_upstream::{self, Denial};
use crate::ogc::Retryable;
use crate::proxy::client::head::head;
use crate::proxy::context::{Attempt, Context};
use crate::proxy::front_door::FrontDoor;
use crate::proxy::response::respond::Refusal;

/// The reason why a replica accepts no changes, for the administrator who tried it.
const READ_ONLY: &str = "Only the main may be changed: all instances share one data directory, and the main \
    would undo what another one writes there. A replica accepts reads, and tasks of its own tile cache (POST to \
    /gwc/rest/seed and /gwc/rest/masstruncate).";

impl FrontDoor {
    /// Notes the upstream that the request names, or refuses. Costs an ordinary request one look at
    /// its headers.
    pub(super) fn follow_name(&self, session: &Session, ctx: &mut Context) -> Result<()> {
        let request = session.req_header();
        let Some(name) = named_upstream::named(&request.headers) else {
            return Ok(());
        };
        let config = &ctx.snapshot.config;
        if let Err(denial) =
            named_upstream::permit(&request.headers, ctx.trust, config.admin_token.as_ref())
        {
            return Err(self.refuse(
                ctx,
                match denial {
                    Denial::Untrusted => Refusal::NamedUpstreamUntrusted,
                    Denial::NoAdministrator => Refusal::NamedUpstreamNoAdministrator,
                    Denial::WrongToken => Refusal::NamedUpstreamWrongToken,
                },
            ));
        }
        let known = UpstreamName::new(&name).and_then(|name| self.parts.control.upstream(&name));
        let Some(upstream) = known else {
            let names: Vec<_> = (config.upstreams.iter())
                .map(|upstream| upstream.name.as_str())
                .collect();
            ctx.refusal_detail = Some(format!("The upstreams are: {}.", names.join(", ")));
            return Err(self.refuse(ctx, Refusal::NamedUpstreamUnknown));
        };
        let context = &config.geoserver.context;
        let is_harmless =
            named_upstream::changes_nothing_shared(&head(request), &ctx.classified, context);
        if !upstream.is_main() && !is_harmless {
            ctx.refusal_detail = Some(READ_ONLY.to_owned());
            return Err(self.refuse(ctx, Refusal::NamedUpstreamReadOnly));
        }
        ctx.named = Some(upstream);
        Ok(())
    }

    /// The only attempt of a request for `upstream`. It takes no slot, and nothing is learned from
    /// it: the upstream may be down, in maintenance or reloading.
    pub(super) fn attempt_on(&self, upstream: Arc<Upstream>, ctx: &mut Context) {
        let peer = self.parts.peers.of(&upstream);
        ctx.attempt = Some(Attempt::on_named(upstream, peer, Instant::now()));
    }
}

/// A request for one upstream is not repeated at another.
pub(super) fn settle(ctx: &mut Context) {
    if ctx.named.is_some() {
        ctx.rule = Retryable::Never;
        ctx.metatile = None;
        ctx.reads_from_main = false;
    }
}
