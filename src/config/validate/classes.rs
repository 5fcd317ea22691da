//! `[classes.NAME]`: the limits of one class, and for some classes the upstreams that serve it.

use super::check::Check;
use super::upstreams::{MAIN, REPLICAS};
use crate::config::diagnostics::{Problem, suggestion};
use crate::config::raw::{Named, RawClass};
use crate::config::source::At;
use crate::config::units::Size;
use crate::config::value::Written;
use crate::config::{Affinity, ClassConfig, Coalesce, ServedBy, UpstreamName, defaults};
use crate::ogc::{PerClass, ProcessName, RequestClass, Servers, changes_catalog};

impl Check<'_> {
    pub(super) fn classes(
        &mut self,
        raw: &[Named<RawClass>],
        upstreams: &[String],
    ) -> PerClass<ClassConfig> {
        self.known_classes(raw);
        let nothing = RawClass::default();
        PerClass::from_fn(|class| {
            let named = raw.iter().find(|named| named.name.value == class.as_str());
            self.class(
                class,
                named.map_or(&nothing, |named| &named.table),
                upstreams,
            )
        })
    }

    fn known_classes(&mut self, raw: &[Named<RawClass>]) {
        let known = RequestClass::ALL.map(RequestClass::as_str);
        for named in raw
            .iter()
            .filter(|named| !known.contains(&named.name.value.as_str()))
        {
            let problem =
                Problem::new(format!("unknown class `{}`", named.name.value)).at(named.name.at);
            let problem = problem.label(suggestion(&named.name.value, known));
            self.refuse(problem.help(format!("the classes are: {}", known.join(", "))));
        }
    }

    fn class(&mut self, class: RequestClass, raw: &RawClass, upstreams: &[String]) -> ClassConfig {
        let key = |key: &str| format!("classes.{class}.{key}");
        let max_body = self.within(
            &key("max_body"),
            &raw.max_body,
            Size(class.row().default_max_body),
            defaults::BODY_SIZES,
        );
        ClassConfig {
            first_byte: self.within(
                &key("first_byte"),
                &raw.first_byte,
                class.row().default_first_byte,
                defaults::TIMES,
            ),
            max_body: max_body.0,
            served_by: self.served_by(&key("served_by"), class, raw, upstreams),
            priority: self.priority(&key("priority"), &raw.priority, defaults::priority(class)),
            affinity: self.affinity(class, raw),
            coalesce: self.coalesce(class, raw),
            short: self.short(class, raw),
        }
    }

    fn short(&mut self, class: RequestClass, raw: &RawClass) -> Vec<ProcessName> {
        let key = format!("classes.{class}.short");
        if class != RequestClass::Process {
            self.only_for(&key, raw.short.at(), "`classes.process`");
            return Vec::new();
        }
        self.list(&key, &raw.short, Vec::new());
        let written = raw.short.given().map(|list| &list.value[..]);
        let mut names = Vec::new();
        for written in written.unwrap_or_default() {
            match ProcessName::from_name(&written.value) {
                Some(_) if changes_catalog(&written.value) => {
                    let problem = format!(
                        "`{key}` has \"{}\": a process that changes the catalog runs on the main, as a process",
                        written.value.escape_debug()
                    );
                    self.refuse(Problem::new(problem).at(written.at));
                }
                Some(name) => names.push(name),
                None => {
                    let rule = "the name of a process, as in `gs:PagedUnique`";
                    self.refuse(wrong(&key, written, rule).at(written.at));
                }
            }
        }
        names
    }

    fn affinity(&mut self, class: RequestClass, raw: &RawClass) -> Option<Affinity> {
        let (key, load_key) = (
            format!("classes.{class}.affinity"),
            format!("classes.{class}.affinity_load_percent"),
        );
        if class != RequestClass::Tile {
            for (key, at) in [
                (key, raw.affinity.at()),
                (load_key, raw.affinity_load_percent.at()),
            ] {
                self.only_for(&key, at, "`classes.tile`");
            }
            return None;
        }
        let is_on = self.value(&key, &raw.affinity, defaults::AFFINITY);
        let (default, range) = (defaults::AFFINITY_LOAD_PERCENT, defaults::AFFINITY_LOADS);
        let load_percent = self.count(&load_key, &raw.affinity_load_percent, default, range);
        is_on.then_some(Affinity { load_percent })
    }

    fn coalesce(&mut self, class: RequestClass, raw: &RawClass) -> Coalesce {
        let key = format!("classes.{class}.coalesce");
        if class.row().is_coalescable {
            return self.value(&key, &raw.coalesce, defaults::COALESCE);
        }
        self.only_for(
            &key,
            raw.coalesce.at(),
            "`classes.tile`, `classes.map` and `classes.capabilities`",
        );
        Coalesce::Off
    }

    /// Refuses a key that this class does not have.
    fn only_for(&mut self, key: &str, at: Option<At>, whose: &str) {
        if let Some(at) = at {
            self.refuse(
                Problem::new(format!(
                    "`{key}` is not a key of this class: only of {whose}"
                ))
                .at(at),
            );
        }
    }

    fn served_by(
        &mut self,
        key: &str,
        class: RequestClass,
        raw: &RawClass,
        upstreams: &[String],
    ) -> ServedBy {
        let servers = class.row().served_by;
        let default = match servers {
            Servers::Replicas => ServedBy::Replicas,
            Servers::OneUpstream | Servers::Main { .. } => ServedBy::Main,
        };
        let word = match default {
            ServedBy::Replicas => REPLICAS,
            ServedBy::Main | ServedBy::Upstream(_) => MAIN,
        };
        self.value(key, &raw.served_by, word.to_owned());
        let Some(written) = raw.served_by.given() else {
            return default;
        };
        let problem = match (servers, written.value.as_str()) {
            (_, MAIN) => return ServedBy::Main,
            (Servers::Replicas | Servers::OneUpstream, REPLICAS) => return ServedBy::Replicas,
            (Servers::OneUpstream, name) => match UpstreamName::new(name)
                .filter(|_| upstreams.iter().any(|known| known == name))
            {
                Some(name) => return ServedBy::Upstream(name),
                None => wrong(
                    key,
                    written,
                    "`replicas`, `main` or the name of an upstream",
                )
                .label(suggestion(
                    name,
                    upstreams.iter().map(String::as_str).chain([REPLICAS, MAIN]),
                )),
            },
            (Servers::Replicas, name) => wrong(key, written, "`replicas` or `main`")
                .label(suggestion(name, [REPLICAS, MAIN])),
            (Servers::Main { reason }, _) => wrong(key, written, "`main`").help(reason),
        };
        self.refuse(problem.at(written.at));
        default
    }
}

fn wrong(key: &str, written: &Written<String>, rule: &str) -> Problem {
    Problem::new(format!(
        "`{key}` is \"{}\": must be {rule}",
        written.value.escape_debug()
    ))
}
