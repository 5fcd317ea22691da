//! Rules in the syntax of GeoServer's `controlflow.properties`, for the whole cluster instead of
//! each node.
//!
//! ```text
//! ows.global=40                            maximum of concurrent OGC requests
//! ows.wms.getmap=8                         maximum of these; also ows.wms, and ows.wfs.getfeature.application/msexcel
//! user=10   ip=10   ip.10.0.0.9=4          maximum of each user, of each address, of this address
//! user.ows.wms.getmap=30/s                 a rate; ip.ows=600/m;2s delays requests above it by 2 s instead of refusing them
//! ip.blacklist=10.0.0.9,10.1.*             refused with 403, but for those in ip.whitelist
//! ows.priority.http=ctrl-flow-priority,0   the header with a request's priority, and its default
//! timeout=60                               seconds in the queue
//! ```
//!
//! Deviations from GeoServer make more rules effective. Keys are case-insensitive. A format may
//! contain dots. Users are identified by the trusted proxy, otherwise by address, instead of by a
//! cookie. An unknown service or operation is an error. `ows.gwc` covers every request to
//! GeoWebCache.

mod parse;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::hash::fnv1a;
use crate::ogc::{self, Classified, RequestHead, Service};

pub(crate) use parse::{Statement, statement};

/// Maximum number of limiting rules of all kinds: each request is checked against each of them.
pub(super) const MAX_RULES: usize = 64;

/// All statements of `limits.control_flow`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ControlFlow {
    /// The limits in the order of the file, each with its own key; at most [`MAX_RULES`].
    pub rules: Vec<Rule>,
    pub blacklist: Vec<AddressPattern>,
    /// Addresses that are exempt from the blacklist.
    pub whitelist: Vec<AddressPattern>,
    pub priority: Option<PriorityHeader>,
    pub timeout: Option<Duration>,
}

/// One limit, and the requests it applies to.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The part before the equals sign in lower case: the scope of the limit.
    pub key: String,
    /// A hash of the key, the same after every config reload.
    pub id: u64,
    pub whose: CountedBy,
    pub what: Operations,
    pub limit: Limit,
}

/// The requests that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountedBy {
    Everybody,
    User,
    Address,
    OneAddress(IpAddr),
}

/// The size of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Number of concurrent requests.
    Concurrent(u32),
    Rate(Rate),
}

/// Number of requests per window of time. Windows are aligned to the epoch, as in GeoServer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub most: u32,
    pub window: Duration,
    /// Delay for requests above the limit; `None` if they are refused.
    pub delay: Option<Duration>,
}

/// The operations that a rule covers. An operation or format is named only together with a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operations {
    pub service: Option<Addressed>,
    /// The canonical name.
    pub operation: Option<&'static str>,
    /// In lower case.
    pub format: Option<String>,
}

/// The service that a rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressed {
    /// Every request that GeoWebCache answers.
    GeoWebCache,
    Service(Service),
}

/// A header with a priority: a higher number is served sooner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriorityHeader {
    /// The name in lower case.
    pub header: String,
    /// The priority of a request without the header.
    pub default: i64,
}

/// An entry in a list of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressPattern {
    Net(IpNet),
    /// A pattern in which `*` matches any text.
    Glob(String),
}

impl Rule {
    fn new(key: String, whose: CountedBy, what: Operations, limit: Limit) -> Self {
        // Stable over restarts; only the administrator chooses keys, so collisions are not sought.
        let id = fnv1a(key.bytes());
        Self {
            key,
            id,
            whose,
            what,
            limit,
        }
    }
}

impl Operations {
    pub(super) const ALL: Self = Self {
        service: None,
        operation: None,
        format: None,
    };

    /// True if the rule covers the request that was classified as `classified`.
    pub fn include(&self, classified: &Classified, head: &RequestHead<'_>) -> bool {
        let is_served = match self.service {
            None => is_ows(classified),
            Some(Addressed::GeoWebCache) => classified.is_for_geowebcache,
            Some(Addressed::Service(service)) => classified.service == Some(service),
        };
        is_served
            && self
                .operation
                .is_none_or(|operation| classified.operation == Some(operation))
            && self
                .format
                .as_ref()
                .is_none_or(|format| ogc::requests_format(head.target, format))
    }
}

