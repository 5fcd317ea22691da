//! Which limits concern a request: told once, when it arrives, from the configuration in force.

use std::net::IpAddr;

use crate::config::{Limit, Limits, Rate, Rule, Whose};
use crate::ogc::{Classified, RequestHead};

/// Stands for `per_user` among the rules' ids. No key of a rule is empty.
const PER_USER: u64 = 0;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// A name or an address, as a hash.
    pub user: u64,
    /// A trusted proxy told us who it is, instead of the connection.
    pub is_vouched_for: bool,
    pub address: IpAddr,
    /// The address as a hash.
    pub address_key: u64,
}

/// One counter that a request has to pass: at most so many at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    pub(super) counter: Counter,
    pub(super) most: u32,
    /// It counts one user's requests, so being held by it says nothing about others.
    pub(super) is_personal: bool,
}

/// A rule's id, and whose requests are counted; 0 for everybody's.
pub(super) type Counter = (u64, u64);

/// All counters a request has to pass at once, to leave them all when it is done. Most requests
/// have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    pub(super) holds: Vec<Hold>,
}

/// A rate that a request counts for.
#[derive(Clone, Copy, Debug)]
pub struct Metered<'c> {
    pub rule: &'c Rule,
    pub rate: Rate,
    /// Whose requests are counted.
    pub who: u64,
}

impl Claim {
    /// What `limits` ask of this request.
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
            let who = who(rule, client).filter(|_| rule.what.include(classified, head))?;
            Some(Hold {
                counter: (rule.id, who),
                most,
                is_personal: is_personal(rule.whose),
            })
        });
        let per_user = limits.per_user.most(client.is_vouched_for);
        let by_user = per_user.map(|most| Hold {
            counter: (PER_USER, client.user),
            most,
            is_personal: true,
        });
        Self {
            holds: by_rule.chain(by_user).collect(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.holds.is_empty()
    }

    /// The same for all requests that wait for the same counters to fall as low, personal ones
    /// apart: see [`super::Ask::rules`]. After a config reload that raises a limit, those from
    /// before it hold up nobody who may have more.
    pub fn fingerprint(&self) -> u64 {
        let common = self.holds.iter().filter(|hold| !hold.is_personal);
        let mix =
            |mixed: u64, part: u64| mixed.rotate_left(7).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ part;
        // Ids are hashes already; the order of the rules is part of it, as it is the same for all.
        common.fold(0, |mixed, hold| {
            mix(mix(mixed, hold.counter.0), hold.most.into())
        })
    }
}

impl<'c> Metered<'c> {
    /// The rates this request counts for, in the order of the rules.
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
            let who = who(rule, client).filter(|_| rule.what.include(classified, head))?;
            Some(Self { rule, rate, who })
        })
    }
}

/// Whose counter the rule has for this client; `None` if it is not about this client.
fn who(rule: &Rule, client: &Client) -> Option<u64> {
    match rule.whose {
        Whose::Everybody => Some(0),
        Whose::User => Some(client.user),
        Whose::Address => Some(client.address_key),
        Whose::OneAddress(address) => (client.address.to_canonical() == address).then_some(0),
    }
}

/// One address is a user, too: what it waits for holds up nobody else of its class, who are in
/// another lane.
fn is_personal(whose: Whose) -> bool {
    match whose {
        Whose::Everybody | Whose::OneAddress(_) => false,
        Whose::User | Whose::Address => true,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, MapEnvironment};
    use crate::ogc;

    /// `[limits]` with these lines.
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

    pub(in crate::admission) fn claim(limits: &Limits, target: &str, client: &Client) -> Claim {
        let head = RequestHead {
            method: "GET",
            target: target.as_bytes(),
            content_type: None,
        };
        Claim::of(
            limits,
            &ogc::classify(&head, "/geoserver", Some(b"")),
            &head,
            client,
        )
    }

    pub(in crate::admission) const MAP: &str = "/geoserver/wms?service=WMS&request=GetMap";
    const INFO: &str = "/geoserver/wms?service=WMS&request=GetFeatureInfo";

    #[test]
    fn a_request_is_held_by_the_rules_about_it() {
        let limits = limits(
            "control_flow = ['ows.wms.getmap=2', 'user=3', 'ip=4', 'ip.10.0.0.9=5', 'user.ows=1/s']\nper_user = 6",
        );
        let most = |target, client: &Client| {
            claim(&limits, target, client)
                .holds
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
    fn by_default_only_whom_somebody_vouches_for_is_limited() {
        let limits = limits("");
        let stranger = Client {
            is_vouched_for: false,
            ..client(1, "10.0.0.1")
        };
        assert!(claim(&limits, MAP, &stranger).is_empty());
        assert_eq!(claim(&limits, MAP, &client(1, "10.0.0.1")).holds.len(), 1);
    }

    #[test]
    fn requests_that_wait_for_the_same_rules_have_the_same_fingerprint_whoever_asks() {
        let limits = limits("control_flow = ['ows.wms.getmap=2', 'ows.wms=9', 'user=3']");
        let fingerprint =
            |target, user| claim(&limits, target, &client(user, "10.0.0.1")).fingerprint();
        assert_eq!(fingerprint(MAP, 1), fingerprint(MAP, 2));
        assert_ne!(fingerprint(MAP, 1), fingerprint(INFO, 1));
        assert_eq!(fingerprint("/geoserver/web/", 1), 0);
    }

    #[test]
    fn requests_that_wait_for_a_rule_under_another_limit_have_another_fingerprint() {
        let fingerprint = |lines| claim(&limits(lines), MAP, &client(1, "10.0.0.1")).fingerprint();
        assert_ne!(
            fingerprint("control_flow = 'ows.wms.getmap=2'"),
            fingerprint("control_flow = 'ows.wms.getmap=3'")
        );
    }
}
