//! The limits that would hold a request, in words.

use std::net::IpAddr;

use crate::config::{Config, Effort, Limit, MaxInFlight, Rate, Rule};
use crate::ogc::{Classified, RequestHead};

/// The reason why a client of the blacklist is refused.
pub(super) const BLOCKED: &str =
    "with status 403: ip.blacklist of limits.control_flow has the client's address";

/// True if the operator shut this client out.
pub(super) fn is_blocked(address: Option<IpAddr>, config: &Config) -> bool {
    address.is_some_and(|address| config.limits.control_flow.blocks(address))
}

/// Returns the treatment of the request while every slot is taken.
pub(super) fn queue(classified: &Classified, config: &Config) -> String {
    let limits = &config.limits;
    let of_class = config.classes[classified.class].priority;
    let effort = limits.effort(classified);
    let priority = effort.of(of_class);
    let heavy = match effort {
        Effort::Heavy => ", heavy because of the size of the map (limits.heavy_map_pixels)",
        Effort::Light if of_class.is_heavy() => {
            ", not heavy: it is about work that was done before"
        }
        Effort::Light | Effort::OfClass if priority.is_heavy() => ", heavy",
        Effort::Light | Effort::OfClass => "",
    };
    let has_slots = |cap: MaxInFlight| cap != MaxInFlight::Off;
    let waits = config
        .upstreams
        .iter()
        .any(|upstream| has_slots(upstream.max_in_flight));
    if !waits {
        return format!(
            "priority {}{heavy}; no upstream has a limit, so no request waits",
            priority.get()
        );
    }
    format!(
        "priority {}{heavy}; waits for a slot for up to {}, as one of at most {}",
        priority.get(),
        humantime::format_duration(limits.queue_timeout),
        limits.queue
    )
}

/// The rules of `limits.control_flow` that cover the request; `None` if there are none.
pub(super) fn rules(
    classified: &Classified,
    head: &RequestHead<'_>,
    config: &Config,
) -> Option<String> {
    let covering: Vec<String> = config
        .limits
        .control_flow
        .rules
        .iter()
        .filter(|rule| rule.what.include(classified, head))
        .map(written)
        .collect();
    (!covering.is_empty()).then(|| covering.join(", "))
}

/// A rule as GeoServer's file has it.
fn written(rule: &Rule) -> String {
    match rule.limit {
        Limit::Concurrent(most) => format!("{}={most}", rule.key),
        Limit::Rate(rate) => format!("{}={}", rule.key, rate_of(rate)),
    }
}

fn rate_of(rate: Rate) -> String {
    let window = humantime::format_duration(rate.window);
    let delay = rate.delay.map_or_else(String::new, |delay| {
        format!(", {} late above it", humantime::format_duration(delay))
    });
    format!("{} in {window}{delay}", rate.most)
}