/// GeoServer's spelling, as in `X-Rate-Limit-Context`.
impl fmt::Display for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(service) = self.service else {
            return f.write_str("Any OGC request");
        };
        let service = match service {
            Addressed::GeoWebCache => "gwc",
            Addressed::Service(service) => service.as_str(),
        };
        let parts = [Some(service), self.operation, self.format.as_deref()];
        let parts: Vec<String> = parts
            .into_iter()
            .flatten()
            .map(str::to_ascii_lowercase)
            .collect();
        f.write_str(&parts.join("."))
    }
}

/// True for requests that control-flow sees: those of GeoServer's dispatcher and GeoWebCache, not
/// REST and the web UI.
fn is_ows(classified: &Classified) -> bool {
    match classified.service {
        Some(Service::Rest) => false,
        Some(_) => true,
        None => classified.is_for_geowebcache,
    }
}

impl ControlFlow {
    /// Adds a statement unless there is one of the same kind and key.
    pub(crate) fn add(&mut self, statement: Statement) -> Result<(), String> {
        let is_new = match statement {
            Statement::Rule(rule) => {
                if self.rules.len() == MAX_RULES {
                    return Err(format!("more than {MAX_RULES} rules"));
                }
                let is_new = self.rules.iter().all(|other| other.key != rule.key);
                self.rules.push(rule);
                is_new
            }
            Statement::Blacklist(patterns) => set(&mut self.blacklist, patterns),
            Statement::Whitelist(patterns) => set(&mut self.whitelist, patterns),
            Statement::Priority(priority) => self.priority.replace(priority).is_none(),
            Statement::Timeout(timeout) => self.timeout.replace(timeout).is_none(),
        };
        if is_new {
            Ok(())
        } else {
            Err("it is there twice".to_owned())
        }
    }

    /// True if nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.blacklist.is_empty()
    }

    /// True if any rule limits a rate.
    pub fn has_rates(&self) -> bool {
        self.rules
            .iter()
            .any(|rule| matches!(rule.limit, Limit::Rate(_)))
    }

    /// True if the address is on the blacklist and not on the whitelist.
    pub fn blocks(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let on = |list: &[AddressPattern]| list.iter().any(|pattern| pattern.matches(address));
        on(&self.blacklist) && !on(&self.whitelist)
    }
}

/// Returns false if the list was set before.
fn set<T>(list: &mut Vec<T>, to: Vec<T>) -> bool {
    std::mem::replace(list, to).is_empty()
}

impl AddressPattern {
    fn matches(&self, address: IpAddr) -> bool {
        match self {
            Self::Net(net) => net.contains(&address),
            Self::Glob(glob) => glob_matches(glob.as_bytes(), address.to_string().as_bytes()),
        }
    }
}

