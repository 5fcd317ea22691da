//! `[[routes]]`: the rules of the operator, and those among them that can never match.

use std::sync::Arc;

use ipnet::IpNet;

use super::check::Check;
use crate::config::diagnostics::{Problem, suggestion};
use crate::config::raw::{Listed, RawRoute, Slot};
use crate::config::source::{At, masked_field};
use crate::config::value::Written;
use crate::config::{
    HeaderCondition, RouteAction, RouteConditions, RouteRule, UpstreamGroup, UpstreamName,
};
use crate::ogc::{
    Case, Glob, PathPattern, RequestClass, Servers, Service, class_of_operation, operations,
    service_by_name,
};

/// Maximum length of the name of a rule, in bytes.
const MAX_NAME: usize = 64;

/// The first segments of the addresses at which GeoServer's dispatcher listens.
const DISPATCHER: [&str; 6] = ["ows", "wms", "wfs", "wcs", "wps", "csw"];

type List = Slot<Vec<Written<String>>>;

/// The context of validation, which all rules share.
#[derive(Clone, Copy)]
struct Site<'a> {
    context: &'a str,
    upstreams: &'a [String],
}

impl Check<'_> {
    pub(super) fn routes(
        &mut self,
        raw: &[Listed<RawRoute>],
        context: &str,
        upstreams: &[String],
    ) -> Vec<RouteRule> {
        let mut routes: Vec<(RouteRule, At)> = Vec::new();
        let site = Site { context, upstreams };
        for (index, listed) in raw.iter().enumerate() {
            let key = format!("routes.{}", index + 1);
            let Some(route) = self.route(&key, listed, site) else {
                continue;
            };
            self.refuse_unreachable(&route, &routes, listed.at);
            self.keeps_its_promise(&route, listed.at);
            routes.push((route, listed.at));
        }
        routes.into_iter().map(|(route, _)| route).collect()
    }

    /// Reads one rule; `None` after a problem was reported, so that the rules after it are not
    /// compared with half of it.
    fn route(&mut self, key: &str, listed: &Listed<RawRoute>, site: Site<'_>) -> Option<RouteRule> {
        let raw = &listed.table;
        let before = self.problem_count();
        let name = self.name_of_route(key, raw);
        let conditions = self.conditions(key, raw, site);
        let action = self.action(key, listed, site);
        (self.problem_count() == before).then_some(RouteRule {
            name,
            conditions,
            action: action?,
        })
    }

    fn name_of_route(&mut self, key: &str, raw: &RawRoute) -> Box<str> {
        let position = key.rsplit('.').next().unwrap_or_default();
        let name = self.optional(&format!("{key}.name"), &raw.name);
        let is_name = |name: &String| {
            let is_in_range = (1..=MAX_NAME).contains(&name.len());
            is_in_range && name.bytes().all(|byte| byte.is_ascii_graphic())
        };
        match (name, raw.name.at()) {
            (Some(name), Some(at)) if !is_name(&name) => {
                let title = format!(
                    "`{key}.name` is \"{}\": must be 1 to {MAX_NAME} ASCII characters without blanks",
                    name.escape_debug()
                );
                self.refuse(Problem::new(title).at(at));
                name.into()
            }
            (Some(name), Some(at)) if name.starts_with('#') => {
                let title = format!("`{key}.name` is \"{name}\": must not begin with `#`");
                let help = "`#3` stands for the third rule where that has no name";
                self.refuse(Problem::new(title).at(at).help(help));
                name.into()
            }
            (Some(name), _) => name.into(),
            (None, _) => format!("#{position}").into(),
        }
    }

    fn conditions(&mut self, key: &str, raw: &RawRoute, site: Site<'_>) -> RouteConditions {
        let key = |name: &str| format!("{key}.{name}");
        let services = self.each(&key("service"), &raw.service, service);
        RouteConditions {
            methods: self.each(&key("method"), &raw.method, method),
            paths: self.each(&key("path"), &raw.path, |text| path(text, site.context)),
            operations: self.each(&key("operation"), &raw.operation, |text| {
                operation(text, &services)
            }),
            services,
            workspaces: self.each(&key("workspace"), &raw.workspace, |text| {
                form(text, "a workspace has no `:` and no `,`", &[':', ','])
            }),
            layers: self.each(&key("layer"), &raw.layer, |text| {
                form(text, "each layer is an entry of the list", &[','])
            }),
            headers: self.header_conditions(&key("header"), &raw.header),
            from: self.networks(&key("from"), &raw.from),
            not_from: self.networks(&key("not_from"), &raw.not_from),
        }
    }

    /// Reads header conditions. Values that are secrets are not shown.
    fn header_conditions(&mut self, key: &str, slot: &List) -> Vec<HeaderCondition> {
        let headers = self.each(key, slot, header);
        let fields = slot.given().into_iter().flat_map(|list| &list.value);
        let shown: Vec<String> = fields.map(|field| masked_field(&field.value)).collect();
        self.note_again(key, &shown.join(", "));
        headers
    }

    fn networks(&mut self, key: &str, slot: &Slot<Vec<Written<IpNet>>>) -> Vec<IpNet> {
        self.refuse_empty(key, slot);
        self.list(key, slot, Vec::new())
    }

    /// Refuses a list without an entry, with which the rule would match everything.
    fn refuse_empty<T>(&mut self, key: &str, slot: &Slot<Vec<Written<T>>>) {
        if let Some(list) = slot.given().filter(|list| list.value.is_empty()) {
            let problem = Problem::new(format!("`{key}` is empty")).at(list.at);
            self.refuse(problem.help("list at least one, or leave the key out"));
        }
    }

    /// Reads a list of which each entry has a form of its own.
    fn each<T>(
        &mut self,
        key: &str,
        slot: &List,
        read: impl Fn(&str) -> Result<T, (String, String)>,
    ) -> Vec<T> {
        self.list(key, slot, Vec::new());
        let Some(list) = slot.given() else {
            return Vec::new();
        };
        self.refuse_empty(key, slot);
        let mut values = Vec::new();
        for item in &list.value {
            match read(&item.value) {
                Ok(value) => values.push(value),
                Err((rule, help)) => {
                    let value = masked_field(&item.value);
                    let title = format!("`{key}` is \"{}\": {rule}", value.escape_debug());
                    self.refuse(Problem::new(title).at(item.at).label(help));
                }
            }
        }
        values
    }

    fn action(
        &mut self,
        key: &str,
        listed: &Listed<RawRoute>,
        site: Site<'_>,
    ) -> Option<RouteAction> {
        let raw = &listed.table;
        let refuses = self.value(&format!("{key}.refuse"), &raw.refuse, false);
        let allows = self.value(&format!("{key}.allow"), &raw.allow, false);
        let class = self.class_of_route(&format!("{key}.class"), raw);
        let group = self.group(key, raw, site);
        let sends = raw.class.given().is_some() || raw.upstreams.given().is_some();
        match (refuses, allows, sends) {
            (true, false, false) => Some(RouteAction::Refuse),
            (false, true, false) => Some(RouteAction::Allow),
            (false, false, true) => Some(RouteAction::Send { class, group }),
            (false, false, false) => {
                let problem = Problem::new("this rule does nothing").at(listed.at);
                self.refuse(problem.help(ACTIONS));
                None
            }
            _ => {
                let problem = Problem::new("this rule does several things").at(listed.at);
                self.refuse(problem.help(ACTIONS));
                None
            }
        }
    }

    fn class_of_route(&mut self, key: &str, raw: &RawRoute) -> Option<RequestClass> {
        let name = self.optional(key, &raw.class)?;
        let class = RequestClass::from_name(&name);
        if let (None, Some(at)) = (class, raw.class.at()) {
            let known = RequestClass::ALL.map(RequestClass::as_str);
            let problem = Problem::new(format!("unknown class `{name}`")).at(at);
            let problem = problem.label(suggestion(&name, known));
            self.refuse(problem.help(format!("the classes are: {}", known.join(", "))));
        }
        class
    }

    fn group(&mut self, key: &str, raw: &RawRoute, site: Site<'_>) -> Option<Arc<UpstreamGroup>> {
        let names = self.each(&format!("{key}.upstreams"), &raw.upstreams, |name| {
            UpstreamName::new(name)
                .filter(|_| site.upstreams.iter().any(|known| known == name))
                .ok_or_else(|| {
                    let near = suggestion(name, site.upstreams.iter().map(String::as_str));
                    ("must be the name of an upstream".to_owned(), near)
                })
        });
        let only = self.value(&format!("{key}.only"), &raw.only, false);
        if let (Some(at), None) = (raw.only.at(), raw.upstreams.given()) {
            let problem = Problem::new(format!("`{key}.only` is of no use without `upstreams`"));
            self.refuse(problem.at(at));
        }
        (!names.is_empty()).then(|| Arc::new(UpstreamGroup::new(names, only)))
    }

    /// Refuses a rule that no request can reach, or whose conditions exclude each other.
    fn refuse_unreachable(&mut self, route: &RouteRule, before: &[(RouteRule, At)], at: At) {
        let never = |why: String| {
            Problem::new(format!("rule {} can never match", route.name))
                .at(at)
                .label(why)
        };
        let same_name = before.iter().find(|(other, _)| other.name == route.name);
        let shadow = before.iter().find(|(earlier, _)| earlier.shadows(route));
        if let Some((_, first)) = same_name {
            let origin = self.sources.origin(*first);
            let problem = Problem::new(format!("two rules are called {}", route.name)).at(at);
            self.refuse(problem.label(format!("the first is at {origin}")));
        } else if let Some((earlier, first)) = shadow {
            let origin = self.sources.origin(*first);
            self.refuse(
                never(format!("{} at {origin} comes first", earlier.name))
                    .help("the first rule that matches decides: put the narrower one first"),
            );
        }
        if let Some(why) = contradiction(route) {
            self.refuse(never(why));
        }
    }

    /// Warns about rules that do less than they seem to.
    fn keeps_its_promise(&mut self, route: &RouteRule, at: At) {
        if leads_the_main_away(route) {
            let what = format!(
                "rule {}: `upstreams` has no effect, because the main alone serves what its conditions describe (changes, \
                 administration, the web interface)",
                route.name
            );
            self.warn(&what, at);
        }
        if route.action != RouteAction::Refuse {
            return;
        }
        let RouteConditions {
            paths,
            services,
            workspaces,
            layers,
            ..
        } = &route.conditions;
        let first = paths
            .iter()
            .filter_map(PathPattern::first_name)
            .find(|name| DISPATCHER.contains(name));
        if let Some(name) = first.filter(|_| services.is_empty()) {
            let what = format!(
                "rule {} refuses the address /{name} only. A service has others, such as /ows and those of workspaces: a rule \
                 with `service` finds them all",
                route.name
            );
            self.warn(&what, at);
        }
        if !(workspaces.is_empty() && layers.is_empty()) {
            let what = format!(
                "rule {} refuses by names that are written in the request, as far as it is read. Layer groups, default \
                 workspaces and long bodies name data in other ways: protect data in GeoServer",
                route.name
            );
            self.warn(&what, at);
        }
    }
}

