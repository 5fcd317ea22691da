//! Authorization of REST: Basic credentials, or the headers that GeoServer trusts from any client
//! that reaches it.

use super::answer::Answer;
use super::request::Request;

/// The administrator of the GeoServer double.
pub const USER: &str = "admin";
/// The password of [`USER`].
pub const PASSWORD: &str = "geoserver";
/// `admin:geoserver` as Basic credentials.
pub const BASIC: &str = "Basic YWRtaW46Z2Vvc2VydmVy";

/// The rights of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    Anonymous,
    User,
    Administrator,
}

/// Lets reads pass for any user and writes for administrators; otherwise the answer that refuses.
pub(super) fn permit(request: &Request) -> Result<(), Answer> {
    let needed = if matches!(request.method(), "GET" | "HEAD") {
        Rank::User
    } else {
        Rank::Administrator
    };
    match rank_of(request)? {
        Rank::Administrator => Ok(()),
        Rank::User if needed == Rank::User => Ok(()),
        Rank::User => Err(Answer::container_page(403, "Forbidden")),
        Rank::Anonymous => Err(unauthorized()),
    }
}

/// The header filter comes first in the chain, Basic second; wrong credentials are refused, not
/// ignored.
fn rank_of(request: &Request) -> Result<Rank, Answer> {
    if request
        .header("sec-username")
        .is_some_and(|user| !user.is_empty())
    {
        let roles = request.header("sec-roles").unwrap_or_default();
        let is_administrator = roles
            .split(';')
            .any(|role| role.trim() == "ROLE_ADMINISTRATOR");
        return Ok(if is_administrator {
            Rank::Administrator
        } else {
            Rank::User
        });
    }
    match request.header("authorization") {
        None => Ok(Rank::Anonymous),
        Some(BASIC) => Ok(Rank::Administrator),
        Some(_) => Err(unauthorized()),
    }
}

fn unauthorized() -> Answer {
    Answer::container_page(401, "Unauthorized")
        .with("WWW-Authenticate", "Basic realm=\"GeoServer Realm\"")
}
