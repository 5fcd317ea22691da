//! One of several clusters gets the request, before anything else is decided about it.

use http::header::HOST;
use pingora::proxy::Session;

use crate::config::ClusterChoice;
use crate::proxy::context::Context;
use crate::proxy::front_door::FrontDoor;
use crate::proxy::response::respond::Refusal;

impl FrontDoor {
    /// Chooses the request's cluster by its host and its path. From then on, the request sees the
    /// configuration and the upstreams of that cluster only.
    pub(in crate::proxy) fn choose_cluster(&self, session: &Session, ctx: &mut Context) {
        if self.parts.clusters.is_empty() {
            return;
        }
        let request = session.req_header();
        let host = request.headers.get(HOST).map(|host| host.as_bytes());
        let clusters = &ctx.snapshot.config.clusters;
        let refusal = match clusters.choose(host, request.raw_path()) {
            ClusterChoice::Cluster(at) => {
                ctx.cluster = Some(at);
                ctx.snapshot = self.of(ctx).parts.control.snapshot_full();
                return;
            }
            ClusterChoice::UnknownHost => Refusal::UnknownHost,
            ClusterChoice::UnknownPath => Refusal::UnknownPath,
        };
        ctx.refusal = Some(refusal);
    }

    /// The answer to a request that no cluster got; `None` for all others.
    pub(super) fn without_cluster(&self, ctx: &Context) -> Option<Refusal> {
        let is_front = !self.parts.clusters.is_empty();
        is_front.then(|| ctx.refusal.unwrap_or(Refusal::UnknownPath))
    }
}