/// Addresses whose requests the main alone serves.
const OF_THE_MAIN: [&str; 3] = ["/rest", "/gwc/rest", "/web"];

/// True for a rule whose upstreams get none of the requests that it describes, by their operations
/// or by their addresses. Its class would decide instead.
fn leads_the_main_away(route: &RouteRule) -> bool {
    let RouteAction::Send {
        class: None,
        group: Some(_),
    } = &route.action
    else {
        return false;
    };
    let RouteConditions {
        paths,
        services,
        operations,
        ..
    } = &route.conditions;
    let of_services = |operation: &&'static str| {
        let any = Service::ALL.iter();
        any.filter(|service| services.is_empty() || services.contains(service))
            .filter_map(|service| class_of_operation(*service, operation))
            .all(|class| matches!(class.row().served_by, Servers::Main { .. }))
    };
    let is_of_the_main = |path: &PathPattern| {
        OF_THE_MAIN.iter().any(|address| {
            let below = path.as_str().strip_prefix(address);
            below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    !operations.is_empty() && operations.iter().all(of_services)
        || !paths.is_empty() && paths.iter().all(is_of_the_main)
}

const ACTIONS: &str = "a rule has one of: `refuse = true`, `allow = true`, or `class` and `upstreams` or one of the two";

/// Why the conditions of a rule exclude each other.
fn contradiction(route: &RouteRule) -> Option<String> {
    let RouteConditions {
        services,
        workspaces,
        layers,
        from,
        not_from,
        ..
    } = &route.conditions;
    let is_excluded = |net: &IpNet| not_from.iter().any(|excluded| excluded.contains(net));
    if !from.is_empty() && from.iter().all(is_excluded) {
        return Some("`not_from` excludes all of `from`".to_owned());
    }
    let is_elsewhere = |layer: &Glob| {
        layer.as_str().split_once(':').is_some_and(|(of, _)| {
            let is_plain = !of.contains('*');
            is_plain
                && !workspaces
                    .iter()
                    .any(|form| form.matches(of.as_bytes(), Case::Matters))
        })
    };
    if !workspaces.is_empty() && !layers.is_empty() && layers.iter().all(is_elsewhere) {
        return Some("its layers are in other workspaces".to_owned());
    }
    let RouteAction::Send { class, group } = &route.action else {
        return None;
    };
    let only_rest = !services.is_empty() && services.iter().all(|s| *s == Service::Rest);
    let stays = class.map_or(only_rest, |class| {
        matches!(class.row().served_by, Servers::Main { .. })
    });
    (stays && group.is_some()).then(|| {
        "what changes something is served by the main alone, so `upstreams` has no effect"
            .to_owned()
    })
}

fn method(text: &str) -> Result<String, (String, String)> {
    let is_token = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    if is_token {
        Ok(text.to_ascii_uppercase())
    } else {
        Err((
            "must be a method, such as \"POST\"".to_owned(),
            String::new(),
        ))
    }
}

fn path(text: &str, context: &str) -> Result<PathPattern, (String, String)> {
    let below = text
        .strip_prefix(context)
        .filter(|below| !context.is_empty() && (below.is_empty() || below.starts_with('/')));
    if let Some(below) = below {
        let below = if below.is_empty() { "/" } else { below };
        return Err((
            "paths stand for the part below GeoServer's context".to_owned(),
            format!("write \"{below}\""),
        ));
    }
    PathPattern::parse(text).map_err(|rule| (rule.to_owned(), String::new()))
}

fn service(text: &str) -> Result<Service, (String, String)> {
    service_by_name(text).ok_or_else(|| {
        let known = Service::ALL.map(Service::as_str);
        (
            format!("must be one of {}", known.join(", ")),
            suggestion(text, known),
        )
    })
}

fn operation(text: &str, services: &[Service]) -> Result<&'static str, (String, String)> {
    let of: Vec<Service> = if services.is_empty() {
        Service::ALL.to_vec()
    } else {
        services.to_vec()
    };
    let known: Vec<&'static str> = of.iter().flat_map(|service| operations(*service)).collect();
    known
        .iter()
        .copied()
        .find(|name| name.eq_ignore_ascii_case(text))
        .ok_or_else(|| {
            let names: Vec<&str> = of.iter().map(|service| service.as_str()).collect();
            let rule = if services.is_empty() {
                "no service has an operation of this name".to_owned()
            } else {
                format!("{} has no operation of this name", names.join(", "))
            };
            (rule, suggestion(text, known.iter().copied()))
        })
}

fn form(text: &str, rule: &str, without: &[char]) -> Result<Glob, (String, String)> {
    let is_form = !text.is_empty() && !text.contains(without) && !text.contains(char::is_control);
    if is_form {
        Ok(Glob::new(text))
    } else {
        Err((rule.to_owned(), String::new()))
    }
}

/// `X-Team: maps*`, or the name alone for any value.
fn header(text: &str) -> Result<HeaderCondition, (String, String)> {
    let (name, value) = text.split_once(':').unwrap_or((text, "*"));
    let (name, value) = (name.trim(), value.trim());
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if is_name && !value.is_empty() {
        Ok(HeaderCondition {
            name: name.to_ascii_lowercase(),
            value: Glob::new(value),
        })
    } else {
        let rule = "must be a header and its value, such as \"X-Team: maps*\", or a header alone";
        Err((rule.to_owned(), String::new()))
    }
}
