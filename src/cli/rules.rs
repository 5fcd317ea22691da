//! The part of `geofront explain` about the operator's rules.

use std::net::{IpAddr, Ipv4Addr};

use crate::config::{Config, HeaderCondition, RouteAction, RouteRule, Sender, UpstreamGroup};
use crate::ogc::{Case, RuleSubject};

/// The sender of a request as typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TypedSender {
    pub(super) address: Option<IpAddr>,
    /// Names in lower case, and values.
    pub(super) headers: Vec<(String, String)>,
}

impl TypedSender {
    /// Reads headers as typed: `Name: value`.
    pub(super) fn new(address: Option<IpAddr>, headers: &[String]) -> Self {
        let header = |text: &String| {
            let (name, value) = text.split_once(':').unwrap_or((text, ""));
            (name.trim().to_ascii_lowercase(), value.trim().to_owned())
        };
        Self {
            address,
            headers: headers.iter().map(header).collect(),
        }
    }

    /// The rule that a request of this sender follows.
    pub(super) fn rule<'c>(
        &self,
        config: &'c Config,
        subject: &RuleSubject<'_>,
    ) -> Option<&'c RouteRule> {
        let has_header = |condition: &HeaderCondition| {
            self.headers.iter().any(|(name, value)| {
                *name == condition.name && condition.value.matches(value.as_bytes(), Case::Matters)
            })
        };
        let sender = Sender {
            address: self.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            has_header: &has_header,
        };
        RouteRule::first(&config.routes, subject, &sender).map(|(_, route)| route)
    }

    /// What the answer depends on and was not given.
    pub(super) fn missing(&self, config: &Config) -> Option<&'static str> {
        let depends = |route: &RouteRule| {
            !(route.conditions.from.is_empty() && route.conditions.not_from.is_empty())
        };
        (self.address.is_none() && config.routes.iter().any(depends)).then_some(
            "Some rules depend on the client's address: give it with --from ADDRESS. Without it the client is in no network.",
        )
    }
}

/// `no-rest: refused with status 403`.
pub(super) fn describe(route: &RouteRule) -> String {
    let what = match &route.action {
        RouteAction::Refuse => "refused with status 403".to_owned(),
        RouteAction::Allow => "goes its usual way, whatever the later rules say".to_owned(),
        RouteAction::Send { class, group } => {
            let class = class.map(|class| format!("class {class}"));
            let group = group.as_ref().map(|group| format!("to {}", listed(group)));
            let parts: Vec<String> = class.into_iter().chain(group).collect();
            parts.join(", ")
        }
    };
    format!("{}: {what}", route.name)
}

/// The destination of a request that a rule sends to a group. `otherwise` is the usual one.
pub(super) fn destination(group: &UpstreamGroup, otherwise: &str) -> String {
    let names = listed(group);
    if group.only {
        format!("{names}, or nowhere while none of them serves")
    } else {
        format!("{names}; while none of them serves, as without the rule: {otherwise}")
    }
}

fn listed(group: &UpstreamGroup) -> String {
    let names: Vec<&str> = group.names().iter().map(|name| name.as_str()).collect();
    match names.as_slice() {
        [only] => (*only).to_owned(),
        several => format!("the least busy of {}", several.join(", ")),
    }
}
