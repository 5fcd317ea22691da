//! The conditions of HAProxy's rules: the requests that an `acl` stands for.

use std::collections::BTreeMap;

use super::super::balancer::RoutePurpose;
use super::super::paths;
use super::syntax::HaProxyStatement;

/// Methods of requests that change something.
const WRITES: [&str; 4] = ["POST", "PUT", "DELETE", "PATCH"];

/// The access lists of one section, by name.
#[derive(Debug, Default)]
pub(super) struct AccessLists {
    lists: BTreeMap<String, Vec<Criterion>>,
}

/// The requests that one list stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Criterion {
    Paths(Vec<String>),
    Writes,
    /// Parameters of a service, such as `service=wfs`.
    Service,
    Other,
}

impl AccessLists {
    /// The lists of a section.
    pub(super) fn new(statements: &[HaProxyStatement]) -> Self {
        let mut lists: BTreeMap<String, Vec<Criterion>> = BTreeMap::new();
        for statement in statements {
            if let [keyword, name, rest @ ..] = statement.words.as_slice()
                && keyword == "acl"
            {
                lists.entry(name.clone()).or_default().push(criterion(rest));
            }
        }
        Self { lists }
    }

    /// The requests that satisfy a condition, `if ...` or `unless ...`, and the path of GeoServer
    /// that it shows. Alternatives and conjunctions count alike: either way the condition shows the
    /// purpose of the rule.
    pub(super) fn purpose(&self, words: &[String]) -> (RoutePurpose, Option<String>) {
        let is_reversed = words.first().is_some_and(|word| word == "unless");
        let mut found = Vec::new();
        let mut words = words.iter().skip(1);
        let mut is_negated = is_reversed;
        while let Some(word) = words.next() {
            match word.as_str() {
                "or" | "||" | "and" => continue,
                "!" => {
                    is_negated = !is_negated;
                    continue;
                }
                "{" => {
                    let inner: Vec<String> = words
                        .by_ref()
                        .take_while(|word| *word != "}")
                        .cloned()
                        .collect();
                    found.push((criterion(&inner), is_negated));
                }
                word => {
                    let (name, is_negated) = match word.strip_prefix('!') {
                        Some(name) => (name, !is_negated),
                        None => (word, is_negated),
                    };
                    let list = self.lists.get(name).into_iter().flatten();
                    found.extend(list.map(|criterion| (criterion.clone(), is_negated)));
                    if name.starts_with("METH_POST") {
                        found.push((Criterion::Writes, is_negated));
                    }
                }
            }
            is_negated = is_reversed;
        }
        strongest(&found)
    }
}

/// The clearest statement of all criteria.
fn strongest(found: &[(Criterion, bool)]) -> (RoutePurpose, Option<String>) {
    let mut purposes = Vec::new();
    let mut context = None;
    for (criterion, is_negated) in found {
        let purpose = match criterion {
            Criterion::Paths(paths) => {
                if context.is_none() {
                    context = paths.iter().find_map(|path| paths::context(path));
                }
                let all: Vec<RoutePurpose> =
                    paths.iter().map(|path| paths::purpose(path)).collect();
                if all.contains(&RoutePurpose::Administration) {
                    RoutePurpose::Administration
                } else if all.contains(&RoutePurpose::GeoServer) {
                    RoutePurpose::GeoServer
                } else if all.contains(&RoutePurpose::Everything) {
                    RoutePurpose::Everything
                } else {
                    RoutePurpose::OtherApplication
                }
            }
            Criterion::Writes => RoutePurpose::Administration,
            Criterion::Service => RoutePurpose::GeoServer,
            Criterion::Other => RoutePurpose::Everything,
        };
        purposes.push(match (purpose, is_negated) {
            (purpose, false) => purpose,
            // All but administration are GeoServer's other requests.
            (RoutePurpose::Administration, true) => RoutePurpose::GeoServer,
            (_, true) => RoutePurpose::Everything,
        });
    }
    let purpose = [
        RoutePurpose::Administration,
        RoutePurpose::GeoServer,
        RoutePurpose::OtherApplication,
    ]
    .into_iter()
    .find(|purpose| purposes.contains(purpose))
    .unwrap_or(RoutePurpose::Everything);
    (purpose, context)
}

/// A criterion with its flags and values: `path_beg -i /geoserver/web /geoserver/rest`.
fn criterion(words: &[String]) -> Criterion {
    let Some((name, rest)) = words.split_first() else {
        return Criterion::Other;
    };
    let mut values = Vec::new();
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-i" | "-n" | "--" => {}
            "-m" | "-f" | "-M" | "-u" => {
                words.next();
            }
            value => values.push(value.to_owned()),
        }
    }
    let name = name.to_ascii_lowercase();
    let is_of = |begin: &str| name.starts_with(begin);
    let is_parameter = is_of("url_param") || is_of("urlp");
    let names_service = is_parameter && (name.contains("service") || name.contains("request"));
    match () {
        () if is_of("path") || is_of("url") && !is_parameter || is_of("base") => {
            Criterion::Paths(values)
        }
        () if is_of("method") => {
            if values.iter().any(|value| WRITES.contains(&value.as_str())) {
                Criterion::Writes
            } else {
                Criterion::Other
            }
        }
        () if names_service => Criterion::Service,
        () => Criterion::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The requests of a condition in a section with `lists`.
    fn purpose(lists: &[&str], condition: &str) -> RoutePurpose {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let statements: Vec<HaProxyStatement> = lists
            .iter()
            .map(|line| HaProxyStatement {
                line: 1,
                text: (*line).to_owned(),
                words: words(line),
            })
            .collect();
        AccessLists::new(&statements).purpose(&words(condition)).0
    }

    #[test]
    fn a_condition_is_for_what_its_lists_name() {
        let lists = [
            "acl adm path_beg -i /geoserver/web",
            "acl adm path_beg /geoserver/rest",
            "acl ows path -m reg ^/geoserver/(wms|wfs)",
            "acl post method POST PUT DELETE",
            "acl other path_beg /geonetwork",
            "acl host hdr(host) -i maps.example.org",
            "acl admin_cookie hdr_sub(cookie) GEOADMIN",
        ];
        for (condition, expected) in [
            ("if adm", RoutePurpose::Administration),
            ("if host adm", RoutePurpose::Administration),
            ("if adm or admin_cookie", RoutePurpose::Administration),
            ("if !adm", RoutePurpose::GeoServer),
            ("if ! adm", RoutePurpose::GeoServer),
            ("unless adm", RoutePurpose::GeoServer),
            ("unless !adm", RoutePurpose::Administration),
            ("if ows", RoutePurpose::GeoServer),
            ("if post", RoutePurpose::Administration),
            ("if METH_POST", RoutePurpose::Administration),
            ("if other", RoutePurpose::OtherApplication),
            ("if host", RoutePurpose::Everything),
            (
                "if { path_beg /geoserver/rest }",
                RoutePurpose::Administration,
            ),
            ("if { urlp(service) -i wms }", RoutePurpose::GeoServer),
            ("if unknown", RoutePurpose::Everything),
            ("", RoutePurpose::Everything),
        ] {
            assert_eq!(purpose(&lists, condition), expected, "{condition}");
        }
    }
}
