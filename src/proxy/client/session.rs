//! Facts about the client of a Pingora session: its address, whether an answer has begun, and
//! whether the client is still there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::StatusCode;
use pingora::BError;
use pingora::proxy::Session;

/// Returns the address a request came from; unspecified (and so never trusted) where there is none.
pub(in crate::proxy) fn peer(session: &Session) -> IpAddr {
    let address = session.client_addr().and_then(|address| address.as_inet());
    address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), SocketAddr::ip)
}

/// Whether the client has a part of its answer. Interim answers (1xx) do not count, except for the
/// one that ends HTTP.
pub(in crate::proxy) fn has_answered(session: &Session) -> bool {
    let is_final = |status: StatusCode| {
        !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS
    };
    session
        .response_written()
        .is_some_and(|response| is_final(response.status))
}

/// Resolves when the client closes its connection, or sends bytes that it must not send now.
pub(in crate::proxy) async fn until_gone(session: &mut Session) -> BError {
    match session.downstream_session.read_body_or_idle(true).await {
        Err(error) => error.into_down(),
        Ok(_) => std::future::pending().await,
    }
}
