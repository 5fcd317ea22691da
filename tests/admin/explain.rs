//! The decision about a typed request: the same at the endpoint, on the command line, and in the
//! table of the classifier.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::support::Admin;
use super::table::{Case, cases};

/// The cluster of the tests with rules of every kind.
const RULES: &str = "[[routes]]\nname = 'no-rest'\npath = '/rest/security/**'\nrefuse = true\n\
    [[routes]]\nname = 'exports'\nservice = 'WFS'\nupstreams = 'b'\n\
    [[routes]]\nname = 'topp'\nworkspace = 'topp'\nnot_from = '10.0.0.0/8'\nupstreams = 'a'\nonly = true\n\
    [[routes]]\npath = '/ext/**'\nheader = 'X-Team: maps*'\nclass = 'feature'\n\
    [limits]\ncontrol_flow = ['ows.wms.getmap=8', 'user.ows.wfs=30/m', 'ip.blacklist=10.6.6.6']\n";

/// Every so manieth request of the table is also given to the command line.
const EVERY: usize = 29;

/// Bodies that fit into a question.
const LONGEST: usize = 200 * 1024;

async fn with_rules() -> Admin {
    let admin = Admin::start("").await;
    admin.world.append(RULES);
    let reloaded = admin.post("/api/config/reload", "").await;
    assert_eq!(reloaded.code, 200, "{}", reloaded.body);
    admin
}

/// The requests of the table that can be typed: text, and GeoServer at its usual context.
fn typed_cases() -> Vec<(Case, Option<String>)> {
    let typed = |case: Case| {
        let body = String::from_utf8(case.body.clone()).ok()?;
        let is_short = body.len() < LONGEST;
        let is_usual = case.context == "/geoserver" && case.target.starts_with('/');
        let body = (!body.is_empty()).then_some(body);
        (is_usual && is_short && (body.is_some() || case.content_type.is_none()))
            .then_some((case, body))
    };
    let cases: Vec<_> = cases().into_iter().filter_map(typed).collect();
    assert!(cases.len() > 500, "the table was not read: {}", cases.len());
    cases
}

fn question(case: &Case, body: Option<&str>) -> Value {
    json!({
        "url": case.target,
        "method": case.method,
        "body": body,
        "content_type": case.content_type,
        "content_encoding": case.coding,
        "headers": ["X-Team: maps-1"],
        "from": "10.1.2.3",
    })
}

#[tokio::test]
async fn the_endpoint_decides_as_the_table_and_the_command_line_do() {
    let admin = with_rules().await;
    let mut config = NamedTempFile::new().expect("a temporary file");
    write!(config, "{}{RULES}", super::support::CLUSTER).expect("it is written");
    let config = config.path().display().to_string();
    let mut compared = 0;
    for (at, (case, body)) in typed_cases().into_iter().enumerate() {
        let order = question(&case, body.as_deref()).to_string();
        let answer = admin.post("/api/explain", &order).await;
        assert_eq!(answer.code, 200, "line {}: {}", case.line, answer.body);
        let explained = answer.json();
        if explained["rule"].is_null() {
            let facts = facts(&explained);
            let mut words: Vec<&str> = ["class", "service", "operation"]
                .iter()
                .filter_map(|name| facts.get(*name).map(String::as_str))
                .collect();
            words.extend(catalog_effect(&facts["served by"]));
            words.extend(facts.get("queue").and_then(|queue| effort(queue)));
            // The rules here list no short processes.
            let expected: Vec<&String> = case
                .expected
                .iter()
                .filter(|word| *word != "short")
                .collect();
            assert_eq!(words, expected, "line {}", case.line);
        }
        // The words of a body's content type are an option with a default on the command line.
        let is_shown = body.is_none() || case.content_type.is_some();
        if at % EVERY == 0 && is_shown {
            let printed = on_the_command_line(&case, body.as_deref(), &config);
            assert_eq!(lines(&explained), printed, "line {}", case.line);
            compared += 1;
        }
    }
    assert!(compared > 20, "only {compared} were compared");
}

/// The table's word for processes that run on the main alone.
fn catalog_effect(served_by: &str) -> Option<&'static str> {
    let why = served_by.strip_prefix("main alone: ")?;
    Some(if why.ends_with("changes the catalog") {
        "changes-catalog"
    } else {
        "main-only"
    })
}

