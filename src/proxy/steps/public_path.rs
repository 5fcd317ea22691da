//! GeoServer's context may have another path for clients: `geoserver.public_path`.
//!
//! The target of a request becomes the upstream's before anything decides about it, so that
//! classes, rules and the coalescing of requests know one path only.

use std::borrow::Cow;

use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;

use crate::proxy::context::Context;
use crate::proxy::front_door::FrontDoor;
use crate::proxy::response::public_path::{self, PublicHosts};
use crate::proxy::response::respond::Refusal;

const X_FORWARDED_PATH: &str = "X-Forwarded-Path";

impl FrontDoor {
    /// Gives the request the target that the upstream knows, or refuses it.
    pub(super) fn map_public_path(&self, session: &mut Session, ctx: &mut Context) -> Result<()> {
        let Some(path) = &ctx.snapshot.config.geoserver.public_path else {
            return Ok(());
        };
        let request = session.req_header_mut();
        // `OPTIONS *` is about the server.
        if request.raw_path() == b"*" {
            return Ok(());
        }
        let Some(target) = path.to_upstream(request.raw_path()) else {
            return Err(self.refuse(ctx, Refusal::PublicPath));
        };
        request.set_raw_path(&target)?;
        ctx.has_public_path = true;
        Ok(())
    }
}

/// The target as the client sent it, of a request whose target may be the upstream's.
pub(super) fn public_target<'a>(target: &'a [u8], ctx: &Context) -> Cow<'a, [u8]> {
    let path = &ctx.snapshot.config.geoserver.public_path;
    let path = path.as_ref().filter(|_| ctx.has_public_path);
    path.and_then(|path| path.restored(target))
        .map_or(Cow::Borrowed(target), Cow::Owned)
}

/// Appends the part in front of GeoServer's context to `X-Forwarded-Path`, from which GeoServer
/// makes its addresses.
pub(super) fn state_prefix(request: &mut RequestHeader, ctx: &Context) -> Result<()> {
    let Some(path) = &ctx.snapshot.config.geoserver.public_path else {
        return Ok(());
    };
    if path.prefix().is_empty() {
        return Ok(());
    }
    let before = request.headers.get(X_FORWARDED_PATH);
    let mut value = before.map_or_else(Vec::new, |before| before.as_bytes().to_vec());
    while value.ends_with(b"/") {
        value.pop();
    }
    value.extend_from_slice(path.prefix().as_bytes());
    request.insert_header(X_FORWARDED_PATH, value)
}

/// Makes the addresses in an answer's head public.
pub(super) fn mend(
    request: &RequestHeader,
    response: &mut ResponseHeader,
    ctx: &Context,
) -> Result<()> {
    let config = &ctx.snapshot.config;
    let Some(path) = &config.geoserver.public_path else {
        return Ok(());
    };
    let hosts = PublicHosts {
        request,
        trusts_origin: ctx.trust.origin,
        public_url: config.trust.public_url.as_ref(),
    };
    public_path::mend(response, path, hosts)
}
