//! Tests of the explanation: the decision, and its description.

use std::path::Path;

use super::*;
use crate::config::MapEnvironment;

const CLUSTER: &str = "[upstreams.m]\nurl = 'http://127.0.0.1:1'\nrole = 'main'\n\
    [upstreams.a]\nurl = 'http://127.0.0.1:2'\n\
    [upstreams.b]\nurl = 'http://127.0.0.1:3'\nweight = 50\n";

fn config(text: &str) -> Config {
    let environment = MapEnvironment::new().file("geofront.toml", text);
    Config::load(Path::new("geofront.toml"), &environment)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config
}

fn explained(method: &str, target: &str, text: &str) -> Explanation {
    let question = Question::new(Some(method), target, None).unwrap();
    Explanation::new(&question, &config(text))
}

impl Explanation {
    /// The value of a fact; empty if there is none of this name.
    fn fact(&self, name: &str) -> &str {
        let fact = self.facts.iter().find(|fact| fact.name == name);
        fact.map_or("", |fact| &fact.value)
    }
}

fn names(upstreams: &[UpstreamName]) -> Vec<&str> {
    upstreams.iter().map(|name| name.as_str()).collect()
}

#[test]
fn an_answer_that_may_be_compressed_has_its_codings() {
    let text = format!("{CLUSTER}[compression]\ncodings = ['zstd', 'gzip']\n");
    let features = "/geoserver/wfs?service=WFS&request=GetFeature";
    let compressed =
        |target, text: &str| explained("GET", target, text).fact("compressed").to_owned();
    let expected = "with zstd or gzip if it is text, for a client that accepts it";
    assert_eq!(compressed(features, &text), expected);
    assert_eq!(compressed(features, CLUSTER), "");
    assert_eq!(compressed("/geoserver/rest/workspaces", &text), "");
}

#[test]
fn a_url_gives_the_target_a_client_would_send() {
    let targets = [
        "/a?b",
        "http://h:80/a?b#c",
        "https://h",
        "http://h?x=1",
        "ftp://h/",
        "wms",
    ]
    .map(target_of);
    let expected = [
        Some("/a?b"),
        Some("/a?b"),
        Some("/"),
        Some("/?x=1"),
        None,
        None,
    ];
    assert_eq!(targets, expected.map(|target| target.map(str::to_owned)));
}

#[test]
fn a_request_with_a_body_is_a_post_of_xml() {
    let question = Question::new(None, "/a", Some(b"<x/>".to_vec())).unwrap();
    assert_eq!(
        (question.method.as_str(), question.content_type.as_deref()),
        ("POST", Some("application/xml"))
    );
    assert_eq!(Question::new(None, "/a", None).unwrap().method, "GET");
}

#[test]
fn a_url_is_the_public_one_where_there_is_another_path() {
    let text = format!("{CLUSTER}[geoserver]\npublic_path = '/maps/geoserver'\n");
    let wms = "/geoserver/wms?service=WMS&request=GetMap";
    let map = explained("GET", &format!("/maps{wms}"), &text);
    assert_eq!((map.class, map.is_refused), (RequestClass::Map, false));
    let elsewhere = explained("GET", wms, &text);
    assert!(elsewhere.is_refused && elsewhere.fact("refused").starts_with("404"));
}

#[test]
fn a_map_goes_to_the_replicas_and_to_the_main_as_a_last_resort() {
    let map = explained("GET", "/geoserver/wms?service=WMS&request=GetMap", CLUSTER);
    assert_eq!(map.class, RequestClass::Map);
    assert_eq!(
        (names(&map.upstreams), names(&map.otherwise)),
        (vec!["a", "b"], vec!["m"])
    );
}

