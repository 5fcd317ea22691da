//! A request that names its upstream (`X-Geofront-Upstream`), as the front door treats it.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::Question;
use crate::config::{Config, PeerTrust, Role, UpstreamConfig, UpstreamName};
use crate::named_upstream::{self, Denial};
use crate::ogc::{Classified, RequestHead};

/// The treatment of the request.
pub(super) enum NodeRequest {
    Reaches(UpstreamName),
    Refused(String),
}

/// True if the right to name an upstream depends on the peer.
pub(super) fn depends_on_address(question: &Question) -> bool {
    let has = |wanted: &str| question.headers.iter().any(|(name, _)| name == wanted);
    has(named_upstream::HEADER) && !has(named_upstream::TOKEN)
}

/// The upstream that the request reaches, or the reason why it is refused; `None` if it names none.
/// A request without an address counts as one from an untrusted peer.
pub(super) fn of(
    question: &Question,
    head: &RequestHead<'_>,
    classified: &Classified,
    config: &Config,
) -> Option<NodeRequest> {
    let headers = header_map(question);
    let name = named_upstream::named(&headers)?;
    let trust = match question.address {
        Some(address) => config.trust.in_peer(address),
        None => PeerTrust::default(),
    };
    if let Err(denial) = named_upstream::permit(&headers, trust, config.admin_token.as_ref()) {
        let why = match denial {
            Denial::Untrusted => {
                "only a peer in `trusted_identity`, or the admin token, may name an upstream"
            }
            Denial::NoAdministrator => "the user is no administrator",
            Denial::WrongToken => "the token is wrong, or none is configured",
        };
        return Some(NodeRequest::Refused(format!("with status 403: {why}")));
    }
    let is_it = |upstream: &&UpstreamConfig| upstream.name.as_str() == name;
    let Some(upstream) = config.upstreams.iter().find(is_it) else {
        let names: Vec<_> = (config.upstreams.iter())
            .map(|upstream| upstream.name.as_str())
            .collect();
        let names = names.join(", ");
        return Some(NodeRequest::Refused(format!(
            "with status 404: no upstream is called {name}; the upstreams are: {names}"
        )));
    };
    let context = &config.geoserver.context;
    let is_harmless = named_upstream::changes_nothing_shared(head, classified, context);
    Some(if upstream.role == Role::Main || is_harmless {
        NodeRequest::Reaches(upstream.name.clone())
    } else {
        NodeRequest::Refused("with status 403: only the main may be changed".to_owned())
    })
}

/// The headers as typed; those that no request can have are left out.
fn header_map(question: &Question) -> HeaderMap {
    let header = |(name, value): &(String, String)| {
        let name = HeaderName::try_from(name.as_str()).ok()?;
        Some((name, HeaderValue::try_from(value.as_str()).ok()?))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in question.headers.iter().filter_map(header) {
        headers.append(name, value);
    }
    headers
}
