//! The operator's rules: a request is refused, gets another class, or goes to other upstreams.
//!
//! Without rules this costs one comparison.

use http::HeaderMap;
use pingora::Result;
use pingora::proxy::Session;

use crate::cluster::Tried;
use crate::config::{HeaderCondition, RouteAction, RouteRule, Sender};
use crate::ogc::{Case, RuleSubject};
use crate::proxy::client::body_prefix::BodyPrefix;
use crate::proxy::client::head::head;
use crate::proxy::context::Context;
use crate::proxy::front_door::FrontDoor;
use crate::proxy::headers::{self, ClientView};
use crate::proxy::response::respond::Refusal;

impl FrontDoor {
    /// Follows the first rule that applies to a request that was just classified.
    pub(super) fn follow_routes(&self, session: &Session, ctx: &mut Context) -> Result<()> {
        if ctx.snapshot.config.routes.is_empty() {
            return Ok(());
        }
        let Some(index) = matching(session, ctx) else {
            return Ok(());
        };
        ctx.route = Some(index);
        let config = &ctx.snapshot.config;
        match &config.routes[index].action {
            RouteAction::Refuse => return Err(self.refuse(ctx, Refusal::Route)),
            RouteAction::Allow => {}
            RouteAction::Send { class, group } => {
                if let Some(group) = group {
                    ctx.tried = Tried::of_group(group.clone());
                }
                if let Some(class) = *class {
                    ctx.classified.class = class;
                    ctx.classified.reason = "a rule of the operator ([[routes]])";
                }
            }
        }
        Ok(())
    }
}

fn matching(session: &Session, ctx: &Context) -> Option<usize> {
    let config = &ctx.snapshot.config;
    let request = session.req_header();
    let evidence = ctx.body_prefix.as_ref().and_then(BodyPrefix::evidence);
    let subject = RuleSubject::new(
        head(request),
        &config.geoserver.context,
        evidence.as_deref(),
        &ctx.classified,
    );
    let identity = ctx.client_identity(session);
    let view = ctx.client_view(session);
    let sender = Sender {
        address: identity.client(|address| config.trust.allows_origin(address)),
        has_header: &|condition| has_header(&request.headers, condition, &view),
    };
    RouteRule::first(&config.routes, &subject, &sender).map(|(index, _)| index)
}

/// A claim about the user counts only from a peer that may make one: GeoServer does not see it from
/// others.
fn has_header(headers: &HeaderMap, condition: &HeaderCondition, client: &ClientView<'_>) -> bool {
    let is_believed = !headers::is_removed(&condition.name, client);
    let mut values = headers.get_all(&condition.name).iter();
    is_believed && values.any(|value| condition.value.matches(value.as_bytes(), Case::Matters))
}