#[test]
fn the_rule_that_a_request_follows_is_named_with_what_it_does() {
    let rules = format!(
        "{CLUSTER}[[routes]]\nname = 'no-rest'\npath = '/rest/**'\nrefuse = true\n\
         [[routes]]\nname = 'exports'\nservice = 'WFS'\nupstreams = 'b'\n\
         [[routes]]\npath = '/ext/**'\nclass = 'feature'\n\
         [[routes]]\nservice = 'WCS'\nheader = 'X-Team: maps*'\nupstreams = 'a'\nonly = true\n"
    );
    let refused = explained("GET", "/geoserver/rest/layers", &rules);
    assert_eq!(
        (refused.fact("rule"), refused.fact("goes to")),
        ("no-rest: refused with status 403", "")
    );
    assert!(refused.is_refused && refused.upstreams.is_empty());
    let exported = explained("GET", "/geoserver/wfs?request=GetFeature", &rules);
    assert_eq!(exported.fact("rule"), "exports: to b");
    assert!(
        exported
            .fact("goes to")
            .starts_with("b; while none of them serves, as without the rule: the least busy")
    );
    assert_eq!(
        (names(&exported.upstreams), names(&exported.otherwise)),
        (vec!["b"], vec!["a", "m"])
    );
    let read = explained("GET", "/geoserver/ext/a", &rules);
    assert_eq!(
        (read.class, read.fact("rule")),
        (RequestClass::Feature, "#3: class feature")
    );
    assert_eq!(
        explained("GET", "/geoserver/wms?request=GetMap", &rules).rule,
        None
    );
    let coverage = Question::new(None, "/geoserver/wcs?request=GetCoverage", None)
        .unwrap()
        .with_headers(&["X-TEAM:  maps-1".to_owned()])
        .unwrap();
    let coverage = Explanation::new(&coverage, &config(&rules));
    assert_eq!(
        (coverage.fact("rule"), coverage.fact("goes to")),
        ("#4: to a", "a, or nowhere while none of them serves")
    );
}

#[test]
fn a_client_of_the_blacklist_is_refused() {
    let rules = format!("{CLUSTER}[limits]\ncontrol_flow = ['ip.blacklist=10.0.0.9']\n");
    let question = Question {
        address: Some([10, 0, 0, 9].into()),
        ..Question::new(None, "/geoserver/wms?request=GetMap", None).unwrap()
    };
    let refused = Explanation::new(&question, &config(&rules));
    assert!(
        refused.is_refused && refused.fact("refused").contains("ip.blacklist"),
        "{refused:?}"
    );
}

#[test]
fn limits_queue_and_the_largest_body_are_named() {
    let rules = format!(
        "{CLUSTER}[limits]\ncontrol_flow = ['ows.wfs=4', 'user.ows.wfs.getfeature=30/s;2s', 'ows.wms=1']\n"
    );
    let feature = explained("POST", "/geoserver/wfs?request=GetFeature", &rules);
    assert_eq!(
        feature.fact("limits"),
        "ows.wfs=4, user.ows.wfs.getfeature=30 in 1s, 2s late above it"
    );
    assert_eq!(
        feature.fact("queue"),
        "priority 2, heavy; waits for a slot for up to 20s, as one of at most 400"
    );
    assert!(feature.fact("body").starts_with("up to "), "{feature:?}");
    let unlimited = format!("{CLUSTER}[limits]\nmax_in_flight = 'off'\n");
    assert_eq!(
        explained("GET", "/geoserver/wfs?request=GetFeature", &unlimited).fact("queue"),
        "priority 2, heavy; no upstream has a limit, so no request waits"
    );
}

#[test]
fn a_main_that_always_reads_is_one_of_those_that_share() {
    let always = CLUSTER.replace("role = 'main'", "role = 'main'\nreads = 'always'");
    let map = explained("GET", "/geoserver/wms?service=WMS&request=GetMap", &always);
    assert_eq!(
        map.fact("goes to"),
        "the least busy for its weight of m (weight 100), a (weight 100), b (weight 50)"
    );
}

#[test]
fn administration_goes_to_the_main_alone() {
    let with_credentials =
        format!("{CLUSTER}[geoserver]\nheaders = {{ sec-username = 'geofront' }}\n");
    let put = explained("PUT", "/geoserver/rest/layers/roads", &with_credentials);
    assert_eq!(
        (put.class, put.fact("served by"), put.fact("goes to")),
        (
            RequestClass::Admin,
            "main",
            "m, or nowhere while it does not serve"
        )
    );
    assert_eq!(
        put.fact("afterwards"),
        "the main's catalog is brought to every replica, one at a time, once changes stop"
    );
    assert_eq!(put.fact("another try"), "never: it might be executed twice");
}

