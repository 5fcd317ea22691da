//! Tests of the rules: which of them a request follows, and which can never match.

use std::net::IpAddr;
use std::path::Path;

use super::*;
use crate::config::{Config, MapEnvironment};
use crate::ogc::{BodyNeed, BodyReader, RequestHead, body_need, classify};

const CLUSTER: &str = "[upstreams.main]\nurl = 'http://10.0.0.1'\nrole = 'main'\n\
    [upstreams.a]\nurl = 'http://10.0.0.2'\n[upstreams.b]\nurl = 'http://10.0.0.3'\n";

fn load(rules: &str) -> Result<Config, String> {
    let environment = MapEnvironment::new().file("f", format!("{CLUSTER}{rules}"));
    Config::load(Path::new("f"), &environment)
        .map(|loaded| loaded.config)
        .map_err(|problems| problems.to_string())
}

/// A request of a test.
#[derive(Clone, Copy)]
struct Sent<'a> {
    method: &'a str,
    target: &'a str,
    body: &'a str,
    from: &'a str,
    header: (&'a str, &'a str),
}

fn get(target: &str) -> Sent<'_> {
    Sent {
        method: "GET",
        target,
        body: "",
        from: "192.0.2.7",
        header: ("x-none", ""),
    }
}

/// The name of the rule that a request follows.
fn rule(rules: &str, sent: Sent<'_>) -> Option<String> {
    let config = load(rules).unwrap_or_else(|problems| panic!("{problems}"));
    let head = RequestHead {
        method: sent.method,
        target: sent.target.as_bytes(),
        content_type: (!sent.body.is_empty()).then_some("text/xml"),
    };
    let is_read = body_need(&head, "/geoserver") == BodyNeed::Prefix;
    let evidence = BodyReader::new(head.content_type, None, 1 << 20)
        .evidence(sent.body.as_bytes(), true)
        .filter(|_| is_read);
    let classified = classify(&head, "/geoserver", evidence.as_deref());
    let subject = RuleSubject::new(head, "/geoserver", evidence.as_deref(), &classified);
    let has_header = |condition: &HeaderCondition| {
        condition.name == sent.header.0
            && condition
                .value
                .matches(sent.header.1.as_bytes(), Case::Matters)
    };
    let sender = Sender {
        address: sent.from.parse::<IpAddr>().unwrap(),
        has_header: &has_header,
    };
    RouteRule::first(&config.routes, &subject, &sender).map(|(_, route)| route.name.to_string())
}

fn follows(rules: &str, target: &str) -> bool {
    rule(rules, get(target)).is_some()
}

const GET_MAP: &str = "/geoserver/wms?service=WMS&request=GetMap&layers=topp:states";

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = "[[routes]]\nname = 'narrow'\npath = '/rest/about/**'\nallow = true\n\
        [[routes]]\nname = 'wide'\npath = '/rest/**'\nrefuse = true\n";
    assert_eq!(
        rule(rules, get("/geoserver/rest/about/version")).as_deref(),
        Some("narrow")
    );
    assert_eq!(
        rule(rules, get("/geoserver/rest/layers")).as_deref(),
        Some("wide")
    );
    assert_eq!(rule(rules, get(GET_MAP)), None);
}

#[test]
fn each_condition_must_be_met_and_one_value_of_each_is_enough() {
    let rules = "[[routes]]\nservice = ['WFS', 'WMS']\nmethod = ['GET', 'HEAD']\n\
        operation = 'GetMap'\nfrom = '192.0.2.0/24'\nheader = 'X-Team: maps*'\nrefuse = true\n";
    let sent = Sent {
        header: ("x-team", "maps-1"),
        ..get(GET_MAP)
    };
    assert_eq!(rule(rules, sent).as_deref(), Some("#1"));
    for other in [
        Sent {
            method: "POST",
            ..sent
        },
        Sent {
            from: "198.51.100.7",
            ..sent
        },
        Sent {
            header: ("x-team", "roads"),
            ..sent
        },
        Sent {
            header: ("x-none", "maps"),
            ..sent
        },
        Sent {
            target: "/geoserver/wms?service=WMS&request=GetFeatureInfo",
            ..sent
        },
        Sent {
            target: "/geoserver/wmts?service=WMTS&request=GetMap",
            ..sent
        },
    ] {
        assert_eq!(rule(rules, other), None, "{}", other.target);
    }
}

