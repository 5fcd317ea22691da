//! The client's identity, as far as geofront needs it: a user by name, a browser's session, an
//! address.
//!
//! Names and forwarded addresses count only from peers that may vouch for them. Nothing here grants
//! anything.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::forwarded;
use crate::config::PeerTrust;
use crate::proxy::session_cookie;

/// Identities are compared by a hash that no client can predict.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

const USER: &str = "sec-username";

/// A hash of one kind of name of a client: user, session, credentials or address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::proxy) struct IdentityHash(u64);

impl IdentityHash {
    /// The hash as a number, for tables on floors that know no names.
    pub(in crate::proxy) const fn number(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
impl IdentityHash {
    pub(in crate::proxy) fn of_test(a: u8, b: u8) -> Self {
        Self(u64::from(a) << 8 | u64::from(b))
    }
}

/// The facts about its client that a request shows.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct ClientIdentity<'r> {
    pub(in crate::proxy) headers: &'r HeaderMap,
    pub(in crate::proxy) peer: IpAddr,
    /// The facts that the peer may state.
    pub(in crate::proxy) trust: PeerTrust,
}

impl ClientIdentity<'_> {
    /// The user's name, where the peer vouches for one.
    pub(in crate::proxy) fn user(&self) -> Option<IdentityHash> {
        let name = self
            .headers
            .get(USER)
            .filter(|name| self.trust.identity && !name.is_empty())?;
        Some(IdentityHash(HASHER.hash_one((0_u8, name.as_bytes()))))
    }

    /// The session of GeoServer's web interface.
    pub(in crate::proxy) fn session(&self) -> Option<IdentityHash> {
        let session = session_cookie::id_in(self.headers)?;
        Some(IdentityHash(HASHER.hash_one((1_u8, session))))
    }

    /// The name itself: the one a trusted peer gives, or else the one in the credentials.
    /// Credentials may be wrong, so use it only for requests that GeoServer accepted.
    pub(in crate::proxy) fn user_name(&self) -> Option<String> {
        if self.user().is_some() {
            return Some(self.headers.get(USER)?.to_str().ok()?.to_owned());
        }
        let basic = self
            .headers
            .get(AUTHORIZATION)?
            .to_str()
            .ok()?
            .strip_prefix("Basic ")?;
        let decoded = BASE64_STANDARD.decode(basic.trim()).ok()?;
        let name = decoded
            .split(|b| *b == b':')
            .next()
            .filter(|name| !name.is_empty())?;
        Some(String::from_utf8_lossy(name).into_owned())
    }

    /// The credentials that GeoServer itself checks.
    pub(in crate::proxy) fn credentials(&self) -> Option<IdentityHash> {
        let credentials = self
            .headers
            .get(AUTHORIZATION)
            .filter(|value| !value.is_empty())?;
        Some(IdentityHash(
            HASHER.hash_one((3_u8, credentials.as_bytes())),
        ))
    }

    /// The address, where a trusted proxy gives one that is not its own.
    pub(in crate::proxy) fn vouched_address(
        &self,
        trusts: impl Fn(IpAddr) -> bool,
    ) -> Option<IdentityHash> {
        let client = self.client(&trusts);
        (self.trust.origin && !trusts(client)).then(|| self.address(trusts))
    }

    /// The address: the last one that a trusted peer has vouched for.
    pub(in crate::proxy) fn address(&self, trusts: impl Fn(IpAddr) -> bool) -> IdentityHash {
        IdentityHash(HASHER.hash_one((2_u8, self.client(trusts))))
    }

    /// The address the request came from, as far back as trusted peers lead.
    pub(in crate::proxy) fn client(&self, trusts: impl Fn(IpAddr) -> bool) -> IpAddr {
        let peer = self.peer.to_canonical();
        if !self.trust.origin {
            return peer;
        }
        forwarded::client(self.headers, trusts).unwrap_or(peer)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn identity_of(headers: &HeaderMap, is_trusted: bool) -> ClientIdentity<'_> {
        ClientIdentity {
            headers,
            peer: "10.0.0.5".parse().unwrap(),
            trust: PeerTrust {
                origin: is_trusted,
                identity: is_trusted,
            },
        }
    }