#[test]
fn a_catalog_change_is_explained_with_its_consequences_for_the_replicas() {
    for (method, target, expected) in [
        (
            "POST",
            "/geoserver/rest/reload",
            "every replica is reloaded too, one at a time (or would be: ",
        ),
        (
            "POST",
            "/geoserver/rest/workspaces",
            "the main's catalog is brought to every replica",
        ),
        (
            "POST",
            "/geoserver/web/wicket/page?3-1.IFormSubmitListener",
            "the main's update sequence is read",
        ),
    ] {
        let explained = explained(method, target, CLUSTER);
        assert!(
            explained.fact("afterwards").starts_with(expected),
            "{explained:?}"
        );
    }
    let read = explained("GET", "/geoserver/rest/layers", CLUSTER);
    assert_eq!(read.fact("afterwards"), "");
}

#[test]
fn a_process_that_changes_the_catalog_goes_to_the_main_whichever_upstreams_run_processes() {
    let config = format!("{CLUSTER}[classes.process]\nserved_by = 'replicas'\n");
    let execute = |process: &str| {
        let target = format!("/geoserver/wps?request=Execute&identifier={process}");
        explained("GET", &target, &config)
    };
    let import = execute("gs:Import");
    assert_eq!(
        (import.fact("served by"), names(&import.upstreams)),
        (
            "main alone: a process of the request changes the catalog",
            vec!["m"]
        )
    );
    assert!(
        import
            .fact("afterwards")
            .starts_with("the main's catalog is brought to every replica"),
        "{import:?}"
    );
    let nameless = execute("");
    assert!(
        nameless
            .fact("served by")
            .starts_with("main alone: which processes run is not certain"),
        "{nameless:?}"
    );
    let buffer = execute("gs:Buffer");
    assert_eq!(
        (buffer.fact("served by"), buffer.fact("afterwards")),
        ("replicas", "")
    );
}

#[test]
fn a_long_form_is_explained_as_it_is_decided_to_the_configured_length() {
    let post = |length: usize, text: &str| {
        let body = format!("sld_body={}&service=WMS&request=GetMap", "x".repeat(length));
        let question = Question {
            content_type: Some("application/x-www-form-urlencoded".to_owned()),
            ..Question::new(None, "/geoserver/wms", Some(body.into_bytes())).unwrap()
        };
        Explanation::new(&question, &config(text)).class
    };
    assert_eq!(post(1_000_000, CLUSTER), RequestClass::Map);
    assert_eq!(post(3_000_000, CLUSTER), RequestClass::Unknown);
    let short = format!("{CLUSTER}[geoserver]\nmax_post_size = '10KB'\n");
    assert_eq!(post(20_000, &short), RequestClass::Unknown);
}

#[test]
fn what_the_decision_depends_on_and_was_not_given_is_named() {
    let rules = format!("{CLUSTER}[[routes]]\nfrom = '10.0.0.0/8'\nrefuse = true\n");
    assert_eq!(
        explained("POST", "/geoserver/wfs", &rules).missing,
        [Missing::Address, Missing::Body]
    );
    assert_eq!(explained("GET", "/geoserver/wfs", CLUSTER).missing, []);
}

#[test]
fn a_method_is_taken_as_it_is_written() {
    let target = "/geoserver/rest/workspaces";
    let class = |method| {
        explained(method, target, CLUSTER)
            .fact("another try")
            .to_owned()
    };
    assert_ne!(class("GET"), class("get"), "`get` is another method");
}

#[test]
fn a_process_is_no_layer() {
    let wps = "/geoserver/wps?service=WPS&request=Execute&identifier=gs%3APagedUnique";
    let found = explained("GET", wps, CLUSTER);
    assert_eq!(
        (found.fact("process"), found.fact("layer")),
        ("gs:PagedUnique", "")
    );
    let wcs = "/geoserver/wcs?service=WCS&request=GetCoverage&identifier=geor:dem";
    let found = explained("GET", wcs, CLUSTER);
    assert_eq!(
        (found.fact("process"), found.fact("layer")),
        ("", "geor:dem")
    );
}

