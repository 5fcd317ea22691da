//! `[[routes]]`: rules by which an operator sends requests elsewhere, gives them another class, or
//! refuses them.
//!
//! The first rule that matches decides. A rule matches if every condition that it has is met, and a
//! condition is met if one of its values fits (`not_from`: if none fits). A rule that sends a
//! request elsewhere or allows it needs a certain match. A refusal also applies if only some server
//! may read the request in the refused way ([`RuleSubject`]).

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::UpstreamName;
use crate::ogc::{
    Case, Classified, Fit, Glob, PathPattern, RequestClass, RuleSubject, Servers, Service,
};

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteRule {
    /// The name in the file, or the position in the list: `#3`.
    pub name: Box<str>,
    pub conditions: RouteConditions,
    pub action: RouteAction,
}

/// The action of a rule on the requests that match it.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteAction {
    /// The client gets 403.
    Refuse,
    /// The request goes its usual way, and no later rule applies.
    Allow,
    Send {
        class: Option<RequestClass>,
        /// Upstreams that take the place of those that would serve the class.
        group: Option<Arc<UpstreamGroup>>,
    },
}

/// Upstreams that serve the requests of a rule.
#[derive(Debug, PartialEq)]
pub struct UpstreamGroup {
    names: Box<[UpstreamName]>,
    /// No other upstream serves when none of these can.
    pub only: bool,
}

impl UpstreamGroup {
    /// A group of at least one upstream. `only`: no other upstream serves in their stead.
    pub fn new(names: Vec<UpstreamName>, only: bool) -> Self {
        Self {
            names: names.into(),
            only,
        }
    }

    /// True if the upstream `name` belongs to the group.
    pub fn has(&self, name: &UpstreamName) -> bool {
        self.names.contains(name)
    }

    /// Returns the upstreams of the group, as the rule lists them.
    pub fn names(&self) -> &[UpstreamName] {
        &self.names
    }
}

/// The conditions of a rule. An empty list is no condition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteConditions {
    pub methods: Vec<String>,
    pub paths: Vec<PathPattern>,
    pub services: Vec<Service>,
    /// As the standards write them.
    pub operations: Vec<&'static str>,
    pub workspaces: Vec<Glob>,
    pub layers: Vec<Glob>,
    pub headers: Vec<HeaderCondition>,
    /// Networks that the client is in.
    pub from: Vec<IpNet>,
    /// Networks that the client is not in.
    pub not_from: Vec<IpNet>,
}

/// A header that a request must have.
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderCondition {
    /// In lower case.
    pub name: String,
    /// The form of its value.
    pub value: Glob,
}

/// The properties of a request's client and header that rules compare, besides its
/// [`RuleSubject`].
pub struct Sender<'a> {
    /// The client's address, as far back as trusted proxies lead.
    pub address: IpAddr,
    /// True if the request has such a header.
    pub has_header: &'a dyn Fn(&HeaderCondition) -> bool,
}

impl RouteRule {
    /// True if the requests that follow the rule get a class from it.
    pub fn gives_class(&self) -> bool {
        matches!(self.action, RouteAction::Send { class: Some(_), .. })
    }

    /// The first of `routes` that applies to the request.
    pub fn first<'r>(
        routes: &'r [Self],
        subject: &RuleSubject<'_>,
        sender: &Sender<'_>,
    ) -> Option<(usize, &'r Self)> {
        routes
            .iter()
            .enumerate()
            .find(|(_, route)| route.applies(subject, sender))
    }

    /// True if this rule applies to every request that `later` would apply to.
    pub(super) fn shadows(&self, later: &Self) -> bool {
        self.conditions.cover(&later.conditions) && self.action_shadows(later)
    }

    /// True if this rule takes what `later` would, as far as the conditions of both are the same.
    fn action_shadows(&self, later: &Self) -> bool {
        let RouteAction::Send { class, group } = &self.action else {
            return true;
        };
        let RouteAction::Send {
            class: later_class,
            group: later_group,
        } = &later.action
        else {
            return class.is_some_and(|class| !class.is_read()) && group.is_none();
        };
        let (ours, theirs) = (&self.conditions, &later.conditions);
        let is_as_bold = (theirs.methods.is_empty() || !ours.methods.is_empty())
            && (theirs.operations.is_empty() || !ours.operations.is_empty());
        match (class, later_class) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some(class), _) if class.is_read() => {
                is_as_bold && later_class.map_or(later_group.is_some(), RequestClass::is_read)
            }
            (Some(_), _) => group.is_none(),
        }
    }

    fn applies(&self, subject: &RuleSubject<'_>, sender: &Sender<'_>) -> bool {
        match &self.action {
            RouteAction::Refuse => self.conditions.fit(subject, sender, Fit::Possible),
            RouteAction::Allow => self.conditions.fit(subject, sender, Fit::Certain),
            RouteAction::Send { class, group } => {
                self.may_send(*class, group.is_some(), subject)
                    && self.conditions.fit(subject, sender, Fit::Certain)
            }
        }
    }

    /// True if a request may get the class and the upstreams of this rule.
    ///
    /// Two upstreams that write would undo each other's changes. Requests that change something
    /// therefore stay on the main, as do processes that may change the catalog. A rule that gives
    /// the class of a read to a dangerous request has to name the danger: the method if it is not
    /// GET, HEAD or OPTIONS, and the operation if it acts.
    fn may_send(
        &self,
        class: Option<RequestClass>,
        has_group: bool,
        subject: &RuleSubject<'_>,
    ) -> bool {
        let found = subject.classified();
        let becomes = class.unwrap_or(found.class);
        let leads_away = has_group || class.is_some_and(RequestClass::is_read);
        if found.stays_on_main() && leads_away {
            return false;
        }
        if has_group && matches!(becomes.row().served_by, Servers::Main { .. }) {
            return false;
        }
        let makes_a_read = class.is_some_and(RequestClass::is_read) && !found.class.is_read();
        !makes_a_read || self.names_the_danger(found, subject.method())
    }

    fn names_the_danger(&self, found: &Classified, method: &str) -> bool {
        let is_safe = matches!(method, "GET" | "HEAD" | "OPTIONS");
        let is_method_named = is_safe || !self.conditions.methods.is_empty();
        let acts = found.class.row().acts && found.operation.is_some();
        is_method_named && (!acts || !self.conditions.operations.is_empty())
    }
}

