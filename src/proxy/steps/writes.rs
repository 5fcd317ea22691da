//! Administration that passes by: hints that the catalog changed, and reads of the authors of
//! changes.

use std::mem;
use std::time::Instant;

use http::header::CONTENT_ENCODING;
use pingora::proxy::Session;

use crate::catalog_writes::hints;
use crate::catalog_writes::tiles::{self, SentBody};
use crate::cluster::Sighting;
use crate::config::TileCaches;
use crate::ogc::RequestClass;
use crate::proxy::client::body_prefix::BodyPrefix;
use crate::proxy::client::head::head;
use crate::proxy::client::identity::{ClientIdentity, IdentityHash};
use crate::proxy::context::{Attempt, Context};
use crate::proxy::front_door::FrontDoor;
use crate::proxy::read_your_writes::CatalogWrite;

/// Characters of a user's name that the history keeps.
const MAX_USER_NAME: usize = 64;

impl FrontDoor {
    /// Takes the hint that successful administration gives about the catalog, when the head of the
    /// final answer has come. It is noted before the client sees the answer, so that the client's
    /// next request comes after it.
    pub(super) fn take_hint(&self, session: &Session, status: u16, ctx: &Context) {
        if ctx.class().is_read()
            || ctx
                .attempt
                .as_ref()
                .is_none_or(|attempt| !attempt.upstream.is_main())
        {
            return;
        }
        let config = &ctx.snapshot.config;
        let request = head(session.req_header());
        let Some(hint) = hints::of(&request, &ctx.classified, status, config) else {
            return;
        };
        let (now, began) = (
            Instant::now(),
            ctx.attempt
                .as_ref()
                .map_or(ctx.started, |attempt| attempt.started),
        );
        let workspace = hints::workspace(&request, ctx.class(), config);
        let ticket = self.parts.control.sight(
            &Sighting {
                hint,
                began,
                by: user_name(session, ctx),
                workspace,
            },
            now,
        );
        if marks_its_author(session, ctx.class()) {
            let noted = CatalogWrite {
                hint,
                ticket,
                now,
                limit: config.catalog.read_your_writes,
            };
            self.parts.writers.note(
                author_keys(session, ctx),
                noted,
                self.parts.control.snapshot().tickets,
            );
        }
    }

    /// Finds the tiles that a request has made old, when the head of its final answer has come. A
    /// request that names its upstream concerns the cache of that one alone.
    pub(super) fn find_old_tiles(&self, session: &Session, status: u16, ctx: &mut Context) {
        let config = &ctx.snapshot.config;
        let is_shared = config.catalog.tile_caches == TileCaches::Shared;
        if is_shared || ctx.class().is_read() || !(200..300).contains(&status) {
            return;
        }
        let Some(attempt) = ctx.attempt.as_mut().filter(|_| ctx.named.is_none()) else {
            return;
        };
        let request = session.req_header();
        let body = ctx.body_prefix.as_ref().and_then(BodyPrefix::whole);
        let is_plain = !request.headers.contains_key(CONTENT_ENCODING);
        let body = match body.filter(|_| is_plain) {
            Some(body) => SentBody::Whole(body),
            None => SentBody::Partly,
        };
        attempt.old_tiles = tiles::made_old(&head(request), &ctx.classified, body, config);
    }

    /// Notes the tiles that the request has made old, unless the answer is an exception report:
    /// once that is known, or when the answer has broken off. The upstream that answered has
    /// dropped them from its own cache, and all other caches owe the same.
    pub(super) fn note_old_tiles(&self, attempt: &mut Attempt) {
        let (old_tiles, now) = (mem::take(&mut attempt.old_tiles), Instant::now());
        if attempt.is_exception {
            return;
        }
        for truncation in old_tiles {
            self.parts
                .control
                .note_truncation(attempt.upstream.id, &truncation, now);
        }
    }

    /// True if the author of this read has just changed the catalog.
    pub(super) fn has_just_written(&self, session: &Session, ctx: &Context) -> bool {
        if self.parts.writers.is_empty() || !ctx.class().is_read() {
            return false;
        }
        let tickets = self.parts.control.snapshot().tickets;
        self.parts
            .writers
            .is_pending(reader_keys(session, ctx), tickets, ctx.started)
    }
}

/// The user that a trusted proxy names, or that logged in with a password, for the history of
/// rolls.
fn user_name(session: &Session, ctx: &Context) -> Option<String> {
    let name = ctx.client_identity(session).user_name()?;
    Some(
        name.chars()
            .filter(|c| !c.is_control())
            .take(MAX_USER_NAME)
            .collect(),
    )
}

/// Whether a write marks its author. A page of the web interface that is only looked at changes
/// nothing, and the effect of a request that could not be read is unknown.
fn marks_its_author(session: &Session, class: RequestClass) -> bool {
    match class {
        RequestClass::Ui => session.req_header().method != http::Method::GET,
        RequestClass::Unknown => false,
        _ => true,
    }
}

/// The identities of the person who wrote something. An address is one only where credentials and a
/// trusted proxy stand for it.
fn author_keys(session: &Session, ctx: &Context) -> impl Iterator<Item = IdentityHash> {
    let identity = ctx.client_identity(session);
    let is_rest = ctx.class() == RequestClass::Admin && identity.credentials().is_some();
    person_keys(&identity, ctx, is_rest)
}

/// Every identity under which the reader may have written something.
fn reader_keys(session: &Session, ctx: &Context) -> impl Iterator<Item = IdentityHash> {
    person_keys(&ctx.client_identity(session), ctx, true)
}

/// The user's name alone, where there is one.
fn person_keys(
    identity: &ClientIdentity<'_>,
    ctx: &Context,
    with_address: bool,
) -> impl Iterator<Item = IdentityHash> + use<> {
    let user = identity.user();
    let trusts = |address| ctx.snapshot.config.trust.allows_origin(address);
    let address = if with_address {
        identity.vouched_address(trusts)
    } else {
        None
    };
    let others = [identity.credentials(), identity.session(), address];
    let others = if user.is_some() { [None; 3] } else { others };
    user.into_iter().chain(others.into_iter().flatten())
}
