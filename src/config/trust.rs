//! Trust in peers: which of them may state a request's origin, which of them its user, and the
//! public address that GeoServer receives.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// The settings of trust and of the public address.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trust {
    /// Peers that may state where a request came from: `X-Forwarded-*`, `Forwarded`.
    pub proxies: Vec<IpNet>,
    /// Peers that may state the user: `sec-*`, `imp-*`, and `identity_headers`. `None`: the same as
    /// `proxies`.
    pub identity: Option<Vec<IpNet>>,
    /// More header fields that state the user.
    pub identity_headers: Vec<HeaderField>,
    /// The address that GeoServer receives, instead of the one that the request shows.
    pub public_url: Option<PublicUrl>,
}

/// The facts about a request that one peer may state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerTrust {
    /// The client's address, and the scheme and host of its request.
    pub origin: bool,
    /// The user, and the priority of the user's requests.
    pub identity: bool,
}

impl PeerTrust {
    /// Trust in a peer that is in both lists.
    pub const FULL: Self = Self {
        origin: true,
        identity: true,
    };

    /// True if the peer may state anything about the client.
    pub const fn is_some(self) -> bool {
        self.origin || self.identity
    }
}

impl Trust {
    /// Returns the facts that `peer` may state.
    pub fn in_peer(&self, peer: IpAddr) -> PeerTrust {
        PeerTrust {
            origin: self.allows_origin(peer),
            identity: self.allows_identity(peer),
        }
    }

    /// True if `peer` may state where a request came from.
    pub fn allows_origin(&self, peer: IpAddr) -> bool {
        contains(&self.proxies, peer)
    }

    fn allows_identity(&self, peer: IpAddr) -> bool {
        contains(self.identity.as_ref().unwrap_or(&self.proxies), peer)
    }
}

fn contains(networks: &[IpNet], peer: IpAddr) -> bool {
    let peer = peer.to_canonical();
    networks.iter().any(|network| network.contains(&peer))
}

/// The name of a header field, in lower case and with `-` for `_`: containers often do not
/// distinguish the two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderField(Box<str>);

impl HeaderField {
    /// Fields that every request needs, or that belong to one connection. They identify no user.
    const NOT_IDENTITIES: [&str; 14] = [
        "host",
        "connection",
        "content-length",
        "content-type",
        "content-encoding",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "keep-alive",
        "proxy-connection",
        "via",
        "date",
    ];

    /// Returns the name, or `None` if no request could carry it or none could do without it.
    pub fn new(name: &str) -> Option<Self> {
        let is_name = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        let name = name.to_ascii_lowercase().replace('_', "-");
        let is_usable = is_name && !Self::NOT_IDENTITIES.contains(&name.as_str());
        is_usable.then(|| Self(name.into_boxed_str()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HeaderField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The address under which the public reaches GeoServer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Host, and the port unless it is the scheme's.
    pub authority: String,
    pub port: u16,
    /// The path in front of GeoServer's context, without a slash at its end; often empty.
    pub path: String,
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust(proxies: &[&str], identity: Option<&[&str]>) -> Trust {
        let networks = |list: &[&str]| list.iter().map(|net| net.parse().unwrap()).collect();
        Trust {
            proxies: networks(proxies),
            identity: identity.map(networks),
            ..Trust::default()
        }
    }

    #[test]
    fn without_a_list_of_its_own_identity_follows_the_proxies() {
        let trust = trust(&["10.0.0.5/32"], None);
        assert_eq!(trust.in_peer([10, 0, 0, 5].into()), PeerTrust::FULL);
        assert_eq!(trust.in_peer([10, 0, 0, 6].into()), PeerTrust::default());
    }

    #[test]
    fn each_list_counts_for_itself() {
        let trust = trust(&["10.0.0.5/32"], Some(&["10.0.0.6/32"]));
        let (origin, identity) = (
            trust.in_peer([10, 0, 0, 5].into()),
            trust.in_peer("::ffff:10.0.0.6".parse().unwrap()),
        );
        assert!(origin.origin && !origin.identity, "{origin:?}");
        assert!(!identity.origin && identity.identity, "{identity:?}");
    }

    #[test]
    fn an_empty_list_trusts_no_peer_with_identity() {
        let trust = trust(&["10.0.0.5/32"], Some(&[]));
        assert!(!trust.in_peer([10, 0, 0, 5].into()).identity);
    }

    #[test]
    fn names_are_compared_without_case_and_underscores_and_must_be_names() {
        let name = |text| HeaderField::new(text).map(|field| field.to_string());
        assert_eq!(name("X_Remote-User").as_deref(), Some("x-remote-user"));
        for wrong in ["", "X Remote", "X:", "Host", "Content_Length", "jos\u{e9}"] {
            assert_eq!(name(wrong), None, "{wrong}");
        }
    }
}
