//! The upstreams that a request would go to, and the order in which they are considered.

use super::only_main;
use super::route::listed;
use crate::config::{
    Config, MainReads, Role, RouteAction, RouteRule, ServedBy, UpstreamConfig, UpstreamName,
};
use crate::ogc::Classified;

/// Where a request would go.
pub(super) struct Destination {
    pub(super) text: String,
    pub(super) upstreams: Vec<UpstreamName>,
    /// The upstreams that serve while none of `upstreams` does.
    pub(super) otherwise: Vec<UpstreamName>,
}

/// The destination of a request that follows a rule, or none.
pub(super) fn of(
    rule: Option<&RouteRule>,
    classified: &Classified,
    config: &Config,
) -> Destination {
    let mut destination = of_any(rule, classified, config);
    if classified.job.is_some() && only_main(classified).is_none() {
        destination.text = format!(
            "the upstream that began it; if it is not known: {}",
            destination.text
        );
    }
    destination
}

/// The destination without regard to an execution that the request is about.
fn of_any(rule: Option<&RouteRule>, classified: &Classified, config: &Config) -> Destination {
    let usual = usual(classified, config);
    let Some(RouteAction::Send {
        group: Some(group), ..
    }) = rule.map(|rule| &rule.action)
    else {
        return usual;
    };
    let names = listed(group);
    if group.only {
        return Destination {
            text: format!("{names}, or nowhere while none of them serves"),
            upstreams: group.names().to_vec(),
            otherwise: Vec::new(),
        };
    }
    let others = usual.upstreams.into_iter().chain(usual.otherwise);
    Destination {
        text: format!(
            "{names}; while none of them serves, as without the rule: {}",
            usual.text
        ),
        upstreams: group.names().to_vec(),
        otherwise: others.filter(|name| !group.has(name)).collect(),
    }
}

fn usual(classified: &Classified, config: &Config) -> Destination {
    let main = config
        .upstreams
        .iter()
        .find(|upstream| upstream.role == Role::Main);
    let served_by = match only_main(classified) {
        Some(_) => &ServedBy::Main,
        None => &config.classes[classified.class].served_by,
    };
    match served_by {
        ServedBy::Main => alone(main.map(|main| &main.name)),
        ServedBy::Upstream(name) => alone(Some(name)),
        ServedBy::Replicas => shared(config, main),
    }
}

fn alone(name: Option<&UpstreamName>) -> Destination {
    let shown = name.map_or("main", |name| name.as_str());
    Destination {
        text: format!("{shown}, or nowhere while it does not serve"),
        upstreams: name.cloned().into_iter().collect(),
        otherwise: Vec::new(),
    }
}

/// The upstreams that share the reads.
fn shared(config: &Config, main: Option<&UpstreamConfig>) -> Destination {
    let reads = main.map_or(MainReads::Never, |main| main.reads);
    let shares =
        |upstream: &&UpstreamConfig| upstream.role == Role::Replica || reads == MainReads::Always;
    let sharing: Vec<&UpstreamConfig> = config.upstreams.iter().filter(shares).collect();
    let backup = main.filter(|_| reads == MainReads::Backup);
    let in_words = backup.map_or_else(String::new, |main| {
        format!("; {} when none of them serves", main.name)
    });
    let names: Vec<String> = sharing
        .iter()
        .map(|upstream| format!("{} (weight {})", upstream.name, upstream.weight.get()))
        .collect();
    let text = match names.as_slice() {
        [] => format!("no upstream shares reads{in_words}"),
        [only] => format!("{only}{in_words}"),
        several => format!(
            "the least busy for its weight of {}{in_words}",
            several.join(", ")
        ),
    };
    let named = |upstream: &UpstreamConfig| upstream.name.clone();
    Destination {
        text,
        upstreams: sharing.into_iter().map(named).collect(),
        otherwise: backup.map(named).into_iter().collect(),
    }
}