    fn trusts(address: IpAddr) -> bool {
        address.to_string().starts_with("10.")
    }

    #[test]
    fn a_name_counts_only_from_a_peer_that_may_vouch_for_it() {
        let ann = headers(&[("sec-username", "ann")]);
        assert_eq!(
            identity_of(&ann, true).user(),
            identity_of(&ann, true).user()
        );
        assert_ne!(
            identity_of(&ann, true).user(),
            identity_of(&headers(&[("sec-username", "bob")]), true).user()
        );
        assert_eq!(identity_of(&ann, false).user(), None);
        assert_eq!(
            identity_of(&headers(&[("sec-username", "")]), true).user(),
            None
        );
    }

    #[test]
    fn a_session_identifies_and_none_does_not() {
        let of = |cookie| identity_of(&headers(&[("cookie", cookie)]), false).session();
        assert_eq!(of("a=1; JSESSIONID=42"), of("JSESSIONID=42; b=2"));
        assert_ne!(of("JSESSIONID=42"), of("JSESSIONID=43"));
        assert_eq!(of("a=1"), None);
    }

    #[test]
    fn credentials_identify_and_none_do_not() {
        let of = |value| identity_of(&headers(&[("authorization", value)]), false).credentials();
        assert_eq!(of("Basic YTpi"), of("Basic YTpi"));
        assert_ne!(of("Basic YTpi"), of("Basic YTpj"));
        assert_eq!(
            (of(""), identity_of(&HeaderMap::new(), true).credentials()),
            (None, None)
        );
    }

    #[test]
    fn a_user_is_named_by_a_trusted_peer_or_by_its_own_credentials() {
        let named = |lines: &[(&'static str, &'static str)], is_trusted| {
            identity_of(&headers(lines), is_trusted).user_name()
        };
        assert_eq!(
            named(&[("sec-username", "ann")], true).as_deref(),
            Some("ann")
        );
        assert_eq!(
            named(
                &[
                    ("sec-username", "ann"),
                    ("authorization", "Basic Ym9iOnNlY3JldA==")
                ],
                false
            )
            .as_deref(),
            Some("bob")
        );
        assert_eq!(
            (
                named(&[("authorization", "Basic ???")], true),
                named(&[], true)
            ),
            (None, None)
        );
    }

    #[test]
    fn an_address_identifies_only_where_a_trusted_proxy_gives_one_that_is_not_a_proxys_own() {
        let of = |chain, is_trusted| {
            identity_of(&headers(&[("x-forwarded-for", chain)]), is_trusted).vouched_address(trusts)
        };
        assert!(of("192.0.2.7", true).is_some());
        assert_eq!(
            (
                of("192.0.2.7", false),
                of("10.0.0.9", true),
                of("garbage", true)
            ),
            (None, None, None)
        );
        assert_eq!(
            identity_of(&HeaderMap::new(), true).vouched_address(trusts),
            None,
            "behind one gateway all have its address"
        );
    }

    #[test]
    fn an_address_is_followed_back_through_those_we_trust_and_no_further() {
        let client = |chain, is_trusted| {
            identity_of(&headers(&[("x-forwarded-for", chain)]), is_trusted)
                .client(trusts)
                .to_string()
        };
        assert_eq!(client("192.0.2.7", true), "192.0.2.7");
        assert_eq!(
            client("203.0.113.1, 192.0.2.7, 10.0.0.9", true),
            "192.0.2.7"
        );
        assert_eq!(client("garbage, 10.0.0.9", true), "10.0.0.9");
        assert_eq!(client("192.0.2.7", false), "10.0.0.5");
    }

    #[test]
    fn a_peer_that_may_state_the_origin_alone_names_no_user() {
        let lines = headers(&[("sec-username", "ann"), ("x-forwarded-for", "192.0.2.7")]);
        let of = |origin, identity| ClientIdentity {
            trust: PeerTrust { origin, identity },
            ..identity_of(&lines, false)
        };
        assert_eq!(of(true, false).user(), None);
        assert!(of(true, false).vouched_address(trusts).is_some());
        assert!(of(false, true).user().is_some());
        assert_eq!(of(false, true).vouched_address(trusts), None);
    }
}
