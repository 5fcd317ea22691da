//! HTTP-01 (RFC 8555 section 8.3): a certificate authority requests a file to verify that a host
//! name is ours.

use crate::acme::challenges::{self, HTTP01_PATH};
use crate::config::Config;
use crate::http1::Head;

/// The token that a request is for; `None` for all other requests.
pub(super) fn token<'b>(head: &Head, bytes: &'b [u8]) -> Option<&'b [u8]> {
    // The bytes begin with the head.
    let at = head.whole.start;
    let target = bytes.get(head.target.start - at..head.target.end - at)?;
    let token = target.strip_prefix(HTTP01_PATH)?;
    let method = bytes.get(head.method.start - at..head.method.end - at)?;
    (method == b"GET").then_some(token)
}

/// The answer for a token; `None` if no order of ours waits for it, and the request is like any
/// other.
pub(super) async fn answer(config: &Config, token: &[u8]) -> Option<String> {
    let folder = config.acme.as_ref()?.folder.clone();
    let token = token.to_vec();
    let read = tokio::task::spawn_blocking(move || challenges::answer_to(&folder, &token));
    read.await.ok().flatten()
}
