//! `geofront explain`: shows how a request is classified and where it would go, without sending it.

use std::io::{Read, Write};
use std::path::Path;

use super::args;
use super::exit::{Exit, Failure};
use super::{load_all, of_cluster};
use crate::config::{ClusterChoice, Clusters, Config, MapEnvironment};
use crate::explanation::{self, Explanation, Missing, Question};

/// A configuration in which every key has its default, with credentials for reloads.
const SMALLEST: &str = "[upstreams.main]\nurl = 'http://127.0.0.1:8180'\nrole = 'main'\n\
    [upstreams.replica]\nurl = 'http://127.0.0.1:8280'\n\
    [geoserver]\nheaders = { sec-username = 'geofront' }\n";

pub(super) fn run(options: &args::Explain, out: &mut dyn Write) -> Result<Exit, Failure> {
    let question = read(options)?;
    let default = Path::new(args::DEFAULT_CONFIG);
    let path = options.config.as_deref();
    // A folder that this user may not search has one, as far as is known.
    let is_there = || default.try_exists().unwrap_or(true);
    let Some(path) = path.or_else(|| is_there().then_some(default)) else {
        explain(&question, &defaults(), false, out)?;
        return Ok(Exit::Success);
    };
    let first = load_all(path)?;
    let clusters = &first.loaded.config.clusters;
    let name = match (&options.cluster, clusters.is_empty()) {
        (Some(name), _) => Some(name.clone()),
        (None, true) => None,
        (None, false) => match chosen(&question, clusters)? {
            Ok(name) => Some(name),
            Err(refused) => {
                writeln!(out, "{:<12} {refused}", "refused")?;
                return Ok(Exit::Success);
            }
        },
    };
    if let Some(name) = name.as_deref().filter(|_| !clusters.is_empty()) {
        writeln!(out, "{:<12} {name}", "cluster")?;
    }
    let config = of_cluster(first, name.as_deref())?;
    explain(&question, &config, true, out)?;
    Ok(Exit::Success)
}

/// The name of the request's cluster, or the answer that the request gets without one.
fn chosen(question: &Question, clusters: &Clusters) -> Result<Result<String, String>, Failure> {
    let host = question.host();
    let names = clusters.names();
    Ok(
        match clusters.choose(host.map(str::as_bytes), question.target.as_bytes()) {
            ClusterChoice::Cluster(at) => Ok(clusters.entries()[at].name.to_string()),
            ClusterChoice::UnknownHost if host.is_none() => {
                return Err(Failure::usage(format!(
                    "the cluster depends on the host: give a whole URL, or name one of {names} with --cluster NAME"
                )));
            }
            ClusterChoice::UnknownHost => {
                Err(format!("421: none of the clusters {names} has this host"))
            }
            ClusterChoice::UnknownPath => Err(format!(
                "404: none of the clusters {names} has this path on this host, in every way of reading it"
            )),
        },
    )
}

fn defaults() -> Config {
    let environment = MapEnvironment::new().file("geofront.toml", SMALLEST);
    Config::load(Path::new("geofront.toml"), &environment)
        .expect("the smallest configuration is right")
        .config
}

fn read(options: &args::Explain) -> Result<Question, Failure> {
    let (method, url) = match options.request.as_slice() {
        [url] => (None, url),
        [method, url] => (Some(method.as_str()), url),
        other => unreachable!(
            "one or two words by the rules of the command line, not {}",
            other.len()
        ),
    };
    method
        .map_or(Ok(()), explanation::check_method)
        .map_err(Failure::usage)?;
    let body = options.body.as_deref().map(read_body).transpose()?;
    let question = Question::new(method, url, body).ok_or_else(|| {
        Failure::usage(format!(
            "`{url}` is no URL: it must start with http://, https:// or /"
        ))
    })?;
    Question {
        content_type: options.body.as_ref().map(|_| options.content_type.clone()),
        content_encoding: options.content_encoding.clone(),
        address: options.from,
        ..question
    }
    .with_headers(&options.headers)
    .map_err(Failure::usage)
}

/// Maximum size of a body file. geofront itself never reads more of a body to classify it.
const MAX_BODY: u64 = 64 << 20;

fn read_body(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_BODY).read_to_end(&mut body))
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    Ok(body)
}

fn explain(
    question: &Question,
    config: &Config,
    is_configured: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let explanation = Explanation::new(question, config);
    for fact in &explanation.facts {
        // The upstreams of the defaults are made up.
        if is_configured || fact.name != "goes to" {
            writeln!(out, "{:<12} {}", fact.name, fact.value)?;
        }
    }
    if !is_configured {
        writeln!(
            out,
            "\nThese are the defaults: there is no {}.",
            args::DEFAULT_CONFIG
        )?;
    }
    for missing in &explanation.missing {
        match missing {
            Missing::Address => writeln!(
                out,
                "\nSome rules depend on the client's address: give it with --from ADDRESS. \
                 Without it the client is in no network."
            )?,
            Missing::Body => writeln!(
                out,
                "\nThe body of this {} counts too: give it with --body FILE.",
                question.method
            )?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "[upstreams.m]\nurl = 'http://127.0.0.1:1'\nrole = 'main'\n\
        [upstreams.a]\nurl = 'http://127.0.0.1:2'\n\
        [upstreams.b]\nurl = 'http://127.0.0.1:3'\nweight = 50\n";

    fn printed(question: &Question, config: Option<&str>) -> String {
        let config_of = |text: &str| {
            let environment = MapEnvironment::new().file("geofront.toml", text);
            Config::load(Path::new("geofront.toml"), &environment)
                .unwrap()
                .config
        };
        let mut out = Vec::new();
        match config {
            Some(text) => explain(question, &config_of(text), true, &mut out).unwrap(),
            None => explain(question, &defaults(), false, &mut out).unwrap(),
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_map_goes_to_the_replicas_and_to_the_main_as_a_last_resort() {
        let target = "/geoserver/wms?service=WMS&request=GetMap&version=1.3.0&layers=geor:roads";
        let question = Question::new(None, target, None).unwrap();
        insta::assert_snapshot!(printed(&question, Some(CLUSTER)), @r"
        class        map
        why          service=WMS and request=GetMap in the query
        service      WMS
        operation    GetMap
        version      1.3.0
        layer        geor:roads
        served by    replicas
        another try  on another upstream until the first byte has come, 3 tries in all
        first byte   within 1m 30s
        queue        priority 1; waits for a slot for up to 20s, as one of at most 400
        goes to      the least busy for its weight of a (weight 100), b (weight 50); m when none of them serves
        ");
    }

    #[test]
    fn the_defaults_go_nowhere_and_bring_changes_to_the_replicas() {
        let question = Question::new(Some("PUT"), "/geoserver/rest/layers/roads", None).unwrap();
        let printed = printed(&question, None);
        assert!(
            printed.contains("class        admin\n")
                && printed.contains("one at a time, once changes stop\n")
                && !printed.contains("goes to")
                && printed.contains("These are the defaults: there is no "),
            "{printed}"
        );
    }

    #[test]
    fn what_the_decision_lacks_is_named_with_its_option() {
        let question = Question::new(Some("POST"), "/geoserver/wfs", None).unwrap();
        let rules = format!("{CLUSTER}[[routes]]\nfrom = '10.0.0.0/8'\nrefuse = true\n");
        let printed = printed(&question, Some(&rules));
        assert!(
            printed.contains("The body of this POST counts too: give it with --body FILE.")
                && printed.contains("give it with --from ADDRESS"),
            "{printed}"
        );
    }
}
