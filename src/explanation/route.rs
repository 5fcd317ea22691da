//! The operator's rules: the one that a request follows, and its action.

use std::net::{IpAddr, Ipv4Addr};

use super::Question;
use crate::config::{Config, HeaderCondition, RouteAction, RouteRule, Sender, UpstreamGroup};
use crate::ogc::{Case, RuleSubject};

/// The rule that a request of this sender follows. A sender without an address is in no network.
pub(super) fn rule<'c>(
    question: &Question,
    config: &'c Config,
    subject: &RuleSubject<'_>,
) -> Option<&'c RouteRule> {
    let has_header = |condition: &HeaderCondition| {
        question.headers.iter().any(|(name, value)| {
            *name == condition.name && condition.value.matches(value.as_bytes(), Case::Matters)
        })
    };
    let sender = Sender {
        address: question
            .address
            .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        has_header: &has_header,
    };
    RouteRule::first(&config.routes, subject, &sender).map(|(_, route)| route)
}

/// `no-rest: refused with status 403`.
pub(super) fn describe(route: &RouteRule) -> String {
    let what = match &route.action {
        RouteAction::Refuse => "refused with status 403".to_owned(),
        RouteAction::Allow => "goes its usual way; later rules do not apply".to_owned(),
        RouteAction::Send { class, group } => {
            let class = class.map(|class| format!("class {class}"));
            let group = group.as_ref().map(|group| format!("to {}", listed(group)));
            let parts: Vec<String> = class.into_iter().chain(group).collect();
            parts.join(", ")
        }
    };
    format!("{}: {what}", route.name)
}

/// The upstreams of a group in words.
pub(super) fn listed(group: &UpstreamGroup) -> String {
    let names: Vec<&str> = group.names().iter().map(|name| name.as_str()).collect();
    match names.as_slice() {
        [only] => (*only).to_owned(),
        several => format!("the least busy of {}", several.join(", ")),
    }
}