#[test]
fn a_network_may_be_excepted() {
    let rules =
        "[[routes]]\nservice = 'REST'\nnot_from = ['10.0.0.0/8', '127.0.0.1']\nrefuse = true\n";
    let rest = get("/geoserver/rest/layers");
    assert!(rule(rules, rest).is_some());
    assert_eq!(
        rule(
            rules,
            Sent {
                from: "10.1.2.3",
                ..rest
            }
        ),
        None
    );
    assert_eq!(
        rule(
            rules,
            Sent {
                from: "::ffff:10.1.2.3",
                ..rest
            }
        ),
        None
    );
}

#[test]
fn workspaces_and_layers_are_found_in_address_and_parameters() {
    let workspace = "[[routes]]\nworkspace = 'topp'\nupstreams = 'a'\n";
    for target in [
        GET_MAP,
        "/geoserver/topp/wms?request=GetMap&layers=states",
        "/geoserver/wms?service=WMS&request=GetMap&layers=sf%3Aroads%2Ctopp%3Astates",
        "/geoserver/wfs?service=WFS&request=GetFeature&typeNames=(topp:states)(sf:roads)",
    ] {
        assert!(follows(workspace, target), "{target}");
    }
    assert!(!follows(
        workspace,
        "/geoserver/wms?service=WMS&request=GetMap&layers=sf:topp"
    ));
    let layer = "[[routes]]\nlayer = ['topp:sta*', 'roads']\nupstreams = 'a'\n";
    for target in [
        GET_MAP,
        "/geoserver/topp/wms?request=GetMap&layers=states",
        "/geoserver/wms?service=WMS&request=GetMap&layers=sf:roads",
    ] {
        assert!(follows(layer, target), "{target}");
    }
    assert!(!follows(
        layer,
        "/geoserver/wms?service=WMS&request=GetMap&layers=topp:rivers"
    ));
}

#[test]
fn writes_stay_on_the_main_under_every_rule() {
    let rules = "[[routes]]\nupstreams = ['a', 'b']\n";
    assert!(follows(rules, GET_MAP));
    for target in [
        "/geoserver/rest/layers",
        "/geoserver/web/",
        "/geoserver/wfs?service=WFS&request=Transaction",
        "/geoserver/no/such/thing",
    ] {
        assert!(!follows(rules, target), "{target}");
    }
    assert!(follows(
        rules,
        "/geoserver/wps?service=WPS&request=Execute&identifier=gs:Buffer"
    ));
}

#[test]
fn a_rule_makes_a_read_of_get_requests_and_of_nothing_that_acts() {
    let rules = "[[routes]]\npath = '/ext/**'\nclass = 'feature'\n";
    let ext = get("/geoserver/ext/a");
    assert!(rule(rules, ext).is_some());
    for sent in [
        Sent {
            method: "POST",
            ..ext
        },
        Sent {
            target: "/geoserver/ext/wfs?request=Transaction",
            ..ext
        },
        Sent {
            target: "/geoserver/ext/../ext/a",
            ..ext
        },
        Sent {
            target: "/geoserver/%2565xt/a",
            ..ext
        },
    ] {
        assert_eq!(rule(rules, sent), None, "{} {}", sent.method, sent.target);
    }
    let named = "[[routes]]\npath = '/ext/**'\nmethod = ['GET', 'POST']\nclass = 'feature'\n";
    assert!(
        rule(
            named,
            Sent {
                method: "POST",
                ..ext
            }
        )
        .is_some()
    );
}

#[test]
fn a_refusal_hits_what_some_server_may_read_as_the_refused_request_and_nothing_plain_beside_it() {
    let rules = "[[routes]]\nservice = 'WFS'\noperation = 'Transaction'\nrefuse = true\n";
    for target in [
        "/geoserver/wfs?request=Transaction",
        "/geoserver/ows?service=WMS&service=WFS&request=GetMap&request=Transaction",
        "/geoserver/wms/%2e%2e/wfs/Transaction",
        "/geoserver/wfs%2fTransaction",
        "/geoserver/%77fs/%54ransaction",
    ] {
        assert!(follows(rules, target), "{target}");
    }
    for target in [
        "/geoserver/wfs?service=WFS&request=GetFeature&typeNames=topp:transaction",
        "/geoserver/rest/resource/a%2Fb",
        "/geoserver/no/such/transaction",
    ] {
        assert!(!follows(rules, target), "{target}");
    }
    let post = |body| Sent {
        method: "POST",
        body,
        ..get("/geoserver/wfs")
    };
    assert!(
        rule(
            rules,
            post("<wfs:Transaction xmlns:wfs='w' service='WFS'/>")
        )
        .is_some()
    );
    assert!(
        rule(
            rules,
            post("<GetFeature service='WFS'><!-- Transaction --></GetFeature>")
        )
        .is_none()
    );
    assert!(
        rule(
            rules,
            post("<!DOCTYPE a [<!ENTITY t 'x'>]><GetFeature service='WFS'/>")
        )
        .is_some()
    );
}

