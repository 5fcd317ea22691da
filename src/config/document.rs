//! Reads the text of one file into the tables of [`Raw`], with a problem for every key that is
//! unknown, misplaced or of the wrong type.

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::UpstreamName;
use super::defaults::MAX_NAMED;
use super::diagnostics::{Problem, did_you_mean, suggestion};
use super::raw::{Listed, Named, Raw, RawTop, SECTIONS, Section, Table, is_list, is_named};
use super::source::{At, names_secret};
use super::syntax;
use super::value::{Reading, Written, in_order};

/// Keys that other proxies have and geofront does not, with their replacement.
const INSTEAD: [(&str, &str, &str); 4] = [
    (
        "geoserver",
        "password",
        "secrets are not written in the configuration: put the password in a file that only geofront may read and give its name \
         with `password_file`, or in an environment variable and give its name with `password_env`",
    ),
    (
        "",
        "admin_token",
        "secrets are not written in the configuration: put the token in a file that only geofront may read and give its name \
         with `admin_token_file`, or in an environment variable and give its name with `admin_token_env`",
    ),
    (
        "upstreams",
        "context",
        "the context path is the same for all upstreams: `context` under [geoserver]",
    ),
    (
        "upstreams",
        "password",
        "credentials are the same for all upstreams: `password_file` under [geoserver]",
    ),
];

/// Files differ in whether they may have keys above the first header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    /// The file geofront was started with.
    First,
    /// A file named by `include`.
    Included,
}

/// Reads a whole file. Returns `false` if its TOML is so broken that its values cannot be trusted.
pub(super) fn read(kind: FileKind, raw: &mut Raw, reading: &mut Reading<'_>) -> bool {
    let text = reading.sources.text(reading.file);
    let (document, errors) = DeTable::parse_recoverable(text);
    let (problems, is_whole) = syntax::problems(&errors, reading);
    reading.problems.extend(problems);
    if is_whole {
        for (key, value) in in_order(document.get_ref()) {
            read_top(kind, key, value, raw, reading);
        }
    }
    is_whole
}

fn read_top(
    kind: FileKind,
    key: &Spanned<DeString<'_>>,
    value: &Spanned<DeValue<'_>>,
    raw: &mut Raw,
    reading: &mut Reading<'_>,
) {
    let name: &str = key.get_ref();
    match name {
        "clusters" => read_named(name, value, &mut raw.clusters, reading),
        "listeners" => read_named(name, value, &mut raw.listeners, reading),
        "acme" => read_section(name, value, &mut raw.acme, reading),
        "upstreams" => read_named(name, value, &mut raw.upstreams, reading),
        "classes" => read_named(name, value, &mut raw.classes, reading),
        "routes" => read_list(name, value, &mut raw.routes, reading),
        "geoserver" => read_section(name, value, &mut raw.geoserver, reading),
        "health" => read_section(name, value, &mut raw.health, reading),
        "catalog" => read_section(name, value, &mut raw.catalog, reading),
        "timeouts" => read_section(name, value, &mut raw.timeouts, reading),
        "retry" => read_section(name, value, &mut raw.retry, reading),
        "limits" => read_section(name, value, &mut raw.limits, reading),
        "clients" => read_section(name, value, &mut raw.clients, reading),
        "cors" => read_section(name, value, &mut raw.cors, reading),
        "compression" => read_section(name, value, &mut raw.compression, reading),
        "log" => read_section(name, value, &mut raw.log, reading),
        "traces" => read_section(name, value, &mut raw.traces, reading),
        "shutdown" => read_section(name, value, &mut raw.shutdown, reading),
        _ if kind == FileKind::Included && RawTop::KEYS.contains(&name) => {
            let problem =
                Problem::new(format!("`{name}` stands in an included file")).at(reading.at(key));
            reading.refuse(
                problem
                    .label("belongs into the first file")
                    .help("included files hold tables only"),
            );
        }
        _ if raw.top.read(name, name, value, reading) => {}
        _ => unknown_at_top(key, value, reading),
    }
}