impl RouteConditions {
    /// True if a request meets all conditions as well as `needed`. The cheap ones come first.
    fn fit(&self, subject: &RuleSubject<'_>, sender: &Sender<'_>, needed: Fit) -> bool {
        self.fits_method(subject.method())
            && self.fits_sender(sender)
            && any(&self.services, |service| subject.fits_service(*service)) >= needed
            && any(&self.operations, |name| subject.fits_operation(name)) >= needed
            && any(&self.paths, |pattern| subject.fits_path(pattern)) >= needed
            && any(&self.workspaces, |form| {
                subject.fits_workspace(form, needed)
            }) >= needed
            && any(&self.layers, |form| subject.fits_layer(form, needed)) >= needed
    }

    /// GeoServer compares methods without case in some places.
    fn fits_method(&self, method: &str) -> bool {
        let is_it = |named: &String| named.eq_ignore_ascii_case(method);
        self.methods.is_empty() || self.methods.iter().any(is_it)
    }

    fn fits_sender(&self, sender: &Sender<'_>) -> bool {
        let address = sender.address.to_canonical();
        let is_in = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        (self.from.is_empty() || is_in(&self.from))
            && !is_in(&self.not_from)
            && (self.headers.is_empty()
                || self
                    .headers
                    .iter()
                    .any(|header| (sender.has_header)(header)))
    }

    /// True if every request that meets `other` meets these conditions too. May miss some.
    pub fn cover(&self, other: &Self) -> bool {
        let same_text = |a: &String, b: &String| a.eq_ignore_ascii_case(b);
        let is_wider = |a: &Glob, b: &Glob| a.covers(b, Case::Matters);
        covers_all(&self.methods, &other.methods, same_text)
            && covers_all(&self.paths, &other.paths, PathPattern::covers)
            && covers_all(&self.services, &other.services, PartialEq::eq)
            && covers_all(&self.operations, &other.operations, PartialEq::eq)
            && covers_all(&self.workspaces, &other.workspaces, is_wider)
            && covers_all(&self.layers, &other.layers, is_wider)
            && covers_all(&self.headers, &other.headers, |a, b| {
                a.name == b.name && is_wider(&a.value, &b.value)
            })
            && covers_all(&self.from, &other.from, |a, b| a.contains(b))
            && self.not_from.iter().all(|net| {
                other.not_from.iter().any(|wider| wider.contains(net))
                    || !other.from.is_empty() && other.from.iter().all(|from| is_apart(from, net))
            })
    }
}

/// True if no address is in both networks.
fn is_apart(a: &IpNet, b: &IpNet) -> bool {
    !a.contains(b) && !b.contains(a)
}

/// The best fit of any of `values`; certain if there are none.
fn any<T>(values: &[T], fit: impl Fn(&T) -> Fit) -> Fit {
    if values.is_empty() {
        return Fit::Certain;
    }
    let mut best = Fit::No;
    for value in values {
        best = best.max(fit(value));
        if best == Fit::Certain {
            break;
        }
    }
    best
}

/// True if each of `narrow` is covered by one of `wide`, or `wide` is no condition.
fn covers_all<T>(wide: &[T], narrow: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
    wide.is_empty()
        || !narrow.is_empty()
            && narrow
                .iter()
                .all(|narrow| wide.iter().any(|wide| covers(wide, narrow)))
}

#[cfg(test)]
mod tests;