/// Matches with `*` for any text. Backtracks to the last star only, so it takes at most length
/// times length steps.
fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut g, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match (glob.get(g), star) {
            (Some(b'*'), _) => {
                star = Some((g, t));
                g += 1;
            }
            (Some(byte), _) if *byte == text[t] => (g, t) = (g + 1, t + 1),
            (_, Some((at, from))) => {
                star = Some((at, from + 1));
                (g, t) = (at + 1, from + 1);
            }
            (_, None) => return false,
        }
    }
    glob[g..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(lines: &[&str]) -> ControlFlow {
        let mut rules = ControlFlow::default();
        lines
            .iter()
            .for_each(|line| rules.add(statement(line).unwrap()).unwrap());
        rules
    }

    /// For each of `lines`, whether it covers a GET of `target`.
    fn held(lines: &[&str], target: &str) -> Vec<bool> {
        let head = RequestHead {
            method: "GET",
            target: target.as_bytes(),
            content_type: None,
        };
        let classified = ogc::classify(&head, "/geoserver", Some(b""));
        rules(lines)
            .rules
            .iter()
            .map(|rule| rule.what.include(&classified, &head))
            .collect()
    }

    #[test]
    fn a_rule_holds_the_operations_it_names() {
        let lines = [
            "ows.global=9",
            "ows.wms=9",
            "OWS.WMS.GetMap=9",
            "ows.wms.getmap.image/png=9",
            "ows.gwc=9",
            "ows.wfs=9",
        ];
        let map = "/geoserver/wms?SERVICE=WMS&REQUEST=GetMap&FORMAT=image%2Fpng";
        assert_eq!(held(&lines, map), [true, true, true, true, false, false]);
        let jpeg = "/geoserver/ows?service=wms&request=getmap&format=image/jpeg&tiled=true";
        assert_eq!(held(&lines, jpeg), [true, true, true, false, false, false]);
        let info = "/geoserver/wms?service=WMS&request=GetFeatureInfo";
        assert_eq!(held(&lines, info), [true, true, false, false, false, false]);
    }

    #[test]
    fn geowebcache_is_one_service_in_every_protocol() {
        let lines = ["ows.gwc=9", "ows.global=9", "ows.wms=9"];
        let wmts = "/geoserver/gwc/service/wmts?SERVICE=WMTS&REQUEST=GetTile";
        assert_eq!(held(&lines, wmts), [true, true, false]);
        let wms_c = "/geoserver/gwc/service/wms?SERVICE=WMS&REQUEST=GetMap";
        assert_eq!(held(&lines, wms_c), [true, true, true]);
        assert_eq!(
            held(
                &lines,
                "/geoserver/gwc/service/tms/1.0.0/a@EPSG:900913@png/1/2/3.png"
            ),
            [true, true, false]
        );
        assert_eq!(
            held(
                &lines,
                "/geoserver/gwc/service/gmaps?layers=a&zoom=1&x=0&y=0"
            ),
            [true, true, false]
        );
    }

    #[test]
    fn rest_and_the_web_ui_are_not_held() {
        for target in [
            "/geoserver/rest/layers",
            "/geoserver/web/",
            "/geoserver/gwc/rest/layers",
            "/geoserver/nothing",
        ] {
            assert_eq!(
                held(&["ows.global=9", "ows.gwc=9"], target),
                [false, false],
                "{target}"
            );
        }
    }

    #[test]
    fn a_format_with_dots_is_a_format() {
        let line = "ows.wfs.getfeature.application/vnd.ms-excel=2";
        assert_eq!(
            held(
                &[line],
                "/geoserver/wfs?service=WFS&request=GetFeature&outputFormat=application/vnd.ms-excel"
            ),
            [true]
        );
        assert_eq!(
            held(
                &[line],
                "/geoserver/wfs?service=WFS&request=GetFeature&outputFormat=application/json"
            ),
            [false]
        );
    }

    #[test]
    fn the_whitelist_excepts_from_the_blacklist() {
        let rules = rules(&[
            "ip.blacklist=10.0.0.9, 10.1.*,192.0.2.0/24,2001:db8::1",
            "ip.whitelist=10.1.2.*",
        ]);
        let blocked = |address: &str| rules.blocks(address.parse().unwrap());
        for address in [
            "10.0.0.9",
            "10.1.0.1",
            "192.0.2.77",
            "2001:db8::1",
            "::ffff:10.0.0.9",
        ] {
            assert!(blocked(address), "{address}");
        }
        for address in [
            "10.0.0.99",
            "10.1.2.3",
            "10.10.0.1",
            "110.1.0.1",
            "192.0.3.1",
            "2001:db8::2",
        ] {
            assert!(!blocked(address), "{address}");
        }
    }

    #[test]
    fn stars_match_any_text_and_nothing_else_does() {
        for (glob, text, matches) in [
            ("*", "10.0.0.1", true),
            ("10.*.*.1", "10.20.30.1", true),
            ("10.*.1", "10.1.1.2", false),
            ("*.1*", "10.0.0.17", true),
            ("10.0.0.1", "10.0.0.11", false),
            ("**", "", true),
            ("", "", true),
        ] {
            assert_eq!(
                glob_matches(glob.as_bytes(), text.as_bytes()),
                matches,
                "{glob} {text}"
            );
        }
    }
}