fn unknown_at_top(
    key: &Spanned<DeString<'_>>,
    value: &Spanned<DeValue<'_>>,
    reading: &mut Reading<'_>,
) {
    let (name, at): (&str, At) = (key.get_ref(), reading.at(key));
    let sections = SECTIONS.map(|(section, _)| section);
    let problem = if value.get_ref().is_table() {
        let near = did_you_mean(name, sections)
            .map_or_else(String::new, |section| format!("did you mean [{section}]?"));
        Problem::new(format!("unknown table [{name}]"))
            .at(at)
            .label(near)
            .help(format!(
                "the tables are: {}",
                SECTIONS.map(|(section, _)| header(section)).join(", ")
            ))
    } else {
        hide_unknown_secret(name, value, reading);
        let problem = Problem::new(format!("unknown key `{name}`")).at(at);
        match (instead("", name), home_of(name)) {
            (Some(text), _) => problem.help(text),
            (None, Some(home)) => problem.label(format!("belongs under {home}")),
            (None, None) => {
                let keys = RawTop::KEYS.iter().copied();
                problem.label(suggestion(name, keys)).help(format!(
                    "above the first header there may be: {}",
                    RawTop::KEYS.join(", ")
                ))
            }
        }
    };
    reading.refuse(problem);
}

fn instead(section: &str, key: &str) -> Option<&'static str> {
    INSTEAD
        .iter()
        .find(|(s, k, _)| *s == section && *k == key)
        .map(|(_, _, text)| *text)
}

/// The sections that have this key: `[health] or [shutdown]`.
fn home_of(key: &str) -> Option<String> {
    let having: Vec<_> = SECTIONS
        .iter()
        .filter(|(_, keys)| keys.contains(&key))
        .map(|(section, _)| header(section))
        .collect();
    (!having.is_empty()).then(|| having.join(" or "))
}

/// The header of a section as an administrator writes it.
fn header(section: &str) -> String {
    if is_named(section) {
        format!("[{section}.NAME]")
    } else if is_list(section) {
        format!("[[{section}]]")
    } else {
        format!("[{section}]")
    }
}

/// Hides the value of an unknown key that may hold a password.
fn hide_unknown_secret(key: &str, value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) {
    if names_secret(key) {
        reading.secrets.push(reading.at(value));
    }
}

fn read_section<T: Table>(
    name: &str,
    value: &Spanned<DeValue<'_>>,
    section: &mut Section<T>,
    reading: &mut Reading<'_>,
) {
    let Some(table) = value.get_ref().as_table() else {
        refuse_not_a_table(name, value, reading);
        return;
    };
    let at = reading.at(value);
    match section.at {
        None => section.at = Some(at),
        Some(first) => {
            let problem = Problem::new(format!("[{name}] is there twice")).at(at);
            let first = format!("first at {}", reading.sources.origin(first));
            reading.refuse(
                problem
                    .label(first)
                    .help("a table stands in one file as a whole"),
            );
        }
    }
    read_keys(name, name, table, &mut section.table, reading);
}

fn read_named<T: Table>(
    family: &str,
    value: &Spanned<DeValue<'_>>,
    all: &mut Vec<Named<T>>,
    reading: &mut Reading<'_>,
) {
    let Some(tables) = value.get_ref().as_table() else {
        refuse_not_a_table(family, value, reading);
        return;
    };
    for (key, value) in in_order(tables) {
        let name = Written {
            value: key.get_ref().to_string(),
            at: reading.at(key),
        };
        if !read_one_named(family, name, value, all, reading) {
            return;
        }
    }
}

/// Reads one table of a family into `all`. Returns `false` if there is no room for it.
fn read_one_named<T: Table>(
    family: &str,
    name: Written<String>,
    value: &Spanned<DeValue<'_>>,
    all: &mut Vec<Named<T>>,
    reading: &mut Reading<'_>,
) -> bool {
    if all.len() == MAX_NAMED {
        let problem =
            Problem::new(format!("more than {MAX_NAMED} tables [{family}.NAME]")).at(name.at);
        reading.refuse(problem);
        return false;
    }
    let path = format!("{family}.{}", name.value);
    let Some(table) = value.get_ref().as_table() else {
        let problem = Problem::new(format!("`{path}` is not a table")).at(name.at);
        reading.refuse(problem.help(format!(
            "write a header with a name and the keys below it: [{family}.NAME]"
        )));
        return true;
    };
    // The length bounds the depth.
    if name.value.len() <= UpstreamName::MAX_BYTES && has_only_tables(value) {
        // No key of such a table is a table itself: the dot was meant as part of the name.
        return in_order(table).into_iter().all(|(key, value)| {
            let name = Written {
                value: format!("{}.{}", name.value, key.get_ref()),
                at: reading.at(key),
            };
            if !has_only_tables(value) {
                reading.refuse(unquoted(&format!("{family}.{}", name.value)).at(name.at));
            }
            read_one_named(family, name, value, all, reading)
        });
    }
    if let Some(first) = all.iter().find(|other| other.name.value == name.value) {
        let problem = Problem::new(format!("[{path}] is there twice")).at(name.at);
        reading.refuse(problem.label(format!(
            "first at {}",
            reading.sources.origin(first.name.at)
        )));
        return true;
    }
    let mut named = Named {
        name,
        table: T::default(),
    };
    read_keys(family, &path, table, &mut named.table, reading);
    all.push(named);
    true
}

