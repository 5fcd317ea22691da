//! An answer is compressed if `[compression]` is configured, the client accepts the coding, and the
//! upstream has not compressed it.
//!
//! This comes after the evidence is taken and before the answer is kept for other requests: they
//! have the same `Accept-Encoding`, and share the compressed answer.

use bytes::Bytes;
use http::{Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};

use crate::config::Coding;
use crate::proxy::context::Context;
use crate::proxy::front_door::FrontDoor;
use crate::proxy::response::compression;
use crate::proxy::response::encoder::Encoder;

/// The coding of the answer to this request, if it can be compressed. Requests that share an answer
/// agree in it.
pub(in crate::proxy) fn coding(request: &RequestHeader, ctx: &Context) -> Option<Coding> {
    let offered = ctx.snapshot.config.compression.codings_for(ctx.class());
    compression::negotiate(request, offered).map(|accepted| accepted.coding)
}

/// Gives the upstream its own entity tags back.
pub(in crate::proxy) fn restore_tags(request: &mut RequestHeader, ctx: &Context) -> Result<()> {
    if ctx.snapshot.config.compression.is_on() {
        compression::restore_tags(request)?;
    }
    Ok(())
}

impl FrontDoor {
    /// Decides whether the answer is compressed, and makes its head fit.
    pub(in crate::proxy) fn compress_head(
        &self,
        session: &Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let config = &ctx.snapshot.config.compression;
        let offered = config.codings_for(ctx.class());
        if offered.is_empty() {
            return Ok(());
        }
        let request = session.req_header();
        if response.status == StatusCode::NOT_MODIFIED {
            compression::mark_not_modified(request, response)?;
        } else if compression::is_compressible(response, &request.method) {
            let accepted = compression::negotiate(request, offered);
            let is_required = accepted.is_some_and(|accepted| accepted.is_required);
            if is_required || !compression::is_short(response, config.min_size) {
                compression::vary(response)?;
                if let Some(accepted) = accepted {
                    self.encode(&request.method, response, accepted.coding, ctx)?;
                }
            }
        }
        if let Some(leading) = &mut ctx.leading {
            leading.replace_head(response);
        }
        Ok(())
    }

    /// Prepares the attempt for the body, which a HEAD request does not get.
    fn encode(
        &self,
        method: &Method,
        response: &mut ResponseHeader,
        coding: Coding,
        ctx: &mut Context,
    ) -> Result<()> {
        let Some(attempt) = &mut ctx.attempt else {
            return Ok(());
        };
        if method != Method::HEAD {
            let Some(encoder) = self.encoder(coding) else {
                return Ok(());
            };
            attempt.encoder = Some(Box::new(encoder));
        }
        compression::encode_head(response, coding, method)
    }

    /// `None` where there is no memory for one.
    fn encoder(&self, coding: Coding) -> Option<Encoder> {
        let answer = self.parts.metrics.compression.begin(coding)?;
        Encoder::new(coding, answer).ok()
    }

    /// Compresses a part of the body.
    pub(in crate::proxy) fn compress_body(
        &self,
        body: &mut Option<Bytes>,
        is_end: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        let attempt = ctx.attempt.as_mut();
        let Some(encoder) = attempt.and_then(|attempt| attempt.encoder.as_mut()) else {
            return Ok(());
        };
        let encoded = encoder
            .encode(body.as_deref().unwrap_or_default(), is_end)
            .map_err(|error| {
                Error::because(
                    ErrorType::InternalError,
                    "an answer was not compressed",
                    error,
                )
            })?;
        *body = Some(encoded).filter(|encoded| !encoded.is_empty());
        if is_end && let Some(attempt) = &mut ctx.attempt {
            attempt.encoder = None;
        }
        Ok(())
    }
}
