//! The limits that concern a request, found once when it arrives, from the configuration in force.

use std::net::IpAddr;

use crate::config::{CountedBy, Limit, Limits, Rate, Rule};
use crate::ogc::{Classified, RequestHead};

/// The id of `per_user` among the ids of rules. No rule has an empty key.
const PER_USER: u64 = 0;

/// The client of a request.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Hash of the user's name or of the address.
    pub user: u64,
    /// The user was named by a trusted proxy, and not taken from the connection.
    pub is_vouched_for: bool,
    pub address: IpAddr,
    /// Hash of the address.
    pub address_key: u64,
}

/// One counter that a request has to pass, and its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConcurrencyKey {
    pub(super) counter: Counter,
    pub(super) most: u32,
    /// It counts one user's requests, so other users may pass while it is full.
    pub(super) is_personal: bool,
}

/// A rule's id, and a hash of the user or address that it counts; 0 for all requests.
pub(super) type Counter = (u64, u64);

/// All counters that a request passes at once, and leaves at once when it is done. Most requests
/// have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConcurrencyKeys {
    pub(super) keys: Vec<ConcurrencyKey>,
}

/// A rate under which a request is counted.
#[derive(Clone, Copy, Debug)]
pub struct Metered<'c> {
    pub rule: &'c Rule,
    pub rate: Rate,
    /// Hash of the user or address whose requests are counted; 0 for all requests.
    pub key: u64,
}

impl ConcurrencyKeys {
    /// Returns the concurrency limits that concern this request.
    pub fn of(
        limits: &Limits,
        classified: &Classified,
        head: &RequestHead<'_>,
        client: &Client,
    ) -> Self {
        let rules = limits.control_flow.rules.iter();
        let by_rule = rules.filter_map(|rule| {
            let Limit::Concurrent(most) = rule.limit else {
                return None;
            };
            let key = counter_key(rule, client).filter(|_| rule.what.include(classified, head))?;
            Some(ConcurrencyKey {
                counter: (rule.id, key),
                most,
                is_personal: is_personal(rule.whose),
            })
        });
        let per_user = limits.per_user.most(client.is_vouched_for);
        let by_user = per_user.map(|most| ConcurrencyKey {
            counter: (PER_USER, client.user),
            most,
            is_personal: true,
        });
        Self {
            keys: by_rule.chain(by_user).collect(),
        }
    }

    /// True if no limit concerns the request.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns a hash that is the same for all requests that wait for the same counters to fall as
    /// low, apart from personal counters: see [`super::SlotRequest::rules`]. After a config reload
    /// that raises a limit, requests from before it do not hold up those under the new limit.
    pub fn fingerprint(&self) -> u64 {
        let common = self.keys.iter().filter(|key| !key.is_personal);
        let mix =
            |mixed: u64, part: u64| mixed.rotate_left(7).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ part;
        // Ids are hashes already; the order of the rules is part of it, as it is the same for all.
        common.fold(0, |mixed, key| {
            mix(mix(mixed, key.counter.0), key.most.into())
        })
    }
}

impl<'c> Metered<'c> {
    /// Returns the rates under which this request is counted, in the order of the rules.
    pub fn of(
        limits: &'c Limits,
        classified: &'c Classified,
        head: &'c RequestHead<'_>,
        client: &'c Client,
    ) -> impl Iterator<Item = Self> {
        limits.control_flow.rules.iter().filter_map(|rule| {
            let Limit::Rate(rate) = rule.limit else {
                return None;
            };
            let key = counter_key(rule, client).filter(|_| rule.what.include(classified, head))?;
            Some(Self { rule, rate, key })
        })
    }
}

/// Returns which of the rule's counters counts this client; `None` if the rule does not concern it.
fn counter_key(rule: &Rule, client: &Client) -> Option<u64> {
    match rule.whose {
        CountedBy::Everybody => Some(0),
        CountedBy::User => Some(client.user),
        CountedBy::Address => Some(client.address_key),
        CountedBy::OneAddress(address) => (client.address.to_canonical() == address).then_some(0),
    }
}