/// True for a table that has tables and nothing else.
fn has_only_tables(value: &Spanned<DeValue<'_>>) -> bool {
    let table = value.get_ref().as_table();
    table.is_some_and(|table| {
        !table.is_empty() && table.iter().all(|(_, value)| value.get_ref().is_table())
    })
}

/// The problem of a name with a dot that is not in quotes: TOML reads a table within a table.
/// `path` is the header.
fn unquoted(path: &str) -> Problem {
    let (family, name) = path.split_once('.').unwrap_or((path, ""));
    Problem::new(format!("the name in [{path}] has a dot"))
        .help(format!("put it in quotes: [{family}.\"{name}\"]"))
}

/// Reads `[[routes]]`. The tables of included files follow those of the files before them.
fn read_list<T: Table>(
    family: &str,
    value: &Spanned<DeValue<'_>>,
    all: &mut Vec<Listed<T>>,
    reading: &mut Reading<'_>,
) {
    let DeValue::Array(tables) = value.get_ref() else {
        refuse_not_a_table(family, value, reading);
        return;
    };
    for item in tables {
        if all.len() == MAX_NAMED {
            let problem = Problem::new(format!("more than {MAX_NAMED} tables {}", header(family)));
            reading.refuse(problem.at(reading.at(item)));
            return;
        }
        let Some(table) = item.get_ref().as_table() else {
            refuse_not_a_table(family, item, reading);
            continue;
        };
        let mut listed = Listed {
            table: T::default(),
            at: reading.at(item),
        };
        let path = format!("{family}.{}", all.len() + 1);
        read_keys(family, &path, table, &mut listed.table, reading);
        all.push(listed);
    }
}

fn refuse_not_a_table(name: &str, value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) {
    let found = match value.get_ref() {
        DeValue::Array(_) => "is a list of tables, and must be one table",
        DeValue::Table(_) => "is one table, and must be a list of tables",
        _ => "is not a table",
    };
    let problem = Problem::new(format!("`{name}` {found}")).at(reading.at(value));
    reading.refuse(problem.help(format!(
        "write a header and the keys below it: {}",
        header(name)
    )));
}

fn read_keys<T: Table>(
    family: &str,
    path: &str,
    table: &DeTable<'_>,
    into: &mut T,
    reading: &mut Reading<'_>,
) {
    for (key, value) in in_order(table) {
        let name: &str = key.get_ref();
        if !into.read(name, &format!("{path}.{name}"), value, reading) {
            hide_unknown_secret(name, value, reading);
            let problem =
                if is_named(family) && value.get_ref().is_table() && home_of(name).is_none() {
                    unquoted(&format!("{path}.{name}"))
                } else {
                    unknown_below(family, path, name, T::KEYS)
                };
            reading.refuse(problem.at(reading.at(key)));
        }
    }
}

fn unknown_below(family: &str, path: &str, name: &str, keys: &[&str]) -> Problem {
    if RawTop::KEYS.contains(&name) {
        return Problem::new(format!(
            "`{name}` is under [{path}] because it comes after that header"
        ))
        .label("move it to the top of the file")
        .help("a key belongs to the last [header] above it");
    }
    let problem = Problem::new(format!("unknown key `{name}` in [{path}]"));
    if let Some(text) = instead(family, name) {
        return problem.help(text);
    }
    match (did_you_mean(name, keys.iter().copied()), home_of(name)) {
        (Some(near), _) => problem.label(format!("did you mean `{near}`?")),
        (None, Some(home)) => problem.label(format!("belongs under {home}")),
        (None, None) => problem.help(format!("[{path}] may have: {}", keys.join(", "))),
    }
}
