//! A client has a session on the main, and a replica refuses data that the session may see. See
//! `upstream/session_views.rs`.

use std::time::Instant;

use pingora::proxy::Session;

use crate::catalog_writes::scope;
use crate::proxy::context::Context;
use crate::proxy::front_door::FrontDoor;
use crate::proxy::upstream::session_views::View;

impl FrontDoor {
    /// Whether the main gave the last such view of this session, after a replica refused it.
    pub(super) fn has_view_of_main(&self, session: &Session, ctx: &Context) -> bool {
        let views = &self.parts.session_views;
        !views.is_empty()
            && ctx.class().is_read()
            && view(session, ctx).is_some_and(|view| views.is_of_main(view, ctx.started))
    }

    /// Notes that the main served a request that a replica refused to this session.
    pub(super) fn note_view(&self, session: &Session, ctx: &Context) {
        if let Some(view) = view(session, ctx) {
            self.parts.session_views.note(view, Instant::now());
        }
    }
}

/// Whether the client has a session of the web interface, or one that was.
pub(super) fn has_session(session: &Session, ctx: &Context) -> bool {
    ctx.client_identity(session).session().is_some()
}

fn view(session: &Session, ctx: &Context) -> Option<View> {
    let identity = ctx.client_identity(session).session()?;
    let about = scope::about(&ctx.classified, session.req_header().raw_path());
    Some(View::new(identity, about))
}