#[test]
fn a_process_that_is_declared_short_is_a_short_read() {
    let short = format!("{CLUSTER}[classes.process]\nshort = ['gs:PagedUnique']\n");
    let wps = "/geoserver/wps?service=WPS&request=Execute&identifier=gs:PagedUnique";
    let found = explained("GET", wps, &short);
    assert_eq!(found.class, RequestClass::Info);
    assert_eq!(found.fact("served by"), "replicas");
    assert!(found.fact("why").contains("classes.process.short"));
    assert_eq!(names(&found.upstreams), ["a", "b"]);
    assert_eq!(explained("GET", wps, CLUSTER).class, RequestClass::Process);
    let heavy = wps.replace("gs:PagedUnique", "gs:Download");
    assert_eq!(
        explained("GET", &heavy, &short).class,
        RequestClass::Process
    );
    let ruled = format!("{short}[[routes]]\nservice = 'WPS'\nclass = 'process'\n");
    let found = explained("GET", wps, &ruled);
    assert_eq!(found.class, RequestClass::Process, "a rule goes first");
}

fn for_node(
    node: &str,
    method: &str,
    target: &str,
    from: Option<&str>,
    more: &[&str],
) -> Explanation {
    let text = format!("trusted_identity = '10.0.0.5'\nadmin_token_env = 'TOKEN'\n{CLUSTER}");
    let environment = MapEnvironment::new()
        .file("geofront.toml", text)
        .environment_variable("TOKEN", "s3cret");
    let config = Config::load(Path::new("geofront.toml"), &environment)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config;
    let mut headers = vec![format!("X-Geofront-Upstream: {node}")];
    headers.extend(more.iter().map(|line| (*line).to_owned()));
    let question = Question {
        address: from.map(|from| from.parse().unwrap()),
        ..Question::new(Some(method), target, None).unwrap()
    };
    Explanation::new(&question.with_headers(&headers).unwrap(), &config)
}

const TOKEN: &[&str] = &["X-Geofront-Token: s3cret"];
const ADA: &[&str] = &["sec-username: ada", "sec-roles: ROLE_ADMINISTRATOR"];
const STATUS: &str = "/geoserver/rest/about/status.json";

#[test]
fn a_request_that_names_its_upstream_goes_there_and_nowhere_else() {
    for (from, more) in [(None, TOKEN), (Some("10.0.0.5"), ADA)] {
        let found = for_node("b", "GET", STATUS, from, more);
        assert_eq!(names(&found.upstreams), ["b"]);
        assert!(found.otherwise.is_empty() && !found.is_refused);
        assert!(found.fact("goes to").starts_with("b, whatever its state"));
        assert!(found.fact("another try").starts_with("never"));
        assert_eq!(found.fact("served by"), "");
    }
}

#[test]
fn a_request_that_may_not_name_its_upstream_is_refused_as_by_the_front_door() {
    let refused = |found: Explanation| {
        assert!(found.is_refused && found.upstreams.is_empty(), "{found:?}");
        found.fact("refused").to_owned()
    };
    let stranger = for_node("b", "GET", STATUS, Some("10.0.0.6"), ADA);
    assert!(refused(stranger).contains("trusted_identity"));
    let unknown_peer = for_node("b", "GET", STATUS, None, ADA);
    assert_eq!(unknown_peer.missing, [Missing::Address]);
    assert!(refused(unknown_peer).contains("trusted_identity"));
    let user = for_node("b", "GET", STATUS, Some("10.0.0.5"), &["sec-username: bob"]);
    assert!(refused(user).contains("no administrator"));
    let wrong = for_node("b", "GET", STATUS, None, &["X-Geofront-Token: other"]);
    assert!(refused(wrong).contains("token"));
    assert!(refused(for_node("c", "GET", STATUS, None, TOKEN)).contains("m, a, b"));
    let write = "/geoserver/rest/workspaces";
    assert!(refused(for_node("b", "POST", write, None, TOKEN)).contains("only the main"));
    assert!(!for_node("m", "POST", write, None, TOKEN).is_refused);
}

#[test]
fn what_is_no_header_or_no_method_is_refused() {
    for text in ["bad", ": x", "a b: c", ""] {
        let question = Question::new(None, "/a", None).unwrap();
        let complaint = question.with_headers(&[text.to_owned()]).unwrap_err();
        assert_eq!(
            complaint,
            format!("`{text}` is no header: it must be `Name: value`")
        );
    }
    for method in ["B A D", "", "GET/", &"A".repeat(33)] {
        assert!(check_method(method).is_err(), "{method}");
    }
    assert!(check_method("M-SEARCH").is_ok());
}