/// The table's word for requests whose effort is not that of their class, from the line of the
/// queue: why a map is heavy, or why a request of a heavy class is not.
fn effort(queue: &str) -> Option<&'static str> {
    if queue.contains("heavy because of the size of the map") {
        Some("heavy")
    } else if queue.contains("not heavy: it is about work that was done before") {
        Some("light")
    } else {
        None
    }
}

fn facts(explained: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let facts = explained["facts"].as_array().expect("facts are a list");
    facts
        .iter()
        .map(|fact| (text(&fact["name"]), text(&fact["value"])))
        .collect()
}

/// The facts as the command line prints them.
fn lines(explained: &Value) -> String {
    let line = |fact: &Value| {
        let text = |key: &str| fact[key].as_str().unwrap_or_default().to_owned();
        format!("{:<12} {}\n", text("name"), text("value"))
    };
    let facts = explained["facts"].as_array().expect("facts are a list");
    facts.iter().map(line).collect()
}

fn on_the_command_line(case: &Case, body: Option<&str>, config: &str) -> String {
    let mut file = NamedTempFile::new().expect("a temporary file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_geofront"));
    command.args(["explain", "--config", config, "--from", "10.1.2.3"]);
    command.args(["--header", "X-Team: maps-1"]);
    if let Some(body) = body {
        file.write_all(body.as_bytes()).expect("it is written");
        command.arg("--body").arg(file.path());
        for (option, value) in [
            ("--content-type", &case.content_type),
            ("--content-encoding", &case.coding),
        ] {
            command.args(value.iter().flat_map(|value| [option, value]));
        }
    }
    let output = command
        .arg(&case.method)
        .arg(&case.target)
        .output()
        .expect("the binary runs");
    let text = String::from_utf8(output.stdout).expect("it prints text");
    assert!(output.status.success(), "line {}: {text}", case.line);
    // Advice about missing options stands below the facts.
    let (facts, _) = text
        .split_once("\n\n")
        .unwrap_or_else(|| (text.trim_end(), ""));
    format!("{facts}\n")
}

#[tokio::test]
async fn a_decision_names_its_upstreams_and_what_it_lacks() {
    let admin = with_rules().await;
    let map = r#"{"url":"https://maps.example.org/geoserver/wms?service=WMS&request=GetMap"}"#;
    let map = admin.post("/api/explain", map).await.json();
    assert_eq!(
        (&map["class"], &map["upstreams"], &map["otherwise"]),
        (&json!("map"), &json!(["a", "b"]), &json!(["main"]))
    );
    assert_eq!(
        (&map["refused"], &map["missing"]),
        (&json!(false), &json!(["from"]))
    );
    let refused = r#"{"url":"/geoserver/rest/security/roles","from":"10.0.0.1"}"#;
    let refused = admin.post("/api/explain", refused).await.json();
    assert_eq!(
        (&refused["refused"], &refused["rule"], &refused["upstreams"]),
        (&json!(true), &json!("no-rest"), &json!([]))
    );
    let post = r#"{"url":"/geoserver/wfs","method":"POST","headers":["Content-Type: text/xml"]}"#;
    let post = admin.post("/api/explain", post).await.json();
    assert_eq!(post["missing"], json!(["from", "body"]));
}

#[tokio::test]
async fn what_is_no_request_is_refused_with_the_reason() {
    let admin = Admin::start("").await;
    for (body, reason) in [
        ("", "must be like"),
        ("{}", "`` is no URL"),
        (r#"{"url":"wms"}"#, "`wms` is no URL"),
        (r#"{"url":"/a","more":1}"#, "unknown field `more`"),
        (r#"{"url":"/a","method":"GET /b"}"#, "`GET /b` is no method"),
        (r#"{"url":"/a","from":"here"}"#, "invalid IP address"),
        (r#"{"url":"/a","headers":["bad"]}"#, "`bad` is no header"),
    ] {
        let refused = admin.post("/api/explain", body).await;
        assert!(
            refused.code == 400 && refused.error().contains(reason),
            "{body}: {refused:?}"
        );
    }
    let headers = vec!["a: b"; 129];
    let many = json!({"url": "/a", "headers": headers}).to_string();
    assert_eq!(admin.post("/api/explain", &many).await.code, 400);
    let large = json!({"url": "/a", "body": "x".repeat(200 * 1024)}).to_string();
    assert_eq!(admin.post("/api/explain", &large).await.code, 200);
    let larger = json!({"url": "/a", "body": "x".repeat(300 * 1024)}).to_string();
    assert_eq!(admin.post("/api/explain", &larger).await.code, 413);
    assert_eq!(admin.get("/api/explain").await.code, 405);
}