/// A rule for one address is not personal. Its requests hold up no others of their class, because
/// they are in another lane.
fn is_personal(whose: CountedBy) -> bool {
    match whose {
        CountedBy::Everybody | CountedBy::OneAddress(_) => false,
        CountedBy::User | CountedBy::Address => true,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, MapEnvironment};
    use crate::ogc;

    /// Returns `[limits]` with these lines.
    pub(in crate::admission) fn limits(lines: &str) -> Limits {
        let text = format!(
            "[upstreams.main]\nurl = 'http://10.0.0.1'\nrole = 'main'\n[upstreams.a]\nurl = 'http://10.0.0.2'\n[limits]\n{lines}"
        );
        let environment = MapEnvironment::new().file("f", text.as_str());
        Config::load(Path::new("f"), &environment)
            .unwrap_or_else(|wrong| panic!("{wrong}"))
            .config
            .limits
    }

    pub(in crate::admission) fn client(user: u64, address: &str) -> Client {
        let address: IpAddr = address.parse().unwrap();
        let address_key = match address {
            IpAddr::V4(address) => u64::from(u32::from(address)),
            IpAddr::V6(address) => u128::from(address) as u64,
        };
        Client {
            user,
            is_vouched_for: true,
            address,
            address_key,
        }
    }

    pub(in crate::admission) fn keys(
        limits: &Limits,
        target: &str,
        client: &Client,
    ) -> ConcurrencyKeys {
        let head = RequestHead {
            method: "GET",
            target: target.as_bytes(),
            content_type: None,
        };
        ConcurrencyKeys::of(
            limits,
            &ogc::classify(&head, "/geoserver", Some(b"")),
            &head,
            client,
        )
    }

    pub(in crate::admission) const MAP: &str = "/geoserver/wms?service=WMS&request=GetMap";
    const INFO: &str = "/geoserver/wms?service=WMS&request=GetFeatureInfo";

    #[test]
    fn a_request_is_held_by_the_rules_that_concern_it() {
        let limits = limits(
            "control_flow = ['ows.wms.getmap=2', 'user=3', 'ip=4', 'ip.10.0.0.9=5', 'user.ows=1/s']\nper_user = 6",
        );
        let most = |target, client: &Client| {
            keys(&limits, target, client)
                .keys
                .iter()
                .map(|h| h.most)
                .collect::<Vec<_>>()
        };
        assert_eq!(most(MAP, &client(1, "10.0.0.1")), [2, 3, 4, 6]);
        assert_eq!(most(INFO, &client(1, "::ffff:10.0.0.9")), [3, 4, 5, 6]);
        assert_eq!(
            most("/geoserver/rest/layers", &client(1, "10.0.0.9")),
            [6],
            "administration is held by its user alone"
        );
    }

    #[test]
    fn by_default_only_users_that_a_trusted_proxy_names_are_limited() {
        let limits = limits("");
        let stranger = Client {
            is_vouched_for: false,
            ..client(1, "10.0.0.1")
        };
        assert!(keys(&limits, MAP, &stranger).is_empty());
        assert_eq!(keys(&limits, MAP, &client(1, "10.0.0.1")).keys.len(), 1);
    }

    #[test]
    fn requests_that_wait_for_the_same_rules_have_the_same_fingerprint_for_every_user() {
        let limits = limits("control_flow = ['ows.wms.getmap=2', 'ows.wms=9', 'user=3']");
        let fingerprint =
            |target, user| keys(&limits, target, &client(user, "10.0.0.1")).fingerprint();
        assert_eq!(fingerprint(MAP, 1), fingerprint(MAP, 2));
        assert_ne!(fingerprint(MAP, 1), fingerprint(INFO, 1));
        assert_eq!(fingerprint("/geoserver/web/", 1), 0);
    }

    #[test]
    fn requests_that_wait_for_a_rule_under_another_limit_have_another_fingerprint() {
        let fingerprint = |lines| keys(&limits(lines), MAP, &client(1, "10.0.0.1")).fingerprint();
        assert_ne!(
            fingerprint("control_flow = 'ows.wms.getmap=2'"),
            fingerprint("control_flow = 'ows.wms.getmap=3'")
        );
    }
}