#[test]
fn a_refused_path_is_refused_in_any_case_and_with_any_extension() {
    let rules = "[[routes]]\npath = '/rest/**'\nrefuse = true\n";
    for target in [
        "/geoserver/rest",
        "/geoserver/rest/",
        "/geoserver/rest.json",
        "/geoserver/REST/layers",
        "/geoserver//rest;x=1/layers",
        "/geoserver/wms/../rest/layers",
        "/geoserver/rest/../wms",
        "/geoserver/%72est/layers",
        "/geoserver/%2572est/layers",
        "/geoserver/x%2f..%2frest/layers",
    ] {
        assert!(follows(rules, target), "{target}");
    }
    for target in [
        GET_MAP,
        "/geoserver/restless/wms",
        "/geoserver/gwc/rest/x",
        "/other/rest",
    ] {
        assert!(!follows(rules, target), "{target}");
    }
}

#[test]
fn a_rule_that_can_never_match_is_a_mistake() {
    let wide = "[[routes]]\nname = 'wide'\npath = '/rest/**'\nrefuse = true\n";
    for (later, why) in [
        (
            "path = '/rest/layers'\nallow = true\n",
            "wide at f:8 comes first",
        ),
        (
            "path = '/rest/**'\nfrom = '10.0.0.0/8'\nallow = true\n",
            "wide at f:8 comes first",
        ),
        (
            "from = '10.0.0.0/8'\nnot_from = '10.0.0.0/7'\nrefuse = true\n",
            "`not_from` excludes all of `from`",
        ),
        (
            "layer = 'topp:a'\nworkspace = 'sf'\nrefuse = true\n",
            "in other workspaces",
        ),
        (
            "service = 'REST'\nupstreams = 'a'\n",
            "`upstreams` has no effect",
        ),
        (
            "path = '/x'\nclass = 'admin'\nupstreams = 'a'\n",
            "`upstreams` has no effect",
        ),
    ] {
        let problems = load(&format!("{wide}[[routes]]\n{later}")).expect_err(later);
        assert!(
            problems.contains("can never match") && problems.contains(why),
            "{later}\n{problems}"
        );
    }
    for later in [
        "path = '/web/**'\nrefuse = true\n",
        "path = '/**'\nrefuse = true\n",
        "service = 'REST'\nrefuse = true\n",
    ] {
        load(&format!("{wide}[[routes]]\n{later}")).unwrap();
    }
    // A rule that sends reads elsewhere leaves the rest to the next.
    load("[[routes]]\nupstreams = 'a'\n[[routes]]\npath = '/x/**'\nclass = 'feature'\n").unwrap();
    load("[[routes]]\nupstreams = 'a'\n[[routes]]\npath = '/x/**'\nrefuse = true\n").unwrap();
}

#[test]
fn a_process_that_may_change_the_catalog_follows_no_rule_away_from_the_main() {
    let rules = "[[routes]]\nname = 'wps'\nservice = 'WPS'\nupstreams = 'a'\n";
    let execute = |process: &str, rules: &str| {
        let target = format!("/geoserver/wps?request=Execute&identifier={process}");
        rule(rules, get(&target))
    };
    assert_eq!(execute("gs:Buffer", rules).as_deref(), Some("wps"));
    assert_eq!(execute("gs:Import", rules), None);
    assert_eq!(execute("", rules), None);
    let as_read =
        "[[routes]]\nname = 'read'\nservice = 'WPS'\noperation = 'Execute'\nclass = 'feature'\n";
    assert_eq!(execute("gs:Buffer", as_read).as_deref(), Some("read"));
    assert_eq!(execute("gs:Import", as_read), None);
}

#[test]
fn rules_of_included_files_follow_those_of_the_first() {
    let environment = MapEnvironment::new()
        .file(
            "f",
            format!("include = 'conf.d/*.toml'\n{CLUSTER}[[routes]]\nname = 'first'\npath = '/a'\nrefuse = true\n"),
        )
        .file("conf.d/2.toml", "[[routes]]\nname = 'third'\npath = '/c'\nrefuse = true\n")
        .file("conf.d/1.toml", "[[routes]]\nname = 'second'\npath = '/b'\nrefuse = true\n");
    let config = Config::load(Path::new("f"), &environment).unwrap().config;
    let names: Vec<&str> = config.routes.iter().map(|route| &*route.name).collect();
    assert_eq!(names, ["first", "second", "third"]);
}
